"""Texts of others as people see them: nothing in them hides, reorders or overprints."""

import re
from pathlib import Path

import pytest

from s3discovery.http import page
from s3discovery.legibility import legible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ünï-1", "ünï-1"),
        ("a\x1b[2J", "a<U+001B>[2J"),
        ("a\u200bb", "a<U+200B>b"),
        ("x\u202eevil<b>&", "x<U+202E>evil<b>&"),
        ("\u202e", "<U+202E>"),
        ("a\nb", "a<U+000A>b"),
        ("a\u00a0\u3164\u2800\ufe0f", "a<U+00A0><U+3164><U+2800><U+FE0F>"),
        ("q\u0301\u0323", "q\u0301\u0323"),
        ("e" + "\u0301" * 4, "e\u0301\u0301<U+0301><U+0301>"),
    ],
)
def test_characters_that_deceive_are_spelled_out(text: str, expected: str) -> None:
    assert legible(text) == expected


def test_the_page_spells_out_the_same_blanks() -> None:
    text = (Path(page.__file__).parent / "text.js").read_text(encoding="utf-8")
    listed = re.search(r'"((?:\\\\u[0-9a-f]{4}-?)+)]"', text)
    assert listed is not None
    ends = re.findall(r"\\\\u([0-9a-f]{4})(?:-\\\\u([0-9a-f]{4}))?", listed[1])
    blanks = [chr(code) for low, high in ends for code in range(int(low, 16), int(high or low, 16) + 1)]
    assert len(blanks) > 30
    for char in blanks:
        assert legible(char) == f"<U+{ord(char):04X}>"
