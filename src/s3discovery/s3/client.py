"""Four verbs on one bucket; a listing is complete or raises."""

import random
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from s3discovery.bucket import Entry, Listing, Stored, Written
from s3discovery.clock import Clock, SystemClock
from s3discovery.credentials import CredentialsProvider
from s3discovery.errors import (
    KeyChangedError,
    ObjectMissingError,
    ObjectTooLargeError,
    PreconditionError,
    StoreFaultError,
)
from s3discovery.node import NO_METADATA
from s3discovery.s3 import refusals
from s3discovery.s3.customer_key import read_customer_key
from s3discovery.s3.location import PAGE_KEYS, Location, locate
from s3discovery.s3.ownership import NO_OWNERSHIP, Ownership
from s3discovery.s3.refusals import Question
from s3discovery.s3.transport import CALL_LIMIT_S, Call, Transport
from s3discovery.s3.wire import (
    NotS3Error,
    Page,
    decode_metadata,
    encode_metadata,
    parse_etag,
    parse_http_date,
    parse_page,
)
from s3discovery.settings.config import Settings
from s3discovery.traffic import Traffic

_PAGE_LIMIT = 8 * 2**20  # bytes; 1,000 keys of S3's longest are 3 MiB when encoded
_PAGES_LIMIT = 1000  # a million keys: a store that goes on and on is broken


class S3Bucket:
    """One bucket on S3 or what speaks its language; an async context manager.

    `region` is signed for, and names AWS's endpoint if `endpoint` is None; see `locate` for both and
    `path_style`. `ownership` is sent beside the objects. `jitter` gives 0..1. Raises SettingsError; no I/O
    before it is entered."""

    def __init__(
        self,
        *,
        name: str,
        region: str,
        credentials: CredentialsProvider,
        endpoint: str | None = None,
        path_style: bool | None = None,
        clock: Clock | None = None,
        call_limit_s: float = CALL_LIMIT_S,
        jitter: Callable[[], float] = random.random,
        transport: type[Transport] = Transport,
        dual_stack: bool = False,
        fips: bool = False,
        environ: Mapping[str, str] = NO_METADATA,
        ownership: Ownership = NO_OWNERSHIP,
        traffic: Traffic | None = None,
    ) -> None:
        self._ownership = ownership
        self._transport = transport(
            location=locate(name, region, endpoint, path_style, dual_stack=dual_stack, fips=fips),
            credentials=credentials,
            clock=SystemClock() if clock is None else clock,
            call_limit_s=call_limit_s,
            jitter=jitter,
            environ=environ,
            traffic=traffic,
        )

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        credentials: CredentialsProvider,
        clock: Clock | None = None,
        environ: Mapping[str, str] = NO_METADATA,
        traffic: Traffic | None = None,
    ) -> Self:
        """Make the bucket that the settings name; raises SettingsError if its key of SSE-C cannot be read."""
        path = settings.sse_customer_key_file
        ownership = Ownership.of(settings, read_customer_key(path) if path else None)
        return cls(
            name=settings.bucket_name,
            region=settings.signing_region if settings.endpoint else settings.bucket_region,
            endpoint=settings.endpoint or None,
            path_style=settings.path_style,
            dual_stack=settings.dual_stack,
            fips=settings.fips,
            environ=environ,
            credentials=credentials,
            clock=clock,
            ownership=ownership,
            traffic=traffic,
        )

    @property
    def location(self) -> Location:
        """Where the bucket is, as far as is known."""
        return self._transport.location

    @property
    def found_region(self) -> str | None:
        """The region that the bucket turned out to be in; None while the configured one is right."""
        return self._transport.found_region

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.close()

    @property
    def credentials_expire_s(self) -> float | None:
        """When those last used end, as Unix seconds by their issuer's clock; None: never, or none used."""
        return self._transport.credentials_expire_s

    async def list(self, prefix: str) -> Listing:
        """Return every entry whose key begins with `prefix`, all pages."""
        entries: list[Entry] = []
        token: str | None = None
        seen: set[str] = set()
        server_time_s: float | None = None
        for number in range(_PAGES_LIMIT):
            page, page_time_s = await self._page(prefix, token)
            if number == 0:
                server_time_s = page_time_s
            entries.extend(page.entries)
            token = page.token
            if token is None:
                return Listing(tuple(entries), server_time_s)
            if token in seen:
                raise StoreFaultError(f"the store lists {prefix!r} in circles: a page's token came twice")
            seen.add(token)
        raise StoreFaultError(
            f"the store does not end its listing of {prefix!r} after {_PAGES_LIMIT * PAGE_KEYS} keys; "
            "set a file-prefix that only node files have"
        )

    async def get(self, key: str, *, limit: int) -> Stored:
        """Read the object; raises ObjectMissingError, or ObjectTooLargeError beyond `limit` bytes."""
        stored, _ = await self._get(key, limit)
        return stored

    async def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        """Write the object, on a condition if one is given.

        When an attempt got no answer and the next is told that the condition does not hold, the object
        is read: if it is what we wrote, the first attempt had succeeded."""
        headers = encode_metadata(metadata) | _conditions(if_match, if_none_match)
        headers |= self._ownership.headers("put")
        question = Question("put", self.location, key, if_match is not None or if_none_match)
        call = Call(question, "PUT", self.location.object_url(key), headers, body)
        try:
            answer = await self._transport.ask(call)
        except PreconditionError:
            found = await self._own_write(call, key, body, metadata)
            if found is None:
                raise
            return found
        etag = answer.headers.get("etag")
        if not etag:
            raise refusals.not_s3(question, answer, "a success without an ETag")
        return Written(parse_etag(etag), answer.server_time_s)

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        """Delete the object; a missing one is no error, unless `if_match` is given.

        False: the store says that there was none, or that one of our own attempts took it away."""
        question = Question("delete", self.location, key, if_match is not None)
        headers = _conditions(if_match, False) | self._ownership.headers("delete")
        call = Call(question, "DELETE", self.location.object_url(key), headers)
        try:
            await self._transport.ask(call)
        except ObjectMissingError:
            return False
        except PreconditionError:
            if not (call.unsure and await self._is_gone(key)):
                raise
            return False
        return True

    async def _page(self, prefix: str, token: str | None) -> tuple[Page, float | None]:
        question = Question("list", self.location, prefix)
        url = self.location.list_url(prefix, token)
        call = Call(question, "GET", url, self._ownership.headers("list"), limit=_PAGE_LIMIT)
        answer = await self._transport.ask(call)
        try:
            page = parse_page(answer.body)
        except NotS3Error as error:
            raise refusals.not_s3(question, answer, str(error)) from error
        for entry in page.entries:
            if not entry.key.startswith(prefix):
                raise KeyChangedError(
                    f"{question} brought {entry.key!r}: the store does not keep keys as they are; choose a "
                    "file-prefix without a leading or doubled '/' and without '\\'"
                )
        return page, answer.server_time_s

    async def _get(self, key: str, limit: int) -> tuple[Stored, float | None]:
        question = Question("get", self.location, key)
        url, headers = self.location.object_url(key), self._ownership.headers("get")
        call = Call(question, "GET", url, headers, limit=limit)
        answer = await self._transport.ask(call)
        etag, modified_s = answer.headers.get("etag"), parse_http_date(answer.headers.get("last-modified"))
        if not etag or modified_s is None:
            raise refusals.not_s3(question, answer, "something without ETag or Last-Modified")
        metadata = decode_metadata(answer.headers.items())
        return Stored(answer.body, parse_etag(etag), modified_s, metadata), answer.server_time_s

    async def _own_write(
        self, call: Call, key: str, body: bytes, metadata: Mapping[str, str]
    ) -> Written | None:
        """Return what an unanswered attempt of `call` wrote, None if it was somebody else."""
        if not call.unsure:
            return None
        try:
            stored, server_time_s = await self._get(key, len(body))
        except (ObjectMissingError, ObjectTooLargeError):
            return None
        if stored.body != body or dict(stored.metadata) != dict(metadata):
            return None
        return Written(stored.etag, server_time_s)

    async def _is_gone(self, key: str) -> bool:
        try:
            await self._get(key, 0)
        except ObjectMissingError:
            return True
        except ObjectTooLargeError:
            return False
        return False


def _conditions(if_match: str | None, if_none_match: bool) -> dict[str, str]:
    headers = {}
    if if_match is not None:
        headers["If-Match"] = f'"{if_match}"'
    if if_none_match:
        headers["If-None-Match"] = "*"
    return headers
