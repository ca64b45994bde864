"""Who is gone for good: absent from the bucket and down for the broker, both, for long enough.

Either alone proves nothing: a file expires when its node cannot reach the store, and a broker sees down
whoever is behind a cut cable. Only complete listings count, so a store that fails forgets nobody.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Departures:
    """`since_s`: ids that are both absent and down, and since when; `seen_s`: when that was last observed.

    Times are our monotonic ones."""

    since_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    seen_s: float = 0.0

    def observe(
        self, *, down: Collection[str], present: Collection[str], now_s: float, gap_limit_s: float
    ) -> "Departures":
        """Return what is known after a complete listing with the members `present`.

        Nothing from before counts if that is longer ago than `gap_limit_s`: whatever kept us from looking
        may have kept the others from coming back."""
        since_s = self.since_s if now_s - self.seen_s <= gap_limit_s else {}
        gone = set(down) - set(present)
        return Departures({name: since_s.get(name, now_s) for name in sorted(gone)}, now_s)

    def overdue(self, *, forget_after_s: float, now_s: float) -> tuple[str, ...]:
        """Return who has been gone for so long that the broker may forget him."""
        return tuple(name for name, since_s in self.since_s.items() if now_s - since_s >= forget_after_s)
