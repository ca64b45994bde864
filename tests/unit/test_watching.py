"""What is noted while somebody may ask, and when."""

import asyncio

from s3discovery.bucket import Listing
from s3discovery.discovery import Discovery
from s3discovery.http.watching import watching
from s3discovery.running import ClusterState, Running
from s3discovery.testing import FakeClock, MemoryBucket, make_settings


class Silent(MemoryBucket):
    """A store that takes requests and answers none, from its second listing on."""

    async def list(self, prefix: str) -> Listing:
        if self.requests["list"]:
            await asyncio.Event().wait()
        return await super().list(prefix)


async def test_a_store_that_does_not_answer_is_seen_within_2_s() -> None:
    clock = FakeClock()
    settings = make_settings(poll_interval="60s")
    async with (
        Discovery(settings, Silent(clock), clock=clock) as discovery,
        watching(Running(settings, discovery, clock, lambda: None)) as seen,
    ):
        while discovery.status.asked_s is None:
            await clock.advance(0.1)
        await clock.advance(1.1)
        (event,) = seen.journal.recent(9)
        assert (event.kind, event.data["kind"]) == ("trouble", "slow")


ENDING_S = 300.0  # credentials that end so soon are a trouble


class Lent(MemoryBucket):
    """A bucket whose credentials end."""

    credentials_expire_s: float | None = None


async def test_a_state_of_the_broker_is_seen_before_the_next_look_at_all() -> None:
    clock = FakeClock()
    states = [ClusterState("forming")]
    async with (
        Discovery(make_settings(), MemoryBucket(clock), clock=clock) as discovery,
        watching(Running(make_settings(), discovery, clock, lambda: states[-1])) as seen,
    ):
        await clock.advance(1)
        states.append(ClusterState("formed 2/2"))
        await clock.advance(1.5)
        assert seen.journal.recent(1)[0].data["broker"] == "formed 2/2"


async def test_what_changes_by_itself_is_seen_too() -> None:
    clock = FakeClock()
    bucket = Lent(clock)
    bucket.credentials_expire_s = clock.wall_s() + ENDING_S + 20
    settings = make_settings(poll_interval="100s")
    async with (
        Discovery(settings, bucket, clock=clock) as discovery,
        watching(Running(settings, discovery, clock, lambda: None)) as seen,
    ):
        await clock.advance(10)
        assert seen.journal.last == 0
        await clock.advance(20)
        assert discovery.polls == 1
        (event,) = seen.journal.recent(9)
        assert (event.kind, event.data["kind"]) == ("trouble", "credentials")
