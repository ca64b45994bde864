"""What `watch` shows in a terminal: the page in words.

What is wrong stands on top, then the members by the parts of their cluster, then what happened. From 60
columns and 16 lines on, all of it fits the terminal: troubles are told in fewer words where there are many,
of members those come first that something is wrong with, and long names are cut before ages are. In fewer
columns less is told of each member, so that there is room for who it is.
"""

import math
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Any, Self

from rich import get_console
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
_EVENTS_PART = 4  # of the height, for events
_ROWS_LEAST = 3  # of members, however low the terminal is
_PART_LEAST = 3  # rows of a part: its title, somebody, and how many more
_BETWEEN = 3  # lines: two empty ones, and the headings of the table
_HEAD_LINES = 2
_LONGEST_CHARS = 2000  # of one text; errors and reports come from outside
# What is told of members, whether it is cut where it is long, and from how wide a terminal on it is told.
_COLUMNS = (
    ("cluster id", True, 0),
    ("address", True, 72),
    ("file age", False, 36),
    ("expires in", False, 24),
    ("broker", False, 48),
    ("does not see", True, 60),
)
_BAR = 10
_BAR_FROM = 100  # columns; in fewer it would take the room of names
_ALL = sys.maxsize
# How many lines a trouble gets for its title, its effect and its cure: the first that fits is taken.
_SHAPES = ((_ALL, _ALL, _ALL), (2, 1, 1), (2, 0, 1), (1, 0, 1), (1, 0, 0))
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
        # Drawn anew by `draw` alone: no thread of its own, and nothing is laid out twice.
        self._live = Live(console=self._console, auto_refresh=False)

    @property
    def is_possible(self) -> bool:
        """Whether standard output is a terminal on which lines can be drawn again."""
        return sys.stdout.isatty() and self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.__exit__(None, None, None)

    def draw(self, moment: Moment, events: Sequence[Event]) -> None:
        """Show a moment, and the last of `events` (the oldest first)."""
        blocks = "█░" if self._console.encoding.startswith("utf") else "#."
        self._live.update(screen(moment, events, self._console.size, blocks), refresh=True)


def screen(moment: Moment, events: Sequence[Event], size: ConsoleDimensions, blocks: str = "█░") -> Group:
    """Return what stands in a terminal of `size`; `blocks` draw what is left of a life, and the rest."""
    head = _folded(_head(moment, size.width), size.width, _HEAD_LINES)
    told = [_line(event) for event in events[-min(EVENTS_SHOWN, max(1, size.height // _EVENTS_PART)) :]]
    room = size.height - len(head) - len(told) - _BETWEEN
    wrong = _wrong(troubles(moment), size.width, room - _ROWS_LEAST) or [Text("nothing is wrong", "green")]
    table = _members(moment, max(_ROWS_LEAST, room - len(wrong)), size.width, blocks)
    return Group(*head, *wrong, Text(), table, Text(), *told)


def _legible(text: str) -> str:
    return legible(text if len(text) <= _LONGEST_CHARS else f"{text[:_LONGEST_CHARS]}…")


def _folded(text: Text, width: int, most: int) -> list[Text]:
    """Return `text` as at most so many lines of `width`; the last one tells if it is cut."""
    lines = list(text.wrap(get_console(), width))
    if len(lines) <= most:
        return lines
    for last in lines[most - 1 : most]:
        last.truncate(width - 1)
        last.append("…")
    return lines[:most]


def _head(moment: Moment, width: int) -> Text:
    count = len(moment.members)
    where = Text(_legible(f"s3://{moment.bucket}/{moment.prefix}"))
    where.truncate(width // 2, overflow="ellipsis")
    head = Text(f"{count} {'member' if count == 1 else 'members'} in ", "bold") + where + Text("   ")
    answers = moment.status.error is None
    head += Text("store answers" if answers else "store fails", "green" if answers else "red")
    if (ago_s := moment.listed_s_ago) is not None:
        head += Text(f"   listed {duration(ago_s)} ago", "dim")
    if (until_s := moment.status.credentials_until_s) is not None:
        head += Text(f"   credentials until {_utc(until_s)}", "dim")
    return head


def _wrong(found: Sequence[Trouble], width: int, room: int) -> list[Text]:
    """Return what is wrong in at most `room` lines: in as many words as fit, of too many the worst."""
    room = max(1, room)
    lines = list[Text]()
    for shape in _SHAPES:
        lines = [line for trouble in found for line in _told(trouble, width, shape)]
        if len(lines) <= room:
            return lines
    more = len(lines) - room + 1
    return [
        *lines[: room - 1],
        Text(f"... and {more} more that {'is' if more == 1 else 'are'} wrong", "bold"),
    ]


def _told(trouble: Trouble, width: int, shape: tuple[int, int, int]) -> Iterator[Text]:
    title = Text(f"{_SIGNS[trouble.severity]} {_legible(trouble.title)}", _STYLES[trouble.severity])
    yield from _folded(title, width, shape[0])
    for text, most in zip((trouble.effect, f"> {trouble.cure}"), shape[1:], strict=True):
        for line in _folded(Text(_legible(text)), max(1, width - 2), most):
            yield Text("  ") + line


def _members(moment: Moment, limit: int, width: int, blocks: str) -> Table:
    """Return the members in at most `limit` rows, the headings not counted."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    is_told = [width >= from_width for _, _, from_width in _COLUMNS]
    for name, is_cut, _ in compress(_COLUMNS, is_told):
        # rich takes width from columns that wrap; their cells do not.
        table.add_column(Text(name, no_wrap=True, overflow="ellipsis"), no_wrap=not is_cut)
    blocks = blocks if width >= _BAR_FROM else ""
    every = list(_parts(moment))
    shown = every[: max(1, (limit - 1) // _PART_LEAST)]
    limit -= len(every) > len(shown)
    sizes = [len(members) + bool(title) for title, members in shown]
    for (title, members), share in zip(shown, _shares(sizes, limit), strict=True):
        if title:
            table.add_row(Text(f"{title} ({len(members)})", "bold", no_wrap=True))
        left = share - bool(title)
        fitting = members if len(members) <= left else members[: max(0, left - 1)]
        for member in fitting:
            table.add_row(*compress(_row(member, moment, blocks), is_told))
        if len(fitting) < len(members):
            table.add_row(Text(f"... and {len(members) - len(fitting)} more", "dim", no_wrap=True))
    if rest := every[len(shown) :]:
        count = sum(len(members) for _, members in rest)
        table.add_row(Text(f"... and {count} in {len(rest)} more parts", "dim", no_wrap=True))
    return table


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """Deal out `limit` rows evenly; who wants less leaves the rest to the others."""
    shares = [0] * len(sizes)
    for turn, place in enumerate(sorted(range(len(sizes)), key=lambda place: sizes[place])):
        shares[place] = min(sizes[place], (limit - sum(shares)) // (len(sizes) - turn))
    return shares


def _parts(moment: Moment) -> Iterator[tuple[str, list[Member]]]:
    """Give the members of each part of the cluster, those first that something is wrong with."""
    found = topology(moment.members)
    by_id = {member.cluster_id: member for member in moment.members}
    for title, ids in _titled(found):
        yield title, sorted((by_id[each] for each in ids), key=lambda member: _urgency(member, moment))


def _titled(found: Topology) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, group in enumerate(found.groups, 1):
        yield (f"part {number} of {len(found.groups)}" if found.is_split else ""), group
    if found.waiting:
        yield "waiting to join", found.waiting


def _urgency(member: Member, moment: Moment) -> tuple[bool, bool, str]:
    return not member.report.missing, not moment.is_late(member), member.cluster_id


def _row(member: Member, moment: Moment, blocks: str) -> Iterable[Text]:
    age_s, left_s = moment.age_s(member), moment.expires_in_s(member)
    is_own = moment.own is not None and moment.own.cluster_id == member.cluster_id
    yield _name(member.cluster_id + (" (own)" if is_own else ""))
    yield _name(str(member.address))
    yield Text("?" if age_s is None else duration(age_s))
    yield _life(left_s, moment, blocks, is_late=moment.is_late(member))
    yield Text({True: "formed", False: "waiting", None: "-"}[member.report.is_formed])
    yield _name(", ".join(sorted(member.report.missing)), "yellow")


def _name(text: str, style: str = "") -> Text:
    return Text(_legible(text), style, no_wrap=True, overflow="ellipsis")


def _life(left_s: float | None, moment: Moment, blocks: str, *, is_late: bool) -> Text:
    if left_s is None:
        return Text("?" if moment.now_s is None else "never", "dim")
    full = min(_BAR, max(0, math.ceil(_BAR * left_s / moment.expiration_s)))
    style = "dim" if moment.status.error is not None else "yellow" if is_late else "green"
    if is_late and full <= 1:
        style = "red"
    left = duration(left_s) if left_s > 0 else "kept"
    if not blocks:
        return Text(left, style)
    return Text(blocks[0] * full + blocks[1] * (_BAR - full), style) + Text(f" {left}", "default")


def _line(event: Event) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(event.wall_s))
    return Text(
        f"{at} {_legible(_sentence(event.kind, event.data))}", "dim", no_wrap=True, overflow="ellipsis"
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
