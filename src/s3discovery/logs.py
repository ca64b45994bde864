"""How log records are written: lines for people, or one JSON object a line for programs.

Our messages are templates, `event words name=%s`, and their arguments. The fields of JSON come from those
two, never from the finished text: a value from outside cannot make up a field, whatever is written in it.
"""

import json
import logging
import math
import re
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

log = logging.getLogger(__name__)

CONSOLE, JSON = "console", "json"
_PLACEHOLDER = re.compile(r"%(?:%|[#0 +-]*[0-9]*(?:\.[0-9]+)?[hlL]?[a-zA-Z])")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_ALONE = re.compile(rf"({_PLACEHOLDER.pattern})[,:;]?")
# What ends a line or steers a terminal, but for tabs; line breaks of ours stay and are indented.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# amqtt tells every connection and packet at these levels.
_NOISY = ("amqtt", "transitions")


def start_logging(level: str, form: str = CONSOLE, stream: TextIO | None = None) -> None:
    """Log to standard error from `level` on, in one of the two forms."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == JSON else ConsoleLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if form == JSON:
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_bug
    if level != "debug":
        for noisy in _NOISY:
            logging.getLogger(noisy).setLevel(logging.WARNING)


def are_json() -> bool:
    """Tell whether this process logs JSON."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


class ConsoleLines(logging.Formatter):
    """Lines for people: nothing in a value begins a line that looks like another record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        first, *more = super().format(record).split("\n")
        return "\n    ".join(_CONTROL.sub(_escape, line) for line in (first, *more))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, event, and the fields of the message."""

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _taken_apart(record)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        for name, value in fields.items():
            line[f"{name}_" if name in line else name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str)


def _taken_apart(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return the words of a message and its fields; only the words, if it is not of our form."""
    arguments = record.args
    if not isinstance(record.msg, str) or not isinstance(arguments, tuple) or not arguments:
        return _clean(record.getMessage()), {}
    left = list(arguments)
    words, fields = list[str](), dict[str, Any]()
    try:
        for word in record.msg.split(" "):
            named = _FIELD.fullmatch(word)
            if named is None or _PLACEHOLDER.search(named[2]) is None:
                words.append(_filled(word, left))
            elif (alone := _ALONE.fullmatch(named[2])) is not None and alone[1] != "%%":
                fields[named[1]] = _plain(left.pop(0))
            else:
                fields[named[1]] = _clean(_filled(named[2], left))
    except (IndexError, TypeError, ValueError):
        return _clean(str(record.msg)), {"arguments": [str(argument) for argument in arguments]}
    return _clean(" ".join(words)), fields


def _filled(text: str, left: list[Any]) -> str:
    """Put as many of the arguments that are `left` into `text` as it has places for."""
    count = sum(found != "%%" for found in _PLACEHOLDER.findall(text))
    taken, left[:count] = tuple(left[:count]), []
    return text % taken


def _plain(value: object) -> Any:
    """Return `value` as JSON has it; what it has no kind for, and numbers that are none, as text."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(_clean(str(each)) for each in value)
    return _clean(str(value))


def _clean(text: str) -> str:
    """Make halves of characters, which no reader of JSON takes, visible."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _log_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("ended by a bug in s3discovery", exc_info=(kind, error, trace))
