"""The screen of `watch`: the page in words, as high as the terminal; what a bucket holds stays text."""

import io
import re
from dataclasses import replace
from typing import Literal

import pytest
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, RenderableType

from s3discovery import watch_screen
from s3discovery.discovery import Status
from s3discovery.errors import AccessDeniedError, UnreachableError
from s3discovery.legibility import legible
from s3discovery.node import Address, Member, Report
from s3discovery.observation.journal import Journal
from s3discovery.observation.moment import Moment
from s3discovery.watch_screen import WatchScreen, screen

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


def rendered(shown: RenderableType, *, width: int = 160, colours: Literal["standard"] | None = None) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colours is not None, color_system=colours
    )
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(*moments: Moment, height: int = 50, width: int = 160) -> str:
    journal = Journal()
    for each in moments:
        journal.note(each, NOW_S)
    return rendered(screen(moments[-1], journal.recent(10), ConsoleDimensions(width, height)), width=width)


def test_all_is_well() -> None:
    text = shown(moment(member("a", age_s=30), member("b")))
    lines = text.splitlines()
    assert lines[0] == "2 members in s3://bucket/nodes/   store answers   listed 1s ago"
    assert lines[1] == "nothing is wrong"
    assert "a           10.0.0.1:7800  30s       ███████░░░ 1m 10s  in the cluster" in text
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


@pytest.mark.parametrize(
    ("age_s", "update_interval_s", "colour"),
    [(30, 40, "green"), (60, 40, "yellow"), (89, 40, "yellow"), (95, 40, "red"), (95, 90, "green")],
)
def test_a_life_is_red_where_it_is_late_and_nearly_over(
    age_s: float, update_interval_s: float, colour: str
) -> None:
    found = replace(moment(member("a", age_s=age_s)), update_interval_s=update_interval_s)
    text = rendered(screen(found, (), ConsoleDimensions(160, 50)), colours="standard")
    codes = {"\x1b[31m": "red", "\x1b[32m": "green", "\x1b[33m": "yellow"}
    (code,) = re.findall(r"(\x1b\[\d+m)█*░+", text)
    assert codes[code] == colour


AWS_NAMES = [f"ip-10-0-1-{number}.eu-central-1.compute.internal" for number in range(20)]


def aws_members() -> list[Member]:
    """Twenty nodes with long names: every third is late, eight do not see the next one."""
    return [
        replace(
            member(name, age_s=80.0 if number % 3 == 0 else 5.0),
            report=Report(True, frozenset({AWS_NAMES[number + 1]} if number < 8 else ())),
        )
        for number, name in enumerate(AWS_NAMES)
    ]


def test_80_columns_and_24_lines_hold_long_names_with_all_that_counts() -> None:
    lines = shown(moment(), moment(*aws_members()), height=24, width=80).splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    heading = next(line for line in lines if line.startswith("cluster id"))
    assert re.split("  +", heading.strip()) == [
        "cluster id", "address", "file age", "expires in", "does not see"
    ]  # fmt: skip
    assert re.search(
        r"^ip-10-0-1-0\.\S*…  10\.0\.0\.1:7800  1m 20s +20s +ip-10-0-1-1\.\S*…$",
        "\n".join(lines),
        re.MULTILINE,
    )
    for start in ("! The mesh has gaps: ip-10-0-1-0", "! 7 nodes are late: ip-10-0-1-0", "  > See that each"):
        assert any(line.startswith(start) for line in lines), start
    assert "joined at" in lines[-1] or "are late" in lines[-1]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (12, ["cluster id"]),
        (19, ["cluster id"]),
        (22, ["cluster id", "expires in"]),
        (32, ["cluster id", "file age", "expires in"]),
        (36, ["cluster id", "expires in", "does not see"]),
        (37, ["cluster id", "address", "expires in"]),
        (50, ["cluster id", "address", "file age", "expires in"]),
        (60, ["cluster id", "address", "expires in", "does not see"]),
        (72, ["cluster id", "address", "file age", "expires in", "does not see"]),
        (79, ["cluster id", "address", "file age", "expires in", "broker", "does not see"]),
    ],
)
def test_a_narrow_terminal_tells_names_before_all_else(width: int, headings: list[str]) -> None:
    several = [member("a-node", misses="b"), member("b", misses="a"), *split_up(3)]
    lines = shown(moment(), moment(*several), height=40, width=width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert headings_in(lines) == headings
    assert any(re.match("a-node( |$)", line) for line in lines)


def headings_in(lines: list[str]) -> list[str]:
    return re.split("  +", next(line for line in lines if line.startswith("cluster id")).strip())


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (37, ["cluster id", "address", "expires in"]),
        (47, ["cluster id", "address", "file age", "expires in"]),
        (63, ["cluster id", "address", "file age", "expires in", "broker"]),
        (80, ["cluster id", "address", "file age", "expires in", "broker"]),
    ],
)
def test_what_is_empty_takes_no_room_from_what_is_not(width: int, headings: list[str]) -> None:
    lines = shown(moment(member("a"), member("b"), member("c")), width=width).splitlines()
    assert headings_in(lines) == headings
    row = next(line for line in lines if line.startswith("a "))
    assert "10.0.0.1:7800" in row
    assert "…" not in row


@pytest.mark.parametrize(
    ("name", "host", "width", "start"),
    [
        # All of a name of usual length, before anything that is needed less; of a longer one, what there is
        # room for.
        ("n" * 20, "10.0.0.1", 32, "n" * 20 + "  1m 40s$"),
        ("n" * 20, "10.0.0.1", 47, "n" * 20 + "  10.0.0.1:7800  1m 40s$"),
        ("n" * 40, "10.0.0.1", 34, "n" * 21 + "…  1m 40s$"),
        ("n" * 40, "10.0.0.1", 93, "n" * 40 + "  10.0.0.1:7800  0s +1m 40s +in the cluster$"),
        # What is cut is the last that is told.
        ("a", "2001:db8::7:1:2:3", 45, r"a +\[2001:db8::7:1:2:3\]:…  1m 40s$"),
        ("a", "2001:db8::7:1:2:3", 57, r"a +\[2001:db8::7:1:2:3\]:7800  1m 40s$"),
        ("a", "2001:db8::7:1:2:3", 58, r"a +\[2001:db8::7:1:2:3\]:7800  0s +1m 40s$"),
    ],
)
def test_nothing_is_cut_beside_what_is_needed_less(name: str, host: str, width: int, start: str) -> None:
    lines = shown(moment(member(name, host=host)), width=width).splitlines()
    assert any(re.match(start, line) for line in lines), "\n".join(lines)


def test_how_each_stands_is_told_in_the_words_of_the_page() -> None:
    silent = replace(member("s"), report=Report(), metadata={"key": "x"})  # as amqtt's in a whole cluster
    text = shown(moment(silent, replace(silent, cluster_id="t")))
    assert re.search(r"^s .*  in the cluster$", text, re.MULTILINE)
    apart = [member("a", misses="b"), member("b", misses="a"), replace(member("w"), report=Report(False))]
    text = shown(moment(*apart))
    for row in ("a .*  in part 1 of 2  b", "b .*  in part 2 of 2  a", "w .*  waits to join"):
        assert re.search(f"^{row}$", text, re.MULTILINE), row
    nothing = replace(member("n"), report=Report())
    assert re.search(r"^n .*  tells nothing$", shown(moment(nothing)), re.MULTILINE)


@pytest.mark.parametrize("height", [1, 5, 24])
@pytest.mark.parametrize("width", range(1, 12))
def test_no_terminal_is_too_narrow(width: int, height: int) -> None:
    broken = Status(listed_s=41.0, error=UnreachableError("no route"))
    text = shown(moment(), moment(*aws_members(), status=broken), height=height, width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width


def split_up(parts: int, size: int = 1) -> list[Member]:
    """Members in so many clusters of `size`."""
    groups = [frozenset(f"n{part:03}-{number}" for number in range(size)) for part in range(parts)]
    every = frozenset[str]().union(*groups)
    return [replace(member(each), report=Report(True, every - group)) for group in groups for each in group]


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize(
    "members",
    [
        [],
        aws_members(),
        split_up(2),
        split_up(40),
        split_up(20, size=9),
        [member("漢" * 300, host="h" * 900), member("a" * 999)],
    ],
    ids=["nobody", "aws", "2 parts", "40 parts", "20 large parts", "endless names"],
)
def test_all_of_it_fits_the_terminal(size: tuple[int, int], members: list[Member]) -> None:
    problems = {f"nodes/{'x' * 500}{number}": "is empty" for number in range(9)}
    broken = Status(
        listed_s=41.0,
        error=UnreachableError("no route to the store " * 40),
        write_error=UnreachableError("no route " * 40),
        read_error=UnreachableError("no route " * 40),
        credentials_until_s=NOW_S + 60,
        skew_s=900.0,
        problems=problems,
    )
    width, height = size
    for status in (None, broken):
        found = replace(moment(*members, status=status), prefix="p/" * 300)
        lines = shown(moment(), found, height=height, width=width).splitlines()
        assert len(lines) <= height
        assert max(cell_len(line) for line in lines) <= width
        assert ("store answers" if status is None else "store fails") in " ".join(" ".join(lines[:2]).split())


def test_what_does_not_fit_is_told_shorter_and_then_counted() -> None:
    away, denied = UnreachableError("no route"), AccessDeniedError("not permitted")
    broken = Status(listed_s=41.0, error=away, write_error=denied, read_error=away, skew_s=900.0)
    every = moment(*aws_members(), status=replace(broken, problems={"nodes/x": "is empty"}))
    roomy = shown(every, height=60)
    assert "The others drop this node when its file expires" in roomy
    low = shown(every, height=16, width=60)
    assert "The others drop this node when its file expires" not in low
    assert "x No complete listing" in low
    assert re.search(r"^\.\.\. and \d+ more that are wrong$", low, re.MULTILINE)


def test_small_parts_of_a_cluster_are_not_crowded_out_by_large_ones() -> None:
    large = [replace(member(f"n{number:03}"), report=Report(True, frozenset("z"))) for number in range(90)]
    text = shown(moment(*large, member("z")), height=30)
    assert "part 1 of 2 (90)" in text
    assert "part 2 of 2 (1)" in text
    assert re.search("^z +10.0.0.1:7800", text, re.MULTILINE)
    assert len(text.splitlines()) == 30
    rest = re.search(r"^\.\.\. and (\d+) more", text, re.MULTILINE)
    assert rest is not None
    assert int(rest[1]) + len(re.findall(r"^n\d+ +10", text, re.MULTILINE)) == 90


def test_of_many_parts_the_largest_are_shown_and_the_others_counted() -> None:
    text = shown(moment(*split_up(40)), height=30)
    parts = len(re.findall(r"^part \d+ of 40 \(1\)", text, re.MULTILINE))
    assert 1 <= parts < 40
    assert f"... and {40 - parts} in {40 - parts} more parts" in text


def test_endless_texts_are_cut_before_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def noted(text: str) -> str:
        lengths.append(len(text))
        return legible(text)

    monkeypatch.setattr(watch_screen, "legible", noted)
    others = frozenset(f"broker-{number:04}" for number in range(2000))
    status = Status(listed_s=100.0, problems={"nodes/x": "y" * 100_000})
    text = shown(moment(), moment(replace(member("a"), report=Report(True, others)), status=status))
    assert "broker-0000, broker-0001" in text
    assert 1000 < max(lengths) < 5000


def test_an_address_reads_as_one() -> None:
    assert "a joined at [::1]:7800" in shown(moment(), moment(member("a", host="::1")))
    assert "a changed, is at [::2]:7800" in shown(moment(member("a")), moment(member("a", host="::2")))


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
    lines = shown(
        moment(replace(member("a", host=BIDI), report=Report(True, frozenset({BIDI}))))
    ).splitlines()
    (row,) = [line for line in lines if line.startswith("a ")]
    assert "<U+202E>txt.exe:7800" in row
    assert row.endswith("  <U+202E>txt.exe")


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
