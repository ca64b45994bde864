"""Who is a member: a complete listing, what was read of its files, and what was known before.

The rules this module keeps (docs/design.md numbers them): a file that cannot be read hides nobody and
removes nobody; expiry compares S3's times with S3's times; after an outage the living get an update
interval to refresh before anyone counts as dead; a bucket wiped from outside empties no cluster.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from s3discovery import codec
from s3discovery.bucket import Entry, Listing, Stored
from s3discovery.errors import CodecError
from s3discovery.node import INCARNATION, Member, find_forbidden
from s3discovery.topology import decode_report, spelled_out, without_report

METADATA_PREFIX = "s3discovery-"
# The key of a probe, behind the prefix: what asks a store whether it lets one write, and is gone at once.
# So long that no node has such an id by chance; no node reads it, counts it or clears it.
_PROBE = re.compile(r"s3discovery-probe-[0-9a-f]{16}", re.ASCII)
# What a living node may need to come back after an outage, beyond its update interval: a request that
# hangs until its deadline, and one pause of the longest back-off. Shorter where all is quicker.
_RECOVERY_SLACK_S = 45.0
_RECOVERY_SLACK_INTERVALS = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one key at one ETag.

    `member` is the newest that could be read there, even if the file was overwritten by something
    unreadable since; `problem` says why the file of this ETag cannot be used."""

    etag: str
    member: Member | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """The durations that decide over life and death, in seconds; an expiration of 0 means nobody expires."""

    file_expiration_s: float
    update_interval_s: float
    poll_interval_s: float


@dataclass(frozen=True, slots=True)
class View:
    """What one complete listing said. Times: `now_s` is S3's clock, `monotonic_s` our own.

    `peers` by cluster id; `expired` by key: the ETag, and since when it has been seen expired; `ripe`
    entries may be cleared; `problems` by key; `carried` are peers whose files vanished with our own.
    Until `mercy_until_s` nobody known counts as dead, and nobody else for `blind_s` of their age."""

    peers: Mapping[str, Member] = field(default_factory=lambda: MappingProxyType({}))
    carried: frozenset[str] = frozenset()
    expired: Mapping[str, tuple[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    ripe: tuple[Entry, ...] = ()
    problems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    now_s: float | None = None
    monotonic_s: float | None = None
    mercy_until_s: float = 0.0
    blind_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two member sets.

    `moved`: the same id at another address, or run by another process; `before` is set only then."""

    kind: Literal["joined", "left", "moved"]
    member: Member
    before: Member | None = None


def is_expired(*, age_s: float, expiration_s: float) -> bool:
    """Tell whether a file last written `age_s` seconds ago stands for a dead node.

    0 s means never; exactly at the limit is alive. Source: HiveMQ's ClusterNodeFile.isExpired."""
    return 0 < expiration_s < age_s


def is_probe(key: str, prefix: str) -> bool:
    """Tell whether `key` is a probe's, which stands for no node."""
    return key.startswith(prefix) and _PROBE.fullmatch(key, len(prefix)) is not None


def without_probes(listing: Listing, prefix: str) -> Listing:
    """Return `listing` without the keys of probes."""
    return replace(listing, entries=tuple(row for row in listing.entries if not is_probe(row.key, prefix)))


def without(listing: Listing, key: str) -> Listing:
    """Return `listing` without one key: the claim's, which lies below the prefix if that is empty."""
    return replace(listing, entries=tuple(row for row in listing.entries if row.key != key))


def unread(listing: Listing, readings: Mapping[str, Reading], own_key: str | None) -> tuple[Entry, ...]:
    """Return the entries whose content is not known yet: new keys and changed ETags, not one's own."""
    return tuple(
        entry
        for entry in listing.entries
        if entry.key != own_key and ((known := readings.get(entry.key)) is None or known.etag != entry.etag)
    )


def read(entry: Entry, stored: Stored, prefix: str, before: Reading | None) -> Reading:
    """Judge the content of one key; `before` is what was known of the key so far."""
    known = before.member if before is not None else None
    try:
        node_file = codec.decode(stored.body)
    except CodecError as error:
        return Reading(stored.etag, known, str(error))
    if prefix + node_file.cluster_id != entry.key:
        return Reading(stored.etag, known, f"is of node {node_file.cluster_id!r}, which is not its key")
    metadata = own_metadata(stored.metadata)
    member = Member(
        node_file.cluster_id,
        node_file.address,
        without_report(metadata),
        version=node_file.version,
        written_ms=node_file.written_ms,
        etag=stored.etag,
        modified_s=stored.modified_s,
        report=decode_report(metadata),
    )
    return Reading(stored.etag, member)


def reject(entry: Entry, problem: str, before: Reading | None) -> Reading:
    """Mark a key as not worth reading again until its ETag changes."""
    return Reading(entry.etag, before.member if before is not None else None, problem)


def postpone(problem: str, before: Reading | None) -> Reading:
    """Mark a key as to be read again at the next poll, since reading it failed this time."""
    return Reading("", None, problem) if before is None else replace(before, problem=problem, etag="")


def is_late(*, age_s: float, update_interval_s: float, poll_interval_s: float) -> bool:
    """Tell whether a file of this age when it was listed had missed a refresh at such intervals.

    A quarter of the interval, and the time until a refresh is listed, are allowed."""
    return update_interval_s > 0 and age_s > 1.25 * update_interval_s + poll_interval_s


def own_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return what s3discovery wrote, without the prefix; values that could break a line are dropped."""
    return {
        key.removeprefix(METADATA_PREFIX): value
        for key, value in metadata.items()
        if key.startswith(METADATA_PREFIX) and find_forbidden(value) is None
    }


def assess(
    previous: View,
    listing: Listing,
    readings: Mapping[str, Reading],
    expiry: Expiry,
    *,
    prefix: str,
    own_key: str | None,
    own_incarnation: str | None = None,
    is_tampered: bool,
    is_after_failure: bool = False,
    now_s: float | None,
    monotonic_s: float,
) -> View:
    """Return the view that a complete listing gives.

    `own_key` is None for an observer; a file of `own_incarnation` is one that this process had under
    another id; `is_tampered` tells that the own file is not as it should be, so that somebody else removes
    or overwrites files; `is_after_failure` that listings failed since `previous`; `now_s` is S3's time,
    None where it is unknown (then nobody expires)."""
    gap_s = _blind_s(previous, expiry, now_s, monotonic_s, is_after_failure=is_after_failure)
    mercy_until_s = monotonic_s + _recovery_s(expiry) if gap_s else previous.mercy_until_s
    blind_s = gap_s or previous.blind_s
    merciful = monotonic_s < mercy_until_s
    peers: dict[str, Member] = {}
    expired: dict[str, Entry] = {}
    problems: dict[str, str] = {}

    def is_dead(member: Member) -> bool:
        if now_s is None or (merciful and member.cluster_id in previous.peers):
            return False
        age_s = now_s - member.modified_s - (blind_s if merciful else 0.0)
        return is_expired(age_s=age_s, expiration_s=expiry.file_expiration_s)

    for entry in listing.entries:
        if entry.key == own_key:
            continue
        reading = readings.get(entry.key)
        if reading is None or reading.problem is not None:
            problems[entry.key] = "could not be read yet" if reading is None else reading.problem or ""
        if reading is None or reading.member is None:
            continue
        if own_incarnation is not None and reading.member.metadata.get(INCARNATION) == own_incarnation:
            continue
        member = _as_listed(reading.member, entry)
        if not is_dead(member):
            peers[member.cluster_id] = member
        elif reading.problem is None:
            # Only what was read as a node file of this key is ever cleared.
            expired[entry.key] = entry

    # Whoever writes a file again within an update interval was alive: the store's clock may have leapt
    # before this process ever looked. Time in which nobody could write does not count.
    already = {} if gap_s else previous.expired
    seen_expired = {
        key: since if (since := already.get(key, ("", 0.0)))[0] == entry.etag else (entry.etag, monotonic_s)
        for key, entry in expired.items()
    }
    ripe = tuple(
        expired[key]
        for key, (_, since_s) in seen_expired.items()
        if monotonic_s - since_s > _recovery_s(expiry)
    )
    listed = {entry.key for entry in listing.entries}
    carried = {
        cluster_id: member
        for cluster_id, member in previous.peers.items()
        if prefix + cluster_id not in listed
        and (is_tampered or cluster_id in previous.carried)
        and not is_dead(member)
    }
    return View(
        peers=spelled_out(peers | carried, None if own_key is None else own_key.removeprefix(prefix)),
        carried=frozenset(carried),
        expired=seen_expired,
        ripe=ripe,
        problems=problems,
        now_s=_known_s(previous, now_s, monotonic_s),
        monotonic_s=monotonic_s,
        mercy_until_s=mercy_until_s,
        blind_s=blind_s,
    )


def difference(before: Mapping[str, Member], after: Mapping[str, Member]) -> tuple[Change, ...]:
    """Return the changes that lead from one member set (by cluster id) to another, in order of id."""
    return tuple(_changes(before, after))


def _changes(before: Mapping[str, Member], after: Mapping[str, Member]) -> Iterable[Change]:
    for cluster_id in sorted(before.keys() | after.keys()):
        old, new = before.get(cluster_id), after.get(cluster_id)
        if new is None and old is not None:
            yield Change("left", old)
        elif new is not None and old is None:
            yield Change("joined", new)
        elif new is not None and old is not None and new != old:
            yield Change("moved", new, old)


def _as_listed(member: Member, entry: Entry) -> Member:
    if member.modified_s == entry.modified_s and member.etag == entry.etag:
        return member
    return replace(member, etag=entry.etag, modified_s=entry.modified_s)


def _known_s(previous: View, now_s: float | None, monotonic_s: float) -> float | None:
    """Return S3's time, reckoned from when it was last known if it is not known now."""
    if now_s is not None or previous.now_s is None or previous.monotonic_s is None:
        return now_s
    return previous.now_s + monotonic_s - previous.monotonic_s


def _blind_s(
    previous: View, expiry: Expiry, now_s: float | None, monotonic_s: float, *, is_after_failure: bool
) -> float:
    """Return how long the living may have been kept from refreshing before this listing; 0 if not for long.

    That is time in which no listing succeeded, or by which S3's clock leapt. A gap short enough for the
    living nodes' own retries does not count, nor does the interval between polls where none failed."""
    if previous.monotonic_s is None or expiry.file_expiration_s == 0:
        return 0.0
    gap_s = monotonic_s - previous.monotonic_s
    if now_s is not None and previous.now_s is not None:
        gap_s = max(gap_s, now_s - previous.now_s)
    spare_s = (expiry.file_expiration_s - expiry.update_interval_s) / 2
    allowed_s = spare_s if is_after_failure else spare_s + expiry.poll_interval_s
    return gap_s if gap_s > allowed_s else 0.0


def _recovery_s(expiry: Expiry) -> float:
    """Return how long a living node may take to be seen again after whatever kept it from refreshing."""
    slack_s = min(_RECOVERY_SLACK_S, _RECOVERY_SLACK_INTERVALS * expiry.update_interval_s)
    return expiry.update_interval_s + slack_s
