"""`s3discovery status`: whether the cluster is whole, for people and scripts."""

import json
import sys

import click

from s3discovery import wiring
from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.cli.output import place
from s3discovery.cli.readiness import ask_readiness
from s3discovery.cli.signals import until_signal
from s3discovery.topology import Topology, topology
from s3discovery.wiring import Origins

_INCOMPLETE = 3
_SPLIT = 4
_NOT_TOLD = 5


@click.command()
@common
@format_option("table", "json")
@click.option("--here", is_flag=True, help="Ask the node that runs here (http-port) about itself alone.")
def status(origins: Origins, log_level: str | None, form: str, here: bool) -> None:
    """Tell whether the members form one cluster, by what their brokers report. Writes nothing.

    Exit codes: 0 one whole cluster, 3 somebody is waited for or nobody is there, 4 split: more than one
    cluster under this prefix, 5 not known, as no member's broker can tell (HiveMQ, broker:none), 1 the
    store could not be asked, 2 wrong settings.

    With --here nobody asks the store: the node of these settings, on this machine, says whether it does its
    work (as /readyz does). Exit codes: 0 it does, 1 it does not or does not answer; for health checks. The
    token is neither needed nor sent; where one is set, why not is told by way of control-socket, to the
    user that the node runs as.

    \b
    Example:
      s3discovery status -c s3discovery.properties --format json
    """
    from s3discovery import screens

    start_logging(log_level, "critical")
    settings = origins.read()
    if here:
        is_ready, reason = ask_readiness(settings)
        click.echo(json.dumps({"ready": is_ready, "reason": reason}) if form == "json" else reason)
        sys.exit(0 if is_ready else 1)
    with screens.waiting(f"looking at {place(settings)}"):
        seen = until_signal(wiring.look(origins, settings))
    if seen is None:
        raise click.Abort
    found = topology(seen.members)
    rows = screens.status_rows(seen.members, seen.now_s, settings.cluster_id)
    if form == "json":
        screens.print_json(screens.status_document(found, rows))
    else:
        click.echo(screens.status_line(found) if rows else f"no members in {place(settings)}")
        screens.print_table(screens.status_table(rows, found))
    screens.print_problems(seen.problems)
    if seen.failure is not None:
        raise seen.failure
    sys.exit(_code(found) if rows else _INCOMPLETE)


def _code(found: Topology) -> int:
    if found.is_split:
        return _SPLIT
    if not found.is_told:
        return _NOT_TOLD
    return 0 if found.is_whole else _INCOMPLETE
