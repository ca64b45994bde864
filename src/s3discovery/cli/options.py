"""Options that many commands have."""

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from s3discovery import logs, wiring
from s3discovery.errors import SettingsError
from s3discovery.settings.keys import KEYS
from s3discovery.wiring import DEFAULT_FILE, Origins


def complete_setting(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the settings that begin so."""
    return [CompletionItem(f"{key.name}=", help=key.help) for key in KEYS if key.name.startswith(begun)]


def common(command: Callable[..., Any]) -> Callable[..., Any]:
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
            "-o",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=complete_setting,
            help="A setting; wins over the file.",
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


def format_option(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--format", "form", type=click.Choice(formats), default=formats[0], show_default=True)


def start_logging(level: str | None, default: str, *, with_remarks: bool = True) -> None:
    """Log lines for people, from `default` on where no level was asked for.

    What is remarked on the settings is told then at any rate, unless the command tells it otherwise: nobody
    else would say why it looks at another place than was meant."""
    logs.start_logging(level or default)
    is_told = with_remarks and level is None
    wiring.remarks_log.setLevel(logging.WARNING if is_told else logging.NOTSET)


def start_service_logging(level: str | None, origins: Origins) -> None:
    """Log as a service does: from info on, in the form that the settings ask for."""
    try:
        named = origins.values().get("log-format")
    except SettingsError:
        named = None  # told with all other problems when the settings are read
    logs.start_logging(level or "info", named.text if named is not None else logs.CONSOLE)
