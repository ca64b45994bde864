"""Large messages in parts: put together in order, within a bound, or given up."""

from itertools import pairwise

import pytest

from s3discovery.mesh import wire
from s3discovery.mesh.assembly import Assembly
from s3discovery.mesh.wire import PART, PUBLISH, Frame, Message, WireError

KEY = "0123456789abcdef" * 4
LIMIT_BYTES = 2_000_000


def large(sequence: int = 1, size: int = 1_000_000, fill: bytes = b"x") -> Frame:
    return Frame(PUBLISH, 7, sequence, KEY, Message("t/é", fill * size, 2, retain=True))


def parts(frame: Frame) -> list[Frame]:
    return [wire.decode(data) for data in wire.cut(wire.encode(frame))]


def part(offset: int, whole_size: int, piece: bytes, sequence: int = 1) -> Frame:
    payload = offset.to_bytes(4, "big") + whole_size.to_bytes(4, "big") + piece
    return Frame(PART, 7, sequence, KEY, Message("", payload, 0))


def test_no_part_is_larger_than_a_frame_may_be() -> None:
    sizes = [len(data) for data in wire.cut(wire.encode(large()))]
    assert max(sizes) == wire.FRAME_LIMIT_BYTES
    assert len(sizes) == 4


def test_what_was_cut_comes_back_as_it_was() -> None:
    assembly = Assembly(LIMIT_BYTES)
    for sequence in (1, 2):
        frame = large(sequence)
        *first, last = parts(frame)
        assert [assembly.add(each) for each in first] == [None] * 3
        assert assembly.add(last) == frame
        assert assembly.held_bytes == 0


def test_a_message_whose_rest_never_comes_gives_way_to_the_next() -> None:
    assembly = Assembly(LIMIT_BYTES)
    for each in parts(large(1, fill=b"1"))[:-1]:
        assembly.add(each)
    *_, whole = [assembly.add(each) for each in parts(large(2, fill=b"2"))]
    assert whole == large(2, fill=b"2")


def test_a_message_too_large_is_refused_at_its_first_part() -> None:
    assembly = Assembly(LIMIT_BYTES)
    with pytest.raises(WireError, match="larger than 2000000"):
        assembly.add(part(0, LIMIT_BYTES + 1, b"x"))
    assert assembly.held_bytes == 0


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([part(5, 10, b"x")], "beginning never came"),
        ([part(0, 10, b"x"), part(2, 10, b"x")], "does not follow"),
        ([part(0, 10, b"x"), part(1, 11, b"x")], "beginning never came"),
        ([part(0, 10, b"x"), part(1, 10, b"x", sequence=2)], "beginning never came"),
        ([part(0, 3, b"four")], "does not follow"),
        ([part(0, 4, b"four")], "frame version"),
    ],
)
def test_parts_that_make_no_message_leave_nothing_behind(sent: list[Frame], reason: str) -> None:
    assembly = Assembly(LIMIT_BYTES)
    *first, last = sent
    for each in first:
        assert assembly.add(each) is None
    with pytest.raises(WireError, match=reason):
        assembly.add(last)
    assert assembly.held_bytes == 0


@pytest.mark.parametrize(
    "inner",
    [
        large(sequence=2),
        Frame(PUBLISH, 8, 1, KEY, Message("t", b"", 0)),
        Frame(PUBLISH, 7, 1, "another", Message("t", b"", 0)),
        Frame(wire.GOODBYE, 7, 1, KEY),
        part(0, 10, b"x"),
    ],
)
def test_parts_of_another_message_than_they_say_are_refused(inner: Frame) -> None:
    whole = wire.encode(inner)
    assembly = Assembly(LIMIT_BYTES)
    with pytest.raises(WireError, match="not those of the message"):
        assembly.add(part(0, len(whole), whole))


def test_every_piece_is_counted_once() -> None:
    offsets = [wire.piece(each)[0] for each in parts(large())]
    lengths = [len(wire.piece(each)[2]) for each in parts(large())]
    assert [later - earlier for earlier, later in pairwise(offsets)] == lengths[:-1]


@pytest.mark.parametrize("payload", [b"", b"\0" * 8])
def test_a_part_without_a_piece_is_no_frame(payload: bytes) -> None:
    with pytest.raises(WireError, match="no piece"):
        wire.decode(wire.encode(Frame(PART, 7, 1, KEY, Message("", payload, 0))))
