"""What happens, noted while somebody may ask: the journal kept up to date, and readers woken."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from s3discovery.clock import sleep_unless
from s3discovery.observation.journal import Journal
from s3discovery.observation.moment import SLOW_S, Moment, listing_s
from s3discovery.running import Running

log = logging.getLogger(__name__)

_EPOCH_BYTES = 4
_TICK_S = 1.0  # what has no event of its own, such as a failed poll, is seen within so long
_LOOK_S = 5.0  # to compare all that is known costs milliseconds among hundreds of members


class Watching:
    """The journal of a running node; `news` is set, and replaced, whenever something was noted.

    `is_over`: readers are to go, and `news` is set for that.
    `epoch` tells this journal from those of earlier processes, whose numbers began at 1 as well."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.journal = Journal()
        self.epoch = secrets.token_hex(_EPOCH_BYTES)
        self.news = asyncio.Event()
        self.is_over = False
        self._known_bugs: set[type[Exception]] = set()

    def end(self) -> None:
        """Have the readers go."""
        self.is_over = True
        self.news.set()

    def moment(self) -> Moment:
        """Return what is known now."""
        running = self.running
        return Moment.of(running.discovery, running.clock, running.cluster_state())

    async def run(self) -> None:
        """Note what happens, until cancelled.

        A bug in what is told is logged, once, and the next look may do: the node itself is well."""
        clock, discovery = self.running.clock, self.running.discovery
        seen, due_s = None, 0.0
        while True:
            polls = discovery.polls
            # What changes by itself, such as who is late, waits for the next look at all of it.
            wait_s = _TICK_S
            try:
                status, now_s = discovery.status, clock.monotonic_s()
                slow_in_s = SLOW_S - listing_s(status, now_s)
                counted = sum(discovery.counts.values())
                now = (counted, self.running.cluster_state(), status.registered, slow_in_s <= 0)
                if now != seen or now_s >= due_s:
                    seen, due_s = now, now_s + _LOOK_S
                    self._note()
                if status.asked_s is not None and slow_in_s > 0:
                    wait_s = min(_TICK_S, slow_in_s)
            except Exception as error:
                if type(error) not in self._known_bugs:
                    self._known_bugs.add(type(error))
                    log.exception("journal failed, a bug, told once")
            await sleep_unless(clock, wait_s, discovery.polled(polls))

    def _note(self) -> None:
        if self.journal.note(self.moment(), self.running.clock.wall_s()):
            news, self.news = self.news, asyncio.Event()
            news.set()


@asynccontextmanager
async def watching(running: Running) -> AsyncIterator[Watching]:
    """Note what happens while entered."""
    found = Watching(running)
    task = asyncio.create_task(found.run(), name="journal")
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait({task})
