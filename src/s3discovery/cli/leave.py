"""`s3discovery leave`: take the node of this machine out of its broker's cluster."""

from pathlib import Path

import click

from s3discovery import control
from s3discovery.cli.options import common, start_logging
from s3discovery.cli.signals import until_signal
from s3discovery.wiring import Origins


@click.command()
@common
def leave(origins: Origins, log_level: str | None) -> None:
    """Take the node that runs here out of its cluster for good, and end it.

    Stopping is not leaving: a node that is stopped stays a member of its broker's cluster and returns to it.
    Run this as the node's user, with its settings. The broker gives up its place in the cluster in good
    order, then the node file goes, then the node ends. It lasts as long as the broker takes. Ends with 0 only
    if the node has left: after Ctrl-C, with 1, it may still be leaving.

    \b
    Example:
      s3discovery leave -c s3discovery.properties
    """
    from s3discovery import screens

    start_logging(log_level, "error")
    path = control.socket_path(origins.read())
    with screens.waiting("leaving the cluster"):
        has_left = until_signal(_ask(path))
    if not has_left:
        raise click.ClickException(
            "interrupted before the node answered: it may still be leaving. Look at its log, or ask again "
            "with `s3discovery leave`: once it has left, no node runs here"
        )
    click.echo("left the cluster", err=True)


async def _ask(path: Path) -> bool:
    """Return True, which an interruption does not, once the node says that it has left."""
    await control.ask_to_leave(path)
    return True
