"""The pure accounts of the mesh: reception, rarely, peer."""

import pytest

from s3discovery.mesh.dialling import turn
from s3discovery.mesh.peer import PeerError, endpoint_of, read_peer
from s3discovery.mesh.rarely import Rarely
from s3discovery.mesh.reception import Reception
from s3discovery.node import Address, Member

KEY = "0123456789abcdef" * 4


def test_messages_in_order_lose_nothing() -> None:
    reception = Reception()
    assert [reception.take(1, sequence) for sequence in (1, 2, 3)] == [0, 0, 0]


def test_a_gap_is_counted_once_and_a_repeat_is_not_delivered() -> None:
    reception = Reception()
    assert reception.take(1, 1) == 0
    assert reception.take(1, 5) == 3
    assert reception.take(1, 5) is None
    assert reception.take(1, 3) is None
    assert reception.take(1, 6) == 0


def test_a_new_link_begins_anew_and_the_old_one_is_ignored() -> None:
    reception = Reception()
    reception.take(1, 7)
    assert reception.take(2, 1) == 0
    assert reception.take(1, 8) is None
    assert reception.reach(1, 9) == 0
    assert (reception.incarnation, reception.sequence) == (2, 1)


def test_a_hello_tells_of_the_last_messages_that_never_came() -> None:
    reception = Reception()
    assert reception.reach(1, 0) == 0
    reception.take(1, 1)
    assert reception.reach(1, 1) == 0
    assert reception.reach(1, 4) == 3
    assert reception.reach(1, 2) == 0
    assert reception.sequence == 4


def test_the_first_is_due_at_once_and_the_rest_together_later() -> None:
    rarely = Rarely(5)
    assert rarely.due(0) == 0
    rarely.add()
    assert rarely.due(0) == 1
    rarely.add(3)
    rarely.add()
    assert rarely.due(4.9) == 0
    assert rarely.due(5) == 4
    assert rarely.due(50) == 0
    rarely.add(2)
    assert rarely.flush(50) == 2


def test_what_goes_on_for_ever_is_told_ever_more_rarely() -> None:
    rarely = Rarely(5)
    told = []
    for second in range(3600):
        rarely.add()
        if rarely.due(second):
            told.append(second)
    assert told == [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835, 2435, 3035]


def test_what_comes_back_after_a_pause_is_told_at_once() -> None:
    rarely = Rarely(5)
    for second in range(100):
        rarely.add()
        rarely.due(second)
    rarely.add()
    assert rarely.due(500)
    rarely.add()
    assert rarely.due(505) == 1


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("10.0.0.5", "tcp://10.0.0.5:7800"),
        ("fd00::5", "tcp://[fd00::5]:7800"),
        ("[fd00::5]", "tcp://[fd00::5]:7800"),
    ],
)
def test_a_member_with_an_ip_address_is_dialled_there(host: str, endpoint: str) -> None:
    peer = read_peer(Member("b", Address(host, 7800), {"curve": KEY}))
    assert peer == ("b", KEY, Address(host, 7800))
    assert peer.address.ip is not None
    assert endpoint_of(peer.address.ip, peer.address.port) == endpoint


def test_a_member_with_a_name_has_to_be_looked_up() -> None:
    assert read_peer(Member("b", Address("node-1.example.com", 7800), {"curve": KEY})).address.ip is None


@pytest.mark.parametrize(
    ("found", "last", "wanted"),
    [
        (("10.0.0.1",), "", "10.0.0.1"),
        (("10.0.0.1",), "10.0.0.1", "10.0.0.1"),
        (("10.0.0.2",), "10.0.0.1", "10.0.0.2"),
        (("fd00::1", "10.0.0.1"), "fd00::1", "10.0.0.1"),
        (("fd00::1", "10.0.0.1"), "10.0.0.1", "fd00::1"),
    ],
)
def test_each_address_of_a_name_has_its_turn(found: tuple[str, ...], last: str, wanted: str) -> None:
    assert turn(found, last) == wanted


def test_a_name_without_an_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="no address"):
        turn((), "10.0.0.1")


@pytest.mark.parametrize(
    ("host", "metadata", "reason"),
    [
        ("10.0.0.5", {}, "has no key"),
        ("10.0.0.5", {"curve": ""}, "not a public CURVE key"),
        ("10.0.0.5", {"curve": KEY.upper()}, "not a public CURVE key"),
        ("10.0.0.5", {"curve": KEY + "\n"}, "not a public CURVE key"),
        ("10.0.0.5", {"curve": "z" * 64}, "not a public CURVE key"),
        ("10.0.0.5/../x", {"curve": KEY}, "cannot be dialled"),
        ("a;b", {"curve": KEY}, "cannot be dialled"),
        ("*", {"curve": KEY}, "cannot be dialled"),
    ],
)
def test_what_is_no_peer_says_why(host: str, metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(PeerError, match=reason):
        read_peer(Member("b", Address(host, 7800), metadata))
