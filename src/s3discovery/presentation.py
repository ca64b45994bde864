"""Members as other programs get them: checked, so that no id, host or port can be taken for anything else.

Whoever may write into the bucket may claim any id and host. What stands in a roster is safe as a word of a
command line, in a variable, and in a line of a configuration file: it holds no space, quote, slash or other
sign that a program gives a meaning to, and does not begin like an option or a path.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from s3discovery.errors import BrokerError
from s3discovery.ip import ip_of
from s3discovery.node import INCARNATION, Address, Member

ENVIRONMENT_PREFIX = "S3DISCOVERY_"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}", re.ASCII)
_ID_CURE = "write at most 128 letters, digits and _ . @ - without - . or @ at the start"
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_METADATA_TEXT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,255}", re.ASCII)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII)
_NOTHING: Mapping[str, str] = MappingProxyType({})

# What placeholders and variables there are, by whether they hold one value or a list.
SINGLE = frozenset(
    f"{who}_{what}" for who in ("own", "hub") for what in ("id", "host", "port", "address")
) | {"peer_count", "member_count"}
LISTS = frozenset(f"{who}{what}" for who in ("member", "peer") for what in ("s", "_ids", "_hosts")) | {
    "joined_ids",
    "left_ids",
    "moved_ids",
}


@dataclass(frozen=True, slots=True, order=True)
class Shown:
    """A checked member. `host` has no brackets; `metadata` is what of it is harmless."""

    id: str
    host: str
    port: int
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False, compare=True)

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address, not a name."""
        return ip_of(self.host) is not None

    @property
    def is_named(self) -> bool:
        """Whether the id could be a host name."""
        return _LABEL.fullmatch(self.id) is not None

    @property
    def bracketed(self) -> str:
        """The host, an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"{self.bracketed}:{self.port}"

    def row(self) -> dict[str, Any]:
        """Return it as JSON objects have it."""
        return {"id": self.id, "host": self.host, "port": self.port, "metadata": dict(self.metadata)}


@dataclass(frozen=True, slots=True)
class Roster:
    """All members that can be shown: `own`, and `peers` in order of their ids.

    `refused` are ids of others that cannot, each with the reason; equal rosters say the same to programs."""

    own: Shown
    peers: tuple[Shown, ...]
    refused: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def members(self) -> tuple[Shown, ...]:
        """Own node and peers in order of their ids."""
        return tuple(sorted((self.own, *self.peers), key=lambda member: member.id))

    @property
    def hub(self) -> Shown:
        """The centre of a star: the member with the least id.

        Not the oldest: with one fixed order every link leads to a lesser id, so that links never close
        to a loop, not even while nodes see different members."""
        return self.members[0]


@dataclass(frozen=True, slots=True)
class Turnover:
    """The ids that make the difference between two rosters; `moved`: the same id at another place."""

    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


def show_member(member: Member) -> Shown:
    """Return the member as programs may see it; raises BrokerError if they may not."""
    if _ID.fullmatch(member.cluster_id) is None:
        raise BrokerError(f"id {member.cluster_id!r} cannot be shown to other programs: {_ID_CURE}")
    return Shown(
        member.cluster_id,
        _show_host(member.address),
        member.address.port,
        {
            name: text
            for name, text in sorted(member.metadata.items())
            if name != INCARNATION and _METADATA_NAME.fullmatch(name) and _METADATA_TEXT.fullmatch(text)
        },
    )


def make_roster(own: Member, peers: Iterable[Member]) -> Roster:
    """Return who can be shown; raises BrokerError if the own node cannot."""
    shown, refused = [], []
    for peer in peers:
        try:
            shown.append(show_member(peer))
        except BrokerError as error:
            refused.append((peer.cluster_id, str(error)))
    ordered = tuple(sorted(shown, key=lambda member: member.id))
    return Roster(show_member(own), ordered, tuple(sorted(refused)))


def turnover(before: Roster | None, after: Roster) -> Turnover:
    """Return who joined, left or moved since `before`; None is before the first."""
    old = {member.id: member for member in before.peers} if before is not None else {}
    new = {member.id: member for member in after.peers}
    return Turnover(
        joined=tuple(sorted(new.keys() - old.keys())),
        left=tuple(sorted(old.keys() - new.keys())),
        moved=tuple(sorted(each for each in new.keys() & old.keys() if new[each] != old[each])),
    )


def values(roster: Roster, change: Turnover) -> dict[str, str | tuple[str, ...]]:
    """Return what every placeholder stands for, by name: those of SINGLE and LISTS."""
    found: dict[str, str | tuple[str, ...]] = {
        **of_one("own", roster.own),
        **of_one("hub", roster.hub),
        "joined_ids": change.joined,
        "left_ids": change.left,
        "moved_ids": change.moved,
    }
    for who, members in (("peer", roster.peers), ("member", roster.members)):
        found[f"{who}_count"] = str(len(members))
        found[f"{who}s"] = tuple(member.address for member in members)
        found[f"{who}_ids"] = tuple(member.id for member in members)
        found[f"{who}_hosts"] = tuple(member.host for member in members)
    return found


def of_one(who: str, member: Shown) -> dict[str, str]:
    """Return the placeholders of one member, such as `own_host` for `who` own."""
    return {
        f"{who}_id": member.id,
        f"{who}_host": member.host,
        f"{who}_port": str(member.port),
        f"{who}_address": member.address,
    }


def environment(found: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Return the placeholders as variables: `S3DISCOVERY_` and the name in capitals, lists with spaces."""
    return {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": value if isinstance(value, str) else " ".join(value)
        for name, value in found.items()
    }


def document(roster: Roster, change: Turnover | None = None) -> dict[str, Any]:
    """Return the roster as JSON has it; `joined`, `left` and `moved` only with a change."""
    found: dict[str, Any] = {
        "own": roster.own.row(),
        "peers": [member.row() for member in roster.peers],
        "members": [member.row() for member in roster.members],
        "hub": roster.hub.id,
    }
    if change is not None:
        found |= {"joined": list(change.joined), "left": list(change.left), "moved": list(change.moved)}
    return found


def _show_host(address: Address) -> str:
    if not address.is_dialable:
        raise BrokerError(f"host {address.host!r} is neither an IP address nor a host name")
    ip = address.ip
    if ip is None:
        return address.host
    if ip.version == 6 and ip.scope_id is not None:
        raise BrokerError(f"host {address.host!r} is of one interface, which others cannot dial")
    if ip.is_unspecified or ip.is_multicast:
        raise BrokerError(f"host {address.host!r} is the address of nobody")
    return str(ip)
