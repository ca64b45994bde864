"""Engines on their way to one cluster: fake engines driven by real drivers, on a bucket in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from s3discovery.discovery import Discovery
from s3discovery.driver import Driver
from s3discovery.errors import UnreachableError
from s3discovery.formation import seed
from s3discovery.formation.seed import Claim
from s3discovery.node import NO_METADATA, Address, Member
from s3discovery.testing.engines import FakeClusters, FakeEngine
from s3discovery.testing.fakes import Cable, FakeClock, MemoryBucket, make_settings

KEY = ".s3discovery/nodes%2F/seed"


class Unlisted(FakeEngine):
    """An engine that keeps no roster."""

    members = None  # type: ignore[assignment]  # so that it is none


class Node:
    """A broker and its agent, without the process around them."""

    def __init__(
        self,
        world: "World",
        cluster_id: str,
        engine: type[FakeEngine] = FakeEngine,
        *,
        values: Mapping[str, str] = NO_METADATA,
    ) -> None:
        self.world = world
        self.cluster_id = cluster_id
        self.cable = Cable(world.store)
        self.engine = engine(world.clusters, cluster_id)
        own = Member(cluster_id, Address(f"{cluster_id}.example", 7800))
        self.discovery = Discovery(make_settings(**values), self.cable, own, clock=world.clock)
        self.driver = Driver(self.discovery, self.engine, world.clock)
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        async with self.engine, self.discovery:
            await self.driver.run()

    @property
    def state(self) -> str:
        return self.driver.state.text

    @property
    def is_formed(self) -> bool:
        own = self.discovery.own
        return own is not None and own.report.is_formed is True

    async def end(self, *, kill: bool = False) -> None:
        if kill:
            self.cable.cut = UnreachableError("killed")
        self._task.cancel()
        while not self._task.done():
            await self.world.clock.settle()


class World:
    """All that the nodes share: the clock, the bucket, and what is on their disks."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.store = MemoryBucket(clock)
        self.clusters = FakeClusters()
        self.nodes: list[Node] = []

    async def start(self, cluster_id: str, **values: str) -> Node:
        node = Node(self, cluster_id, values=values)
        self.nodes.append(node)
        await self.clock.settle()
        return node

    async def until(self, condition: Callable[[], bool], limit_s: float = 60) -> float:
        begun_s = self.clock.monotonic_s()
        while not condition():
            states = {node.cluster_id: node.state for node in self.nodes}
            assert self.clock.monotonic_s() - begun_s < limit_s, states
            await self.clock.advance(0.5)
        return self.clock.monotonic_s() - begun_s

    @property
    def claim(self) -> Claim:
        return seed.decode(self.store.peek(KEY).body)

    def plant(self, claim: Claim) -> None:
        self.store.plant(KEY, seed.encode(replace(claim, nonce="0" * 16)))


def formed(*nodes: Node) -> Callable[[], bool]:
    """Return what tells whether all of them say that they belong to a cluster."""
    return lambda: all(node.is_formed for node in nodes)


@asynccontextmanager
async def made_world() -> AsyncIterator[World]:
    """Enter an empty world; its nodes end with it."""
    world = World(FakeClock())
    async with AsyncExitStack() as stack:
        yield world
        for node in world.nodes:
            stack.push_async_callback(node.end)
