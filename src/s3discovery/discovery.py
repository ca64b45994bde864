"""Discovery: one's own node file kept in the bucket, and the files of the others watched.

Polls list the bucket and decide who is a member; what they decide is computed by the pure module membership,
and the own file is `registration`'s. Here are the order of requests and what becomes of their errors.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
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
    UnreachableError,
)
from s3discovery.known_files import KnownFiles
from s3discovery.membership import Change, Expiry, View
from s3discovery.node import Member, Report
from s3discovery.registration import Registration
from s3discovery.settings.claim import claim_key
from s3discovery.settings.config import Settings
from s3discovery.survey import Survey

log = logging.getLogger(__name__)

# A broker waits for the first attempt before it serves clients; a store that hangs must not hold it up.
_FIRST_ATTEMPT_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """How discovery is doing.

    `registered`: the own file is in the bucket and not expired (False for an observer). `error` is why the
    last poll failed and `write_error` why the last write of the own file did; None when all is well.
    `listed_s` is our monotonic time of the last complete listing, `asked_s` that since when one is under way
    (None: none is); the last one took `listing_s`. `read_error` is why some file could not be
    read at the last poll. `rival` is another process that uses our cluster id. `problems` by key are files
    that cannot be used, and why. `skew_s`: the local wall clock is ahead of S3's by so much. `capabilities`
    is what the store honours, unknown to an observer. `credentials_until_s` is when the credentials in use
    end, by their issuer's clock (Unix seconds); None: never, as far as is known."""

    registered: bool = False
    error: DiscoveryError | None = None
    write_error: DiscoveryError | None = None
    read_error: DiscoveryError | None = None
    listed_s: float | None = None
    asked_s: float | None = None
    listing_s: float = 0.0
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
        self._dice = random.random
        self._view = View()
        self._before: View | None = View(monotonic_s=self._clock.monotonic_s())
        self._files = KnownFiles(bucket, settings.file_prefix)
        self._error: DiscoveryError | None = None
        self._clear_error: DiscoveryError | None = None
        self._skew_s: float | None = None
        self._asked_s: float | None = None
        self._listing_s = 0.0
        self._polls = 0
        self._counts: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._poll_lock = asyncio.Lock()
        self._poll_due = asyncio.Event()
        self._survey = Survey()
        self._nudged = False
        self._allowance = schedule.NudgeAllowance()
        self._left = False
        self._departs = False
        self._registration: Registration | None = None
        if own is not None:
            self._registration = Registration(
                settings,
                bucket,
                own,
                self._clock,
                survey=self._survey,
                counts=self._counts,
                look=self._poll_due.set,
            )
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
        return self._registration.own.member if self._registration is not None else None

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
        registration = self._registration
        return Status(
            registered=registration is not None and registration.is_registered,
            error=self._error,
            write_error=registration.write_error if registration is not None else None,
            read_error=self._files.failure,
            listed_s=self._view.monotonic_s,
            asked_s=self._asked_s,
            listing_s=self._listing_s,
            rival=registration.own.rival if registration is not None else None,
            problems=self._view.problems,
            skew_s=self._skew_s,
            capabilities=self._survey.of(self._settings),
            credentials_until_s=(
                self._bucket.credentials_expire_s if isinstance(self._bucket, Expiring) else None
            ),
        )

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
        return self._registration.own.vanished if self._registration is not None else 0

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
        return self._registration is not None and self._registration.is_moving

    async def reconfigure(self, settings: Settings, bucket: Bucket, own: Member) -> None:
        """Go on with other settings: the own file moves at once, the members follow with the next listing.

        `bucket` may be another way to the same place, with new credentials: then nothing is forgotten. An
        observer has no use for `own`."""
        async with self._poll_lock:
            moves = _place(settings) != _place(self._settings)
            self._settings, self._bucket = settings, bucket
            if moves:
                self._files = KnownFiles(bucket, settings.file_prefix)
                self._before = View(monotonic_s=self._clock.monotonic_s())
            else:
                self._files.use(bucket)
            if self._registration is not None:
                await self._registration.reconfigure(settings, bucket, own, moves=moves)
        self._poll_due.set()

    def depart(self) -> None:
        """Have the end be a departure for good: the own file goes, whatever leave-on-stop says."""
        self._departs = True

    async def report(self, report: Report) -> None:
        """Say in the own file what the broker's cluster is; written at once if it is news.

        Returns once that was tried; what failed is tried again by itself."""
        if self._registration is not None:
            await self._registration.report(report)

    async def __aenter__(self) -> Self:
        registration = self._registration
        try:
            await self._attempt()
        except BaseException:
            if registration is not None:
                await registration.leave(goes=True)
            raise
        tasks = await self._tasks.__aenter__()
        self._loops.append(tasks.create_task(self._poll_forever(), name="poll"))
        if registration is not None:
            self._loops.append(tasks.create_task(registration.refresh(), name="refresh"))
            self._loops.append(tasks.create_task(registration.learn(), name="survey"))
        return self

    async def _attempt(self) -> None:
        """Register and list once; a node goes on without the answer of a store that hangs."""
        registration = self._registration
        try:
            async with asyncio.timeout(_FIRST_ATTEMPT_LIMIT_S if registration is not None else None):
                if registration is not None:
                    await registration.write()
                await self._try_poll()
        except TimeoutError:
            self._error = UnreachableError(f"no answer within {_FIRST_ATTEMPT_LIMIT_S:g} s, trying on")
            log.error("first attempt failed error=%s", self._error)
            if registration is not None and not registration.own.is_written:
                registration.write_error = self._error
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
        """Take the own file away first, then end what runs."""
        try:
            if self._registration is not None:
                await self._registration.leave(goes=self._departs or self._settings.leave_on_stop)
        finally:
            self._left = True
            for loop in self._loops:
                loop.cancel()
            self._announce()

    async def _poll_forever(self) -> None:
        failures = 0
        while True:
            interval_s = self._settings.poll_interval_s
            dice = self._dice()
            delay_s = schedule.regular_delay_s(interval_s, dice)
            if failures:
                delay_s = schedule.retry_delay_s(failures, interval_s, dice)
                delay_s = schedule.after_refusal_s(delay_s, self._error)
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
        settings, registration = self._settings, self._registration
        own = registration.own if registration is not None else None
        writes = own.writes if own is not None else 0
        listing = await self._list(settings)
        monotonic_s = self._clock.monotonic_s()
        own_key = own.key if own is not None else None
        own_entry = next((entry for entry in listing.entries if entry.key == own_key), None)
        now_s = listing.server_time_s
        if registration is not None:
            now_s = registration.own.store_time_s(own_entry, monotonic_s, now_s)
            registration.note_listing(own_entry, writes)
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
        if registration is not None:
            # By the Date header if there is one: our own timer does not see a suspended machine.
            times_s = [time_s for time_s in (listing.server_time_s, now_s) if time_s is not None]
            age_s = max(times_s) - own_entry.modified_s if own_entry is not None and times_s else 0.0
            await registration.mend(own_entry, writes, age_s=age_s, expiry=_expiry(settings))
            await self._clear(view.ripe)

    async def _list(self, settings: Settings) -> Listing:
        """Return what is listed, without what is no node's."""
        self._asked_s = asked_s = self._clock.monotonic_s()
        try:
            listing = await self._bucket.list(settings.file_prefix)
        finally:
            self._asked_s, self._listing_s = None, self._clock.monotonic_s() - asked_s
        return membership.without(
            membership.without_probes(listing, settings.file_prefix), claim_key(settings)
        )

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
            if self._registration is not None:
                self._registration.own.note_skew(listing.server_time_s)

    def _members(self) -> Mapping[str, Member]:
        own = self.own
        return self._view.peers if own is None else {**self._view.peers, own.cluster_id: own}


def _place(settings: Settings) -> tuple[object, ...]:
    """Return what names the place of the files, however it is reached."""
    return *settings.store, settings.file_prefix


def _expiry(settings: Settings) -> Expiry:
    return Expiry(settings.file_expiration_s, settings.update_interval_s, settings.poll_interval_s)
