"""Texts of others, made fit to be shown to people: no character hides, reorders or overprints others.

Ids, hosts and errors come from outside. Tables, lines and the screen of `watch` show them through `legible`,
JSON and logs escape them in their own way, and the page spells them out as well (http/page/text.js has the
same characters; its brackets are not in every terminal's alphabet). Pure.
"""

import unicodedata

# Categories of characters that hide, reorder or end what is shown.
_TREACHEROUS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What looks like an ordinary space, or like nothing, and is counted among letters, marks or spaces.
_BLANK = frozenset(
    "\u00a0\u034f\u115f\u1160\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u2800"
    "\u3000\u3164\uffa0"
) | {chr(number) for number in range(0xFE00, 0xFE10)}
_MARKS_ALLOWED = 2  # in a row: letters of living languages take no more


def legible(text: str) -> str:
    """Return `text` with every character spelled out (`<U+202E>`) that deceives the eye, and line breaks."""
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category.startswith("M") else 0
        is_bad = category in _TREACHEROUS or char in _BLANK or marks > _MARKS_ALLOWED
        shown.append(f"<U+{ord(char):04X}>" if is_bad else char)
    return "".join(shown)
