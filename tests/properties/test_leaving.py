"""Members that leave together, each as its broker lets it: one is the last, and the claim is never lost.

They say so at random times; their brokers take their time, refuse, or are killed with their nodes before
they have left. The claim goes only with the last who has anything left; nobody waits for ever.
"""

import asyncio
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3discovery.bucket import Stored
from s3discovery.errors import BrokerError
from s3discovery.testing.engines import FakeEngine
from s3discovery.testing.forming import KEY, Node, Unlisted, World, formed, made_world

# The last waits for 90 s in all, and each needs some time besides.
LIMIT_S = 150.0
DONE, REFUSED, KILLED = "done", "refused", "killed"


class Leaving:
    """One node that is to leave, and what becomes of it."""

    def __init__(self, node: Node, dice: random.Random) -> None:
        self.node = node
        self.fate = dice.choice([DONE, DONE, REFUSED, KILLED])
        self.takes_s = dice.choice([0.0, 0.5, 5.0, 40.0])
        self.after_s = dice.choice([0.0, 0.0, 1.0, 10.0])
        self.is_killed = False
        self.outcome = ""
        node.engine.hold = self._hold

    async def _hold(self, asked: str) -> None:
        await asyncio.sleep(0)
        if asked == "leave":
            await self.node.world.clock.sleep(self.takes_s)
            if self.fate == KILLED:
                self.is_killed = True
                await asyncio.Event().wait()
            if self.fate == REFUSED:
                raise BrokerError("busy")

    async def run(self) -> None:
        await self.node.world.clock.sleep(self.after_s)
        try:
            await self.node.driver.leave()
            self.outcome = DONE
        except BrokerError as error:
            self.outcome = str(error)


def holders(world: World, *, without: str) -> set[str]:
    """Return who has the cluster, but for one node."""
    names = (f"n{number}" for number in range(6))
    return {name for name in names if name != without and world.clusters.of(name)}


async def simulate(seed: int, *, engine: type[FakeEngine], is_orderly: bool) -> None:
    """Have all members of a cluster leave."""
    random.seed(seed)
    dice = random.Random(seed)
    async with made_world() as world:
        count = dice.randint(2, 5)
        world.nodes += [Node(world, f"n{number}", engine) for number in range(count)]
        await world.until(formed(*world.nodes))
        await world.clock.advance(20)
        leaving = [Leaving(node, dice) for node in world.nodes]
        for each in leaving:
            each.fate = DONE if is_orderly else each.fate
        watch_claim(world, dice)
        tasks = {each: asyncio.create_task(each.run()) for each in leaving}
        begun_s = world.clock.monotonic_s()
        while not all(task.done() for task in tasks.values()):
            assert world.clock.monotonic_s() - begun_s < LIMIT_S, "somebody waits for ever"
            await world.clock.advance(0.5)
            for each in [each for each in leaving if each.is_killed and not tasks[each].done()]:
                await each.node.end(kill=True)
                tasks[each].cancel()
                await asyncio.gather(tasks[each], return_exceptions=True)
                world.nodes.remove(each.node)
        if is_orderly:
            assert [each.outcome for each in leaving] == [DONE] * count
            assert KEY not in world.store.keys
        for task in tasks.values():
            assert task.cancelled() or task.exception() is None


def watch_claim(world: World, dice: random.Random) -> None:
    """See that whoever takes the claim away is the last who has the cluster; have reading it take time."""

    def watch(node: Node) -> None:
        delete, get = node.cable.delete, node.cable.get

        async def slow_get(key: str, *, limit: int) -> Stored:
            if key == KEY:
                await world.clock.sleep(dice.choice([0.0, 0.1, 1.0]))
            return await get(key, limit=limit)

        async def watched(key: str, *, if_match: str | None = None) -> bool:
            if key == KEY:
                left = holders(world, without=node.cluster_id)
                assert not left, f"{node.cluster_id} takes the claim of {left} away"
            return await delete(key, if_match=if_match)

        node.cable.delete = watched  # type: ignore[method-assign]
        node.cable.get = slow_get  # type: ignore[method-assign]

    for node in world.nodes:
        watch(node)


ENGINES = st.sampled_from([FakeEngine, Unlisted])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), engine=ENGINES)
def test_all_leave_in_good_order(seed: int, engine: type[FakeEngine]) -> None:
    asyncio.run(simulate(seed, engine=engine, is_orderly=True))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), engine=ENGINES)
def test_some_are_refused_or_killed_as_they_leave(seed: int, engine: type[FakeEngine]) -> None:
    asyncio.run(simulate(seed, engine=engine, is_orderly=False))
