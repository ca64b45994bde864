"""What `watch` shows in a terminal: the page in words.

What is wrong stands on top, then the members by the parts of their cluster, then what happened. All of it
fits the height of the terminal; of many members those come first that something is wrong with.
"""

import math
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from s3discovery.node import Member
from s3discovery.observation.journal import Event
from s3discovery.observation.moment import Moment
from s3discovery.observation.troubles import BAD, NOTE, WARNING, Trouble, troubles
from s3discovery.screens import duration
from s3discovery.topology import Topology, topology

EVENTS_SHOWN = 10
_ROWS_LEAST = 3  # of members, however low the terminal is
_BAR = 10
_STYLES = {BAD: "bold red", WARNING: "bold yellow", NOTE: "bold cyan"}
_SIGNS = {BAD: "x", WARNING: "!", NOTE: "i"}
_SENTENCES = {
    "joined": "{cluster_id} joined at {host}:{port}",
    "left": "{cluster_id} left",
    "moved": "{cluster_id} changed, is at {host}:{port}",
    "store": "the store cannot be listed: {error}",
    "cluster": "cluster {state}",
    "skipped": "file {key} cannot be used: {reason}",
    "readable": "file {key} is in order or gone",
    "trouble": "{title}",
    "cured": "over: {title}",
}
# Categories of characters that hide, reorder or end what is shown.
_TREACHEROUS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS_ALLOWED = 2  # in a row: letters of living languages take no more


def legible(text: str) -> str:
    """Return `text` with every character spelled out that hides, reorders or overprints others."""
    shown, marks = [], 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category.startswith("M") else 0
        is_bad = category in _TREACHEROUS or marks > _MARKS_ALLOWED
        shown.append(f"<U+{ord(char):04X}>" if is_bad else char)
    return "".join(shown)


class WatchScreen:
    """The live screen; `draw` it as often as something may have changed."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.__exit__(None, None, None)

    def draw(self, moment: Moment, events: Sequence[Event]) -> None:
        """Show a moment, and the last of `events` (the oldest first)."""
        blocks = "█░" if self._console.encoding.startswith("utf") else "#."
        self._live.update(screen(moment, events, self._console.size, blocks))


def screen(moment: Moment, events: Sequence[Event], size: ConsoleDimensions, blocks: str = "█░") -> Group:
    """Return what stands in a terminal of `size`; `blocks` draw what is left of a life, and the rest."""
    wrong = [_wrong(trouble) for trouble in troubles(moment)]
    told = [_line(event) for event in events[-EVENTS_SHOWN:]]
    head = _head(moment)
    spent = sum(_height(text, size.width) for text in (head, *wrong)) + len(told)
    around = 4 if wrong else 5  # empty lines, the headings, and how many more there are
    table = _members(moment, max(_ROWS_LEAST, size.height - spent - around), blocks)
    calm = [] if wrong else [Text("nothing is wrong", "green")]
    return Group(head, *wrong, *calm, Text(), table, Text(), *told)


def _height(text: Text, width: int) -> int:
    return sum(math.ceil(max(1, line.cell_len) / width) for line in text.split("\n"))


def _head(moment: Moment) -> Text:
    count = len(moment.members)
    where = legible(f"s3://{moment.bucket}/{moment.prefix}")
    head = Text(f"{count} {'member' if count == 1 else 'members'} in {where}   ", "bold")
    answers = moment.status.error is None
    head += Text("store answers" if answers else "store fails", "green" if answers else "red")
    if (ago_s := moment.listed_s_ago) is not None:
        head += Text(f"   listed {duration(ago_s)} ago", "dim")
    if (until_s := moment.status.credentials_until_s) is not None:
        head += Text(f"   credentials until {_utc(until_s)}", "dim")
    return head


def _wrong(trouble: Trouble) -> Text:
    text = Text(f"{_SIGNS[trouble.severity]} {legible(trouble.title)}\n", _STYLES[trouble.severity])
    text.append(f"  {legible(trouble.effect)}\n", "not bold default")
    text.append(f"  > {legible(trouble.cure)}", "not bold default")
    return text


def _members(moment: Moment, limit: int, blocks: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("cluster id", "address", "file age", "expires in", "broker", "does not see"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    found = topology(moment.members)
    left = limit
    for title, ids in _parts(found):
        members = sorted(
            (m for m in moment.members if m.cluster_id in ids), key=lambda m: _urgency(m, moment)
        )
        if title:
            table.add_row(Text(f"{title} ({len(members)})", "bold"))
            left -= 1
        for member in members[: max(0, left)]:
            table.add_row(*_row(member, moment, blocks))
        if len(members) > max(0, left):
            table.add_row(Text(f"... and {len(members) - max(0, left)} more", "dim"))
        left -= len(members)
    return table


def _parts(found: Topology) -> Iterator[tuple[str, frozenset[str]]]:
    for number, group in enumerate(found.groups, 1):
        title = f"part {number} of {len(found.groups)}" if found.is_split else ""
        yield title, frozenset(group)
    if found.waiting:
        yield "waiting to join", frozenset(found.waiting)


def _urgency(member: Member, moment: Moment) -> tuple[bool, bool, str]:
    return not member.report.missing, not moment.is_late(member), member.cluster_id


def _row(member: Member, moment: Moment, blocks: str) -> Iterable[Text]:
    age_s, left_s = moment.age_s(member), moment.expires_in_s(member)
    is_own = moment.own is not None and moment.own.cluster_id == member.cluster_id
    yield Text(legible(member.cluster_id) + (" (own)" if is_own else ""))
    yield Text(legible(str(member.address)))
    yield Text("?" if age_s is None else duration(age_s))
    yield _life(left_s, moment, blocks, is_late=moment.is_late(member))
    yield Text({True: "formed", False: "waiting", None: "-"}[member.report.is_formed])
    yield Text(legible(", ".join(sorted(member.report.missing))), "yellow")


def _life(left_s: float | None, moment: Moment, blocks: str, *, is_late: bool) -> Text:
    if left_s is None:
        return Text("?" if moment.now_s is None else "never", "dim")
    full = min(_BAR, max(0, math.ceil(_BAR * left_s / moment.expiration_s)))
    style = "dim" if moment.status.error is not None else "yellow" if is_late else "green"
    if is_late and full <= 1:
        style = "red"
    return Text(blocks[0] * full + blocks[1] * (_BAR - full), style) + Text(
        f" {duration(left_s)}" if left_s > 0 else " kept", "default"
    )


def _line(event: Event) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(event.wall_s))
    return Text(
        f"{at} {legible(_sentence(event.kind, event.data))}", "dim", no_wrap=True, overflow="ellipsis"
    )


def _sentence(kind: str, data: dict[str, Any]) -> str:
    if kind == "left" and data["expires_in_s"] is not None and data["expires_in_s"] <= 0:
        return f"{data['cluster_id']} expired: its file was {duration(data['age_s'])} old"
    if kind == "store" and data["answers"]:
        return "the store can be listed again"
    # Others are told to nodes alone, and whoever watches is none. Values are put in, and not interpreted.
    return _SENTENCES.get(kind, kind).format_map(data)


def _utc(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return "?"
