"""What a running node or observer tells of itself, as JSON documents: one shape for HTTP and for the page.

Everything is handed in. `VERSION` is raised when a field changes its meaning or goes; new fields may come.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from s3discovery.node import Member
from s3discovery.observation.moment import Moment
from s3discovery.observation.troubles import troubles

VERSION = 1
_GAPS_SHOWN = 1000  # of pairs: with 500 members there can be a quarter of a million
_STATES = {True: "formed", False: "waiting", None: None}


def member_document(member: Member, moment: Moment) -> dict[str, Any]:
    """Return one member; ages are None while S3's time is unknown."""
    is_own = moment.own is not None and member.cluster_id == moment.own.cluster_id
    misses = member.report.missing
    if is_own and moment.cluster_state is not None:
        misses |= moment.cluster_state.missing  # known at once, and reported to all once it has lasted
    return {
        "cluster_id": member.cluster_id,
        "host": member.address.host,
        "port": member.address.port,
        "file_version": member.version,
        "age_s": _rounded(moment.age_s(member)),
        "expires_in_s": _rounded(moment.expires_in_s(member)),
        "late": moment.is_late(member),
        "own": is_own,
        "state": _STATES[member.report.is_formed],
        "misses": sorted(misses),
        "kind": member.metadata.get("broker"),
    }


def members_document(moment: Moment) -> dict[str, Any]:
    """Return all members, as of the last complete listing."""
    return {
        "version": VERSION,
        "listed_s_ago": _rounded(moment.listed_s_ago),
        "members": [member_document(member, moment) for member in _sorted(moment.members)],
    }


def status_document(moment: Moment) -> dict[str, Any]:
    """Return how the cluster, the store and this process are."""
    status, found = moment.status, moment.topology
    return {
        "version": VERSION,
        "bucket": moment.bucket,
        "prefix": moment.prefix,
        "own": None if moment.own is None else moment.own.cluster_id,
        "registered": status.registered,
        "cluster": {
            "state": str(found),
            "whole": bool(moment.members) and found.is_whole if found.is_told else None,
            "split": found.is_split,
            "groups": [list(group) for group in found.groups],
            "waiting": list(found.waiting),
            "strangers": list(found.strangers),
            "gaps": [list(gap) for gap in found.gaps[:_GAPS_SHOWN]],
            "gaps_count": len(found.gaps),
            "broker": None if moment.cluster_state is None else moment.cluster_state.text,
        },
        "store": {
            "answers": status.error is None,
            "error": _text(status.error),
            "write_error": _text(status.write_error),
            "read_error": _text(status.read_error),
            "listed_s_ago": _rounded(moment.listed_s_ago),
            "clock_skew_s": _rounded(status.skew_s),
            "credentials_until_s": status.credentials_until_s,
            "capabilities": asdict(status.capabilities),
        },
        "rival": None if status.rival is None else str(status.rival.address),
        "poll_interval_s": moment.poll_interval_s,
        "update_interval_s": moment.update_interval_s,
        "file_expiration_s": moment.expiration_s,
        "problems": [{"key": key, "reason": reason} for key, reason in sorted(status.problems.items())],
        "troubles": [asdict(trouble) for trouble in troubles(moment)],
    }


def is_ready(moment: Moment, *, is_node: bool) -> tuple[bool, str]:
    """Tell whether this process does its work, and if not, why.

    A node must be registered; the last complete listing must be younger than expiry (or than ten polls where
    nobody expires); a driven broker must belong to its cluster, whoever else is missing there."""
    status = moment.status
    if is_node and not status.registered:
        return False, "not registered in the bucket"
    listed_s_ago = moment.listed_s_ago
    if listed_s_ago is None:
        return False, "no complete listing yet"
    limit_s = moment.expiration_s or 10 * moment.poll_interval_s
    if status.error is not None and listed_s_ago > limit_s:
        return False, f"no complete listing for {listed_s_ago:.0f} s"
    state = moment.cluster_state
    if state is not None and not state.is_ready:
        return False, f"broker: {state.text or 'not there yet'}"
    return True, "ready"


def _sorted(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda member: member.cluster_id)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _text(error: Exception | None) -> str | None:
    return None if error is None else str(error)
