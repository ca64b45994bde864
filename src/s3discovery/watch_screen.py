"""What `watch` shows in a terminal: the page in words.

What is wrong stands on top, then the members by the parts of their cluster, then what happened. From 60
columns and 16 lines on, all of it fits the terminal: troubles are told in fewer words where there are many,
of members those come first that something is wrong with. In a narrow terminal less is told of each member, so
that there is room for who it is: what is needed least goes first.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from rich import get_console
from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

from s3discovery.legibility import legible
from s3discovery.node import Address, Member
from s3discovery.observation.journal import Event
from s3discovery.observation.moment import Moment
from s3discovery.observation.troubles import BAD, NOTE, WARNING, Trouble, troubles
from s3discovery.screens import duration
from s3discovery.topology import Topology, standings

EVENTS_SHOWN = 10
_EVENTS_PART = 4  # of the height, for events
_ROWS_LEAST = 3  # of members, however low the terminal is
_PART_LEAST = 3  # rows of a part: its title, somebody, and how many more
_BETWEEN = 3  # lines: two empty ones, and the headings of the table
_HEAD_LINES = 2
_LONGEST_CHARS = 2000  # of one text; errors and reports come from outside
# What is told of members: in how little room it tells something still, and how wide it is let before there is
# room for what is needed less.
_COLUMNS = (
    ("cluster id", 1, 20),
    ("address", 21, 47),  # 255.255.255.255:65535, and as long an IPv6 address
    ("file age", 20, 20),
    ("expires in", 20, 20),
    ("broker", 20, 20),
    ("does not see", 12, 20),
)
# Those first that are needed most: the age tells little beside the life that is left, and the parts of a
# split cluster have titles, which tell what the broker's column does.
_NEEDED = (0, 3, 1, 5, 2, 4)
_GAP = "  "
_BAR = 10
_BAR_FROM = 100  # columns; in fewer it would take the room of names
_ALL = sys.maxsize
# How many lines a trouble gets for its title, its effect and its cure: the first that fits is taken.
_SHAPES = ((_ALL, _ALL, _ALL), (2, 1, 1), (2, 0, 1), (1, 0, 1), (1, 0, 0))
_STYLES = {BAD: "bold red", WARNING: "bold yellow", NOTE: "bold cyan"}
_SIGNS = {BAD: "x", WARNING: "!", NOTE: "i"}
Row = Sequence[Text]
"""A cell for each of the columns."""

_SENTENCES = {
    "joined": "{cluster_id} joined at {address}",
    "left": "{cluster_id} left",
    "moved": "{cluster_id} changed, is at {address}",
    "store": "the store cannot be listed: {error}",
    "cluster": "cluster {state}",
    "skipped": "file {key} cannot be used: {reason}",
    "readable": "file {key} is in order or gone",
    "trouble": "{title}",
    "cured": "over: {title}",
}


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
    return Group(*head, *wrong, Text(), *table, Text(), *told)


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


def _members(moment: Moment, limit: int, width: int, blocks: str) -> list[Text]:
    """Return the members, and what stands between them, in at most `limit` lines below the headings."""
    blocks = blocks if width >= _BAR_FROM else ""
    standing = standings(moment.topology)
    lines = [
        each if isinstance(each, Text) else _row(each, moment, standing[each.cluster_id], blocks)
        for each in _chosen(moment, limit)
    ]
    layout = _layout([line for line in lines if not isinstance(line, Text)], width)
    headings = [Text(name, "bold") for name, _, _ in _COLUMNS]
    return [
        _fitted(line, width) if isinstance(line, Text) else _laid(line, layout) for line in (headings, *lines)
    ]


def _chosen(moment: Moment, limit: int) -> Iterator[Member | Text]:
    """Give the members that are shown, and lines that tell of what part they are, and how many are not."""
    every = list(_parts(moment))
    shown = every[: max(1, (limit - 1) // _PART_LEAST)]
    limit -= len(every) > len(shown)
    sizes = [len(members) + bool(title) for title, members in shown]
    for (title, members), share in zip(shown, _shares(sizes, limit), strict=True):
        if title:
            yield Text(f"{title} ({len(members)})", "bold")
        left = share - bool(title)
        fitting = members if len(members) <= left else members[: max(0, left - 1)]
        yield from fitting
        if len(fitting) < len(members):
            yield Text(f"... and {len(members) - len(fitting)} more", "dim")
    if rest := every[len(shown) :]:
        count = sum(len(members) for _, members in rest)
        yield Text(f"... and {count} in {len(rest)} more parts", "dim")


def _layout(rows: Sequence[Row], width: int) -> dict[int, int]:
    """Return the columns that are shown, from left to right, and how wide each is.

    A column that is empty in all rows is not shown; where one is cut, none that is needed less is."""
    wanted = {place: max((row[place].cell_len for row in rows), default=1) for place in _NEEDED}
    wanted = {place: max(cells, len(_COLUMNS[place][0])) for place, cells in wanted.items() if cells}
    given, room = dict[int, int](), width
    for place, cells in wanted.items():
        _, least, most = _COLUMNS[place]
        full, gap = min(cells, most), len(_GAP) if given else 0
        if min(full, least) > room - gap:
            continue
        given[place] = min(full, room - gap)
        room -= gap + given[place]
    for place, cells in given.items():
        more = min(room, wanted[place] - cells)
        given[place] += more
        room -= more
    return dict(sorted(given.items()))


def _laid(row: Row, layout: dict[int, int]) -> Text:
    laid = Text(_GAP).join(_fitted(row[place], width, pad=True) for place, width in layout.items())
    laid.rstrip()
    return laid


def _fitted(text: Text, width: int, *, pad: bool = False) -> Text:
    text.truncate(width, overflow="ellipsis", pad=pad)
    return text


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """Deal out `limit` rows evenly; who wants less leaves the rest to the others."""
    shares = [0] * len(sizes)
    for turn, place in enumerate(sorted(range(len(sizes)), key=lambda place: sizes[place])):
        shares[place] = min(sizes[place], (limit - sum(shares)) // (len(sizes) - turn))
    return shares


def _parts(moment: Moment) -> Iterator[tuple[str, list[Member]]]:
    """Give the members of each part of the cluster, those first that something is wrong with."""
    by_id = {member.cluster_id: member for member in moment.members}
    for title, ids in _titled(moment.topology):
        yield title, sorted((by_id[each] for each in ids), key=lambda member: _urgency(member, moment))


def _titled(found: Topology) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, group in enumerate(found.groups, 1):
        yield (f"part {number} of {len(found.groups)}" if found.is_split else ""), group
    if found.waiting:
        yield "waiting to join", found.waiting
    if found.strangers:
        yield "telling nothing", found.strangers


def _urgency(member: Member, moment: Moment) -> tuple[bool, bool, str]:
    return not member.report.missing, not moment.is_late(member), member.cluster_id


def _row(member: Member, moment: Moment, standing: str, blocks: str) -> Row:
    age_s, left_s = moment.age_s(member), moment.expires_in_s(member)
    is_own = moment.own is not None and moment.own.cluster_id == member.cluster_id
    return (
        Text(_legible(member.cluster_id + (" (own)" if is_own else ""))),
        Text(_legible(str(member.address))),
        Text("?" if age_s is None else duration(age_s)),
        _life(left_s, moment, blocks, is_late=moment.is_late(member)),
        Text(standing),
        Text(_legible(", ".join(sorted(member.report.missing))), "yellow"),
    )


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
    if "host" in data:
        data = data | {"address": Address(data["host"], data["port"])}
    # Others are told to nodes alone, and whoever watches is none. Values are put in, and not interpreted.
    return _SENTENCES.get(kind, kind).format_map(data)


def _utc(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return "?"
