"""The node files there now, the own address among them, and whether peers can be dialled from here."""

import asyncio
import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from s3discovery import membership
from s3discovery.bucket import Bucket, Listing
from s3discovery.clock import Clock
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, ok
from s3discovery.doctor.way import dial, reason
from s3discovery.errors import AccessDeniedError, DiscoveryError
from s3discovery.known_files import KnownFiles
from s3discovery.membership import Reading
from s3discovery.network.names import FindAddresses
from s3discovery.node import INCARNATION, Address, Member
from s3discovery.own_address import Located
from s3discovery.settings.config import Settings

_SHOWN = 5
_PEERS_TRIED = 128
_AT_ONCE = 64
_PEER_LIMIT_S = 1.0
# Docker gives its bridges networks of 172.17.0.0/16 and up; the first is that of containers by default.
_DOCKER = ipaddress.ip_network("172.17.0.0/16")


@dataclass(frozen=True, slots=True)
class Files:
    """What is below the prefix: members by id, keys of expired files, and by key why a file is of no use."""

    alive: Mapping[str, Member]
    expired: tuple[str, ...]
    problems: Mapping[str, str]
    failure: DiscoveryError | None


async def read_files(bucket: Bucket, settings: Settings, listing: Listing) -> Files:
    """Read the node files of a listing."""
    nodes = membership.without_probes(listing, settings.file_prefix)
    known = KnownFiles(bucket, settings.file_prefix)
    await known.read_new(nodes, None)
    alive, expired = dict[str, Member](), []
    problems = {
        key: reading.problem for key, reading in known.readings.items() if reading.problem is not None
    }
    for entry in nodes.entries:
        reading: Reading | None = known.readings.get(entry.key)
        if reading is None or reading.member is None:
            continue
        now_s = listing.server_time_s
        age_s = 0.0 if now_s is None else now_s - entry.modified_s
        if membership.is_expired(age_s=age_s, expiration_s=settings.file_expiration_s):
            expired.append(entry.key)
        else:
            alive[reading.member.cluster_id] = reading.member
    return Files(alive, tuple(sorted(expired)), problems, known.failure)


def judge_files(files: Files, later: Files | None, resource: str) -> list[Finding]:
    """Return what is to be said about the files; `later` is a second look, which may show who changed."""
    shown = f"{_count(len(files.alive), 'member')}, {len(files.expired)} expired"
    if files.expired:
        shown += f" ({_some(repr(key) for key in files.expired)}; running nodes clear them)"
    findings = []
    if isinstance(files.failure, AccessDeniedError):
        keys = _some(repr(key) for key in sorted(files.problems))
        findings.append(report("files-denied", f"not readable: {keys}", resource=resource))
    elif files.problems:
        reasons = _some(f"{key!r} {why}" for key, why in sorted(files.problems.items()))
        findings.append(report("files-unreadable", f"{len(files.problems)} of no use: {reasons}"))
    findings.extend(_twice_at_one_address(files.alive))
    findings.extend(_twice_incarnated(files.alive, {} if later is None else later.alive))
    return [ok("files", shown), *findings] if findings else [ok("files", shown)]


def _twice_at_one_address(alive: Mapping[str, Member]) -> Iterable[Finding]:
    at = defaultdict[Address, list[str]](list)
    for member in alive.values():
        at[member.address].append(member.cluster_id)
    twice = [
        f"{str(address)!r} is that of {_some(map(repr, sorted(ids)))}"
        for address, ids in sorted(at.items())
        if len(ids) > 1
    ]
    if twice:
        yield report("address-twice", "; ".join(twice[:_SHOWN]))


def _twice_incarnated(alive: Mapping[str, Member], later: Mapping[str, Member]) -> Iterable[Finding]:
    of = defaultdict[str, list[str]](list)
    for member in alive.values():
        if incarnation := member.metadata.get(INCARNATION):
            of[incarnation].append(member.cluster_id)
    for incarnation, ids in of.items():
        if len(ids) > 1:
            yield report(
                "incarnation-twice", f"{_some(map(repr, sorted(ids)))} are of one process ({incarnation!r})"
            )
    for cluster_id, member in later.items():
        before = alive.get(cluster_id)
        if before is not None and before.metadata.get(INCARNATION) != member.metadata.get(INCARNATION):
            yield report("incarnation-twice", f"{cluster_id!r} was written by two processes just now")


async def judge_address(
    own: Located | DiscoveryError | None,
    settings: Settings,
    alive: Mapping[str, Member],
    find_addresses: FindAddresses,
) -> list[Finding]:
    """Return what is to be said about the own address, or why there is none; None: the broker will tell."""
    if own is None:
        return [ok("address", "known once the broker has taken a port, as bind-port is 0")]
    if isinstance(own, DiscoveryError):
        return [report("no-address", str(own))]
    shown = f"{own.address} ({own.origin})"
    findings = list(_taken(own.address, settings.cluster_id, alive, shown))
    if own.address.ip is not None:
        addresses: tuple[str, ...] = (str(own.address.ip),)
    else:
        try:
            addresses = await find_addresses(own.address.host)
        except OSError as error:
            return [
                report("own-name-not-found", f"{shown}: {reason(error)}", host=repr(own.address.host)),
                *findings,
            ]
        shown += f" is {_some(addresses)}"
    kind = _kind(addresses)
    others = [member for member in alive.values() if member.cluster_id != settings.cluster_id]
    if kind == "loopback":
        findings.append(report("loopback-address", shown))
    elif kind == "unreachable":
        findings.append(report("unreachable-kind", shown))
    elif strange := sorted(_of_other_kind(kind, others)):
        found = f"{shown} is {kind}; not so {_some(strange)}"
        findings.append(report("private-and-public", found))
    return findings or [ok("address", f"{shown}, {kind}")]


def _taken(
    own: Address, cluster_id: str | None, alive: Mapping[str, Member], shown: str
) -> Iterable[Finding]:
    ids = sorted(repr(member.cluster_id) for member in alive.values() if member.address == own)
    # A node without a fixed id has a new one with every start: the one that is there is most likely its own.
    is_itself = cluster_id is None and len(ids) == 1
    others = [] if is_itself else [name for name in ids if cluster_id is None or name != repr(cluster_id)]
    if others:
        yield report("address-taken", f"{shown} is that of {_some(others)}", ids=_some(others))
    namesake = None if cluster_id is None else alive.get(cluster_id)
    if namesake is not None and namesake.address != own:
        found = f"{cluster_id!r} is at {str(namesake.address)!r}, and would be at {own}"
        yield report("id-taken", found)


def _kind(addresses: Iterable[str]) -> str:
    """Return what kind of address this is, the worst of several: loopback, unreachable, private, public."""
    kinds = set()
    for text in addresses:
        ip = ipaddress.ip_address(text.partition("%")[0])
        if ip.is_loopback or ip.is_unspecified:
            kinds.add("loopback")
        elif ip.is_link_local or (ip.version == 4 and ip in _DOCKER):
            kinds.add("unreachable")
        else:
            kinds.add("private" if ip.is_private else "public")
    return next(kind for kind in ("loopback", "unreachable", "private", "public") if kind in kinds)


def _of_other_kind(kind: str, members: Iterable[Member]) -> Iterable[str]:
    """Yield the addresses that are public where this one is private, or the other way round."""
    for member in members:
        # Where a name leads may depend on who asks.
        ip = member.address.ip
        if ip is not None and {kind, _kind([str(ip)])} == {"private", "public"}:
            yield repr(str(member.address))


async def dial_peers(peers: Iterable[Member], find_addresses: FindAddresses, clock: Clock) -> Finding:
    """Connect to the peers, and say who answers and how fast."""
    chosen = sorted(peers, key=lambda member: member.cluster_id)
    tried = chosen[:_PEERS_TRIED]
    if not tried:
        return ok("peers", "none yet")
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(peer: Member) -> float | str:
        async with slots:
            return await _dial_peer(peer.address, find_addresses, clock)

    answers = await asyncio.gather(*(ask(peer) for peer in tried))
    times = [answer for answer in answers if isinstance(answer, float)]
    silent = [
        f"{peer.cluster_id!r} at {str(peer.address)!r} ({answer})"
        for peer, answer in zip(tried, answers, strict=True)
        if isinstance(answer, str)
    ]
    shown = f"{len(times)} of {_count(len(tried), 'peer')} reachable"
    if len(chosen) > len(tried):
        shown += f" ({len(chosen) - len(tried)} more not tried)"
    if times:
        shown += f", in {min(times) * 1000:.1f} to {max(times) * 1000:.1f} ms"
    return report("peers-unreachable", f"{shown}; not {_some(silent)}") if silent else ok("peers", shown)


async def _dial_peer(address: Address, find_addresses: FindAddresses, clock: Clock) -> float | str:
    """Return how long a connection took, in seconds, or why there is none."""
    if not address.is_dialable:
        return "no address"
    try:
        async with asyncio.timeout(_PEER_LIMIT_S):
            hosts = (str(address.ip),) if address.ip is not None else await find_addresses(address.host)
            began_s = clock.monotonic_s()
            connection = await dial(hosts[0], address.port)
            connection.close()
            return clock.monotonic_s() - began_s
    except TimeoutError:
        return f"no answer within {_PEER_LIMIT_S:g} s"
    except OSError as error:
        return reason(error)


def _some(texts: Iterable[str]) -> str:
    all_texts = list(texts)
    more = len(all_texts) - _SHOWN
    return ", ".join(all_texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
