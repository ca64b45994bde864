"""`s3discovery run`: be a node."""

import asyncio
import logging

import click

from s3discovery import wiring
from s3discovery.agent import Agent
from s3discovery.brokers import Broker
from s3discovery.cli.options import common, start_logging
from s3discovery.cli.output import give_up_output, print_changes
from s3discovery.cli.signals import until_signal
from s3discovery.discovery import Discovery
from s3discovery.errors import DiscoveryError
from s3discovery.wiring import Origins

log = logging.getLogger(__name__)


@click.command()
@common
@click.option("--events", is_flag=True, help="Print who joins, leaves or moves as lines of JSON.")
def run(origins: Origins, log_level: str | None, events: bool) -> None:
    """Be a node: register in the bucket, find the others, keep the broker clustered.

    Runs until SIGTERM or Ctrl-C, and then takes its file out of the bucket.

    \b
    Example:
      s3discovery run -c s3discovery.properties -o broker=amqtt
    """
    start_logging(log_level or "info")
    agent = wiring.make_agent(origins)
    until_signal(_run(agent, events=events))


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
        await print_changes(discovery, as_json=True)
    except OSError as error:
        log.warning("events cannot be written any more error=%s", error.strerror)
        give_up_output()


def _say_started(discovery: Discovery, broker: Broker | None) -> None:
    own = discovery.own
    if own is not None:
        kind = type(broker).__name__ if broker is not None else "none"
        log.info("node runs cluster_id=%r address=%s broker=%s", own.cluster_id, own.address, kind)
