"""`s3discovery observe`: everything that tells of a cluster, without being a node of it."""

import asyncio
import logging
import os

import click

from s3discovery import wiring
from s3discovery.cli.options import common, start_service_logging
from s3discovery.cli.signals import until_signal
from s3discovery.systemd import Systemd
from s3discovery.wiring import Origins

log = logging.getLogger(__name__)


@click.command()
@common
def observe(origins: Origins, log_level: str | None) -> None:
    """Watch a cluster for others, without a node of its own: by DNS, HTTP and metrics.

    dns-listen and http-port say which of them. Reads the bucket and never writes to it, so it may watch the
    bucket of HiveMQ nodes, with permission to read alone. Logs who comes and goes. Runs until SIGTERM or
    Ctrl-C; reads its settings at the start alone.

    \b
    Example:
      s3discovery observe -c s3discovery.properties -o dns-listen=127.0.0.1:5353
    """
    start_service_logging(log_level, origins)
    until_signal(_observe(origins), on_hangup=_go_on)


async def _observe(origins: Origins) -> None:
    async with wiring.observing(origins, Systemd(os.environ, pid=os.getpid())) as running:
        if running.settings.dns_listen is None and running.settings.http_port is None:
            log.warning(
                "neither dns-listen nor http-port is set, so this only logs who comes and goes: set one of "
                "them to have others told, or use s3discovery watch to look on"
            )
        await asyncio.Event().wait()


def _go_on() -> None:
    log.warning("observe goes on with the settings of its start; start it again to take up others")
