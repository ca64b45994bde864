"""Whatever stands in the bucket, other programs get nothing of it that could be more than a name."""

import json
import re
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from s3discovery.errors import AddressError
from s3discovery.node import Address, Member
from s3discovery.outputs.template import OutputTemplate
from s3discovery.presentation import (
    LISTS,
    SINGLE,
    Roster,
    Turnover,
    document,
    environment,
    make_roster,
    turnover,
    values,
)
from s3discovery.settings.keys.command import BUILT_IN
from s3discovery.settings.vectors import fill
from s3discovery.testing import HOSTILE_TEXTS

HARMLESS = frozenset(string.ascii_letters + string.digits + "_.@:-[]")
TEMPLATES = {name: OutputTemplate(name, {}) for name in BUILT_IN}
texts = (
    st.text(max_size=40)
    | st.sampled_from(HOSTILE_TEXTS)
    | st.from_regex(r"[a-z0-9.@-]{1,12}", fullmatch=True)
)


@st.composite
def members(draw: st.DrawFn) -> Member:
    metadata = draw(st.dictionaries(st.sampled_from(["a", "b-c", "Not", "d e"]), texts, max_size=3))
    try:
        address = Address(draw(texts), draw(st.integers(1, 65535)))
    except AddressError:
        address = Address("10.0.0.1", 1)
    return Member(draw(texts), address, metadata)


OWN = Member("own", Address("10.0.0.9", 1))
rosters = st.lists(members(), max_size=6).map(lambda found: make_roster(OWN, found))


@settings(max_examples=50)
@given(rosters)
def test_what_is_shown_holds_no_sign_with_a_meaning(roster: Roster) -> None:
    for member in roster.members:
        for text in (member.id, member.host, member.address, *member.metadata.values()):
            assert set(text) <= HARMLESS
            assert text[0] not in "-.@:"
        assert "[" not in member.id + member.host
        assert "/" not in "".join((member.id, member.host, *member.metadata, *member.metadata.values()))


@settings(max_examples=50)
@given(rosters)
def test_nothing_is_an_option_or_two_words_on_a_command_line(roster: Roster) -> None:
    found = values(roster, turnover(None, roster))
    words = fill(
        ("program", *(f"{{{name}}}" for name in sorted(SINGLE)), *(f"{{{name}...}}" for name in LISTS)), found
    )
    assert len(words) == 1 + len(SINGLE) + sum(len(found[name]) for name in LISTS)
    assert not any(re.search(r"\s|^-", word) for word in words)


@settings(max_examples=50)
@given(rosters)
def test_every_variable_is_words_that_a_shell_keeps_apart(roster: Roster) -> None:
    found = values(roster, turnover(None, roster))
    for name, text in environment(found).items():
        value = found[name.removeprefix("S3DISCOVERY_").lower()]
        assert text.split() == ([value] if isinstance(value, str) else list(value))


@settings(max_examples=50)
@given(rosters)
def test_documents_are_json(roster: Roster) -> None:
    said = document(roster, Turnover())
    assert json.loads(json.dumps(said)) == said


@settings(max_examples=50)
@given(rosters)
def test_no_member_adds_more_to_a_built_in_than_others_do(roster: Roster) -> None:
    for name, template in TEMPLATES.items():
        text = template.render(roster, {}).decode()
        assert set(text) <= frozenset(string.printable)
        lines = [line for line in text.split("\n") if line.strip()]
        if name == "hosts":
            assert len(lines) == sum(member.is_ip and member.is_named for member in roster.members)
            assert all(len(line.split()) == 2 and line.endswith(".s3discovery") for line in lines)
        elif name == "haproxy":
            servers = [line for line in lines if line.startswith("    server ")]
            assert len(servers) == len(roster.members) == len(lines) - 4
        elif name == "mosquitto":
            assert len(lines) == (2 if roster.hub == roster.own else 10)
        elif name == "env":
            assert len(lines) == len(SINGLE) + len(LISTS)
            assert all(
                re.fullmatch(r'S3DISCOVERY_[A-Z_]+="[\w.@:\[\] -]*"', line, re.ASCII) for line in lines
            )
        else:
            assert len(json.loads(text)) == (len(roster.members) if name == "prometheus" else 4)


@settings(max_examples=50)
@given(
    st.lists(st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True), min_size=2, max_size=8, unique=True), st.data()
)
def test_bridges_close_to_no_loop_whatever_each_node_sees(names: list[str], data: st.DataObject) -> None:
    hubs = {}
    for name in names:
        seen = data.draw(st.sets(st.sampled_from(names)))
        peers = [Member(each, Address("10.0.0.1", 1)) for each in seen - {name}]
        hubs[name] = make_roster(Member(name, Address("10.0.0.1", 1)), peers).hub.id
    # Every node has one bridge at most, and it leads to a lesser id: no way along them comes back.
    assert all(hub <= name for name, hub in hubs.items())
