"""How often a recurring event is logged: the first at once, then a number after ever longer pauses. Pure."""

INTERVAL_S = 5.0
INTERVAL_LIMIT_S = 600.0  # what goes on for ever is still told of six times an hour


class Rarely:
    """Gathers occurrences of one event until they are due to be reported.

    While they go on, the pause between two reports doubles, up to ten minutes; after such a pause without
    any, the next is reported at once again."""

    __slots__ = ("_first_s", "_interval_s", "_next_s", "_pending")

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._first_s = interval_s
        self._interval_s = interval_s
        self._next_s = float("-inf")
        self._pending = 0

    def add(self, count: int = 1) -> None:
        """Note `count` occurrences."""
        self._pending += count

    def due(self, now_s: float) -> int:
        """Return how many to report now, 0 for none; `now_s` is monotonic."""
        if not self._pending or now_s < self._next_s:
            return 0
        return self.flush(now_s)

    def flush(self, now_s: float) -> int:
        """Return how many were not reported yet, however recent the last report is."""
        count, self._pending = self._pending, 0
        was_quiet = now_s - self._next_s >= self._interval_s
        self._interval_s = self._first_s if was_quiet else min(2 * self._interval_s, INTERVAL_LIMIT_S)
        self._next_s = now_s + self._interval_s
        return count
