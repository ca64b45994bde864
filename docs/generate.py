"""Writes docs/reference from the code: `python docs/generate.py`; with --check, tells whether it is stale."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from s3discovery.cli import main as commands
from s3discovery.keys import KEYS

REFERENCE = Path(__file__).parent / "reference"
_NOTE = "<!-- Made by docs/generate.py from the code; do not edit. -->"


def pages() -> Mapping[str, str]:
    """Return the text of every page of the reference by file name."""
    return {"settings.md": "\n".join(_settings()), "commands.md": "\n".join(_commands())}


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield _NOTE
    yield ""
    yield (
        "Written in `s3discovery.properties` (Java properties syntax), as a variable `S3DISCOVERY_<KEY>` "
        "(upper case, `_` for `-`), or as an option `-o key=value`. An option wins over a variable, that "
        "over the file. Durations take a suffix `ms`, `s`, `m`, `h` or `d`. `s3discovery config` shows what "
        "is in force."
    )
    yield ""
    yield "| key | default | meaning | example |"
    yield "|---|---|---|---|"
    for key in KEYS:
        default = (
            "**required**" if key.required else f"`{key.default}`" if key.default is not None else "not set"
        )
        yield f"| `{key.name}` | {default} | {key.help} | `{key.example}` |"
    yield ""


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield _NOTE
    yield ""
    yield "Exit codes: 0 all well, 1 it failed (store, broker, network), 2 wrong settings or usage."
    yield ""
    with click.Context(commands, info_name="s3discovery", max_content_width=100, terminal_width=100) as top:
        yield from _help(commands, top)
        for name in commands.list_commands(top):
            command = commands.commands[name]
            with click.Context(command, info_name=name, parent=top) as context:
                yield from _help(command, context)


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
        REFERENCE.mkdir(exist_ok=True)
        for name, text in pages().items():
            (REFERENCE / name).write_text(text, encoding="utf-8")
        return 0
    stale = [name for name, text in pages().items() if _read(REFERENCE / name) != text]
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run make docs\n")
    return 1 if stale else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
