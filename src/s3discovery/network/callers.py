"""Who calls our servers, and how many connections one of them may have.

This machine is not counted as others are: its broker, its probes and its page get through whatever others do.
"""

import logging
from collections import Counter

from s3discovery.ip import ip_of, unmapped

log = logging.getLogger(__name__)

LOCAL = "loopback"
_NETWORK_CHARS = 19  # of an IPv6 address written out: its first 64 bits, which one machine commonly has


def caller_of(address: str) -> str | None:
    """Return who asks from an IP address: this machine, an IPv4 address, or a network of IPv6.

    None if it is no address. Link-local addresses of all machines are in one network, so each counts."""
    ip = ip_of(address)
    if ip is None:
        return None
    ip = unmapped(ip)
    if ip.is_loopback:
        return LOCAL
    if ip.version == 4 or ip.is_link_local:
        return str(ip)
    return f"{ip.exploded[:_NETWORK_CHARS]}::/64"


class Places:
    """The connections that may be open at a time: `in_all`, `each` for one caller, `kept` for this machine.

    It may have all. `server` is named in the log."""

    def __init__(self, server: str, *, in_all: int, each: int, kept: int) -> None:
        self._server = server
        self._in_all = in_all
        self._each = each
        self._kept = kept
        self._taken: Counter[str] = Counter()
        self._is_told = False

    def take(self, caller: str) -> bool:
        """Take a place, to be left again; False if there is none for this caller.

        That places run out is logged again only after half of them were free."""
        free = self._in_all - self._taken.total()
        has_room = free > 0
        if caller != LOCAL:
            has_room = free > self._kept and self._taken[caller] < self._each
        if has_room:
            self._taken[caller] += 1
        elif not self._is_told:
            self._is_told = True
            log.warning("%s connections refused caller=%s open=%d", self._server, caller, self._taken.total())
        return has_room

    def leave(self, caller: str) -> None:
        """Give a place back."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        if 2 * self._taken.total() <= self._in_all:
            self._is_told = False
