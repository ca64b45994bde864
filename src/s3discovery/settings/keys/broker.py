"""The broker that is made to cluster, whichever it is, and amqtt."""

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

BROKER: tuple[Key, ...] = (
    Key(
        "broker",
        "broker",
        kinds.read_name,
        "Broker that is made to cluster: none (discovery alone), amqtt, hivemq, rabbitmq, nats, command "
        "(any, by commands of your own), or one that an installed package registers.",
        "amqtt",
        default="none",
    ),
    Key(
        "amqtt-listen",
        "amqtt_listen",
        hosts.read_listener,
        "host:port where MQTT clients connect, with broker:amqtt.",
        "0.0.0.0:1883",
        default="127.0.0.1:1883",
    ),
    Key(
        "amqtt-config",
        "amqtt_config",
        kinds.read_path,
        "An amqtt configuration file (YAML), used instead of amqtt-listen.",
        "/etc/amqtt.yaml",
    ),
)
