"""What comes in: messages of the peers, in order, each once, and only from current members."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import zmq

from s3discovery.mesh import wire
from s3discovery.mesh.assembly import Assembly
from s3discovery.mesh.rarely import Rarely
from s3discovery.mesh.reception import Reception
from s3discovery.mesh.wire import Frame, Message, WireError, WireVersionError

log = logging.getLogger(__name__)

Deliver = Callable[[Message], Awaitable[None]]

_ACK_EVERY = 256  # messages; otherwise acks go out with the next tick
_FORGOTTEN_LIMIT = 1024  # accounts kept of those who are no members now, but may come back


@dataclass(slots=True)
class InletCounts:
    """What came in; see MeshCounts."""

    received: int = 0
    lost: int = 0
    duplicates: int = 0
    refused: int = 0
    garbled: int = 0


class Inlet:
    """The receiving end; `admit` says who is a member. `look_now` is called when one says goodbye."""

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        origin: str,
        deliver: Deliver,
        look_now: Callable[[], None],
        message_limit_bytes: int,
    ) -> None:
        self.counts = InletCounts()
        self._socket = socket
        self._origin = origin
        self._deliver = deliver
        self._look_now = look_now
        self._members: Mapping[str, str] = {}  # cluster ids by key
        self._receptions: dict[str, Reception] = {}  # by key
        self._message_limit_bytes = message_limit_bytes
        self._assemblies: dict[str, Assembly] = {}  # by key: of members whose large message is on its way
        self._due: dict[str, tuple[bytes, int]] = {}  # by key: route and number of messages to confirm
        self._reports = {name: Rarely() for name in ("lost", "refused", "garbled")}
        self._reasons = dict.fromkeys(self._reports, "")
        self._old_releases: set[str] = set()

    def admit(self, members: Mapping[str, str]) -> None:
        """Take messages from exactly `members` (cluster ids by key in hexadecimal) from now on."""
        self._members = members
        self._due = {key: due for key, due in self._due.items() if key in members}
        self._assemblies = {key: each for key, each in self._assemblies.items() if key in members}
        gone = [key for key in self._receptions if key not in members]
        for key in gone[: max(0, len(gone) - _FORGOTTEN_LIMIT)]:
            del self._receptions[key]

    async def receive(self, limit: int) -> bool:
        """Deliver what has come in, at most `limit` frames; tell whether there may be more."""
        for _ in range(limit):
            try:
                route = self._socket.recv(zmq.NOBLOCK)
                body = self._socket.recv(zmq.NOBLOCK, copy=False)
                is_split = body.more
                while body.more:
                    body = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            await self._take(route, str(body.get("User-Id")), b"" if is_split else body.bytes)
        return True

    async def _take(self, route: bytes, key: str, data: bytes) -> None:
        cluster_id = self._members.get(key)
        if cluster_id is None:
            self.counts.refused += 1
            self._note("refused", f"key={key!r} is no member's")
            return
        try:
            frame = wire.decode(data)
        except WireVersionError as error:
            self.counts.garbled += 1
            if key not in self._old_releases:
                self._old_releases.add(key)
                log.warning("mesh.version peer=%r error=%s", cluster_id, error)
            return
        except WireError as error:
            self._garbled(cluster_id, str(error))
            return
        if frame.origin != key:
            self._garbled(cluster_id, f"it says it is {frame.origin[:80]!r}")
        elif frame.kind == wire.PART:
            await self._part(route, cluster_id, frame)
        else:
            if self._assemblies:
                self._assemblies.pop(key, None)  # parts come without a break: the rest was lost on its way
            if frame.kind == wire.PUBLISH:
                await self._publish(route, cluster_id, frame)
            else:
                self._heed(route, cluster_id, frame)

    def _heed(self, route: bytes, cluster_id: str, frame: Frame) -> None:
        """Act on a frame that carries no message."""
        if frame.kind == wire.HELLO:
            reception = self._receptions.setdefault(frame.origin, Reception())
            self._lost(cluster_id, reception.reach(frame.incarnation, frame.sequence))
            self._acknowledge(route, frame.origin)
        elif frame.kind == wire.GOODBYE:
            self._look_now()
        else:
            self._garbled(cluster_id, f"kind {frame.kind} means nothing here")

    async def _part(self, route: bytes, cluster_id: str, part: Frame) -> None:
        assembly = self._assemblies.setdefault(part.origin, Assembly(self._message_limit_bytes))
        try:
            frame = assembly.add(part)
        except WireError as error:
            self._garbled(cluster_id, str(error))
            frame = None
        if not assembly.held_bytes:
            del self._assemblies[part.origin]
        if frame is not None:
            await self._publish(route, cluster_id, frame)

    async def _publish(self, route: bytes, cluster_id: str, frame: Frame) -> None:
        key = frame.origin
        reception = self._receptions.setdefault(key, Reception())
        lost = reception.take(frame.incarnation, frame.sequence)
        if lost is None:
            self.counts.duplicates += 1
            return
        self._lost(cluster_id, lost)
        await self._deliver(frame.message)
        self.counts.received += 1
        _, waiting = self._due.get(key, (b"", 0))
        self._due[key] = (route, waiting + 1)
        if waiting + 1 >= _ACK_EVERY:
            self._acknowledge(route, key)

    def acknowledge(self) -> None:
        """Confirm all that came in and is not confirmed yet."""
        for key, (route, _) in tuple(self._due.items()):
            self._acknowledge(route, key)

    def _acknowledge(self, route: bytes, key: str) -> None:
        self._due.pop(key, None)
        reception = self._receptions[key]
        ack = wire.encode(Frame(wire.ACK, reception.incarnation, reception.sequence, self._origin))
        # A route that is gone, or full as its peer does not read, loses the ack: the next one says it all.
        self._socket.send_multipart([route, ack], zmq.NOBLOCK)

    def report(self, now_s: float, *, is_last: bool = False) -> None:
        """Log what was lost, refused or garbled since the last report, now and then."""
        for name, rarely in self._reports.items():
            if count := rarely.flush(now_s) if is_last else rarely.due(now_s):
                log.warning("mesh.%s count=%s last=%s", name, count, self._reasons[name])

    def _lost(self, cluster_id: str, count: int) -> None:
        if count:
            self.counts.lost += count
            self._note("lost", f"peer={cluster_id!r}", count)

    def _garbled(self, cluster_id: str, reason: str) -> None:
        self.counts.garbled += 1
        self._note("garbled", f"peer={cluster_id!r}: {reason}")

    def _note(self, name: str, reason: str, count: int = 1) -> None:
        self._reports[name].add(count)
        self._reasons[name] = reason
