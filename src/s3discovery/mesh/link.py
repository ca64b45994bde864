"""The way to one peer: sends, and keeps account of what the peer has confirmed.

Nothing is sent twice. Until a peer answers, and while it is away, its messages wait here, up to a limit;
beyond it they are dropped and counted. They are not left to the socket, which would forget them when
the peer is found at another address.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import zmq
from zmq.utils import z85

from s3discovery.ip import IP
from s3discovery.mesh import wire
from s3discovery.mesh.peer import Peer, endpoint_of
from s3discovery.mesh.wire import Frame, Message, WireError

HANDSHAKE_MS: Final = 1000  # a stranger is held for less than this by the gate of its peer
RECONNECT_FIRST_MS: Final = 50
RECONNECT_LAST_MS: Final = 1000
HEARTBEAT_MS: Final = 2000  # a peer whose machine vanished is noticed within two of these
HELLO_S: Final = 2.0  # between two hellos that are answered
HELLO_LIMIT_S: Final = 300.0  # between two that are not: they wait in the socket of a peer that is away
HEARD_S: Final = 5.0  # without an ack for so long, a link does not count as established


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair as ZeroMQ makes it (Z85 text); the secret half is never shown."""

    public: bytes
    secret: bytes

    @classmethod
    def new(cls) -> "KeyPair":
        """Make a pair."""
        return cls(*zmq.curve_keypair())

    @property
    def public_hex(self) -> str:
        """The public key in hexadecimal."""
        return bytes(z85.decode(self.public)).hex()

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public_hex})"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a link may hold unconfirmed: messages, and bytes of their frames."""

    messages: int = 10_000
    bytes: int = 64 * 1024 * 1024


class Link:
    """One peer, as its sender sees it."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        peer: Peer,
        keys: KeyPair,
        incarnation: int,
        limits: Limits,
    ) -> None:
        """Begin to connect, if the peer has an IP address; returns at once. Raises zmq.ZMQError."""
        self.peer = peer
        self.dropped = 0
        self.sent = 0
        self.confirmed = 0
        self.garbled = 0
        self._origin = keys.public_hex
        self._incarnation = incarnation
        self._limits = limits
        self._sizes: deque[int] = deque()  # of the frames not confirmed yet, oldest first
        self._held_bytes = 0
        self._waiting: deque[bytes] = deque()  # frames that are not in the socket yet
        self._is_up = False  # it has answered at this address, and lately
        self._endpoint = ""
        self._heard_s = float("-inf")
        self._hello_every_s = HELLO_S
        self._next_hello_s = float("-inf")
        self._is_answered = True
        self.socket = context.socket(zmq.DEALER)
        try:
            self._open(keys)
        except zmq.ZMQError:
            self.socket.close()
            raise

    def _open(self, keys: KeyPair) -> None:
        socket = self.socket
        socket.linger = 0
        socket.sndhwm = 0  # the limits above hold instead: they count bytes too, and never lose silently
        socket.reconnect_ivl = RECONNECT_FIRST_MS
        socket.reconnect_ivl_max = RECONNECT_LAST_MS
        socket.handshake_ivl = HANDSHAKE_MS
        socket.heartbeat_ivl = HEARTBEAT_MS
        socket.heartbeat_timeout = HEARTBEAT_MS
        socket.maxmsgsize = wire.HEADER_LIMIT_BYTES  # acks are all that comes back
        socket.curve_publickey = keys.public
        socket.curve_secretkey = keys.secret
        socket.curve_serverkey = bytes.fromhex(self.peer.key)
        if (ip := self.peer.address.ip) is not None:
            self._dial(ip)

    def _dial(self, ip: IP) -> None:
        self.socket.ipv6 = ip.version == 6
        endpoint = endpoint_of(ip, self.peer.address.port)
        self.socket.connect(endpoint)
        self._endpoint = endpoint

    def connect(self, ip: IP, now_s: float) -> None:
        """Find the peer at `ip` from now on. Raises zmq.ZMQError.

        What the socket still holds for the address before is lost, and counted so by the peer."""
        if self._endpoint:
            self.socket.disconnect(self._endpoint)
        self._endpoint = ""
        self._is_up = False
        self._dial(ip)
        self._hello_every_s = HELLO_S
        self._next_hello_s = now_s
        self.tend(now_s)

    @property
    def unconfirmed(self) -> int:
        """How many messages were sent and are not confirmed."""
        return len(self._sizes)

    def is_established(self, now_s: float) -> bool:
        """Whether the peer has answered lately."""
        return now_s - self._heard_s < HEARD_S

    def send(self, message: Message) -> bool:
        """Send `message`, or drop and count it where the link holds too much already."""
        frame = Frame(wire.PUBLISH, self._incarnation, self.sent + 1, self._origin, message)
        data = wire.encode(frame)
        size = len(data)
        if len(self._sizes) >= self._limits.messages or self._held_bytes + size > self._limits.bytes:
            self.dropped += 1
            return False
        if not self._is_up:
            self._waiting.append(data)
        elif size <= wire.FRAME_LIMIT_BYTES:
            self.socket.send(data, zmq.NOBLOCK)
        else:
            self._pass(data)
        self.sent += 1
        self._sizes.append(size)
        self._held_bytes += size
        return True

    def _pass(self, data: bytes) -> None:
        """Hand a frame to the socket, in parts if it is large."""
        if len(data) <= wire.FRAME_LIMIT_BYTES:
            self.socket.send(data, zmq.NOBLOCK)
            return
        for part in wire.cut(data):
            self.socket.send(part, zmq.NOBLOCK)

    def _answered(self, now_s: float) -> None:
        """Note that the peer is there, and pass on what has waited for that."""
        self._heard_s = now_s
        self._is_answered = self._is_up = True
        while self._waiting:
            self._pass(self._waiting.popleft())

    def tend(self, now_s: float) -> None:
        """Read the acks, and say hello when it is time."""
        self.read(now_s)
        self._is_up = self._is_up and self.is_established(now_s)
        if now_s < self._next_hello_s or not self._endpoint:
            return
        self._tell(wire.HELLO)
        self._hello_every_s = HELLO_S if self._is_answered else min(self._hello_every_s * 2, HELLO_LIMIT_S)
        self._next_hello_s = now_s + self._hello_every_s
        self._is_answered = False

    def say_goodbye(self) -> None:
        """Tell the peer that this node has left, so that it looks at the bucket at once."""
        self._tell(wire.GOODBYE)

    def _tell(self, kind: int) -> None:
        frame = Frame(kind, self._incarnation, self._passed, self._origin)
        self.socket.send(wire.encode(frame), zmq.NOBLOCK)

    @property
    def _passed(self) -> int:
        """How many messages the socket has been given: all that the peer can know of."""
        return self.sent - len(self._waiting)

    def read(self, now_s: float) -> None:
        """Take in what the peer has confirmed."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                frame = wire.decode(parts[-1])
            except WireError:
                self.garbled += 1
                continue
            is_ours = frame.kind == wire.ACK and frame.incarnation == self._incarnation
            if not is_ours or frame.sequence > self._passed:
                self.garbled += 1
                continue
            for _ in range(frame.sequence - self.confirmed):
                self._held_bytes -= self._sizes.popleft()
            self.confirmed = max(self.confirmed, frame.sequence)
            self._answered(now_s)

    def close(self, linger_ms: int = 0) -> None:
        """Give the link up, with whatever still waits in it after `linger_ms`; returns at once."""
        self.socket.close(linger=linger_ms)
