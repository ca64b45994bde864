"""Leaving for good: the last member takes the claim away, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from s3discovery.bucket import Written
from s3discovery.errors import BrokerError, UnreachableError
from s3discovery.formation.formation import Formation
from s3discovery.formation.seed import LEAVERS_LIMIT, Claim, Process, Stage
from s3discovery.node import INCARNATION
from s3discovery.testing import FakeEngine
from s3discovery.testing.forming import KEY, Node, World, formed, made_world

GHOST = Process("1700000000000-0123456789abcdef", "ghost")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with made_world() as world:
        yield world


class Unlisted(FakeEngine):
    """An engine that keeps no roster."""

    members = None  # type: ignore[assignment]  # so that it is none


async def make_pair(world: World, engine: type[FakeEngine] = FakeEngine, **values: str) -> tuple[Node, Node]:
    """Return two nodes that are a cluster."""
    pair = Node(world, "n0", engine, values=values), Node(world, "n1", engine, values=values)
    world.nodes += pair
    await world.until(formed(*pair))
    return pair


async def end(world: World, *nodes: Node) -> None:
    for node in nodes:
        await node.end()
        world.nodes.remove(node)


def own_process(node: Node) -> Process:
    own = node.discovery.own
    assert own is not None
    return Process(own.metadata[INCARNATION], own.cluster_id)


def reported(node: Node) -> int:
    """Return how many peers a node knows to be in a cluster."""
    return sum(peer.report.is_formed is True for peer in node.discovery.peers)


def refusing(what: str) -> Callable[[str], Awaitable[None]]:
    async def hold(asked: str) -> None:
        if asked == what:
            raise BrokerError("busy")

    return hold


async def begin_to_leave(world: World, node: Node, go_on: asyncio.Event | None = None) -> asyncio.Task[None]:
    """Have a node leave; its broker does not get further than to be asked before `go_on`."""

    async def hold(asked: str) -> None:
        if asked == "leave":
            await (go_on or asyncio.Event()).wait()

    node.engine.hold = hold
    leaving = asyncio.create_task(node.driver.leave())
    await world.clock.settle()
    assert node.engine.asked[-1] == "leave"
    return leaving


async def finish(world: World, leaving: Coroutine[Any, Any, None]) -> None:
    """Let time pass until a node has left; raises what that raised."""
    task = asyncio.create_task(leaving)
    await world.until(task.done, limit_s=120)
    await task


class TestWhoDoesNotBelong:
    async def test_a_node_that_waits_for_a_founder_leaves_its_claim_alone(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        founder = await world.start("n1")
        await world.until(lambda: KEY in world.store.keys and world.claim.stage is Stage.ALONE, 90)
        await end(world, founder)
        waiting = await world.start("n2")
        await world.until(lambda: "waiting for 'n1', which has the cluster" in waiting.state)
        await waiting.driver.leave()
        assert world.claim.owner.cluster_id == "n1"
        assert "reason=this node does not belong to its cluster" in caplog.text

    async def test_nor_does_one_that_waits_for_members_that_are_down(self, world: World) -> None:
        await end(world, *await make_pair(world))
        waiting = await world.start("n2")
        await world.until(lambda: "waiting for a member" in waiting.state)
        await waiting.driver.leave()
        assert world.claim.stage is Stage.FORMED

    async def test_nor_one_that_is_refused_by_members_that_run(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await make_pair(world)
        refused = Node(world, "n2")
        world.nodes.append(refused)
        refused.engine.hold = refusing("join")
        await world.until(lambda: "busy" in refused.state)
        await refused.driver.leave()
        assert world.claim.stage is Stage.FORMED
        assert not world.claim.leavers
        assert "claim stays" not in caplog.text, "others are there, and need it"

    async def test_nor_one_that_has_left_already(self, world: World) -> None:
        pair = await make_pair(world)
        formation = pair[0].driver._formation
        assert isinstance(formation, Formation)
        await formation.leave()
        await end(world, pair[1])
        await formation.leave()
        assert KEY in world.store.keys

    async def test_nor_one_whose_broker_was_reset_from_outside(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        pair = await make_pair(world)
        await world.until(lambda: any(peer.report.is_formed for peer in pair[0].discovery.peers))
        world.clusters.remove("n0")
        await pair[0].driver.leave()
        assert KEY in world.store.keys
        assert "not known whether this was the last member" in caplog.text

    async def test_the_claim_of_another_founder_is_left_alone(self, world: World) -> None:
        founder = await world.start("n0")
        await world.until(formed(founder))
        await world.until(lambda: world.claim.stage is Stage.ALONE, 90)
        world.plant(Claim("bbbbbbbbbbbbbbbb", GHOST, Stage.FOUNDED))
        await founder.driver.leave()
        assert world.claim.owner == GHOST


class TestTheLast:
    async def test_the_last_to_leave_removes_the_claim(self, world: World) -> None:
        nodes = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*nodes))
        await nodes[0].driver.leave()
        assert world.claim.stage is Stage.FORMED
        assert world.clusters.of("n1") == {"n1"}
        await nodes[1].driver.leave()
        assert KEY not in world.store.keys
        assert world.clusters.of("n1") == frozenset()

    async def test_the_last_to_leave_waits_for_who_is_joining(self, world: World) -> None:
        node = await world.start("n0")
        await world.until(formed(node))
        joiner = Node(world, "n1")
        world.nodes.append(joiner)

        async def hold(what: str) -> None:
            if what == "join":
                await asyncio.Event().wait()

        joiner.engine.hold = hold
        await world.until(lambda: "join" in joiner.engine.asked)
        with pytest.raises(BrokerError, match="'n1' has begun to join this node"):
            await node.driver.leave()
        assert KEY in world.store.keys
        assert world.clusters.of("n0") == {"n0"}

    async def test_an_engine_that_keeps_no_roster_leaves_last(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        nodes = [Node(world, f"n{number}", engine=Unlisted) for number in range(2)]
        world.nodes += nodes
        await world.until(formed(*nodes))
        await nodes[0].driver.leave()
        assert KEY in world.store.keys
        await nodes[0].end()
        await world.until(lambda: not nodes[1].discovery.peers)
        assert "stays in the bucket" not in caplog.text
        await nodes[1].driver.leave()
        assert KEY not in world.store.keys

    async def test_a_claim_stays_with_a_warning_if_others_may_be_left(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        nodes = [Node(world, f"n{number}", engine=Unlisted) for number in range(2)]
        world.nodes += nodes
        await world.until(formed(*nodes))

        async def nobody() -> frozenset[str]:
            return frozenset()

        nodes[0].engine.cluster = nobody  # type: ignore[method-assign]
        await nodes[0].driver.leave()
        assert KEY in world.store.keys
        assert f"no new cluster is formed key={KEY!r}" in caplog.text

    @pytest.mark.parametrize("engine", [FakeEngine, Unlisted])
    @pytest.mark.parametrize("count", [2, 4])
    async def test_of_all_that_leave_at_once_one_is_the_last(
        self, world: World, engine: type[FakeEngine], count: int
    ) -> None:
        nodes = [Node(world, f"n{number}", engine=engine) for number in range(count)]
        world.nodes += nodes
        await world.until(formed(*nodes))
        await world.until(lambda: all(reported(node) == count - 1 for node in nodes))
        leaving = [asyncio.create_task(node.driver.leave()) for node in nodes]
        await world.until(lambda: all(task.done() for task in leaving), limit_s=10)
        await asyncio.gather(*leaving)
        assert KEY not in world.store.keys
        await end(world, *nodes)
        await world.until(formed(await world.start("n7")))

    async def test_who_leaves_says_so_before_the_broker_does(self, world: World) -> None:
        pair = await make_pair(world)
        seen: list[tuple[str, ...]] = []

        async def hold(what: str) -> None:
            if what == "leave":
                seen.append(tuple(leaver.cluster_id for leaver in world.claim.leavers))

        pair[0].engine.hold = hold
        await pair[0].driver.leave()
        assert seen == [("n0",)]

    async def test_who_left_long_ago_makes_room_for_who_leaves_now(self, world: World) -> None:
        nodes = [await world.start(f"n{number}") for number in range(3)]
        await world.until(formed(*nodes))
        await world.clock.advance(20)
        leaving, me = (own_process(node) for node in (nodes[1], nodes[0]))
        gone = tuple(Process(GHOST.incarnation, f"gone{number}") for number in range(LEAVERS_LIMIT - 1))
        world.plant(replace(world.claim, leavers=(leaving, *gone)))
        await nodes[0].driver.leave()
        assert world.claim.leavers == (*gone[1:], leaving, me)

    async def test_one_whose_broker_refuses_stays_and_takes_it_back(self, world: World) -> None:
        pair = await make_pair(world)
        pair[0].engine.hold = refusing("leave")
        with pytest.raises(BrokerError, match="busy"):
            await pair[0].driver.leave()
        assert not world.claim.leavers, "at once: it may be stopped now"
        await end(world, pair[0])
        await pair[1].driver.leave()
        assert KEY in world.store.keys

    async def test_who_was_killed_as_he_left_counts_as_long_as_brokers_count_him(self, world: World) -> None:
        pair = await make_pair(world)
        await world.clock.advance(20)
        process = next(each for each in (world.claim.owner, *world.claim.joiners) if each.cluster_id == "n0")
        world.plant(replace(world.claim, leavers=(process,)))
        await pair[0].end(kill=True)
        world.nodes.remove(pair[0])
        await world.clock.advance(300)
        begun_s = world.clock.monotonic_s()
        await finish(world, pair[1].driver.leave())
        assert world.clock.monotonic_s() - begun_s < 20, "what the broker knows may be a little old"
        assert KEY in world.store.keys

    async def test_a_broker_that_knows_a_little_late_who_has_left_costs_no_claim(self, world: World) -> None:
        class Late(FakeEngine):
            """As RabbitMQ's, whose roster may be some seconds old."""

            known, news_s = frozenset[str](), 0.0

            async def members(self) -> frozenset[str]:
                found, now_s = await super().members(), world.clock.monotonic_s()
                self.news_s = now_s if found == self.known else self.news_s
                self.known = found if now_s - self.news_s >= 3 else self.known
                return self.known

        first, last = await make_pair(world, Late)
        await world.clock.advance(100)
        go_on = asyncio.Event()
        leaving = await begin_to_leave(world, first, go_on)
        last_leaving = asyncio.create_task(last.driver.leave())
        await world.clock.advance(5)
        assert not last_leaving.done()
        go_on.set()
        await leaving
        await first.end()
        world.nodes.remove(first)
        await world.until(last_leaving.done, limit_s=30)
        await last_leaving
        assert KEY not in world.store.keys

    async def test_the_last_does_not_leave_before_who_was_killed_as_he_left(self, world: World) -> None:
        """He has what he had: without the claim a second cluster would be founded beside it."""
        pair = await make_pair(world, file_expiration="300s")
        await world.clock.advance(20)
        leaving = await begin_to_leave(world, pair[0])
        await pair[0].end(kill=True)
        leaving.cancel()
        world.nodes.remove(pair[0])
        await world.clock.advance(10)
        begun_s = world.clock.monotonic_s()
        with pytest.raises(BrokerError, match="waited 90 s for 'n0' to leave before this node"):
            await finish(world, pair[1].driver.leave())
        assert world.clock.monotonic_s() - begun_s < 95
        assert [leaver.cluster_id for leaver in world.claim.leavers] == ["n0"], "at once taken back"
        assert pair[1].is_formed
        # Once he is no member of the bucket either, he is one that is down, and nobody waits.
        await world.clock.advance(250)
        await finish(world, pair[1].driver.leave())
        assert KEY in world.store.keys

    async def test_the_last_waits_for_who_is_slow_to_leave(self, world: World) -> None:
        pair = await make_pair(world)
        await world.clock.advance(20)
        go_on = asyncio.Event()
        leaving = await begin_to_leave(world, pair[0], go_on)
        last = asyncio.create_task(pair[1].driver.leave())
        await world.clock.advance(30)
        assert not last.done()
        assert [leaver.cluster_id for leaver in world.claim.leavers] == ["n0", "n1"]
        go_on.set()
        await leaving
        await world.clock.advance(2)
        assert last.done()
        assert KEY not in world.store.keys
        assert world.clusters.of("n1") == frozenset()

    async def test_nobody_waits_for_who_said_later_that_he_leaves(self, world: World) -> None:
        """So no two wait for each other."""
        pair = await make_pair(world)
        await world.clock.advance(20)
        world.plant(replace(world.claim, leavers=(own_process(pair[0]), own_process(pair[1]))))
        await pair[0].driver.leave()
        assert KEY in world.store.keys
        await pair[1].driver.leave()
        assert KEY not in world.store.keys

    @pytest.mark.parametrize("engine", [FakeEngine, Unlisted])
    async def test_who_is_refused_after_all_makes_the_last_one_no_last_one(
        self, world: World, engine: type[FakeEngine]
    ) -> None:
        pair = await make_pair(world, engine)
        await world.clock.advance(20)
        go_on = asyncio.Event()
        leaving = await begin_to_leave(world, pair[0], go_on)
        last = asyncio.create_task(pair[1].driver.leave())
        await world.clock.advance(20)
        pair[0].engine.failure = BrokerError("busy")
        go_on.set()
        await asyncio.gather(leaving, return_exceptions=True)
        pair[0].engine.failure = None
        await world.clock.advance(5)
        assert isinstance(leaving.exception(), BrokerError)
        assert last.done()
        assert KEY in world.store.keys
        assert world.clusters.of("n0") == {"n0"}

    async def test_who_is_stopped_as_he_leaves_counts_as_a_member(self, world: World) -> None:
        pair = await make_pair(world, poll_interval="1h", file_expiration="9h")
        leaving = await begin_to_leave(world, pair[0])
        leaving.cancel()
        await end(world, pair[0])
        begun_s = world.clock.monotonic_s()
        await finish(world, pair[1].driver.leave())
        assert world.clock.monotonic_s() - begun_s < 20, "it looks, and waits for no poll"
        assert KEY in world.store.keys

    async def test_a_leave_that_is_not_taken_is_taken_back(self, world: World) -> None:
        """Others write the claim all the time, so it stays unknown whether this node may leave."""
        pair = await make_pair(world)
        await world.clock.advance(20)
        put = pair[0].cable.put

        async def overtaken(key: str, *args: Any, **conditions: Any) -> Written:
            try:
                return await put(key, *args, **conditions)
            finally:
                if key == KEY and len(rivals) < LEAVERS_LIMIT + 7:  # the last write of all stands
                    rivals.append(key)
                    world.plant(replace(world.claim, leavers=()))

        rivals: list[str] = []
        pair[0].cable.put = overtaken  # type: ignore[method-assign]
        with pytest.raises(BrokerError, match="changed by others all the time"):
            await pair[0].driver.leave()
        assert not world.claim.leavers

    async def test_the_refusal_is_told_even_if_the_broker_then_answers_nothing(self, world: World) -> None:
        node = await world.start("n0")
        await world.until(formed(node))

        async def hold(asked: str) -> None:
            if "leave" in node.engine.asked:
                raise BrokerError("busy" if asked == "leave" else "gone")

        node.engine.hold = hold
        with pytest.raises(BrokerError, match="busy"):
            await node.driver.leave()
        assert node.engine.asked[-1] == "is_blank", "it was asked"

    async def test_the_last_whose_broker_refuses_writes_the_claim_again(self, world: World) -> None:
        node = await world.start("n0")
        await world.until(lambda: KEY in world.store.keys and world.claim.stage is Stage.ALONE, 90)
        node.engine.hold = refusing("leave")
        with pytest.raises(BrokerError, match="busy"):
            await node.driver.leave()
        assert world.claim.owner.cluster_id == "n0", "at once: it may be stopped now"

    async def test_one_that_comes_back_leaves_no_more(self, world: World) -> None:
        pair = await make_pair(world)
        await pair[0].driver.leave()
        await end(world, pair[0])
        again = await world.start("n0")
        await world.until(formed(again))
        assert not world.claim.leavers
        await world.until(lambda: bool(pair[1].discovery.peers))
        await pair[1].driver.leave()
        assert KEY in world.store.keys

    async def test_a_claim_that_changes_just_then_is_not_removed(self, world: World) -> None:
        node = await world.start("n0")
        await world.until(formed(node))
        delete, claim = node.cable.delete, world.claim

        async def overtaken(key: str, *, if_match: str | None = None) -> bool:
            if not world.claim.joiners:
                world.plant(replace(claim, joiners=(GHOST,)))
            return await delete(key, if_match=if_match)

        node.cable.delete = overtaken  # type: ignore[method-assign]
        with pytest.raises(BrokerError, match="'ghost' has begun to join this node"):
            await node.driver.leave()
        assert world.claim.joiners == (GHOST,)

    async def test_who_left_once_and_is_back_is_not_leaving(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        pair = await make_pair(world)
        await world.clock.advance(20)
        world.plant(replace(world.claim, leavers=(Process(GHOST.incarnation, "n1"),)))
        await pair[0].driver.leave()
        assert world.claim.stage is Stage.FORMED
        assert "claim stays" not in caplog.text


class TestWhatIsNotKnown:
    async def test_a_store_that_is_down_is_told_with_the_cure(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        node = await world.start("n0")
        await world.until(formed(node))
        node.cable.cut = UnreachableError("no answer")
        await node.driver.leave()
        assert f"no new cluster is formed key={KEY!r} reason=no answer" in caplog.text
        assert world.clusters.of("n0") == frozenset()

    async def test_a_broker_that_does_not_tell_its_members(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        node = await world.start("n0")
        await world.until(lambda: KEY in world.store.keys and world.claim.stage is Stage.ALONE, 90)
        node.engine.hold = refusing("members")
        await node.driver.leave()
        assert KEY in world.store.keys
        assert "not known whether this was the last member" in caplog.text

    async def test_members_that_are_down_stay(self, world: World) -> None:
        pair = await make_pair(world, Unlisted)
        await end(world, pair[1])
        await world.until(lambda: not pair[0].discovery.peers)
        assert await pair[0].engine.cluster() == frozenset()
        await pair[0].driver.leave()
        assert world.claim.stage is Stage.FORMED
