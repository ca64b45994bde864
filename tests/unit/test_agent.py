"""The agent, over fakes: broker and settings kept in step with the bucket, whatever goes wrong."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from s3discovery import codec
from s3discovery.agent import Agent, Parts
from s3discovery.brokers import Broker, Surroundings
from s3discovery.bucket import Bucket, Stored, Written
from s3discovery.child import Child
from s3discovery.discovery import Discovery
from s3discovery.errors import AddressError, BrokerError, Problem, SettingsError, UnreachableError
from s3discovery.node import NO_METADATA, Address, NodeFile
from s3discovery.settings.config import Settings
from s3discovery.settings.keys import FIXED, KEYS
from s3discovery.settings.keys.ownership import OWNERSHIP
from s3discovery.testing import Cable, FakeClock, MemoryBucket, RecordingBroker, make_settings

POLL_S = 5


def body(cluster_id: str, port: int = 7800) -> bytes:
    return codec.encode(NodeFile("1", 1, cluster_id, Address(f"{cluster_id}.example", port)), "1")


class Session(Cable):
    """A Bucket that takes its time, and is of no use once it is closed, as the one on S3."""

    def __init__(self, bucket: MemoryBucket, name: str, machine: "Machine") -> None:
        super().__init__(bucket)
        self._name = name
        self._machine = machine
        self.is_open = True

    async def get(self, key: str, *, limit: int) -> Stored:
        await self._machine.clock.sleep(self._machine.get_s.get(self._name, 0))
        return await super().get(key, limit=limit)

    async def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        await self._machine.clock.sleep(self._machine.put_s.get(self._name, 0))
        return await super().put(key, body, metadata, if_match=if_match, if_none_match=if_none_match)

    def _through(self) -> Bucket:
        if not self.is_open:
            raise RuntimeError("the bucket is used outside of its `async with`")
        return super()._through()


class Machine:
    """Everything an agent is made of, to be changed under its feet."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.buckets = {"bucket": MemoryBucket(self.clock), "other": MemoryBucket(self.clock)}
        self.open: list[str] = []
        self.put_s: dict[str, float] = {}
        self.get_s: dict[str, float] = {}
        self.broker: RecordingBroker | None = RecordingBroker(port=1700, metadata={"key": "k"})
        self.child: Ending | None = None
        self.settings = make_settings(cluster_id="a")
        self.problem: SettingsError | None = None
        self.mark = 0
        self.address_error: AddressError | None = None
        self.look_now: Callable[[], None] = lambda: None
        self.started: list[tuple[Discovery, Broker | None]] = []

    @property
    def bucket(self) -> MemoryBucket:
        return self.buckets["bucket"]

    def change(self, settings: Settings | SettingsError) -> None:
        """Rewrite the settings file."""
        self.mark += 1
        if isinstance(settings, Settings):
            self.settings, self.problem = settings, None
        else:
            self.problem = settings

    def agent(self) -> Agent:
        return Agent(
            Parts(
                read_settings=self._read,
                settings_mark=lambda: self.mark,
                open_bucket=self._open,
                make_broker=self._make_broker,
                find_address=self._find_address,
                make_cluster_id=lambda: "generated",
                clock=self.clock,
                child=cast("Child | None", self.child),
            )
        )

    def _read(self) -> Settings:
        if self.problem is not None:
            raise self.problem
        return self.settings

    @asynccontextmanager
    async def _open(self, settings: Settings) -> AsyncIterator[Bucket]:
        name = settings.bucket_name
        session = Session(self.buckets[name], name, self)
        self.open.append(name)
        try:
            yield session
        finally:
            session.is_open = False
            self.open.remove(name)

    def _make_broker(self, surroundings: Surroundings) -> Broker | None:
        self.look_now = surroundings.look_now
        return self.broker

    async def _find_address(self, settings: Settings, port: int | None) -> Address:
        if self.address_error is not None:
            raise self.address_error
        return Address(settings.external_address or "found.example", port or settings.bind_port)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Discovery]:
        """Run an agent; it is cancelled as by a signal."""
        task = asyncio.create_task(
            self.agent().run(lambda discovery, broker: self.started.append((discovery, broker)))
        )
        await self.clock.settle()
        try:
            if task.done():
                task.result()
            yield self.started[0][0]
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.fixture
def machine() -> Machine:
    return Machine()


def applied(machine: Machine) -> list[set[str]]:
    assert machine.broker is not None
    return [{peer.cluster_id for peer in peers} for peers in machine.broker.applied]


def messages(caplog: pytest.LogCaptureFixture, beginning: str) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith(beginning)]


class TestStart:
    async def test_publishes_what_the_broker_says(self, machine: Machine) -> None:
        async with machine.running() as discovery:
            assert codec.decode(machine.bucket.peek("nodes/a").body).address == Address("found.example", 1700)
            assert discovery.own is not None
            assert discovery.own.metadata["key"] == "k"
            assert machine.started == [(discovery, machine.broker)]

    async def test_without_a_broker_it_is_discovery_alone(self, machine: Machine) -> None:
        machine.broker = None
        async with machine.running() as discovery:
            assert machine.started == [(discovery, None)]
            assert codec.decode(machine.bucket.peek("nodes/a").body).address.port == 7800

    async def test_an_id_that_is_not_set_is_generated(self, machine: Machine) -> None:
        machine.settings = make_settings()
        async with machine.running():
            assert machine.bucket.keys == {"nodes/generated"}

    async def test_a_store_that_is_away_is_waited_for(self, machine: Machine) -> None:
        machine.bucket.outage = UnreachableError("no answer")
        async with machine.running() as discovery:
            assert not discovery.status.registered
            machine.bucket.outage = None
            await machine.clock.advance(POLL_S * 2)
            assert discovery.status.registered
            assert machine.bucket.keys == {"nodes/a"}

    async def test_wrong_settings_are_the_callers(self, machine: Machine) -> None:
        machine.problem = SettingsError([Problem("file-prefix", None, "is missing")])
        with pytest.raises(SettingsError, match="file-prefix"):
            await machine.agent().run()

    async def test_no_address_is_the_callers_and_leaves_nothing(self, machine: Machine) -> None:
        machine.address_error = AddressError("no address was found")
        with pytest.raises(AddressError):
            await machine.agent().run()
        assert machine.bucket.requests.total() == 0


class TestBroker:
    async def test_gets_the_peers_of_every_listing(self, machine: Machine) -> None:
        machine.bucket.plant("nodes/b", body("b"))
        async with machine.running():
            assert applied(machine)[0] == {"b"}
            machine.bucket.plant("nodes/c", body("c"))
            await machine.clock.advance(POLL_S)
            machine.bucket.drop("nodes/b")
            await machine.clock.advance(POLL_S)
            found = applied(machine)
            assert found[-1] == {"c"}
            assert {"b", "c"} in found

    async def test_is_handed_the_same_again_at_every_poll_so_that_it_heals(self, machine: Machine) -> None:
        async with machine.running():
            await machine.clock.advance(POLL_S * 3)
            assert len(applied(machine)) >= 4

    async def test_keeps_its_peers_while_the_store_is_away(self, machine: Machine) -> None:
        machine.bucket.plant("nodes/b", body("b"))
        async with machine.running():
            machine.bucket.outage = UnreachableError("no answer")
            await machine.clock.advance(POLL_S * 20)
            assert set.intersection(*applied(machine)) == {"b"}
            machine.bucket.outage = None

    async def test_a_refusal_is_tried_again_at_the_next_poll_and_told_once(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker = machine.broker
        assert broker is not None
        machine.bucket.plant("nodes/b", body("b"))
        async with machine.running():
            broker.failure = BrokerError("it is busy")
            broker.applied.clear()
            await machine.clock.advance(POLL_S * 4)
            assert messages(caplog, "broker refused") == [
                "broker refused its peers, trying again at the next poll error=it is busy"
            ]
            broker.failure = BrokerError("it is down")
            await machine.clock.advance(POLL_S * 2)
            assert len(messages(caplog, "broker refused")) == 2
            broker.failure = None
            await machine.clock.advance(POLL_S)
            assert applied(machine)[-1] == {"b"}
            broker.failure = BrokerError("it is down")
            await machine.clock.advance(POLL_S)
            assert len(messages(caplog, "broker refused")) == 3, "a new failure is told anew"

    async def test_an_error_that_is_none_of_ours_ends_the_agent(self, machine: Machine) -> None:
        assert machine.broker is not None
        task = asyncio.create_task(machine.agent().run())
        await machine.clock.settle()
        machine.broker.failure = RuntimeError("a bug")
        await machine.clock.advance(POLL_S)
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert caught.group_contains(RuntimeError, match="a bug")
        assert machine.bucket.keys == set()

    async def test_looks_at_the_bucket_when_the_broker_meets_a_stranger(self, machine: Machine) -> None:
        machine.settings = make_settings(cluster_id="a", poll_interval="1h")
        async with machine.running():
            machine.bucket.plant("nodes/b", body("b"))
            machine.look_now()
            await machine.clock.advance(0.1)
            assert applied(machine)[-1] == {"b"}

    async def test_how_far_the_cluster_is_is_told_when_it_changes(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        class Alone(RecordingBroker):
            async def cluster(self) -> frozenset[str] | None:
                return frozenset()

        machine.broker = Alone()
        machine.bucket.plant("nodes/b", body("b"))
        async with machine.running():
            await machine.clock.advance(POLL_S * 3)
        assert messages(caplog, "cluster ") == ["cluster incomplete 1/2, waiting for 'b'"]

    async def test_a_cluster_that_is_whole_is_told_once(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        machine.bucket.plant("nodes/b", body("b"))
        async with machine.running():
            await machine.clock.advance(POLL_S * 3)
        assert messages(caplog, "cluster ") == ["cluster formed 2/2"]

    async def test_nobody_waits_for_those_that_can_never_be_peers(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        assert machine.broker is not None
        machine.broker.never_peers = frozenset({"hive"})
        for name in ("b", "hive"):
            machine.bucket.plant(f"nodes/{name}", body(name))
        async with machine.running():
            await machine.clock.advance(POLL_S * 3)
        assert messages(caplog, "cluster ") == [
            "cluster formed 2/2 (1 in the bucket skipped: no peers of this broker)"
        ]


class TestSettings:
    @pytest.mark.parametrize(("poll_interval", "warnings"), [("20s", 0), ("21s", 1)])
    async def test_a_poll_interval_too_long_to_notice_an_outage_is_warned_of(
        self, machine: Machine, caplog: pytest.LogCaptureFixture, poll_interval: str, warnings: int
    ) -> None:
        machine.settings = make_settings(cluster_id="a", poll_interval=poll_interval)
        async with machine.running():
            assert len(messages(caplog, "an outage of the store between two polls")) == warnings

    async def test_a_changed_prefix_moves_the_own_file_at_once(self, machine: Machine) -> None:
        async with machine.running():
            machine.change(replace(machine.settings, file_prefix="moved/"))
            await machine.clock.advance(1.5)
            assert machine.bucket.keys == {"moved/a"}

    async def test_a_changed_id_moves_the_own_file_at_once(self, machine: Machine) -> None:
        async with machine.running():
            machine.change(replace(machine.settings, cluster_id="z"))
            await machine.clock.advance(1.5)
            assert machine.bucket.keys == {"nodes/z"}

    async def test_an_id_that_was_generated_stays(self, machine: Machine) -> None:
        machine.settings = make_settings()
        async with machine.running():
            machine.change(replace(machine.settings, file_prefix="moved/"))
            await machine.clock.advance(1.5)
            assert machine.bucket.keys == {"moved/generated"}

    async def test_a_changed_address_is_published_at_once(self, machine: Machine) -> None:
        async with machine.running():
            machine.change(replace(machine.settings, external_address="new.example"))
            await machine.clock.advance(1.5)
            assert codec.decode(machine.bucket.peek("nodes/a").body).address == Address("new.example", 1700)

    async def test_a_changed_interval_holds_from_the_next_poll(self, machine: Machine) -> None:
        async with machine.running():
            machine.change(replace(machine.settings, poll_interval_s=0.5))
            await machine.clock.advance(1.5)
            machine.bucket.requests.clear()
            await machine.clock.advance(10)
            assert machine.bucket.requests["list"] >= 18

    async def test_a_bad_change_is_told_and_the_old_settings_run_on(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with machine.running() as discovery:
            machine.change(SettingsError([Problem("poll-interval", "x", "write a number")]))
            await machine.clock.advance(5)
            told = messages(caplog, "settings not applied")
            assert len(told) == 1, "changes are logged, not ticks"
            assert "poll-interval='x': write a number" in told[0]
            machine.bucket.requests.clear()
            await machine.clock.advance(60)
            assert machine.bucket.requests["put"] >= 3, "it still refreshes its file"
            machine.bucket.plant("nodes/b", body("b"))
            await machine.clock.advance(POLL_S)
            assert {peer.cluster_id for peer in discovery.peers} == {"b"}

    async def test_a_good_change_after_a_bad_one_is_applied(self, machine: Machine) -> None:
        async with machine.running():
            machine.change(SettingsError([Problem("poll-interval", "x", "write a number")]))
            await machine.clock.advance(2)
            machine.change(replace(machine.settings, file_prefix="moved/"))
            await machine.clock.advance(2)
            assert machine.bucket.keys == {"moved/a"}

    async def test_an_address_that_cannot_be_found_any_more_stops_nothing(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with machine.running():
            machine.address_error = AddressError("no address was found")
            machine.change(replace(machine.settings, file_prefix="moved/"))
            await machine.clock.advance(2)
            assert len(messages(caplog, "settings not applied")) == 1
            assert machine.bucket.keys == {"nodes/a"}

    async def test_a_file_that_says_the_same_changes_nothing(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with machine.running():
            before = machine.bucket.requests["put"]
            machine.change(machine.settings)
            await machine.clock.advance(1.5)
            assert machine.bucket.requests["put"] == before
            assert messages(caplog, "settings applied") == []

    async def test_what_needs_a_restart_is_named_and_the_rest_is_applied(
        self, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with machine.running():
            machine.change(replace(machine.settings, broker="amqtt", bind_port=9000, file_prefix="moved/"))
            await machine.clock.advance(1.5)
            assert messages(caplog, "settings wait") == ["settings wait for a restart keys=bind-port,broker"]
            assert machine.bucket.keys == {"moved/a"}

    async def test_what_needs_a_restart_stays_as_it_was(self, machine: Machine) -> None:
        machine.broker = None
        async with machine.running():
            machine.change(replace(machine.settings, bind_port=9000, file_prefix="moved/"))
            await machine.clock.advance(1.5)
            assert codec.decode(machine.bucket.peek("moved/a").body).address.port == 7800

    async def test_a_change_can_be_taken_back(self, machine: Machine) -> None:
        before = machine.settings
        async with machine.running():
            machine.change(replace(before, file_prefix="moved/"))
            await machine.clock.advance(1.5)
            machine.change(before)
            await machine.clock.advance(1.5)
            assert machine.bucket.keys == {"nodes/a"}

    async def test_another_bucket_is_moved_to_and_the_old_one_closed(self, machine: Machine) -> None:
        machine.bucket.plant("nodes/b", body("b"))
        machine.buckets["other"].plant("nodes/c", body("c"))
        async with machine.running() as discovery:
            assert machine.open == ["bucket"]
            machine.change(replace(machine.settings, bucket_name="other"))
            await machine.clock.advance(1.5)
            assert machine.open == ["other"]
            assert machine.bucket.keys == {"nodes/b"}
            assert machine.buckets["other"].keys == {"nodes/a", "nodes/c"}
            assert {peer.cluster_id for peer in discovery.peers} == {"c"}
            await machine.clock.advance(POLL_S)
            assert discovery.status.error is None
        assert machine.open == []

    async def test_files_are_written_with_the_ownership_of_now(self, machine: Machine) -> None:
        async with machine.running() as discovery:
            before = discovery.bucket
            machine.change(replace(machine.settings, acl="private"))
            await machine.clock.advance(1.5)
            assert discovery.bucket is not before, "the way to the store is what sends it"
            assert machine.open == ["bucket"]

    async def test_a_question_under_way_ends_before_its_bucket_is_closed(self, machine: Machine) -> None:
        machine.settings = make_settings(cluster_id="a", s3_endpoint="http://store")
        machine.get_s["bucket"] = 3
        async with machine.running() as discovery:
            await machine.clock.settle()
            machine.get_s["bucket"] = 0
            machine.change(replace(machine.settings, bucket_name="other"))
            await machine.clock.advance(5)
            assert machine.open == ["other"]
            assert discovery.status.capabilities.is_known

    async def test_a_write_under_way_ends_before_its_bucket_is_closed(self, machine: Machine) -> None:
        machine.settings = make_settings(cluster_id="a", update_interval="2s")
        async with machine.running() as discovery:
            machine.put_s["bucket"] = 3
            machine.buckets["other"].outage = UnreachableError("no answer")
            await machine.clock.advance(2)  # a refresh has begun
            machine.change(replace(machine.settings, bucket_name="other"))
            await machine.clock.advance(10)
            assert machine.open == ["bucket", "other"], "the old file is still there, and so is the way to it"
            machine.buckets["other"].outage = None
            await machine.clock.advance(2 * POLL_S)
            assert machine.open == ["other"]
            assert machine.bucket.keys == set()
            assert machine.buckets["other"].keys == {"nodes/a"}
            assert discovery.status.registered

    async def test_a_signal_in_the_middle_of_a_move_still_leaves(self, machine: Machine) -> None:
        async with machine.running():
            machine.get_s["bucket"] = 1  # to leave there takes a moment
            machine.change(replace(machine.settings, bucket_name="other"))
            await machine.clock.advance(1.5)
            assert machine.buckets["other"].keys == {"nodes/a"}
            assert machine.open == ["bucket", "other"]
            machine.get_s.clear()
        assert machine.buckets["other"].keys == set()
        assert machine.open == []

    async def test_a_bucket_that_is_away_does_not_stop_a_move(self, machine: Machine) -> None:
        machine.buckets["other"].outage = UnreachableError("no answer")
        async with machine.running() as discovery:
            machine.change(replace(machine.settings, bucket_name="other"))
            await machine.clock.advance(1.5)
            assert isinstance(discovery.status.error, UnreachableError)
            machine.buckets["other"].outage = None
            await machine.clock.advance(POLL_S * 2)
            assert machine.buckets["other"].keys == {"nodes/a"}
            assert discovery.status.registered


class Leaving(RecordingBroker):
    """A broker that takes a while to leave, or refuses."""

    def __init__(self) -> None:
        super().__init__(port=1700)
        self.may_go = asyncio.Event()
        self.refusal: BrokerError | None = None
        self.asked = 0

    async def leave(self) -> None:
        self.asked += 1
        await self.may_go.wait()
        if self.refusal is not None:
            raise self.refusal


class Ending:
    """A program that runs until it is told to end, and ends as one does that was killed."""

    was_started = True

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def start(self) -> None:
        return

    async def exited(self) -> int:
        await self.ended.wait()
        return 143

    def tell_to_stop(self) -> None:
        self.ended.set()

    async def stop(self) -> None:
        return


class TestLeaving:
    @asynccontextmanager
    async def running(self, machine: Machine) -> AsyncIterator[tuple[Leaving, Agent, asyncio.Task[int]]]:
        machine.broker = broker = Leaving()
        agent = machine.agent()
        task = asyncio.create_task(agent.run())
        await machine.clock.advance(POLL_S * 2)
        try:
            yield broker, agent, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def test_it_is_not_ready_meanwhile_and_leaves_once(self, machine: Machine) -> None:
        machine.settings = make_settings(cluster_id="a", leave_on_stop="false")
        async with self.running(machine) as (broker, agent, task):
            state = agent.cluster_state()
            assert state is not None
            assert state.is_ready
            asking = [asyncio.create_task(agent.leave()) for _ in range(2)]
            await machine.clock.advance(1)
            state = agent.cluster_state()
            assert state is not None
            assert (state.text, state.is_ready) == ("leaving", False)
            broker.may_go.set()
            await asyncio.gather(*asking)
            assert broker.asked == 1
            assert await task == 0
        assert machine.bucket.keys == set()

    async def test_a_program_that_ends_meanwhile_does_not_cut_it_off(self, machine: Machine) -> None:
        """There are brokers that stop once they have left."""
        machine.settings = make_settings(cluster_id="a", leave_on_stop="false")
        machine.child = child = Ending()
        async with self.running(machine) as (broker, agent, task):
            asking = asyncio.create_task(agent.leave())
            await machine.clock.settle()
            child.ended.set()
            await machine.clock.advance(1)
            assert not task.done()
            broker.may_go.set()
            await asking
            assert await task == 0
        assert machine.bucket.keys == set()

    async def test_a_refusal_leaves_all_as_it_was(self, machine: Machine) -> None:
        async with self.running(machine) as (broker, agent, task):
            broker.refusal = BrokerError("the last one")
            broker.may_go.set()
            with pytest.raises(BrokerError, match="the last one"):
                await agent.leave()
            state = agent.cluster_state()
            assert state is not None
            assert state.is_ready
            assert not task.done()


class TestEnd:
    async def test_leaves_and_closes_everything(self, machine: Machine) -> None:
        async with machine.running():
            assert machine.bucket.keys == {"nodes/a"}
        assert machine.bucket.keys == set()
        assert machine.open == []

    async def test_the_broker_ends_after_the_own_file_is_gone(self, machine: Machine) -> None:
        left: list[set[str]] = []

        class Last(RecordingBroker):
            async def __aexit__(self, *exc_info: object) -> None:
                left.append(set(machine.bucket.keys))

        machine.broker = Last()
        async with machine.running():
            pass
        assert left == [set()]

    async def test_another_process_of_the_same_id_keeps_its_file(self, machine: Machine) -> None:
        async with machine.running():
            machine.bucket.plant("nodes/a", body("a", port=9999))
        assert machine.bucket.keys == {"nodes/a"}


# What a running node follows at once; all other keys wait for its next start.
FOLLOWED = {
    *(key.name for key in KEYS if key.name.startswith(("s3-", "credentials-", "java-"))),
    *(key.name for key in OWNERSHIP),
    "file-prefix",
    "file-expiration",
    "update-interval",
    "poll-interval",
    "compatibility",
    "cluster-id",
    "external-address",
    "external-port",
    "min-cluster-size",
    "min-cluster-timeout",
    "stable-margin",
    "seed-key",
    "forget-dead",
    "forget-after",
    "leave-on-stop",
}


def test_every_setting_is_followed_or_named_as_waiting_for_a_restart() -> None:
    assert {key.name for key in KEYS} - {key.name for key in FIXED} == FOLLOWED
