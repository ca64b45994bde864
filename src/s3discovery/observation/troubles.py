"""What is wrong, what it means, and what to do: one list for the page, the terminal and programs.

The worst comes first. Texts from the bucket stand in them as they are: who shows them makes them harmless.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from s3discovery.errors import AccessDeniedError, DiscoveryError
from s3discovery.node import Member
from s3discovery.observation.moment import Moment

BAD, WARNING, NOTE = "bad", "warning", "note"
SEVERITIES = (BAD, WARNING, NOTE)
_NAMED = 5
# Credentials that are renewed by themselves are, at the latest, a quarter of an hour before they end.
_ENDING_S = 300.0
_SKEW_LIMIT_S = 60.0  # less does nobody harm; S3 itself refuses from 900 s on
_DOCTOR = "Run s3discovery doctor with these settings: it looks at every step of the way."


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong: `kind` names it for programs, `severity` is of SEVERITIES.

    `title` is what is wrong, `effect` what happens now, `cure` what to do."""

    kind: str
    severity: str
    title: str
    effect: str
    cure: str


def troubles(moment: Moment) -> tuple[Trouble, ...]:
    """Return what is wrong, the worst first."""
    every = (*_of_the_store(moment), *_of_the_cluster(moment), *_of_the_members(moment))
    return tuple(sorted(every, key=lambda trouble: SEVERITIES.index(trouble.severity)))


def _of_the_store(moment: Moment) -> Iterator[Trouble]:
    status = moment.status
    if status.error is not None:
        yield _failure(status.error, moment)
    elif moment.is_slow:
        yield Trouble(
            "slow",
            WARNING,
            f"The store is slow: a listing takes {moment.listing_s:.1f} s",
            "Who joins or leaves is seen that much later.",
            _DOCTOR,
        )
    elif status.listed_s is None:
        yield Trouble("start", NOTE, "The store has not been listed yet", "Members are not known.", "Wait.")
    if status.write_error is not None and not _is_same_way(status.write_error, status.error):
        yield Trouble(
            "write",
            BAD,
            f"The own file cannot be written: {status.write_error}",
            "The others drop this node when its file expires. Attempts go on.",
            _DOCTOR,
        )
    if status.read_error is not None:
        yield Trouble(
            "read",
            WARNING,
            f"Some files cannot be read: {status.read_error}",
            "What was known of them is kept while they are fresh. They are tried again at every poll.",
            "Let this node read the objects under the prefix (s3:GetObject). " + _DOCTOR,
        )
    yield from _of_credentials(moment)
    if status.skew_s is not None and abs(status.skew_s) >= _SKEW_LIMIT_S:
        way = "ahead of" if status.skew_s > 0 else "behind"
        yield Trouble(
            "clock",
            WARNING,
            f"The clock of this machine is {length(abs(status.skew_s))} {way} the store's",
            "Expiry goes by the store's clock, so nobody is lost. Times in logs are wrong.",
            "Set the clock (NTP).",
        )
    for name, cost in status.capabilities.missing():
        yield Trouble(
            f"capability-{name}",
            NOTE,
            f"The store does not honour {name.replace('_', ' ')}",
            f"{cost[0].upper()}{cost[1:]}.",
            "Bring the store up to date, or live with it.",
        )


def _is_same_way(write_error: DiscoveryError, error: DiscoveryError | None) -> bool:
    """Tell whether the way to the store is wrong, which is told once; each right has its own cure."""
    return type(write_error) is type(error) and not isinstance(error, AccessDeniedError)


def _failure(error: DiscoveryError, moment: Moment) -> Trouble:
    ago_s, effects = moment.listed_s_ago, list[str]()
    if ago_s is None:
        effects.append("The members are not known.")
    else:
        kept = "" if moment.cluster_state is None else ", and the broker keeps its peers"
        effects.append(f"All members are kept as they were last seen{kept}.")
        effects.append("Nobody counts as expired until the living had time to write again.")
    if moment.own is not None:
        effects.append("Others that do reach the store drop this node when its file expires.")
    since = "since the start" if ago_s is None else f"for {length(ago_s)}"
    title = f"No complete listing of the store {since}: {error}"
    return Trouble("store", BAD, title, " ".join((*effects, "Attempts go on.")), _DOCTOR)


def _of_credentials(moment: Moment) -> Iterator[Trouble]:
    until_s = moment.status.credentials_until_s
    if until_s is None or moment.now_s is None or until_s - moment.now_s > _ENDING_S:
        return
    left_s = until_s - moment.now_s
    yield Trouble(
        "credentials",
        BAD if left_s <= 0 else WARNING,
        "The credentials have ended" if left_s <= 0 else f"The credentials end in {length(left_s)}",
        "Without new ones the own file cannot be kept up, and the members are kept as they were last seen.",
        "Put new ones where credentials-type looks for them; they are taken up without a restart.",
    )


def _of_the_cluster(moment: Moment) -> Iterator[Trouble]:
    found = moment.topology
    if (rival := moment.status.rival) is not None:
        yield Trouble(
            "rival",
            BAD,
            f"Another process at {rival.address} uses the cluster id {rival.cluster_id} as well",
            "The one that started later keeps the file; the other one is hidden from its peers.",
            "Stop one of the two, or give each a cluster-id of its own.",
        )
    if found.is_split:
        sizes = " and ".join(str(len(group)) for group in found.groups)
        yield Trouble(
            "split",
            BAD,
            f"The cluster is split into {len(found.groups)} parts, of {sizes} nodes",
            "Clients of one part do not get the messages of another.",
            "Open the cluster transport between the parts, and clear what keeps them apart; then restart the "
            "brokers of the smaller part if they do not join by themselves.",
        )
    if found.gaps:
        pairs = _named(f"{one} does not see {other}" for one, other in found.gaps)
        yield Trouble(
            "gaps",
            WARNING,
            f"The mesh has gaps: {pairs}",
            "Messages between these nodes may go astray.",
            "See that each of them reaches the other's address: firewall, security group, name resolution.",
        )
    if found.waiting:
        yield Trouble(
            "waiting",
            WARNING,
            f"{_nodes(len(found.waiting))} not in the cluster yet: {_named(found.waiting)}",
            "The files are there, but the brokers belong to no cluster.",
            "Give them a minute; then read the log of a node that waits.",
        )
    state = moment.cluster_state
    if state is not None and not (state.is_whole or state.is_split):
        yield Trouble(
            "missing" if state.is_ready else "broker",
            WARNING,
            f"The broker of this node{f': {state.text}' if state.text else ' is not there yet'}",
            "It is tried again at every poll.",
            "Read the log of this node and of its broker.",
        )


def _of_the_members(moment: Moment) -> Iterator[Trouble]:
    if moment.status.listed_s is not None and not moment.members:
        yield Trouble(
            "empty",
            NOTE,
            "Nobody is there",
            f"No live node file is under s3://{moment.bucket}/{moment.prefix}.",
            "Start a node, or check s3-bucket-name and file-prefix: those of all nodes must be the same.",
        )
    if (problems := moment.status.problems) != {}:
        reasons = _named(f"{key} ({reason})" for key, reason in sorted(problems.items()))
        count = len(problems)
        yield Trouble(
            "files",
            WARNING,
            f"{count} {'file' if count == 1 else 'files'} cannot be used: {reasons}",
            "They stand for no node; they hide nobody else.",
            "Delete them if nobody needs them, or give the nodes a prefix of their own.",
        )
    late = [member for member in moment.members if moment.is_late(member)]
    if late:
        yield _lateness(late, moment)


def _lateness(late: list[Member], moment: Moment) -> Trouble:
    first_s = min((moment.expires_in_s(member) or math.inf for member in late), default=math.inf)
    end = f" The first expires in {length(first_s)}." if 0 < first_s < math.inf else ""
    return Trouble(
        "late",
        WARNING,
        f"{_nodes(len(late))} late: {_named(sorted(member.cluster_id for member in late))}",
        f"Their files were not refreshed when they were due.{end} Whoever expires is dropped as a peer.",
        "See whether their processes run and reach the store.",
    )


def _nodes(count: int) -> str:
    return "1 node is" if count == 1 else f"{count} nodes are"


def _named(texts: Iterable[str]) -> str:
    every = list(texts)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def length(seconds: float) -> str:
    """Return a length of time in words: 100 s, 3 min, 5 h 12 min, 3 d."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d"
