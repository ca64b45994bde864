"""Who a node is and where it listens: values only, always valid once made."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from s3discovery.errors import AddressError, CodecError
from s3discovery.ip import IP, ip_of

# Control characters, lone surrogates and line separators: they can end a line in a log, a terminal or a file.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# What Java's String.isBlank does not count as blank although Python does.
_NOT_BLANK_IN_JAVA = "\xa0\u2007\u202f\x85"
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_HOST_NAME_LIMIT = 253  # RFC 1035
_INCARNATION = re.compile(r"\d{13}-[0-9a-f]{16}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)


def find_forbidden(text: str) -> str | None:
    """Return the first character that no id or host may hold (a control character), or None."""
    return next((char for char in text if unicodedata.category(char) in _FORBIDDEN_CATEGORIES), None)


def is_blank(text: str) -> bool:
    """Tell whether `text` is empty or all white space, as Java's String.isBlank does."""
    return all(char.isspace() and char not in _NOT_BLANK_IN_JAVA for char in text)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Host and port of a node's cluster transport: what peers dial, never the MQTT port.

    The host is kept as written, since other systems' files are shown as they are; only what could
    break a line or cannot be dialled at all is refused. Raises AddressError."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if is_blank(self.host):
            raise AddressError(f"host {self.host!r} is blank; give a name or an IP address")
        if (char := find_forbidden(self.host)) is not None:
            raise AddressError(f"host {self.host!r} holds the control character {char!r}")
        if not 1 <= self.port <= 65535:
            raise AddressError(f"port {self.port} is not in 1..65535")

    @property
    def is_dialable(self) -> bool:
        """Whether the host is an IP address or a well-formed DNS name.

        Only such an address may reach a command line, a configuration file or a socket."""
        is_short = len(self.host) <= _HOST_NAME_LIMIT
        return self.ip is not None or (is_short and _HOST_NAME.fullmatch(self.host) is not None)

    @property
    def ip(self) -> IP | None:
        """The host as an IP address, brackets removed; None for a name, or an interface of no name."""
        bare = self.host[1:-1] if self.host.startswith("[") and self.host.endswith("]") else self.host
        ip = ip_of(bare)
        if ip is not None and ip.version == 6 and ip.scope_id is not None:
            return ip if _ZONE.fullmatch(ip.scope_id) is not None else None
        return ip

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.port}"


def check_cluster_id(cluster_id: str) -> str:
    """Return `cluster_id` if it can name a node; raise CodecError if it is blank or could break a line."""
    if is_blank(cluster_id):
        raise CodecError(f"cluster id {cluster_id!r} is blank")
    if (char := find_forbidden(cluster_id)) is not None:
        raise CodecError(f"cluster id {cluster_id!r} holds the control character {char!r}")
    return cluster_id


def is_incarnation(text: str) -> bool:
    """Tell whether `text` is what our nodes publish as their incarnation: it sorts by their start."""
    return _INCARNATION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class NodeFile:
    """What a node file says: its format version, when its writer's clock read, who, and where."""

    version: str
    written_ms: int
    cluster_id: str
    address: Address


INCARNATION = "incarnation"  # of metadata: one process among all that ever used a cluster id
NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """What a node says of its broker's cluster.

    `is_formed`: it belongs to a cluster of its engine; False while it waits to; None for brokers without such
    a state, and for nodes that tell nothing. `missing`: members that its broker has not seen for a while.
    `digests` stand for such members where their names did not fit (see `topology`)."""

    is_formed: bool | None = None
    missing: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()


NO_REPORT = Report()


@dataclass(frozen=True, slots=True)
class Member:
    """A node as seen in the bucket: its file, and what the store says of it.

    `etag` and `modified_s` (Unix seconds, S3's clock) are the store's; `metadata` is S3 user metadata
    without the `s3discovery-` prefix, empty for other systems' files. Two members are equal when the
    node is the same at the same place with the same metadata: a refresh alone makes no difference, nor
    does what it reports."""

    cluster_id: str
    address: Address
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA, hash=False)
    version: str = field(default="1", compare=False)
    written_ms: int = field(default=0, compare=False)
    etag: str = field(default="", compare=False)
    modified_s: float = field(default=0.0, compare=False)
    report: Report = field(default=NO_REPORT, compare=False)
