"""What RabbitMQ says of itself, as values. Pure; the questions are in `ctl`.

Texts of a server are not trusted: what does not fit raises BrokerError.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from s3discovery.errors import BrokerError

_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Survey:
    """A node as it is now, whether or not its application runs.

    `state` is RabbitMQ's boot state (`ready`, `stopped`, `booting`, ...); `members` are the nodes of its
    cluster, itself included; `held` counts what a fresh node has not, by kind, and is None unless ready."""

    node: str
    state: str
    members: frozenset[str]
    held: Mapping[str, int] | None = None

    @property
    def is_running(self) -> bool:
        return self.state == "ready"

    @property
    def is_stopped(self) -> bool:
        """Whether Erlang runs without the RabbitMQ application."""
        return self.state == "stopped"

    @property
    def others(self) -> frozenset[str]:
        """The other nodes of its cluster."""
        return self.members - {self.node}

    @property
    def data(self) -> str:
        """What a reset would lose, in words; empty if nothing."""
        if self.held is None:
            return "nobody knows what"
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.held.items()) if count)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as one running node sees it; `partitions` names for each node those that it has lost."""

    members: frozenset[str]
    running: frozenset[str]
    partitions: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def seen_by(self, node: str) -> frozenset[str]:
        """Return the other nodes that `node` is clustered with right now."""
        return self.running - self.partitions.get(node, frozenset()) - {node}

    @property
    def down(self) -> frozenset[str]:
        return self.members - self.running


def read_survey(text: str) -> Survey:
    """Read the answer to the survey."""
    found = _object(text)
    held = found.get("held")
    try:
        return Survey(
            node=_text(found["node"]),
            state=_text(found["state"]),
            members=_names(found["members"]),
            held={str(kind): int(count) for kind, count in held.items()} if held is not None else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _garbled(text) from error


def read_cluster_status(text: str) -> ClusterStatus:
    """Read the answer of `rabbitmqctl cluster_status --formatter json`, 3.8 to 4.x."""
    found = _object(text)
    try:
        return ClusterStatus(
            members=_names(found["disk_nodes"]) | _names(found.get("ram_nodes", [])),
            running=_names(found["running_nodes"]),
            partitions={
                _text(node): _names(lost) for node, lost in _mapping(found.get("partitions")).items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _garbled(text) from error


def read_members_file(text: str) -> frozenset[str]:
    """Read the nodes out of cluster_nodes.config, which RabbitMQ keeps in its data folder with Mnesia.

    It holds one Erlang term, `{[all],[with a disk]}.`; nothing is found in what is no such term."""
    inner = text.partition("{[")[2].partition("]")[0]
    return frozenset(name.strip().strip("'") for name in inner.split(",") if "@" in name)


def _object(text: str) -> dict[str, Any]:
    for line in text.splitlines():  # a warning may stand before the answer
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError as error:
                raise _garbled(text) from error
            if isinstance(found, dict):
                return found
    raise _garbled(text)


def _mapping(value: Any) -> Mapping[str, Any]:
    # Erlang's empty list stands for an empty map in some versions.
    return value if isinstance(value, dict) else {}


def _names(value: Any) -> frozenset[str]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return frozenset(_text(name) for name in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _garbled(text: str) -> BrokerError:
    return BrokerError(
        f"rabbitmqctl answered what we do not understand: {text[:_SHOWN_CHARS]!r}; "
        "check that rabbitmq-ctl names RabbitMQ's own rabbitmqctl"
    )
