"""The broker, behind a seam. A broker is level-triggered: it is handed the whole peer set and makes it true.

Some brokers only know their peers (`Broker`); of others the cluster is a state of their own, kept on disk,
that is founded once, joined and left (`Engine`). Third parties register a `BrokerFactory` in the
entry-point group `s3discovery.brokers`; the name of the entry point is what `broker:` in the settings names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from s3discovery.child import Child
from s3discovery.node import NO_METADATA, Member
from s3discovery.settings.config import Settings


def _never() -> None:
    """Ask nobody to look."""


def _nobody() -> None:
    """Be nobody yet."""


@dataclass(frozen=True, slots=True, repr=False)
class Surroundings:
    """What a broker finds around it. Without repr: the environment holds secrets.

    `cluster_id` is the node's, made up if the settings name none. `look_now` asks discovery to look at the
    bucket at once (rate-limited): for a broker that meets a stranger who may be a newcomer. `child` is the
    program that `s3discovery run -- program` put in our hands: a broker may start it when it has rendered
    what it needs, and restart or signal it; None beside a broker that runs by itself. `own` returns this node
    as it is registered; None before it is."""

    settings: Settings
    cluster_id: str
    look_now: Callable[[], None] = _never
    environ: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    child: Child | None = None
    own: Callable[[], Member | None] = _nobody


class Broker(Protocol):
    """The local broker, kept in step with the bucket.

    Entering it finds or starts the broker, or gets ready to start it; afterwards `cluster_id`, `port`
    and `metadata` say what to publish."""

    @property
    def cluster_id(self) -> str | None:
        """The id that the node must have to be known to its peers; None if any will do."""

    @property
    def port(self) -> int | None:
        """Where its cluster transport really listens; None if only the settings know."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What peers need besides the address: published with the node file, found in `Member.metadata`."""

    @property
    def skipped(self) -> frozenset[str]:
        """The ids of those among the peers applied last that can never be peers of this broker.

        Nobody waits for them: other brokers may share the bucket."""

    async def apply(self, peers: frozenset[Member]) -> None:
        """Make the broker's peers equal `peers`; safe to repeat.

        Raises BrokerError if refused; the agent tries again at the next poll."""

    async def cluster(self) -> frozenset[str] | None:
        """Return the ids of the peers that the broker itself is connected with; None if it cannot tell."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Leaver(Protocol):
    """A broker that can be taken out of its cluster."""

    async def leave(self) -> None:
        """Remove this node from the broker's cluster in good order; raises BrokerError."""


@runtime_checkable
class Addressed(Protocol):
    """A broker that knows at which address its peers dial this node."""

    @property
    def host(self) -> str | None:
        """A host or IP address, once entered; None if it is to be found out. What the settings say wins."""


@runtime_checkable
class Engine(Broker, Protocol):
    """A broker whose cluster is a state of its own: one node founds it, the others join, and it lasts.

    Who founds and who joins is decided by `formation`; `apply` is called only once this node belongs to a
    cluster. Every method raises BrokerError if the broker refuses or does not answer, and then is called
    again; none is called while another runs."""

    async def is_blank(self) -> bool:
        """Tell whether this node has neither a cluster nor data to lose, so that it may found or join one."""

    async def found(self) -> None:
        """Become a cluster of one that others can join; safe to repeat."""

    async def join(self, peer: Member) -> None:
        """Join the cluster that `peer` belongs to; safe to repeat."""

    async def down(self) -> frozenset[str]:
        """Return the ids that belong to the broker's cluster and that it sees down."""

    async def forget(self, cluster_id: str) -> None:
        """Remove a dead node from the broker's cluster for good; no error if it is no part of it."""

    async def leave(self) -> None:
        """Remove this node from the broker's cluster in good order; it is blank afterwards."""


@runtime_checkable
class Messenger(Protocol):
    """A broker whose messages between nodes are counted here."""

    def messages(self) -> Mapping[str, int]:
        """Return how many there were since the start, by what became of them."""


@runtime_checkable
class Roster(Protocol):
    """An engine that knows its cluster's members by heart, connected or not.

    Only of such a one can be told, when it comes back, that its cluster is another than that of its peers."""

    async def members(self) -> frozenset[str]:
        """Return the ids of all members of the broker's cluster, this node included; raises BrokerError."""


class BrokerFactory(Protocol):
    """What an entry point of the group `s3discovery.brokers` names."""

    def __call__(self, surroundings: Surroundings) -> Broker:
        """Make a broker; no I/O yet."""
