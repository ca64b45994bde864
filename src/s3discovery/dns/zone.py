"""What the members are in DNS: names and records of one moment.

    <zone>                A, AAAA, SRV of all nodes; SOA, NS
    _cluster._tcp.<zone>  SRV of all nodes
    <node>.<zone>         A, AAAA, SRV of one node
    (reverse)             PTR from a node's address to its name

A and AAAA have no port: HiveMQ dials its own there. So nodes at another port than most are in SRV alone.
"""

import base64
import hashlib
import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.name
import dns.rdata
import dns.rdataclass
import dns.reversename
from dns.rdatatype import RdataType

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Records = Mapping[RdataType, tuple[dns.rdata.Rdata, ...]]
_Lists = dict[RdataType, list[dns.rdata.Rdata]]

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_SERVICE = ("_cluster", "_tcp")
_SERIAL_LIMIT = 2**32
_REFRESH_S, _RETRY_S, _EXPIRE_S = 60, 10, 86_400  # of the SOA; nobody transfers this zone


@dataclass(frozen=True, slots=True)
class Node:
    """A member with its IP addresses, names looked up."""

    cluster_id: str
    port: int
    addresses: tuple[IP, ...]


def label_of(cluster_id: str) -> str:
    """Return the label of a node: its id where that can be one, else a digest of it.

    DNS knows no capitals, where ids that differ in nothing else are two nodes."""
    if _LABEL.fullmatch(cluster_id) and not cluster_id.startswith("n--"):
        return cluster_id
    digest = hashlib.sha256(cluster_id.encode()).digest()[:10]
    return f"n--{base64.b32encode(digest).decode().lower()}"


def fit_to_publish(addresses: Iterable[IP], *, with_loopback: bool) -> tuple[IP, ...]:
    """Return what a peer may dial; whoever asks by DNS filters nothing."""
    return tuple(
        ip
        for ip in addresses
        if not (
            ip.is_unspecified or ip.is_multicast or ip.is_link_local or (ip.is_loopback and not with_loopback)
        )
    )


class Zone:
    """The names of one cluster at one moment. `is_known`: there was a complete listing; else nothing is said.

    `odd` are the ids of nodes that no A or AAAA record stands for, since they listen at another port."""

    def __init__(
        self, name: str, nodes: Iterable[Node] = (), *, serial: int = 0, is_known: bool = True
    ) -> None:
        self.origin = dns.name.from_text(name)
        self.is_known = is_known
        nodes = sorted(nodes, key=lambda node: node.cluster_id)
        ports = Counter(node.port for node in nodes)
        usual = min(ports, key=lambda port: (-ports[port], port)) if ports else 0
        self.odd = tuple(node.cluster_id for node in nodes if node.port != usual)
        times = f"{serial % _SERIAL_LIMIT} {_REFRESH_S} {_RETRY_S} {_EXPIRE_S} 0"
        self.soa = _record(RdataType.SOA, f"{self._name('ns')} {self._name('hostmaster')} {times}")
        self._names = self._build(nodes, usual)

    def holds(self, name: dns.name.Name) -> bool:
        """Tell whether `name` is ours to speak of: below the zone, or a node's address reversed."""
        return name.is_subdomain(self.origin) or name in self._names

    def find(self, name: dns.name.Name) -> Records | None:
        """Return the records of a name, by type; None if there is no such name."""
        return self._names.get(name)

    def _build(self, nodes: Iterable[Node], usual_port: int) -> Mapping[dns.name.Name, Records]:
        names: dict[dns.name.Name, dict[RdataType, list[dns.rdata.Rdata]]] = defaultdict(
            lambda: defaultdict(list)
        )
        names[self.origin][RdataType.SOA].append(self.soa)
        names[self.origin][RdataType.NS].append(_record(RdataType.NS, str(self._name("ns"))))
        service = self._name(*_SERVICE)
        for name in (self._name(_SERVICE[-1]), service, self._name("ns")):
            names[name]
        at_origin: set[IP] = set()
        for node in nodes:
            own = self._name(label_of(node.cluster_id))
            srv = _record(RdataType.SRV, f"0 0 {node.port} {own}")
            for name in (self.origin, service, own):
                names[name][RdataType.SRV].append(srv)
            for ip in node.addresses:
                record = _address_record(ip)
                names[own][record.rdtype].append(record)
                if node.port == usual_port and ip not in at_origin:
                    at_origin.add(ip)
                    names[self.origin][record.rdtype].append(record)
                reverse = dns.reversename.from_address(str(ip))
                names[reverse][RdataType.PTR].append(_record(RdataType.PTR, str(own)))
        return {
            name: {kind: tuple(found) for kind, found in records.items() if found}
            for name, records in names.items()
        }

    def _name(self, *labels: str) -> dns.name.Name:
        return dns.name.Name([*(label.encode() for label in labels), *self.origin.labels])


def _address_record(ip: IP) -> dns.rdata.Rdata:
    return _record(RdataType.A if ip.version == 4 else RdataType.AAAA, str(ip))


def _record(kind: RdataType, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)
