"""What the members are in DNS: names and records of one moment.

    <zone>                A, AAAA, SRV of all nodes; SOA, NS
    _cluster._tcp.<zone>  SRV of all nodes
    <node>.<zone>         A, AAAA, SRV of one node
    (reverse)             PTR from a node's address to its name

A and AAAA have no port: HiveMQ dials its own there. So nodes at another port than the node that we are beside
are in SRV alone; an observer, which is beside none, takes the port that most have.
Nodes without an address that a peer may dial are nowhere.
"""

import base64
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.name
import dns.reversename
from dns.rdatatype import RdataType

from s3discovery.ip import IP, unfit, unmapped

Records = Mapping[int, tuple[bytes, ...]]
"""The records of a name by type, each as on the wire after its TTL: two bytes of length, and the data."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_SERVICE = ("_cluster", "_tcp")
_NAME_SERVER, _MAILBOX = "ns", "hostmaster"
_TAKEN = frozenset({*_SERVICE, _NAME_SERVER, _MAILBOX})
_SERIAL_LIMIT = 2**32
_SOA_TIMES_S = (60, 10, 86_400, 0)  # refresh, retry, expire, minimum; nobody transfers this zone


@dataclass(frozen=True, slots=True)
class Node:
    """A member with its IP addresses, names looked up."""

    cluster_id: str
    port: int
    addresses: tuple[IP, ...]


def label_of(cluster_id: str) -> str:
    """Return the label of a node: its id where that can be one and is not taken, else a digest of it.

    DNS knows no capitals, where ids that differ in nothing else are two nodes."""
    if _LABEL.fullmatch(cluster_id) and not cluster_id.startswith("n--") and cluster_id not in _TAKEN:
        return cluster_id
    digest = hashlib.sha256(cluster_id.encode()).digest()[:10]
    return f"n--{base64.b32encode(digest).decode().lower()}"


def fit_to_publish(addresses: Iterable[IP], *, with_loopback: bool) -> tuple[IP, ...]:
    """Return what a peer may dial, unmapped, each once; whoever asks by DNS filters nothing."""
    return tuple(
        dict.fromkeys(ip for ip in map(unmapped, addresses) if unfit(ip, with_loopback=with_loopback) is None)
    )


class Zone:
    """The names of one cluster at one moment. `is_known`: it is known who is there, or that nobody is; else
    nothing is said.

    `port` is the one that A and AAAA records stand for; if not given, that of most nodes. `odd` are the ids
    of nodes that no such record stands for, since they listen at another."""

    def __init__(
        self,
        name: str,
        nodes: Iterable[Node] = (),
        *,
        port: int | None = None,
        serial: int = 0,
        is_known: bool = True,
    ) -> None:
        self.name = name
        self.origin = dns.name.from_text(name)
        self.is_known = is_known
        nodes = sorted((node for node in nodes if node.addresses), key=lambda node: node.cluster_id)
        self.port = _most_usual(node.port for node in nodes) if port is None else port
        self.odd = tuple(node.cluster_id for node in nodes if node.port != self.port)
        times = (serial % _SERIAL_LIMIT, *_SOA_TIMES_S)
        self._soa_times = b"".join(number.to_bytes(4) for number in times)
        self._names = self._build(nodes)

    def holds(self, name: dns.name.Name) -> bool:
        """Tell whether `name` is ours to speak of: below the zone, or a node's address reversed."""
        return name.is_subdomain(self.origin) or name in self._names

    def find(self, name: dns.name.Name) -> Records | None:
        """Return the records of a name; None if there is no such name."""
        return self._names.get(name)

    def soa(self, origin: bytes) -> bytes:
        """Return the data of the SOA, where `origin` is the zone's name: in full, or a pointer to it."""
        return _framed(
            b"".join(len(label).to_bytes(1) + label.encode() + origin for label in (_NAME_SERVER, _MAILBOX))
            + self._soa_times
        )

    def _build(self, nodes: Iterable[Node]) -> Mapping[dns.name.Name, Records]:
        # The innermost is an ordered set: the same record twice is one.
        names: dict[dns.name.Name, dict[RdataType, dict[bytes, None]]]
        names = defaultdict(lambda: defaultdict(dict))

        def add(name: dns.name.Name, kind: RdataType, data: bytes) -> None:
            names[name][kind][_framed(data)] = None

        names[self.origin][RdataType.SOA][self.soa(wire_of(self.origin))] = None
        add(self.origin, RdataType.NS, wire_of(self._name(_NAME_SERVER)))
        service = self._name(*_SERVICE)
        for name in (self._name(_SERVICE[-1]), service, self._name(_NAME_SERVER)):
            names[name]
        for node in nodes:
            own = self._name(label_of(node.cluster_id))
            own_wire = wire_of(own)
            srv = bytes(4) + node.port.to_bytes(2) + own_wire  # priority and weight: all alike
            for name in (self.origin, service, own):
                add(name, RdataType.SRV, srv)
            for ip in node.addresses:
                kind = RdataType.A if ip.version == 4 else RdataType.AAAA
                add(own, kind, ip.packed)
                if node.port == self.port:
                    add(self.origin, kind, ip.packed)
                add(dns.reversename.from_address(str(ip)), RdataType.PTR, own_wire)
        return {
            name: {kind: tuple(found) for kind, found in records.items()} for name, records in names.items()
        }

    def _name(self, *labels: str) -> dns.name.Name:
        return dns.name.Name([*(label.encode() for label in labels), *self.origin.labels])


def wire_of(name: dns.name.Name) -> bytes:
    """Return a name as on the wire, in full."""
    return b"".join(len(label).to_bytes(1) + label for label in name.labels)


def _most_usual(ports: Iterable[int]) -> int:
    """Return the port that occurs most, of several the lowest; 0 if there is none."""
    counts = Counter(ports)
    return min(counts, key=lambda port: (-counts[port], port), default=0)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data
