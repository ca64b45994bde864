"""What an examination shows to people: a line a check, as it becomes known, with the cure below it.

Texts from outside are in `found` and `cure` by their repr; of control characters, none is left in any case.
"""

import shutil
import sys
import textwrap
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from s3discovery.doctor.finding import CHECKS, Finding, Verdict, worst
from s3discovery.node import find_forbidden

_COLOURS = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAULT: "bold red",
    Verdict.NOT_REACHED: "dim",
    Verdict.NOT_TRIED: "dim",
}
_CHECK_WIDTH = max(len(check) for check in CHECKS)
_VERDICT_WIDTH = max(len(verdict) for verdict in Verdict)
_INDENT = _CHECK_WIDTH + _VERDICT_WIDTH + 4
_NARROWEST = 40


class Table:
    """Prints findings one by one; wrapped to the width of a terminal, a line each where a program reads."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True, highlight=False)
        width = shutil.get_terminal_size().columns - _INDENT
        self._width = max(width, _NARROWEST) if self._console.is_terminal else sys.maxsize

    def add(self, finding: Finding) -> None:
        head = Text(f"{finding.check:{_CHECK_WIDTH}}  ")
        head.append(f"{finding.verdict.value:{_VERDICT_WIDTH}}  ", _COLOURS[finding.verdict])
        for number, line in enumerate(self._wrap(finding.found)):
            self._print(head.append(line) if number == 0 else Text(" " * _INDENT + line))
        if finding.cure is not None:
            for line in self._wrap(f"cure: {finding.cure}"):
                self._print(Text(" " * _INDENT + line, "bold"))

    def end(self, findings: Iterable[Finding]) -> None:
        """Say how it came out."""
        all_found = tuple(findings)
        verdict = worst(all_found)
        counts = ", ".join(
            f"{number} {verdict.value if number == 1 else plural}"
            for verdict, plural in ((Verdict.FAULT, "faults"), (Verdict.WARNING, "warnings"))
            if (number := sum(finding.verdict is verdict for finding in all_found))
        )
        self._print(Text(counts or "all is well", _COLOURS[verdict]))

    def _wrap(self, text: str) -> list[str]:
        clean = "".join(char if find_forbidden(char) is None else " " for char in text)
        return textwrap.wrap(clean, self._width, break_on_hyphens=False) or [""]

    def _print(self, text: Text) -> None:
        self._console.print(text)
        self._console.file.flush()
