"""The screen of `watch`: the page in words, as high as the terminal; what a bucket holds stays text."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console, ConsoleDimensions, RenderableType

from s3discovery import watch_screen
from s3discovery.discovery import Status
from s3discovery.errors import UnreachableError
from s3discovery.node import Address, Member, Report
from s3discovery.observation.journal import Journal
from s3discovery.observation.moment import Moment
from s3discovery.watch_screen import WatchScreen, legible, screen

NOW_S = 1_800_000_000.0
MARKUP = "[red]x[/red] [link=file:///etc/passwd]y[/link]"
BIDI = "\u202etxt.exe"


def member(name: str, *, age_s: float = 0.0, misses: str = "", host: str = "10.0.0.1") -> Member:
    report = Report(True, frozenset(misses))
    return Member(name, Address(host, 7800), modified_s=NOW_S - age_s, report=report)


def moment(*members: Member, status: Status | None = None) -> Moment:
    return Moment(
        members=frozenset(members),
        own=None,
        status=status or Status(listed_s=100.0),
        now_s=NOW_S,
        monotonic_s=101.0,
        expiration_s=100.0,
        update_interval_s=40.0,
        poll_interval_s=2.0,
        cluster_state=None,
        bucket="bucket",
        prefix="nodes/",
    )


def rendered(shown: RenderableType, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(*moments: Moment, height: int = 50) -> str:
    journal = Journal()
    for each in moments:
        journal.note(each, NOW_S)
    return rendered(screen(moments[-1], journal.recent(10), ConsoleDimensions(160, height)))


def test_all_is_well() -> None:
    text = shown(moment(member("a", age_s=30), member("b")))
    lines = text.splitlines()
    assert lines[0] == "2 members in s3://bucket/nodes/   store answers   listed 1s ago"
    assert lines[1] == "nothing is wrong"
    assert "a           10.0.0.1:7800  30s       ███████░░░ 1m 10s  formed" in text
    assert "b joined at 10.0.0.1:7800" in text


def test_what_is_wrong_stands_on_top_with_its_cure() -> None:
    broken = Status(listed_s=41.0, error=UnreachableError("no route to the store"))
    text = shown(moment(member("a")), moment(member("a"), status=broken))
    assert text.index("x No complete listing of the store for 60 s: no route to the store") < text.index(
        "10.0.0.1"
    )
    assert "> Run s3discovery doctor" in text
    assert "store fails" in text
    assert "the store cannot be listed: no route to the store" in text
    assert "the store can be listed again" in shown(moment(), moment(status=broken), moment())


def test_the_parts_of_a_split_cluster_stand_apart() -> None:
    waits = replace(member("w"), report=Report(False))
    text = shown(moment(member("a", misses="c"), member("b", misses="c"), member("c", misses="ab"), waits))
    places = [text.index(words) for words in ("part 1 of 2 (2)", "part 2 of 2 (1)", "waiting to join (1)")]
    assert places == sorted(places)
    assert "x The cluster is split into 2 parts" in text


def test_of_many_those_come_first_that_something_is_wrong_with_and_the_rest_is_counted() -> None:
    every = [member(f"n{number:03}", age_s=1) for number in range(300)]
    text = shown(moment(*every, member("z", age_s=90)), height=30)
    assert len(text.splitlines()) <= 30
    assert re.search("^z +10.0.0.1:7800", text, re.MULTILINE) is not None
    assert "█░░░░░░░░░ 10s" in text
    more = next(line for line in text.splitlines() if line.startswith("... and"))
    assert int(more.split()[2]) + text.count("10.0.0.1:7800  ") == 301


def test_who_expired_did_not_leave() -> None:
    old = member("a", age_s=101)
    assert "a expired: its file was 1m 41s old" in shown(moment(old), moment())
    assert "b left" in shown(moment(member("b")), moment())


def test_what_comes_from_the_bucket_is_legible_text() -> None:
    status = Status(listed_s=100.0, problems={f"nodes/{BIDI}": "is empty"})
    text = shown(moment(member(MARKUP), member(BIDI, host="{0.__class__}")), moment(status=status))
    assert MARKUP in text
    assert "<U+202E>txt.exe left" in text
    assert "nodes/<U+202E>txt.exe" in text
    assert "\u202e" not in text
    assert "{0.__class__}:7800" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ünï-1", "ünï-1"),
        ("a\x1b[2J", "a<U+001B>[2J"),
        ("a\u200bb", "a<U+200B>b"),
        ("e" + "\u0301" * 4, "e\u0301\u0301<U+0301><U+0301>"),
    ],
)
def test_characters_that_deceive_are_spelled_out(text: str, expected: str) -> None:
    assert legible(text) == expected


@pytest.mark.parametrize(
    ("until_s", "expected"),
    [(NOW_S, "credentials until 2027-01-15 08:00:00 UTC"), (None, ""), (1e15, "credentials until ?")],
)
def test_it_says_until_when_the_credentials_last(until_s: float | None, expected: str) -> None:
    text = shown(moment(status=Status(listed_s=100.0, credentials_until_s=until_s)))
    assert expected in text
    assert ("credentials until" in text) == bool(expected)


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "██████████"), ("ascii", "##########")])
def test_a_terminal_gets_what_it_can_show(monkeypatch: pytest.MonkeyPatch, encoding: str, bar: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=out, width=160, height=40, force_terminal=True)
    monkeypatch.setattr(watch_screen, "Console", lambda: console)
    with WatchScreen() as live:
        live.draw(moment(member("a")), ())
    out.flush()
    assert bar in raw.getvalue().decode(encoding)
