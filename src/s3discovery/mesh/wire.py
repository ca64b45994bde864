"""What travels between brokers: one frame, to bytes and back. Pure.

    offset  bytes  field
    0       1      version, 1
    1       1      kind: 1 hello, 2 publish, 3 ack, 4 goodbye, 5 part; others are for later
    2       1      flags: bits 0-1 QoS, bit 2 retain; the rest is zero
    3       1      zero
    4       8      incarnation of the link, larger for each link a node opens
    12      8      sequence
    20      2      length of the origin in bytes
    22      2      length of the topic in bytes
    24      ...    origin, topic (both UTF-8), payload (the rest)

Integers are big-endian. No frame is longer than FRAME_LIMIT_BYTES: a listener must take a frame in before it
knows who sends it. A publish that would be is cut into parts, sent one after the other, each a frame with
the same incarnation and sequence, no topic, and for a payload

    0       4      offset of the piece
    4       4      length of the whole publish frame
    8       ...    the piece

A sequence counts the messages of one link from 1. A hello says what was sent
so far, an ack what arrived so far, and a goodbye that its sender has left the bucket; these have neither
topic nor payload. The origin is the public key of the run that the frame comes from, in hexadecimal: a
node may change its id while it runs. The decoder is strict: any bytes are a frame or a WireError.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from s3discovery.errors import BrokerError

VERSION: Final = 1
HELLO: Final = 1
PUBLISH: Final = 2
ACK: Final = 3
GOODBYE: Final = 4
PART: Final = 5
KINDS: Final = frozenset({HELLO, PUBLISH, ACK, GOODBYE, PART})

_HEADER = struct.Struct("!BBBBQQHH")
_QOS_MASK = 0b011
_RETAIN = 0b100
_TEXT_LIMIT = 65_535  # bytes; MQTT's limit for a topic, and what the length fields hold
_U64_LIMIT = 2**64
HEADER_LIMIT_BYTES: Final = _HEADER.size + 2 * _TEXT_LIMIT
FRAME_LIMIT_BYTES: Final = 256 * 1024  # room for any header; a stranger costs no more than this
_PIECE = struct.Struct("!II")  # offset, whole length


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
    """One frame; `message` is NO_MESSAGE except in a PUBLISH or a PART (and kinds not known)."""

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
    _check_kind(kind, flags, topic, len(data) - payload_at)
    message = Message(topic, data[payload_at:], qos, bool(flags & _RETAIN))
    return Frame(kind, incarnation, sequence, origin, message)


def _check_kind(kind: int, flags: int, topic: str, payload_size: int) -> None:
    """Raise WireError for what a frame of that kind cannot carry."""
    if kind == PUBLISH:
        check_topic(topic)
    elif kind == PART:
        if flags or topic or payload_size <= _PIECE.size:
            raise WireError("a part has flags, a topic or no piece of a message")
    elif kind in KINDS and (flags or topic or payload_size):
        raise WireError(f"a frame of kind {kind} carries a message")


def cut(whole: bytes) -> Iterator[bytes]:
    """Yield the parts of `whole`, the bytes of a publish frame; at most 4 GiB."""
    _, _, _, _, incarnation, sequence, origin_size, _ = _HEADER.unpack_from(whole)
    header = _HEADER.pack(VERSION, PART, 0, 0, incarnation, sequence, origin_size, 0)
    beginning = header + whole[_HEADER.size : _HEADER.size + origin_size]
    room = FRAME_LIMIT_BYTES - len(beginning) - _PIECE.size
    for offset in range(0, len(whole), room):
        yield b"".join((beginning, _PIECE.pack(offset, len(whole)), whole[offset : offset + room]))


def piece(part: Frame) -> tuple[int, int, bytes]:
    """Return what a PART holds: the offset of the piece, the length of the whole, and the piece."""
    offset, whole_size = _PIECE.unpack_from(part.message.payload)
    return offset, whole_size, part.message.payload[_PIECE.size :]
