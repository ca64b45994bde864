import base64

import botocore.utils
import pytest

from s3discovery.errors import SettingsError
from s3discovery.network.proxies import find_proxy

STORE = "https://mesh.s3.eu-west-1.amazonaws.com/"


def url_of(url: str, **environ: str) -> str | None:
    found = find_proxy(url, environ)
    return None if found is None else found.url


@pytest.mark.parametrize(
    ("environ", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1", None),
        ({"https_proxy": "http://p:1"}, "http://p:1", None),
        ({"HTTP_PROXY": "http://p:1"}, None, "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1", "http://p:1"),
        ({"all_proxy": "p:1", "HTTP_PROXY": "http://q:2"}, "http://p:1", "http://q:2"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "http://lower:1", None),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}, None, None),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://p:1"}, "http://p:1", "http://p:1"),
        ({"HTTPS_PROXY": "p.example.com"}, "http://p.example.com:80", None),
        ({"HTTPS_PROXY": "https://p"}, "https://p:443", None),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128/"}, "http://[2001:db8::1]:3128", None),
    ],
)
def test_variables(environ: dict[str, str], https: str | None, http: str | None) -> None:
    assert url_of(STORE, **environ) == https
    assert url_of("http://store.example.com:9000/b", **environ) == http


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("*", True),
        ("amazonaws.com", True),
        (".amazonaws.com", True),
        ("*.amazonaws.com", True),
        ("mesh.s3.eu-west-1.amazonaws.com", True),
        ("MESH.S3.eu-west-1.AmazonAWS.com", True),
        ("mesh.s3.eu-west-1.amazonaws.com:443", True),
        ("mesh.s3.eu-west-1.amazonaws.com:80", False),
        ("other.example.com, s3.eu-west-1.amazonaws.com", True),
        ("other.example.com s3.eu-west-1.amazonaws.com", True),
        ("esh.s3.eu-west-1.amazonaws.com", False),
        ("naws.com", False),
        ("com", True),
        ("", False),
        (",,", False),
        (".", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy(no_proxy: str, direct: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert (url_of(STORE, HTTPS_PROXY="http://p:1", **{name: no_proxy}) is None) == direct


@pytest.mark.parametrize(
    "no_proxy",
    ["*", "amazonaws.com", ".amazonaws.com", "mesh.s3.eu-west-1.amazonaws.com", "naws.com", "", "com"],
)
def test_no_proxy_means_what_it_means_to_the_sdk(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://p:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    theirs = botocore.utils.get_environ_proxies(STORE).get("https")
    assert url_of(STORE, https_proxy="http://p:1", no_proxy=no_proxy) == theirs


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://10.1.2.3:9000", "10.0.0.0/8", True),
        ("http://10.1.2.3:9000", "10.1.2.3", True),
        ("http://10.1.2.3:9000", "10.1.2.3:9000", True),
        ("http://10.1.2.3:9000", "10.1.2.3:80", False),
        ("http://10.1.2.3:9000", "11.0.0.0/8", False),
        ("http://10.1.2.3:9000", "2.3", False),
        ("http://10.1.2.3:9000", "10.0.0.0/99", False),
        ("http://[2001:db8::5]:9000", "2001:db8::/32", True),
        ("http://[2001:db8::5]:9000", "2001:db8:0::5", True),
        ("http://[2001:db8::5]:9000", "[2001:db8::5]", True),
        ("http://[2001:db8::5]:9000", "[2001:db8::5]:80", False),
        ("http://[2001:db8::5]:9000", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_with_addresses(url: str, no_proxy: str, direct: bool) -> None:
    assert (url_of(url, ALL_PROXY="http://p:1", NO_PROXY=no_proxy) is None) == direct


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "169.254.169.254", "169.254.170.2",
     "[fd00:ec2::254]", "[fe80::1]"],
)  # fmt: skip
def test_this_machine_and_its_metadata_are_never_behind_a_proxy(host: str) -> None:
    assert url_of(f"http://{host}:9000", ALL_PROXY="http://p:1") is None


def test_password_is_decoded_and_never_shown() -> None:
    found = find_proxy(STORE, {"HTTPS_PROXY": "http://john:p%40ss%3a@p:3128"})
    assert found is not None
    assert found.authorization is not None
    assert found.authorization.reveal() == f"Basic {base64.b64encode(b'john:p@ss:').decode()}"
    assert str(found) == "http://p:3128 (HTTPS_PROXY)"
    assert "john" not in repr(found)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("socks5://p:1080", "SOCKS is not supported"),
        ("ftp://p", "write http://host:port"),
        ("http://", "write http://host:port"),
        ("http://p:0", "write http://host:port"),
        ("http://p:99999", "write http://host:port"),
        ("http://[::1", "write http://host:port"),
        ("http://p q:1", "write http://host:port"),
        ("http://john:hid#den@p:1", "percent-encoded"),
        ("http://john:hid/den@p:1", "write http://host:port"),
    ],
)
def test_what_is_no_proxy_is_a_wrong_setting(text: str, cure: str) -> None:
    with pytest.raises(SettingsError, match=f"HTTPS_PROXY.*{cure}") as caught:
        find_proxy(STORE, {"HTTPS_PROXY": text})
    assert "hid" not in str(caught.value)
    assert "den" not in str(caught.value)
