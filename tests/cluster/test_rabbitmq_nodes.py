"""Clusters of real RabbitMQ nodes, formed by agents through a real S3 server, used by real MQTT clients."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from s3discovery import wiring
from s3discovery.clock import SystemClock
from s3discovery.demo import child
from s3discovery.testing.rabbitmq import RabbitNode, RabbitNodes

LIMIT_S = 90.0
EXPIRY_S = 5.0
PREFIX = "hivemq/cluster/nodes/"


class Link:
    """A TCP proxy before the store: cut, nothing gets through."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._is_cut = False
        self.endpoint = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    async def close(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self._target)
        ends = {writer, back}
        self._writers |= ends
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


class Agent:
    """`s3discovery run` as a process, beside or in front of its node."""

    def __init__(self, node: RabbitNode, properties: Path) -> None:
        self.node = node
        self.log = node.folder / "agent.log"
        self._properties = properties
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str, in_front: bool) -> None:
        given = (f"rabbitmq-ctl={self.node.ctl}", f"control-socket={self.node.folder / 'control'}", *options)
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = await child.start(
                (
                    *(sys.executable, "-m", "s3discovery", "run", "-c", str(self._properties)),
                    *(word for option in given for word in ("-o", option)),
                    *(("--", *self.node.server) if in_front else ()),
                ),
                folder=self.node.folder,
                environ=self.node.environ,
                log=log,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def state(self) -> str:
        """What it said last of its cluster."""
        return (re.findall(r" cluster ([a-z].*)", self.said) or [""])[-1]

    @property
    def code(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    async def kill(self) -> None:
        """End it and whatever it started (SIGKILL)."""
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def end(self) -> None:
        if self._process is not None:
            await child.end(self._process, limit_s=20.0)


class Cluster:
    """Nodes, their agents, and the store between them."""

    def __init__(self, nodes: RabbitNodes, properties: Path, link: Link) -> None:
        self.nodes = nodes
        self.properties = properties
        self.link = link
        self.agents = [Agent(node, properties) for node in nodes.nodes]

    def __getitem__(self, number: int) -> Agent:
        return self.agents[number]

    @property
    def names(self) -> set[str]:
        return {node.name for node in self.nodes.nodes}

    async def until(
        self, condition: Callable[[], bool | Awaitable[bool]], what: str, limit_s: float = LIMIT_S
    ) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not (found if isinstance(found := condition(), bool) else await found):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            said = "\n".join(f"--- {agent.node.name}\n{agent.said[-3000:]}" for agent in self.agents)
            pytest.fail(f"{what}: not within {limit_s:g} s\n{said}")

    async def until_formed(self, *numbers: int, count: int) -> None:
        agents = [self[number] for number in numbers]
        await self.until(
            lambda: all(agent.state == f"formed {count}/{count}" for agent in agents),
            f"formed {count}/{count}",
        )

    async def members(self, number: int) -> set[str]:
        """Return who belongs to the cluster, as one node says when it is asked directly."""
        said = await self.nodes[number].tell("eval", '[io:format("~s ", [N]) || N <- rabbit_nodes:all()].')
        return set(re.findall(r"\S+@\S+", said))

    async def files(self) -> set[str]:
        seen = await wiring.look(wiring.Origins(self.properties, environ={}))
        return {member.cluster_id for member in seen.members}

    async def empty_bucket(self) -> None:
        origins = wiring.Origins(self.properties, environ={})
        async with origins.open_bucket(origins.read()) as bucket:
            for entry in (await bucket.list(PREFIX)).entries:
                await bucket.delete(entry.key)

    async def connect(
        self, number: int, stack: AsyncExitStack, name: str, *, clean: bool = True
    ) -> aiomqtt.Client:
        """Connect with MQTT 3.1.1; a node that has just joined may not serve clients yet."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                client = aiomqtt.Client(
                    "127.0.0.1",
                    self.nodes[number].mqtt_port,
                    identifier=name,
                    clean_session=clean,
                    protocol=aiomqtt.ProtocolVersion.V311,
                )
                try:
                    return await stack.enter_async_context(client)
                except aiomqtt.MqttError:
                    await asyncio.sleep(0.2)

    async def end(self) -> None:
        await asyncio.gather(*(agent.end() for agent in self.agents))
        for agent in self.agents:
            await agent.kill()


@pytest.fixture
async def make_cluster(tmp_path: Path, seaweedfs: Any) -> AsyncIterator[Callable[..., Awaitable[Cluster]]]:
    async with AsyncExitStack() as stack:

        async def make(count: int, **settings: str) -> Cluster:
            link = Link(seaweedfs.endpoint)
            await link.open()
            stack.push_async_callback(link.close)
            values = {
                "s3-bucket-region": "us-east-1",
                "s3-bucket-name": seaweedfs.new_bucket(),
                "file-prefix": PREFIX,
                "file-expiration": f"{EXPIRY_S:g}s",
                "update-interval": "1s",
                "poll-interval": "1s",
                "stable-margin": "1s",
                "credentials-type": "access_key",
                "credentials-access-key-id": seaweedfs.access_key_id,
                "credentials-secret-access-key": seaweedfs.secret_access_key,
                "s3-endpoint": link.endpoint,
                "bind-address": "127.0.0.1",
                "bind-port": "25672",
                "broker": "rabbitmq",
            } | {key.replace("_", "-"): text for key, text in settings.items()}
            properties = tmp_path / "s3discovery.properties"
            properties.write_text("".join(f"{key}:{text}\n" for key, text in values.items()))
            nodes = await stack.enter_async_context(RabbitNodes(tmp_path / "nodes", count))
            cluster = Cluster(nodes, properties, link)
            stack.push_async_callback(cluster.end)
            return cluster

        yield make


async def payloads(client: aiomqtt.Client, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(LIMIT_S):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            found.append(message.payload)
            if len(found) == count:
                break
    return found


@pytest.mark.timeout(600)
async def test_three_nodes_become_one_cluster_and_stay_one(
    make_cluster: Callable[..., Awaitable[Cluster]], request: pytest.FixtureRequest
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
        self._clock = SystemClock()
        self._began_s = self._clock.monotonic_s()

    def _note(self, what: str) -> None:
        now_s = self._clock.monotonic_s()
        print(f"{what}: {now_s - self._began_s:.1f} s")
        self._began_s = now_s

    async def first_boot(self) -> None:
        cluster = self.cluster
        await asyncio.gather(
            cluster.nodes[0].launch(),
            cluster.nodes[1].launch(),
            *(cluster[number].start(in_front=number == 2) for number in range(3)),
        )
        await cluster.until_formed(0, 1, 2, count=3)
        assert await cluster.members(0) == cluster.names
        self._note("first boot")

    async def messages_pass(self) -> None:
        """MQTT from node 1 reaches node 3, QoS 0 and 1."""
        async with AsyncExitStack() as stack:
            listener = await self.cluster.connect(2, stack, "listener")
            await listener.subscribe("room/#", qos=1)
            speaker = await self.cluster.connect(0, stack, "speaker")
            await speaker.publish("room/1", b"nought", qos=0)
            await speaker.publish("room/1", b"one", qos=1)
            assert sorted(await payloads(listener, 2)) == [b"nought", b"one"]
        self._note("messages")

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
        self._note("agent killed")

    async def bucket_is_emptied(self) -> None:
        cluster = self.cluster
        await cluster.empty_bucket()

        async def is_back() -> bool:
            return await cluster.files() == cluster.names

        await cluster.until(is_back, "files are back", limit_s=10)
        assert await cluster.members(2) == cluster.names
        self._note("bucket emptied")

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
        self._note("broker killed")

    async def store_is_down_while_a_node_is_dead(self) -> None:
        """Dead for longer than expiry and forget-after, but nobody can know: it stays a member."""
        cluster = self.cluster
        cluster.link.cut()
        await cluster[2].kill()
        gone = cluster.nodes[2].name

        async def is_down() -> bool:
            said = await cluster.nodes[0].tell("eval", "rabbit_nodes:all_running().")
            return gone not in said

        await cluster.until(is_down, "node 3 is down")
        await asyncio.sleep(EXPIRY_S + 3.0)  # what must not happen in this time
        assert gone in await cluster.members(0)
        self._note("store down")

    async def dead_node_is_forgotten(self) -> None:
        cluster = self.cluster
        cluster.link.mend()

        async def is_forgotten() -> bool:
            return cluster.nodes[2].name not in await cluster.members(0)

        await cluster.until(is_forgotten, "node 3 is forgotten")
        said = cluster[0].said + cluster[1].said
        assert "dead node forgotten cluster_id='rmq3@localhost'" in said
        await cluster.until_formed(0, 1, count=2)
        self._note("forgotten")

    async def forgotten_node_returns(self) -> None:
        """It is told the cure, and with allow-reset rejoins with its data set aside."""
        cluster = self.cluster
        await cluster[2].start(in_front=True)
        await cluster.until(lambda: "has forgotten it" in cluster[2].said, "the cure is told")
        await cluster[2].end()
        await cluster[2].start("allow-reset=true", in_front=True)
        await cluster.until_formed(0, 1, 2, count=3)
        assert await cluster.members(2) == cluster.names
        assert (cluster.nodes[2].data.parent / f"{cluster.nodes[2].name}.forgotten-1").is_dir()
        self._note("forgotten returns")

    async def node_leaves(self) -> None:
        cluster = self.cluster
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "s3discovery", "leave", "-c", str(cluster.properties)),
            *("-o", f"control-socket={cluster.nodes[2].folder / 'control'}"),
            env=cluster.nodes[2].environ,
        )
        assert await process.wait() == 0
        assert await cluster.members(0) == cluster.names - {cluster.nodes[2].name}
        await cluster.until(lambda: cluster[2].code is not None, "the agent has ended")
        self._note("left")
