"""Writes docs/reference and the manual page from the code: `python docs/generate.py`.

With --check, tells whether they are stale."""

import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import click

import manpage
from s3discovery.cli import main as commands
from s3discovery.http import openapi
from s3discovery.metrics import DESCRIPTIONS
from s3discovery.settings.keys import FIXED, KEYS, Key

ROOT = Path(__file__).parents[1]
_NOTE = "<!-- Made by docs/generate.py from the code; do not edit. -->"


def pages() -> Mapping[str, str]:
    """Return the text of every page by its path below the top folder."""
    made = {"settings": _settings(), "commands": _commands(), "metrics": _metrics(), "http": _http()}
    reference = {f"docs/reference/{name}.md": "\n".join(lines) for name, lines in made.items()}
    return {**reference, "man/s3discovery.1": manpage.page()}


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield _NOTE
    yield ""
    yield (
        "Written in `s3discovery.properties` (Java properties syntax), as a variable `S3DISCOVERY_<KEY>` "
        "(upper case, `_` for `-`), or as an option `-o key=value`. An option wins over a variable, that "
        "over the file. Durations take a suffix `ms`, `s`, `m`, `h` or `d`. `s3discovery config` shows what "
        "is in force. A running node follows its file, within a second; what is marked *at the start* waits "
        "for its next start, and the log names it."
    )
    yield ""
    yield "| key | default | meaning | example |"
    yield "|---|---|---|---|"
    for key in KEYS:
        mark = " *At the start.*" if key in FIXED else ""
        yield f"| `{key.name}` | {_default(key)} | {key.help}{mark} | `{key.example}` |"
    yield ""


def _default(key: Key) -> str:
    if key.default is None:
        return "**required**" if key.required else "not set"
    return f"`{key.default}`" if key.default else "empty"


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield _NOTE
    yield ""
    yield (
        "Exit codes: 0 all well, 1 it failed (store, broker, network) or was interrupted, 2 wrong settings "
        "or usage; `status` has more, `run -- PROGRAM` ends with the program's, and `demo` with 130 after "
        "Ctrl-C."
    )
    yield ""
    with click.Context(commands, info_name="s3discovery", max_content_width=100, terminal_width=100) as top:
        yield from _help(commands, top)
        for name in commands.list_commands(top):
            command = commands.commands[name]
            with click.Context(command, info_name=name, parent=top) as context:
                yield from _help(command, context)


def _metrics() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield _NOTE
    yield ""
    yield (
        "At `/metrics`, where `http-port` is set. Counters end in `_total` there, and a histogram becomes "
        "`_bucket`, `_sum` and `_count`. Those of the process (`python_...`, `process_...`) are there, too."
    )
    yield ""
    yield "| metric | meaning |"
    yield "|---|---|"
    for name, meaning in DESCRIPTIONS.items():
        yield f"| `{name}` | {meaning} |"
    yield ""


def _http() -> Iterator[str]:
    document = openapi.document(with_metrics=True)
    yield "# HTTP interface"
    yield ""
    yield _NOTE
    yield ""
    yield (
        "At `http-address` and `http-port`; `/` is the page for people. `/openapi.json` is this as an "
        "OpenAPI document. Where `http-token` is set, every request but those for health brings it: "
        "`Authorization: Bearer <token>`; by which host name it asks is all one then. Where none is set, "
        "other sites' pages, and host names that are not ours, are turned away. At most 200 connections are "
        "open at a time, 100 of one address; one that sends no request within 10 s is closed, and one that "
        "takes nothing of its answer for a minute."
    )
    yield ""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}"
            yield ""
            yield f"{operation['summary']}."
            yield ""
            for parameter in operation.get("parameters", ()):
                yield f"- `{parameter['name']}` in the {parameter['in']}: {_shape(parameter['schema'])}"
            for status, answer in operation["responses"].items():
                yield f"- **{status}**: {answer['description']} {_content(answer)}".rstrip()
            yield ""
    yield "## Shapes"
    yield ""
    yield "`version` is raised when a field changes its meaning or goes; new fields may come."
    yield ""
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name}"
        yield ""
        yield from _fields(schema)
        yield ""
    yield "## Events"
    yield ""
    yield (
        "The first event is a `snapshot` of all there is; the others tell changes, and have the time `at` "
        "(Unix seconds). The data of each is JSON in one line. A reader that comes back with "
        "`Last-Event-ID`, or with `last_event_id` in the query, goes on where it was, or gets a `snapshot` "
        "if too much has happened since. At least every 10 s there is an event or a comment. 64 readers have "
        "a place; one more ends the stream of the oldest, once that is five minutes old. Another token in "
        "the file ends the streams of the "
        "last one."
    )
    yield ""
    for schema, kinds in groupby(openapi.EVENTS, key=lambda kind: openapi.EVENTS[kind]):
        yield f"### {', '.join(kinds)}"
        yield ""
        yield from _fields(schema)
        yield ""


def _content(answer: Mapping[str, Any]) -> str:
    kinds = [f"`{kind}`, {_shape(what['schema'])}" for kind, what in answer.get("content", {}).items()]
    return f"({'; '.join(kinds)})" if kinds else ""


def _fields(schema: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    inner = schema.get("items", schema)
    if indent == "" and inner is not schema:
        yield "A list of:"
        yield ""
    for name, field in inner.get("properties", {}).items():
        yield f"{indent}- `{name}`: {_shape(field)}"
        nested = field.get("items", field)
        if "properties" in nested:
            yield from _fields(nested, indent + "  ")


def _shape(schema: Mapping[str, Any]) -> str:
    """Say in a few words what a JSON schema allows."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return "one of " + ", ".join(f"`{'null' if each is None else each}`" for each in schema["enum"])
    kind = schema["type"]
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if words == "array":
        return f"list of {_shape(schema['items'])}"
    return f"{words} from {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else words


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}"
    yield ""
    yield "```text"
    yield command.get_help(context)
    yield "```"
    yield ""


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    if "--check" not in sys.argv[1:]:
        for name, text in pages().items():
            (ROOT / name).parent.mkdir(exist_ok=True)
            (ROOT / name).write_text(text, encoding="utf-8")
        return 0
    stale = [name for name, text in pages().items() if _read(ROOT / name) != text]
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run make docs\n")
    return 1 if stale else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
