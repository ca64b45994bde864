"""This node: its id and its address."""

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

NODE: tuple[Key, ...] = (
    Key(
        "cluster-id",
        "cluster_id",
        kinds.read_cluster_id,
        "Id of this node, unique in the cluster; the key of its file is file-prefix + cluster-id. "
        "Generated if not set.",
        "node-1",
    ),
    Key(
        "bind-address",
        "bind_address",
        hosts.read_host,
        "Address the cluster transport listens at; peers dial it unless external-address is set.",
        "10.0.0.5",
    ),
    Key(
        "bind-port",
        "bind_port",
        hosts.read_bind_port,
        "Port the cluster transport listens at; 0 (any free port) only with broker:amqtt.",
        "7800",
        default="7800",
    ),
    Key(
        "external-address",
        "external_address",
        hosts.read_dialled_host,
        "Address that peers dial, where it is not bind-address; found out if neither is set.",
        "node-1.example.com",
    ),
    Key(
        "external-port",
        "external_port",
        hosts.read_port,
        "Port that peers dial; bind-port if not set.",
        "17800",
    ),
    Key(
        "control-socket",
        "control_socket",
        kinds.read_path,
        "Socket file by which `s3discovery leave` and `status --here` reach the running node; in the folder "
        "for temporary files if not set, for the node's own user.",
        "/run/s3discovery/control.sock",
    ),
)
