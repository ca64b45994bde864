"""Discovery: one's own node file kept in the bucket, and the files of the others watched.

Register, poll, refresh, expire, leave. Two tasks share one bucket: `poll` lists it and decides who is
a member, `refresh` rewrites the own file before it expires. What they decide is computed by the pure
modules membership and schedule; here are the order of requests and what becomes of their errors.
"""

import asyncio
import logging
import math
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from s3discovery import membership, schedule
from s3discovery.bucket import Bucket, Entry, Expiring, Listing
from s3discovery.capabilities import UNKNOWN, Capabilities
from s3discovery.clock import Clock, SystemClock, sleep_unless
from s3discovery.codec import BODY_LIMIT
from s3discovery.errors import (
    BucketError,
    ConditionUnsupportedError,
    DiscoveryError,
    ObjectMissingError,
    PreconditionError,
    ThrottledError,
    UnreachableError,
)
from s3discovery.known_files import KnownFiles
from s3discovery.membership import Change, Expiry, View
from s3discovery.node import Member, Report
from s3discovery.own_file import OwnFile
from s3discovery.settings.claim import claim_key
from s3discovery.settings.config import Settings
from s3discovery.survey import Survey

log = logging.getLogger(__name__)

LEAVE_LIMIT_S = 5.0
# A broker waits for the first attempt before it serves clients; a store that hangs must not hold it up.
_FIRST_ATTEMPT_LIMIT_S = 5.0
_SURVEY_RETRY_LIMIT_S = 3600.0  # a store that refuses to say what it honours need not be pressed


@dataclass(frozen=True, slots=True)
class Status:
    """How discovery is doing.

    `registered`: the own file is in the bucket and not expired (False for an observer). `error` is why the
    last poll failed and `write_error` why the last write of the own file did; None when all is well.
    `listed_s` is our monotonic time of the last complete listing. `read_error` is why some file could not be
    read at the last poll. `rival` is another process that uses our cluster id. `problems` by key are files
    that cannot be used, and why. `skew_s`: the local wall clock is ahead of S3's by so much. `capabilities`
    is what the store honours, unknown to an observer. `credentials_until_s` is when the credentials in use
    end, by their issuer's clock (Unix seconds); None: never, as far as is known."""

    registered: bool = False
    error: DiscoveryError | None = None
    write_error: DiscoveryError | None = None
    read_error: DiscoveryError | None = None
    listed_s: float | None = None
    rival: Member | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    skew_s: float | None = None
    capabilities: Capabilities = UNKNOWN
    credentials_until_s: float | None = None


class Discovery:
    """The nodes in a bucket, for as long as the context is entered.

    With `own` (a Member that needs only id, address and metadata) this process is a node itself; without,
    it observes and writes nothing. Entering makes one attempt to register and to list; if the store
    refuses, attempts go on and `status` says why. Leaving takes at most 5 s."""

    def __init__(
        self, settings: Settings, bucket: Bucket, own: Member | None = None, *, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._bucket = bucket
        self._clock = clock or SystemClock()
        self._incarnation = f"{int(self._clock.wall_s() * 1000):013d}-{secrets.token_hex(8)}"
        self._own = self._own_file(settings, bucket, own) if own is not None else None
        self._outdated: list[OwnFile] = []
        self._view = View()
        self._before: View | None = View(monotonic_s=self._clock.monotonic_s())
        self._files = KnownFiles(bucket, settings.file_prefix)
        self._missing_after: int | None = None  # writes of the own file, when a listing did not show it
        self._error: DiscoveryError | None = None
        self._write_error: DiscoveryError | None = None
        self._clear_error: DiscoveryError | None = None
        self._skew_s: float | None = None
        self._polls = 0
        self._counts: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._poll_lock = asyncio.Lock()
        self._poll_due = asyncio.Event()
        self._refresh_due = asyncio.Event()
        self._survey = Survey()
        self._survey_due = asyncio.Event()
        self._nudged = False
        self._allowance = schedule.NudgeAllowance()
        self._left = False
        self._departs = False
        self._tasks = asyncio.TaskGroup()
        self._loops: list[asyncio.Task[None]] = []

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self._settings

    @property
    def bucket(self) -> Bucket:
        """The way to the store that is in use."""
        return self._bucket

    @property
    def own(self) -> Member | None:
        """This node; None for an observer."""
        return self._own.member if self._own is not None else None

    @property
    def peers(self) -> frozenset[Member]:
        """The members other than this node, as of the last complete listing."""
        return frozenset(self._view.peers.values())

    @property
    def members(self) -> frozenset[Member]:
        """All members, this node included."""
        return frozenset(self._members().values())

    @property
    def status(self) -> Status:
        own = self._own
        return Status(
            registered=own is not None and self._is_registered(own),
            error=self._error,
            write_error=self._write_error,
            read_error=self._files.failure,
            listed_s=self._view.monotonic_s,
            rival=own.rival if own is not None else None,
            problems=self._view.problems,
            skew_s=self._skew_s,
            capabilities=self._survey.of(self._settings),
            credentials_until_s=(
                self._bucket.credentials_expire_s if isinstance(self._bucket, Expiring) else None
            ),
        )

    def _is_registered(self, own: OwnFile) -> bool:
        """Tell whether the others count the own file, as far as we know."""
        is_gone = own.writes == self._missing_after or own.has_expired(self._settings.file_expiration_s)
        return own.is_written and not is_gone

    @property
    def now_s(self) -> float | None:
        """S3's time now, as far as it is known: what the ages of files are counted from."""
        if self._view.now_s is None or self._view.monotonic_s is None:
            return None
        return self._view.now_s + self._clock.monotonic_s() - self._view.monotonic_s

    def look_now(self) -> None:
        """Poll at once instead of at the next interval; rate-limited, and safe to call at any time."""
        self._nudged = True
        self._poll_due.set()

    async def changes(self) -> AsyncIterator[Change]:
        """Yield who joined, left or moved; begins with a `joined` for every member there is.

        A reader that is slow gets the difference since its last step, not every step between."""
        seen: Mapping[str, Member] = {}
        while not self._left:
            news, members = self._news, self._members()
            for change in membership.difference(seen, members):
                yield change
            seen = members
            await news.wait()

    @property
    def polls(self) -> int:
        """How many complete listings there were."""
        return self._polls

    @property
    def vanished(self) -> int:
        """How many times the own file was found missing; the bucket may have been emptied then."""
        return self._own.vanished if self._own is not None else 0

    @property
    def expired(self) -> frozenset[str]:
        """The keys of files that stand for dead nodes, and are there still."""
        return frozenset(self._view.expired)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often since the start: `poll`, `poll_failed`, `refresh`, `refresh_failed`, `cleared`, and
        `joined`, `left`, `moved` of members."""
        return self._counts

    async def polled(self, seen: int = 0) -> None:
        """Wait until there were more complete listings than `seen`."""
        while self._polls <= seen:
            await self._news.wait()

    @property
    def is_moving(self) -> bool:
        """Whether a file of earlier settings is still to be taken away: its bucket is still needed."""
        return bool(self._outdated)

    async def reconfigure(self, settings: Settings, bucket: Bucket, own: Member | None) -> None:
        """Go on with other settings: the own file moves at once, the members follow with the next listing.

        `bucket` may be another way to the same place, with new credentials: then nothing is forgotten."""
        async with self._poll_lock:
            moved = _place(settings) != _place(self._settings)
            rewrite = moved or settings.file_version != self._settings.file_version
            self._settings, self._bucket = settings, bucket
            if moved:
                self._files = KnownFiles(bucket, settings.file_prefix)
                self._before = View(monotonic_s=self._clock.monotonic_s())
            else:
                self._files.use(bucket)
                for own_file in (*self._outdated, *([self._own] if self._own is not None else [])):
                    await own_file.use(bucket)
            if own is not None and (rewrite or self._own is None or not _says(self._own, own)):
                if self._own is not None:
                    own = replace(own, report=self._own.member.report)
                await self._replace_own(self._own_file(settings, bucket, own), moved=moved)
        self._poll_due.set()
        self._refresh_due.set()

    def depart(self) -> None:
        """Have the end be a departure for good: the own file goes, whatever leave-on-stop says."""
        self._departs = True

    async def report(self, report: Report) -> None:
        """Say in the own file what the broker's cluster is; written at once if it is news.

        Returns once that was tried; what failed is tried again by itself."""
        if self._own is not None and self._own.say(report) and not await self._write_own():
            self._refresh_due.set()

    async def _replace_own(self, own: OwnFile, *, moved: bool) -> None:
        """Write the own file where it belongs now, and only then take the old one away."""
        old, self._own, self._missing_after = self._own, own, None
        if old is not None:
            if moved or old.key != own.key:
                self._outdated.append(old)
            await old.retire()
        await self._write_own()

    async def __aenter__(self) -> Self:
        try:
            await self._attempt()
        except BaseException:
            if self._own is not None:
                await self._leave(self._own)
            raise
        tasks = await self._tasks.__aenter__()
        self._loops.append(tasks.create_task(self._poll_forever(), name="poll"))
        if self._own is not None:
            self._loops.append(tasks.create_task(self._refresh_forever(), name="refresh"))
            self._loops.append(tasks.create_task(self._survey_stores(), name="survey"))
        return self

    async def _attempt(self) -> None:
        """Register and list once; a node goes on without the answer of a store that hangs."""
        try:
            async with asyncio.timeout(_FIRST_ATTEMPT_LIMIT_S if self._own is not None else None):
                await self._write_own()
                await self._try_poll()
        except TimeoutError:
            self._error = UnreachableError(f"no answer within {_FIRST_ATTEMPT_LIMIT_S:g} s, trying on")
            log.error("first attempt failed error=%s", self._error)
            if self._own is not None and not self._own.is_written:
                self._write_error = self._error
            self._poll_due.set()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The task group is told of a cancellation alone: other errors reach the caller as they were raised.
        cancelled = exc if isinstance(exc, asyncio.CancelledError) else None
        try:
            try:
                await self._stop()
            except asyncio.CancelledError as again:
                cancelled = again
        finally:
            try:
                await self._tasks.__aexit__(type(cancelled) if cancelled else None, cancelled, None)
            except asyncio.CancelledError as raised:
                if raised is not exc:  # which goes on by itself
                    raise

    async def _stop(self) -> None:
        """Take the own file away first, under the lock of writes: no write of ours can come after it."""
        try:
            # At once, so that it takes as long as one of them at most.
            goes = self._departs or self._settings.leave_on_stop
            own = [self._own] if self._own is not None and goes else []
            await asyncio.gather(*(self._leave(each) for each in (*own, *self._outdated)))
        finally:
            self._left = True
            for loop in self._loops:
                loop.cancel()
            self._announce()

    async def _leave_outdated(self) -> None:
        """Take away the files that this node had under earlier settings; what fails is tried again.

        A file that must have expired by now is left to expiry: its bucket may be out of reach for ever."""
        expiration_s = self._settings.file_expiration_s
        self._outdated = [
            own for own in self._outdated if not own.has_expired(expiration_s) and not await self._leave(own)
        ]

    async def _leave(self, own: OwnFile) -> bool:
        try:
            async with asyncio.timeout(LEAVE_LIMIT_S):
                await own.leave()
        except (DiscoveryError, TimeoutError) as error:
            reason = error if isinstance(error, DiscoveryError) else f"no answer within {LEAVE_LIMIT_S:g} s"
            log.warning("own file stays in the bucket until it expires key=%r error=%s", own.key, reason)
            return False
        return True

    async def _poll_forever(self) -> None:
        failures = 0
        while True:
            interval_s = self._settings.poll_interval_s
            dice = _dice()
            delay_s = schedule.regular_delay_s(interval_s, dice)
            if failures:
                delay_s = schedule.retry_delay_s(failures, interval_s, dice)
                delay_s = schedule.after_refusal_s(delay_s, _retry_after_s(self._error))
            due_s = self._clock.monotonic_s() + delay_s
            await sleep_unless(self._clock, delay_s, self._poll_due.wait())
            self._poll_due.clear()
            if self._nudged:
                await self._await_allowance(due_s)
            failures = 0 if await self._try_poll() else failures + 1

    async def _await_allowance(self, due_s: float) -> None:
        """Wait until a poll out of turn is allowed, or until the regular one at `due_s`."""
        now_s = self._clock.monotonic_s()
        wait_s = self._allowance.wait_s(now_s)
        if now_s + wait_s < due_s:
            self._allowance = self._allowance.spend(now_s + wait_s)
        await self._clock.sleep(min(wait_s, max(0.0, due_s - now_s)))
        # Whatever came while waiting is answered by the listing that begins now.
        self._nudged = False
        self._poll_due.clear()

    async def _refresh_forever(self) -> None:
        failures = 1 if self._write_error is not None else 0
        while True:
            await self._await_refresh(failures)
            if not await self._write_own():
                failures += 1
            else:
                # A write of the poll task may have failed meanwhile.
                failures = 1 if self._write_error is not None else 0

    async def _await_refresh(self, failures: int) -> None:
        """Sleep until the own file is to be written: at its interval, or sooner while that fails."""
        while True:
            self._refresh_due.clear()
            settings, dice = self._settings, _dice()
            delay_s = schedule.regular_delay_s(settings.update_interval_s, dice) or math.inf
            if failures:
                interval_s = settings.update_interval_s or settings.poll_interval_s
                limit_s = schedule.refresh_retry_limit_s(interval_s, settings.file_expiration_s)
                delay_s = schedule.retry_delay_s(failures, limit_s, dice)
                delay_s = schedule.after_refusal_s(delay_s, _retry_after_s(self._write_error))
            if not await sleep_unless(self._clock, delay_s, self._refresh_due.wait()):
                return
            # Settings have changed, or a write failed elsewhere: what to wait for is another thing now.
            failures = max(failures, 1) if self._write_error is not None else 0

    async def _survey_stores(self) -> None:
        """Learn what a store honours once the own file is in it; what it does not tell is asked again."""
        failures = 0
        while True:
            delay_s = math.inf
            if failures:
                delay_s = schedule.retry_delay_s(failures, _SURVEY_RETRY_LIMIT_S, _dice())
            await sleep_unless(self._clock, delay_s, self._survey_due.wait())
            self._survey_due.clear()
            settings, own = self._settings, self._own
            asks = own is not None and own.is_written and not self._survey.of(settings).is_known
            if asks and own is not None and not await self._survey.ask(settings, own):
                failures += 1
            else:
                failures = 0

    async def _write_own(self) -> bool:
        if self._own is None:
            return True
        if not await self._keep(self._own, self._own.refresh()):
            return False
        # The file just written may be outdated itself by now: the old ones go only once the new one is there.
        if self._own.is_written:
            await self._leave_outdated()
        return True

    async def _keep(self, own: OwnFile, step: Awaitable[bool]) -> bool:
        """Do one step for the own file; report a failure and tell whether it went well."""
        was_written, before, writes = own.is_written, self._write_error, own.writes
        try:
            if not await step:
                self._poll_due.set()
        except DiscoveryError as error:
            self._write_error = error
            if type(error) is not type(before):
                log.error("own file could not be written key=%r error=%s", own.key, error)
            self._counts["refresh_failed"] += 1
            return False
        self._counts["refresh"] += own.writes - writes
        self._write_error = None
        if own.is_written and (not was_written or before is not None):
            log.info("registered key=%r address=%s", own.key, own.member.address)
            self._survey_due.set()
        return True

    async def _try_poll(self) -> bool:
        before = self._error
        try:
            async with self._poll_lock:
                await self._poll()
        except DiscoveryError as error:
            self._error = error
            if type(error) is not type(before):
                log.error("poll failed, keeping %d peers error=%s", len(self._view.peers), error)
            self._counts["poll_failed"] += 1
            return False
        self._error = None
        self._counts["poll"] += 1
        if before is not None:
            log.info("poll works again peers=%d", len(self._view.peers))
        return True

    async def _poll(self) -> None:
        settings, own = self._settings, self._own
        writes = own.writes if own is not None else 0
        listing = membership.without(
            membership.without_probes(await self._bucket.list(settings.file_prefix), settings.file_prefix),
            claim_key(settings),
        )
        monotonic_s = self._clock.monotonic_s()
        own_key = own.key if own is not None else None
        own_entry = next((entry for entry in listing.entries if entry.key == own_key), None)
        now_s = listing.server_time_s
        if own is not None:
            now_s = own.store_time_s(own_entry, monotonic_s, now_s)
            self._missing_after = writes if own_entry is None else None
        self._note_skew(listing)
        await self._files.read_new(listing, own_key)
        view = membership.assess(
            self._before or self._view,
            listing,
            self._files.readings,
            _expiry(settings),
            prefix=settings.file_prefix,
            own_key=own_key,
            own_incarnation=own.incarnation if own is not None else None,
            is_tampered=own is not None and own.writes == writes and not own.is_intact(own_entry),
            is_after_failure=self._error is not None,
            now_s=now_s,
            monotonic_s=monotonic_s,
        )
        self._publish(view)
        self._files.forget(listing, view)
        if own is not None:
            # By the Date header if there is one: our own timer does not see a suspended machine.
            times_s = [time_s for time_s in (listing.server_time_s, now_s) if time_s is not None]
            age_s = max(times_s) - own_entry.modified_s if own_entry is not None and times_s else 0.0
            await self._mend(own, own_entry, writes, age_s)
            await self._clear(view.ripe)

    async def _mend(self, own: OwnFile, entry: Entry | None, writes: int, age_s: float) -> None:
        """See that the own file is in the bucket as written; repeating a failure is the refresh task's."""
        if self._write_error is None and not await self._keep(
            own, own.check(entry, writes, age_s=age_s, expiry=_expiry(self._settings))
        ):
            self._refresh_due.set()

    async def _clear(self, ripe: tuple[Entry, ...]) -> None:
        """Delete files that stand for dead nodes; whatever happens here, discovery goes on."""
        for entry in ripe:
            try:
                await self._delete_unchanged(entry)
            except (PreconditionError, ObjectMissingError):
                continue
            except BucketError as error:
                if type(error) is not type(self._clear_error):
                    log.warning("expired files cannot be cleared key=%r error=%s", entry.key, error)
                self._clear_error = error
                return
            self._clear_error = None
            self._counts["cleared"] += 1
            log.info("cleared expired file key=%r", entry.key)

    async def _delete_unchanged(self, entry: Entry) -> None:
        try:
            await self._bucket.delete(entry.key, if_match=entry.etag)
        except ConditionUnsupportedError:
            stored = await self._bucket.get(entry.key, limit=BODY_LIMIT)
            if stored.etag == entry.etag:
                await self._bucket.delete(entry.key)

    def _publish(self, view: View) -> None:
        before, problems = self._members(), self._view.problems
        self._view, self._before = view, None
        for change in membership.difference(before, self._members()):
            self._counts[change.kind] += 1
            log.info(
                "member %s cluster_id=%r address=%s",
                change.kind,
                change.member.cluster_id,
                change.member.address,
            )
        for key, problem in view.problems.items():
            if problems.get(key) != problem:
                log.warning("node file skipped key=%r reason=%s", key, problem)
        self._polls += 1
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _note_skew(self, listing: Listing) -> None:
        if listing.server_time_s is not None:
            self._skew_s = self._clock.wall_s() - listing.server_time_s
            if self._own is not None:
                self._own.note_skew(listing.server_time_s)

    def _members(self) -> Mapping[str, Member]:
        own = self.own
        return self._view.peers if own is None else {**self._view.peers, own.cluster_id: own}

    def _own_file(self, settings: Settings, bucket: Bucket, own: Member) -> OwnFile:
        return OwnFile(
            bucket, settings.file_prefix, own, settings.file_version, self._incarnation, self._clock
        )


def _place(settings: Settings) -> tuple[object, ...]:
    """Return what names the place of the files, however it is reached."""
    return settings.endpoint, settings.bucket_name, settings.file_prefix


def _dice() -> float:
    """Return what spreads the waits of many nodes, uniform in [0, 1)."""
    return random.random()  # noqa: S311 - no secret


def _retry_after_s(error: DiscoveryError | None) -> float | None:
    return error.retry_after_s if isinstance(error, ThrottledError) else None


def _expiry(settings: Settings) -> Expiry:
    return Expiry(settings.file_expiration_s, settings.update_interval_s, settings.poll_interval_s)


def _says(own_file: OwnFile, own: Member) -> bool:
    """Tell whether `own_file` already says what `own` is."""
    said = own_file.member
    return (
        said.cluster_id == own.cluster_id
        and said.address == own.address
        and own.metadata.items() <= said.metadata.items()
    )
