import pytest

from s3discovery.mesh import wire
from s3discovery.mesh.wire import ACK, HELLO, PUBLISH, Frame, Message, WireError, WireVersionError

BODY = bytes.fromhex(
    "01 02 05 00 0000000000000007 0000000000000009 0001 0003".replace(" ", "")
)  # publish, QoS 1, retained, link 7, message 9


def test_a_publish_is_laid_out_as_documented() -> None:
    frame = Frame(PUBLISH, 7, 9, "a", Message("t/x", b"\x00hi", 1, retain=True))
    assert wire.encode(frame) == BODY + b"at/x\x00hi"
    assert wire.decode(BODY + b"at/x\x00hi") == frame


@pytest.mark.parametrize("kind", [HELLO, ACK])
def test_a_hello_and_an_ack_carry_no_message(kind: int) -> None:
    frame = Frame(kind, 2**64 - 1, 2**64 - 1, "node-é")
    assert wire.decode(wire.encode(frame)) == frame
    with pytest.raises(WireError, match="carries a message"):
        wire.decode(wire.encode(frame) + b"x")


def test_a_kind_of_later_is_returned_as_it_is() -> None:
    frame = wire.decode(BODY[:1] + b"\x09" + BODY[2:] + b"a$\0#payload")
    assert (frame.kind, frame.message.payload) == (9, b"payload")


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_told_apart(version: int) -> None:
    with pytest.raises(WireVersionError, match=f"version {version} is not 1"):
        wire.decode(bytes([version]) + BODY[1:] + b"at/x")
    with pytest.raises(WireVersionError):
        wire.decode(bytes([version]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty frame"),
        (b"\x01", "shorter than its header"),
        (BODY[:-1], "shorter than its header"),
        (BODY + b"at/", "shorter than the texts"),
        (BODY[:2] + b"\x03" + BODY[3:] + b"at/x", "flags 0x03"),
        (BODY[:2] + b"\x08" + BODY[3:] + b"at/x", "flags 0x08"),
        (BODY[:3] + b"\x01" + BODY[4:] + b"at/x", "zero byte"),
        (BODY + b"\xfft/x", "not UTF-8"),
        (BODY + b"at\xff/", "not UTF-8"),
        (BODY + b"at/#", "not one to publish to"),
        (BODY + b"a+/x", "not one to publish to"),
        (BODY + b"a$SY", "not one to publish to"),
        (BODY + b"at\0x", "not one to publish to"),
        (BODY[:22] + b"\0\0a", "topic is empty"),
    ],
)
def test_what_is_no_frame_is_an_error_that_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        wire.decode(data)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(PUBLISH, 1, 1, "a", Message("", b"", 0)),
        Frame(PUBLISH, 1, 1, "a", Message("$SYS/x", b"", 0)),
        Frame(PUBLISH, 1, 1, "a", Message("t" * 65_536, b"", 0)),
        Frame(PUBLISH, 1, 1, "a", Message("t\ud800", b"", 0)),
        Frame(PUBLISH, 1, 1, "a", Message("t", b"", 3)),
        Frame(PUBLISH, 1, 1, "a", Message("t", b"", -1)),
        Frame(PUBLISH, 2**64, 1, "a", Message("t", b"", 0)),
        Frame(PUBLISH, 1, -1, "a", Message("t", b"", 0)),
        Frame(HELLO, 1, 1, "a" * 65_536),
    ],
)
def test_what_cannot_be_written_is_an_error(frame: Frame) -> None:
    with pytest.raises(WireError):
        wire.encode(frame)
