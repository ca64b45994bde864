"""The mesh of one node: its listener, its links, its gate, kept in step with the members."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Final, Self

import zmq

from s3discovery.mesh.dialling import dial
from s3discovery.mesh.gate import Gate
from s3discovery.mesh.inlet import Deliver, Inlet
from s3discovery.mesh.link import KeyPair, Limits, Link
from s3discovery.mesh.listening import listen
from s3discovery.mesh.peer import KEY_METADATA, Peer, PeerError, read_peer
from s3discovery.mesh.rarely import Rarely
from s3discovery.mesh.wire import Message, WireError, check_topic
from s3discovery.network.names import FindAddresses, Names
from s3discovery.node import Member

log = logging.getLogger(__name__)

TICK_S: Final = 0.2  # acks, hellos and reports wait at most so long
DRAIN_S: Final = 1.0  # at the end, for confirmations
_BATCH = 128  # frames taken in before others have their turn
_LINGER_MS = 200  # for the last acks and goodbyes to get out


@dataclass(frozen=True, slots=True)
class MeshCounts:
    """What became of the messages, each counted once for each peer it was for, since the start.

    sent = confirmed + unconfirmed + abandoned."""

    sent: int  # handed to a link
    confirmed: int  # taken by the peer's broker, or known to the peer to be lost
    unconfirmed: int  # on their way
    abandoned: int  # unconfirmed when their link was closed
    dropped: int  # never sent: their link held too much already, or they cannot be sent
    received: int  # handed to the local broker
    lost: int  # sent by a peer, never come
    duplicates: int  # come again, or by a link that its peer had given up: ignored
    refused: int  # frames of those who are members no more
    garbled: int  # frames that mean nothing
    strangers: int  # handshakes turned away


class Mesh:
    """This node's end of the mesh.

    `deliver` is called for each message of a peer, in the order of its publisher; it must not block.
    Enter and leave it in the same task: what fails inside cancels that task. Entering raises
    BrokerError where the address cannot be listened at."""

    def __init__(
        self,
        bind_address: str | None,
        bind_port: int,
        deliver: Deliver,
        look_now: Callable[[], None],
        limits: Limits | None = None,
        find_addresses: FindAddresses | None = None,
    ) -> None:
        self.port = 0  # what it listens at once entered
        self._bind = (bind_address or "", bind_port)
        self._deliver = deliver
        self._look_now = look_now
        self._limits = limits or Limits()
        self._keys = KeyPair.new()
        self._incarnations = itertools.count(1)
        self._find_addresses = find_addresses or Names().find
        self._links: dict[str, Link] = {}  # by key: a node may change its id
        self._dialling: dict[Link, asyncio.Task[None]] = {}  # of peers that have a name
        self._unopened = 0  # peers that there is no link to
        self._skipped: dict[str, str] = {}  # reasons by cluster id
        self._wake = asyncio.Event()
        self._ready: set[Link] = set()  # links whose socket has something to tell
        self._is_ticking = False
        self._is_taking = False  # messages to send
        self._is_listening = False  # for messages of the peers
        self._past = {
            "sent": 0,
            "confirmed": 0,
            "abandoned": 0,
            "dropped": 0,
            "garbled": 0,
        }  # of closed links
        self._drops = Rarely()
        self._stack = AsyncExitStack()

    @property
    def metadata(self) -> Mapping[str, str]:
        """What peers need to know besides the address: the public key of this run."""
        return MappingProxyType({KEY_METADATA: self._keys.public_hex})

    @property
    def counts(self) -> MeshCounts:
        """What became of the messages so far; only once entered."""
        links, inlet = self._links.values(), self._inlet.counts
        return MeshCounts(
            sent=self._past["sent"] + sum(link.sent for link in links),
            confirmed=self._past["confirmed"] + sum(link.confirmed for link in links),
            unconfirmed=sum(link.unconfirmed for link in links),
            abandoned=self._past["abandoned"],
            dropped=self._past["dropped"] + sum(link.dropped for link in links),
            received=inlet.received,
            lost=inlet.lost,
            duplicates=inlet.duplicates,
            refused=inlet.refused,
            garbled=self._past["garbled"] + inlet.garbled + sum(link.garbled for link in links),
            strangers=self._gate.strangers,
        )

    @property
    def skipped(self) -> frozenset[str]:
        """The ids of the members that can never be peers, of those applied last."""
        return frozenset(self._skipped)

    def established(self) -> frozenset[str]:
        """Return the ids of the peers that have answered lately."""
        now_s = self._now_s()
        return frozenset(link.peer.cluster_id for link in self._links.values() if link.is_established(now_s))

    def publish(self, message: Message) -> None:
        """Send `message` to every peer; never waits. What cannot be sent is dropped and counted."""
        if not (self._links or self._unopened) or message.topic.startswith("$"):
            return
        if not self._is_taking:
            self._drop(len(self._links) + self._unopened, "the mesh is closing")
            return
        try:
            check_topic(message.topic)
            for link in self._links.values():
                if not link.send(message):
                    self._note_drop(1, f"peer={link.peer.cluster_id!r} has {link.unconfirmed} unconfirmed")
            if self._unopened:
                self._drop(self._unopened, f"{self._unopened} peers have no link")
        except WireError as error:
            self._drop(len(self._links) + self._unopened, str(error))

    def apply(self, peers: frozenset[Member]) -> None:
        """Make the links equal `peers`: open new ones, replace changed ones, close the others."""
        wanted = self._readable(peers)
        for key, link in tuple(self._links.items()):
            peer = wanted.get(key)
            if peer is None or peer.address != link.peer.address:
                self._close(link)
            else:
                link.peer = peer
        for key, peer in wanted.items():
            if key not in self._links:
                self._open(peer)
        self._unopened = len(wanted.keys() - self._links.keys())
        self._inlet.admit({key: peer.cluster_id for key, peer in wanted.items()})
        self._gate.admit(frozenset(wanted), self._now_s())

    def stop_listening(self) -> None:
        """Take no more messages from the peers, nor confirm any: the local broker is about to stop."""
        if self._is_listening:
            self._is_listening = False
            self._inlet.acknowledge()
            # Nobody reads any more: a descriptor that stays readable would keep the loop spinning.
            asyncio.get_running_loop().remove_reader(self._listener.FD)

    def _readable(self, members: frozenset[Member]) -> dict[str, Peer]:
        """Return the peers among `members` by key; log once why another is none."""
        found: dict[str, Peer] = {}
        skipped: dict[str, str] = {}
        # A node that changed its id may have left its old file: the newer one holds.
        for member in sorted(members, key=lambda each: (-each.modified_s, each.cluster_id)):
            try:
                peer = read_peer(member)
            except PeerError as error:
                skipped[member.cluster_id] = str(error)
                continue
            if peer.key == self._keys.public_hex:
                skipped[member.cluster_id] = (
                    "its key is this node's own: a file that it left under another id"
                )
                continue
            if found.setdefault(peer.key, peer) is not peer:
                skipped[member.cluster_id] = f"its key is that of {found[peer.key].cluster_id!r}"
        for cluster_id in sorted(skipped):
            if self._skipped.get(cluster_id) != skipped[cluster_id]:
                log.warning("mesh.skipped peer=%r reason=%s", cluster_id, skipped[cluster_id])
        self._skipped = skipped
        return found

    def _open(self, peer: Peer) -> None:
        incarnation = next(self._incarnations)
        try:
            link = Link(self._context, peer, self._keys, incarnation, self._limits)
        except zmq.ZMQError as error:
            log.warning("mesh.unreachable peer=%r address=%s error=%s", peer.cluster_id, peer.address, error)
            return
        self._links[peer.key] = link
        self._watch(link.socket, link)
        link.tend(self._now_s())
        if peer.address.ip is None:
            name = f"dial {peer.cluster_id!r}"
            self._dialling[link] = self._tasks.create_task(dial(link, self._find_addresses), name=name)
        log.info("mesh.connecting peer=%r address=%s", peer.cluster_id, peer.address)

    def _close(self, link: Link, linger_ms: int = 0) -> None:
        del self._links[link.peer.key]
        if (dialling := self._dialling.pop(link, None)) is not None:
            dialling.cancel()
        link.read(self._now_s())
        asyncio.get_running_loop().remove_reader(link.socket.FD)
        link.close(linger_ms)
        self._ready.discard(link)
        self._past["sent"] += link.sent
        self._past["confirmed"] += link.confirmed
        self._past["abandoned"] += link.unconfirmed
        self._past["dropped"] += link.dropped
        self._past["garbled"] += link.garbled
        level = logging.WARNING if link.unconfirmed else logging.INFO
        log.log(level, "mesh.closed peer=%r abandoned=%s", link.peer.cluster_id, link.unconfirmed)

    def _drop(self, count: int, reason: str) -> None:
        self._past["dropped"] += count
        self._note_drop(count, reason)

    def _note_drop(self, count: int, reason: str) -> None:
        self._drops.add(count)
        if due := self._drops.due(self._now_s()):
            log.warning("mesh.dropped count=%s last=%s", due, reason)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            stack.push_async_callback(asyncio.to_thread, self._context.term)
            self._gate = Gate(self._context, self._look_now)
            stack.callback(self._gate.socket.close)
            self._listener = self._context.socket(zmq.ROUTER)
            stack.callback(self._listener.close, _LINGER_MS)
            self._inlet = Inlet(
                self._listener, self._keys.public_hex, self._deliver, self._look_now, self._limits.bytes
            )
            self.port = await listen(self._listener, self._bind, self._keys, self._find_addresses)
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for socket in (self._gate.socket, self._listener):
                self._watch(socket)
                stack.callback(asyncio.get_running_loop().remove_reader, socket.FD)
            self._is_taking = self._is_listening = True
            serving = self._tasks.create_task(self._serve(), name="mesh")
            stack.callback(serving.cancel)
            self._stack = stack.pop_all()
        log.info("mesh.listening address=%s port=%s", self._bind[0] or "*", self.port)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_taking = False
        try:
            await self._drain()
        finally:
            self.stop_listening()
            now_s = self._now_s()
            for link in tuple(self._links.values()):
                if is_up := link.is_established(now_s):
                    link.say_goodbye()
                self._close(link, _LINGER_MS if is_up else 0)
            self._inlet.report(self._now_s(), is_last=True)
            # A failure of our own comes as a cancellation, which the group turns into that failure. Any
            # other error is the caller's: the group must not wrap it.
            if not isinstance(exc, asyncio.CancelledError):
                exc_type = exc = traceback = None
            await self._stack.__aexit__(exc_type, exc, traceback)

    async def _drain(self) -> None:
        """Wait until the peers that answer have confirmed everything, but not for long."""
        end_s = self._now_s() + DRAIN_S
        while (now_s := self._now_s()) < end_s:
            if not any(link.unconfirmed and link.is_established(now_s) for link in self._links.values()):
                return
            await asyncio.sleep(0.01)

    def _watch(self, socket: "zmq.Socket[bytes]", link: Link | None = None) -> None:
        # ZeroMQ's descriptor tells of changes only, and sending can use a change up: whoever is woken
        # reads until there is nothing left, and every tick looks again.
        asyncio.get_running_loop().add_reader(socket.FD, self._rouse, link)

    def _rouse(self, link: Link | None) -> None:
        if link is not None:
            self._ready.add(link)
        self._wake.set()

    def _tick(self) -> None:
        self._is_ticking = True
        self._wake.set()

    async def _serve(self) -> None:
        """Answer, receive and tend whenever a socket or the time calls for it."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(TICK_S, self._tick)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                now_s = self._now_s()
                self._gate.answer(now_s)
                if self._is_ticking:
                    self._is_ticking = False
                    timer = loop.call_later(TICK_S, self._tick)
                    self._tend(now_s)
                else:
                    for link in self._ready:
                        link.read(now_s)
                self._ready.clear()
                if self._is_listening and await self._inlet.receive(_BATCH):
                    self._wake.set()
                    await asyncio.sleep(0)
        finally:
            timer.cancel()

    def _tend(self, now_s: float) -> None:
        self._gate.settle(now_s)
        for link in self._links.values():
            link.tend(now_s)
        if self._is_listening:
            self._inlet.acknowledge()
        self._inlet.report(now_s)
        if due := self._drops.due(now_s):
            log.warning("mesh.dropped count=%s", due)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
