"""RabbitMQ: its nodes found and join one cluster, and are forgotten and leave.

`engine` is the Broker; `ctl` runs rabbitmqctl, `faults` knows why that failed, `status` what it answers;
`epmd` asks Erlang's port mapper, `names` knows what a node may be called, `home` what it left on its disk.
"""

from s3discovery.brokers.rabbitmq.engine import RabbitBroker

__all__ = ["RabbitBroker"]
