"""One's own node file: written, watched, defended, and taken away on leaving.

The rules: it is rewritten as soon as a listing shows it missing or not as written, and only over what was
seen there, so that no write hides what happened; leaving deletes it only if it is still the one we wrote;
and where two processes share a cluster id, both say so, the one that started later keeps the file, and the
other writes it once, to be noticed, and then no more.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from s3discovery import codec, membership
from s3discovery.bucket import Bucket, Entry, Stored, Written
from s3discovery.clock import Clock
from s3discovery.errors import (
    ConditionUnsupportedError,
    ObjectMissingError,
    ObjectTooLargeError,
    PreconditionError,
)
from s3discovery.membership import Expiry
from s3discovery.node import INCARNATION, Member, NodeFile, Report, is_incarnation
from s3discovery.topology import encode_report

log = logging.getLogger(__name__)

# A clock error that matters to HiveMQ nodes, which compare the time in our file with their own clock.
_SKEW_THAT_MATTERS_S = 2.0
_ANYTHING = "*"
NO_ETAG = "0" * 32  # of no object, but in the form that all stores give
# Of these one may be in the bucket although its answer was lost, or later ones failed.
_BODIES_KEPT = 4
# A store whose Date header is wrong must not make us write at every poll.
_OVERDUE_PAUSE = 0.25


class OwnFile:
    """The file that tells the others where this node is.

    `incarnation` names this process among all that ever used the cluster id, and sorts by start."""

    def __init__(
        self, bucket: Bucket, prefix: str, member: Member, version: str, incarnation: str, clock: Clock
    ) -> None:
        self.key = prefix + member.cluster_id
        self.rival: Member | None = None
        self.skew_s = 0.0
        self.writes = 0
        self.vanished = 0  # how many times a listing did not show it although it was written
        self._bucket = bucket
        self._prefix = prefix
        self._member = replace(
            member, metadata={**member.metadata, INCARNATION: incarnation}, version=version
        )
        self._incarnation = incarnation
        self._clock = clock
        self._lock = asyncio.Lock()
        self._etag: str | None = None
        self._bodies: deque[bytes] = deque(maxlen=_BODIES_KEPT)
        self._was_refused = False
        self._writes_conditionally = True
        self._written_s: float | None = None  # None: not known, as the answer was lost
        self._written_date_s: float | None = None
        self._yielded_to: str | None = None
        self._told: str | None = None
        self._is_retired = False

    @property
    def member(self) -> Member:
        """This node as a member, with what the store last said of its file."""
        return self._member

    @property
    def is_written(self) -> bool:
        """Whether the file was written, and not yielded since to another process of the same id."""
        return self._etag is not None and self._yielded_to is None

    @property
    def incarnation(self) -> str:
        return self._incarnation

    def is_intact(self, entry: Entry | None) -> bool:
        """Tell whether `entry`, the own row of a listing, is as it should be: ours, or yielded by us."""
        return self._etag is None or (entry is not None and entry.etag in (self._etag, self._yielded_to))

    def store_time_s(
        self, entry: Entry | None, monotonic_s: float, server_time_s: float | None
    ) -> float | None:
        """Return S3's time at `monotonic_s`, when its Date header said `server_time_s`; None if unknown.

        The own file tells it, since its LastModified is of the very clock that stamps the others', and the
        moment of writing is known. The earlier of that and the Date header counts: one of them may have
        leapt. A Date header that is always wrong, a proxy's, is corrected by what it said at the writing."""
        if entry is None or entry.etag != self._etag or self._written_s is None:
            return server_time_s
        by_file_s = entry.modified_s + monotonic_s - self._written_s
        if server_time_s is None:
            return by_file_s
        error_s = self._written_date_s - entry.modified_s if self._written_date_s is not None else 0.0
        return min(by_file_s, server_time_s - error_s)

    async def refresh(self) -> bool:
        """Write the file, unless it was yielded to another process of the same id.

        Returns False if it is not there as we left it: then the bucket has to be looked at first, since
        a write would hide what happened."""
        if self._yielded_to is None:
            async with self._lock:
                return self._is_retired or await self._write(over=self._etag or _ANYTHING)
        if self.rival is not None:
            self._complain(self.rival)
        return True

    def say(self, report: Report) -> bool:
        """Have the file tell `report` from the next write on; False if it does already."""
        if self._member.report == report:
            return False
        self._member = replace(self._member, report=report)
        return True

    async def honours(self, *, create: bool) -> bool | None:
        """Write the file on a condition that does not hold; tell whether the store refuses that.

        `create`: that there is no file, else that it has an ETag which it has not. None: it is not ours to
        write."""
        async with self._lock:
            if self._is_retired or not self.is_written:
                return None
            if not self._writes_conditionally:
                return False
            was_refused = self._was_refused
            try:
                if create:
                    await self._put(self._encode(self._now_ms()), None)
                    # It may have been taken away: then the next poll has to find it changed, so that the
                    # wipe is noticed. Only if it can be created twice, the store does not look.
                    self._etag = NO_ETAG
                if await self._write(over=None if create else NO_ETAG):
                    return False
            except (PreconditionError, ObjectMissingError):
                return True
            self._was_refused = was_refused
            return True

    async def keeps_metadata(self) -> bool | None:
        """Read the file; tell whether its metadata came back. None: it is not as we wrote it."""

        async def compare(bucket: Bucket) -> bool | None:
            try:
                stored = await bucket.get(self.key, limit=codec.BODY_LIMIT)
            except (ObjectMissingError, ObjectTooLargeError):
                return None
            if stored.etag != self._etag and stored.body not in self._bodies:
                return None
            return _incarnation(stored.metadata) == self._incarnation

        return await self.while_ours(compare)

    async def while_ours(self, question: Callable[[Bucket], Awaitable[bool | None]]) -> bool | None:
        """Return the answer to `question`; None if the file is not ours to write.

        Whoever takes over, or closes the bucket, waits for it as for a write."""
        async with self._lock:
            return await question(self._bucket) if self.is_written and not self._is_retired else None

    async def use(self, bucket: Bucket) -> None:
        """Go on through another way to the same place, such as one with new credentials."""
        async with self._lock:
            self._bucket = bucket

    async def retire(self) -> None:
        """Begin no other write, and wait for one that is under way: another OwnFile takes over.

        `leave` still works."""
        self._is_retired = True
        async with self._lock:
            pass

    def has_expired(self, file_expiration_s: float) -> bool:
        """Tell whether the others count the file as dead by now, if nobody has written it since."""
        age_s = self._clock.monotonic_s() - self._written_s if self._written_s is not None else 0.0
        return membership.is_expired(age_s=age_s, expiration_s=file_expiration_s)

    async def check(self, entry: Entry | None, writes: int, *, age_s: float, expiry: Expiry) -> bool:
        """Mend the file if `entry`, its row in a listing, is not what we wrote; False: look again.

        `writes` is what `self.writes` was before the listing began: one made since explains a difference.
        `age_s` is the age of the row on S3's clock."""
        is_dead = membership.is_expired(age_s=age_s, expiration_s=expiry.file_expiration_s)
        async with self._lock:
            if writes != self.writes or self._is_retired:
                return True
            if entry is None:
                if self._etag is not None:
                    log.warning("own file vanished, writing it again key=%r", self.key)
                    self.vanished += 1
                return await self._write(over=None)
            if self._etag is None:
                return await self._write()
            if entry.etag == self._etag:
                self._member = replace(self._member, modified_s=entry.modified_s)
                if self._was_refused:
                    # The store refused to write over just this ETag: its conditions cannot be relied on.
                    self._writes_conditionally = False
                if self._was_refused or self._is_overdue(age_s, expiry.update_interval_s):
                    return await self._write(over=entry.etag)
                return True
            if entry.etag != self._yielded_to:
                return await self._examine(entry)
            if is_dead:
                log.info(
                    "the other process of this cluster id is gone, taking the file back key=%r", self.key
                )
                return await self._write(over=entry.etag)
            return True

    def _is_overdue(self, age_s: float, update_interval_s: float) -> bool:
        """Tell whether the file is older on S3's clock than our timer knows, as after a suspended machine."""
        since_write_s = self._clock.monotonic_s() - (self._written_s or 0.0)
        return 0 < update_interval_s < age_s and since_write_s > _OVERDUE_PAUSE * update_interval_s

    async def leave(self) -> None:
        """Delete the file if it is still ours, even if the answer to its writing never came.

        Nothing is written any more, whoever may be waiting to do so."""
        self._is_retired = True
        async with self._lock:
            if not self._bodies or self._yielded_to is not None:
                return
            try:
                stored = await self._bucket.get(self.key, limit=codec.BODY_LIMIT)
                if stored.etag != self._etag and not self._is_ours(stored):
                    log.warning("own file belongs to another process now, leaving it key=%r", self.key)
                    return
                try:
                    await self._bucket.delete(self.key, if_match=stored.etag)
                except ConditionUnsupportedError:
                    await self._bucket.delete(self.key)
            except (ObjectMissingError, ObjectTooLargeError, PreconditionError):
                return
            self._etag = None
            self._bodies.clear()
            log.info("left key=%r", self.key)

    async def _write(self, *, over: str | None = _ANYTHING) -> bool:
        """Write the file over the ETag `over`, over nothing (None), or over whatever is there.

        Returns False, and writes nothing, if something else is there."""
        # An ETag is of the body alone: what metadata says anew must not hide behind the one before.
        written_ms = self._now_ms()
        written_ms += written_ms == self._member.written_ms
        try:
            written = await self._put(self._encode(written_ms), over)
        except (PreconditionError, ObjectMissingError):
            self._was_refused = True
            return False
        self._was_refused = False
        self._written_s, self._written_date_s = self._clock.monotonic_s(), written.server_time_s
        self._adopt(written.etag)
        if written.server_time_s is not None:
            self.note_skew(written.server_time_s)
            self._member = replace(self._member, modified_s=written.server_time_s)
        self._member = replace(self._member, written_ms=written_ms)
        self._yielded_to = None
        return True

    def _now_ms(self) -> int:
        return int((self._clock.wall_s() - self.skew_s) * 1000)

    def _encode(self, written_ms: int) -> bytes:
        member = self._member
        node_file = NodeFile(member.version, written_ms, member.cluster_id, member.address)
        return codec.encode(node_file, member.version)

    async def _put(self, body: bytes, over: str | None) -> Written:
        said = {**self._member.metadata} | encode_report(self._member.report, self._member.cluster_id)
        metadata = {membership.METADATA_PREFIX + key: value for key, value in said.items()}
        self._bodies.append(body)
        if self._writes_conditionally and over != _ANYTHING:
            try:
                return await self._bucket.put(
                    self.key, body, metadata, if_match=over, if_none_match=over is None
                )
            except ConditionUnsupportedError:
                self._writes_conditionally = False
        return await self._bucket.put(self.key, body, metadata)

    def _adopt(self, etag: str) -> None:
        self.writes += 1
        self._etag = etag
        self._member = replace(self._member, etag=etag)

    def note_skew(self, server_time_s: float) -> None:
        """Learn how far the local wall clock is ahead of S3's; small differences are the Date header's."""
        skew_s = self._clock.wall_s() - server_time_s
        self.skew_s = skew_s if abs(skew_s) > _SKEW_THAT_MATTERS_S else 0.0

    async def _examine(self, entry: Entry) -> bool:
        """Somebody wrote our key: find out who, and mend, adopt or yield."""
        try:
            stored = await self._bucket.get(self.key, limit=codec.BODY_LIMIT)
        except ObjectMissingError:
            return False
        except ObjectTooLargeError:
            stored = None
        if stored is not None and self._is_ours(stored):
            # The answer to our own put was lost, or the store gave another ETag then.
            self._adopt(stored.etag)
            self._written_s = None
            self._was_refused = False
            return True
        rival = membership.read(entry, stored, self._prefix, None).member if stored is not None else None
        if stored is None or rival is None or _incarnation(stored.metadata) == self._incarnation:
            log.warning("own file was overwritten, writing it again key=%r", self.key)
            return await self._write(over=entry.etag if stored is None else stored.etag)
        return await self._meet(rival, _incarnation(stored.metadata), stored.etag)

    def _is_ours(self, stored: Stored) -> bool:
        return stored.body in self._bodies and _incarnation(stored.metadata) == self._incarnation

    async def _meet(self, rival: Member, incarnation: str, etag: str) -> bool:
        if rival != self.rival:
            self._complain(rival)
        self.rival = rival
        if incarnation > self._incarnation and self._told == incarnation:
            self._yielded_to = etag
            return True
        self._told = incarnation
        return await self._write(over=etag)

    def _complain(self, rival: Member) -> None:
        log.error(
            "cluster id used twice, stop one process or give it another cluster-id "
            "cluster_id=%r own_address=%s other_address=%r",
            self._member.cluster_id,
            self._member.address,
            str(rival.address),
        )


def _incarnation(metadata: Mapping[str, str]) -> str:
    """Return the incarnation that wrote a file; empty, so older than all, for other systems' files."""
    text = metadata.get(membership.METADATA_PREFIX + INCARNATION, "")
    return text if is_incarnation(text) else ""
