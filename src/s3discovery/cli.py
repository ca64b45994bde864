"""The command line: wiring, signals, exit codes. Nothing else in the package ends the process.

Exit codes: 0 all well, 1 it failed (store, broker, network), 2 wrong settings or usage.
"""

import asyncio
import errno
import functools
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from s3discovery import wiring
from s3discovery.agent import Agent
from s3discovery.brokers import Broker
from s3discovery.config import Settings, describe
from s3discovery.discovery import Discovery
from s3discovery.errors import DiscoveryError, SettingsError
from s3discovery.wiring import DEFAULT_FILE, Origins

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from s3discovery.screens import WatchScreen

_Result = TypeVar("_Result")
_WATCH_INTERVAL = "2s"
_DRAW_INTERVAL_S = 0.5
_INTERRUPTED = 130  # what shells say of Ctrl-C


class _WrongSettings(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Turns errors of ours into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DiscoveryError as error:
            kind = _WrongSettings if isinstance(error, SettingsError) else click.ClickException
            raise kind(str(error)) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.errno != errno.ENOSPC:
                raise
            _give_up_output()
            raise click.ClickException(f"the output cannot be written: {error.strerror}") from error


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where settings come from."""
    options = (
        click.option(
            "-c",
            "--config",
            "file",
            type=click.Path(path_type=Path),
            help=f"Properties file; {DEFAULT_FILE} in this folder if there is one.",
        ),
        click.option(
            "-o", "options", multiple=True, metavar="KEY=VALUE", help="A setting; wins over the file."
        ),
        click.option(
            "-D",
            "java_properties",
            multiple=True,
            metavar="NAME=VALUE",
            help="A Java system property, for credentials-type:java_system_properties.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            help="How much is logged to standard error.",
        ),
    )

    @functools.wraps(command)
    def with_origins(
        file: Path | None, options: tuple[str, ...], java_properties: tuple[str, ...], **others: Any
    ) -> Any:
        """Take the file that was named, or the one in this folder, or none."""
        if file is None and DEFAULT_FILE.exists():
            file = DEFAULT_FILE
        return command(origins=Origins(file, options, os.environ, java_properties), **others)

    for option in reversed(options):
        with_origins = option(with_origins)
    return with_origins


def _format_option(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--format", "form", type=click.Choice(formats), default=formats[0], show_default=True)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="s3discovery")
def main() -> None:
    """MQTT brokers find each other through an S3 bucket and form a cluster.

    Settings come from a properties file (-c), from variables S3DISCOVERY_<KEY>, and from -o key=value.
    """
    # Ids and prefixes may be of any script, where the terminal is not.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@main.command()
@_common
@click.option("--events", is_flag=True, help="Print who joins, leaves or moves as lines of JSON.")
def run(origins: Origins, log_level: str | None, events: bool) -> None:
    """Be a node: register in the bucket, find the others, keep the broker clustered.

    Runs until SIGTERM or Ctrl-C, and then takes its file out of the bucket.

    \b
    Example:
      s3discovery run -c s3discovery.properties -o broker=amqtt
    """
    _start_logging(log_level or "info")
    agent = wiring.make_agent(origins)
    _until_signal(_run(agent, events=events))


@main.command()
@_common
@_format_option("table", "json")
def members(origins: Origins, log_level: str | None, form: str) -> None:
    """Show who is in the cluster now. Writes nothing to the bucket.

    \b
    Example:
      s3discovery members -c s3discovery.properties --format json
    """
    from s3discovery import screens

    _start_logging(log_level or "critical")
    settings = origins.read()
    with screens.waiting(f"looking at {_place(settings)}"):
        seen = _until_signal(wiring.look(origins, settings))
    if seen is None:
        raise click.Abort
    rows = screens.member_rows(seen.members, seen.now_s, settings.cluster_id)
    if form == "json":
        screens.print_json(rows)
    elif rows:
        screens.print_table(screens.members_table(rows))
    else:
        click.echo(f"no members in {_place(settings)}", err=True)
    screens.print_problems(seen.problems)
    if seen.failure is not None:
        raise seen.failure


@main.command()
@_common
@_format_option("table", "json")
@click.option("--interval", default=_WATCH_INTERVAL, show_default=True, help="How often to look.")
def watch(origins: Origins, log_level: str | None, form: str, interval: str) -> None:
    """Watch who joins and leaves, live, until Ctrl-C. Writes nothing to the bucket.

    A table in a terminal; otherwise, or with --format json, a line for each change.

    \b
    Example:
      s3discovery watch -c s3discovery.properties --interval 5s
    """
    _start_logging(log_level or "error")
    origins = replace(origins, options=(*origins.options, f"poll-interval={interval}"))
    settings = origins.read()
    _until_signal(_watch(origins, settings, as_json=form == "json"))


@main.command()
@_common
@_format_option("table", "json")
def config(origins: Origins, log_level: str | None, form: str) -> None:
    """Show every setting as it is understood, and where it was set. Secrets are masked.

    \b
    Example:
      s3discovery config -c s3discovery.properties -o poll-interval=10s
    """
    from s3discovery import screens

    _start_logging(log_level or "warning")
    resolved = describe(origins.read(as_node=True), origins.values())
    if form == "json":
        screens.print_json(
            {line.name: {"value": line.text, "origin": line.origin} for line in resolved},
        )
    else:
        screens.print_table(screens.settings_table(resolved))


@main.command()
@click.option(
    "--nodes", type=click.IntRange(3, 10), default=3, show_default=True, help="How many nodes start."
)
@click.option("--keep", is_flag=True, help="Leave everything running, print the addresses, wait for Ctrl-C.")
def demo(nodes: int, keep: bool) -> None:
    """Show it all on this machine: a real S3 server, real brokers, a real MQTT client.

    Nodes start, find each other, pass a message on, one joins late, one is killed, one leaves; every step
    is verified and timed. Nothing is left running.

    \b
    Example:
      s3discovery demo --nodes 5
    """
    from s3discovery.demo.scenario import run_demo

    _start_logging("error")
    held = _until_signal(run_demo(nodes=nodes, keep=keep))
    sys.exit(_INTERRUPTED if held is None else 0 if held else 1)


def _start_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s %(message)s"
    )
    if level != "debug":
        # amqtt tells every connection and packet at these levels.
        for noisy in ("amqtt", "transitions"):
            logging.getLogger(noisy).setLevel(logging.WARNING)


def _until_signal(main_coroutine: Coroutine[Any, Any, _Result]) -> _Result | None:
    """Run to the end, or to SIGTERM or Ctrl-C, which end it politely; None is returned then.

    A second signal ends what the first left to do."""

    async def guarded() -> _Result | None:
        loop, task, signals = asyncio.get_running_loop(), asyncio.current_task(), []

        def stop(number: int) -> None:
            signals.append(number)
            if task is not None:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        try:
            return await main_coroutine
        except asyncio.CancelledError:
            if not signals:
                raise
            return None
        finally:
            # Whatever is still to be waited for, such as a thread that hangs, yields to the next signal.
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    return asyncio.run(guarded())


async def _run(agent: Agent, *, events: bool) -> None:
    refused: DiscoveryError | None = None
    async with asyncio.TaskGroup() as tasks:

        def started(discovery: Discovery, broker: Broker | None) -> None:
            _say_started(discovery, broker)
            if events:
                tasks.create_task(_print_events(discovery), name="events")

        try:
            await agent.run(started)
        except DiscoveryError as error:
            # Kept for outside of the task group, which would wrap it.
            refused = error
    if refused is not None:
        raise refused


async def _print_events(discovery: Discovery) -> None:
    """Print changes for as long as somebody reads them; the node goes on without."""
    try:
        await _print_changes(discovery, as_json=True)
    except OSError as error:
        log.warning("events cannot be written any more error=%s", error.strerror)
        _give_up_output()


def _give_up_output() -> None:
    """Throw away what is still buffered: it would fail once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _print_changes(discovery: Discovery, *, as_json: bool) -> None:
    from s3discovery import screens

    async for change in discovery.changes():
        screens.print_change(change, as_json=as_json)


async def _watch(origins: Origins, settings: Settings, *, as_json: bool) -> None:
    from s3discovery import screens

    async with origins.open_bucket(settings) as bucket, Discovery(settings, bucket) as discovery:
        if as_json or not sys.stdout.isatty():
            await _print_changes(discovery, as_json=as_json)
            return
        with screens.WatchScreen(_place(settings)) as screen:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_note_changes(discovery, screen), name="changes")
                while True:
                    screen.draw(discovery.members, discovery.now_s, discovery.status)
                    await asyncio.sleep(_DRAW_INTERVAL_S)


async def _note_changes(discovery: Discovery, screen: "WatchScreen") -> None:
    async for change in discovery.changes():
        screen.note(change)


def _say_started(discovery: Discovery, broker: Broker | None) -> None:
    own = discovery.own
    if own is not None:
        kind = type(broker).__name__ if broker is not None else "none"
        log.info("node runs cluster_id=%r address=%s broker=%s", own.cluster_id, own.address, kind)


def _place(settings: Settings) -> str:
    return f"s3://{settings.bucket_name}/{settings.file_prefix}"
