"""How the demo is shown: live in a terminal, as plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from s3discovery.demo.node import Node


@dataclass(slots=True)
class Step:
    """One thing that the demo shows; `took_s` is None while it runs, `fault` says why it did not hold."""

    title: str
    began_s: float
    took_s: float | None = None
    detail: str = ""
    fault: str = ""


class PlainView:
    """A line for each step, when it is done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def show(self, steps: Sequence[Step], nodes: Sequence[Node], ages: Mapping[str, str]) -> None:
        """Show what has become of the last step; called at each change and now and then."""
        if steps and steps[-1].took_s is not None:
            step = steps[-1]
            mark = "FAILED" if step.fault else "ok"
            self.say(f"{mark:6} {step.took_s:6.2f} s  {step.title}{_ending(step)}")

    def say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class LiveView:
    """The steps so far and the nodes as they are now, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(exc_type, exc, traceback)

    def show(self, steps: Sequence[Step], nodes: Sequence[Node], ages: Mapping[str, str]) -> None:
        """Redraw; called at each change and now and then."""
        self._live.update(Group(_steps_table(steps), "", _nodes_table(nodes, ages)))

    def say(self, text: str) -> None:
        # A terminal may break a long line, this may not: a path or a command is to be copied.
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def choose_view() -> "PlainView | LiveView":
    """Choose the live view where a cursor can be moved."""
    console = Console()
    return LiveView(console) if sys.stdout.isatty() and not console.is_dumb_terminal else PlainView()


def _steps_table(steps: Sequence[Step]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for step in steps:
        if step.took_s is None:
            mark, took_s = Text("…", "yellow"), time.monotonic() - step.began_s
        else:
            mark, took_s = Text("✗", "bold red") if step.fault else Text("✓", "bold green"), step.took_s
        table.add_row(mark, Text(f"{took_s:.2f} s", "dim"), Text(step.title + _ending(step)))
    return table


def _nodes_table(nodes: Sequence[Node], ages: Mapping[str, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("node", "MQTT", "process", "file in the bucket", "sees"):
        table.add_column(column)
    for node in nodes:
        running = Text("runs", "green") if node.is_running else Text("ended", "red")
        sees = ", ".join(sorted(node.members)) if node.is_running else "-"
        table.add_row(
            node.cluster_id, f"127.0.0.1:{node.mqtt_port}", running, ages.get(node.cluster_id, "-"), sees
        )
    return table


def _ending(step: Step) -> str:
    ending = step.fault or step.detail
    return f": {ending}" if ending else ""
