"""Members for other programs: checked, ordered, and the same in every form."""

import pytest

from s3discovery.errors import AddressError, BrokerError
from s3discovery.node import Address, Member
from s3discovery.presentation import (
    LISTS,
    SINGLE,
    Shown,
    Turnover,
    document,
    environment,
    make_roster,
    show_member,
    turnover,
    values,
)
from s3discovery.settings.config import BY_NAME
from s3discovery.testing import HOSTILE_TEXTS, MARK


def member(cluster_id: str, host: str = "10.0.0.1", port: int = 7800, **metadata: str) -> Member:
    return Member(cluster_id, Address(host, port), metadata)


def can_stand_in_a_bucket(host: str) -> bool:
    try:
        Address(host, 1)
    except AddressError:
        return False
    return True


@pytest.mark.parametrize("cluster_id", ["n1", "rabbit@host-1.example", "A_b.C", "9", "_x", "a" * 128])
def test_usual_ids_pass(cluster_id: str) -> None:
    assert show_member(member(cluster_id)).id == cluster_id


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, "", ".", "..", "a" * 129, "ä", "@", "a/b", "a:b"])
def test_odd_ids_do_not(text: str) -> None:
    with pytest.raises(BrokerError, match="cannot be shown"):
        show_member(member(text))


@pytest.mark.parametrize(
    "host",
    [
        *(text for text in HOSTILE_TEXTS if can_stand_in_a_bucket(text)),
        *("fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "a..b", "-a", "[::1", "1.2.3.4/8"),
    ],
)
def test_hosts_that_nobody_dials_do_not_pass(host: str) -> None:
    with pytest.raises(BrokerError, match="host"):
        show_member(member("n1", host))


@pytest.mark.parametrize(
    ("host", "shown", "address"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.1:7800"),
        ("node-1.example.com", "node-1.example.com", "node-1.example.com:7800"),
        ("2001:DB8:0::1", "2001:db8::1", "[2001:db8::1]:7800"),
        ("[::1]", "::1", "[::1]:7800"),
    ],
)
def test_a_host_has_brackets_only_where_a_port_follows(host: str, shown: str, address: str) -> None:
    found = show_member(member("n1", host))
    assert (found.host, found.address) == (shown, address)
    assert found.is_ip == (":" in shown or shown[0].isdigit())


def test_of_metadata_only_what_is_harmless_is_shown() -> None:
    odd = {f"odd-{number}": text for number, text in enumerate(HOSTILE_TEXTS)}
    good = {"mqtt-port": "1883", "Bad_name": "x", "incarnation": "abc"}
    found = show_member(Member("n1", Address("10.0.0.1", 7800), good | odd))
    assert found.metadata == {"mqtt-port": "1883"}


def test_a_roster_is_in_order_and_names_whom_it_refused() -> None:
    roster = make_roster(member("b"), [member("c"), member("a"), member("-x"), member("d", "a b")])
    assert [each.id for each in roster.members] == ["a", "b", "c"]
    assert [each.id for each in roster.peers] == ["a", "c"]
    assert [name for name, _ in roster.refused] == ["-x", "d"]
    assert roster.hub.id == "a"


def test_an_own_node_that_cannot_be_shown_is_an_error() -> None:
    with pytest.raises(BrokerError, match="cannot be shown"):
        make_roster(member("my node"), [])


def test_a_peer_that_is_started_again_is_no_news() -> None:
    first = make_roster(member("a"), [member("b", incarnation="1")])
    second = make_roster(member("a"), [member("b", incarnation="2"), member("--x")])
    assert first == second


def test_turnover() -> None:
    before = make_roster(member("a"), [member("b"), member("c")])
    after = make_roster(member("a"), [member("c", "10.0.0.9"), member("d")])
    assert turnover(before, after) == Turnover(("d",), ("b",), ("c",))
    assert turnover(None, after) == Turnover(("c", "d"))


def test_every_form_says_the_same() -> None:
    roster = make_roster(member("b"), [member("a", "::1"), member("c", "c.example", 1)])
    found = values(roster, Turnover(("c",)))
    assert found.keys() == SINGLE | LISTS
    assert {name for name, value in found.items() if isinstance(value, tuple)} == LISTS
    assert found["peers"] == ("[::1]:7800", "c.example:1")
    assert found["member_ids"] == ("a", "b", "c")
    assert (found["hub_id"], found["hub_address"], found["peer_count"]) == ("a", "[::1]:7800", "2")
    variables = environment(found)
    assert variables["S3DISCOVERY_MEMBERS"] == "[::1]:7800 10.0.0.1:7800 c.example:1"
    assert variables["S3DISCOVERY_JOINED_IDS"] == "c"
    assert variables["S3DISCOVERY_OWN_ID"] == "b"
    said = document(roster, Turnover(("c",)))
    assert [row["id"] for row in said["members"]] == ["a", "b", "c"]
    assert said["peers"][0] == {"id": "a", "host": "::1", "port": 7800, "metadata": {}}
    assert (said["own"]["id"], said["hub"], said["joined"]) == ("b", "a", ["c"])


def test_no_variable_is_a_setting() -> None:
    """A command may be s3discovery itself, with these variables in its environment."""
    names = {f"S3DISCOVERY_{name.upper().replace('-', '_')}" for name in BY_NAME}
    roster = make_roster(member("a"), [])
    assert not names & environment(values(roster, Turnover())).keys()


def test_every_hostile_text_has_the_mark() -> None:
    assert all(MARK in text for text in HOSTILE_TEXTS)
    assert len(set(HOSTILE_TEXTS)) == len(HOSTILE_TEXTS)


def test_an_id_that_could_be_a_host_name() -> None:
    names = {name: Shown(name, "10.0.0.1", 1).is_named for name in ("n-1", "a.b", "a_b", "r@h", "a-", "a..b")}
    assert names == {"n-1": True, "a.b": True, "a_b": False, "r@h": False, "a-": False, "a..b": False}
