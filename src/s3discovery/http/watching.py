"""What happens, noted while somebody may ask: the journal kept up to date, and readers woken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from s3discovery.clock import sleep_unless
from s3discovery.journal import Journal
from s3discovery.moment import Moment
from s3discovery.running import Running

_TICK_S = 0.5  # what has no event of its own, such as a failed poll, is seen within so long


class Watching:
    """The journal of a running node; `news` is set, and replaced, whenever something was noted."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.journal = Journal()
        self.news = asyncio.Event()

    def moment(self) -> Moment:
        """Return what is known now."""
        running = self.running
        return Moment.of(running.discovery, running.clock, running.cluster_state())

    async def run(self) -> None:
        """Note what happens, until cancelled."""
        clock, discovery = self.running.clock, self.running.discovery
        while True:
            polls = discovery.polls
            if self.journal.note(self.moment(), clock.wall_s()):
                news, self.news = self.news, asyncio.Event()
                news.set()
            await sleep_unless(clock, _TICK_S, discovery.polled(polls))


@asynccontextmanager
async def watching(running: Running) -> AsyncIterator[Watching]:
    """Note what happens while entered."""
    found = Watching(running)
    task = asyncio.create_task(found.run(), name="journal")
    try:
        yield found
    finally:
        task.cancel()
