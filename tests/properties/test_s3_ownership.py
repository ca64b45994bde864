"""Our headers of ownership and encryption against those that botocore's own client sends for the same wishes.

Which operation takes which parameter is asked of botocore's model of S3: an operation is given all of a
wish that it knows, so a header too many or too few of ours shows.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.s3 import S3Bucket
from s3discovery.s3.ownership import CustomerKey, Ownership
from s3discovery.s3.transport import Call, Transport
from s3discovery.s3.wire import Answer
from s3discovery.settings.config import Secret
from s3discovery.settings.keys.ownership import ACLS
from s3discovery.testing import FakeClock

UNSIGNED = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "expect", "content-length"}
OPERATIONS = {"list": "ListObjectsV2", "get": "GetObject", "put": "PutObject", "delete": "DeleteObject"}
RAW_KEYS = (None, bytes(range(32)), b"\xff" * 32)
TAG_TEXTS = st.text(st.sampled_from("aZ0é日 +-=._:/@"), min_size=1, max_size=8)
OWNERSHIPS = st.builds(
    Ownership,
    encryption=st.sampled_from((None, "AES256", "aws:kms", "aws:kms:dsse")),
    kms_key_id=st.sampled_from((None, "alias/mqtt", "arn:aws:kms:eu-west-1:123456789012:key/1-2")),
    bucket_key=st.sampled_from((None, True, False)),
    acl=st.sampled_from((None, *ACLS)),
    requester_pays=st.booleans(),
    expected_bucket_owner=st.sampled_from((None, "012345678901")),
    tags=st.dictionaries(TAG_TEXTS, TAG_TEXTS | st.just(""), max_size=4).map(
        lambda tags: tuple(tags.items())
    ),
)


class _AskedError(Exception):
    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers


class _Recorder(Transport):
    """Signs a call as ever, and hands it to the test instead of the network."""

    async def ask(self, call: Call) -> Answer:
        raise _AskedError({name.lower(): value for name, value in (await self.signed(call)).items()})


def sent_by_us(verb: str, ownership: Ownership, now_s: float) -> Mapping[str, str]:
    bucket = S3Bucket(
        name="mesh",
        region="eu-central-1",
        credentials=FixedCredentials(Credentials("AKEXAMPLE", Secret("secret/+key"))),
        clock=FakeClock(start_s=now_s),
        transport=_Recorder,
        ownership=ownership,
    )
    with pytest.raises(_AskedError) as caught:
        asyncio.run(ask(bucket, verb))
    return caught.value.headers


async def ask(bucket: S3Bucket, verb: str) -> None:
    match verb:
        case "list":
            await bucket.list("p/")
        case "get":
            await bucket.get("p/k", limit=1)
        case "put":
            await bucket.put("p/k", b"x")
        case _:
            await bucket.delete("p/k")


@cache
def sdk() -> tuple[Any, list[Any]]:
    client = botocore.session.Session().create_client(
        "s3",
        region_name="eu-central-1",
        aws_access_key_id="AKEXAMPLE",
        aws_secret_access_key="secret/+key",
        config=Config(
            request_checksum_calculation="when_required", response_checksum_validation="when_required"
        ),
    )
    caught: list[Any] = []

    def catch(request: Any, **_: object) -> AWSResponse:
        caught.append(request)
        return AWSResponse(request.url, 200, {}, _Nothing())

    client.meta.events.register("before-send.s3", catch)
    return client, caught


class _Nothing:
    """The body of an answer that never was."""

    def stream(self) -> list[bytes]:
        return [b"<Answer/>"]

    def read(self, *_: object) -> bytes:
        return b""


def sent_by_sdk(verb: str, ownership: Ownership, raw_key: bytes | None) -> Mapping[str, str]:
    client, caught = sdk()
    tags = "&".join(f"{quote(key, safe='/:@')}={quote(value, safe='/:@')}" for key, value in ownership.tags)
    wishes = {
        "Key": "p/k",
        "Prefix": "p/",
        "MaxKeys": 1000,
        "Body": b"x",
        "ServerSideEncryption": ownership.encryption,
        "SSEKMSKeyId": ownership.kms_key_id,
        "BucketKeyEnabled": ownership.bucket_key,
        "SSECustomerAlgorithm": "AES256" if raw_key else None,
        "SSECustomerKey": raw_key,
        "ACL": ownership.acl,
        "RequestPayer": "requester" if ownership.requester_pays else None,
        "ExpectedBucketOwner": ownership.expected_bucket_owner,
        "Tagging": tags or None,
    }
    operation = client.meta.service_model.operation_model(OPERATIONS[verb])
    taken = {
        name: value
        for name, value in wishes.items()
        if value is not None and name in operation.input_shape.members
    }
    call = {"list": "list_objects_v2", "get": "get_object", "put": "put_object", "delete": "delete_object"}
    getattr(client, call[verb])(Bucket="mesh", **taken)
    return {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in caught.pop().headers.items()
    }


@given(verb=st.sampled_from(list(OPERATIONS)), ownership=OWNERSHIPS, raw_key=st.sampled_from(RAW_KEYS))
@example(
    "put",
    Ownership("aws:kms", "alias/k", True, None, "private", True, "012345678901", (("a=b", "é +"),)),
    RAW_KEYS[1],
)
@settings(max_examples=150)
def test_headers_are_those_of_the_sdk(verb: str, ownership: Ownership, raw_key: bytes | None) -> None:
    theirs = sent_by_sdk(verb, ownership, raw_key)
    moment = datetime.strptime(theirs["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = sent_by_us(
        verb,
        replace(ownership, customer_key=CustomerKey.of(raw_key) if raw_key else None),
        moment.timestamp(),
    )
    assert dict(ours) == {name: value for name, value in theirs.items() if name not in UNSIGNED}
    signed = ours["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert [name for name in ours if name.startswith("x-amz-") and name not in signed] == []
