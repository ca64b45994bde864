"""What is looked after in the background: is MQTT served, are there enough copies, why is a peer missing.

Changes are logged; whatever fails is tried again.
"""

import asyncio
import logging
from collections.abc import Mapping

from s3discovery.brokers.nats import jetstream, mqtt, replicas
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.diagnosis import why_missing
from s3discovery.brokers.nats.monitoring import Monitor
from s3discovery.brokers.nats.views import Meta, Server
from s3discovery.clock import Clock, sleep_unless
from s3discovery.errors import BrokerError
from s3discovery.node import Member

log = logging.getLogger(__name__)

_SOON_S, _SELDOM_S = 1.0, 30.0
_MISSING_S = 5.0  # longer than a route takes
_NO_STREAMS = (
    "no streams of MQTT in the account of nats-app-user, so nobody keeps copies of them; set it to a user of "
    "the account that MQTT clients use"
)
_GATHER_S = 10.0  # for members that are about to join


class Tending:
    """Looks after one server; `peers` are those who should be connected, by id."""

    def __init__(self, access: Access, monitor: Monitor, copies: int, clock: Clock) -> None:
        self._access = access
        self._monitor = monitor
        self._copies = copies
        self._clock = clock
        self._woken = asyncio.Event()
        self._peers: Mapping[str, Member] = {}
        self._missing: dict[str, float] = {}  # ids, and since when
        self._said: dict[str, str] = {}  # what was logged last of each topic
        self._tended: tuple[frozenset[str], int] | None = None  # who was there when all was done
        self._included_s: float | None = None  # since when it is a member
        self.is_ready = False

    def attend(self, peers: Mapping[str, Member]) -> None:
        """Look at once whether all is well with these."""
        self._peers = peers
        self._woken.set()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    async def run(self) -> None:
        """Look after the server until cancelled, from the first time on that `attend` is called."""
        await self._woken.wait()
        while True:
            self._woken.clear()
            wait_s = _SOON_S
            try:
                if await self._look():
                    wait_s = _SELDOM_S
                self._say("server", "")
            except BrokerError as error:
                self._say("server", f"nats is not as it should be reason={error}")
            await sleep_unless(self._clock, wait_s, self._woken.wait())

    async def _look(self) -> bool:
        """See to everything once; True if nothing is left to do."""
        server = await self._monitor.server()
        connected = await self._monitor.connected()
        explained = await self._explain(server, connected)
        if server.store_dir is None:
            return explained
        meta = await self._monitor.meta()
        if not await self._serves(server, meta) or meta is None:
            return False
        if min({server.name, *connected}) != server.name:
            return explained  # whoever comes first sees to the copies
        return await self._tend_copies(server, meta, connected) and explained

    async def _serves(self, server: Server, meta: Meta | None) -> bool:
        """Tell whether MQTT clients are served, and say so when that changes."""
        listener = self._access.mqtt_at(server)
        try:
            if meta is None or not meta.includes(server.name):
                raise BrokerError(_why_not_included(meta))
            if self._is_early(meta):
                return False
            if listener is not None:
                tls = self._access.tls() if listener.tls else None
                await mqtt.try_connect(listener.host, listener.port, self._access.mqtt, tls)
        except BrokerError as error:
            self.is_ready = False
            self._say("ready", f"nats does not serve MQTT reason={error}")
            return False
        if not self.is_ready:
            where = "none" if listener is None else f"{listener.host}:{listener.port}"
            log.info("nats ready mqtt=%s leader=%r members=%d", where, meta.leader, meta.size)
        self._say("ready", "")
        self.is_ready = True
        return True

    def _is_early(self, meta: Meta) -> bool:
        """Tell whether members may be coming: the first MQTT client makes the streams, on who is there."""
        now_s = self._clock.monotonic_s()
        self._included_s = now_s if self._included_s is None else self._included_s
        expected = min(self._copies, len(self._peers) + 1)
        return not self.is_ready and meta.size < expected and now_s - self._included_s < _GATHER_S

    async def _tend_copies(self, server: Server, meta: Meta, connected: frozenset[str]) -> bool:
        """Do the next step towards as many copies as there should be; True if there are."""
        there = (connected, meta.size)
        if there == self._tended:
            return True
        online = meta.size - len(meta.down(server.name, connected, {}))
        async with jetstream.connect(self._access, server, self._access.app) as connection:
            while True:
                streams = await connection.mqtt_streams()
                lost = "" if streams or server.mqtt is None else _NO_STREAMS
                self._say("streams", lost)
                if lost:
                    return True
                step = replicas.next_step(streams, limit=self._copies, size=meta.size, online=online)
                if step is None:
                    is_done = replicas.is_done(streams, limit=self._copies, size=meta.size)
                    self._tended = there if is_done else None
                    return is_done
                await connection.keep(step.stream, step.copies)
                log.info(
                    "copies of a stream changed stream=%r from=%d to=%d",
                    step.stream.name,
                    step.stream.wanted,
                    step.copies,
                )

    async def _explain(self, server: Server, connected: frozenset[str]) -> bool:
        """Say of every peer that is missing for a while why; True if none is."""
        now_s = self._clock.monotonic_s()
        missing = self._peers.keys() - connected
        for name in self._missing.keys() - missing:
            self._say(f"peer {name}", "")
        self._missing = {name: self._missing.get(name, now_s) for name in missing}
        for name, since_s in self._missing.items():
            if now_s - since_s >= _MISSING_S:
                peer = self._peers.get(name)
                if peer is not None:
                    self._say(f"peer {name}", f"no route to a peer reason={await why_missing(peer, server)}")
        return not missing

    def _say(self, topic: str, text: str) -> None:
        if text and self._said.get(topic) != text:
            log.warning("%s", text)
        self._said[topic] = text


def _why_not_included(meta: Meta | None) -> str:
    if meta is None:
        return (
            "JetStream is off at this server, which was removed from its cluster; restart it to have it back"
        )
    if not meta.leader:
        return (
            f"JetStream has no leader: more than half of its {meta.size} members must be up, and at least two"
        )
    return "this server is no member of JetStream's group; 5 minutes after its removal NATS takes it back"
