"""What happened lately: changes between two moments, numbered, so that a reader can go on where he was.

Pure: told of each moment, it says what is new. Kinds: joined, left, moved, store, cluster, skipped, readable,
rival, registered; trouble and cured for what else of `troubles` comes and goes.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from s3discovery.membership import difference
from s3discovery.observation.documents import member_document
from s3discovery.observation.moment import Moment
from s3discovery.observation.troubles import Trouble, troubles

KEPT = 1000
KINDS = (
    "joined",
    "left",
    "moved",
    "store",
    "cluster",
    "skipped",
    "readable",
    "rival",
    "registered",
    "trouble",
    "cured",
)
# Troubles that other kinds of events tell of.
_TOLD = frozenset(
    {"store", "start", "split", "gaps", "waiting", "broker", "missing", "files", "rival", "empty"}
)


@dataclass(frozen=True, slots=True)
class Event:
    """One change: `number` counts up from 1, `wall_s` is the local clock as Unix seconds."""

    number: int
    wall_s: float
    kind: str
    data: dict[str, Any]


class Journal:
    """The last events; older ones are forgotten, and who asks for them is told so."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._number = 0
        self._before: Moment | None = None
        self._troubles: Mapping[str, Trouble] = {}

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._number

    def note(self, moment: Moment, wall_s: float) -> bool:
        """Take in a moment; True if it brought anything new."""
        found = {trouble.kind: trouble for trouble in troubles(moment)}
        news = (*_changes(self._before, moment), *_troubled(self._troubles, found))
        # Only now: if one of these fails, the next moment brings what is missing.
        self._before, self._troubles = moment, found
        for kind, data in news:
            self._number += 1
            self._events.append(Event(self._number, wall_s, kind, data))
        return bool(news)

    def recent(self, count: int) -> tuple[Event, ...]:
        """Return the last `count` events, the oldest first."""
        return tuple(islice(self._events, max(0, len(self._events) - count), None))

    def since(self, number: int) -> tuple[Event, ...] | None:
        """Return the events after `number`; None if some of them are forgotten, or were never there."""
        first = self._events[0].number if self._events else self._number + 1
        if not first - 1 <= number <= self._number:
            return None
        return tuple(event for event in self._events if event.number > number)


def _changes(before: Moment | None, now: Moment) -> Iterator[tuple[str, dict[str, Any]]]:
    known = {member.cluster_id: member for member in before.members} if before is not None else {}
    for change in difference(known, {member.cluster_id: member for member in now.members}):
        yield change.kind, member_document(change.member, now)
    if before is None:
        return
    if (before.status.error is None) != (now.status.error is None):
        error = now.status.error
        yield "store", {"answers": error is None, "error": None if error is None else str(error)}
    states = [str(moment.topology) for moment in (before, now)]
    if states[0] != states[1] or before.cluster_state != now.cluster_state:
        yield (
            "cluster",
            {"state": states[1], "broker": None if now.cluster_state is None else now.cluster_state.text},
        )
    for key, reason in sorted(now.status.problems.items()):
        if before.status.problems.get(key) != reason:
            yield "skipped", {"key": key, "reason": reason}
    for key in sorted(before.status.problems.keys() - now.status.problems.keys()):
        yield "readable", {"key": key}
    if now.status.rival is not None and before.status.rival != now.status.rival:
        yield "rival", {"address": str(now.status.rival.address)}
    if before.status.registered != now.status.registered:
        yield "registered", {"registered": now.status.registered}


def _troubled(
    before: Mapping[str, Trouble], now: Mapping[str, Trouble]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for what, found in (("trouble", now.keys() - before.keys()), ("cured", before.keys() - now.keys())):
        for kind in sorted(found - _TOLD):
            trouble = now[kind] if kind in now else before[kind]
            yield what, {"kind": kind, "severity": trouble.severity, "title": trouble.title}
