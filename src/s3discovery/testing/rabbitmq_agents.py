"""Agents of RabbitMQ nodes for tests: `s3discovery run` as processes."""

import asyncio
import re
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt

from s3discovery.demo import child
from s3discovery.testing import clusters
from s3discovery.testing.clusters import LOOK_EVERY_S, AgentCluster, AgentProcess
from s3discovery.testing.link import Link
from s3discovery.testing.rabbitmq import BIN, RabbitNode, RabbitNodes
from s3discovery.testing.stores import Store

LIMIT_S = 120.0


class Agent(AgentProcess):
    """`s3discovery run` as a process, beside or in front of its node.

    `restarts` is how often it ended by itself and was started again, as systemd does."""

    def __init__(self, node: RabbitNode, properties: Path) -> None:
        super().__init__(node.name, node.folder / "agent.log")
        self.node = node
        self._properties = properties
        self._command: tuple[str, ...] | None = None  # while it shall run
        self.restarts = 0

    async def start(self, *options: str, in_front: bool) -> None:
        """Start it with more settings, texts key=value, and a new log."""
        given = (f"rabbitmq-ctl={BIN / 'rabbitmqctl'}", f"control-socket={self.control}", *options)
        self._command = (
            *(*self.node.prefix, sys.executable, "-m", "s3discovery", "run", "-c", str(self._properties)),
            *(word for option in given for word in ("-o", option)),
            *(("--", *self.node.server) if in_front else ()),
        )
        self.log.unlink(missing_ok=True)
        await self._start(self._command)

    async def revive(self) -> None:
        """Start it again if it has ended and should not have."""
        if self._command is not None and self.code is not None:
            self.restarts += 1
            await self._start(self._command)

    async def _start(self, command: tuple[str, ...]) -> None:
        with self.log.open("ab") as log:
            self._process = await child.start(
                (shutil.which(command[0]) or command[0], *command[1:]),
                folder=self.node.folder,
                environ=self.node.environ,
                log=log,
            )

    @property
    def control(self) -> Path:
        return self.node.folder / "control"

    async def kill(self, *, with_server: bool = True) -> None:
        self._command = None
        await super().kill(with_server=with_server)

    async def end(self) -> None:
        self._command = None
        await super().end()


class Cluster(AgentCluster[Agent]):
    """Nodes of RabbitMQ, their agents, and the store between them."""

    limit_s = LIMIT_S

    def __init__(self, nodes: RabbitNodes, properties: Path, link: Link) -> None:
        super().__init__([Agent(node, properties) for node in nodes.nodes], properties, link)
        self.nodes = nodes

    async def until_formed(self, *numbers: int, count: int) -> None:
        """Wait until each of these agents says that all is well."""
        agents = [self[number] for number in numbers]

        async def are_formed() -> bool:
            for agent in agents:
                await agent.revive()
            return all(agent.state == f"formed {count}/{count}" for agent in agents)

        await self.until(are_formed, f"formed {count}/{count}")

    async def members(self, number: int) -> set[str]:
        """Return who belongs to the cluster, as one node says when it is asked directly."""
        said = await self.nodes[number].tell("eval", '[io:format("~s ", [N]) || N <- rabbit_nodes:all()].')
        return set(re.findall(r"\S+@\S+", said))

    async def is_one(self, *numbers: int) -> bool:
        """Tell whether every one of these nodes says that all nodes belong to its cluster."""
        seen = await asyncio.gather(*(self.members(number) for number in numbers))
        return all(members == self.names for members in seen)

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
                    await asyncio.sleep(LOOK_EVERY_S)

    async def end(self) -> None:
        """End all agents."""
        await asyncio.gather(*(agent.end() for agent in self.agents))
        for agent in self.agents:
            await agent.kill()


def write_settings(file: Path, store: Store, endpoint: str, **settings: str) -> None:
    """Write the settings of a new cluster of RabbitMQ nodes; see `clusters.write_settings`."""
    own = {"bind_address": child.HOST, "bind_port": "25672", "broker": "rabbitmq"}
    clusters.write_settings(file, store, endpoint, **(own | settings))
