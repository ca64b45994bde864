"""The broker, behind a seam. A broker is level-triggered: it is handed the whole peer set and makes it true.

Third parties register a `BrokerFactory` in the entry-point group `s3discovery.brokers`; the name of
the entry point is what `broker:` in the settings names.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from s3discovery.config import Settings
from s3discovery.node import Member


class Broker(Protocol):
    """The local broker, kept in step with the bucket.

    Entering it starts or finds the broker; afterwards `port` and `metadata` say what to publish."""

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


class BrokerFactory(Protocol):
    """What an entry point of the group `s3discovery.brokers` names."""

    def __call__(self, settings: Settings, cluster_id: str, look_now: Callable[[], None]) -> Broker:
        """Make a broker for the node `cluster_id`; no I/O yet.

        `look_now` asks discovery to look at the bucket at once (rate-limited): for a broker that
        meets a stranger who may be a newcomer."""
