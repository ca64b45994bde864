"""Forming a cluster, step by step, on a bucket in memory, a clock moved by hand and fake engines."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from s3discovery.bucket import Bucket
from s3discovery.discovery import Discovery
from s3discovery.errors import AccessDeniedError, BrokerError, BucketError, UnreachableError
from s3discovery.formation import seed
from s3discovery.formation.outlook import Outlook
from s3discovery.formation.seed import Claim, Process, Stage
from s3discovery.node import Address, Member
from s3discovery.testing import make_settings
from s3discovery.testing.forming import KEY, Node, World, formed, made_world

GHOST = Process("1700000000000-0123456789abcdef", "ghost")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with made_world() as world:
        yield world


def hold_claim(bucket: Bucket) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold the next write of the claim; return what is set once it is held, and what lets it go on."""
    put, held, late = bucket.put, asyncio.Event(), asyncio.Event()

    async def delayed(key: str, *args: object, **kwargs: object) -> object:
        if key == KEY and not held.is_set():
            held.set()
            await late.wait()
        return await put(key, *args, **kwargs)  # type: ignore[arg-type]  # passed on as it came

    bucket.put = delayed  # type: ignore[method-assign,assignment]
    return held, late


class TestFirstBoot:
    async def test_three_nodes_take_the_margin_and_little_more(self, world: World) -> None:
        nodes = [await world.start(f"n{number}", min_cluster_size="3") for number in range(3)]
        took_s = await world.until(formed(*nodes))
        assert took_s <= 5 + 4
        assert world.clusters.of("n0") == {"n0", "n1", "n2"}
        assert [node.engine.asked.count("found") for node in nodes].count(1) == 1
        assert world.claim.stage is Stage.FORMED

    async def test_many_nodes_do_not_storm_the_store(self, world: World) -> None:
        nodes = [await world.start(f"n{number:02d}", min_cluster_size="20") for number in range(20)]
        await world.until(lambda: len(world.store.keys) == 21, 60)
        before = world.store.requests.copy()
        took_s = await world.until(formed(*nodes))
        spent = world.store.requests - before
        assert spent["put"] <= 3 * 20 + 20, "a report of each, and few writes of the claim"
        assert spent["list"] <= 20 * (took_s / 2 + 2)

    async def test_a_single_node(self, world: World) -> None:
        node = await world.start("n0")
        assert node.state == "waiting until no node has come or gone for 5 s (stable-margin)"
        await world.until(formed(node), 8)
        stages = []
        for _ in range(2):
            stages.append(world.claim.stage)
            await world.clock.advance(70)
        assert [*stages, world.claim.stage] == [Stage.FOUNDED, Stage.ALONE, Stage.ALONE]

    async def test_it_waits_for_all(self, world: World) -> None:
        node = await world.start("n0", min_cluster_size="3")
        await world.clock.advance(300)
        assert node.state == "waiting for 2 more nodes (1/3, min-cluster-size)"
        assert KEY not in world.store.keys

    async def test_but_not_for_longer_than_told(self, world: World) -> None:
        node = await world.start("n0", min_cluster_size="3", min_cluster_timeout="60s")
        await world.clock.advance(55)
        assert not node.is_formed
        await world.until(formed(node), 15)

    async def test_nodes_of_other_kinds_do_not_count(self, world: World) -> None:
        node = await world.start("n0", min_cluster_size="2")
        with pytest.raises(AssertionError):
            await world.until(formed(node), 30)
        observer = Discovery(
            make_settings(), world.store, Member("amqtt", Address("a.example", 1)), clock=world.clock
        )
        async with observer:
            with pytest.raises(AssertionError):
                await world.until(formed(node), 30)

    async def test_an_unreachable_store_is_waited_for(self, world: World) -> None:
        world.store.outage = UnreachableError("no answer")
        nodes = [await world.start(f"n{number}", min_cluster_size="2") for number in range(2)]
        await world.clock.advance(300)
        assert nodes[0].state == "waiting for the store: no answer"
        assert nodes[0].engine.asked == []
        world.store.outage = None
        await world.until(formed(*nodes))

    async def test_a_store_lost_on_the_way_is_waited_for(self, world: World) -> None:
        node = await world.start("n0")
        await world.clock.advance(3)
        world.store.outage = UnreachableError("no answer")
        await world.clock.advance(300)
        assert "found" not in node.engine.asked
        assert not node.is_formed

    async def test_a_claim_that_may_not_be_written_is_named(self, world: World) -> None:
        error: BucketError = AccessDeniedError("may not write the key")
        world.store.failures[("put", KEY)] = error
        node = await world.start("n0")
        await world.clock.advance(30)
        assert node.state == "waiting for the store: may not write the key"
        assert "found" not in node.engine.asked

    async def test_garbage_in_place_of_the_claim_founds_nothing(self, world: World) -> None:
        world.store.plant(KEY, b"garbage")
        node = await world.start("n0")
        await world.clock.advance(30)
        assert "delete it from the bucket" in node.state
        assert "found" not in node.engine.asked
        world.store.drop(KEY)
        await world.until(formed(node))

    async def test_an_empty_prefix_is_warned_of_and_the_claim_is_no_node(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        nodes = [await world.start(f"n{number}", file_prefix="") for number in range(2)]
        await world.until(formed(*nodes))
        await world.clock.advance(30)
        assert not nodes[0].discovery.status.problems
        warned = [record for record in caplog.records if "file-prefix is empty" in record.getMessage()]
        assert 1 <= len(warned) <= 2


class TestWithoutConditions:
    @pytest.fixture
    def plain(self, world: World) -> World:
        world.store.honours_conditions = False
        return world

    async def test_the_oldest_founds_and_a_warning_is_logged(
        self, plain: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        values = {"s3_endpoint": "http://127.0.0.1:9", "min_cluster_size": "3"}
        nodes = []
        for number in (2, 0, 1):
            nodes.append(await plain.start(f"n{number}", **values))
            await plain.clock.advance(0.5)
        await plain.until(formed(*nodes))
        assert [node.engine.asked.count("found") for node in nodes] == [1, 0, 0]
        assert "does not honour conditional writes" in caplog.text

    async def test_a_second_founder_notices(self, plain: World) -> None:
        node = await plain.start("n0", s3_endpoint="http://127.0.0.1:9")
        await plain.until(formed(node))
        plain.plant(Claim("bbbbbbbbbbbbbbbb", GHOST, Stage.FORMED))
        await plain.clock.advance(5)
        assert not node.is_formed


class TestTakeover:
    async def test_a_dead_founder_is_replaced_once_its_file_has_expired(self, world: World) -> None:
        world.plant(Claim("aaaaaaaaaaaaaaaa", GHOST))
        node = await world.start("n0")
        await world.until(formed(node))
        assert world.claim.owner.cluster_id == "n0"

    async def test_not_while_its_file_is_there(self, world: World) -> None:
        founder = await world.start("n0")
        founder.engine.hold = lambda what: asyncio.Event().wait() if what == "found" else asyncio.sleep(0)  # type: ignore[assignment,return-value]  # hangs for ever
        await world.until(lambda: "found" in founder.engine.asked)
        other = await world.start("n1")
        await world.clock.advance(120)
        assert other.state == "waiting for the founder 'n0'"
        await founder.end(kill=True)
        world.nodes.remove(founder)
        await world.until(formed(other), 120)

    async def test_only_a_listing_that_began_after_the_claim_was_read_says_who_is_gone(
        self, world: World
    ) -> None:
        node = await world.start("n0", min_cluster_size="2")
        await world.until(lambda: node.discovery.polls > 0)
        outlook, claim = Outlook(node.discovery, world.clock, 0.0), Claim("aaaaaaaaaaaaaaaa", GHOST)
        begun = node.discovery.polls
        while node.discovery.polls < begun + 2:
            assert not outlook.gone(claim), "a listing under way then may have begun before"
            await world.clock.advance(0.1)
        assert outlook.gone(claim) == {GHOST}

    async def test_a_founder_whose_claim_was_taken_while_it_founded_is_no_member(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        node = await world.start("n0")

        async def hold(what: str) -> None:
            if what == "found" and node.engine.asked[-1] == "found":
                world.plant(Claim("bbbbbbbbbbbbbbbb", GHOST, Stage.FORMED))

        node.engine.hold = hold
        await world.clock.advance(30)
        assert node.engine.asked.count("found") == 1
        assert not node.is_formed
        assert "allow-reset:true" in node.state
        assert "was given up meanwhile" in caplog.text

    async def test_a_claim_that_changes_before_it_founds_is_noticed(self, world: World) -> None:
        put = world.store.put

        async def overtaken(key: str, *args: object, **kwargs: object) -> object:
            written = await put(key, *args, **kwargs)  # type: ignore[arg-type]  # passed on as it came
            if key == KEY:
                world.plant(Claim("bbbbbbbbbbbbbbbb", GHOST, Stage.FORMED))
            return written

        world.store.put = overtaken  # type: ignore[method-assign,assignment]
        node = await world.start("n0")
        await world.clock.advance(30)
        assert "found" not in node.engine.asked

    async def test_a_claim_written_too_late_is_refused(self, world: World) -> None:
        """One node has seen that there is no claim; before it writes one, another has founded."""
        slow = await world.start("n0")
        held, late = hold_claim(world.store)
        await world.until(held.is_set)
        quick = await world.start("n1")
        await world.until(formed(quick))
        late.set()
        await world.until(formed(slow, quick))
        assert slow.engine.asked.count("found") == 0

    async def test_once_formed_nobody_founds_again(self, world: World) -> None:
        world.plant(Claim("aaaaaaaaaaaaaaaa", GHOST, Stage.FORMED))
        node = await world.start("n0")
        await world.clock.advance(300)
        assert KEY in node.state
        assert "found" not in node.engine.asked
        world.store.drop(KEY)
        await world.until(formed(node))

    async def test_the_first_to_join_is_in_the_claim_before_it_joins(self, world: World) -> None:
        founder = await world.start("n0")
        await world.until(formed(founder))
        joiner = Node(world, "n1")
        world.nodes.append(joiner)
        seen: list[tuple[Process, ...]] = []

        async def hold(what: str) -> None:
            if what == "join":
                seen.append(world.claim.joiners)

        joiner.engine.hold = hold
        await world.until(formed(joiner))
        assert [process.cluster_id for process in seen[0]] == ["n1"]

    async def test_of_two_who_take_over_one_wins(self, world: World) -> None:
        """One has read that the owner is gone; before it takes over, another has, and has founded."""
        world.plant(Claim("aaaaaaaaaaaaaaaa", GHOST))
        slow = await world.start("n0")
        held, late = hold_claim(slow.cable)
        await world.until(held.is_set)
        quick = await world.start("n1")
        await world.until(formed(quick))
        late.set()
        await world.until(formed(slow, quick))
        assert slow.engine.asked.count("found") == 0
        assert world.clusters.of("n0") == {"n0", "n1"}

    async def test_who_lost_the_claim_takes_it_from_no_other_founder(self, world: World) -> None:
        node = await world.start("n0")

        async def hold(what: str) -> None:
            if what == "found" and world.claim.owner != GHOST:
                world.plant(Claim("bbbbbbbbbbbbbbbb", GHOST))

        node.engine.hold = hold
        await world.clock.advance(60)
        assert world.claim.owner == GHOST
        assert not node.is_formed


class TestRefusals:
    async def test_a_founding_that_fails_is_logged_once_and_tried_less_and_less_often(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        node = await world.start("n0")
        found, tries = node.engine.found, 0

        async def refuse() -> None:
            nonlocal tries
            tries += 1
            raise BrokerError("no disk")

        node.engine.found = refuse  # type: ignore[method-assign]
        await world.clock.advance(130)
        assert 5 < tries < 40
        assert node.state == "waiting to try again to start the cluster: no disk"
        texts = [record.getMessage() for record in caplog.records]
        assert texts.count("founding a cluster") == 1
        assert sum("no disk" in text for text in texts) == 2, "the refusal, and the state"
        node.engine.found = found  # type: ignore[method-assign]
        await world.until(formed(node), 30)

    @pytest.mark.parametrize("stage", [Stage.FORMED, Stage.ALONE])
    async def test_what_only_people_can_mend_is_warned_of_now_and_then(
        self, world: World, caplog: pytest.LogCaptureFixture, stage: Stage
    ) -> None:
        caplog.set_level(logging.INFO)
        world.plant(Claim("aaaaaaaaaaaaaaaa", GHOST, stage))
        await world.start("n0", min_cluster_size="2")
        await world.start("n1", min_cluster_size="2")
        await world.clock.advance(60)
        told = [record for record in caplog.records if KEY in record.getMessage()]
        assert [record.levelno for record in told] == [logging.WARNING] * 2, "once by each node"
        await world.clock.advance(1200)
        told = [record for record in caplog.records if KEY in record.getMessage()]
        assert [record.levelno for record in told] == [logging.WARNING] * 6

    async def test_a_claim_that_is_too_large(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        world.store.plant(KEY, b"x" * (seed.CLAIM_LIMIT + 1))
        node = await world.start("n0")
        await world.clock.advance(30)
        assert "cannot be used, as it is too large; delete it" in node.state
        told = [record for record in caplog.records if "too large" in record.getMessage()]
        assert [record.levelno for record in told] == [logging.WARNING]

    async def test_nothing_is_done_beside_another_process_of_the_same_id(self, world: World) -> None:
        node = await world.start("n0")
        twin = Member("n0", Address("twin.example", 7800))
        async with Discovery(make_settings(), world.store, twin, clock=world.clock):
            await world.until(lambda: node.discovery.status.rival is not None)
            await world.until(lambda: "another process" in node.state)
            assert "twin.example" in node.state
            node.engine.asked.clear()
            await world.clock.advance(20)
            assert not {"found", "join", "is_blank"} & set(node.engine.asked)


class TestJoining:
    async def test_a_newcomer_joins_at_once(self, world: World) -> None:
        first = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*first))
        newcomer = await world.start("n2", stable_margin="1h", min_cluster_size="9")
        assert await world.until(formed(newcomer)) <= 2
        assert world.clusters.of("n0") == {"n0", "n1", "n2"}

    async def test_the_next_peer_is_asked_if_one_refuses(self, world: World) -> None:
        first = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*first))
        newcomer = Node(world, "n2")
        world.nodes.append(newcomer)
        join = newcomer.engine.join
        refused: list[str] = []

        async def picky(peer: Member) -> None:
            if not refused:
                refused.append(peer.cluster_id)
                raise BrokerError("no")
            assert peer.cluster_id not in refused
            await join(peer)

        newcomer.engine.join = picky  # type: ignore[method-assign]
        await world.until(formed(newcomer), 10)
        assert refused

    async def test_a_peer_that_was_replaced_since_the_last_poll_is_not_joined(self, world: World) -> None:
        first = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*first))
        outlook = Outlook(first[1].discovery, world.clock, 0.0)
        await world.until(lambda: bool(outlook.formed))
        [peer] = outlook.formed
        assert (await outlook.look_up(peer, has_reported=True)).cluster_id == "n0"
        stored = world.store.peek("nodes/n0")
        reset = {**stored.metadata, "s3discovery-state": "blank"}
        restarted = {**stored.metadata, "s3discovery-incarnation": GHOST.incarnation}
        for metadata in (reset, restarted, {}):
            world.store.plant("nodes/n0", stored.body, metadata)
            with pytest.raises(BrokerError, match="looking for another"):
                await outlook.look_up(peer, has_reported=True)
        world.store.drop("nodes/n0")
        with pytest.raises(BrokerError, match="looking for another"):
            await outlook.look_up(peer, has_reported=False)

    async def test_a_node_with_data_comes_back_without_a_margin(self, world: World) -> None:
        world.clusters.found("n0")
        node = await world.start("n0", stable_margin="1h", min_cluster_size="9")
        await world.until(formed(node), 2)
        assert world.claim.stage is Stage.ALONE

    async def test_a_node_of_another_cluster_is_told_the_cure(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*first))
        world.clusters.found("n2")
        stranger = await world.start("n2")
        await world.clock.advance(60)
        assert not stranger.is_formed
        assert "set allow-reset:true" in stranger.state
        told = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert sum("allow-reset" in record.getMessage() for record in told) == 1

    async def test_a_stranger_waits_at_leisure_and_sees_the_cure_soon(self, world: World) -> None:
        first = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*first))
        world.clusters.found("n2")
        stranger = await world.start("n2")
        await world.until(lambda: "allow-reset" in stranger.state)
        gets, asked = world.store.requests["get"], stranger.engine.asked.count("is_blank")
        await world.clock.advance(600)
        # One look in 10 s; the files of three nodes are read again by the two others every 20 s.
        assert stranger.engine.asked.count("is_blank") - asked <= 62
        assert world.store.requests["get"] - gets <= 62 + 3 * 2 * 35
        world.clusters.wipe("n2")
        await world.until(formed(stranger), 15)

    async def test_who_waits_for_a_member_joins_as_soon_as_there_is_one(self, world: World) -> None:
        first = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*first))
        for node in first:
            await node.end()
            world.nodes.remove(node)
        newcomer = await world.start("n2")
        await world.until(lambda: "waiting for a member" in newcomer.state)
        await world.clock.advance(120)
        await world.start("n0")
        await world.until(lambda: any(peer.report.is_formed for peer in newcomer.discovery.peers))
        assert await world.until(formed(newcomer)) <= 2


async def refuse_to_join(what: str) -> None:
    if what == "join":
        raise BrokerError("the cookie differs")


class TestJoinersThatFail:
    async def fail(self, world: World, cluster_id: str, *, kill: bool = False) -> None:
        node = Node(world, cluster_id)
        world.nodes.append(node)
        node.engine.hold = refuse_to_join
        await world.until(lambda: "join" in node.engine.asked)
        await node.end(kill=kill)
        world.nodes.remove(node)

    @pytest.mark.parametrize("lives_on", [True, False])
    async def test_a_founder_is_alone_all_the_same(self, world: World, lives_on: bool) -> None:
        founder = await world.start("n1")
        await world.until(formed(founder))
        if lives_on:
            joiner = Node(world, "n2")
            world.nodes.append(joiner)
            joiner.engine.hold = refuse_to_join
        else:
            await self.fail(world, "n2")
        await world.until(lambda: world.claim.stage is Stage.ALONE, 90)
        asked = founder.engine.asked.count("is_blank")
        await world.clock.advance(600)
        assert founder.engine.asked.count("is_blank") - asked <= 2, "it looks at the claim no more"
        await founder.end()
        world.nodes.remove(founder)
        other = await world.start("n3")
        await world.clock.advance(120)
        assert "waiting for 'n1', which has the cluster" in other.state or lives_on
        assert world.claim.owner.cluster_id == "n1"
        await world.start("n1")
        await world.until(lambda: world.clusters.of("n1") == {"n1", "n3"})

    async def test_one_that_is_restarted_over_and_over_leaves_room_for_others(self, world: World) -> None:
        founder = await world.start("n1")
        await world.until(formed(founder))
        for _ in range(3):
            await self.fail(world, "n2", kill=True)
        assert [joiner.cluster_id for joiner in world.claim.joiners] == ["n2"]

    async def test_many_that_are_gone_leave_room_for_others(self, world: World) -> None:
        founder = await world.start("n1")
        await world.until(formed(founder))
        for number in range(seed.JOINERS_LIMIT + 1):
            await self.fail(world, f"j{number}")
        newcomer = await world.start("n2")
        await world.until(formed(newcomer, founder))
        assert world.clusters.of("n1") == {"n1", "n2"}


class TestOnceFormed:
    async def test_a_poll_costs_nothing_more(self, world: World) -> None:
        nodes = [await world.start(f"n{number}", update_interval="50s") for number in range(2)]
        await world.until(formed(*nodes))
        await world.clock.advance(90)
        before = world.store.requests.copy()
        asked = [node.engine.asked.count("is_blank") for node in nodes]
        await world.clock.advance(40)
        spent = world.store.requests - before
        assert spent["get"] <= 4, "the refreshed files of the others, and no more"
        assert spent["put"] <= 2
        assert [node.engine.asked.count("is_blank") for node in nodes] == asked

    async def test_an_emptied_bucket_gets_its_claim_back(self, world: World) -> None:
        nodes = [await world.start(f"n{number}") for number in range(3)]
        await world.until(formed(*nodes))
        await world.clock.advance(20)
        asked = [node.engine.asked.count("found") + node.engine.asked.count("join") for node in nodes]
        for key in list(world.store.keys):
            world.store.drop(key)
        await world.clock.advance(15)
        assert world.claim.stage is Stage.FORMED
        assert formed(*nodes)()
        assert asked == [node.engine.asked.count("found") + node.engine.asked.count("join") for node in nodes]

    async def test_a_broker_that_was_reset_joins_again(self, world: World) -> None:
        nodes = [await world.start(f"n{number}") for number in range(3)]
        await world.until(formed(*nodes))
        await world.clock.advance(30)
        founds = [node.engine.asked.count("found") for node in nodes]
        world.clusters.remove("n1")
        await world.until(lambda: world.clusters.of("n1") == {"n0", "n1", "n2"}, 40)
        assert founds == [node.engine.asked.count("found") for node in nodes]

    async def test_who_is_left_alone_owns_the_claim_and_comes_back(self, world: World) -> None:
        nodes = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*nodes))
        owner = next(node for node in nodes if node.cluster_id == world.claim.owner.cluster_id)
        [other] = set(nodes) - {owner}
        await owner.driver.leave()
        await owner.end()
        await world.until(lambda: world.claim.owner.cluster_id == other.cluster_id)
        await other.end()
        again = await world.start(other.cluster_id)
        await world.until(formed(again))

    async def test_the_claim_is_looked_at_when_somebody_comes_or_goes(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        nodes = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*nodes))
        await world.clock.advance(30)
        before = world.store.requests["get"]
        world.store.drop(KEY)
        await world.clock.advance(30)
        assert KEY not in world.store.keys
        assert world.store.requests["get"] - before <= 6, "the refreshed files of the others, and no more"
        await world.start("n2")
        await world.until(lambda: KEY in world.store.keys, 15)
        assert world.claim.stage is Stage.FORMED
        await world.until(formed(*world.nodes))

    async def test_a_claim_that_moves_is_written_where_it_belongs(self, world: World) -> None:
        nodes = [await world.start(f"n{number}") for number in range(2)]
        await world.until(formed(*nodes))
        for node in nodes:
            moved = make_settings(seed_key="elsewhere")
            own = node.discovery.own
            assert own is not None
            await node.discovery.reconfigure(moved, node.cable, own)
        await world.clock.advance(10)
        assert seed.decode(world.store.peek("elsewhere").body).stage is Stage.FORMED
        assert formed(*nodes)()
