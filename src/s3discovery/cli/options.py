"""Options that many commands have."""

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from s3discovery.wiring import DEFAULT_FILE, Origins


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
            "-o", "options", multiple=True, metavar="KEY=VALUE", help="A setting; wins over the file."
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


def start_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s %(message)s"
    )
    if level != "debug":
        # amqtt tells every connection and packet at these levels.
        for noisy in ("amqtt", "transitions"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
