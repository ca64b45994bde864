"""Each permission, by really using it on a probe, and what the store makes of what is written."""

import contextlib
import logging
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from typing import Any

from s3discovery.bucket import Bucket, Listing, Stored
from s3discovery.capabilities import Capabilities
from s3discovery.doctor.diagnosis import Asked, explain_denial, said, split_cure
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, Verdict, not_reached, not_tried, ok
from s3discovery.doctor.probe import BODY, METADATA, Probe
from s3discovery.errors import (
    AccessDeniedError,
    BucketMissingError,
    ConditionUnsupportedError,
    DiscoveryError,
    KeyChangedError,
    ObjectMissingError,
    PreconditionError,
)
from s3discovery.membership import is_probe

log = logging.getLogger(__name__)

WRITING = ("delete", "put", "listed", "conditions", "metadata", "encryption")
_BODY_LIMIT = 8192  # bytes; a node file is read where there is one
_SHOWN = 40  # bytes of what came back instead of the probe
_ENCRYPTION_KEYS = {
    "SSE-C": "sse-customer-key-file",
    "aws:kms": "server-side-encryption and kms-key-id",
    "aws:kms:dsse": "server-side-encryption and kms-key-id",
}
_NO_ETAG = "0" * 32  # nothing hashes to this
_LEFT_BEHIND_S = 600.0  # a doctor that was killed left it


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
        found, stored = await self._read(key or missing, is_told=listing is not None, because="list")
        if key is None and stored is not None:
            found = _read_wrongly(f"{missing!r} was given, and is not listed")
        self.findings["get"] = found

    async def use(self, listing: Listing | None) -> None:
        """Use each of them on a probe."""
        async with Probe(self._bucket, self._prefix) as probe:
            deletes = self.findings["delete"] = await self._delete(probe)
            etag = await self._put(probe, can_clean_up=deletes.verdict is Verdict.OK)
            is_told = etag is not None or listing is not None
            found, stored = await self._read(probe.key, is_told=is_told, because="put")
            if found.verdict is Verdict.OK and (etag is not None or not probe.may_exist):
                found = _judge_read(found, stored, is_there=etag is not None)
            self.findings["get"] = found
            if etag is None:
                self._pass_over("put")
            else:
                can_list = listing is not None
                self.findings["listed"] = (
                    await self._find(probe.key, etag) if can_list else not_reached("listed", "list")
                )
                self.findings["metadata"] = _compare(stored)
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
        for check in ("listed", "metadata", "conditions", "encryption"):
            self.findings.setdefault(check, not_reached(check, because))

    async def _delete(self, probe: Probe) -> Finding:
        """Delete what is not there: that needs the same permission."""
        return await self._asked_for("delete", probe.delete())

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

        found = await self._asked_for("put", write())
        if found.fault is None:
            text = "none set" if self._encryption is None else f"{self._encryption} accepted"
            self.findings["encryption"] = ok("encryption", text)
        elif found.fault == "write-failed" and can_clean_up and await self._is_written_plainly(probe):
            self.findings["encryption"] = report(
                "encryption-refused",
                f"{self._encryption}: {found.found}",
                keys=_ENCRYPTION_KEYS.get(self._encryption or "", "server-side-encryption"),
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

    async def _read(self, key: str, *, is_told: bool, because: str) -> tuple[Finding, Stored | None]:
        """Read `key`; `is_told` tells whether a refusal is about reading: S3 says that an object is missing
        only to who may list, and else that access is denied."""
        stored: Stored | None = None

        async def read() -> None:
            nonlocal stored
            with contextlib.suppress(ObjectMissingError):  # only who may read is told so
                stored = await self._bucket.get(key, limit=_BODY_LIMIT)

        found = await self._asked_for("get", read())
        if found.fault == "get-denied" and not is_told:
            found = not_reached("get", because)
        return found, stored

    async def _find(self, key: str, etag: str) -> Finding:
        """List the prefix, and look for what was just written: nodes find each other by nothing else."""
        try:
            rows = (await self._bucket.list(self._prefix)).entries
        except KeyChangedError as error:
            return report("keys-changed", str(error), check="listed")
        except DiscoveryError as error:
            return report("read-failed", said(error), check="listed", cure=split_cure(error)[1])
        found = next((row.etag for row in rows if row.key == key), None)
        if found == etag:
            return ok("listed", "at once, as it was written")
        if found is not None:
            return report("list-stale", f"{key!r} is listed with the ETag {found!r}, and has {etag!r}")
        # Some stores take such a key for another, and list that: below another prefix, so not here.
        if self._prefix.startswith("/") or "//" in self._prefix or "\\" in self._prefix:
            return report("keys-changed", f"{key!r} was written, and is not listed", check="listed")
        return report("list-stale", f"{key!r} was written, and is not listed")

    async def _asked_for(self, verb: str, work: Awaitable[None]) -> Finding:
        try:
            await work
        except AccessDeniedError as error:
            return explain_denial(error, verb, self._asked, self._prefix)
        except DiscoveryError as error:
            self.is_bucket_missing = self.is_bucket_missing or isinstance(error, BucketMissingError)
            name = {"put": "write-failed", "get": "read-failed", "delete": "delete-failed"}[verb]
            return report(name, said(error), cure=split_cure(error)[1])
        return ok(verb, "allowed")

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
            return report("write-failed", said(error), check="conditions", cure=split_cure(error)[1])
        missing = dict(seen.missing())
        if missing:
            names = ", ".join(missing)
            return report("conditions-ignored", f"not honoured: {names}", cost="; ".join(missing.values()))
        return ok("conditions", "create, overwrite and delete honour them")


def _judge_read(found: Finding, stored: Stored | None, *, is_there: bool) -> Finding:
    """Return `found` for a read that was allowed, unless it gave something else than the probe."""
    if not is_there:
        return found if stored is None else _read_wrongly("what was never written was given")
    if stored is None:
        return _read_wrongly("what was just written is said to be missing")
    if stored.body != BODY:
        return _read_wrongly(f"{BODY!r} was written, and {stored.body[:_SHOWN]!r} came back")
    return found


def _read_wrongly(found: str) -> Finding:
    return report("read-failed", found, cure="check s3-endpoint, and what stands between: this is no store")


def _compare(stored: Stored | None) -> Finding:
    if stored is None:
        return not_reached("metadata", "get")
    lost = {name for name, text in METADATA.items() if stored.metadata.get(name) != text}
    if lost:
        return report("metadata-lost", f"{len(lost)} of {len(METADATA)} values came back otherwise")
    return ok("metadata", "kept")


async def _is_refused(work: Coroutine[Any, Any, object]) -> bool:
    """Tell whether a request whose condition does not hold is refused for that."""
    try:
        await work
    except PreconditionError:
        return True
    except ConditionUnsupportedError:
        return False
    return False
