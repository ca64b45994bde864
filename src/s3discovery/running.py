"""A node at work, or an observer, as those see it who tell others of it: DNS, HTTP, metrics."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from s3discovery.clock import Clock
from s3discovery.discovery import Discovery
from s3discovery.settings.config import Settings


@dataclass(frozen=True, slots=True)
class Sight:
    """What the driven broker sees of the members that can be its peers, itself included in `seen`."""

    seen: int
    missing: int


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What the driven broker's cluster is.

    `text` is as it is logged (`formed 3/3`), empty before the first word. `is_whole`: nobody who could be
    there is missing. `is_split`: what all nodes report shows parts apart. `is_ready`: the node can serve
    clients, since it belongs to the cluster, or to its larger part; that others are missing is no matter.
    `missing`: whom it does not see just now, before that has lasted long enough to be reported to all."""

    text: str = ""
    is_whole: bool = False
    is_split: bool = False
    is_ready: bool = False
    missing: frozenset[str] = frozenset()


def _no_sight() -> Sight | None:
    return None


@dataclass(frozen=True, slots=True)
class Running:
    """What there is to tell. `settings` are those of the start; `discovery.settings` those in force.

    `cluster_state` is None where no broker is driven. `leave` takes the node out of its cluster for good and
    ends it; None for an observer. `sight` is None while unknown; `messages` are counts by outcome."""

    settings: Settings
    discovery: Discovery
    clock: Clock
    cluster_state: Callable[[], ClusterState | None]
    leave: Callable[[], Awaitable[None]] | None = None
    sight: Callable[[], Sight | None] = _no_sight
    messages: Callable[[], Mapping[str, int]] = dict
