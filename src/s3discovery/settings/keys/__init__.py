"""The table of settings: every key once, one file a topic.

Parsing, reference, suggestions, masking and the `config` command all follow from `KEYS`. A key added
to a topic, with its attribute in `config.Settings`, is documented, checked and shown.
"""

import difflib

from s3discovery.settings.keys.broker import BROKER
from s3discovery.settings.keys.command import COMMAND
from s3discovery.settings.keys.credentials import CREDENTIALS, CREDENTIALS_TYPES, ROLE_SOURCES
from s3discovery.settings.keys.dns import DNS
from s3discovery.settings.keys.forming import FORMING
from s3discovery.settings.keys.hivemq import HIVEMQ
from s3discovery.settings.keys.http import HTTP
from s3discovery.settings.keys.key import HIVEMQ_3, HIVEMQ_4, Key
from s3discovery.settings.keys.nats import NATS
from s3discovery.settings.keys.node import NODE
from s3discovery.settings.keys.ownership import OWNERSHIP
from s3discovery.settings.keys.place import PLACE
from s3discovery.settings.keys.rabbitmq import RABBITMQ
from s3discovery.settings.keys.service import SERVICE
from s3discovery.settings.keys.store import STORE

__all__ = [
    "BY_NAME",
    "CREDENTIALS_TYPES",
    "FIXED",
    "HIVEMQ_3",
    "HIVEMQ_4",
    "KEYS",
    "ROLE_SOURCES",
    "Key",
    "nearest_key",
]

KEYS: tuple[Key, ...] = (
    *PLACE,
    *CREDENTIALS,
    *STORE,
    *OWNERSHIP,
    *NODE,
    *BROKER,
    *FORMING,
    *RABBITMQ,
    *NATS,
    *HIVEMQ,
    *COMMAND,
    *DNS,
    *HTTP,
    *SERVICE,
)
BY_NAME = {key.name: key for key in KEYS}
_ALONE = ("bind-address", "bind-port", "control-socket", "allow-reset", "store-timeout")
_TOGETHER = (BROKER, RABBITMQ, NATS, HIVEMQ, COMMAND, DNS, HTTP, SERVICE)
# What a node is started with: a change waits for its next start.
FIXED: tuple[Key, ...] = tuple(
    key for key in KEYS if key.name in _ALONE or any(key in topic for topic in _TOGETHER)
)


def nearest_key(name: str) -> str | None:
    """Return the key that `name` was most likely meant to be, or None."""
    near = difflib.get_close_matches(name.lower().replace("_", "-"), BY_NAME, n=1)
    return near[0] if near else None
