"""A properties file for people: what is set, then every other key with its help and default."""

import textwrap
from collections.abc import Iterator, Mapping

from s3discovery.settings.keys import KEYS, Key

_WIDTH = 100
_HEAD = (
    "Settings of s3discovery, in Java properties syntax. `s3discovery config` shows what is in force,",
    "`s3discovery doctor` whether it works.",
)


def write_properties(values: Mapping[str, str]) -> str:
    """Return the text of a file that sets `values` (key to text) and mentions every other key.

    ASCII, whatever the values hold: Java reads such files as ISO 8859-1, an editor as it likes."""
    lines = [_comment(line) for line in _HEAD]
    for key in KEYS:
        if key.name in values:
            lines += ["", *_explain(key), _entry(key.name, values[key.name])]
    lines += ["", *_title("Not set: remove the # to change one")]
    for key in KEYS:
        if key.name not in values:
            shown = key.default if key.default is not None else key.example
            lines += ["", *_explain(key), f"#{_entry(key.name, shown)}"]
    return "\n".join(lines) + "\n"


def _explain(key: Key) -> Iterator[str]:
    """Yield the help of a key as comments, with its default or that there is none."""
    if key.default is not None:
        fallback = f" Default: {key.default or 'empty'}."
    elif key.required:
        fallback = " Required."
    else:
        fallback = " Not set by default."
    for line in textwrap.wrap(key.help + fallback, _WIDTH - 2, break_long_words=False):
        yield _comment(line)


def _title(text: str) -> Iterator[str]:
    bar = _comment("-" * (_WIDTH - 2))
    yield from (bar, _comment(text), bar)


def _comment(text: str) -> str:
    return f"# {''.join(_escape(char) if char > '~' else char for char in text)}"


def _entry(name: str, text: str) -> str:
    """Return the line that sets `name`: as plain as a reader of the format allows."""
    escaped = "".join(_escape(char) for char in text)
    start = "\\" if escaped.startswith(" ") else ""
    if escaped.endswith(" "):
        # Editors remove a space at the end of a line.
        escaped = f"{escaped[:-1]}\\u0020"
        start = "" if len(text) == 1 else start
    return f"{name}:{start}{escaped}"


def _escape(char: str) -> str:
    """Return a character as the format has it; beyond ASCII as the units of UTF-16."""
    if char == "\\":
        return "\\\\"
    if " " <= char <= "~":
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
