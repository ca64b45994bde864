"""The sockets: for UDP and TCP the same addresses and the same port."""

import asyncio
import errno
import socket
from contextlib import ExitStack
from typing import Any

Pair = tuple[socket.socket, socket.socket]
"""One address: TCP, listening, and UDP."""

SocketAddress = tuple[Any, ...]
"""Host and port, and two numbers more for IPv6, as the socket module has them."""

# `localhost` has an IPv6 address on machines without IPv6, too.
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


async def open_pairs(host: str, port: int) -> list[Pair]:
    """Return sockets at all addresses of `host`, none of which blocks; `::` takes IPv4 in.

    Port 0 is any free one. Raises OSError, with nothing left open; of several addresses one is enough."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    pairs = list[Pair]()
    refusal = OSError(errno.EADDRNOTAVAIL, "no address")
    with ExitStack() as opened:
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                tcp = opened.enter_context(_bound(family, socket.SOCK_STREAM, _with_port(address, port)))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                refusal = error
                continue
            port = tcp.getsockname()[1]
            udp = opened.enter_context(_bound(family, socket.SOCK_DGRAM, _with_port(address, port)))
            pairs.append((tcp, udp))
        if not pairs:
            raise refusal
        opened.pop_all()
    return pairs


def _with_port(address: SocketAddress, port: int) -> SocketAddress:
    return (address[0], port, *address[2:])


def _bound(family: int, kind: int, address: SocketAddress) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen()
    except OSError:
        made.close()
        raise
    return made
