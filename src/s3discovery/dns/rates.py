"""How many questions a second one caller may ask; this machine as many as it likes."""

from s3discovery.clock import Clock
from s3discovery.network.callers import LOCAL, caller_of

_CALLERS_LIMIT = 10_000  # addresses whose rate is remembered
_BURST_S = 2.0  # a caller may ask what it is allowed in so long at once


class Rates:
    """A token bucket a caller; this machine may ask as often as it likes."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._callers: dict[str, tuple[float, float]] = {}

    def allows(self, address: str) -> bool:
        """Tell whether a question from there may be answered; one that may not costs nothing."""
        caller = caller_of(address)
        if caller is None or caller == LOCAL:
            return caller == LOCAL
        now_s = self._clock.monotonic_s()
        tokens, at_s = self._callers.get(caller, (self._per_s * _BURST_S, now_s))
        tokens = min(self._per_s * _BURST_S, tokens + (now_s - at_s) * self._per_s)
        if len(self._callers) >= _CALLERS_LIMIT and caller not in self._callers:
            self._callers.clear()
        is_allowed = tokens >= 1
        self._callers[caller] = (tokens - 1 if is_allowed else tokens, now_s)
        return is_allowed

    async def allowed(self, address: str) -> None:
        """Wait until a question from there, an IP address, may be answered."""
        while not self.allows(address):
            await self._clock.sleep(1 / self._per_s)
