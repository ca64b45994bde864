"""One HTTP session to one bucket: signs, sends, reads, and asks again for what may pass.

Every call has a deadline, and is signed by the store's time once the machine's has been refused.
Redirects are never followed: a signature holds for one host, and a login page is no bucket.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from s3discovery.clock import Clock
from s3discovery.credentials import CredentialsProvider
from s3discovery.errors import BucketError, ObjectTooLargeError, StoreFaultError, ThrottledError
from s3discovery.names import Names
from s3discovery.s3 import outages, refusals
from s3discovery.s3.refusals import SKEW_CODE, Question
from s3discovery.s3.retries import RETRIES, backoff_s, is_passing, retry_after_s
from s3discovery.s3.wire import Answer, parse_refusal

log = logging.getLogger(__name__)

CONCURRENT_CALLS = 16
CALL_LIMIT_S = 10.0
_CONNECT_LIMIT_S = 3.0  # so that a lost SYN leaves time for another try
_SILENCE_LIMIT_S = 5.0  # so that a lost answer does
_REFUSAL_LIMIT = 64 * 2**10  # bytes of an error document that are read
_SKEW_S = 300.0  # S3 refuses from 15 minutes on; other stores from 5
_OK = {"list": (200,), "get": (200,), "put": (200, 201, 204), "delete": (200, 202, 204)}


@dataclass(slots=True)
class Call:
    """One request and what has become of it.

    `sent` counts how often its head went out; `unsure` is set once an attempt may have been carried
    out although no answer came."""

    question: Question
    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    limit: int = _REFUSAL_LIMIT
    signed_at_s: float = 0.0
    unsure: bool = False
    sent: int = 0
    time_corrected: bool = False
    trouble: BucketError | None = None


class _Resolver(AbstractResolver):
    """Names by threads that hold up nothing when a name server does not answer."""

    def __init__(self) -> None:
        self._names = Names()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [
            (address, socket.AF_INET6 if ":" in address else socket.AF_INET)
            for address in await self._names.find(host)
        ]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
            for address, kind in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        return None


class Transport:
    """The way to a bucket; opened and closed by its owner. `jitter` gives 0..1."""

    def __init__(
        self,
        *,
        region: str,
        credentials: CredentialsProvider,
        clock: Clock,
        call_limit_s: float = CALL_LIMIT_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._region = region
        self._credentials = credentials
        self._clock = clock
        self._call_limit_s = call_limit_s
        self._jitter = jitter
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)
        self._session: aiohttp.ClientSession | None = None
        # The store's time minus our monotonic time, once the wall clock has been refused.
        self._store_offset_s: float | None = None

    def open(self) -> None:
        """Make the session; connections follow with the first calls."""
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_count_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONCURRENT_CALLS, resolver=_Resolver()),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_LIMIT_S, sock_read=_SILENCE_LIMIT_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "s3discovery", "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            trace_configs=[trace],
        )

    async def close(self) -> None:
        """Close all connections; safe to repeat."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, call: Call) -> Answer:
        """Return the answer of success, or raise the error; the deadline runs once there is a free slot."""
        async with self._slots:
            try:
                async with asyncio.timeout(self._call_limit_s):
                    return await self._persist(call)
            except TimeoutError as error:
                if call.trouble is not None:
                    raise call.trouble from error
                raise outages.explain(call.question, error, limit_s=self._call_limit_s) from error

    async def _persist(self, call: Call) -> Answer:
        """Ask until there is an answer that asking again would not change, or the deadline is too near."""
        deadline_s = self._clock.monotonic_s() + self._call_limit_s
        retry = 0
        while True:
            wait_s, lasting = 0.0, False
            try:
                answer = await self._send(call)
            except outages.LOST as error:
                call.unsure = True
                call.trouble = outages.explain(call.question, error, limit_s=self._call_limit_s)
                call.trouble.__cause__ = error
                lasting = outages.is_lasting(error)
            else:
                if answer.status in _OK[call.question.verb]:
                    return answer
                if self._corrects_time(call, answer):
                    continue
                call.trouble = refusals.explain(call.question, answer)
                lasting = not is_passing(answer.status, call.trouble.code)
                call.unsure = call.unsure or answer.status >= 500
                wait_s = retry_after_s(answer, self._clock.wall_s())
                if isinstance(call.trouble, ThrottledError):
                    call.trouble.retry_after_s = wait_s
            wait_s = max(wait_s, backoff_s(retry, self._jitter))
            if lasting or retry == RETRIES or self._clock.monotonic_s() + wait_s >= deadline_s:
                raise call.trouble
            log.debug(
                "s3 retry verb=%s key=%r retry=%d wait_s=%.2f cause=%r",
                call.question.verb, call.question.key, retry + 1, wait_s, str(call.trouble),
            )  # fmt: skip
            retry += 1
            await self._clock.sleep(wait_s)

    async def signed(self, call: Call) -> dict[str, str]:
        """Return the headers of `call` with its signature of this moment; anonymous calls have none."""
        credentials = await self._credentials.credentials()
        if credentials.is_anonymous:
            call.signed_at_s = self._store_time_s()
            return call.headers
        # Loaded here, when the first request is due: 70 ms that a start need not wait for.
        from s3discovery.s3.signing import sign

        call.signed_at_s = self._store_time_s()
        return sign(
            call.method,
            call.url,
            call.headers,
            call.body,
            credentials=credentials,
            region=self._region,
            at_s=call.signed_at_s,
        )

    async def _send(self, call: Call) -> Answer:
        """Sign, send and read once; raises one of outages.LOST, or ObjectTooLargeError."""
        if self._session is None:
            raise RuntimeError("S3Bucket is used outside of its `async with`")
        headers = await self.signed(call)
        sent = call.sent
        try:
            async with self._session.request(
                call.method,
                URL(call.url, encoded=True),
                headers=headers,
                data=call.body or None,
                allow_redirects=False,
                trace_request_ctx=call,
            ) as response:
                return await _read(call, response)
        except aiohttp.ClientResponseError as error:
            answer = Answer(error.status, {})
            raise refusals.not_s3(
                call.question, answer, f"what is no HTTP ({error.message[:80]!r})"
            ) from error
        finally:
            # aiohttp asks once more by itself when a kept connection turns out closed.
            call.unsure = call.unsure or call.sent > sent + 1

    def _store_time_s(self) -> float:
        if self._store_offset_s is None:
            return self._clock.wall_s()
        return self._clock.monotonic_s() + self._store_offset_s

    def _corrects_time(self, call: Call, answer: Answer) -> bool:
        """Take over the store's time if `answer` refuses ours; True if it is worth asking again.

        From then on monotonic time is added to the store's, so that the wall clock may do as it likes."""
        if answer.status not in (400, 401, 403):
            return False
        refusal = parse_refusal(answer.body)
        store_s = answer.server_time_s if refusal.server_time_s is None else refusal.server_time_s
        if store_s is None:
            return False
        skew_s = store_s - call.signed_at_s
        if call.time_corrected:
            if refusal.code == SKEW_CODE:
                self._store_offset_s = None  # the time that the store gives is not the one it checks
            return False
        if refusal.code != SKEW_CODE and abs(skew_s) < _SKEW_S:
            return False
        if abs(store_s - self._store_time_s()) > 1:  # else another call has done it
            log.warning("clock skewed store=%s by_s=%.0f", call.question.location.endpoint, skew_s)
            self._store_offset_s = store_s - self._clock.monotonic_s()
        call.time_corrected = True
        return True


async def _count_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.sent += 1


async def _read(call: Call, response: aiohttp.ClientResponse) -> Answer:
    """Read an answer: of a success at most the call's limit, of a refusal at most what is looked at."""
    headers = {name.lower(): ",".join(response.headers.getall(name)) for name in response.headers}
    succeeded = response.status in _OK[call.question.verb]
    limit = call.limit if succeeded else _REFUSAL_LIMIT
    announced = response.content_length
    body = bytearray()
    if not (succeeded and announced is not None and announced > limit):
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                break
        else:
            return Answer(response.status, headers, bytes(body))
    response.close()  # the rest is not wanted, so the connection is of no more use
    if not succeeded:
        return Answer(response.status, headers, bytes(body[:limit]))
    raise _too_large(call.question, announced, limit)


def _too_large(question: Question, announced: int | None, limit: int) -> BucketError:
    size = f"more than {limit}" if announced is None else f"{announced}"
    if question.verb == "list":
        return StoreFaultError(f"{question} was answered with {size} bytes; S3 needs no more than {limit}")
    return ObjectTooLargeError(
        f"object {question.key!r} has {size} bytes, more than the {limit} that are read"
    )
