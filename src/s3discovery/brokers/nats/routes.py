"""The file of routes, which the cluster block of nats.conf includes: its text, and who is in it.

Nothing of the bucket gets in but hosts and ports that can be dialled. A server counts its routes once, when
its meta group has no state yet: it expects that many members at least. `self_routes` uses that.
"""

from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, unquote

from s3discovery.brokers.nats.login import Login
from s3discovery.brokers.nats.views import peer_id
from s3discovery.node import Address, Member

ENGINE = "engine"  # of metadata: what tells our peers from other systems' nodes in the same bucket
METADATA: Mapping[str, str] = {ENGINE: "nats"}
# A joiner that counts so many routes can never be elected by the blank alone; 32 of them would have to be.
JOINER_ROUTES = 64


def route_url(address: Address, login: Login | None = None, mark: str = "") -> str:
    """Return the URL of a route; `mark` makes it another URL of the same place.

    `address` must be dialable: other hosts could break out of the file."""
    if not address.is_dialable:
        raise ValueError(f"host {address.host!r} cannot be dialled")
    user = ""
    if login is not None:
        user = f"{quote(login.user, safe='')}:{quote(login.password.reveal(), safe='')}@"
    return f"nats://{user}{_host(address)}:{address.port}{mark}"


def place_of(url: str) -> str:
    """Return host:port of a route's URL, as nats-server lists its routes."""
    return unquote(url.removeprefix("nats://").rpartition("@")[2].partition("/")[0])


def self_routes(own: Address, login: Login | None = None, count: int = 1) -> list[str]:
    """Return `count` routes of a server to itself, which it drops after it has counted them.

    With one, JetStream starts although there is nobody yet. With many, its meta group expects so many
    members that this server waits for a leader instead of being elected."""
    return [route_url(own, login, f"/{number}" if number else "") for number in range(count)]


def render(urls: Iterable[str]) -> str:
    """Return the text of the file."""
    lines = "".join(f'  "{url}"\n' for url in urls)
    return f"# Written by s3discovery, which overwrites what is changed here.\nroutes: [\n{lines}]\n"


def possible(peers: Iterable[Member]) -> list[Member]:
    """Return those who can be peers, by id: nats-servers with an address that can be dialled."""
    found = (peer for peer in peers if peer.metadata.get(ENGINE) == METADATA[ENGINE])
    return sorted((peer for peer in found if peer.address.is_dialable), key=lambda peer: peer.cluster_id)


def same_group(peers: Iterable[Member], known: Collection[str]) -> list[Member]:
    """Return those who may get a route from a server whose meta group knows the peer ids `known`.

    Whoever reports a cluster and is not of ours has one of his own, or has just joined and is connected by
    the route that he made."""
    return [peer for peer in peers if peer.report.is_formed is not True or peer_id(peer.cluster_id) in known]


def _host(address: Address) -> str:
    ip = address.ip
    if ip is None:
        return address.host
    return f"[{str(ip).replace('%', '%25')}]" if ip.version == 6 else str(ip)
