"""RabbitMQ nodes as hosts of their own, in network namespaces: long names, and cables that are cut."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from s3discovery.demo.child import choose_ports
from s3discovery.testing.link import Link
from s3discovery.testing.namespaces import Hosts, NamespaceError
from s3discovery.testing.rabbitmq import RabbitNode, RabbitNodes
from s3discovery.testing.rabbitmq_agents import Cluster, write_settings

MakeHosts = Callable[[str], Awaitable[tuple[Hosts, Cluster]]]


@pytest.fixture
async def make_hosts(tmp_path: Path, seaweedfs: Any, rabbitmq: None) -> AsyncIterator[MakeHosts]:
    async with AsyncExitStack() as stack:

        async def make(mode: str) -> tuple[Hosts, Cluster]:
            try:
                hosts = await stack.enter_async_context(Hosts(3))
            except NamespaceError as error:
                pytest.skip(f"no network namespaces here: {error}")
            link = Link(seaweedfs.endpoint)
            await link.open()
            stack.push_async_callback(link.close)
            port = choose_ports(["store"])["store"]
            for number in (1, 2, 3):
                await link.listen(hosts.listen(number, port))
            properties = tmp_path / "s3discovery.properties"
            write_settings(properties, seaweedfs, f"http://127.0.0.1:{port}", bind_address="0.0.0.0")
            nodes = RabbitNodes(tmp_path / "nodes", 3, hosts=hosts.addresses, prefix=hosts.prefix)
            await stack.enter_async_context(nodes)
            for node in nodes.nodes:
                with (node.folder / "rabbitmq.conf").open("a") as conf:
                    # A cut is noticed within seconds, not within a minute.
                    conf.write(f"cluster_partition_handling = {mode}\nnet_ticktime = 4\n")
            cluster = Cluster(nodes, properties, link)
            stack.push_async_callback(cluster.end)
            return hosts, cluster

        yield make


async def form(cluster: Cluster) -> None:
    await asyncio.gather(
        *(
            cluster[number].start(f"external-address=10.77.0.{number + 1}", in_front=True)
            for number in range(3)
        )
    )
    await cluster.until_formed(0, 1, 2, count=3)
    assert await cluster.is_one(0, 1, 2)


async def hears(listener: RabbitNode, speaker: RabbitNode) -> bool:
    """Tell whether a message of QoS 1 gets from one host to another."""
    topic, text = "room/1", "hello"
    hearing = await asyncio.create_subprocess_exec(
        *(
            *listener.prefix,
            "mosquitto_sub",
            "-V",
            "mqttv311",
            "-h",
            listener.host,
            "-p",
            str(listener.mqtt_port),
        ),
        *("-t", topic, "-q", "1", "-C", "1", "-W", "20"),
        stdout=asyncio.subprocess.PIPE,
    )
    for _ in range(20):
        speaking = await asyncio.create_subprocess_exec(
            *(
                *speaker.prefix,
                "mosquitto_pub",
                "-V",
                "mqttv311",
                "-h",
                speaker.host,
                "-p",
                str(speaker.mqtt_port),
            ),
            *("-t", topic, "-q", "1", "-m", text),
        )
        assert await speaking.wait() == 0
        if hearing.returncode is not None:
            break
        await asyncio.sleep(0.2)
    printed, _ = await hearing.communicate()
    return printed.strip() == text.encode()


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_partition_is_reported_and_healed_by_rabbitmq_where_it_does(make_hosts: MakeHosts) -> None:
    hosts, cluster = await make_hosts("pause_minority")
    await form(cluster)
    assert await hears(cluster.nodes[2], cluster.nodes[0])
    await hosts.cut(3)
    await cluster.until(
        lambda: "incomplete 2/3, waiting for 'rmq3@10.77.0.3'" in cluster[0].said, "3 is missed"
    )
    await cluster.until_said(2, "pause_minority has paused goes on by itself")
    assert await hears(cluster.nodes[1], cluster.nodes[0])
    await hosts.mend(3)
    await cluster.until_formed(0, 1, 2, count=3)
    assert await hears(cluster.nodes[2], cluster.nodes[0])


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_partition_that_rabbitmq_ignores_is_an_alarm_until_one_side_is_restarted(
    make_hosts: MakeHosts,
) -> None:
    hosts, cluster = await make_hosts("ignore")
    await form(cluster)
    await hosts.cut(3)
    split = "split: rmq1@10.77.0.1,rmq2@10.77.0.2 | rmq3@10.77.0.3"
    await cluster.until(lambda: all(agent.state == split for agent in cluster.agents), f"all say {split!r}")
    await hosts.mend(3)
    for number in range(3):
        await cluster.until_said(number, "rabbitmq cluster has been partitioned")
    assert cluster[0].state == split
    await cluster[2].end()
    await cluster[2].start("external-address=10.77.0.3", in_front=True)
    await cluster.until_formed(0, 1, 2, count=3)
    assert "rabbitmq cluster partition healed" in cluster[0].said
    assert await hears(cluster.nodes[2], cluster.nodes[0])
