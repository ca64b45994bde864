"""What cluster there really is, from what every node reports of its broker.

A node reports whether it belongs to a cluster of its engine, and which members its broker does not see;
the report travels in the metadata of the node file. In a whole cluster nobody misses anybody.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from s3discovery.node import INCARNATION, NO_REPORT, Member, Report, find_forbidden, is_blank

STATE = "state"  # of metadata, without the prefix
MISSING = "missing"
SPLIT = "split"  # how a split cluster is announced
_FORMED, _BLANK = "formed", "blank"
_STATES = {_FORMED: True, _BLANK: False}
# S3 takes 2 KB of metadata together. Where names do not fit, digests stand for them, as many as fit: enough
# for any parts that a cluster of 500 falls into.
_MISSING_LIMIT_BYTES = 1000
_DIGESTS = "#"  # no name begins so
_DIGESTS_LIMIT = 250
_DIGEST = re.compile(r"[A-Za-z0-9_-]{4}", re.ASCII)
_NAMED = 5  # of each kind; in a cluster of hundreds the rest is a number, or a line would be a megabyte


@dataclass(frozen=True, slots=True)
class Topology:
    """`groups`: the ids that see one another, the largest first, more than one if the cluster is split;
    `waiting`: those whose broker is in no cluster yet, or is seen by nobody, as far as is known; `gaps`:
    pairs within a group of which the first does not see the second. `strangers` tell nothing beside brokers
    that do, as HiveMQ's nodes beside others: nobody waits for them. `is_told`: somebody's broker can tell;
    where nobody's can, as with HiveMQ, there is one group of all, and nothing is known of it."""

    groups: tuple[tuple[str, ...], ...] = ()
    waiting: tuple[str, ...] = ()
    gaps: tuple[tuple[str, str], ...] = ()
    strangers: tuple[str, ...] = ()
    is_told: bool = True

    @property
    def is_split(self) -> bool:
        """Whether there is more than one cluster."""
        return len(self.groups) > 1

    @property
    def is_whole(self) -> bool:
        """Whether all members form one cluster, by what they tell."""
        return self.is_told and len(self.groups) <= 1 and not self.waiting and not self.gaps

    def __str__(self) -> str:
        beside = f"; {_some(self.strangers)} beside, telling nothing" if self.strangers else ""
        return f"{self._state()}{beside}"

    def _state(self) -> str:
        if self.is_split:
            return f"{SPLIT}: {_some([_some(group, ',') for group in self.groups], ' | ')}"
        size = len(self.groups[0]) if self.groups else 0
        if self.waiting:
            return f"waiting for {_some(self.waiting)} ({size}/{size + len(self.waiting)})"
        if not self.is_told:
            return f"{size} member{'' if size == 1 else 's'}, none tells of its broker"
        if self.gaps:
            return f"incomplete: {_some([f'{one} does not see {other}' for one, other in self.gaps])}"
        return f"formed {size}/{size}"


def standings(found: Topology) -> dict[str, str]:
    """Return by id how each member stands, in the words of the page."""
    inside = "in the cluster" if found.is_told else "tells nothing"
    outside = dict.fromkeys(found.waiting, "waits to join") | dict.fromkeys(found.strangers, "tells nothing")
    return outside | {
        name: f"in part {number} of {len(found.groups)}" if found.is_split else inside
        for number, group in enumerate(found.groups, 1)
        for name in group
    }


def _some(names: Sequence[str], between: str = ", ") -> str:
    """Return the first names, and how many more there are."""
    rest = len(names) - _NAMED
    return between.join((*names[:_NAMED], *([f"{rest} more"] if rest > 0 else [])))


def encode_report(report: Report, own_id: str) -> dict[str, str]:
    """Return the metadata that a report of `own_id` becomes; nothing for nothing."""
    metadata = {}
    if report.is_formed is not None:
        metadata[STATE] = _FORMED if report.is_formed else _BLANK
    if report.missing:
        names = ",".join(quote(name, safe="") for name in sorted(report.missing))
        metadata[MISSING] = names if len(names) <= _MISSING_LIMIT_BYTES else _as_digests(report, own_id)
    return metadata


def _as_digests(report: Report, own_id: str) -> str:
    """Return as many as fit, round from the own one: of a pair at least one names the other then."""
    own = _digest(own_id)
    digests = sorted(map(_digest, report.missing), key=lambda digest: (digest < own, digest))
    return _DIGESTS + "".join(digests[:_DIGESTS_LIMIT])


def decode_report(metadata: Mapping[str, str]) -> Report:
    """Return the report in `metadata`; whatever is not understood counts as not said."""
    if STATE not in metadata and MISSING not in metadata:
        return NO_REPORT
    is_formed, text = _STATES.get(metadata.get(STATE, "")), metadata.get(MISSING, "")
    if text.startswith(_DIGESTS):
        return Report(is_formed, digests=frozenset(_DIGEST.findall(text, len(_DIGESTS))))
    names = (unquote(name, errors="replace") for name in text.split(","))
    missing = frozenset(name for name in names if not is_blank(name) and find_forbidden(name) is None)
    return Report(is_formed, missing)


def spelled_out(members: Mapping[str, Member], own_id: str | None) -> dict[str, Member]:
    """Return `members` by id with the names that digests in their reports stand for; unknown ones go."""
    if not any(member.report.digests for member in members.values()):
        return dict(members)
    ids = {_digest(name): name for name in (*members, *([] if own_id is None else [own_id]))}
    return {name: replace(member, report=_spell_out(member.report, ids)) for name, member in members.items()}


def _spell_out(report: Report, ids: Mapping[str, str]) -> Report:
    found = frozenset(ids[digest] for digest in report.digests if digest in ids)
    return replace(report, missing=report.missing | found, digests=frozenset())


def _digest(name: str) -> str:
    """Return four characters that stand for an id: of 500 ids two are alike once in a hundred clusters."""
    return base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()[:3]).decode()


def without_report(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return `metadata` without what a report became."""
    return {key: value for key, value in metadata.items() if key not in (STATE, MISSING)}


def topology(members: Iterable[Member]) -> Topology:
    """Return what the reports of `members` amount to.

    Two members see each other unless one of them misses the other; whoever is seen by nobody and tells
    nothing is waited for."""
    members = tuple(members)
    by_id = {member.cluster_id: member.report for member in members}
    blank = {name for name, report in by_id.items() if report.is_formed is False}
    strangers = _strangers(members)
    placed = sorted(by_id.keys() - blank - strangers)
    is_quiet = not any(report.missing for report in by_id.values())
    groups: list[set[str]] = [set(placed)] if placed and is_quiet else []
    for name in placed if not is_quiet else ():
        near = [group for group in groups if any(_sees(by_id, name, other) for other in group)]
        merged = {name}.union(*near)
        groups = [group for group in groups if group not in near]
        groups.append(merged)
    told = [group for group in groups if len(groups) == 1 or any(_tells(by_id[name]) for name in group)]
    silent = {name for group in groups if group not in told for name in group}
    waiting = silent | blank
    ordered = sorted((tuple(sorted(group)) for group in told), key=lambda group: (-len(group), group))
    gaps = [
        (name, other)
        for group in ordered
        for name in group
        if by_id[name].missing  # or every pair would be looked at, in clusters that are whole
        for other in sorted(by_id[name].missing.intersection(group) - {name})
    ]
    is_told = not members or any(_can_tell(member) for member in members)
    return Topology(tuple(ordered), tuple(sorted(waiting)), tuple(gaps), tuple(sorted(strangers)), is_told)


def _strangers(members: Iterable[Member]) -> set[str]:
    """Return who is in the bucket alone, as far as anybody knows.

    Nobody misses such a one, so he would seem to be seen by all parts of a split cluster."""
    if not any(member.report.is_formed is not None or _publishes(member) for member in members):
        return set()
    missed = {name for member in members for name in member.report.missing}
    return {member.cluster_id for member in members if not _can_tell(member)} - missed


def _can_tell(member: Member) -> bool:
    """Tell whether the node has a broker that speaks when it misses somebody: then silence says something."""
    return member.report != NO_REPORT or _publishes(member)


def _publishes(member: Member) -> bool:
    """Tell whether the node's broker publishes what it is: what stands beside the incarnation is its own."""
    return bool(member.metadata.keys() - {INCARNATION})


def _sees(reports: Mapping[str, Report], one: str, other: str) -> bool:
    return other not in reports[one].missing and one not in reports[other].missing


def _tells(report: Report) -> bool:
    return report.is_formed is True or bool(report.missing)
