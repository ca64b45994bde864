"""The way to one peer: sends, and keeps account of what the peer has confirmed.

Nothing is sent twice. While a peer is away its messages wait in the socket, up to a limit; beyond it
they are dropped and counted.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import zmq
from zmq.utils import z85

from s3discovery.mesh import wire
from s3discovery.mesh.peer import Peer
from s3discovery.mesh.wire import Frame, Message, WireError

HANDSHAKE_MS: Final = 1000  # a stranger is held for less than this by the gate of its peer
RECONNECT_FIRST_MS: Final = 50
RECONNECT_LAST_MS: Final = 1000
HEARTBEAT_MS: Final = 2000  # a peer whose machine vanished is noticed within two of these
HELLO_S: Final = 2.0  # between two hellos that are answered
HELLO_LIMIT_S: Final = 8.0  # between two that are not: they wait in the socket of a peer that is away
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
        """Begin to connect; returns at once. Raises zmq.ZMQError for an endpoint that is none."""
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
        socket.ipv6 = self.peer.is_ipv6
        socket.curve_publickey = keys.public
        socket.curve_secretkey = keys.secret
        socket.curve_serverkey = bytes.fromhex(self.peer.key)
        socket.connect(self.peer.endpoint)

    @property
    def unconfirmed(self) -> int:
        """How many messages were sent and are not confirmed."""
        return len(self._sizes)

    def is_established(self, now_s: float) -> bool:
        """Whether the peer has answered lately."""
        return now_s - self._heard_s < HEARD_S

    def send(self, message: Message) -> bool:
        """Send `message`, or drop and count it where the link holds too much already."""
        frame = wire.encode(Frame(wire.PUBLISH, self._incarnation, self.sent + 1, self._origin, message))
        size = len(frame)
        if len(self._sizes) >= self._limits.messages or self._held_bytes + size > self._limits.bytes:
            self.dropped += 1
            return False
        self.socket.send(frame, zmq.NOBLOCK)
        self.sent += 1
        self._sizes.append(size)
        self._held_bytes += size
        return True

    def tend(self, now_s: float) -> None:
        """Read the acks, and say hello when it is time."""
        self.read(now_s)
        if now_s < self._next_hello_s:
            return
        self.socket.send(
            wire.encode(Frame(wire.HELLO, self._incarnation, self.sent, self._origin)), zmq.NOBLOCK
        )
        self._hello_every_s = HELLO_S if self._is_answered else min(self._hello_every_s * 2, HELLO_LIMIT_S)
        self._next_hello_s = now_s + self._hello_every_s
        self._is_answered = False

    def say_goodbye(self) -> None:
        """Tell the peer that this node has left, so that it looks at the bucket at once."""
        self.socket.send(
            wire.encode(Frame(wire.GOODBYE, self._incarnation, self.sent, self._origin)), zmq.NOBLOCK
        )

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
            if frame.kind != wire.ACK or frame.incarnation != self._incarnation or frame.sequence > self.sent:
                self.garbled += 1
                continue
            self._heard_s = now_s
            self._is_answered = True
            for _ in range(frame.sequence - self.confirmed):
                self._held_bytes -= self._sizes.popleft()
            self.confirmed = max(self.confirmed, frame.sequence)

    def close(self, linger_ms: int = 0) -> None:
        """Give the link up, with whatever still waits in it after `linger_ms`; returns at once."""
        self.socket.close(linger=linger_ms)
