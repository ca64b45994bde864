"""`s3discovery watch`: who joins and leaves, live."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.cli.output import print_changes
from s3discovery.cli.signals import until_signal
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import Settings
from s3discovery.settings.durations import read_poll_interval
from s3discovery.settings.kinds import WrongTextError
from s3discovery.wiring import Origins

if TYPE_CHECKING:
    from s3discovery.watch_screen import WatchScreen

_INTERVAL = "2s"
_DRAW_INTERVAL_S = 0.5


@click.command()
@common
@format_option("table", "json")
@click.option("--interval", default=_INTERVAL, show_default=True, help="How often to look.")
def watch(origins: Origins, log_level: str | None, form: str, interval: str) -> None:
    """Watch a cluster live: what is wrong, who is there, what happens. Writes nothing to the bucket.

    Until Ctrl-C. A screen in a terminal; in one that cannot draw (TERM=dumb), elsewhere, or with --format
    json, a line for each change.

    \b
    Example:
      s3discovery watch -c s3discovery.properties --interval 5s
    """
    from s3discovery.watch_screen import WatchScreen

    screen = WatchScreen()
    shown = screen if form == "table" and screen.is_possible else None
    # Lines of a log would break the screen, which tells what is wrong itself.
    start_logging(log_level, "error" if shown is None else "critical")
    origins, settings = _read(origins, interval)
    until_signal(_watch(origins, settings, shown, as_json=form == "json"))


def _read(origins: Origins, interval: str) -> tuple[Origins, Settings]:
    """Return the settings with `interval` for that of the polls, and where they are read from.

    Raises SettingsError with all problems; what is wrong with `interval` is said of the option."""
    problems = list[Problem]()
    try:
        read_poll_interval(interval)
    except WrongTextError as error:
        problems.append(Problem("--interval", interval, str(error)))
        interval = _INTERVAL
    origins = replace(origins, options=(*origins.options, f"poll-interval={interval}"))
    try:
        settings = origins.read()
    except SettingsError as error:
        raise SettingsError([*error.problems, *problems], error.origin) from error
    if problems:
        raise SettingsError(problems, "options")
    return origins, settings


async def _watch(
    origins: Origins, settings: Settings, screen: "WatchScreen | None", *, as_json: bool
) -> None:
    async with origins.open_bucket(settings) as bucket, Discovery(settings, bucket) as discovery:
        if screen is None:
            await print_changes(discovery, as_json=as_json)
        else:
            await _show(discovery, screen)


async def _show(discovery: Discovery, screen: "WatchScreen") -> None:
    from s3discovery.observation.journal import Journal
    from s3discovery.observation.moment import Moment
    from s3discovery.watch_screen import EVENTS_SHOWN

    clock, journal = SystemClock(), Journal()
    with screen:
        while True:
            moment = Moment.of(discovery, clock)
            journal.note(moment, clock.wall_s())
            screen.draw(moment, journal.recent(EVENTS_SHOWN))
            await asyncio.sleep(_DRAW_INTERVAL_S)
