"""HiveMQ: where its cluster transport listens is read, and its peers are served by DNS.

`transport` is what HiveMQ's config.xml says (pure), `installation` where that file is and what its
placeholders stand for, `broker` the Broker.
"""

from s3discovery.brokers.hivemq.broker import HivemqBroker
from s3discovery.brokers.hivemq.installation import Installation

__all__ = ["HivemqBroker", "Installation"]
