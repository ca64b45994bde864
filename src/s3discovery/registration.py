"""The own node file, kept in the bucket for as long as the node lives: written, refreshed, moved, taken away.

There is one at a time; those of earlier settings are taken away once it is in its place. Nothing that a
store does ends this: what fails is kept as `write_error`, and tried again.
"""

import asyncio
import logging
import math
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

from s3discovery import schedule
from s3discovery.bucket import Bucket, Entry
from s3discovery.clock import Clock, sleep_unless
from s3discovery.errors import DiscoveryError
from s3discovery.membership import Expiry
from s3discovery.node import Member, Report
from s3discovery.own_file import OwnFile
from s3discovery.settings.config import Settings, StoreName
from s3discovery.survey import Survey

log = logging.getLogger(__name__)

_LEAVE_LIMIT_S = 5.0
_SURVEY_RETRY_LIMIT_S = 3600.0  # a store that refuses to say what it honours need not be pressed


class Registration:
    """Keeps this node in the bucket. `own` is the file; `write_error` why its last write failed.

    `counts` take `refresh` and `refresh_failed`; `look` has the bucket looked at at once, since what is
    there is not as we left it. `survey` learns what each store honours that the file was written to."""

    def __init__(
        self,
        settings: Settings,
        bucket: Bucket,
        member: Member,
        clock: Clock,
        *,
        survey: Survey,
        counts: Counter[str],
        look: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._dice = random.random
        self._survey = survey
        self._counts = counts
        self._look = look
        self._incarnation = f"{int(clock.wall_s() * 1000):013d}-{secrets.token_hex(8)}"
        self.own = self._file(bucket, member)
        self.write_error: DiscoveryError | None = None
        self._outdated: list[tuple[StoreName, OwnFile]] = []  # and where they are
        self._missing_after: int | None = None  # writes of the own file, when a listing did not show it
        self._refresh_due = asyncio.Event()
        self._survey_due = asyncio.Event()

    @property
    def is_registered(self) -> bool:
        """Whether the others count the own file, as far as we know."""
        own = self.own
        is_gone = own.writes == self._missing_after or own.has_expired(self._settings.file_expiration_s)
        return own.is_written and not is_gone

    @property
    def is_moving(self) -> bool:
        """Whether a file of earlier settings is still to be taken away: its bucket is still needed."""
        return bool(self._outdated)

    def note_listing(self, entry: Entry | None, writes: int) -> None:
        """Take in the own row of a listing; `writes` is what `own.writes` was before that began."""
        self._missing_after = writes if entry is None else None

    async def report(self, report: Report) -> None:
        """Say in the own file what the broker's cluster is; written at once if it is news."""
        if self.own.say(report) and not await self.write():
            self._refresh_due.set()

    async def reconfigure(self, settings: Settings, bucket: Bucket, member: Member, *, moves: bool) -> None:
        """Go on with other settings; `moves`: at another place, else `bucket` is a new way to the same."""
        before, self._settings = self._settings, settings
        is_other = moves or settings.file_version != before.file_version
        for store, own in self._outdated:
            if store == settings.store:
                await own.use(bucket)
        if not moves:
            await self.own.use(bucket)
        if is_other or not _says(self.own, member):
            own = self._file(bucket, replace(member, report=self.own.member.report))
            await self._replace(own, before.store, moves=moves)
        self._refresh_due.set()

    async def write(self) -> bool:
        """Write the own file; False if that failed, or it has to be looked at first."""
        if not await self._keep(self.own.refresh()):
            return False
        # The file just written may be outdated itself by now: the old ones go only once the new one is there.
        if self.own.is_written:
            await self._leave_outdated()
        return True

    async def mend(self, entry: Entry | None, writes: int, *, age_s: float, expiry: Expiry) -> None:
        """See that the own file is in the bucket as written; repeating a failure is `refresh`'s.

        See `OwnFile.check`."""
        if self.write_error is None and not await self._keep(
            self.own.check(entry, writes, age_s=age_s, expiry=expiry)
        ):
            self._refresh_due.set()

    async def refresh(self) -> None:
        """Write the own file at its interval, and sooner while that fails, until cancelled."""
        failures = 1 if self.write_error is not None else 0
        while True:
            await self._await_refresh(failures)
            if not await self.write():
                failures += 1
            else:
                # A write of the poll task may have failed meanwhile.
                failures = 1 if self.write_error is not None else 0

    async def learn(self) -> None:
        """Learn what a store honours once the own file is in it; what it does not tell is asked again."""
        failures = 0
        while True:
            delay_s = math.inf
            if failures:
                delay_s = schedule.retry_delay_s(failures, _SURVEY_RETRY_LIMIT_S, self._dice())
            await sleep_unless(self._clock, delay_s, self._survey_due.wait())
            self._survey_due.clear()
            settings, own = self._settings, self.own
            asks = own.is_written and not self._survey.of(settings).is_known
            failures = failures + 1 if asks and not await self._survey.ask(settings, own) else 0

    async def leave(self, *, goes: bool) -> None:
        """Take the files away, under the lock of writes: no write of ours can come after it.

        `goes`: the own one as well, not only those of earlier settings. At most 5 s."""
        # At once, so that it takes as long as one of them at most.
        files = [own for _, own in self._outdated] + ([self.own] if goes else [])
        await asyncio.gather(*map(_leave, files))

    async def _await_refresh(self, failures: int) -> None:
        """Sleep until the own file is to be written."""
        while True:
            self._refresh_due.clear()
            settings, dice = self._settings, self._dice()
            delay_s = schedule.regular_delay_s(settings.update_interval_s, dice) or math.inf
            if failures:
                interval_s = settings.update_interval_s or settings.poll_interval_s
                limit_s = schedule.refresh_retry_limit_s(interval_s, settings.file_expiration_s)
                delay_s = schedule.retry_delay_s(failures, limit_s, dice)
                delay_s = schedule.after_refusal_s(delay_s, self.write_error)
            if not await sleep_unless(self._clock, delay_s, self._refresh_due.wait()):
                return
            # Settings have changed, or a write failed elsewhere: what to wait for is another thing now.
            failures = max(failures, 1) if self.write_error is not None else 0

    async def _replace(self, own: OwnFile, old_store: StoreName, *, moves: bool) -> None:
        """Write the own file where it belongs now, and only then take the old one away."""
        old, self.own, self._missing_after = self.own, own, None
        if moves or old.key != own.key:
            self._outdated.append((old_store, old))
        await old.retire()
        await self.write()

    async def _keep(self, step: Awaitable[bool]) -> bool:
        """Do one step for the own file; report a failure and tell whether it went well."""
        own = self.own
        was_written, before, writes = own.is_written, self.write_error, own.writes
        try:
            if not await step:
                self._look()
        except DiscoveryError as error:
            self.write_error = error
            if type(error) is not type(before):
                log.error("own file could not be written key=%r error=%s", own.key, error)
            self._counts["refresh_failed"] += 1
            return False
        self._counts["refresh"] += own.writes - writes
        self.write_error = None
        if own.is_written and (not was_written or before is not None):
            log.info("registered key=%r address=%s", own.key, own.member.address)
            self._survey_due.set()
        return True

    async def _leave_outdated(self) -> None:
        """Take away the files that this node had under earlier settings; what fails is tried again.

        A file that must have expired by now is left to expiry: its bucket may be out of reach for ever."""
        expiration_s = self._settings.file_expiration_s
        self._outdated = [
            (store, own)
            for store, own in self._outdated
            if not own.has_expired(expiration_s) and not await _leave(own)
        ]

    def _file(self, bucket: Bucket, member: Member) -> OwnFile:
        settings = self._settings
        return OwnFile(
            bucket, settings.file_prefix, member, settings.file_version, self._incarnation, self._clock
        )


async def _leave(own: OwnFile) -> bool:
    try:
        async with asyncio.timeout(_LEAVE_LIMIT_S):
            await own.leave()
    except (DiscoveryError, TimeoutError) as error:
        reason = error if isinstance(error, DiscoveryError) else f"no answer within {_LEAVE_LIMIT_S:g} s"
        log.warning("own file stays in the bucket until it expires key=%r error=%s", own.key, reason)
        return False
    return True


def _says(own_file: OwnFile, own: Member) -> bool:
    """Tell whether `own_file` already says what `own` is."""
    said = own_file.member
    return (
        said.cluster_id == own.cluster_id
        and said.address == own.address
        and own.metadata.items() <= said.metadata.items()
    )
