"""Which headers go out with which verb, and the key of SSE-C that is never shown."""

import base64
from pathlib import Path

import pytest

from s3discovery.credentials import ANONYMOUS, FixedCredentials
from s3discovery.errors import SettingsError
from s3discovery.s3 import S3Bucket
from s3discovery.s3.customer_key import read_customer_key
from s3discovery.s3.ownership import NO_OWNERSHIP, CustomerKey, Ownership
from s3discovery.s3.transport import Call
from s3discovery.testing import make_settings

KEY = bytes(range(100, 132))
VERBS = ("list", "get", "put", "delete")


def test_nothing_is_sent_unless_set() -> None:
    assert Ownership.of(make_settings()) == NO_OWNERSHIP
    assert [NO_OWNERSHIP.headers(verb) for verb in VERBS] == [{}] * 4


def test_settings_become_headers() -> None:
    settings = make_settings(
        server_side_encryption="aws:kms",
        kms_key_id="alias/mqtt",
        bucket_key="false",
        acl="bucket-owner-full-control",
        requester_pays="true",
        expected_bucket_owner="012345678901",
        object_tags="team=iot,path=a/b:c@d,sum=1+1 %3D 2",
    )
    everywhere = {"x-amz-request-payer": "requester", "x-amz-expected-bucket-owner": "012345678901"}
    ownership = Ownership.of(settings)
    for verb in ("list", "get", "delete"):
        assert ownership.headers(verb) == everywhere
    assert ownership.headers("put") == everywhere | {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "alias/mqtt",
        "x-amz-server-side-encryption-bucket-key-enabled": "false",
        "x-amz-acl": "bucket-owner-full-control",
        "x-amz-tagging": "team=iot&path=a/b:c@d&sum=1%2B1%20%3D%202",
    }


def test_customer_key_goes_with_what_reads_and_writes_a_body() -> None:
    ownership = Ownership(customer_key=CustomerKey.of(KEY))
    expected = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(KEY).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": "sx4fxreWidibx3EyELB0Ww==",
    }
    assert [ownership.headers(verb) for verb in VERBS] == [{}, expected, expected, {}]


@pytest.mark.parametrize(
    "content", [KEY, base64.b64encode(KEY), base64.b64encode(KEY) + b"\r\n", b" " + base64.b64encode(KEY)]
)
def test_key_is_read_raw_or_in_base64(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert read_customer_key(str(path)) == CustomerKey.of(KEY)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        KEY[:31],
        KEY + b"\n",
        KEY * 2,
        KEY.hex().encode(),
        base64.b64encode(KEY[:16]),
        base64.b64encode(KEY)[:-1],
        base64.b64encode(KEY) + b"!",
        base64.b64encode(KEY) * 100,
    ],
)
def test_another_content_is_a_problem_that_does_not_show_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="openssl rand -base64 32") as caught:
        read_customer_key(str(path))
    assert [problem.key for problem in caught.value.problems] == ["sse-customer-key-file"]
    if content:
        assert content.strip().decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/key", "/", "a\x00b"])
def test_file_that_cannot_be_read_is_a_problem(path: str) -> None:
    with pytest.raises(SettingsError, match="sse-customer-key-file"):
        read_customer_key(path)


def test_a_directory_wants_no_right() -> None:
    with pytest.raises(SettingsError, match=r"Is a directory\); name a file"):
        read_customer_key("/")


def test_bucket_of_settings_reads_the_key(tmp_path: Path) -> None:
    settings = make_settings(sse_customer_key_file=str(tmp_path / "key"))
    with pytest.raises(SettingsError, match="does not exist"):
        S3Bucket.from_settings(settings, FixedCredentials(ANONYMOUS))
    (tmp_path / "key").write_bytes(KEY)
    S3Bucket.from_settings(settings, FixedCredentials(ANONYMOUS))


def test_key_is_shown_nowhere() -> None:
    ownership = Ownership(customer_key=CustomerKey.of(KEY))
    call = Call(None, "PUT", "http://h", ownership.headers("put"))  # type: ignore[arg-type]  # not asked
    for shown in (repr(ownership), str(ownership), repr(call), f"{call}"):
        assert base64.b64encode(KEY).decode() not in shown
