"""`s3discovery run`: be a node."""

import asyncio
import logging
import os
import signal
import sys

import click

from s3discovery import systemd, wiring
from s3discovery.agent import Agent
from s3discovery.brokers import Broker
from s3discovery.child import Child
from s3discovery.cli.options import common, start_service_logging
from s3discovery.cli.output import give_up_output, print_changes
from s3discovery.cli.signals import until_signal
from s3discovery.discovery import Discovery
from s3discovery.errors import DiscoveryError
from s3discovery.pid1 import stand_in_as_init
from s3discovery.program import without_store_keys
from s3discovery.wiring import Origins

log = logging.getLogger(__name__)


@click.command()
@common
@click.option("--events", is_flag=True, help="Print who joins, leaves or moves as lines of JSON.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGS]...]")
def run(origins: Origins, log_level: str | None, events: bool, program: tuple[str, ...]) -> None:
    """Be a node: register in the bucket, find the others, keep the broker clustered.

    Runs until SIGTERM or Ctrl-C, and then takes its file out of the bucket. The broker stays a member of
    its own cluster: stopping is not leaving. SIGHUP has the settings read again.

    With a PROGRAM, such as the broker, it finds the peers first, writes what the broker needs, starts the
    program, passes signals on to it, and ends when it ends, with its exit code: fit to be the entry point of
    a container. A program that does not exist is code 127, one that cannot be executed 126, and no node is
    registered then. The keys to the store that are in the environment are not passed on to it.

    \b
    Example:
      s3discovery run -c s3discovery.properties -o broker=amqtt
      s3discovery run -o broker=rabbitmq -- rabbitmq-server
    """
    # Until it is heard: the settings have not been read yet, so there is nothing to read again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stand_in_as_init()
    start_service_logging(log_level, origins)
    environ = {name: text for name, text in os.environ.items() if name not in systemd.VARIABLES}
    child = Child(program, without_store_keys(environ)) if program else None
    fault = child.fault() if child is not None else None
    if fault is not None:
        shell_code, why = fault
        log.critical("ended error=%s", why)
        sys.exit(shell_code)
    agent = wiring.make_agent(origins, child=child, systemd=systemd.Systemd(os.environ, pid=os.getpid()))
    code = until_signal(_run(agent, events=events), child=child, on_hangup=agent.reload)
    sys.exit(code or (child.code if child is not None else 0) or 0)


async def _run(agent: Agent, *, events: bool) -> int:
    code = 0
    refused: DiscoveryError | None = None
    printing: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as tasks:

        def started(discovery: Discovery, broker: Broker | None) -> None:
            _say_started(discovery, broker)
            if events:
                printing.append(tasks.create_task(_print_events(discovery), name="events"))

        try:
            code = await agent.run(started)
        except DiscoveryError as error:
            # Kept for outside of the task group, which would wrap it.
            refused = error
        for task in printing:
            task.cancel()
    if refused is not None:
        raise refused
    return code


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
