"""The frame of all commands: errors become messages and exit codes, logs go to standard error.

Exit codes: 0 all well, 1 it failed (store, broker, network) or was interrupted, 2 wrong settings or usage.
`status` has more, and `run -- program` ends with those of the program.
"""

import errno
import io
import logging
import os
import sys
from typing import Any

import click

from s3discovery import logs
from s3discovery.cli.output import give_up_output
from s3discovery.errors import DiscoveryError, SettingsError

log = logging.getLogger(__name__)


class _WrongSettings(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Turns errors of ours into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DiscoveryError as error:
            kind = _WrongSettings if isinstance(error, SettingsError) else click.ClickException
            if logs.are_json():
                log.critical("ended error=%s", error)
                raise click.exceptions.Exit(kind.exit_code) from error
            raise kind(str(error)) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.errno != errno.ENOSPC:
                raise
            give_up_output()
            raise click.ClickException(f"the output cannot be written: {error.strerror}") from error


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="s3discovery")
def main() -> None:
    """MQTT brokers find each other through an S3 bucket and form a cluster.

    Settings come from a properties file (-c), from variables S3DISCOVERY_<KEY>, and from -o key=value.
    """
    # Some terminals set what they do not know to 0, which rich would take for a width.
    for name in ("COLUMNS", "LINES"):
        if os.environ.get(name) == "0":
            del os.environ[name]
    # Ids and prefixes may be of any script, where the terminal is not.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
