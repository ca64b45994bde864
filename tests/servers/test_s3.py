"""S3Bucket against what really goes wrong: SeaweedFS where it can, a server of scripted faults where not."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.errors import (
    AccessDeniedError,
    BucketMissingError,
    ClockSkewError,
    ConditionUnsupportedError,
    CredentialsRejectedError,
    ObjectMissingError,
    ObjectTooLargeError,
    PreconditionError,
    StoreFaultError,
    ThrottledError,
    UnreachableError,
    WrongRegionError,
)
from s3discovery.s3 import S3Bucket
from s3discovery.settings.config import Secret

KEYS = Credentials("AKTEST", Secret("do-not-show-me"))
NOW = format_datetime(datetime.now(UTC), usegmt=True)
TLS_HELLO = b"\x16"
HANG = b"hang"
RESET = b"reset"


class HastyClock(SystemClock):
    """Time in which sleeping takes none; `slept_s` tells for how long it would have been."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.slept_s: list[float] = []
        self.skew_s = skew_s

    def monotonic_s(self) -> float:
        return super().monotonic_s() + sum(self.slept_s)

    def wall_s(self) -> float:
        return super().wall_s() + self.skew_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


def http(status: int, body: str | bytes = b"", /, **headers: str) -> bytes:
    """Return an HTTP answer; header names with `_` for `-`."""
    payload = body.encode() if isinstance(body, str) else body
    fields = {"Date": NOW, "Content-Length": str(len(payload))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + payload


def error(status: int, code: str, more: str = "", /, **headers: str) -> bytes:
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>said so</Message>{more}</Error>'
    return http(status, body, **headers)


def listing(*keys: str, token: str | None = None, encoded: bool = False) -> bytes:
    told = '<LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>"abc"</ETag><Size>3</Size>'
    entries = "".join(f"<Contents><Key>{key}</Key>{told}</Contents>" for key in keys)
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        f"{encoding}{more}{entries}</ListBucketResult>"
    ).encode()


class FaultServer:
    """A server that answers requests as scripted, in their order; the last one again and again."""

    def __init__(self, *script: bytes) -> None:
        self._script = list(script)
        self.requests: list[str] = []
        self.authority = ""
        self._done = asyncio.Event()
        self._running: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def endpoint(self) -> str:
        return f"http://{self.authority}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = writer
        try:
            while head := await self._read_head(reader):
                self.requests.append(head)
                step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
                if step == HANG:
                    await self._done.wait()
                    return
                # The answers were written down when the tests were collected, which may be long ago.
                now = f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}".encode()
                writer.write(step.removesuffix(RESET).replace(f"Date: {NOW}".encode(), now))
                await writer.drain()
                if step.endswith(RESET):
                    # Linger of 0 s: the connection is reset, not closed.
                    peer = writer.get_extra_info("socket")
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
        except ConnectionError:
            pass  # the other side has read enough
        finally:
            writer.close()
            del self._running[task]

    async def _read_head(self, reader: asyncio.StreamReader) -> str:
        try:
            first = await reader.readexactly(1)
            if first == TLS_HELLO:
                return "TLS"
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            if found := re.search(r"(?i)content-length: (\d+)", head):
                await reader.readexactly(int(found[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""
        return head

    async def stop(self) -> None:
        """Let go of every connection."""
        self._done.set()
        running = dict(self._running)
        for writer in running.values():
            writer.close()
        await asyncio.gather(*running)


@asynccontextmanager
async def faulty(*script: bytes) -> AsyncIterator[FaultServer]:
    faults = FaultServer(*script)
    server = await asyncio.start_server(faults.serve, "127.0.0.1", 0)
    async with server:
        faults.authority = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield faults
        finally:
            await faults.stop()


def connect(endpoint: str, name: str = "mesh", keys: Credentials = KEYS, **options: Any) -> S3Bucket:
    options.setdefault("clock", HastyClock())
    return S3Bucket(
        name=name, region="us-east-1", endpoint=endpoint, credentials=FixedCredentials(keys), **options
    )


Verb = Callable[[S3Bucket], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "list": lambda bucket: bucket.list("hivemq/"),
    "get": lambda bucket: bucket.get("hivemq/n1", limit=1000),
    "put": lambda bucket: bucket.put("hivemq/n1", b"x"),
    "delete": lambda bucket: bucket.delete("hivemq/n1"),
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


class TestSeaweedFS:
    @every_verb
    async def test_wrong_secret(self, seaweedfs: Any, verb: Verb) -> None:
        keys = Credentials(seaweedfs.access_key_id, Secret("wrong-secret"))
        async with connect(seaweedfs.endpoint, seaweedfs.new_bucket(), keys) as bucket:
            with pytest.raises(CredentialsRejectedError, match="credentials-secret-access-key") as caught:
                await verb(bucket)
        assert caught.value.code == "SignatureDoesNotMatch"
        assert caught.value.status == 403
        assert caught.value.server_time_s is not None
        assert "wrong-secret" not in str(caught.value)

    @every_verb
    async def test_unknown_key(self, seaweedfs: Any, verb: Verb) -> None:
        async with connect(seaweedfs.endpoint, seaweedfs.new_bucket()) as bucket:
            with pytest.raises(CredentialsRejectedError, match="credentials-access-key-id") as caught:
                await verb(bucket)
        assert caught.value.code == "InvalidAccessKeyId"

    async def test_identity_that_may_only_read(self, seaweedfs: Any) -> None:
        name = seaweedfs.new_bucket()
        async with connect(seaweedfs.endpoint, name, seaweedfs.credentials) as bucket:
            await bucket.put("hivemq/n1", b"x")
        async with connect(seaweedfs.endpoint, name, seaweedfs.reader) as bucket:
            assert len((await bucket.list("")).entries) == 1
            with pytest.raises(AccessDeniedError, match=rf"s3:PutObject on arn:aws:s3:::{name}/hivemq/n1"):
                await VERBS["put"](bucket)
            with pytest.raises(AccessDeniedError, match=rf"s3:DeleteObject on arn:aws:s3:::{name}/hivemq/n1"):
                await VERBS["delete"](bucket)

    @pytest.mark.parametrize("verb", [VERBS["list"], VERBS["put"]], ids=["list", "put"])
    async def test_missing_bucket(self, seaweedfs: Any, verb: Verb) -> None:
        async with connect(seaweedfs.endpoint, "no-such-bucket", seaweedfs.credentials) as bucket:
            with pytest.raises(BucketMissingError, match=r"'no-such-bucket'.*s3-bucket-name"):
                await verb(bucket)

    @pytest.mark.parametrize(
        "skew_s", [-7 * 3600.0, 7 * 3600.0, 400 * 86400.0], ids=["behind", "ahead", "years"]
    )
    async def test_wrong_wall_clock_changes_nothing(self, seaweedfs: Any, skew_s: float) -> None:
        clock = HastyClock(skew_s)
        async with connect(
            seaweedfs.endpoint, seaweedfs.new_bucket(), seaweedfs.credentials, clock=clock
        ) as bucket:
            written = await asyncio.gather(*(bucket.put(f"n{number}", b"x") for number in range(20)))
            assert len((await bucket.list("")).entries) == 20
            clock.skew_s = -skew_s  # and it jumps
            await bucket.delete("n0")
            assert len((await bucket.list("")).entries) == 19
        assert written[0].server_time_s == pytest.approx(SystemClock().wall_s(), abs=60)
        assert clock.slept_s == []

    async def test_key_of_dots_is_refused_with_the_key_named(self, seaweedfs: Any) -> None:
        async with connect(seaweedfs.endpoint, seaweedfs.new_bucket(), seaweedfs.credentials) as bucket:
            with pytest.raises(StoreFaultError, match=r"'a/\.\./b'.*file-prefix"):
                await bucket.put("a/../b", b"x")

    async def test_prefix_that_the_store_rewrites_is_named(self, seaweedfs: Any) -> None:
        async with connect(seaweedfs.endpoint, seaweedfs.new_bucket(), seaweedfs.credentials) as bucket:
            await bucket.put("/lead/n1", b"x")
            with pytest.raises(StoreFaultError, match="file-prefix without a leading"):
                await bucket.list("/lead/")


class TestUnreachable:
    @every_verb
    async def test_port_nobody_listens_on(self, verb: Verb) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
            clock = HastyClock()
            async with connect(endpoint, clock=clock) as bucket:
                with pytest.raises(UnreachableError, match=rf"TCP: .*{endpoint}.*ECONNREFUSED.*s3-endpoint"):
                    await verb(bucket)
        assert len(clock.slept_s) == 3

    async def test_name_that_is_not_found(self) -> None:
        async with connect("http://no-such-host.invalid:9000") as bucket:
            with pytest.raises(UnreachableError, match=r"DNS: .*no-such-host\.invalid:9000.*s3-endpoint"):
                await bucket.list("")

    async def test_tls_to_a_port_of_plain_http(self) -> None:
        async with faulty(http(400)) as faults, connect(f"https://{faults.authority}") as bucket:
            with pytest.raises(UnreachableError, match=r"TLS failed .*write s3-endpoint with http://"):
                await bucket.list("")

    @every_verb
    async def test_store_that_stays_silent(self, verb: Verb) -> None:
        async with faulty(HANG) as faults, connect(faults.endpoint, call_limit_s=0.2) as bucket:
            with pytest.raises(UnreachableError, match=r"time-out: .* within 0\.2 s"):
                await verb(bucket)

    async def test_deadline_tells_what_had_gone_wrong_before(self) -> None:
        script = (error(503, "SlowDown"), HANG)
        async with faulty(*script) as faults, connect(faults.endpoint, call_limit_s=0.3) as bucket:
            with pytest.raises(ThrottledError):
                await bucket.list("")

    @every_verb
    async def test_port_of_something_else(self, verb: Verb) -> None:
        async with (
            faulty(b"SSH-2.0-OpenSSH_9.2\r\n\r\n" + RESET) as faults,
            connect(faults.endpoint) as bucket,
        ):
            with pytest.raises(StoreFaultError, match="really an S3 endpoint"):
                await verb(bucket)


class TestRetries:
    async def test_reset_in_the_middle_of_a_body(self) -> None:
        whole = http(200, listing("hivemq/n1"))
        async with faulty(whole[:-40] + RESET, whole) as faults, connect(faults.endpoint) as bucket:
            assert len((await bucket.list("hivemq/")).entries) == 1
            assert len(faults.requests) == 2

    async def test_resets_without_end(self) -> None:
        async with faulty(http(200, listing("hivemq/n1"))[:-40] + RESET) as faults:
            async with connect(faults.endpoint) as bucket:
                with pytest.raises(UnreachableError, match=r"broke off|closed the connection"):
                    await bucket.list("hivemq/")
            assert len(faults.requests) >= 4

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    async def test_passing_failure(self, status: int) -> None:
        script = (http(status), error(status, "InternalError"), http(200, listing("hivemq/n1")))
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            assert len((await bucket.list("hivemq/")).entries) == 1

    async def test_failure_that_does_not_pass(self) -> None:
        clock = HastyClock()
        async with faulty(error(500, "InternalError")) as faults:
            async with connect(faults.endpoint, clock=clock, jitter=lambda: 1.0) as bucket:
                with pytest.raises(StoreFaultError, match="InternalError"):
                    await bucket.list("")
            assert len(faults.requests) == 4
        assert clock.slept_s == [0.1, 0.4, 1.6]

    @pytest.mark.parametrize("status", [400, 403, 404, 412])
    async def test_refusal_is_not_asked_again(self, status: int) -> None:
        async with faulty(error(status, "Whatever")) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises((StoreFaultError, AccessDeniedError, PreconditionError)):
                await bucket.list("")
            assert len(faults.requests) == 1

    async def test_retry_after_is_waited_for(self) -> None:
        clock = HastyClock()
        script = (error(503, "SlowDown", Retry_After="7"), http(200, listing()))
        async with faulty(*script) as faults, connect(faults.endpoint, clock=clock) as bucket:
            await bucket.list("")
        assert clock.slept_s == [7.0]

    async def test_retry_after_beyond_the_deadline_is_said_at_once(self) -> None:
        clock = HastyClock()
        throttled = error(503, "SlowDown", Retry_After="120")
        async with faulty(throttled) as faults, connect(faults.endpoint, clock=clock) as bucket:
            with pytest.raises(ThrottledError, match="wait '120'") as caught:
                await bucket.list("")
        assert clock.slept_s == []
        assert (caught.value.status, caught.value.code) == (503, "SlowDown")
        assert caught.value.retry_after_s == 120, "so that the next poll can wait for it"

    @pytest.mark.parametrize(
        "lost", [RESET, http(200, "12345")[:-2] + RESET, http(502)], ids=["reset", "cut", "gateway"]
    )
    async def test_create_whose_answer_was_lost_has_succeeded(self, lost: bytes) -> None:
        script = (
            lost,
            error(412, "PreconditionFailed"),
            http(200, b"mine", ETag='"e1"', Last_Modified=NOW, x_amz_meta_s3discovery_k="a%20b"),
        )
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            written = await bucket.put("k", b"mine", {"s3discovery-k": "a b"}, if_none_match=True)
        assert written.etag == "e1"

    async def test_create_whose_answer_was_lost_but_which_another_won(self) -> None:
        script = (
            RESET,
            error(412, "PreconditionFailed"),
            http(200, b"other", ETag='"e1"', Last_Modified=NOW),
        )
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(PreconditionError):
                await bucket.put("k", b"mine!", if_none_match=True)
            assert faults.requests[-1].startswith("GET ")

    async def test_plain_conflict_is_not_looked_into(self) -> None:
        async with faulty(error(412, "PreconditionFailed")) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(PreconditionError):
                await bucket.put("k", b"mine", if_match="e0")
            assert len(faults.requests) == 1
            assert 'If-Match: "e0"' in faults.requests[0]

    async def test_silent_repeat_on_a_kept_connection_is_noticed(self) -> None:
        script = (
            http(200, listing()),
            RESET,
            error(412, "PreconditionFailed"),
            http(200, b"mine", ETag='"e1"', Last_Modified=NOW),
        )
        clock = HastyClock()
        async with faulty(*script) as faults, connect(faults.endpoint, clock=clock) as bucket:
            await bucket.list("")
            assert (await bucket.put("k", b"mine", if_none_match=True)).etag == "e1"

    async def test_delete_whose_answer_was_lost_has_succeeded(self) -> None:
        script = (RESET, error(412, "PreconditionFailed"), error(404, "NoSuchKey"))
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            await bucket.delete("k", if_match="e0")
            assert faults.requests[-1].startswith("GET ")


class TestRefusals:
    @pytest.mark.parametrize(
        "answer",
        [
            error(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1"),
            error(301, "PermanentRedirect", "<Region>eu-central-1</Region>"),
            error(307, "TemporaryRedirect", "<Region>eu-central-1</Region>", Location="http://127.0.0.1:9/"),
            error(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"),
            http(400, x_amz_bucket_region="eu-central-1"),
            http(301, x_amz_bucket_region="eu-central-1"),
        ],
        ids=["301 header", "301 body", "307", "400 body", "400 header", "301 without body"],
    )
    @every_verb
    async def test_wrong_region(self, answer: bytes, verb: Verb) -> None:
        async with faulty(answer) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(WrongRegionError, match="s3-bucket-region:eu-central-1") as caught:
                await verb(bucket)
            assert len(faults.requests) == 2, "asked once more for that region, and not again"
            assert bucket.found_region is None
        assert caught.value.region == "eu-central-1"

    async def test_region_beside_another_reason_hides_it_not(self) -> None:
        refusal = error(400, "InvalidArgument", x_amz_bucket_region="eu-central-1")
        async with faulty(refusal) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(StoreFaultError, match="InvalidArgument"):
                await bucket.list("")
            assert bucket.found_region is None

    @pytest.mark.parametrize(
        ("answer", "kind", "found"),
        [
            (error(403, "AccessDenied"), AccessDeniedError, "eu-central-1"),
            (error(403, "SignatureDoesNotMatch"), CredentialsRejectedError, None),
        ],
        ids=["denied", "rejected"],
    )
    async def test_region_is_kept_once_the_bucket_itself_answers(
        self, answer: bytes, kind: type[Exception], found: str | None
    ) -> None:
        script = (error(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"), answer)
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(kind):
                await bucket.list("")
            assert bucket.found_region == found
            assert len(faults.requests) == 2

    async def test_wrong_region_that_is_not_named(self) -> None:
        async with faulty(error(301, "PermanentRedirect")) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(WrongRegionError, match="s3-bucket-region") as caught:
                await bucket.list("")
        assert caught.value.region is None

    @every_verb
    async def test_redirect_is_not_followed(self, verb: Verb) -> None:
        async with faulty(http(200, listing())) as other:
            redirect = http(302, Location=f"{other.endpoint}/login")
            async with faulty(redirect) as faults, connect(faults.endpoint) as bucket:
                with pytest.raises(StoreFaultError, match=r"redirected to .*/login.*s3-endpoint"):
                    await verb(bucket)
            assert other.requests == []

    @pytest.mark.parametrize("verb", [VERBS["list"], VERBS["get"], VERBS["put"]], ids=["list", "get", "put"])
    async def test_web_page(self, verb: Verb) -> None:
        page = http(200, "<!DOCTYPE html><html><body>Welcome</body></html>", Content_Type="text/html")
        async with faulty(page) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(StoreFaultError, match="is s3-endpoint really an S3 endpoint"):
                await verb(bucket)

    @every_verb
    async def test_web_page_that_says_404(self, verb: Verb) -> None:
        page = http(404, "<html><body>Not found</body></html>", Content_Type="text/html")
        async with faulty(page) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(StoreFaultError, match="is s3-endpoint really an S3 endpoint"):
                await verb(bucket)

    async def test_bare_404_is_a_missing_object(self) -> None:
        async with faulty(http(404)) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(ObjectMissingError):
                await bucket.get("k", limit=1)
            await bucket.delete("k")
            with pytest.raises(PreconditionError):
                await bucket.put("k", b"x", if_match="e0")

    @pytest.mark.parametrize(
        "answer",
        [http(501), error(501, "NotImplemented"), error(400, "InvalidRequest"), http(400)],
        ids=["501", "501 with code", "400 with code", "400"],
    )
    async def test_condition_that_the_store_does_not_know(self, answer: bytes) -> None:
        async with faulty(answer) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(ConditionUnsupportedError):
                await bucket.delete("k", if_match="e0")
            with pytest.raises(ConditionUnsupportedError):
                await bucket.put("k", b"x", if_none_match=True)
            with pytest.raises(StoreFaultError):
                await bucket.put("k", b"x")

    async def test_clock_that_stays_refused(self) -> None:
        async with faulty(error(403, "RequestTimeTooSkewed")) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(ClockSkewError, match="set this machine's clock"):
                await bucket.list("")
            assert len(faults.requests) == 2

    async def test_refusal_without_a_reason_but_with_another_date(self) -> None:
        # Both are signed before the first is refused: the second must not take its time for right.
        clock = HastyClock(skew_s=-7 * 3600.0)
        script = (error(403, "AccessDenied"), error(403, "AccessDenied"), http(200, listing()))
        async with faulty(*script) as faults, connect(faults.endpoint, clock=clock) as bucket:
            await asyncio.gather(bucket.list(""), bucket.list(""))
            assert len(faults.requests) == 4

    async def test_time_of_the_refusal_is_signed_with(self) -> None:
        script = (
            error(403, "RequestTimeTooSkewed", "<ServerTime>2031-05-06T07:08:09Z</ServerTime>"),
            http(200, listing()),
        )
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            await bucket.list("")
            assert "X-Amz-Date: 20310506T0708" in faults.requests[1]


class TestListing:
    async def test_pages(self) -> None:
        script = (
            http(200, listing("p%2Fa+%2B", token="t&amp;1", encoded=True)),
            http(200, listing("p%2F%C3%BC", encoded=True), Date="Sun, 06 Nov 1994 08:49:37 GMT"),
        )
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            found = await bucket.list("p/")
            assert "continuation-token=t%261&" in faults.requests[1]
        assert [entry.key for entry in found.entries] == ["p/a +", "p/ü"]
        assert found.entries[0].modified_s == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC).timestamp()
        assert found.server_time_s is not None
        assert found.server_time_s > 1_600_000_000, "the first page's Date counts"

    async def test_failure_on_a_later_page_fails_all(self) -> None:
        script = (http(200, listing("p/a", token="t1")), error(403, "AccessDenied"))
        async with faulty(*script) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(AccessDeniedError, match=r"s3:ListBucket on arn:aws:s3:::mesh to"):
                await bucket.list("p/")

    @pytest.mark.parametrize(
        "body",
        [
            listing("p/a")[:-30],
            listing("p/a")[:60],
            b"",
            b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            listing("p/a", token="same"),
            listing("other/a"),
            listing("p/a").replace(b"2026-01", b"2026-13"),
            b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + listing("p/&a;").removeprefix(b'<?xml version="1.0"?>'),
            b"{}",
        ],
        ids=["cut", "cut early", "empty", "no token", "circle", "prefix", "date", "entity", "json"],
    )
    async def test_listing_that_is_not_whole(self, body: bytes) -> None:
        async with faulty(http(200, body)) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(StoreFaultError):
                await bucket.list("p/")
            assert len(faults.requests) <= 2

    async def test_listing_without_end_in_bytes(self) -> None:
        async with faulty(http(200, b" " * (9 * 2**20))) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(StoreFaultError, match="S3 needs no more"):
                await bucket.list("p/")


class TestObjects:
    async def test_size_is_checked_before_and_while_reading(self) -> None:
        chunked = (
            f"HTTP/1.1 200 OK\r\nDate: {NOW}\r\nETag: x\r\nLast-Modified: {NOW}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n" + "8\r\nxxxxxxxx\r\n" * 4 + "0\r\n\r\n"
        ).encode()
        announced = http(200, Content_Length="10000000000", ETag="x", Last_Modified=NOW)
        async with faulty(chunked, announced) as faults, connect(faults.endpoint) as bucket:
            with pytest.raises(ObjectTooLargeError, match="more than 20"):
                await bucket.get("k", limit=20)
            with pytest.raises(ObjectTooLargeError, match="10000000000"):
                await bucket.get("k", limit=20)

    async def test_foreign_metadata_and_encoding_are_taken_as_they_are(self) -> None:
        head = (
            f'HTTP/1.1 200 OK\r\nDate: {NOW}\r\nETag: "x"\r\nLast-Modified: {NOW}\r\nContent-Length: 3\r\n'
            "Content-Encoding: gzip\r\nX-Amz-Meta-A: 100% %zz %ff\r\nx-amz-meta-b: 1\r\nx-amz-meta-b: 2\r\n"
        ).encode()
        answer = head + b"x-amz-meta-raw: \xff\xc3\xbc\r\n\r\nabc"
        async with faulty(answer) as faults, connect(faults.endpoint) as bucket:
            stored = await bucket.get("k", limit=20)
        assert stored.body == b"abc"
        assert dict(stored.metadata) == {"a": "100% %zz \ufffd", "b": "1,2", "raw": "\ufffdü"}
        assert all(text.encode() for text in stored.metadata.values())


async def test_at_most_16_calls_at_once_and_waiting_costs_no_deadline() -> None:
    running = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.05)
                running -= 1
                writer.write(http(200, b"x", ETag="x", Last_Modified=NOW))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(endpoint, call_limit_s=1.0) as bucket:
            await bucket.get("warm", limit=1)
            # 30 turns of 50 ms: the last ones wait longer than their own deadline.
            await asyncio.gather(*(bucket.get(f"k{number}", limit=1) for number in range(480)))
    assert most == 16


async def test_use_outside_of_its_context_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await connect("http://127.0.0.1:9").list("")
