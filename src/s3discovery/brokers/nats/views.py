"""What nats-server says of itself by HTTP, checked: anything may answer at that port."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from s3discovery.errors import BrokerError

Json = Mapping[str, Any]
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PEER_CHARS = 8
_SILENT_S = 10.0  # longer than an election takes


def peer_id(name: str) -> str:
    """Return the id that the server `name` has in a meta group. Source: getHash in nats-server."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
    return "".join(_DIGITS[byte % len(_DIGITS)] for byte in digest[:_PEER_CHARS])


@dataclass(frozen=True, slots=True)
class Listener:
    """Where clients connect."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, from /varz.

    `loaded` changes whenever it has read its configuration (again). `routes` are host:port. `cluster_port`
    is None without a cluster block, `store_dir` without JetStream, `mqtt` without MQTT."""

    name: str
    server_id: str
    loaded: str
    cluster_name: str
    cluster_port: int | None
    routes: frozenset[str]
    store_dir: str | None
    client: Listener
    mqtt: Listener | None


@dataclass(frozen=True, slots=True)
class MetaPeer:
    """A member of the meta group as the server asked sees it; `name` is empty if it was never seen.

    `is_current` and `silent_s` (since it was heard last) are known to the leader alone. `is_offline`
    comes after minutes where a server ended without a word."""

    name: str
    peer: str
    is_offline: bool
    is_current: bool
    silent_s: float

    @property
    def is_silent(self) -> bool:
        """Whether the leader that says so has not heard of it for longer than any hiccup."""
        return self.is_offline or (not self.is_current and self.silent_s >= _SILENT_S)


@dataclass(frozen=True, slots=True)
class Meta:
    """The meta group, from /jsz; the server itself is among `peers` only while there is no leader."""

    leader: str
    size: int
    peers: tuple[MetaPeer, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The peer ids of all, but for the server asked."""
        leader = {peer_id(self.leader)} if self.leader else set()
        return frozenset({peer.peer or peer_id(peer.name) for peer in self.peers} | leader)

    def includes(self, name: str) -> bool:
        """Tell whether the server `name`, who said this, is a member; False while there is no leader.

        A follower lists all others, so one who is no member lists as many as there are."""
        return self.leader == name or (bool(self.leader) and len(self.ids - {peer_id(name)}) < self.size)

    def find(self, cluster_id: str) -> MetaPeer | None:
        """Return the member of that name, or of that peer id."""
        wanted = (cluster_id, peer_id(cluster_id))
        return next((peer for peer in self.peers if peer.peer in wanted or peer.name == cluster_id), None)

    def down(self, name: str, connected: Collection[str], names: Mapping[str, str]) -> frozenset[str]:
        """Return whom the server `name` has no route with, by name, or by peer id if none is known.

        Routes are a full mesh: who has none is down, or cut off from here. `names` are by peer id."""
        there = {peer_id(other) for other in (name, *connected)}
        called = {peer.peer: peer.name for peer in self.peers if peer.name}
        offline = {peer.peer for peer in self.peers if peer.is_offline}
        called |= {peer_id(self.leader): self.leader}
        return frozenset(called.get(peer) or names.get(peer, peer) for peer in (self.ids - there) | offline)


def read_server(said: Json) -> Server:
    """Read /varz; raises BrokerError if it is not nats-server's."""
    cluster, jetstream, mqtt = _part(said, "cluster"), _part(said, "jetstream"), _part(said, "mqtt")
    name = _text(said, "server_name") or _text(said, "server_id")
    if not name or "config_load_time" not in said:
        raise BrokerError("what answers at nats-monitor-url is no nats-server; write where its http: listens")
    listed = cluster.get("urls")
    urls = listed if isinstance(listed, list) else []
    store_dir = _text(_part(jetstream, "config"), "store_dir")
    return Server(
        name=name,
        server_id=_text(said, "server_id"),
        loaded=_text(said, "config_load_time"),
        cluster_name=_text(cluster, "name"),
        cluster_port=_number(cluster, "cluster_port") or None,
        routes=frozenset(url for url in urls if isinstance(url, str)),
        store_dir=store_dir or None,
        client=_listener(said, tls="tls_required"),
        mqtt=_listener(mqtt, tls="tls_cert_not_after") if _number(mqtt, "port") else None,
    )


def read_names(said: Json) -> frozenset[str]:
    """Read who is connected from /routez; several connections a peer are the rule."""
    routes = said.get("routes")
    found = [route for route in routes if isinstance(route, dict)] if isinstance(routes, list) else []
    return frozenset(filter(None, (_text(route, "remote_name") for route in found)))


def read_meta(said: Json) -> Meta | None:
    """Read the meta group from /jsz; None if this server has no (longer any) part in one."""
    meta = _part(said, "meta_cluster")
    if not meta:
        return None
    listed = meta.get("replicas")
    peers = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return Meta(_text(meta, "leader"), _number(meta, "cluster_size"), tuple(map(_meta_peer, peers)))


def _meta_peer(said: Json) -> MetaPeer:
    name, peer = _text(said, "name"), _text(said, "peer")
    # Of one it has never met it says "Server name unknown at this time (peerID: ...)".
    is_known = not peer or peer_id(name) == peer
    return MetaPeer(
        name=name if is_known else "",
        peer=peer,
        is_offline=said.get("offline") is True,
        is_current=said.get("current") is True,
        silent_s=_number(said, "active") / 1e9,
    )


def _listener(said: Json, *, tls: str) -> Listener:
    return Listener(_text(said, "host"), _number(said, "port"), tls=said.get(tls) not in (None, False))


def _part(said: Json, name: str) -> Json:
    part = said.get(name)
    return part if isinstance(part, dict) else {}


def _text(said: Json, name: str) -> str:
    text = said.get(name)
    return text if isinstance(text, str) else ""


def _number(said: Json, name: str) -> int:
    number = said.get(name)
    return number if isinstance(number, int) else 0
