"""Encryption, ACLs and tags on real stores: what was sent is read back by the SDK."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from s3discovery.bucket import Bucket
from s3discovery.credentials import FixedCredentials
from s3discovery.errors import BucketError
from s3discovery.s3 import S3Bucket
from s3discovery.testing import BucketContract, make_settings

KEY = bytes(range(200, 232))


def sdk(server: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def connect(server: Any, name: str, **values: str) -> S3Bucket:
    settings = make_settings(s3_endpoint=server.endpoint, s3_bucket_name=name, **values)
    return S3Bucket.from_settings(settings, FixedCredentials(server.credentials))


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "customer-key"
    path.write_bytes(base64.b64encode(KEY) + b"\n")
    return str(path)


async def test_moto_stores_all_of_it(moto_server: Any) -> None:
    name = moto_server.new_bucket()
    options = {
        "server_side_encryption": "aws:kms",
        "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/1",
        "bucket_key": "true",
        "acl": "public-read",
        "requester_pays": "true",
        "expected_bucket_owner": "123456789012",
        "object_tags": "team=iot & what = a+b/ü: @c%3D",
    }
    async with connect(moto_server, name, **options) as bucket:
        await bucket.put("k", b"x", {"s3discovery-a": "1"})
        assert (await bucket.get("k", limit=1)).body == b"x"
        assert len((await bucket.list("")).entries) == 1
        client = sdk(moto_server)
        head = client.head_object(Bucket=name, Key="k")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"] == options["kms_key_id"]
        assert head["BucketKeyEnabled"] is True
        tags = client.get_object_tagging(Bucket=name, Key="k")["TagSet"]
        assert tags == [{"Key": "team", "Value": "iot"}, {"Key": "what", "Value": "a+b/ü: @c="}]
        grants = client.get_object_acl(Bucket=name, Key="k")["Grants"]
        everybody = [grant["Permission"] for grant in grants if grant["Grantee"]["Type"] == "Group"]
        assert everybody == ["READ"]
        await bucket.delete("k")


async def test_moto_knows_the_other_kinds_of_encryption(moto_server: Any) -> None:
    name = moto_server.new_bucket()
    for kind in ("AES256", "aws:kms:dsse"):
        async with connect(moto_server, name, server_side_encryption=kind) as bucket:
            await bucket.put(kind, b"x")
        assert sdk(moto_server).head_object(Bucket=name, Key=kind)["ServerSideEncryption"] == kind


async def test_seaweedfs_encrypts_by_its_own_key_and_keeps_tags(seaweedfs: Any) -> None:
    name = seaweedfs.new_bucket()
    async with connect(
        seaweedfs, name, server_side_encryption="AES256", object_tags="team=iot,what=a+b c"
    ) as bucket:
        written = await bucket.put("k", b"x")
        stored = await bucket.get("k", limit=1)
        (entry,) = (await bucket.list("")).entries
        assert (stored.body, stored.etag, entry.etag) == (b"x", written.etag, written.etag)
    client = sdk(seaweedfs)
    assert client.head_object(Bucket=name, Key="k")["ServerSideEncryption"] == "AES256"
    tags = client.get_object_tagging(Bucket=name, Key="k")["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("team", "iot"), ("what", "a+b c")]


async def test_seaweedfs_gives_what_a_customer_key_encrypts_to_nobody_else(
    seaweedfs: Any, key_file: str, tmp_path: Path
) -> None:
    name = seaweedfs.new_bucket()
    async with connect(seaweedfs, name, sse_customer_key_file=key_file) as bucket:
        await bucket.put("k", b"our own")
        assert (await bucket.get("k", limit=10)).body == b"our own"
    other = tmp_path / "other-key"
    other.write_bytes(b"o" * 32)
    for options in ({}, {"sse_customer_key_file": str(other)}):
        async with connect(seaweedfs, name, **options) as bucket:
            with pytest.raises(BucketError) as caught:
                await bucket.get("k", limit=10)
        assert base64.b64encode(KEY).decode() not in str(caught.value)
    client = sdk(seaweedfs)
    with pytest.raises(ClientError):
        client.get_object(Bucket=name, Key="k")
    theirs = client.get_object(Bucket=name, Key="k", SSECustomerAlgorithm="AES256", SSECustomerKey=KEY)
    with theirs["Body"] as stream:
        assert stream.read() == b"our own"


class TestSeaweedFSWithCustomerKey(BucketContract):
    """Nothing that a bucket does may depend on an ETag that is the MD5 of the body."""

    keeps_odd_keys = False
    many = 20

    @pytest.fixture
    async def bucket(self, seaweedfs: Any, key_file: str) -> AsyncIterator[Bucket]:
        async with connect(
            seaweedfs, seaweedfs.new_bucket(), sse_customer_key_file=key_file, object_tags="team=iot"
        ) as bucket:
            yield bucket
