"""Our requests against those that botocore's own client prepares for the same inputs.

Same URL, same signed headers, same signature. Intended differences, each taken out of the SDK's side
by name so that all the rest must be equal:

- us-east-1: the SDK sends to the global host s3.amazonaws.com unless told "regional". We always name
  the region: the global host answers for every region, and so hides a wrong s3-bucket-region.
- An endpoint of one's own with the style left open: path style, which every S3 server knows; the SDK
  decides the same, except that it is told so here. A host of AWS written as endpoint has the bucket in
  front, as with AWS's SDK for Java, which the original uses; this one is told so.
- Metadata that is not ASCII: the SDK refuses it; it is given our percent-encoding of it.
- User-Agent, amz-sdk-invocation-id, amz-sdk-request, Expect: the SDK's own, not part of the signature.
- A dotted bucket name before an IP address (virtual-host style over http): the SDK makes a host that no
  resolver knows, my.mesh.127.0.0.1; we use path style, as the SDK does for names without dots.
- An upper-case host: ours is put into lower case, as it is signed in lower case by both.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from s3discovery.aws.regions import partition_of
from s3discovery.bucket import Bucket
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.s3 import S3Bucket
from s3discovery.s3.transport import Call, Transport
from s3discovery.s3.wire import META, Answer, encode_metadata
from s3discovery.settings.config import Secret
from s3discovery.testing import FakeClock

UNSIGNED = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "expect", "content-length"}

REGIONS = (
    "us-east-1",
    "eu-central-1",
    "ap-southeast-2",
    "cn-north-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "eu-isoe-west-1",
    "us-isof-south-1",
    "eusc-de-east-1",
    "xx-new-7",
)
ENDPOINTS = (
    None,
    "http://localhost:9000",
    "https://s3.eu-central-1.amazonaws.com",
    "https://s3.example.com",
    "https://s3.example.com:443",
    "https://s3.example.com:8443/",
    "http://minio:80/base",
    "http://proxy.example.com:8080/deep/er/path/",
    "https://10.0.0.1",
    "http://127.0.0.1:9000/s3",
    "http://[::1]:9000",
    "https://[2001:db8::5]/x",
)
# Elsewhere botocore's client finds no variants; its rules do, as tests/unit/test_s3_location.py shows.
VARIANTS = ("us-east-", "us-gov-", "eu-central-", "ap-", "cn-")
ACCESS_POINT = "arn:aws:s3:eu-central-1:123456789012:accesspoint/my-mesh"
BUCKETS = (
    ACCESS_POINT,
    "mesh",
    "my.mesh.example",
    "a-b-c",
    "123",
    "My_Mesh",
    "xn--mesh",
    "mesh-",
    "m" * 63,
    "a.b-c",
    "10.1.2.3",
)


@dataclass(frozen=True)
class Place:
    bucket: str
    region: str
    endpoint: str | None
    path_style: bool | None
    token: str | None
    dual_stack: bool = False
    fips: bool = False


@dataclass(frozen=True)
class Wish:
    """One call of the Bucket protocol."""

    verb: str
    key: str
    body: bytes = b""
    metadata: tuple[tuple[str, str], ...] = ()
    if_match: str | None = None
    if_none_match: bool = False
    page: str | None = None


IP_ENDPOINT = re.compile(r"http://(127|\[)")


def is_possible(place: Place) -> bool:
    """Tell whether the settings do not contradict one another, and botocore's client can do it."""
    if (place.dual_stack or place.fips) and place.endpoint is not None:
        return False
    if (place.dual_stack or place.fips) and not place.region.startswith(VARIANTS):
        return False
    if place.bucket == ACCESS_POINT:
        own = place.endpoint is not None and "amazonaws" not in place.endpoint
        return not own and place.path_style is not True and partition_of(place.region)[0] == "aws"
    return not (place.fips and place.region.startswith("cn-"))


def is_comparable(place: Place) -> bool:
    dotted_before_ip = "." in place.bucket and place.path_style is False and place.endpoint is not None
    return not (dotted_before_ip and IP_ENDPOINT.match(place.endpoint or ""))


PLACES = st.builds(
    Place,
    bucket=st.sampled_from(BUCKETS),
    region=st.sampled_from(REGIONS),
    endpoint=st.sampled_from(ENDPOINTS),
    path_style=st.sampled_from((None, True, False)),
    token=st.sampled_from((None, "token/+=" * 4)),
    dual_stack=st.booleans(),
    fips=st.booleans(),
).filter(lambda place: is_possible(place) and is_comparable(place))
# Anything but lone surrogates, which are no text; weighted towards what URLs and paths trip over.
KEYS = st.lists(
    st.sampled_from(
        ("/", "//", "..", ".", " ", "+", "%", "%2F", "\\", "~", "*", "'", "(", "?", "#", "&", "=", "ü", "中")
    )
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
).map("".join)
METADATA = st.dictionaries(
    st.from_regex(r"s3discovery-[a-z]{1,8}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=12),
    max_size=3,
).map(lambda found: tuple(sorted(found.items())))
ETAGS = st.none() | st.from_regex(r"[0-9a-f]{32}(-[0-9])?", fullmatch=True)
WISHES = st.one_of(
    st.builds(
        Wish,
        verb=st.just("list"),
        key=st.just("") | KEYS,
        page=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{1,40}", fullmatch=True),
    ),
    st.builds(Wish, verb=st.just("get"), key=KEYS),
    st.builds(
        Wish,
        verb=st.just("put"),
        key=KEYS,
        body=st.binary(max_size=40),
        metadata=METADATA,
        if_match=ETAGS,
        if_none_match=st.booleans(),
    ),
    st.builds(Wish, verb=st.just("delete"), key=KEYS, if_match=ETAGS),
)


@dataclass(frozen=True)
class Prepared:
    """What is about to go over the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class _PreparedError(Exception):
    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared


class _Recorder(Transport):
    """Signs a call as ever, and hands it to the test instead of the network."""

    async def ask(self, call: Call) -> Answer:
        if call.question.verb == "list" and self.answers:
            return self.answers.pop()
        headers = {name.lower(): value for name, value in (await self.signed(call)).items()}
        raise _PreparedError(Prepared(call.method, call.url, headers, call.body))

    answers: list[Answer]


def prepared_by_us(place: Place, wish: Wish, now_s: float) -> Prepared:
    token = Secret(place.token) if place.token else None
    bucket = S3Bucket(
        name=place.bucket,
        region=place.region,
        endpoint=place.endpoint,
        path_style=place.path_style,
        dual_stack=place.dual_stack,
        fips=place.fips,
        credentials=FixedCredentials(Credentials("AKEXAMPLE", Secret("secret/+key"), token)),
        clock=FakeClock(start_s=now_s),
        transport=_Recorder,
    )
    _Recorder.answers = [] if wish.page is None else [Answer(200, {}, first_page(wish.page))]
    with pytest.raises(_PreparedError) as caught:
        asyncio.run(ask(bucket, wish))
    return caught.value.prepared


async def ask(bucket: Bucket, wish: Wish) -> None:
    match wish.verb:
        case "list":
            await bucket.list(wish.key)
        case "get":
            await bucket.get(wish.key, limit=1)
        case "put":
            await bucket.put(
                wish.key,
                wish.body,
                dict(wish.metadata),
                if_match=wish.if_match,
                if_none_match=wish.if_none_match,
            )
        case _:
            await bucket.delete(wish.key, if_match=wish.if_match)


def first_page(token: str) -> bytes:
    return (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        f"<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
    ).encode()


class _Nothing:
    """The body of an answer that never was."""

    def stream(self) -> list[bytes]:
        return [b"<Answer/>"]

    def read(self, *_: object) -> bytes:
        return b""


@cache
def session() -> Any:
    return botocore.session.Session()


@cache
def sdk_client(place: Place) -> tuple[Any, list[Any]]:
    """Return botocore's client, and the list in which what it prepares turns up."""
    left_open = "auto" if place.endpoint is None else "virtual" if "amazonaws" in place.endpoint else "path"
    style = {None: left_open, True: "path", False: "virtual"}[place.path_style]
    client = session().create_client(
        "s3",
        region_name=place.region,
        endpoint_url=place.endpoint,
        aws_access_key_id="AKEXAMPLE",
        aws_secret_access_key="secret/+key",
        aws_session_token=place.token,
        config=Config(
            s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional", "use_arn_region": True},
            use_dualstack_endpoint=place.dual_stack,
            use_fips_endpoint=place.fips,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    caught: list[Any] = []

    def catch(request: Any, **_: object) -> AWSResponse:
        caught.append(request)
        return AWSResponse(request.url, 200, {}, _Nothing())

    client.meta.events.register("before-send.s3", catch)
    return client, caught


def prepared_by_sdk(place: Place, wish: Wish) -> Prepared:
    client, caught = sdk_client(replace(place, bucket="any"))
    match wish.verb:
        case "list":
            more = {} if wish.page is None else {"ContinuationToken": wish.page}
            call = (client.list_objects_v2, {"Prefix": wish.key, "MaxKeys": 1000, **more})
        case "get":
            call = (client.get_object, {"Key": wish.key})
        case "put":
            encoded = {
                name.removeprefix(META): value for name, value in encode_metadata(dict(wish.metadata)).items()
            }
            call = (client.put_object, {"Key": wish.key, "Body": wish.body, "Metadata": encoded})
        case _:
            call = (client.delete_object, {"Key": wish.key})
    method, arguments = call
    if wish.if_match is not None:
        arguments["IfMatch"] = f'"{wish.if_match}"'
    if wish.if_none_match:
        arguments["IfNoneMatch"] = "*"
    method(Bucket=place.bucket, **arguments)
    request = caught.pop()
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    body = request.body or b""
    return Prepared(request.method, request.url, headers, body if isinstance(body, bytes) else body.read())


@given(place=PLACES, wish=WISHES)
@example(
    Place("mesh", "us-east-1", None, None, None),
    Wish("put", "//a/../b /+%\\ü~*", b"x", (("s3discovery-k", " ü% "),)),
)
@example(Place("my.mesh", "eu-central-1", None, False, "t"), Wish("list", "hivemq/disc", page="a+b/="))
@example(Place("mesh", "cn-north-1", None, True, None), Wish("delete", "/x", if_match="0" * 32))
@example(Place(ACCESS_POINT, "us-east-1", None, None, "t", True, True), Wish("list", "p/"))
@example(
    Place(ACCESS_POINT, "us-east-1", "https://s3.eu-central-1.amazonaws.com", None, None), Wish("get", "p")
)
@example(Place("mesh", "us-gov-west-1", None, None, None, True, True), Wish("put", "p/n", b"x"))
@settings(max_examples=500)
def test_requests_are_those_of_the_sdk(place: Place, wish: Wish) -> None:
    theirs = prepared_by_sdk(place, wish)
    moment = datetime.strptime(theirs.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = prepared_by_us(place, wish, moment.timestamp())
    assert ours.method == theirs.method
    assert ours.url == theirs.url
    assert ours.body == theirs.body
    assert dict(ours.headers) == {
        name: value for name, value in theirs.headers.items() if name not in UNSIGNED
    }
    # What aiohttp will ask for: no segment and no escape may be normalised on the way.
    assert ours.url.endswith(URL(ours.url, encoded=True).raw_path_qs)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "http://[::1]:9000"])
def test_dotted_name_never_stands_before_an_ip_address(endpoint: str) -> None:
    ours = prepared_by_us(
        Place("my.mesh", "us-east-1", endpoint, False, None), Wish("get", "k"), 1_800_000_000.0
    )
    assert ours.url == f"{endpoint}/my.mesh/k"


def test_host_is_lower_case() -> None:
    ours = prepared_by_us(
        Place("mesh", "us-east-1", "http://LOCALHOST:9", False, None), Wish("get", "k"), 0.0
    )
    assert ours.url == "http://mesh.localhost:9/k"


def test_comparison_covers_the_signature() -> None:
    place, wish = (
        Place("mesh", "eu-central-1", None, None, "token"),
        Wish("put", "k", b"x", (("a", "1"),), "e" * 32),
    )
    ours = prepared_by_us(place, wish, 1_800_000_000.0)
    assert re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKEXAMPLE/20270115/eu-central-1/s3/aws4_request, "
        r"SignedHeaders=host;if-match;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-security-token, "
        r"Signature=[0-9a-f]{64}",
        ours.headers["authorization"],
    )
    assert ours.headers["x-amz-date"] == "20270115T080000Z"
