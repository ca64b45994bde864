"""How many connections may be open at a time: whoever opens many must leave descriptors for the node's work.

Nobody has shown a token yet when he connects, so it is the number that is limited, and the time without a
request (`IDLE_S`, by aiohttp).
"""

import asyncio
import ipaddress
import logging
from collections import Counter
from typing import Any, cast

from aiohttp import web

log = logging.getLogger(__name__)

IDLE_S = 10.0  # from the connection, or the last answer, to the end of the next request's header
BACKLOG = 64  # connections that the kernel holds for us, and so many are accepted at once
_IN_ALL = 200  # of the 1,024 descriptors that a process mostly may have
_EACH = 100  # one address may be a proxy's, with many people behind it
_KEPT = 20  # for this machine, so that its probes and its page always get through
_NETWORK_BITS = 64  # of an IPv6 address: one machine has all that begin with these
_LOCAL = "local"


class Places:
    """The connections that may be open at a time, in all and for one caller; this machine may have all."""

    def __init__(self, *, in_all: int = _IN_ALL, each: int = _EACH, kept: int = _KEPT) -> None:
        self._in_all = in_all
        self._each = each
        self._kept = kept
        self._taken: Counter[str] = Counter()
        self._is_told = False

    def take(self, caller: str) -> bool:
        """Take a place, to be left again; False if there is none for this caller.

        That places run out is logged again only after half of them were free."""
        free = self._in_all - self._taken.total()
        has_room = free > (0 if caller == _LOCAL else self._kept)
        if caller != _LOCAL and self._taken[caller] >= self._each:
            has_room = False
        if has_room:
            self._taken[caller] += 1
        elif not self._is_told:
            self._is_told = True
            log.warning("http connections refused caller=%s open=%d", caller, self._taken.total())
        return has_room

    def leave(self, caller: str) -> None:
        """Give a place back."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        if 2 * self._taken.total() <= self._in_all:
            self._is_told = False


def caller_of(host: str) -> str:
    """Return who counts as one caller: this machine, an IPv4 address, a network of IPv6."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None and not ip.is_loopback:
            return str(ipaddress.ip_network((ip, _NETWORK_BITS), strict=False))
        ip = ip.ipv4_mapped or ip
    return _LOCAL if ip.is_loopback else str(ip)


class Connection(web.RequestHandler):
    """A connection that has a place, or is ended before it is read from."""

    __slots__ = ("_caller", "_places")

    def __init__(self, server: web.Server, places: Places, **kwargs: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **kwargs)
        self._places = places
        self._caller: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        caller = caller_of(peer[0]) if peer else None  # None: gone already
        if caller is None or not self._places.take(caller):
            cast("asyncio.Transport", transport).abort()
            return
        self._caller = caller
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._caller is not None:
            self._places.leave(self._caller)
            self._caller = None
        super().connection_lost(exc)
