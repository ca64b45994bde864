import ssl
from pathlib import Path

import pytest

from s3discovery.errors import SettingsError
from s3discovery.network.trust import make_context, trust_variable
from s3discovery.testing.endpoints import CertificateAuthority


def names_of(context: ssl.SSLContext | None) -> set[str]:
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    return {name for name in ("one", "two") if f"'{name}'" in str(context.get_ca_certs())}


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, str]:
    found = {}
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        found[name] = str(CertificateAuthority(folder, name).path)
    return found


def test_nothing_set_is_the_systems() -> None:
    assert make_context({}) is None
    assert make_context({"AWS_CA_BUNDLE": "", "SSL_CERT_FILE": ""}) is None


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_bundle_takes_the_place_of_the_systems(variable: str, bundles: dict[str, str]) -> None:
    assert names_of(make_context({variable: bundles["one"], "SSL_CERT_FILE": bundles["two"]})) == {"one"}


def test_order_of_precedence(bundles: dict[str, str]) -> None:
    environ = {"REQUESTS_CA_BUNDLE": bundles["two"], "AWS_CA_BUNDLE": bundles["one"]}
    assert names_of(make_context(environ)) == {"one"}
    order = ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
    for place, name in enumerate(order):
        assert trust_variable(dict.fromkeys(order[place:], "x")) == name


def test_cert_file_of_openssl(bundles: dict[str, str]) -> None:
    assert names_of(make_context({"SSL_CERT_FILE": bundles["one"]})) == {"one"}


def test_directories_are_looked_into_when_needed(tmp_path: Path) -> None:
    for variable in ("AWS_CA_BUNDLE", "SSL_CERT_DIR"):
        assert make_context({variable: str(tmp_path)}) is not None
    assert make_context({"SSL_CERT_DIR": f"{tmp_path}:{tmp_path}"}) is not None


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_cannot_be_read_is_a_wrong_setting(variable: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{variable}='{tmp_path}/none': does not exist"):
        make_context({variable: f"{tmp_path}/none"})
    with pytest.raises(SettingsError, match=f"{variable}=.*cannot be read"):
        make_context({variable: "a\0b"})


def test_file_without_certificates_is_a_wrong_setting(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no PEM\n")
    with pytest.raises(SettingsError, match=r"AWS_CA_BUNDLE=.*holds no certificates in PEM form"):
        make_context({"AWS_CA_BUNDLE": str(path)})
