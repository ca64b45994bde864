"""`s3discovery observe`: everything that tells of a cluster, without being a node of it."""

import asyncio
import os

import click

from s3discovery import wiring
from s3discovery.cli.options import common, start_service_logging
from s3discovery.cli.signals import until_signal
from s3discovery.systemd import Systemd
from s3discovery.wiring import Origins


@click.command()
@common
def observe(origins: Origins, log_level: str | None) -> None:
    """Watch a cluster for others, without a node of its own: DNS, as the settings ask for.

    Reads the bucket and never writes to it, so it may watch the bucket of HiveMQ nodes, with permission to
    read alone. Logs who comes and goes. Runs until SIGTERM or Ctrl-C.

    \b
    Example:
      s3discovery observe -c s3discovery.properties -o dns-listen=127.0.0.1:5353
    """
    start_service_logging(log_level, origins)
    until_signal(_observe(origins))


async def _observe(origins: Origins) -> None:
    async with wiring.observing(origins, Systemd(os.environ, pid=os.getpid())):
        await asyncio.Event().wait()
