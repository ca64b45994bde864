"""Who is gone for good: absent from the bucket and down for the broker, both, for long enough.

Either alone proves nothing: a file expires when its node cannot reach the store, and a broker sees down
whoever is behind a cut cable. Only complete listings count, so a store that fails forgets nobody.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Departures:
    """`since_s`: ids that are both absent and down, and since when (our monotonic time)."""

    since_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def observe(self, *, down: Collection[str], present: Collection[str], now_s: float) -> "Departures":
        """Return what is known after a complete listing with the members `present`."""
        gone = set(down) - set(present)
        return Departures({name: self.since_s.get(name, now_s) for name in sorted(gone)})

    def overdue(self, *, forget_after_s: float, now_s: float) -> tuple[str, ...]:
        """Return who has been gone for so long that the broker may forget him."""
        return tuple(name for name, since_s in self.since_s.items() if now_s - since_s >= forget_after_s)
