"""How much one caller may take: questions a second, and connections at a time.

This machine is not counted: its broker must be answered whatever others do.
"""

import ipaddress
from collections import Counter

from s3discovery.clock import Clock
from s3discovery.dns.zone import unmapped

_CALLERS_LIMIT = 10_000  # addresses whose rate is remembered
_BURST_S = 2.0  # a caller may ask what it is allowed in so long at once
_PLACES = 64
_PLACES_EACH = 8
_PLACES_KEPT = 8  # for this machine


Caller = int | str
"""Who is counted as one: an IPv4 address, or an IPv6 /64, which one machine commonly has to itself.

Link-local addresses of all machines are in one /64: there it is the address."""

LOCAL = "loopback"


def caller_of(address: str) -> Caller | None:
    """Return who asks from an IP address; None if it is none."""
    try:
        ip = unmapped(ipaddress.ip_address(address))
    except ValueError:
        return None
    if ip.is_loopback:
        return LOCAL
    return str(ip) if ip.version == 4 or ip.is_link_local else int(ip) >> 64


class Rates:
    """A token bucket a caller; this machine may ask as often as it likes."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._callers: dict[Caller, tuple[float, float]] = {}

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


class Places:
    """The connections that may be open at a time, in all and for one caller; some are kept for this machine,
    which may have all."""

    def __init__(self, *, in_all: int = _PLACES, each: int = _PLACES_EACH, kept: int = _PLACES_KEPT) -> None:
        self._in_all = in_all
        self._each = each
        self._kept = kept
        self._taken: Counter[Caller] = Counter()

    def take(self, caller: Caller) -> bool:
        """Take a place, to be left again; False if there is none for this caller."""
        free = self._in_all - self._taken.total()
        if free <= 0 or (caller != LOCAL and (free <= self._kept or self._taken[caller] >= self._each)):
            return False
        self._taken[caller] += 1
        return True

    def leave(self, caller: Caller) -> None:
        """Give a place back."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
