"""What travels between brokers: one frame, to bytes and back. Pure.

    offset  bytes  field
    0       1      version, 1
    1       1      kind: 1 hello, 2 publish, 3 ack, 4 goodbye; others are for later
    2       1      flags: bits 0-1 QoS, bit 2 retain; the rest is zero
    3       1      zero
    4       8      incarnation of the link, larger for each link a node opens
    12      8      sequence
    20      2      length of the origin in bytes
    22      2      length of the topic in bytes
    24      ...    origin, topic (both UTF-8), payload (the rest)

Integers are big-endian. A sequence counts the messages of one link from 1. A hello says what was sent
so far, an ack what arrived so far, and a goodbye that its sender has left the bucket; these have neither
topic nor payload. The origin is the public key of the run that the frame comes from, in hexadecimal: a
node may change its id while it runs. The decoder is strict: any bytes are a frame or a WireError.
"""

import struct
from typing import Final, NamedTuple

from s3discovery.errors import BrokerError

VERSION: Final = 1
HELLO: Final = 1
PUBLISH: Final = 2
ACK: Final = 3
GOODBYE: Final = 4
KINDS: Final = frozenset({HELLO, PUBLISH, ACK, GOODBYE})

_HEADER = struct.Struct("!BBBBQQHH")
_QOS_MASK = 0b011
_RETAIN = 0b100
_TEXT_LIMIT = 65_535  # bytes; MQTT's limit for a topic, and what the length fields hold
_U64_LIMIT = 2**64
HEADER_LIMIT_BYTES: Final = _HEADER.size + 2 * _TEXT_LIMIT


class WireError(BrokerError):
    """Bytes that are not a frame, or a message that cannot be written as one."""


class WireVersionError(WireError):
    """A frame of a version that this release does not know."""


class Message(NamedTuple):
    """An MQTT message between brokers; a tuple, as one is made for each that passes."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False


NO_MESSAGE: Final = Message("", b"", 0)


class Frame(NamedTuple):
    """One frame; `message` is NO_MESSAGE except in a PUBLISH (and kinds not known)."""

    kind: int
    incarnation: int
    sequence: int
    origin: str
    message: Message = NO_MESSAGE


def check_topic(topic: str) -> None:
    """Raise WireError unless clients may publish to `topic`: no wildcards, no NUL, no leading `$`."""
    if not topic:
        raise WireError("the topic is empty")
    if topic[0] == "$" or "#" in topic or "+" in topic or "\0" in topic:
        raise WireError(f"topic {topic[:80]!r} is not one to publish to")


def encode(frame: Frame) -> bytes:
    """Return the bytes of `frame`; raises WireError for what cannot be written."""
    kind, incarnation, sequence, origin, (topic, payload, qos, retain) = frame
    if kind == PUBLISH:
        check_topic(topic)
    if not 0 <= qos <= 2:
        raise WireError(f"QoS {qos} is not 0, 1 or 2")
    if not (0 <= incarnation < _U64_LIMIT and 0 <= sequence < _U64_LIMIT):
        raise WireError(f"incarnation {incarnation} or sequence {sequence} is not an unsigned 64-bit number")
    try:
        origin_bytes, topic_bytes = origin.encode(), topic.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"topic {topic[:80]!r} of {origin[:80]!r} is not Unicode text") from error
    if len(origin_bytes) > _TEXT_LIMIT or len(topic_bytes) > _TEXT_LIMIT:
        raise WireError(f"origin or topic is longer than {_TEXT_LIMIT} bytes")
    flags = qos | _RETAIN if retain else qos
    header = _HEADER.pack(VERSION, kind, flags, 0, incarnation, sequence, len(origin_bytes), len(topic_bytes))
    return b"".join((header, origin_bytes, topic_bytes, payload))


def decode(data: bytes) -> Frame:
    """Return the frame that `data` is.

    A kind of this version that is not known is returned as it is: the receiver ignores it. Raises
    WireVersionError for another version, WireError for anything else."""
    if not data:
        raise WireError("an empty frame")
    if data[0] != VERSION:
        raise WireVersionError(f"frame version {data[0]} is not {VERSION}; run the same release on all nodes")
    if len(data) < _HEADER.size:
        raise WireError(f"a frame of {len(data)} bytes is shorter than its header")
    _, kind, flags, zero, incarnation, sequence, origin_size, topic_size = _HEADER.unpack_from(data)
    topic_at = _HEADER.size + origin_size
    payload_at = topic_at + topic_size
    qos = flags & _QOS_MASK
    if zero or qos > 2 or flags & ~(_QOS_MASK | _RETAIN):
        raise WireError(f"flags {flags:#04x} or the zero byte {zero:#04x} mean nothing")
    if payload_at > len(data):
        raise WireError(f"a frame of {len(data)} bytes is shorter than the texts it names")
    try:
        origin, topic = data[_HEADER.size : topic_at].decode(), data[topic_at:payload_at].decode()
    except UnicodeDecodeError as error:
        raise WireError("origin or topic is not UTF-8") from error
    if kind == PUBLISH:
        check_topic(topic)
    elif kind in KINDS and (flags or len(data) != topic_at):
        raise WireError(f"a frame of kind {kind} carries a message")
    message = Message(topic, data[payload_at:], qos, bool(flags & _RETAIN))
    return Frame(kind, incarnation, sequence, origin, message)
