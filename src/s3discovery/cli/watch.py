"""`s3discovery watch`: who joins and leaves, live."""

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.cli.output import place, print_changes
from s3discovery.cli.signals import until_signal
from s3discovery.config import Settings
from s3discovery.discovery import Discovery
from s3discovery.wiring import Origins

if TYPE_CHECKING:
    from s3discovery.screens import WatchScreen

_INTERVAL = "2s"
_DRAW_INTERVAL_S = 0.5


@click.command()
@common
@format_option("table", "json")
@click.option("--interval", default=_INTERVAL, show_default=True, help="How often to look.")
def watch(origins: Origins, log_level: str | None, form: str, interval: str) -> None:
    """Watch who joins and leaves, live, until Ctrl-C. Writes nothing to the bucket.

    A table in a terminal; otherwise, or with --format json, a line for each change.

    \b
    Example:
      s3discovery watch -c s3discovery.properties --interval 5s
    """
    start_logging(log_level or "error")
    origins = replace(origins, options=(*origins.options, f"poll-interval={interval}"))
    settings = origins.read()
    until_signal(_watch(origins, settings, as_json=form == "json"))


async def _watch(origins: Origins, settings: Settings, *, as_json: bool) -> None:
    from s3discovery import screens

    async with origins.open_bucket(settings) as bucket, Discovery(settings, bucket) as discovery:
        if as_json or not sys.stdout.isatty():
            await print_changes(discovery, as_json=as_json)
            return
        with screens.WatchScreen(place(settings)) as screen:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_note_changes(discovery, screen), name="changes")
                while True:
                    screen.draw(discovery.members, discovery.now_s, discovery.status)
                    await asyncio.sleep(_DRAW_INTERVAL_S)


async def _note_changes(discovery: Discovery, screen: "WatchScreen") -> None:
    async for change in discovery.changes():
        screen.note(change)
