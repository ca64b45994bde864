"""NATS: a nats-server with MQTT and JetStream, made a member of one cluster.

NATS connects its servers by routes; what lasts is JetStream's meta group (Raft), which counts its members
and knows every stream. Routes are a file that is rewritten and read again by the running server; the meta
group is founded by one server, and takes in whoever gets a route to it. Two that formed apart must never get
one.
"""

from s3discovery.brokers.nats.engine import NatsBroker

__all__ = ["NatsBroker"]
