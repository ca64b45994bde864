"""What several commands say, and what becomes of an output that nobody reads any more."""

import os
import sys

from s3discovery.discovery import Discovery
from s3discovery.settings.config import Settings


def give_up_output() -> None:
    """Throw away what is still buffered: it would fail once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def print_changes(discovery: Discovery, *, as_json: bool) -> None:
    from s3discovery import screens

    async for change in discovery.changes():
        screens.print_change(change, as_json=as_json)


def place(settings: Settings) -> str:
    return f"s3://{settings.bucket_name}/{settings.file_prefix}"
