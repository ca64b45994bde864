"""The brokers that the demo can show, one file each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from s3discovery.demo.brokers.amqtt import AmqttNodes
from s3discovery.demo.brokers.nats import NatsNodes
from s3discovery.demo.brokers.rabbitmq import RabbitmqNodes
from s3discovery.demo.launch import BrokerNodes

BROKERS: Mapping[str, Callable[[Path], BrokerNodes]] = MappingProxyType(
    {"amqtt": AmqttNodes, "rabbitmq": RabbitmqNodes, "nats": NatsNodes}
)
