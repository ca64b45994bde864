"""The manual page s3discovery(1), made from the commands and the table of settings."""

import re
from collections.abc import Iterator
from typing import Any

import click

from s3discovery.cli import main as commands
from s3discovery.settings.keys import KEYS

_EXIT_CODES = (
    ("0", "All is well."),
    ("1", "It failed: the store, the broker, the network."),
    ("2", "Wrong settings or usage."),
    ("3, 4", "See status and doctor. Of run, any code is that of the program behind it."),
)
_FILES = (
    ("s3discovery.properties", "The settings, if it is in the folder that a command is started in."),
    ("/etc/s3discovery/", "Where the systemd units that come with s3discovery look for settings."),
)


def page() -> str:
    """Return the page as roff, for the macros man."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by docs/generate.py from the code; do not edit.'
    yield '.TH S3DISCOVERY 1 "" "s3discovery" "User Commands"'
    yield ".SH NAME"
    yield "s3discovery \\- MQTT brokers find each other through an S3 bucket and form a cluster"
    yield ".SH SYNOPSIS"
    yield ".B s3discovery"
    yield ".I COMMAND"
    yield "[\\fIOPTIONS\\fR] [\\-\\- \\fIPROGRAM\\fR ...]"
    yield ".SH DESCRIPTION"
    yield _escaped(
        "Every node puts a small file with its address into a bucket and lists the files of the others; its "
        "broker then joins theirs. Settings come from a properties file, from variables S3DISCOVERY_<KEY>, "
        "and from options -o key=value."
    )
    yield ".SH COMMANDS"
    with click.Context(commands, info_name="s3discovery") as top:
        for name in commands.list_commands(top):
            command = commands.commands[name]
            with click.Context(command, info_name=name, parent=top) as context:
                yield from _command(command, context)
    yield ".SH SETTINGS"
    for key in KEYS:
        yield ".TP"
        yield f".B {_escaped(key.name)}"
        if key.default is not None:
            default = f"Default: {key.default or 'empty'}."
        else:
            default = "Required." if key.required else ""
        yield _escaped(f"{key.help} {default}".strip())
    for title, rows in (("EXIT STATUS", _EXIT_CODES), ("FILES", _FILES)):
        yield f".SH {title}"
        for term, meaning in rows:
            yield ".TP"
            yield f".B {_escaped(term)}"
            yield _escaped(meaning)
    yield ".SH ENVIRONMENT"
    yield _escaped(
        "S3DISCOVERY_<KEY> sets a setting: upper case, _ for -. The variables of AWS's own tools are "
        "understood, too; see the page on credentials. NOTIFY_SOCKET and WATCHDOG_USEC are systemd's."
    )


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS s3discovery {_escaped(f'{context.info_name} {usage}'.strip())}"
    paragraphs = re.split(r"\n\s*\n", command.help or "")
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        if "\b" in paragraph:
            yield ".nf"
            yield from (_escaped(line) for line in paragraph.replace("\b", "").strip("\n").split("\n"))
            yield ".fi"
        else:
            yield _escaped(" ".join(paragraph.split()))
    for parameter in command.get_params(context):
        record: Any = parameter.get_help_record(context)
        if record is not None:
            yield ".TP"
            yield f".B {_escaped(record[0])}"
            yield _escaped(record[1])


def _escaped(text: str) -> str:
    """Make `text` mean itself to roff: backslashes, hyphens, and what a line must not begin with."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
