"""Logs as programs and people read them: fields come from templates, no value makes up a line or a field."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from s3discovery import logs
from s3discovery.errors import UnreachableError
from s3discovery.settings.config import Secret

HOSTILE = 'x" level="critical\r\n2026-01-01 ERROR root forged key=1\x1b[2J\u2028{"event": "forged"}'


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What the root logger writes; its handlers are as before afterwards."""
    hook, level = sys.excepthook, logging.getLogger().level
    try:
        yield io.StringIO()
    finally:
        logging.getLogger().setLevel(level)
        logging.captureWarnings(capture=False)
        sys.excepthook = hook


@contextmanager
def logging_to(said: io.StringIO, form: str = logs.JSON) -> Iterator[None]:
    """Log there alone: pytest has handlers of its own at the root."""
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers.clear()
    try:
        logs.start_logging("info", form, said)
        yield
    finally:
        root.handlers[:] = before


def read(said: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]


def write(said: io.StringIO, template: str, *arguments: object, form: str = logs.JSON) -> Any:
    with logging_to(said, form):
        logging.getLogger("s3discovery.discovery").warning(template, *arguments)
    return read(said)[-1] if form == logs.JSON else said.getvalue()


def fields(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in line if name not in ("time", "level", "logger")}


def test_a_line_says_when_how_bad_who_and_what(said: io.StringIO) -> None:
    line = write(said, "registered key=%r address=%s", "nodes/n1", "10.0.0.1:7800")
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "s3discovery.discovery",
        "event": "registered",
        "key": "nodes/n1",
        "address": "10.0.0.1:7800",
    }


@pytest.mark.parametrize(
    ("template", "arguments", "wanted"),
    [
        (
            "member %s cluster_id=%r port=%d",
            ("joined", "a", 7800),
            {"event": "member joined", "cluster_id": "a", "port": 7800},
        ),
        (
            "waits for_s=%.0f whole=%s rival=%s",
            (1.5, True, None),
            {"event": "waits", "for_s": 1.5, "whole": True, "rival": None},
        ),
        ("age limit=%s", (float("inf"),), {"event": "age", "limit": "inf"}),
        ("settings file-expiration=%gs", (90.0,), {"event": "settings", "file-expiration": "90s"}),
        ("http serves url=http://%s:%d/", ("::1", 80), {"event": "http serves", "url": "http://::1:80/"}),
        ("found=%s: write %s", ("eu-west-1", "it"), {"event": "write it", "found": "eu-west-1"}),
        ("ids=%s", (frozenset({"b", "a"}),), {"event": "", "ids": ["a", "b"]}),
        ("ran command=%r", (["x", "-y"],), {"event": "ran", "command": ["x", "-y"]}),
        ("failed error=%s", (UnreachableError("it is down"),), {"event": "failed", "error": "it is down"}),
        ("100%% sure share=%d%%", (7,), {"event": "100% sure", "share": "7%"}),
        ("no arguments key=%r", (), {"event": "no arguments key=%r"}),
        ("event=%s time=%s", ("a", "b"), {"event": "", "event_": "a", "time_": "b"}),
        ("half key=%r", ("\udc80",), {"event": "half", "key": "\\udc80"}),
        ("too few a=%s b=%s", ("x",), {"event": "too few a=%s b=%s", "arguments": ["x"]}),
        ("no number n=%d m=%3.1f.", ("x", "y"), {"event": "no number", "n": "x", "m": "y."}),
        ("named %(a)s", ({"a": 1},), {"event": "named 1"}),
        ("secret=%s", (Secret("hush"),), {"event": "", "secret": "***"}),
    ],
)  # fmt: skip
def test_fields_come_from_the_template(
    said: io.StringIO, template: str, arguments: tuple[object, ...], wanted: dict[str, Any]
) -> None:
    if template.startswith("no number"):
        wanted = {"event": template, "arguments": list(arguments)}
    assert fields(write(said, template, *arguments)) == wanted


@pytest.mark.parametrize("template", ["read key=%r", "read key=%s", "read %s", "read key=<%s>"])
def test_a_hostile_value_makes_up_nothing(said: io.StringIO, template: str) -> None:
    line = write(said, template, HOSTILE)
    assert len(said.getvalue().splitlines()) == 1
    assert said.getvalue().isascii()
    assert line["level"] == "warning"
    assert fields(line).keys() <= {"event", "key"}
    assert HOSTILE in "".join(fields(line).values())


def test_lines_for_people_are_not_forged(said: io.StringIO) -> None:
    shown = write(said, "failed error=%s", HOSTILE, form=logs.CONSOLE)
    first, *more = shown.rstrip("\n").split("\n")
    assert " WARNING s3discovery.discovery failed error=x" in first
    assert all(line.startswith("    ") for line in more)
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\u2028" not in shown


def test_a_traceback_stays_in_its_line(said: io.StringIO) -> None:
    with logging_to(said):
        try:
            raise ValueError("of a bug")
        except ValueError as error:
            logging.getLogger("x").error("it broke", exc_info=error)
            sys.excepthook(type(error), error, error.__traceback__)
    one, other = read(said)
    assert one["exception"].endswith("ValueError: of a bug")
    assert (other["level"], other["event"]) == ("critical", "ended by a bug in s3discovery")
    assert "Traceback" in other["exception"]


def test_the_level_holds_and_amqtt_is_quieter(said: io.StringIO) -> None:
    with logging_to(said):
        logging.getLogger("x").debug("unheard")
        logging.getLogger("amqtt.broker").info("unheard")
        assert logs.are_json()
    assert read(said) == []
