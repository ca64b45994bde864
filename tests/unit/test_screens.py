"""What the commands show, for people and for scripts; what comes from the bucket stays text."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from s3discovery import screens
from s3discovery.membership import Change
from s3discovery.node import Address, Member, Report
from s3discovery.settings.config import Resolved
from s3discovery.topology import topology

NOW_S = 1_800_000_000.0
BIDI, SPELLED = "x\u202eevil<b>&", "x<U+202E>evil<b>&"
MARKUP = "[red]x[/red] [link=file:///etc/passwd]y[/link]"


def member(cluster_id: str, host: str = "10.0.0.1", *, age_s: float = 0.0) -> Member:
    return Member(cluster_id, Address(host, 7800), modified_s=NOW_S - age_s)


def rendered(shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestMembers:
    def test_rows_are_sorted_and_have_exactly_the_documented_fields(self) -> None:
        rows = screens.member_rows([member("b", age_s=7.34), member("a")], NOW_S, "b")
        assert rows == [
            {"cluster_id": "a", "host": "10.0.0.1", "port": 7800, "age_s": 0.0, "own": False},
            {"cluster_id": "b", "host": "10.0.0.1", "port": 7800, "age_s": 7.3, "own": True},
        ]

    def test_an_age_is_never_negative_and_unknown_without_the_stores_time(self) -> None:
        assert screens.member_rows([member("a", age_s=-9)], NOW_S, None)[0]["age_s"] == 0.0
        assert screens.member_rows([member("a")], None, None)[0]["age_s"] is None

    def test_a_table_shows_every_node_with_its_address_and_age(self) -> None:
        found = [member("a", age_s=200), member("b", "::1"), member("c", "[::1]")]
        lines = rendered(screens.members_table(screens.member_rows(found, NOW_S, "a"))).splitlines()
        assert lines[0].split() == ["cluster", "id", "address", "age"]
        assert [line.split() for line in lines[1:]] == [
            ["a", "10.0.0.1:7800", "3m", "20s", "own"],
            ["b", "[::1]:7800", "0s"],
            ["c", "[::1]:7800", "0s"],
        ]

    def test_an_unknown_age_is_told_as_such(self) -> None:
        table = screens.members_table(screens.member_rows([member("a")], None, None))
        assert rendered(table).splitlines()[1].split() == ["a", "10.0.0.1:7800", "?"]

    def test_markup_in_an_id_or_host_is_text(self) -> None:
        rows = screens.member_rows([member(MARKUP, "[red]h[/red]")], NOW_S, None)
        assert MARKUP in rendered(screens.members_table(rows))
        assert "[red]h[/red]:7800" in rendered(screens.members_table(rows))

    def test_what_deceives_is_spelled_out(self) -> None:
        rows = screens.member_rows([member(BIDI, BIDI)], NOW_S, None)
        shown = rendered(screens.members_table(rows))
        assert shown.splitlines()[1].split() == [SPELLED, f"{SPELLED}:7800", "0s"]

    def test_a_table_for_a_program_is_never_cut(self, capsys: pytest.CaptureFixture[str]) -> None:
        long = "n" * 500
        screens.print_table(screens.members_table(screens.member_rows([member(long)], NOW_S, None)))
        assert long in capsys.readouterr().out


class TestStatus:
    def table(self, *members: Member) -> list[str]:
        rows = screens.status_rows(members, NOW_S, None)
        return rendered(screens.status_table(rows, topology(members))).splitlines()

    def test_a_member_that_has_nothing_to_report_is_in_the_cluster(self) -> None:
        """As an amqtt node: it publishes its key, and tells of its broker when it misses somebody."""
        quiet = [replace(member(name), metadata={"key": "x"}) for name in "ab"]
        assert str(topology(quiet)) == "formed 2/2"
        assert [line.split("  ")[-1].strip() for line in self.table(*quiet)] == ["does not see", "", ""]
        for line in self.table(*quiet)[1:]:
            assert re.fullmatch(r"[ab] +10.0.0.1:7800  0s   in the cluster *", line)
        assert [row["state"] for row in screens.status_rows(quiet, NOW_S, None)] == [None, None]

    def test_how_each_stands(self) -> None:
        def reporting(name: str, missing: str, *, is_formed: bool = True) -> Member:
            return replace(member(name), report=Report(is_formed, frozenset([missing] if missing else [])))

        split = [reporting("a", BIDI), reporting(BIDI, "a"), reporting("w", "", is_formed=False)]
        lines = self.table(*split)
        assert re.search(f"^a .* in part 1 of 2  {re.escape(SPELLED)}", lines[1])
        assert re.search("^w .* waits to join", lines[2])
        assert re.search(f"^{re.escape(SPELLED)} .* in part 2 of 2  a", lines[3])
        assert screens.status_line(topology(split)) == f"split: a | {SPELLED}"
        assert re.search("^a .* tells nothing", self.table(member("a"))[1])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (8.9, "8s"),
        (59, "59s"),
        (60, "1m 0s"),
        (200, "3m 20s"),
        (3600, "1h 0m"),
        (18_733, "5h 12m"),
    ],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert screens.duration(seconds) == text


class TestChanges:
    change = Change("moved", member("a", "::1"), member("a"))

    def test_a_line_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        screens.print_change(self.change, as_json=False)
        assert re.fullmatch(r"\d\d:\d\d:\d\d moved  a \[::1\]:7800\n", capsys.readouterr().out)

    def test_what_deceives_is_spelled_out_for_people_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        change = Change("joined", member(BIDI, BIDI))
        screens.print_change(change, as_json=False)
        assert capsys.readouterr().out.endswith(f" joined {SPELLED} {SPELLED}:7800\n")
        screens.print_change(change, as_json=True)
        out = capsys.readouterr().out
        assert (json.loads(out)["cluster_id"], out.isascii()) == (BIDI, True)

    def test_a_line_for_scripts(self, capsys: pytest.CaptureFixture[str]) -> None:
        screens.print_change(self.change, as_json=True)
        line = capsys.readouterr().out
        assert line.count("\n") == 1
        assert json.loads(line) == {"change": "moved", "cluster_id": "a", "host": "::1", "port": 7800}


def test_problems_go_to_standard_error_by_repr(capsys: pytest.CaptureFixture[str]) -> None:
    screens.print_problems({"b\x1b[2J": "is empty", "a": "is binary"})
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "skipped 'a': is binary\nskipped 'b\\x1b[2J': is empty\n"


def test_what_deceives_in_problems_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    screens.print_problems({"a\u3164": f"is of {BIDI}\n"})
    assert capsys.readouterr().err == f"skipped 'a<U+3164>': is of {SPELLED}<U+000A>\n"


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    screens.print_json([{"cluster_id": "ünï \u2028"}])
    assert json.loads(capsys.readouterr().out) == [{"cluster_id": "ünï \u2028"}]


def test_settings_show_value_and_origin_as_text() -> None:
    resolved = [
        Resolved("file-prefix", "[red]a[/red]", "option -o"),
        Resolved("cluster-id", None, "default"),
        Resolved("log-format", BIDI, BIDI),
    ]
    lines = rendered(screens.settings_table(resolved)).splitlines()
    assert lines[1].split() == ["file-prefix", "[red]a[/red]", "option", "-o"]
    assert lines[2].split() == ["cluster-id", "-", "default"]
    assert lines[3].split() == ["log-format", SPELLED, SPELLED]


def test_waiting_is_silent_where_nobody_looks_on(capsys: pytest.CaptureFixture[str]) -> None:
    with screens.waiting("looking"):
        pass
    assert capsys.readouterr() == ("", "")
