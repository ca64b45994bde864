"""Argument vectors: how the text of a setting holds commands, and what their placeholders become.

No shell takes part, so nothing is expanded but placeholders: `{name}` becomes one value, a list with commas
between; `{name...}`, alone in its word, as many words as the list has items. `{{name}}` is the text `{name}`.
"""

import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping

from s3discovery.settings.kinds import WrongTextError

Vector = tuple[str, ...]
Commands = tuple[Vector, ...]
Values = Mapping[str, str | tuple[str, ...]]

AND = "&&"
_LIMIT_CHARS = 16_384
# What only a shell understands: whoever writes one of these as a word believes that there is one.
_OF_SHELLS = frozenset({"|", "||", "&", ";", "<", ">", ">>", "2>", "2>&1", ">&2"})
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+(?:\.\.\.)?)\}\}|\{([a-z_]+)(\.\.\.)?\}")
_FORMS = 'write words as in emqx ctl status, or a JSON list such as ["emqx", "ctl", "status"]'


def commands_with(single: Collection[str], lists: Collection[str]) -> Callable[[str], Commands]:
    """Make a reader of one or more commands that may hold these placeholders.

    Words are quoted as in a shell, and `&&` stands between commands; or the text is JSON: a list of words, or
    a list of such lists."""

    def read(text: str) -> Commands:
        commands = _from_json(text) if text.lstrip().startswith("[") else _from_words(text)
        for vector in commands:
            _check(vector, single, lists)
        return commands

    return read


def show_commands(commands: Commands) -> str:
    """Write commands as a reader understands them."""
    return json.dumps([list(vector) for vector in commands], ensure_ascii=False)


def fill(vector: Vector, values: Values) -> Vector:
    """Return the vector with its placeholders filled; `values` holds checked texts alone."""
    words: list[str] = []
    for word in vector:
        whole = _PLACEHOLDER.fullmatch(word)
        if whole is not None and whole[3]:
            words.extend(values[whole[2]])
        else:
            words.append(_PLACEHOLDER.sub(lambda match: _fill_one(match, values), word))
    return tuple(words)


def _fill_one(match: re.Match[str], values: Values) -> str:
    if match[1] is not None:
        return f"{{{match[1]}}}"
    value = values[match[2]]
    return value if isinstance(value, str) else ",".join(value)


def _from_words(text: str) -> Commands:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise WrongTextError(f"close what is quoted ({error}), or {_FORMS}") from error
    commands: list[list[str]] = [[]]
    for word in words:
        if word == AND:
            commands.append([])
        elif word in _OF_SHELLS or word.endswith(";"):
            raise WrongTextError(f"leave out {word}: no shell runs this; write a script, or {_FORMS}")
        else:
            commands[-1].append(word)
    return tuple(tuple(command) for command in commands)


def _from_json(text: str) -> Commands:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongTextError(f"this is no JSON ({error}); {_FORMS}") from error
    rows = value if value and all(isinstance(row, list) for row in value) else [value]
    if not all(isinstance(word, str) for row in rows for word in row):
        raise WrongTextError("write texts alone into the list, or lists of texts for several commands")
    return tuple(tuple(row) for row in rows)


def _check(vector: Vector, single: Collection[str], lists: Collection[str]) -> None:
    if not vector or not vector[0]:
        raise WrongTextError(f"write the name of a program; {_FORMS}")
    if sum(map(len, vector)) > _LIMIT_CHARS or any("\x00" in word for word in vector):
        raise WrongTextError(
            f"write at most {_LIMIT_CHARS} characters, and no NUL; longer ones into a script"
        )
    if _PLACEHOLDER.search(vector[0]):
        raise WrongTextError("write the program itself: only its arguments can have placeholders")
    for word in vector[1:]:
        for match in _PLACEHOLDER.finditer(word):
            _check_placeholder(word, match, single, lists)


def _check_placeholder(
    word: str, match: re.Match[str], single: Collection[str], lists: Collection[str]
) -> None:
    name = match[2]
    if name is None:
        return
    if name not in single and name not in lists:
        known = ", ".join(sorted([*single, *lists]))
        raise WrongTextError(
            f"write one of {known} instead of {match[0]}, or {{{match[0]}}} for the text itself"
        )
    if match[3] and (name not in lists or match[0] != word):
        raise WrongTextError(f"write {match[0]} as a word of its own, and only with a list")
