"""Who among the peers has not refreshed his file for longer than anybody who lives, while this node listened.

The age of a file does not tell: in an outage of the store the living get older, too, and a node that starts
when it is over would take all of them for dead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from s3discovery.membership import is_late
from s3discovery.node import Member

# Of an expiration, which is the same for all. While intervals are being changed, that of a peer may be longer
# than ours; one longer than this would not outlive two refreshes that fail.
_LONGEST_INTERVAL = 0.4


@dataclass(frozen=True, slots=True)
class Silence:
    """What the listings so far say; the newest is number `polls`, at `listed_s` of our monotonic clock.

    `silent_s` by id: the ETag, and for how long it has been that one. `failures` there were until then."""

    polls: int = 0
    listed_s: float = 0.0
    failures: int = 0
    silent_s: Mapping[str, tuple[str, float]] = field(default_factory=lambda: MappingProxyType({}))

    def observe(self, peers: Iterable[Member], *, polls: int, listed_s: float, failures: int) -> "Silence":
        """Return what is known after listing number `polls`; `failures` of polls and writes came before it.

        Time in which one failed does not count: the others could not refresh either, and are owed it."""
        if polls == self.polls:
            return self
        passed_s = listed_s - self.listed_s if failures == self.failures else 0.0
        silent_s: dict[str, tuple[str, float]] = {}
        for peer in peers:
            etag, before_s = self.silent_s.get(peer.cluster_id, ("", 0.0))
            silent_s[peer.cluster_id] = (peer.etag, before_s + passed_s if etag == peer.etag else 0.0)
        return Silence(polls, listed_s, failures, silent_s)

    def is_long(
        self, cluster_id: str, *, file_expiration_s: float, update_interval_s: float, poll_interval_s: float
    ) -> bool:
        """Tell whether this peer has been silent for longer than who lives may be; a stranger has not."""
        _, silent_s = self.silent_s.get(cluster_id, ("", 0.0))
        return is_late(
            age_s=silent_s,
            update_interval_s=max(update_interval_s, _LONGEST_INTERVAL * file_expiration_s),
            poll_interval_s=poll_interval_s,
        )
