"""Each permission, by really using it on a key that stands for no node and is gone at once.

HiveMQ's nodes read every object below the prefix: one with nothing but a line break in it they skip without
a word (at their log level for debugging). Our own nodes know the key. Whatever happens, Ctrl-C included, the
probe is taken away again.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from s3discovery.bucket import Bucket, Listing
from s3discovery.capabilities import Capabilities
from s3discovery.doctor.diagnosis import Asked, explain_denial, said
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, Verdict, not_reached, not_tried, ok
from s3discovery.errors import (
    AccessDeniedError,
    BucketError,
    BucketMissingError,
    ConditionUnsupportedError,
    DiscoveryError,
    ObjectMissingError,
    PreconditionError,
)
from s3discovery.membership import is_probe

log = logging.getLogger(__name__)

WRITING = ("delete", "put", "conditions", "metadata", "encryption")
_BODY = b"\n"
_BODY_LIMIT = 8192  # bytes; a node file is read where there is one
# Survives every header as it stands, and escaped: what nodes publish is plain, what users may set is not.
_METADATA = {"s3discovery-probe": "a1-_.~", "s3discovery-probe-text": "grün 100 %"}
_NO_ETAG = "0" * 32  # nothing hashes to this
_CLEAN_UP_LIMIT_S = 4.0
_LEFT_BEHIND_S = 600.0  # a doctor that was killed left it

_Result = TypeVar("_Result")


class Probe:
    """A key below the prefix that is this examination's own, while the context is entered."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.key = f"{prefix}s3discovery-probe-{secrets.token_hex(8)}"
        self.failure: DiscoveryError | None = None  # why it could not be taken away
        self._bucket = bucket
        self._may_exist = False
        self._under_way: set[asyncio.Task[Any]] = set()

    async def put(
        self, *, if_match: str | None = None, if_none_match: bool = False, through: Bucket | None = None
    ) -> str:
        """Write the probe, maybe `through` another way to the bucket; return its ETag."""
        existed, self._may_exist = self._may_exist, True
        put = (through or self._bucket).put(
            self.key, _BODY, _METADATA, if_match=if_match, if_none_match=if_none_match
        )
        try:
            return (await self._unbroken(put)).etag
        except BucketError as error:
            if error.status is not None and error.status < 500:
                self._may_exist = existed  # refused for certain
            raise

    async def delete(self, *, if_match: str | None = None) -> None:
        await self._unbroken(self._bucket.delete(self.key, if_match=if_match))
        self._may_exist = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            async with asyncio.timeout(_CLEAN_UP_LIMIT_S):
                if self._under_way:
                    await asyncio.wait(self._under_way)
                if self._may_exist:
                    await self._bucket.delete(self.key)
                    self._may_exist = False
        except TimeoutError:
            self.failure = DiscoveryError(f"no answer within {_CLEAN_UP_LIMIT_S:g} s")
        except DiscoveryError as error:
            self.failure = error
        if self.failure is not None:
            log.error("probe left behind, delete it by hand key=%r error=%s", self.key, self.failure)

    async def _unbroken(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Wait for `work`, which goes on when the waiting is cancelled: what it wrote must be known."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)


class Permissions:
    """What these credentials may do with objects below the prefix; `findings` by check.

    `encryption` is what is asked for with each write, None for nothing; `plain` then writes without it."""

    def __init__(
        self,
        bucket: Bucket,
        asked: Asked,
        prefix: str,
        encryption: str | None = None,
        plain: Bucket | None = None,
    ) -> None:
        self.findings: dict[str, Finding] = {}
        self.is_bucket_missing = False
        self._bucket = bucket
        self._asked = asked
        self._prefix = prefix
        self._encryption = encryption
        self._plain = plain
        self._seen = Capabilities()

    @property
    def has_any(self) -> bool:
        return any(
            finding.verdict is Verdict.OK
            for check, finding in self.findings.items()
            if check in ("get", "put", "delete")
        )

    async def look(self, listing: Listing | None) -> None:
        """Find out what can be found without writing."""
        for check in WRITING:
            self.findings[check] = not_tried(check)
        rows = () if listing is None else listing.entries
        key = next((row.key for row in rows if row.size <= _BODY_LIMIT), None)
        missing = f"{self._prefix}s3discovery-probe-{'0' * 16}"
        self.findings["get"] = await self._read(key or missing, is_told=listing is not None, because="list")

    async def use(self, listing: Listing | None) -> None:
        """Use each of them on a probe."""
        async with Probe(self._bucket, self._prefix) as probe:
            deletes = self.findings["delete"] = await self._delete(probe)
            etag = await self._put(probe, can_clean_up=deletes.verdict is Verdict.OK)
            is_told = etag is not None or listing is not None
            self.findings["get"] = await self._read(probe.key, is_told=is_told, because="put")
            if etag is None:
                self._pass_over("put")
            else:
                self.findings["metadata"] = await self._compare(probe)
                self.findings["conditions"] = await self._try_conditions(probe, etag)
        if probe.failure is not None and etag is not None:
            check = "delete" if deletes.fault is None else "put"
            self.findings[check] = report("probe-left", str(probe.failure), check=check, key=repr(probe.key))

    async def sweep(self, listing: Listing | None) -> None:
        """Take away what examinations left that were killed."""
        if listing is None or listing.server_time_s is None:
            return
        for row in listing.entries:
            if is_probe(row.key, self._prefix) and listing.server_time_s - row.modified_s > _LEFT_BEHIND_S:
                try:
                    await self._bucket.delete(row.key)
                except DiscoveryError as error:
                    log.warning("probe of another examination left key=%r error=%s", row.key, error)

    def _pass_over(self, because: str) -> None:
        for check in ("metadata", "conditions", "encryption"):
            self.findings.setdefault(check, not_reached(check, because))

    async def _delete(self, probe: Probe) -> Finding:
        """Delete what is not there: that needs the same permission."""
        return await self._asked_for("delete", probe.key, probe.delete())

    async def _put(self, probe: Probe, *, can_clean_up: bool) -> str | None:
        """Write the probe, or, where it could not be taken away, write it on a condition that does not hold.

        Returns its ETag; None where nothing was written."""
        etag = ""

        async def write() -> None:
            nonlocal etag
            if can_clean_up:
                etag = await self._create(probe)
                return
            with contextlib.suppress(PreconditionError, ObjectMissingError):
                etag = await probe.put(if_match=_NO_ETAG)

        found = await self._asked_for("put", probe.key, write())
        if found.fault is None:
            text = "none set" if self._encryption is None else f"{self._encryption} accepted"
            self.findings["encryption"] = ok("encryption", text)
        elif found.fault == "write-failed" and can_clean_up and await self._is_written_plainly(probe):
            self.findings["encryption"] = report(
                "encryption-refused", f"{self._encryption}: {found.found}", cure=found.cure or ""
            )
            found = not_reached("put", "encryption")
        self.findings["put"] = found
        return etag or None

    async def _is_written_plainly(self, probe: Probe) -> bool:
        if self._plain is None:
            return False
        try:
            await probe.put(through=self._plain)
        except DiscoveryError:
            return False
        return True

    async def _create(self, probe: Probe) -> str:
        try:
            return await probe.put(if_none_match=True)
        except (ConditionUnsupportedError, PreconditionError):
            self._seen = replace(self._seen, conditional_create=False)
            return await probe.put()

    async def _read(self, key: str, *, is_told: bool, because: str) -> Finding:
        """Read `key`; `is_told` tells whether a refusal is about reading: S3 says that an object is missing
        only to who may list, and else that access is denied."""

        async def read() -> None:
            with contextlib.suppress(ObjectMissingError):  # only who may read is told so
                await self._bucket.get(key, limit=_BODY_LIMIT)

        found = await self._asked_for("get", key, read())
        return not_reached("get", because) if found.fault == "get-denied" and not is_told else found

    async def _asked_for(self, verb: str, key: str, work: Awaitable[None]) -> Finding:
        try:
            await work
        except AccessDeniedError as error:
            return explain_denial(error, verb, self._asked, key)
        except DiscoveryError as error:
            self.is_bucket_missing = self.is_bucket_missing or isinstance(error, BucketMissingError)
            name = {"put": "write-failed", "get": "read-failed", "delete": "delete-failed"}[verb]
            return report(name, said(error), cure=str(error))
        return ok(verb, "allowed")

    async def _compare(self, probe: Probe) -> Finding:
        try:
            stored = await self._bucket.get(probe.key, limit=_BODY_LIMIT)
        except DiscoveryError:
            return not_reached("metadata", "get")
        lost = {name for name, text in _METADATA.items() if stored.metadata.get(name) != text}
        if lost:
            return report("metadata-lost", f"{len(lost)} of {len(_METADATA)} values came back otherwise")
        return ok("metadata", "kept")

    async def _try_conditions(self, probe: Probe, etag: str) -> Finding:
        """Ask for what must be refused, and for what must not."""
        seen = self._seen
        try:
            if seen.conditional_create is None:
                seen = replace(seen, conditional_create=await _is_refused(probe.put(if_none_match=True)))
            writes = await _is_refused(probe.put(if_match=_NO_ETAG))
            if writes:
                try:
                    await probe.put(if_match=etag)
                except (PreconditionError, ConditionUnsupportedError):
                    return report("conditions-refused", "If-Match is refused though it holds")
            seen = replace(seen, conditional_write=writes)
            seen = replace(seen, conditional_delete=await _is_refused(probe.delete(if_match=_NO_ETAG)))
        except DiscoveryError as error:
            return report("write-failed", said(error), check="conditions", cure=str(error))
        missing = dict(seen.missing())
        if missing:
            names = ", ".join(missing)
            return report("conditions-ignored", f"not honoured: {names}", cost="; ".join(missing.values()))
        return ok("conditions", "create, overwrite and delete honour them")


async def _is_refused(work: Coroutine[Any, Any, object]) -> bool:
    """Tell whether a request whose condition does not hold is refused for that."""
    try:
        await work
    except PreconditionError:
        return True
    except ConditionUnsupportedError:
        return False
    return False
