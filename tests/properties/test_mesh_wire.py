from hypothesis import given
from hypothesis import strategies as st

from s3discovery.mesh import wire
from s3discovery.mesh.reception import Reception
from s3discovery.mesh.wire import ACK, HELLO, NO_MESSAGE, PUBLISH, Frame, Message, WireError

U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TOPIC = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="#+\0"), min_size=1, max_size=40
).filter(lambda topic: topic[0] != "$")
MESSAGE = st.builds(Message, TOPIC, st.binary(max_size=200), st.integers(0, 2), st.booleans())
FRAME = st.builds(Frame, st.sampled_from([HELLO, ACK]), U64, U64, TEXT, st.just(NO_MESSAGE)) | st.builds(
    Frame, st.just(PUBLISH), U64, U64, TEXT, MESSAGE
)


@given(FRAME)
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    assert wire.decode(wire.encode(frame)) == frame


@given(st.binary(max_size=120) | st.binary(max_size=120).map(lambda tail: b"\x01\x02\x00\x00" + tail))
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    try:
        frame = wire.decode(data)
    except WireError:
        return
    assert wire.encode(frame) == data


@given(FRAME, st.data())
def test_a_damaged_frame_never_crashes_the_decoder(frame: Frame, data: st.DataObject) -> None:
    body = bytearray(wire.encode(frame))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for damaged in (bytes(body), bytes(body[:cut])):
        try:
            wire.decode(damaged)
        except WireError:
            continue


@given(st.lists(st.integers(1, 30)), st.integers(0, 40))
def test_each_message_is_delivered_once_or_lost(arrivals: list[int], sent: int) -> None:
    """Whatever order a faulty way makes of them: delivered and lost add up to what was sent."""
    reception = Reception()
    delivered = []
    lost = 0
    for sequence in arrivals:
        gap = reception.take(1, sequence)
        if gap is not None:
            delivered.append(sequence)
            lost += gap
    lost += reception.reach(1, sent)
    assert delivered == sorted(set(delivered))
    assert len(delivered) + lost == max([sent, *arrivals])
