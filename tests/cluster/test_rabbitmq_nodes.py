"""Clusters of real RabbitMQ nodes, formed by agents through a real S3 server, used by real MQTT clients."""

import asyncio
import os
import random
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from s3discovery.clock import SystemClock
from s3discovery.testing.clusters import EXPIRY_S, payloads
from s3discovery.testing.link import Link
from s3discovery.testing.rabbitmq import RabbitNodes
from s3discovery.testing.rabbitmq_agents import Cluster, write_settings

RUNS = int(os.environ.get("SOAK_RUNS", "20"))
# What the log of a founder says as it goes along; it is killed at each of these.
STEPS = (
    "stage=claimed",
    "founding a cluster",
    "program started",
    "stage=founded",
    "incomplete 1/",
)

MakeCluster = Callable[..., Awaitable[Cluster]]


@pytest.fixture
async def make_cluster(tmp_path: Path, seaweedfs: Any, rabbitmq: None) -> AsyncIterator[MakeCluster]:
    async with AsyncExitStack() as stack:

        async def make(count: int, folder: str = "nodes", **settings: str) -> Cluster:
            link = Link(seaweedfs.endpoint)
            await link.open()
            stack.push_async_callback(link.close)
            properties = tmp_path / f"{folder}.properties"
            write_settings(properties, seaweedfs, link.endpoint, **settings)
            nodes = await stack.enter_async_context(RabbitNodes(tmp_path / folder, count))
            cluster = Cluster(nodes, properties, link)
            stack.push_async_callback(cluster.end)
            return cluster

        yield make


@pytest.mark.timeout(600)
async def test_three_nodes_become_one_cluster_and_stay_one(
    make_cluster: MakeCluster,
) -> None:
    """One story, since three starts of RabbitMQ are dear: each part goes on from the one before."""
    cluster = await make_cluster(3, forget_dead="true", forget_after="2s")
    steps = Steps(cluster)
    await steps.first_boot()
    await steps.messages_pass()
    await steps.agent_dies_and_the_broker_runs_on()
    await steps.bucket_is_emptied()
    await steps.broker_dies_and_comes_back()
    await steps.store_is_down_while_a_node_is_dead()
    await steps.dead_node_is_forgotten()
    await steps.forgotten_node_returns()
    await steps.node_leaves()


class Steps:
    """The parts of the story. Node 1 and 2 are beside a running broker, node 3 is in front of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def first_boot(self) -> None:
        cluster = self.cluster
        await asyncio.gather(
            cluster.nodes[0].launch(),
            cluster.nodes[1].launch(),
            *(cluster[number].start(in_front=number == 2) for number in range(3)),
        )
        await cluster.until_formed(0, 1, 2, count=3)
        assert await cluster.is_one(0, 1, 2)

    async def messages_pass(self) -> None:
        """MQTT from node 1 reaches node 3, QoS 0 and 1."""
        async with AsyncExitStack() as stack:
            listener = await self.cluster.connect(2, stack, "listener")
            await listener.subscribe("room/#", qos=1)
            speaker = await self.cluster.connect(0, stack, "speaker")
            await speaker.publish("room/1", b"nought", qos=0)
            await speaker.publish("room/1", b"one", qos=1)
            assert sorted(await payloads(listener, 2)) == [b"nought", b"one"]

    async def agent_dies_and_the_broker_runs_on(self) -> None:
        cluster = self.cluster
        before = cluster.nodes[1].process
        await cluster[1].kill()
        await cluster[1].start(in_front=False)
        await cluster.until_formed(1, count=3)
        assert before is not None
        assert before.returncode is None
        assert "joining a cluster" not in cluster[1].said
        assert await cluster.members(1) == cluster.names

    async def bucket_is_emptied(self) -> None:
        cluster = self.cluster
        await cluster.empty_bucket()

        async def is_back() -> bool:
            return await cluster.files() == cluster.names

        await cluster.until(is_back, "files are back", limit_s=10)
        assert await cluster.members(2) == cluster.names

    async def broker_dies_and_comes_back(self) -> None:
        """A persistent session survives its node, which rejoins by itself."""
        cluster = self.cluster
        mirrors = '{"ha-mode":"all","ha-sync-mode":"automatic"}'
        await cluster.nodes[0].tell("set_policy", "sessions", "^mqtt-subscription", mirrors)
        async with AsyncExitStack() as stack:
            session = await cluster.connect(1, stack, "session", clean=False)
            await session.subscribe("kept/#", qos=1)
        await cluster.nodes[1].kill()
        async with AsyncExitStack() as stack:
            speaker = await cluster.connect(0, stack, "speaker")
            await speaker.publish("kept/1", b"while you were out", qos=1)
            again = await cluster.connect(0, stack, "session", clean=False)
            assert await payloads(again, 1) == [b"while you were out"]
        await cluster.until(lambda: "incomplete" in cluster[0].state, "node 1 misses node 2")
        await cluster.nodes[1].launch()
        await cluster.until_formed(0, 1, 2, count=3)

    async def store_is_down_while_a_node_is_dead(self) -> None:
        """Dead for longer than expiry and forget-after, but nobody can know: it stays a member."""
        cluster = self.cluster
        cluster.link.cut()
        await cluster[2].kill()
        gone = cluster.nodes[2].name

        await cluster.until(lambda: f"waiting for {gone!r}" in cluster[0].state, "node 1 misses node 3")
        await asyncio.sleep(EXPIRY_S + 3.0)  # what must not happen in this time
        assert gone in await cluster.members(0)

    async def dead_node_is_forgotten(self) -> None:
        cluster = self.cluster
        cluster.link.mend()

        forgot = "dead node forgotten cluster_id='rmq3@localhost'"
        await cluster.until(lambda: forgot in cluster[0].said + cluster[1].said, "node 3 is forgotten")
        assert cluster.nodes[2].name not in await cluster.members(0)
        await cluster.until_formed(0, 1, count=2)

    async def forgotten_node_returns(self) -> None:
        """It is told the cure, and with allow-reset rejoins with its data set aside."""
        cluster = self.cluster
        await cluster[2].start(in_front=True)
        await cluster.until_said(2, "has forgotten it")
        await cluster[2].end()
        await cluster[2].start("allow-reset=true", in_front=True)
        await cluster.until_formed(0, 1, 2, count=3)
        assert await cluster.members(2) == cluster.names
        assert (cluster.nodes[2].data.parent / f"{cluster.nodes[2].name}.forgotten-1").is_dir()

    async def node_leaves(self) -> None:
        cluster = self.cluster
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "s3discovery", "leave", "-c", str(cluster.properties)),
            *("-o", f"control-socket={cluster[2].control}"),
            env=cluster.nodes[2].environ,
        )
        assert await process.wait() == 0
        assert await cluster.members(0) == cluster.names - {cluster.nodes[2].name}
        await cluster.until(lambda: cluster[2].code is not None, "the agent has ended")


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_whole_cluster_restarts_and_a_node_that_lost_its_disk_joins_anew(
    make_cluster: MakeCluster,
) -> None:
    cluster = await make_cluster(3)
    await asyncio.gather(
        cluster.nodes[0].launch(),
        *(cluster[number].start(in_front=number > 0) for number in range(3)),
    )
    await cluster.until_formed(0, 1, 2, count=3)
    # Node 2 stops first, so it has to wait for those that may know more when it starts first.
    for number in (1, 2, 0):
        await cluster[number].end()
        await cluster.nodes[number].stop()
    await cluster[1].start(in_front=True)
    await cluster.until_said(1, "rabbitmq was in a cluster, and waits for it")
    await cluster[2].start(in_front=True)
    await cluster.nodes[0].launch()
    await cluster[0].start(in_front=False)
    await cluster.until_formed(0, 1, 2, count=3)
    # Beside: it runs again before its agent does, and joins by command. In front: it joins as it starts.
    for number, in_front in ((0, False), (2, True)):
        await cluster[number].kill()
        await cluster.nodes[number].wipe()
        if not in_front:
            await cluster.nodes[number].start()
            assert await cluster.members(number) == {cluster.nodes[number].name}
        await cluster[number].start(in_front=in_front)
        await cluster.until_formed(0, 1, 2, count=3)
        assert await cluster.is_one(0, 1, 2)
    assert "joining anew" in cluster[0].said


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [3, 5])
async def test_nodes_started_within_seconds_always_form_one_cluster(
    make_cluster: MakeCluster, count: int
) -> None:
    took_s = []
    for number in range(RUNS):
        cluster = await make_cluster(count, f"run{number}")
        took_s.append(await boot(cluster, random.Random(number)))
        await end(cluster)
    print(f"{count} nodes, {RUNS} runs: {figures(took_s)}")  # noqa: T201 - asked for


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("line", ["unreachable at first", "slow", "failing"])
async def test_nodes_with_a_bad_way_to_the_store_form_one_cluster(
    make_cluster: MakeCluster, line: str
) -> None:
    cluster = await make_cluster(3)
    async with asyncio.TaskGroup() as tasks:
        booting = tasks.create_task(boot(cluster, random.Random(line)))
        if line == "unreachable at first":
            cluster.link.cut()
            await nothing_starts(cluster)
            cluster.link.mend()
        elif line == "slow":
            cluster.link.slow(2.0)
        else:
            cluster.link.fail(every=3)
    async with AsyncExitStack() as stack:
        for number in range(3):
            await cluster.connect(number, stack, f"client{number}")
    assert line != "failing" or cluster.link.faults > 1
    print(f"3 nodes, store {line}: {booting.result():.1f} s")  # noqa: T201 - asked for


async def nothing_starts(cluster: Cluster) -> None:
    """All nodes wait for the store, and nothing else."""
    await cluster.until(
        lambda: all(agent.state.startswith("waiting for the store") for agent in cluster.agents), "waiting"
    )
    await asyncio.sleep(EXPIRY_S)  # what must not happen in this time
    for agent in cluster.agents:
        assert "program started" not in agent.said
        assert "a cluster" not in agent.said


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [3, 5])
async def test_a_founder_that_dies_at_any_step_founds_no_second_cluster(
    make_cluster: MakeCluster, count: int, step: str
) -> None:
    cluster = await make_cluster(count)
    took_s = await boot(cluster, random.Random(step), kill_at=step)
    print(f"{count} nodes, founder killed at {step!r}: {took_s:.1f} s")  # noqa: T201 - asked for


async def boot(cluster: Cluster, dice: random.Random, kill_at: str = "") -> float:
    """Start all nodes in front within two seconds, and return how long it took them to be one cluster.

    `kill_at`: who logs this first is killed with its broker, and started again a while later."""
    clock, everyone = SystemClock(), range(len(cluster.agents))

    async def start(number: int) -> None:
        await asyncio.sleep(dice.uniform(0, 2))
        await cluster[number].start(in_front=True)

    began_s = clock.monotonic_s()
    await asyncio.gather(*(start(number) for number in everyone))
    if kill_at:
        await cluster.until(lambda: any(kill_at in agent.said for agent in cluster.agents), kill_at)
        founder = next(number for number in everyone if kill_at in cluster[number].said)
        await cluster[founder].kill()
        await asyncio.sleep(dice.uniform(0, 2 * EXPIRY_S))
        await cluster[founder].start(in_front=True)
    await cluster.until_formed(*everyone, count=len(cluster.agents))
    took_s = clock.monotonic_s() - began_s
    if restarts := sum(agent.restarts for agent in cluster.agents):
        print(f"RabbitMQ did not start {restarts} times and was started again")  # noqa: T201 - no fault of ours
    assert await cluster.is_one(*everyone)
    return took_s


async def end(cluster: Cluster) -> None:
    """End a cluster at once: another one follows."""
    await asyncio.gather(*(agent.kill() for agent in cluster.agents))
    await cluster.nodes.__aexit__(None, None, None)


def figures(took_s: list[float]) -> str:
    return f"median {statistics.median(took_s):.1f} s, worst {max(took_s):.1f} s"
