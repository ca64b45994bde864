"""A nats-server as an engine: blank until its meta group has a leader, a member from then on.

In front of a server we start it: blank, as the founder or as one who joins, which it is told by how many
routes it counts; later with the routes to all. Beside a server that runs we only change its routes.
"""

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum
from types import TracebackType
from typing import Self

from s3discovery.brokers import Surroundings
from s3discovery.brokers.nats import routes, store
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.diagnosis import why_missing
from s3discovery.brokers.nats.fitness import check, check_name, check_settings
from s3discovery.brokers.nats.monitoring import Monitor, SilentError
from s3discovery.brokers.nats.process import Process
from s3discovery.brokers.nats.removal import Removal
from s3discovery.brokers.nats.routes_file import RoutesFile
from s3discovery.brokers.nats.tending import Tending
from s3discovery.brokers.nats.views import Server, peer_id
from s3discovery.clock import Clock, SystemClock
from s3discovery.errors import BrokerError
from s3discovery.node import Address, Member
from s3discovery.settings.hosts import is_wildcard

log = logging.getLogger(__name__)

_FIND_LIMIT_S = 30.0  # for a server that is being started beside us
_JOIN_LIMIT_S = 10.0  # of one attempt; NATS's elections take up to 9 s
_ROUTE_LIMIT_S = 2.0
_LOOK_EVERY_S = 0.1
_LOOPBACK = "127.0.0.1"


class _Role(Enum):
    FOUNDER = "founder"
    JOINER = "joiner"
    MEMBER = "member"


class NatsBroker:
    """The nats-server of this node. Entering it raises BrokerError for a server that cannot be a node."""

    port: int | None = None
    metadata: Mapping[str, str] = routes.METADATA

    def __init__(self, surroundings: Surroundings, clock: Clock | None = None) -> None:
        settings = surroundings.settings
        if settings.nats_routes_file is None:
            raise BrokerError("broker:nats needs nats-routes-file: the file that the cluster block includes")
        self._settings = settings
        self._clock = clock or SystemClock()
        self._access = Access.from_settings(settings)
        self._monitor = Monitor(self._access)
        self._process = Process(self._access, self._monitor, surroundings.child, settings, self._clock)
        self._removal = Removal(self._access, self._monitor, self._clock)
        self._file = RoutesFile(settings.nats_routes_file, is_secret=self._access.cluster is not None)
        self._tending = Tending(self._access, self._monitor, settings.nats_replicas, self._clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._has_jetstream = settings.nats_jetstream
        self._name = settings.cluster_id or ""
        self._role: _Role | None = None
        self._names: dict[str, str] = {}  # of all peers ever handed to us, by peer id
        self._skipped: frozenset[str] = frozenset()

    @property
    def cluster_id(self) -> str:
        """The server_name."""
        return self._name

    @property
    def skipped(self) -> frozenset[str]:
        """Members that are no nats-servers of ours, or have an address that cannot be dialled."""
        return self._skipped

    @property
    def is_ready(self) -> bool:
        """Whether MQTT clients are served, as of the last try."""
        return self._tending.is_ready

    async def __aenter__(self) -> Self:
        if self._process.is_ours:
            check_settings(self._settings)
        else:
            await self._find()
        self._tasks.append(asyncio.create_task(self._tending.run(), name="nats"))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    # What there is.

    async def is_blank(self) -> bool:
        """Tell whether JetStream has never agreed on anything here; without JetStream nothing is blank."""
        if not self._has_jetstream:
            return False
        if not self._process.is_running:
            return _is_blank_on_disk(self._settings.nats_store_dir or "")
        server = await self._process.server()
        meta = await self._monitor.meta()
        if meta is not None and meta.includes(self._name):
            return False
        store_dir = server.store_dir or self._settings.nats_store_dir
        if store_dir is not None and store.is_there(store_dir):
            return _is_blank_on_disk(store_dir)
        if meta is None:
            raise BrokerError("JetStream is off at this server, or not yet on; if that lasts, restart it")
        others = {peer.peer for peer in meta.peers} - {peer_id(self._name)}
        return not meta.leader and not others

    async def cluster(self) -> frozenset[str] | None:
        """Return the names of the servers that this one has routes with; None before it runs."""
        return await self._monitor.connected() if self._process.is_running else None

    async def down(self) -> frozenset[str]:
        """Return the members of the meta group that this server has no route with."""
        meta = await self._monitor.meta() if self._process.is_running else None
        if meta is None:
            return frozenset()
        return meta.down(self._name, await self._monitor.connected(), self._names)

    # What is made of it.

    async def found(self) -> None:
        """Become the first: the next server that joins makes the meta group with this one."""
        if self._process.is_running and not await self.is_blank():
            return
        if self._process.is_ours:
            if self._role is not _Role.FOUNDER or not self._process.is_running:
                await self._start_blank(_Role.FOUNDER, self._self_routes())
            return
        await self._route(self._self_routes(), await self._process.server())

    async def join(self, peer: Member) -> None:
        """Join the meta group that `peer` belongs to; one of our own is thrown away if so set."""
        if not peer.address.is_dialable:
            raise BrokerError(f"{peer.cluster_id!r} cannot be dialled at {str(peer.address)!r}")
        if await self._belongs_with(peer):
            return
        if not await self.is_blank():
            await self._wipe()
        url = routes.route_url(peer.address, self._access.cluster)
        if not self._process.is_ours:
            await self._route([*self._self_routes(), url], await self._process.server())
        else:
            urls = [*self._self_routes(routes.JOINER_ROUTES), url]
            if self._role is not _Role.JOINER or not self._process.is_running or self._file.write(urls):
                await self._start_blank(_Role.JOINER, urls)
        await self._await_membership(peer)

    async def apply(self, peers: frozenset[Member]) -> None:
        """Make the routes those to all peers of the same meta group; start the server if it is ours."""
        possible = routes.possible(peers)
        self._skipped = frozenset(peer.cluster_id for peer in peers) - {peer.cluster_id for peer in possible}
        self._names |= {peer_id(peer.cluster_id): peer.cluster_id for peer in possible}
        allowed = routes.same_group(possible, await self._known()) if self._has_jetstream else possible
        urls = self._self_routes() + [
            routes.route_url(peer.address, self._access.cluster) for peer in allowed
        ]
        if not self._process.is_running:
            await self._start(urls)
        elif self._process.is_ours and await self._was_removed():
            log.warning("nats-server was removed from its cluster while it ran, and is started anew")
            await self._start_blank(_Role.JOINER, self._self_routes(routes.JOINER_ROUTES - 1) + urls)
        else:
            await self._route(urls, await self._process.server())
        self._role = _Role.MEMBER
        self._tending.attend({peer.cluster_id: peer for peer in allowed})

    async def forget(self, cluster_id: str) -> None:
        """Remove a dead server from the meta group, if its leader misses it, too."""
        await self._removal.remove_dead(cluster_id)
        self._tending.wake()

    async def leave(self) -> None:
        """Hand over what only this server has, and have it removed from the meta group; ours is stopped."""
        if self._has_jetstream and self._process.is_running:
            meta = await self._monitor.meta()
            if meta is not None and meta.includes(self._name):
                await self._removal.remove_self(self._name, meta)
        await self.__aexit__(None, None, None)
        await self._process.stop()
        self._file.write(self._self_routes())
        if not self._process.is_ours:
            log.info("nats left its cluster: stop nats-server; without JetStream it serves no MQTT any more")

    # Steps of these.

    async def _start_blank(self, role: _Role, urls: list[str]) -> None:
        await self._process.stop()
        store.drop_blank_state(self._settings.nats_store_dir or "")
        self._role = role
        await self._start(urls)
        log.info("nats-server started role=%s", role.value)

    async def _start(self, urls: list[str]) -> None:
        self._file.write(urls)
        server = await self._process.start(self._name, self._own())
        self._check(server)
        self._check_routes(urls, server)

    async def _route(self, urls: list[str], server: Server) -> None:
        """Have the running server have these routes."""
        if self._file.write(urls):
            server = await self._process.reload(server)
            log.info("routes changed count=%d", len(urls) - 1)
        self._check(server)
        if not _are_read(urls, server):
            # The file was written by an earlier run that did not live to say so, or nobody includes it.
            self._check_routes(urls, await self._process.reload(server))

    def _check_routes(self, urls: list[str], server: Server) -> None:
        if not _are_read(urls, server):
            raise BrokerError(
                f"nats-server does not read {self._file.path!r}; write into the cluster block of nats.conf: "
                f'include "{self._file.path}" (relative to nats.conf), and no other routes'
            )

    async def _was_removed(self) -> bool:
        """Tell whether the others removed this server: then JetStream is off, and its state gone."""
        if (
            self._role is not _Role.MEMBER
            or not self._has_jetstream
            or await self._monitor.meta() is not None
        ):
            return False
        return store.read_state(self._settings.nats_store_dir or "") is None

    async def _belongs_with(self, peer: Member) -> bool:
        if not self._process.is_running:
            state = store.read_state(self._settings.nats_store_dir or "")
            if state is None or not state.is_agreed or peer_id(peer.cluster_id) not in state.known:
                return False
            await self.apply(frozenset({peer}))
        meta = await self._monitor.meta()
        known = frozenset[str]() if meta is None else meta.ids
        return meta is not None and meta.includes(self._name) and peer_id(peer.cluster_id) in known

    async def _wipe(self) -> None:
        """Throw away a meta group of one's own, streams included, if the settings allow it."""
        if not self._settings.allow_reset:
            raise BrokerError(
                f"the server {self._name!r} has a JetStream cluster of its own; set allow-reset:true to "
                "throw its data away and join the others, or empty its store_dir"
            )
        if not self._process.is_ours:
            raise BrokerError(
                f"the server {self._name!r} has a JetStream cluster of its own; stop it, empty its "
                "store_dir, and start it again: beside a server s3discovery cannot do that"
            )
        await self._process.stop()
        log.warning(
            "data of another cluster is thrown away (allow-reset) store_dir=%r", self._settings.nats_store_dir
        )
        store.drop_everything(self._settings.nats_store_dir or "")
        self._role = None

    async def _await_membership(self, peer: Member) -> None:
        begun_s = self._clock.monotonic_s()
        while True:
            meta = await self._monitor.meta()
            if meta is not None and meta.includes(self._name):
                return
            waited_s = self._clock.monotonic_s() - begun_s
            is_there = peer.cluster_id in await self._monitor.connected()
            if waited_s >= (_JOIN_LIMIT_S if is_there else _ROUTE_LIMIT_S):
                break
            await self._clock.sleep(_LOOK_EVERY_S)
        if meta is None:
            raise BrokerError(
                "JetStream is off at this server, which was removed from its cluster; restart it"
            )
        if meta.leader:
            raise BrokerError(
                f"the cluster of {peer.cluster_id!r} does not take {self._name!r} yet: NATS takes a "
                "server back 5 minutes after its removal"
            )
        if is_there:
            raise BrokerError(
                f"JetStream of {peer.cluster_id!r} has no leader: more than half of its members are down"
            )
        raise BrokerError(f"no route yet: {await why_missing(peer, await self._process.server())}")

    async def _known(self) -> frozenset[str]:
        """Return the peer ids of those who are of our meta group, or connected with us already."""
        if not self._process.is_running:
            state = store.read_state(self._settings.nats_store_dir or "")
            return frozenset() if state is None else state.known
        meta = await self._monitor.meta()
        connected = await self._monitor.connected()
        return frozenset(map(peer_id, connected)) | (frozenset[str]() if meta is None else meta.ids)

    async def _find(self) -> None:
        """Find the server beside us, and what it is called."""
        if not self._file.exists:
            # Without routes JetStream ends at its start; whoever restarts the server gets it up with these.
            self._file.write(self._self_routes())
        try:
            server = await self._process.awaited(_FIND_LIMIT_S)
        except SilentError as error:
            raise BrokerError(
                f"{error} (with JetStream and a cluster it does not start without routes; "
                f"{self._file.path!r} has one now)"
            ) from error
        check_name(server, self._settings)
        self._name = server.name
        self._check(server)
        self.port = server.cluster_port

    def _check(self, server: Server) -> None:
        check(server, self._name, self._settings, is_ours=self._process.is_ours)

    def _own(self) -> Address:
        """Return where this server can reach itself."""
        host = self._settings.bind_address
        reachable = host if host is not None and not is_wildcard(host) else _LOOPBACK
        return Address(reachable, self.port or self._settings.bind_port)

    def _self_routes(self, count: int = 1) -> list[str]:
        return routes.self_routes(self._own(), self._access.cluster, count)


def _are_read(urls: list[str], server: Server) -> bool:
    return {routes.place_of(url) for url in urls} <= server.routes


def _is_blank_on_disk(store_dir: str) -> bool:
    state = store.read_state(store_dir)
    return state is None or not state.is_agreed
