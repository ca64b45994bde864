"""Questions over UDP, one a datagram.

What the kernel does not take at once is dropped, as any network may drop it: else whoever forges addresses
could have us keep answers without end. Each answer comes from the address that was asked, whatever the socket
is bound to.
"""

import asyncio
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from s3discovery.dns.rates import Rates
from s3discovery.dns.responder import Responder

# Longer ones are refused by their length, however much of them is read.
_ASKED_LIMIT_BYTES = 2048
_ANCILLARY_BYTES = 128
_IP_PKTINFO = 8  # Linux; Python has no name for it

Ancillary = tuple[int, int, bytes]


class Datagrams:
    """What is answered, at one socket or more."""

    def __init__(self, responder: Responder, rates: Rates) -> None:
        self._responder = responder
        self._rates = rates

    @contextmanager
    def at(self, place: socket.socket) -> Iterator[None]:
        """Answer at a bound socket that does not block, while entered."""
        loop = asyncio.get_running_loop()
        _tell_address(place)
        loop.add_reader(place, self._read, place)
        try:
            yield
        finally:
            loop.remove_reader(place)

    def answer(self, asked: bytes, address: str) -> bytes | None:
        """Return what is due to that address: who asks too often is told to come by TCP."""
        if self._rates.allows(address):
            return self._responder.answer(asked)
        return self._responder.come_by_tcp(asked)

    def _read(self, place: socket.socket) -> None:
        with suppress(OSError):  # nothing there, no way back, no room
            asked, ancillary, _, caller = place.recvmsg(_ASKED_LIMIT_BYTES, _ANCILLARY_BYTES)
            answer = self.answer(asked, str(caller[0]))
            if answer is not None:
                place.sendmsg([answer], _from_there(ancillary), 0, caller)


def _tell_address(place: socket.socket) -> None:
    """Have the kernel say with each datagram which address was asked."""
    if place.family == socket.AF_INET6:
        place.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    elif sys.platform == "linux":
        place.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _from_there(ancillary: Iterable[Ancillary]) -> list[Ancillary]:
    """Return what sends an answer from the address that was asked, by whatever interface the routes say."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):  # interface, own address, its destination
            return [(level, kind, bytes(4) + data[4:8] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):  # its destination, interface
            return [(level, kind, data[:16] + bytes(4))]
    return []
