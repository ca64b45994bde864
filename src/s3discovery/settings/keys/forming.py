"""How a cluster is formed, watched and left, with brokers whose cluster is a state of their own."""

from s3discovery.settings import durations, kinds
from s3discovery.settings.keys.key import Key

FORMING: tuple[Key, ...] = (
    Key(
        "min-cluster-size",
        "min_cluster_size",
        kinds.read_count,
        "How many nodes must be there before the first one starts a cluster (RabbitMQ, NATS).",
        "3",
        default="1",
    ),
    Key(
        "min-cluster-timeout",
        "min_cluster_timeout_s",
        durations.read_wait,
        "How long to wait for min-cluster-size before going on with fewer; 0 waits for ever.",
        "5m",
        default="0s",
        show=durations.show_duration,
    ),
    Key(
        "stable-margin",
        "stable_margin_s",
        durations.read_wait,
        "How long no node may have come or gone before a cluster is started.",
        "10s",
        default="5s",
        show=durations.show_duration,
    ),
    Key(
        "seed-key",
        "seed_key",
        kinds.read_object_key,
        "Key of the object by which nodes agree who starts the cluster; outside of file-prefix. Made from "
        "file-prefix if not set.",
        ".s3discovery/hivemq/seed",
    ),
    Key(
        "store-timeout",
        "store_timeout_s",
        durations.read_wait,
        "How long a broker's start waits for a store that does not answer, before the node gives up; "
        "0 waits for ever. Without the store no cluster is started.",
        "10m",
        default="0s",
        show=durations.show_duration,
    ),
    Key(
        "allow-reset",
        "allow_reset",
        kinds.read_flag,
        "Whether a node that holds data of a cluster of its own may be wiped to join that of the others.",
        "true",
        default="false",
        show=kinds.show_flag,
    ),
    Key(
        "forget-dead",
        "forget_dead",
        kinds.read_flag,
        "Whether a node that is gone from the bucket, and that the broker sees down, for forget-after, is "
        "removed from the broker's cluster; if not, it is only warned of.",
        "true",
        default="false",
        show=kinds.show_flag,
    ),
    Key(
        "forget-after",
        "forget_after_s",
        durations.read_wait,
        "How long a node must be both gone from the bucket and down before it counts as dead for good.",
        "30m",
        default="10m",
        show=durations.show_duration,
    ),
    Key(
        "leave-on-stop",
        "leave_on_stop",
        kinds.read_flag,
        "Whether the node file is taken away when the node is stopped; if not, it stays until it expires.",
        "false",
        default="true",
        show=kinds.show_flag,
    ),
)
