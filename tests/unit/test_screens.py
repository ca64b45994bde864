"""What the commands show, for people and for scripts; what comes from the bucket stays text."""

import io
import json
import re

import pytest
from rich.console import Console, RenderableType

from s3discovery import screens
from s3discovery.membership import Change
from s3discovery.node import Address, Member
from s3discovery.settings.config import Resolved

NOW_S = 1_800_000_000.0
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

    def test_a_table_for_a_program_is_never_cut(self, capsys: pytest.CaptureFixture[str]) -> None:
        long = "n" * 500
        screens.print_table(screens.members_table(screens.member_rows([member(long)], NOW_S, None)))
        assert long in capsys.readouterr().out


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


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    screens.print_json([{"cluster_id": "ünï \u2028"}])
    assert json.loads(capsys.readouterr().out) == [{"cluster_id": "ünï \u2028"}]


def test_settings_show_value_and_origin_as_text() -> None:
    resolved = [
        Resolved("file-prefix", "[red]a[/red]", "option -o"),
        Resolved("cluster-id", None, "default"),
    ]
    lines = rendered(screens.settings_table(resolved)).splitlines()
    assert lines[1].split() == ["file-prefix", "[red]a[/red]", "option", "-o"]
    assert lines[2].split() == ["cluster-id", "-", "default"]


def test_waiting_is_silent_where_nobody_looks_on(capsys: pytest.CaptureFixture[str]) -> None:
    with screens.waiting("looking"):
        pass
    assert capsys.readouterr() == ("", "")
