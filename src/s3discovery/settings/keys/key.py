"""What a setting is: how it is written, read, shown and explained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HIVEMQ_3 = "hivemq-3"
HIVEMQ_4 = "hivemq-4"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: how it is written, read, shown and explained.

    `default` is written as a user would; with neither default nor `required`, unset is None, and an
    empty text is unset. `read_4` reads it under compatibility:hivemq-4, where that differs."""

    name: str
    attribute: str
    read: Callable[[str], Any]
    help: str
    example: str
    default: str | None = None
    required: bool = False
    secret: bool = False
    show: Callable[[Any], str] = str
    read_4: Callable[[str], Any] | None = None

    def reader(self, compatibility: str) -> Callable[[str], Any]:
        """Return what reads this key under `compatibility`."""
        return self.read_4 if self.read_4 is not None and compatibility == HIVEMQ_4 else self.read
