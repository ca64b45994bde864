"""One HTTP session to one bucket: signs, sends, reads, and asks again for what may pass.

Every call has a deadline, and is signed by the store's time once the machine's has been refused.
Redirects are never followed: a signature holds for one host, and a login page is no bucket. But where the
store names another region, the bucket is asked for there, and if that helps, from then on.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

import aiohttp
from yarl import URL

from s3discovery.clock import Clock
from s3discovery.credentials import CredentialsProvider
from s3discovery.errors import BucketError, ObjectTooLargeError, StoreFaultError, ThrottledError
from s3discovery.node import NO_METADATA
from s3discovery.s3 import outages, refusals
from s3discovery.s3.call import REFUSAL_LIMIT, Call
from s3discovery.s3.location import Location
from s3discovery.s3.refusals import SKEW_CODE, Question
from s3discovery.s3.retries import RETRIES, backoff_s, is_passing, retry_after_s
from s3discovery.s3.route import Route
from s3discovery.s3.session import CONCURRENT_CALLS, make_session
from s3discovery.s3.wire import Answer, parse_refusal

__all__ = ["CALL_LIMIT_S", "CONCURRENT_CALLS", "Call", "Transport"]
from s3discovery.traffic import Traffic

log = logging.getLogger(__name__)

CALL_LIMIT_S = 10.0
_SKEW_S = 300.0  # S3 refuses from 15 minutes on; other stores from 5
_OK = {"list": (200,), "get": (200,), "put": (200, 201, 204), "delete": (200, 202, 204)}


class Transport:
    """The way to a bucket; opened and closed by its owner. `jitter` gives 0..1.

    `environ` names proxies and CAs; a proxy that is written wrong raises SettingsError."""

    def __init__(
        self,
        *,
        location: Location,
        credentials: CredentialsProvider,
        clock: Clock,
        call_limit_s: float = CALL_LIMIT_S,
        jitter: Callable[[], float] = random.random,
        environ: Mapping[str, str] = NO_METADATA,
        traffic: Traffic | None = None,
    ) -> None:
        self._route = Route(location, environ)
        self._traffic = traffic or Traffic()
        self._credentials = credentials
        self._clock = clock
        self._call_limit_s = call_limit_s
        self._jitter = jitter
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)
        self._session: aiohttp.ClientSession | None = None
        # The store's time minus our monotonic time, once the wall clock has been refused.
        self._store_offset_s: float | None = None
        self.credentials_expire_s: float | None = None

    @property
    def location(self) -> Location:
        """Where the bucket is, as far as is known."""
        return self._route.location

    @property
    def found_region(self) -> str | None:
        """The region that the bucket turned out to be in, None while the first one is right."""
        return self._route.found_region

    def open(self) -> None:
        """Make the session; connections follow with the first calls.

        Raises SettingsError if the CAs that a variable names cannot be read."""
        self._session = make_session(self._route.make_context())

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
                raise self._route.explain_outage(call, error, self._call_limit_s) from error

    async def _persist(self, call: Call) -> Answer:
        """Ask until there is an answer that asking again would not change, or the deadline is too near."""
        deadline_s = self._clock.monotonic_s() + self._call_limit_s
        retry = 0
        while True:
            try:
                answer = await self._count(call)
            except outages.LOST as error:
                trouble, lasting = self._note_outage(call, error), outages.is_lasting(error)
                wait_s = 0.0
            else:
                if answer.status in _OK[call.question.verb]:
                    self._route.settle(call)
                    return answer
                trouble = call.trouble = self._route.explain_refusal(call, answer)
                if self._corrects_time(call, answer) or self._route.leads_on(call, trouble):
                    continue
                wait_s = self._note_refusal(call, answer, trouble)
                lasting = not is_passing(answer.status, trouble.code)
            wait_s = max(wait_s, backoff_s(retry, self._jitter))
            if lasting or retry == RETRIES or self._clock.monotonic_s() + wait_s >= deadline_s:
                raise self._route.verdict(call, trouble)
            log.debug(
                "s3 retry verb=%s key=%r retry=%d wait_s=%.2f cause=%r",
                call.question.verb, call.question.key, retry + 1, wait_s, str(trouble),
            )  # fmt: skip
            retry += 1
            await self._clock.sleep(wait_s)

    def _note_outage(self, call: Call, error: BaseException) -> BucketError:
        call.unsure = True
        call.trouble = self._route.explain_outage(call, error, self._call_limit_s)
        if not isinstance(error, aiohttp.ClientResponseError):  # which shows the request, secrets and all
            call.trouble.__cause__ = error
        return call.trouble

    def _note_refusal(self, call: Call, answer: Answer, trouble: BucketError) -> float:
        """Return for how long the store wants to be left alone."""
        self._route.settle(call, trouble)
        call.unsure = call.unsure or answer.status >= 500
        wait_s = retry_after_s(answer, self._clock.wall_s())
        if isinstance(trouble, ThrottledError):
            trouble.retry_after_s = wait_s
        return wait_s

    async def signed(self, call: Call) -> dict[str, str]:
        """Return the headers of `call` with its signature of this moment; anonymous calls have none."""
        credentials = await self._credentials.credentials()
        self.credentials_expire_s = credentials.expires_s
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
            region=call.question.location.region,
            at_s=call.signed_at_s,
        )

    async def _count(self, call: Call) -> Answer:
        """Send once, and count what went over the wire; a call that was never sent is no traffic."""
        started_s, sent = self._clock.monotonic_s(), call.sent
        outcome, received = "lost", 0
        try:
            answer = await self._send(call)
            outcome, received = str(answer.status), len(answer.body)
        except BucketError:
            outcome = "unusable"
            raise
        finally:
            if call.sent > sent:
                took_s = self._clock.monotonic_s() - started_s
                self._traffic.note(
                    call.question.verb, outcome, took_s, sent_bytes=len(call.body), received_bytes=received
                )
        return answer

    async def _send(self, call: Call) -> Answer:
        """Sign, send and read once; raises one of outages.LOST, or ObjectTooLargeError."""
        if self._session is None:
            raise RuntimeError("S3Bucket is used outside of its `async with`")
        headers = await self.signed(call)
        proxy, to_proxy = self._route.proxy_for(call), dict[str, str]()
        if proxy is not None and proxy.authorization is not None:
            to_proxy = {"Proxy-Authorization": proxy.authorization.reveal()}
            if call.url.startswith("http:"):  # read by the proxy as it passes; by TLS, CONNECT alone has it
                headers = {**headers, **to_proxy}
        sent = call.sent
        try:
            async with self._session.request(
                call.method,
                URL(call.url, encoded=True),
                headers=headers,
                data=call.body or None,
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=to_proxy or None,
                trace_request_ctx=call,
            ) as response:
                return await _read(call, response)
        except aiohttp.ClientHttpProxyError:
            raise
        except aiohttp.ClientResponseError as error:
            # Without the cause: it shows the request, with tokens and keys among its headers.
            what = f"what is no HTTP ({error.message[:80]!r})"
            trouble = refusals.not_s3(call.question, Answer(error.status, {}), what)
        finally:
            # aiohttp asks once more by itself when a kept connection turns out closed.
            call.unsure = call.unsure or call.sent > sent + 1
        raise trouble

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


async def _read(call: Call, response: aiohttp.ClientResponse) -> Answer:
    """Read an answer: of a success at most the call's limit, of a refusal at most what is looked at."""
    headers = {name.lower(): ",".join(response.headers.getall(name)) for name in response.headers}
    succeeded = response.status in _OK[call.question.verb]
    limit = call.limit if succeeded else REFUSAL_LIMIT
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
