"""`s3discovery config`: every setting as it is understood."""

import click

from s3discovery.cli.options import common, format_option, start_logging
from s3discovery.settings.config import describe
from s3discovery.wiring import Origins


@click.command()
@common
@format_option("table", "json")
def config(origins: Origins, log_level: str | None, form: str) -> None:
    """Show every setting as it is understood, and where it was set. Secrets are masked.

    \b
    Example:
      s3discovery config -c s3discovery.properties -o poll-interval=10s
    """
    from s3discovery import screens

    start_logging(log_level, "warning")
    resolved = describe(origins.read(as_node=True, serves=True), origins.values())
    if form == "json":
        screens.print_json(
            {line.name: {"value": line.text, "origin": line.origin} for line in resolved},
        )
    else:
        screens.print_table(screens.settings_table(resolved))
