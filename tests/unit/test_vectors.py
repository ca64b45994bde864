"""Argument vectors: words and JSON, no shell, placeholders filled and nothing else."""

import pytest

from s3discovery.settings.kinds import WrongTextError
from s3discovery.settings.vectors import commands_with, fill, show_commands

read = commands_with({"own_host"}, {"peers"})
VALUES: dict[str, str | tuple[str, ...]] = {"own_host": "10.0.0.1", "peers": ("a:1", "b:2")}


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("emqx ctl status", (("emqx", "ctl", "status"),)),
        ("a 'b c' \"d e\" f\\ g", (("a", "b c", "d e", "f g"),)),
        ("a b && c d", (("a", "b"), ("c", "d"))),
        ("a $HOME ~ * `x` #", (("a", "$HOME", "~", "*", "`x`", "#"),)),
        ("a ''", (("a", ""),)),
        ('["a", "b c"]', (("a", "b c"),)),
        ('[["a"], ["b", "&&", "|"]]', (("a",), ("b", "&&", "|"))),
        ("a {peers...} --own={own_host}", (("a", "{peers...}", "--own={own_host}"),)),
        ('a \'{"x": {"y": 1}}\'', (("a", '{"x": {"y": 1}}'),)),
    ],
)
def test_a_text_becomes_argument_vectors(text: str, commands: object) -> None:
    assert read(text) == commands
    assert read(show_commands(read(text))) == commands


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("", "name of a program"),
        ("&& b", "name of a program"),
        ("a &&", "name of a program"),
        ("[]", "name of a program"),
        ('[""]', "name of a program"),
        ("a 'b", "close what is quoted"),
        ("a | b", "leave out |"),
        ("a > b", "leave out >"),
        ("a; b", "leave out a;"),
        ("[1]", "texts alone"),
        ('[["a"], "b"]', "texts alone"),
        ('["a"', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["a", "\\u0000"]', "no NUL"),
        ("a " + "b" * 20_000, "at most"),
        ("{own_host} a", "program itself"),
        ("a {own_hots}", "write one of own_host, peers instead of {own_hots}"),
        ("a {own_host...}", "only with a list"),
        ("a x{peers...}", "as a word of its own"),
    ],
)
def test_what_is_no_command_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(WrongTextError, match=cure.replace("|", r"\|").replace("{", r"\{")):
        read(text)


def test_placeholders_are_filled() -> None:
    (vector,) = read("a {own_host} --peers={peers} {peers...} {{peers}} {{peers...}} {x: {own_host}")
    assert fill(vector, VALUES) == (
        *("a", "10.0.0.1", "--peers=a:1,b:2", "a:1", "b:2", "{peers}", "{peers...}"),
        *("{x:", "10.0.0.1"),
    )


def test_an_empty_list_is_an_empty_word_or_none() -> None:
    assert fill(("a", "{peers}", "{peers...}"), {"peers": ()}) == ("a", "")


def test_what_was_filled_in_is_not_filled_again() -> None:
    assert fill(("a", "{own_host}"), VALUES | {"own_host": "{peers}"}) == ("a", "{peers}")
