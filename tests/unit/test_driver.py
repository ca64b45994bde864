"""The driver: what it logs, reports, retries and forgets; on a bucket in memory and a clock moved by hand."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from s3discovery import codec
from s3discovery.brokers import Broker
from s3discovery.discovery import Discovery
from s3discovery.driver import Driver
from s3discovery.errors import AccessDeniedError, BrokerError, UnreachableError
from s3discovery.formation import seed
from s3discovery.node import Address, Member, NodeFile
from s3discovery.running import ClusterState
from s3discovery.testing import (
    FakeClock,
    FakeClusters,
    FakeEngine,
    MemoryBucket,
    RecordingBroker,
    make_settings,
)

QUICK = {"stable_margin": "1s", "forget_after": "60s"}


class Stage:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryBucket(self.clock)
        self.clusters = FakeClusters()

    @asynccontextmanager
    async def run(self, broker: Broker, name: str, **values: str) -> AsyncIterator[tuple[Discovery, Driver]]:
        settings = make_settings(**(QUICK | values))
        own = Member(name, Address(f"{name}.example", 7800))
        async with broker, Discovery(settings, self.store, own, clock=self.clock) as discovery:
            driver = Driver(discovery, broker, self.clock)
            task = asyncio.create_task(driver.run())
            try:
                yield discovery, driver
            finally:
                task.cancel()

    def plant_dead(self) -> None:
        """Have the bucket hold a file written just now that nobody will refresh."""
        file = NodeFile("1", 0, "dead", Address("dead.example", 7800))
        self.store.plant("nodes/dead", codec.encode(file, "1"))

    async def until(self, condition: Callable[[], bool], limit_s: float = 60) -> None:
        begun_s = self.clock.monotonic_s()
        while not condition():
            assert self.clock.monotonic_s() - begun_s < limit_s
            await self.clock.advance(0.5)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def logged(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


class TestMesh:
    """A broker without a state of its own."""

    async def test_a_healthy_cluster_writes_nothing_but_refreshes(self, stage: Stage) -> None:
        async with stage.run(RecordingBroker(), "a"), stage.run(RecordingBroker(), "b"):
            await stage.clock.advance(30)
            before = stage.store.requests["put"]
            await stage.clock.advance(60)
            # Each refreshes every 18 to 20 s.
            assert stage.store.requests["put"] - before <= 2 * 4

    async def test_changes_are_logged_not_ticks(self, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        async with stage.run(RecordingBroker(), "a") as (_, driver):
            await stage.clock.advance(30)
            assert driver.state.text == "formed 1/1"
            async with stage.run(RecordingBroker(), "b"):
                await stage.clock.advance(30)
                assert driver.state.text == "formed 2/2"
        assert logged(caplog, "cluster formed 1/1") == 1

    async def test_a_difference_is_reported_when_it_lasts(self, stage: Stage) -> None:
        broker = RecordingBroker()
        async with stage.run(RecordingBroker(), "b"), stage.run(broker, "a") as (discovery, driver):
            await stage.clock.advance(10)
            cluster, broker.cluster = broker.cluster, blind  # type: ignore[method-assign]
            await stage.clock.advance(8)
            assert driver.state.text == "incomplete 1/2, waiting for 'b'"
            assert driver.state.missing == {"b"}
            assert discovery.own is not None
            assert not discovery.own.report.missing
            await stage.clock.advance(12)
            assert discovery.own.report.missing == {"b"}
            broker.cluster = cluster  # type: ignore[method-assign]
            await stage.clock.advance(3)
            assert not discovery.own.report.missing
            assert driver.state.text == "formed 2/2"

    async def test_what_the_broker_sees_is_looked_at_while_the_store_is_down(self, stage: Stage) -> None:
        broker = RecordingBroker()
        async with stage.run(broker, "a") as (_, driver), stage.run(RecordingBroker(), "b"):
            await stage.until(lambda: driver.state.text == "formed 2/2")
            stage.store.outage = UnreachableError("no answer")
            broker.never_seen = frozenset({"b"})
            await stage.until(lambda: driver.state.text == "incomplete 1/2, waiting for 'b'", limit_s=15)

    async def test_a_refusal_is_told_once_and_tried_again(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker = RecordingBroker()
        broker.failure = BrokerError("no")
        async with stage.run(broker, "a"):
            await stage.clock.advance(60)
            assert logged(caplog, "broker refused its peers") == 1
            broker.failure = None
            await stage.clock.advance(10)
            assert broker.applied


async def blind() -> frozenset[str] | None:
    return frozenset()


async def silent() -> frozenset[str] | None:
    return None


class TestReadiness:
    """A node is ready when it belongs to the cluster; that others are missing is no fault of its own."""

    async def test_who_was_whole_stays_ready_when_others_die(self, stage: Stage) -> None:
        broker = RecordingBroker()
        async with stage.run(broker, "a") as (_, driver), stage.run(RecordingBroker(), "b"):
            await stage.until(lambda: driver.state.is_ready and driver.state.is_whole)
            broker.never_seen = frozenset({"b"})
            await stage.until(lambda: not driver.state.is_whole)
            await stage.clock.advance(20)
            assert driver.state.is_ready

    async def test_who_never_saw_anybody_is_not_ready(self, stage: Stage) -> None:
        broker = RecordingBroker()
        broker.never_seen = frozenset({"b"})
        async with stage.run(RecordingBroker(), "b"), stage.run(broker, "a") as (_, driver):
            await stage.clock.advance(30)
            assert driver.state.text == "incomplete 1/2, waiting for 'b'"
            assert not driver.state.is_ready

    async def test_who_sees_some_for_a_while_is_ready(self, stage: Stage) -> None:
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead"})
        async with (
            stage.run(RecordingBroker(), "b"),
            stage.run(RecordingBroker(), "dead"),
            stage.run(broker, "a") as (_, driver),
        ):
            await stage.clock.advance(5)
            assert driver.state.text == "incomplete 2/3, waiting for 'dead'"
            assert not driver.state.is_ready
            await stage.until(lambda: driver.state.is_ready, limit_s=15)

    async def test_a_newcomer_takes_nobodys_readiness_away(self, stage: Stage) -> None:
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead", "new"})
        async with (
            stage.run(RecordingBroker(), "b"),
            stage.run(RecordingBroker(), "dead"),
            stage.run(broker, "a") as (_, driver),
        ):
            await stage.until(lambda: driver.state.is_ready, limit_s=20)
            async with stage.run(RecordingBroker(), "new"):
                await stage.until(lambda: "'new'" in driver.state.text)
                assert driver.state.is_ready

    async def test_who_starts_beside_the_dead_alone_is_ready_once_they_are_late(self, stage: Stage) -> None:
        stage.plant_dead()
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead"})
        async with stage.run(broker, "a") as (_, driver):
            await stage.clock.advance(20)
            assert driver.state.text == "incomplete 1/2, waiting for 'dead'"
            assert not driver.state.is_ready
            await stage.until(lambda: driver.state.is_ready, limit_s=25)
            assert "'dead'" in driver.state.text, "its file is there still"

    async def test_who_comes_after_another_has_stayed_away_for_long_is_not_waited_for(
        self, stage: Stage
    ) -> None:
        stage.plant_dead()
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead", "new"})
        async with stage.run(broker, "a") as (_, driver):
            await stage.clock.advance(20)
            assert not driver.state.is_ready
            async with stage.run(RecordingBroker(), "b"), stage.run(RecordingBroker(), "new"):
                await stage.until(lambda: driver.state.text.startswith("incomplete 2/4"), limit_s=10)
                assert driver.state.is_ready

    @pytest.mark.parametrize("outage_s", [450.0, 600.0])
    async def test_who_starts_after_an_outage_takes_nobody_for_dead(
        self, stage: Stage, outage_s: float
    ) -> None:
        values = {"update_interval": "300s", "file_expiration": "900s", "poll_interval": "60s"}
        broker = RecordingBroker()
        broker.never_seen = frozenset("b")
        async with stage.run(RecordingBroker(), "b", **values):
            await stage.clock.advance(270)
            stage.store.outage = UnreachableError("no answer")
            await stage.clock.advance(outage_s)
            stage.store.outage = None
            async with stage.run(broker, "a", **values) as (_, driver):
                for _ in range(20):
                    await stage.clock.advance(30)
                    assert driver.state.text == "incomplete 1/2, waiting for 'b'"
                    assert not driver.state.is_ready

    async def test_nobody_is_silent_because_of_an_outage(self, stage: Stage) -> None:
        broker = RecordingBroker()
        broker.never_seen = frozenset("b")
        async with stage.run(RecordingBroker(), "b"), stage.run(broker, "a") as (_, driver):
            await stage.until(lambda: driver.state.text == "incomplete 1/2, waiting for 'b'")
            stage.store.outage = UnreachableError("no answer")
            for _ in range(90):
                await stage.clock.advance(1)
                assert not driver.state.is_ready
            stage.store.outage = None
            for _ in range(90):
                await stage.clock.advance(1)
                assert not driver.state.is_ready

    async def test_time_without_listings_does_not_count(self, stage: Stage) -> None:
        stage.plant_dead()
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead"})
        async with stage.run(broker, "a") as (_, driver):
            await stage.clock.advance(5)
            stage.store.failures[("list", "nodes/")] = UnreachableError("no answer")
            await stage.clock.advance(100)
            stage.store.failures.clear()
            for _ in range(20):
                await stage.clock.advance(1)
                assert not driver.state.is_ready
            await stage.until(lambda: driver.state.is_ready, limit_s=25)
            assert "'dead'" in driver.state.text

    async def test_time_in_which_nothing_can_be_written_does_not_count(self, stage: Stage) -> None:
        stage.plant_dead()
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead"})
        async with stage.run(broker, "a") as (_, driver):
            stage.store.failures[("put", "nodes/a")] = UnreachableError("no answer")
            await stage.clock.advance(45)
            assert not driver.state.is_ready
            assert driver.state.text == "incomplete 1/2, waiting for 'dead'"

    async def test_nobody_is_silent_whose_interval_is_longer(self, stage: Stage) -> None:
        broker = RecordingBroker()
        broker.never_seen = frozenset("b")
        async with stage.run(RecordingBroker(), "b", file_expiration="300s", update_interval="120s"):
            await stage.clock.advance(1)
            async with stage.run(broker, "a", file_expiration="300s") as (_, driver):
                for _ in range(300):
                    await stage.clock.advance(1)
                    assert not driver.state.is_ready

    async def test_who_was_taken_for_dead_and_returns_is_waited_for(self, stage: Stage) -> None:
        stage.plant_dead()
        broker = RecordingBroker()
        broker.never_seen = frozenset({"dead"})
        async with stage.run(broker, "a") as (_, driver):
            await stage.until(lambda: driver.state.is_ready)
            stage.store.outage = UnreachableError("no answer")
            await stage.clock.advance(15)
            assert driver.state.is_ready, "in an outage nobody changes his mind"
            stage.store.outage = None
            async with stage.run(RecordingBroker(), "dead"):
                await stage.until(lambda: not driver.state.is_ready, limit_s=10)

    async def test_who_goes_while_the_broker_is_asked_was_not_silent(self, stage: Stage) -> None:
        stage.plant_dead()

        class Slow(RecordingBroker):
            async def apply(self, peers: frozenset[Member]) -> None:
                before.append(driver.state)

            async def cluster(self) -> frozenset[str] | None:
                if discovery.peers:
                    stage.store.drop("nodes/dead")
                    await discovery.polled(discovery.polls)
                    assert not discovery.peers
                return frozenset()

        before: list[ClusterState] = []
        async with stage.run(Slow(), "a") as (discovery, driver):
            await stage.until(lambda: driver.state.is_whole)
        assert "incomplete 1/2, waiting for 'dead'" in [state.text for state in before]
        assert not any(state.is_ready for state in before)

    async def test_the_larger_part_of_a_split_is_ready_and_of_two_alike_one(self, stage: Stage) -> None:
        brokers = {name: RecordingBroker() for name in "abc"}
        for name, broker in brokers.items():
            broker.never_seen = frozenset("ab" if name == "c" else "c")
        async with (
            stage.run(brokers["a"], "a") as (_, a),
            stage.run(brokers["b"], "b") as (_, b),
            stage.run(brokers["c"], "c") as (_, c),
        ):
            await stage.until(lambda: all(driver.state.is_split for driver in (a, b, c)))
            assert [driver.state.is_ready for driver in (a, b, c)] == [True, True, False]

    async def test_a_broker_that_cannot_tell_is_ready_once_it_was_told(self, stage: Stage) -> None:
        broker = RecordingBroker()
        broker.cluster = silent  # type: ignore[method-assign]
        async with stage.run(RecordingBroker(), "b"), stage.run(broker, "a") as (_, driver):
            await stage.until(lambda: driver.state.text == "told of 1 peer")
            assert driver.state.is_ready
            assert driver.state.is_whole

    async def test_a_broker_that_refuses_twice_is_not_what_it_was(self, stage: Stage) -> None:
        broker = RecordingBroker()
        async with stage.run(broker, "a") as (_, driver):
            await stage.until(lambda: driver.state.is_ready)
            broker.failure = BrokerError("gone")
            await stage.until(lambda: not driver.state.is_ready)
            assert "gone" in driver.state.text
            assert driver.sight is None
            assert len(broker.applied) > 0
            broker.failure = None
            await stage.until(lambda: driver.state.is_ready)
            assert driver.sight is not None


class TestEngine:
    async def test_nothing_is_applied_before_it_is_formed(self, stage: Stage) -> None:
        engine = FakeEngine(stage.clusters, "a")
        async with stage.run(engine, "a", min_cluster_size="2") as (discovery, driver):
            await stage.clock.advance(20)
            assert engine.applied == []
            assert discovery.own is not None
            assert discovery.own.report.is_formed is False
            assert driver.state.text == "waiting for 1 more node (1/2, min-cluster-size)"

    async def test_a_refusal_is_tried_again_soon(self, stage: Stage) -> None:
        engine = FakeEngine(stage.clusters, "a")
        engine.failure = BrokerError("starting")
        async with stage.run(engine, "a", poll_interval="1h", file_expiration="9h") as (_, driver):
            await stage.clock.advance(10)
            engine.failure = None
            await stage.until(lambda: driver.state.text == "formed 1/1", 10)

    async def test_one_that_cannot_tell_its_cluster_is_formed_all_the_same(self, stage: Stage) -> None:
        engine = FakeEngine(stage.clusters, "a")
        engine.cluster = silent  # type: ignore[method-assign]
        async with stage.run(engine, "a") as (discovery, _):
            await stage.clock.advance(10)
            assert discovery.own is not None
            assert discovery.own.report.is_formed is True

    async def test_leaving_ends_the_driving(self, stage: Stage) -> None:
        engine = FakeEngine(stage.clusters, "a")
        async with stage.run(engine, "a") as (_, driver):
            await stage.until(lambda: driver.state.text == "formed 1/1")
            await driver.leave()
            asked = len(engine.asked)
            await stage.clock.advance(60)
            assert len(engine.asked) == asked
            assert stage.clusters.of("a") == frozenset()
            await driver.leave()
            assert len(engine.asked) == asked, "who has left is not asked to leave again"

    async def test_one_that_keeps_refusing_is_asked_less_and_less_often(self, stage: Stage) -> None:
        engine = FakeEngine(stage.clusters, "a")
        async with stage.run(engine, "a", poll_interval="1h", file_expiration="9h") as (_, driver):
            await stage.until(lambda: driver.state.text == "formed 1/1")
            tries = 0

            async def refuse(peers: frozenset[Member]) -> None:
                nonlocal tries
                tries += 1
                raise BrokerError("no")

            engine.apply = refuse  # type: ignore[method-assign]
            driver._discovery.look_now()
            await stage.clock.advance(600)
            assert 10 < tries < 25


class TestDepartures:
    """`dead` is a member of the broker's cluster that runs no more and has no file."""

    @asynccontextmanager
    async def run(self, stage: Stage, **values: str) -> AsyncIterator[tuple[FakeEngine, Driver]]:
        engine = FakeEngine(stage.clusters, "a")
        stage.clusters.found("a")
        stage.clusters.running |= {"a"}
        stage.clusters.join("dead", "a")
        async with stage.run(engine, "a", **values) as (_, driver):
            await stage.until(lambda: driver.state.text == "formed 1/1")
            yield engine, driver

    async def test_the_dead_are_forgotten_if_that_is_wanted(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with self.run(stage, forget_dead="true") as (engine, _):
            await stage.clock.advance(50)
            assert "forget" not in engine.asked
            await stage.clock.advance(30)
            assert stage.clusters.of("a") == {"a"}
            await stage.clock.advance(60)
            assert engine.asked.count("forget") == 1
            assert logged(caplog, "dead node forgotten cluster_id='dead'") == 1

    async def test_who_has_come_back_since_the_last_listing_is_not_forgotten(self, stage: Stage) -> None:
        values = {"poll_interval": "10m", "file_expiration": "3h", "update_interval": "1h"}
        async with self.run(stage, forget_dead="true", **values) as (engine, driver):
            await stage.clock.advance(50)
            stage.plant_dead()
            await stage.clock.advance(20)
            step = asyncio.create_task(driver.step())
            await stage.clock.advance(20)
            await step
            assert "forget" not in engine.asked

    async def test_nobody_is_forgotten_where_the_store_cannot_be_asked_once_more(self, stage: Stage) -> None:
        values = {"poll_interval": "10m", "file_expiration": "3h", "update_interval": "1h"}
        async with self.run(stage, forget_dead="true", **values) as (engine, driver):
            await stage.clock.advance(50)
            stage.store.outage = UnreachableError("no answer")
            await stage.clock.advance(20)
            step = asyncio.create_task(driver.step())
            await stage.clock.advance(20)
            await step
            assert "forget" not in engine.asked

    async def test_else_they_are_warned_of_once(self, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
        async with self.run(stage) as (engine, _):
            await stage.clock.advance(120)
            stage.store.outage = UnreachableError("no answer")
            await stage.clock.advance(60)
            stage.store.outage = None
            await stage.clock.advance(120)
            assert "forget" not in engine.asked
            assert logged(caplog, "set forget-dead:true cluster_id='dead'") == 1

    async def test_a_refusal_is_told_once_and_tried_again(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with self.run(stage, forget_dead="true") as (engine, driver):
            forget = engine.forget

            async def refuse(cluster_id: str) -> None:
                raise BrokerError(f"not yet: {cluster_id}")

            engine.forget = refuse  # type: ignore[method-assign]
            await stage.clock.advance(90)
            polls = driver._discovery.polls
            await stage.clock.advance(60)
            assert driver._discovery.polls - polls <= 60 / 5 + 60 / 10 + 1, "a refusal costs few listings"
            assert logged(caplog, "dead node could not be forgotten") == 1
            assert driver.state.text == "formed 1/1"
            engine.forget = forget  # type: ignore[method-assign]
            await stage.clock.advance(20)
            assert stage.clusters.of("a") == {"a"}

    async def test_nobody_while_the_store_is_down(self, stage: Stage) -> None:
        async with self.run(stage, forget_dead="true") as (engine, _):
            await stage.clock.advance(50)
            stage.store.outage = UnreachableError("no answer")
            await stage.clock.advance(300)
            assert "forget" not in engine.asked
            stage.store.outage = None
            await stage.clock.advance(50)
            assert "forget" not in engine.asked, "whoever was dead had no way to come back until now"

    async def test_nobody_while_nothing_can_be_written(self, stage: Stage) -> None:
        async with self.run(stage, forget_dead="true") as (engine, _):
            stage.store.failures[("put", "nodes/a")] = AccessDeniedError("read only")
            await stage.clock.advance(300)
            assert "forget" not in engine.asked

    async def test_nobody_while_the_broker_does_not_answer(self, stage: Stage) -> None:
        async with self.run(stage, forget_dead="true") as (engine, _):
            await stage.clock.advance(50)
            engine.failure = BrokerError("no answer")
            await stage.clock.advance(300)
            engine.failure = None
            await stage.clock.advance(50)
            assert "forget" not in engine.asked

    async def test_who_has_forgotten_all_others_owns_the_claim(self, stage: Stage) -> None:
        key, dead = ".s3discovery/nodes%2F/seed", seed.Process("1700000000000-0123456789abcdef", "dead")
        claim = seed.Claim("a" * 16, dead, seed.Stage.FORMED, nonce="0" * 16)
        stage.store.plant(key, seed.encode(claim))
        async with self.run(stage, forget_dead="true"):
            await stage.clock.advance(50)
            assert seed.decode(stage.store.peek(key).body).owner == dead
            await stage.clock.advance(40)
            assert seed.decode(stage.store.peek(key).body).owner.cluster_id == "a"

    async def test_a_short_silence_of_the_broker_begins_the_time_again(self, stage: Stage) -> None:
        async with self.run(stage, forget_dead="true") as (engine, _):
            await stage.clock.advance(50)
            engine.failure = BrokerError("no answer")
            await stage.clock.advance(7)
            engine.failure = None
            await stage.clock.advance(40)
            assert "forget" not in engine.asked
            await stage.clock.advance(40)
            assert "forget" in engine.asked

    async def test_nobody_who_is_in_the_bucket_when_it_is_emptied(self, stage: Stage) -> None:
        b = FakeEngine(stage.clusters, "b")
        async with self.run(stage, forget_dead="true") as (engine, _):
            async with stage.run(b, "b", forget_dead="true"):
                await stage.until(lambda: "b" in stage.clusters.of("a"))
                for _ in range(20):
                    for key in list(stage.store.keys):
                        stage.store.drop(key)
                    await stage.clock.advance(5)
                assert "b" in stage.clusters.of("a")
            assert "b" in stage.clusters.of("a")
            assert engine.applied
