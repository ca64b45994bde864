"""Whether a nats-server can be this node: what it says of itself against what the settings say."""

from s3discovery.brokers.nats.store import is_same
from s3discovery.brokers.nats.views import Server
from s3discovery.errors import BrokerError
from s3discovery.settings.config import Settings

_NAMELESS = "nats-server has made up a name; write server_name into nats.conf, another on every node"


def check_settings(settings: Settings) -> None:
    """Raise BrokerError if a server could not be started with `settings`."""
    if settings.cluster_id is None:
        raise BrokerError(
            "set cluster-id to the server_name of nats.conf (it may be written there as $NATS_SERVER_NAME)"
        )
    if settings.nats_jetstream and settings.nats_store_dir is None:
        raise BrokerError(
            "set nats-store-dir to the store_dir of nats.conf, or nats-jetstream:false where JetStream is off"
        )


def check_name(server: Server, settings: Settings) -> None:
    """Raise BrokerError if a server that runs by itself has no name, or another than the settings say."""
    if server.name == server.server_id:
        raise BrokerError(_NAMELESS)
    if settings.cluster_id is not None and settings.cluster_id != server.name:
        raise BrokerError(
            f"cluster-id is {settings.cluster_id!r}, but nats-server has server_name {server.name!r}; "
            "leave out cluster-id, or make them the same"
        )


def check(server: Server, name: str, settings: Settings, *, is_ours: bool) -> None:
    """Raise BrokerError if the server that answers is not the one that the settings describe."""
    if server.name == server.server_id != name:
        raise BrokerError(_NAMELESS)
    if server.name != name:
        raise BrokerError(
            f"what answers at nats-monitor-url is the server {server.name!r}, not {name!r}; give every "
            "node an http port of its own"
        )
    if server.cluster_port is None:
        raise BrokerError(
            'nats.conf has no cluster block; write cluster { name: mesh, listen: "0.0.0.0:6222" ... }, '
            "and restart nats-server: it cannot be added to one that runs"
        )
    if settings.nats_jetstream and server.store_dir is None:
        raise BrokerError(
            "JetStream is off: write jetstream { store_dir: ... } into nats.conf, or set "
            "nats-jetstream:false; if the node was removed from the cluster, restart nats-server"
        )
    if not settings.nats_jetstream and server.store_dir is not None:
        raise BrokerError("nats.conf has jetstream, but nats-jetstream is false; make them the same")
    if is_ours:
        _check_ours(server, settings)


def _check_ours(server: Server, settings: Settings) -> None:
    if server.cluster_port != settings.bind_port:
        raise BrokerError(
            f"bind-port is {settings.bind_port}, but the cluster block listens at {server.cluster_port}; "
            "make them the same"
        )
    stored, wanted = server.store_dir, settings.nats_store_dir
    if stored is not None and wanted is not None and not is_same(stored, wanted):
        raise BrokerError(
            f"nats-store-dir is {wanted!r}, but JetStream stores in {stored!r}; make them the same"
        )
