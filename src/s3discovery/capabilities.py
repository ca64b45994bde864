"""What a store honours of that which discovery can use but does not need, and what it costs to miss it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

_COSTS = {
    "conditional_create": "of several nodes that create one file at the same time each believes that it was "
    "the one; brokers that need a first node cannot agree on it by the bucket alone",
    "conditional_write": "a bucket that is wiped in the moment before this node refreshes its file goes "
    "unnoticed: this node loses the others until they have written their files again, which takes one poll",
    "conditional_delete": "a node that comes back in the moment in which its expired file is cleared loses "
    "the new file as well, until its next poll",
    "metadata": "brokers that publish a key, such as amqtt, cannot form a cluster, and two processes with "
    "one cluster id write over each other for as long as they run",
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store honours; None is not known.

    `conditional_create`: a put with `If-None-Match: *` never overwrites. `conditional_write`: one with
    `If-Match` replaces just what was seen. `conditional_delete`: a delete with `If-Match` likewise; a store
    that does so only for objects that exist counts as one that does not. `metadata`: user metadata comes
    back as written."""

    conditional_create: bool | None = None
    conditional_write: bool | None = None
    conditional_delete: bool | None = None
    metadata: bool | None = None

    def __str__(self) -> str:
        words = {True: "yes", False: "no", None: "unknown"}
        return " ".join(f"{each.name}={words[getattr(self, each.name)]}" for each in fields(self))

    @property
    def is_known(self) -> bool:
        """Whether nothing is left to be asked."""
        return all(getattr(self, each.name) is not None for each in fields(self))

    def missing(self) -> Iterator[tuple[str, str]]:
        """Yield what the store does not honour, and what that costs."""
        for name, cost in _COSTS.items():
            if getattr(self, name) is False:
                yield name, cost


UNKNOWN = Capabilities()
# Source: AWS's documentation of conditional requests; deletes since September 2025.
OF_AWS = Capabilities(True, True, True, True)
