"""How often a recurring event is logged: the first at once, then a number every few seconds. Pure."""

INTERVAL_S = 5.0


class Rarely:
    """Gathers occurrences of one event until they are due to be reported."""

    __slots__ = ("_interval_s", "_next_s", "_pending")

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
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
        self._next_s = now_s + self._interval_s
        return count
