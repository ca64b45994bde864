"""How figures are shown: a table for people, the same for scripts."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `is_ok` None: there is nothing to compare it with, it is only told.

    `note` says what it was compared with or how it spread."""

    what: str
    value: float
    unit: str
    wanted: str = ""
    is_ok: bool | None = None
    note: str = ""

    def __str__(self) -> str:
        verdict = {None: "", True: "ok", False: "MISSED"}[self.is_ok]
        wanted = f"wanted {self.wanted}" if self.wanted else ""
        return f"  {verdict:7}{self.what:52}{self.value:>9.4g} {self.unit:9}{wanted:18}{self.note}".rstrip()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the bench: its figures, and the raw numbers behind them for scripts."""

    name: str
    figures: Sequence[Figure]
    raw: Any = field(default=None)

    def as_json(self) -> dict[str, Any]:
        return {"figures": [asdict(figure) for figure in self.figures], "raw": self.raw}


def progress(what: str) -> None:
    """Say on a terminal what is being measured; an empty text takes that away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)


def show_figures(figures: Sequence[Figure]) -> None:
    for figure in figures:
        print(figure)
    print(flush=True)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, every column as wide as it needs, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
    print(flush=True)
