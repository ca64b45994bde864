"""Clusters of real nats-servers, formed by agents through a real S3 server, used by real MQTT clients."""

import asyncio
import os
import random
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from s3discovery.clock import SystemClock
from s3discovery.demo.child import choose_ports
from s3discovery.testing.clusters import EXPIRY_S, payloads, write_settings
from s3discovery.testing.link import Link
from s3discovery.testing.namespaces import Hosts, NamespaceError
from s3discovery.testing.nats_agents import Cluster
from s3discovery.testing.nats_server import NatsServer, Variant

RUNS = int(os.environ.get("SOAK_RUNS", "20"))
# What the log of a founder says as it goes along; it is killed at each of these.
STEPS = (
    "stage=claimed",
    "founding a cluster",
    "program started",
    "role=founder",
    "stage=founded",
    "incomplete 1/",
)
FRONT, BESIDE = Variant(), Variant(by_itself=True)
MakeCluster = Callable[..., Awaitable[Cluster]]


@pytest.fixture
async def make_cluster(tmp_path: Path, seaweedfs: Any) -> AsyncIterator[MakeCluster]:
    async with AsyncExitStack() as stack:

        async def make(count: int, folder: str = "nodes", beside: int = 0, **settings: str) -> Cluster:
            link = Link(seaweedfs.endpoint)
            await link.open()
            stack.push_async_callback(link.close)
            properties = tmp_path / f"{folder}.properties"
            write_settings(properties, seaweedfs, link.endpoint, **settings)
            servers = [
                NatsServer(tmp_path / folder, f"n{number}", variant=BESIDE if number <= beside else FRONT)
                for number in range(1, count + 1)
            ]
            cluster = Cluster(servers, properties, link)
            stack.push_async_callback(cluster.end)
            return cluster

        yield make


async def messages_pass(cluster: Cluster, speaker: int, listener: int) -> None:
    """MQTT of QoS 0 and 1 gets from one node to another."""
    async with AsyncExitStack() as stack:
        there = await cluster.connect(listener, stack, "listener")
        await there.subscribe("room/#", qos=1)
        here = await cluster.connect(speaker, stack, "speaker")
        await here.publish("room/1", b"nought", qos=0)
        await here.publish("room/1", b"one", qos=1)
        assert sorted(await payloads(there, 2)) == [b"nought", b"one"]


async def boot(cluster: Cluster, dice: random.Random, kill_at: str = "") -> float:
    """Start all nodes in front within two seconds; return how long they took to serve as one cluster.

    `kill_at`: who logs this first is killed with its server, and started again a while later."""
    clock, everyone = SystemClock(), range(len(cluster.agents))

    async def start(number: int) -> None:
        await asyncio.sleep(dice.uniform(0, 2))
        await cluster[number].start()

    began_s = clock.monotonic_s()
    await asyncio.gather(*(start(number) for number in everyone))
    if kill_at:
        await cluster.until(lambda: any(kill_at in agent.said for agent in cluster.agents), kill_at)
        founder = next(number for number in everyone if kill_at in cluster[number].said)
        await cluster[founder].kill()
        await asyncio.sleep(dice.uniform(0, 2 * EXPIRY_S))
        await cluster[founder].start()
    await cluster.until_formed(*everyone, count=len(everyone))
    await cluster.until(lambda: cluster.is_one(*everyone, count=len(everyone)), "one meta group")
    await cluster.until_ready(*everyone)
    return clock.monotonic_s() - began_s


def figures(took_s: list[float]) -> str:
    return f"median {statistics.median(took_s):.1f} s, worst {max(took_s):.1f} s"


async def test_three_nodes_started_at_once_are_one_cluster_whatever_befalls_agents_and_store(
    make_cluster: MakeCluster,
) -> None:
    """One story. Node 1 is beside its server, the others are in front of theirs."""
    cluster = await make_cluster(3, beside=1)
    # Nobody has written routes yet: without any, JetStream ends at its start.
    first = cluster[0]
    await first.start(in_front=False)
    await cluster.until(first.server.routes.exists, "routes are written")
    await asyncio.gather(first.server.start(), cluster[1].start(), cluster[2].start())
    await cluster.until_formed(0, 1, 2, count=3)
    await cluster.until(lambda: cluster.is_one(0, 1, 2, count=3), "one meta group")
    await cluster.until_ready(0, 1, 2)
    await messages_pass(cluster, 0, 2)
    # The agent dies and comes back; its server has noticed nothing.
    await first.kill(with_server=False)
    await first.start(in_front=False)
    await cluster.until_formed(0, count=3)
    assert first.server.process is not None
    assert first.server.process.returncode is None
    assert "routes changed" not in first.said
    # The bucket is emptied: files come back, the cluster stays.
    await cluster.empty_bucket()

    async def is_back() -> bool:
        return await cluster.files() == cluster.names

    await cluster.until(is_back, "files are back", limit_s=10)
    assert await cluster.is_one(0, 1, 2, count=3)
    # A whole node dies, and is started again.
    await cluster[2].kill()
    await cluster[2].start()
    await cluster.until_formed(0, 1, 2, count=3)
    await cluster.until(lambda: cluster.is_one(0, 1, 2, count=3), "one meta group again")
    await messages_pass(cluster, 2, 0)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_only_who_is_gone_and_down_for_long_is_removed_and_the_sessions_stay(
    make_cluster: MakeCluster,
) -> None:
    cluster = await make_cluster(3, forget_dead="true", forget_after="12s")
    await boot(cluster, random.Random(1))

    async def has_copies(count: int) -> bool:
        return await cluster.copies(0) == {count}

    await cluster.until(lambda: has_copies(3), "three copies")
    async with AsyncExitStack() as stack:
        lasting = await cluster.connect(2, stack, "lasting", clean=False)
        await lasting.subscribe("kept/#", qos=1)
    # The store is down for longer than expiry, and a node, too: nobody is removed.
    cluster.link.cut()
    await cluster[2].kill()
    await asyncio.sleep(3 * EXPIRY_S + 5)  # nothing to wait for: nothing is to happen
    assert all("dead node forgotten" not in agent.said for agent in cluster.agents)
    assert await cluster.is_one(0, 1, count=3)
    cluster.link.mend()
    async with AsyncExitStack() as stack:
        speaker = await cluster.connect(0, stack, "speaker")
        await speaker.publish("kept/1", b"while you were out", qos=1)
        lasting = await cluster.connect(1, stack, "lasting", clean=False)
        assert await payloads(lasting, 1) == [b"while you were out"]
    # Gone from the bucket and down, both for long enough: it is removed, and the copies follow.
    await cluster.until(lambda: cluster.is_one(0, 1, count=2), "the dead node is removed")
    await cluster.until(lambda: has_copies(2), "two copies")
    await messages_pass(cluster, 0, 1)
    # It returns, with what it had; NATS takes it back after 5 minutes.
    await cluster[2].start()
    await cluster.until_said(2, "5 minutes after its removal NATS takes it back")
    await cluster.until(lambda: cluster.is_one(0, 1, 2, count=3), "it is taken back", limit_s=360)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_node_leaves_by_command(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(3)
    await boot(cluster, random.Random(2))
    code, said = await cluster[2].tell("leave")
    assert code == 0, said
    await cluster.until(lambda: cluster.is_one(0, 1, count=2), "two members")
    await messages_pass(cluster, 0, 1)


async def test_first_boot_of_three(
    make_cluster: MakeCluster, record_property: Callable[[str, object], None]
) -> None:
    record_property("formation_s", await boot(await make_cluster(3), random.Random(3)))


@pytest.mark.soak
async def test_first_boot_of_five(
    make_cluster: MakeCluster, record_property: Callable[[str, object], None]
) -> None:
    record_property("formation_s", await boot(await make_cluster(5), random.Random(5)))


async def test_nothing_is_started_without_the_store_and_one_cluster_once_it_answers(
    make_cluster: MakeCluster, record_property: Callable[[str, object], None]
) -> None:
    cluster = await make_cluster(3)
    cluster.link.cut()
    async with asyncio.TaskGroup() as tasks:
        booting = tasks.create_task(boot(cluster, random.Random(7)))
        await cluster.until(
            lambda: all(agent.state.startswith("waiting for the store") for agent in cluster.agents),
            "all wait for the store",
        )
        await asyncio.sleep(1)  # what must not happen in this time
        for agent in cluster.agents:
            assert "program started" not in agent.said
            assert "a cluster" not in agent.said
        cluster.link.mend()
    await all_serve(cluster)
    record_property("formation_s", booting.result())


@pytest.mark.soak
@pytest.mark.parametrize("line", ["slow", "failing"])
async def test_nodes_with_a_bad_way_to_the_store_are_one_cluster(
    make_cluster: MakeCluster, line: str
) -> None:
    cluster = await make_cluster(3)
    if line == "slow":
        cluster.link.slow(2.0)
    else:
        cluster.link.fail(every=3)
    took_s = await boot(cluster, random.Random(line))
    await all_serve(cluster)
    assert line != "failing" or cluster.link.faults > 1
    print(f"3 nodes, store {line}: {took_s:.1f} s")  # noqa: T201 - asked for


async def all_serve(cluster: Cluster) -> None:
    """MQTT gets from each node to the next one."""
    for number in range(len(cluster.agents)):
        await messages_pass(cluster, number, (number + 1) % len(cluster.agents))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [3, 5])
async def test_nodes_started_at_once_are_always_one_cluster(
    make_cluster: MakeCluster, count: int, record_property: Callable[[str, object], None]
) -> None:
    took_s = []
    for number in range(RUNS):
        cluster = await make_cluster(count, f"run{number}")
        took_s.append(await boot(cluster, random.Random(number)))
        await cluster.end()
    record_property("formation_s", figures(took_s))
    print(f"{count} nodes, {RUNS} runs: {figures(took_s)}")  # noqa: T201 - asked for


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [3, 5])
async def test_a_founder_that_dies_at_any_step_founds_no_second_cluster(
    make_cluster: MakeCluster, count: int, step: str
) -> None:
    took_s = await boot(await make_cluster(count), random.Random(step), kill_at=step)
    print(f"{count} nodes, founder killed at {step!r}: {took_s:.1f} s")  # noqa: T201 - asked for


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_hosts_with_addresses_of_their_own_outlive_a_cut_cable(tmp_path: Path, seaweedfs: Any) -> None:
    async with AsyncExitStack() as stack:
        try:
            hosts = await stack.enter_async_context(Hosts(3))
            link = Link(seaweedfs.endpoint)
            await link.open()
            stack.push_async_callback(link.close)
            port = choose_ports(["store"])["store"]
            for number in (1, 2, 3):
                await link.listen(hosts.listen(number, port))
        except NamespaceError as error:
            pytest.skip(f"no network namespaces here: {error}")
        properties = tmp_path / "s3discovery.properties"
        write_settings(properties, seaweedfs, f"http://127.0.0.1:{port}")
        ports = {"client": 4222, "http": 8222, "mqtt": 1883, "cluster": 6222}
        servers = [
            NatsServer(
                tmp_path / "nodes",
                f"n{number}",
                host=address,
                ports=ports,
                prefix=("ip", "netns", "exec", f"{hosts.prefix}{number}"),
            )
            for number, address in enumerate(hosts.addresses, start=1)
        ]
        cluster = Cluster(servers, properties, link)
        stack.push_async_callback(cluster.end)
        await asyncio.gather(*(agent.start() for agent in cluster.agents))
        await cluster.until_formed(0, 1, 2, count=3)
        await cluster.until_ready(0, 1, 2)
        assert await hears(servers[2], servers[0])
        await hosts.cut(3)
        await cluster.until(
            lambda: cluster[0].state.startswith("incomplete 2/3, waiting for 'n3'"), "3 is missed"
        )
        await cluster.until(lambda: cluster[2].state.startswith("incomplete 1/3"), "3 misses all")
        await cluster.until_said(2, "JetStream has no leader")
        assert await hears(servers[1], servers[0])
        await hosts.mend(3)
        await cluster.until_formed(0, 1, 2, count=3)
        assert await hears(servers[2], servers[0])


async def hears(listener: NatsServer, speaker: NatsServer) -> bool:
    """Tell whether a message of QoS 1 gets from one host to another."""

    def client(server: NatsServer, program: str) -> list[str]:
        place = ("-h", server.host, "-p", str(server.ports["mqtt"]))
        return [*server.prefix, program, "-V", "mqttv311", *place, "-t", "room/1", "-q", "1"]

    hearing = await asyncio.create_subprocess_exec(
        *client(listener, "mosquitto_sub"), "-C", "1", "-W", "60", stdout=asyncio.subprocess.PIPE
    )
    for _ in range(60):
        speaking = await asyncio.create_subprocess_exec(*client(speaker, "mosquitto_pub"), "-m", "hello")
        await speaking.wait()
        if hearing.returncode is not None:
            break
        await asyncio.sleep(0.5)
    printed, _ = await hearing.communicate()
    return printed.strip() == b"hello"
