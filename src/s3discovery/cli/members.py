"""`s3discovery members`: who is in the cluster now."""

import click

from s3discovery import wiring
from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.cli.output import place
from s3discovery.cli.signals import until_signal
from s3discovery.wiring import Origins


@click.command()
@common
@format_option("table", "json")
def members(origins: Origins, log_level: str | None, form: str) -> None:
    """Show who is in the cluster now. Writes nothing to the bucket.

    \b
    Example:
      s3discovery members -c s3discovery.properties --format json
    """
    from s3discovery import screens

    start_logging(log_level, "critical")
    settings = origins.read()
    with screens.waiting(f"looking at {place(settings)}"):
        seen = until_signal(wiring.look(origins, settings))
    if seen is None:
        raise click.Abort
    rows = screens.member_rows(seen.members, seen.now_s, settings.cluster_id)
    if form == "json":
        screens.print_json(rows)
    elif rows:
        screens.print_table(screens.members_table(rows))
    else:
        click.echo(f"no members in {place(settings)}", err=True)
    screens.print_problems(seen.problems)
    if seen.failure is not None:
        raise seen.failure
