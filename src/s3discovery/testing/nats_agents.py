"""Agents of NATS nodes for tests: `s3discovery run` as processes, in front of nats-server or beside it."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt

from s3discovery.brokers.nats import jetstream
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.monitoring import Monitor
from s3discovery.brokers.nats.views import Meta
from s3discovery.demo import child
from s3discovery.testing.clusters import LOOK_EVERY_S, AgentCluster, AgentProcess
from s3discovery.testing.link import Link
from s3discovery.testing.nats_server import NatsServer, absolute
from s3discovery.wiring import Origins

LIMIT_S = 90.0


class Agent(AgentProcess):
    """`s3discovery run` as a process, and the server that it is in front of or beside."""

    def __init__(self, server: NatsServer, properties: Path, options: Sequence[str] = ()) -> None:
        super().__init__(server.name, server.folder / "agent.log")
        self.server = server
        self.properties = server.folder / "s3discovery.properties"
        own = "".join(f"{key}:{text}\n" for key, text in server.settings().items())
        self.properties.write_text(properties.read_text() + own)
        self._options = options
        origins = Origins(self.properties, environ={})
        self.access = Access.from_settings(origins.read())
        self.monitor = Monitor(self.access)

    async def start(self, *options: str, in_front: bool = True) -> None:
        """Start it with more settings, texts key=value."""
        given = (f"control-socket={self.server.folder / 'control'}", *self._options, *options)
        command = [
            *(*self.server.prefix, sys.executable, "-m", "s3discovery", "run", "-c", str(self.properties)),
            *(word for option in given for word in ("-o", option)),
            *(("--", *self.server.command) if in_front else ()),
        ]
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = await child.start(
                absolute(command), folder=self.server.folder, environ=dict(os.environ), log=log
            )

    async def tell(self, *words: str) -> tuple[int, str]:
        """Run a command of s3discovery for this node; return its exit code and what it printed."""
        command = (*self.server.prefix, sys.executable, "-m", "s3discovery", *words)
        socket = f"control-socket={self.server.folder / 'control'}"
        process = await asyncio.create_subprocess_exec(
            *(*command, "-c", str(self.properties), "-o", socket),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")


class Cluster(AgentCluster[Agent]):
    """Servers of NATS, their agents, and the store between them."""

    limit_s = LIMIT_S

    def __init__(self, servers: Sequence[NatsServer], properties: Path, link: Link) -> None:
        super().__init__([Agent(server, properties) for server in servers], properties, link)

    async def until_formed(self, *numbers: int, count: int) -> None:
        """Wait until each of these agents says that all is well."""
        agents = [self[number] for number in numbers]
        await self.until(
            lambda: all(agent.state == f"formed {count}/{count}" for agent in agents),
            f"formed {count}/{count}",
        )

    async def until_ready(self, *numbers: int) -> None:
        """Wait until each of these serves MQTT."""
        agents = [self[number] for number in numbers]
        await self.until(lambda: all("nats ready" in agent.said for agent in agents), "ready")

    async def meta(self, number: int) -> Meta | None:
        return await self[number].monitor.meta()

    async def is_one(self, *numbers: int, count: int) -> bool:
        """Tell whether these follow one leader in a meta group of `count`."""
        found = [await self.meta(number) for number in numbers]
        leaders = {meta.leader if meta is not None else "" for meta in found}
        sizes = {meta.size if meta is not None else 0 for meta in found}
        return len(leaders) == 1 and "" not in leaders and sizes == {count}

    async def copies(self, number: int) -> set[int]:
        """Return how many settled copies the MQTT streams have, 0 for one that is not settled."""
        agent = self[number]
        server = await agent.monitor.server()
        async with jetstream.connect(agent.access, server, agent.access.app) as connection:
            return {each.wanted if each.is_settled else 0 for each in await connection.mqtt_streams()}

    async def connect(
        self, number: int, stack: AsyncExitStack, name: str, *, clean: bool = True
    ) -> aiomqtt.Client:
        """Connect an MQTT client, as soon as one is taken."""
        server = self[number].server
        async with asyncio.timeout(LIMIT_S):
            while True:
                client = aiomqtt.Client(
                    server.host, server.ports["mqtt"], identifier=name, clean_session=clean, timeout=20
                )
                try:
                    return await stack.enter_async_context(client)
                except aiomqtt.MqttError:
                    await asyncio.sleep(LOOK_EVERY_S)

    async def end(self) -> None:
        """End all agents, and the servers beside them."""
        await asyncio.gather(*(agent.end() for agent in self.agents))
        for agent in self.agents:
            await agent.kill()
            await agent.server.kill()
