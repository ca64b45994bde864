"""What the demo knows of a broker: how a node of it is started, and what holds for all of them."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol

from s3discovery.errors import DiscoveryError
from s3discovery.node import NO_METADATA


class NotInstalledError(DiscoveryError):
    """The broker that the demo should show is not there."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How one node is started: settings, the program that the agent stands in front of, its variables."""

    cluster_id: str
    mqtt_port: int
    options: Mapping[str, str]
    program: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)


class BrokerNodes(Protocol):
    """Nodes of one kind of broker.

    `what` names it to people. `is_engine`: its cluster is a state of its own, which outlives its nodes.
    `step_limit_s` is how long a step of the demo may take."""

    what: str
    is_engine: bool
    step_limit_s: float

    async def prepare(self, stack: AsyncExitStack) -> None:
        """Start what all nodes need; raises NotInstalledError."""

    def launch(self, number: int) -> Launch:
        """Return how node `number` is started, with ports that are free now."""
