"""Clusters of amqtt nodes as processes, on a real S3 server, talked to by real MQTT clients."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from s3discovery import wiring
from s3discovery.demo.brokers.amqtt import AmqttNodes
from s3discovery.demo.child import choose_ports, end, start
from s3discovery.demo.node import Node
from s3discovery.testing.clusters import payloads
from s3discovery.testing.stores import way_to

LIMIT_S = 30.0


class Cluster:
    """Nodes that share a bucket; started and stopped at will, none left behind."""

    def __init__(self, folder: Path, properties: Path, stack: AsyncExitStack) -> None:
        self.properties = properties
        self._folder = folder
        self._stack = stack

    async def start(self, *cluster_ids: str) -> list[Node]:
        brokers = AmqttNodes(self._folder)
        nodes = [
            Node(number, replace(brokers.launch(number), cluster_id=each), self._folder, self.properties)
            for number, each in enumerate(cluster_ids)
        ]
        return list(await asyncio.gather(*(self._stack.enter_async_context(node) for node in nodes)))

    async def until_all_see(self, nodes: list[Node], *cluster_ids: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(node.wait_until(lambda seen: seen == set(cluster_ids)) for node in nodes))

    async def look(self) -> list[str]:
        """Return the ids of the members as somebody sees them who is no node."""
        seen = await wiring.look(wiring.Origins(self.properties, environ={}))
        return [member.cluster_id for member in seen.members]

    @asynccontextmanager
    async def connected(self, mqtt_port: int) -> AsyncIterator[aiomqtt.Client]:
        """A client as soon as one is taken: a node is a member before it serves clients."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                client = aiomqtt.Client("127.0.0.1", mqtt_port)
                try:
                    await client.__aenter__()
                    break
                except aiomqtt.MqttError:
                    await asyncio.sleep(0.02)
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)

    async def client(self, node: Node) -> aiomqtt.Client:
        """Return a client of a node, for the rest of the test."""
        return await self._stack.enter_async_context(self.connected(node.mqtt_port))


@pytest.fixture
async def make_cluster(tmp_path: Path, seaweedfs: Any) -> AsyncIterator[Callable[..., Cluster]]:
    async with AsyncExitStack() as stack:

        def make(**settings: str) -> Cluster:
            values = {
                **way_to(seaweedfs.new_bucket(), seaweedfs.endpoint, seaweedfs.credentials),
                "file-prefix": "hivemq/cluster/nodes/",
                "file-expiration": "6s",
                "update-interval": "1s",
                "poll-interval": "500ms",
                "bind-address": "127.0.0.1",
            } | {key.replace("_", "-"): text for key, text in settings.items()}
            properties = tmp_path / "s3discovery.properties"
            properties.write_text("".join(f"{key}:{text}\n" for key, text in values.items()))
            return Cluster(tmp_path, properties, stack)

        yield make


async def test_every_node_passes_messages_on_to_every_other_once_and_in_order(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster()
    nodes = await cluster.start("n1", "n2", "n3")
    await cluster.until_all_see(nodes, "n1", "n2", "n3")
    clients = [await cluster.client(node) for node in nodes]
    for client in clients:
        await client.subscribe("room/#", qos=2)
    for qos in (0, 1, 2):  # MQTT keeps the order within a QoS
        for number, client in enumerate(clients):
            for index in range(20):
                await client.publish(f"room/{number}", f"{qos} {number} {index}", qos=qos)
        for client in clients:
            found = await payloads(client, 60)
            for number in range(3):
                mine = [payload for payload in found if payload.startswith(f"{qos} {number} ".encode())]
                assert mine == [f"{qos} {number} {index}".encode() for index in range(20)]


async def test_a_late_node_is_in_at_once_whatever_the_poll_interval(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(poll_interval="60s", update_interval="60s", file_expiration="180s")
    nodes = await cluster.start("n1", "n2", "n3")
    await cluster.until_all_see(nodes, "n1", "n2", "n3")
    others = [await cluster.client(node) for node in nodes]
    for client in others:
        await client.subscribe("in", qos=1)
    [late] = await cluster.start("n4")
    newcomer = await cluster.client(late)
    await newcomer.subscribe("out", qos=1)
    await newcomer.publish("in", "hello", qos=1)
    for client in others:
        assert await payloads(client, 1) == [b"hello"]
    for client in others:
        await client.publish("out", "welcome", qos=1)
    assert await payloads(newcomer, 3) == [b"welcome"] * 3
    await cluster.until_all_see([*nodes, late], "n1", "n2", "n3", "n4")


async def test_a_killed_node_expires_and_a_stopped_one_is_gone_at_once(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster()
    killed, stopped, staying = nodes = await cluster.start("n1", "n2", "n3")
    await cluster.until_all_see(nodes, "n1", "n2", "n3")
    assert killed.process is not None
    assert stopped.process is not None
    stopped.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(stopped.process.wait(), LIMIT_S) == 0
    await cluster.until_all_see([staying], "n1", "n3")
    killed.process.kill()
    await cluster.until_all_see([staying], "n3")
    # Another observer, by the store's Date header in whole seconds, may be a second behind.
    async with asyncio.timeout(LIMIT_S):
        while await cluster.look() != ["n3"]:  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.1)


async def test_a_killed_node_that_returns_is_in_again(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(poll_interval="60s", update_interval="60s", file_expiration="180s")
    first, second = await cluster.start("n1", "n2")
    await cluster.until_all_see([first, second], "n1", "n2")
    listener = await cluster.client(first)
    await listener.subscribe("again", qos=1)
    assert second.process is not None
    second.process.kill()
    await second.process.wait()
    [returned] = await cluster.start("n2")
    client = await cluster.client(returned)
    await client.publish("again", "back", qos=1)
    assert await payloads(listener, 1) == [b"back"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
async def test_an_amqtt_of_ones_own_is_a_node_by_its_plugin(
    make_cluster: Callable[..., Cluster], tmp_path: Path, number: int, code: int
) -> None:
    cluster = make_cluster()
    [node] = await cluster.start("n1")
    await cluster.until_all_see([node], "n1")
    port = choose_ports(["own"])["own"]
    properties, config = tmp_path / "own.properties", tmp_path / "amqtt.yaml"
    properties.write_text(cluster.properties.read_text() + "cluster-id:own\nbind-port:0\n")
    config.write_text(
        f"""
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
  s3discovery.amqtt_plugin.S3DiscoveryPlugin:
    properties: {properties}
"""
    )
    command = [str(Path(sys.executable).with_name("amqtt")), "-c", str(config)]
    with (tmp_path / "own.log").open("wb") as log:
        process = await start(command, folder=tmp_path, environ=os.environ, log=log)
        try:
            await cluster.until_all_see([node], "n1", "own")
            async with cluster.connected(port) as own:
                other = await cluster.client(node)
                for client in (own, other):
                    await client.subscribe("#", qos=1)
                await own.publish("t", "from the plugin", qos=1)
                assert await payloads(other, 1) == await payloads(own, 1) == [b"from the plugin"]
                await other.publish("t", "to the plugin", qos=1)
                assert await payloads(own, 1) == [b"to the plugin"]
            process.send_signal(number)
            assert await asyncio.wait_for(process.wait(), LIMIT_S) == code
            assert await cluster.look() == ["n1"]
        finally:
            await end(process)


async def test_wrong_settings_keep_an_amqtt_of_ones_own_from_starting(tmp_path: Path) -> None:
    config = tmp_path / "amqtt.yaml"
    config.write_text(
        f"""
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{choose_ports(["own"])["own"]}
plugins:
  s3discovery.amqtt_plugin.S3DiscoveryPlugin:
    properties: {tmp_path / "missing.properties"}
"""
    )
    command = [str(Path(sys.executable).with_name("amqtt")), "-c", str(config)]
    log_path = tmp_path / "own.log"
    with log_path.open("wb") as log:
        process = await start(command, folder=tmp_path, environ=os.environ, log=log)
        assert await asyncio.wait_for(process.wait(), LIMIT_S) == 1
    assert "missing.properties': does not exist; create it" in log_path.read_text()
    assert "Traceback" not in log_path.read_text()


async def test_an_amqtt_of_ones_own_that_cannot_serve_does_not_stay_a_member(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster()
    properties, config, log_path = tmp_path / "own.properties", tmp_path / "amqtt.yaml", tmp_path / "own.log"
    properties.write_text(cluster.properties.read_text() + "cluster-id:own\nbind-port:0\n")
    with socket.create_server(("127.0.0.1", 0)) as taken, log_path.open("wb") as log:
        config.write_text(
            f"""
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{taken.getsockname()[1]}
plugins:
  s3discovery.amqtt_plugin.S3DiscoveryPlugin:
    properties: {properties}
"""
        )
        command = [str(Path(sys.executable).with_name("amqtt")), "-c", str(config)]
        process = await start(command, folder=tmp_path, environ=os.environ, log=log)
        try:
            async with asyncio.timeout(LIMIT_S):
                while "leaving the cluster" not in log_path.read_text():  # noqa: ASYNC110 - only the log tells
                    await asyncio.sleep(0.1)
                while await cluster.look():  # noqa: ASYNC110 - only looking tells
                    await asyncio.sleep(0.1)
        finally:
            await end(process, limit_s=1)
    assert "registered key=" in log_path.read_text()
