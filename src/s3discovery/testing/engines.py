"""A fake of engines: brokers whose cluster is a state of their own, on what would be their disks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from s3discovery.errors import BrokerError
from s3discovery.node import NO_METADATA, Member


async def _at_once(_: str) -> None:
    await asyncio.sleep(0)


class FakeClusters:
    """What is on the disks of fake engines, whoever runs: survives them, as disks do.

    `is_roomy`: a broker that is alone and empty counts as blank, and lets others join it without having been
    told to found anything (RabbitMQ); else only a cluster that was founded can be joined (NATS)."""

    def __init__(self, *, is_roomy: bool = False) -> None:
        self.is_roomy = is_roomy
        self.running: set[str] = set()
        self._members: dict[str, frozenset[str]] = {}  # what each broker holds its cluster to be

    def of(self, name: str) -> frozenset[str]:
        """Return the cluster of a broker as it knows it, itself included; empty if it has none."""
        return self._members.get(name, frozenset())

    def wipe(self, name: str) -> None:
        """Lose the disk of a broker; the others do not hear of it."""
        self._members.pop(name, None)

    def found(self, name: str) -> None:
        """Make a broker a cluster of one, unless it has one."""
        self._members.setdefault(name, frozenset({name}))

    def join(self, name: str, peer: str) -> None:
        """Make a broker a member of the cluster of another; raises BrokerError."""
        if peer not in self.running:
            raise BrokerError(f"node {peer!r} does not answer")
        if self.is_roomy:
            self.found(peer)
        if not (cluster := self.of(peer)):
            raise BrokerError(f"node {peer!r} is in no cluster")
        self._members.update(dict.fromkeys(cluster & self._members.keys(), cluster | {name}))
        self._members[name] = cluster | {name}

    def remove(self, name: str) -> None:
        """Take a broker out of its cluster; whoever is left does not count it any more."""
        for other in self.of(name) & self._members.keys():
            self._members[other] -= {name}
        self.wipe(name)


class FakeEngine:
    """An Engine on `clusters`. `hold` is awaited before and after what it does to them, and may take time."""

    def __init__(
        self,
        clusters: FakeClusters,
        cluster_id: str,
        *,
        may_reset: bool = False,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        self.clusters = clusters
        self.cluster_id = cluster_id
        self.may_reset = may_reset
        self.metadata = metadata
        self.port: int | None = None
        self.skipped: frozenset[str] = frozenset()
        self.hold: Callable[[str], Awaitable[None]] = _at_once
        self.applied: list[frozenset[Member]] = []
        self.asked: list[str] = []  # what formation made it do, in order
        self.failure: BrokerError | None = None

    async def is_blank(self) -> bool:
        await self._ask("is_blank")
        cluster = self.clusters.of(self.cluster_id)
        return not cluster or (self.clusters.is_roomy and cluster == {self.cluster_id})

    async def found(self) -> None:
        await self._ask("found")
        self.clusters.found(self.cluster_id)
        await self.hold("found")

    async def join(self, peer: Member) -> None:
        if peer.cluster_id not in self.clusters.running:
            raise BrokerError(f"node {peer.cluster_id!r} does not answer")
        await self._ask("join")
        if peer.cluster_id in self.clusters.of(self.cluster_id):
            return
        if not await self.is_blank():
            if not self.may_reset:
                raise BrokerError(f"node {self.cluster_id!r} has data; set allow-reset:true to wipe it")
            self.clusters.remove(self.cluster_id)
        self.clusters.join(self.cluster_id, peer.cluster_id)
        await self.hold("join")

    async def members(self) -> frozenset[str]:
        await self._ask("members")
        return self.clusters.of(self.cluster_id) | {self.cluster_id}

    async def down(self) -> frozenset[str]:
        await self._ask("down")
        return self.clusters.of(self.cluster_id) - self.clusters.running - {self.cluster_id}

    async def forget(self, cluster_id: str) -> None:
        await self._ask("forget")
        if cluster_id in self.clusters.of(self.cluster_id):
            cluster = self.clusters.of(self.cluster_id) - {cluster_id}
            self.clusters._members.update(dict.fromkeys(cluster & self.clusters._members.keys(), cluster))

    async def leave(self) -> None:
        await self._ask("leave")
        self.clusters.remove(self.cluster_id)

    async def apply(self, peers: frozenset[Member]) -> None:
        await self._ask("apply")
        self.applied.append(peers)

    async def cluster(self) -> frozenset[str] | None:
        await self._ask("cluster")
        return (self.clusters.of(self.cluster_id) & self.clusters.running) - {self.cluster_id}

    async def __aenter__(self) -> Self:
        self.clusters.running.add(self.cluster_id)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clusters.running.discard(self.cluster_id)

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await self.hold(what)
        if self.failure is not None:
            raise self.failure
