"""How many connections may be open at a time: whoever opens many must leave descriptors for the node's work.

Nobody has shown a token yet when he connects, so it is the number that is limited, and the time without a
request (`IDLE_S`, by aiohttp). Who asked and does not read is ended as well; who reads slowly is not.
"""

import asyncio
import fcntl
import math
import struct
import termios
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from s3discovery.http.guard import FAILED, refusal
from s3discovery.network.callers import Places, caller_of

IDLE_S = 10.0  # from the connection, or the last answer, to the end of the next request's header
# Without a byte going out, for a caller who does not read what he asked for. The kernel of one who reads
# slowly takes 64 KB at a time: at 1 KB/s once a minute.
STALL_S = 60.0
BACKLOG = 64  # connections that the kernel holds for us, and so many are accepted at once
_IN_ALL = 200  # of the 1,024 descriptors that a process mostly may have
_EACH = 100  # one address may be a proxy's, with many people behind it
_KEPT = 20  # for this machine, so that its probes and its page always get through


def places() -> Places:
    """Return all places, free."""
    return Places("http", in_all=_IN_ALL, each=_EACH, kept=_KEPT)


def untaken_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the caller's machine has not taken yet, of ours and of the kernel's.

    The kernel holds megabytes, and takes more from us only when a third of them has gone out: for a slow
    reader that is a long time. Source: tcp(7), SIOCOUTQ, which is TIOCOUTQ."""
    descriptor = transport.get_extra_info("socket").fileno()
    (in_kernel,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(struct.calcsize("i"))))
    return transport.get_write_buffer_size() + int(in_kernel)


class Connection(web.RequestHandler):
    """A connection that has a place, or is ended before it is read from."""

    __slots__ = ("_caller", "_places", "_stalled")

    def __init__(self, server: web.Server, places: Places, **kwargs: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **kwargs)
        self._places = places
        self._caller: str | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        caller = caller_of(peer[0]) if peer else None  # None: gone already
        if caller is None or not self._places.take(caller):
            cast("asyncio.Transport", transport).abort()
            return
        self._caller = caller
        # Whatever the kernel does not take is told us, or a little that nobody reads would hold the place.
        cast("asyncio.Transport", transport).set_write_buffer_limits(0)
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse what cannot be read as every error is told; aiohttp's own texts repeat what was sent."""
        super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            answer = refusal(status, "a line of the request is too long")
        else:
            answer = refusal(status, FAILED if status >= 500 else "this is no HTTP that can be read")
        answer.force_close()
        return answer

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._look(self.transport, math.inf)

    def resume_writing(self) -> None:
        self._go_on()
        super().resume_writing()

    def _look(self, transport: asyncio.Transport, before: float) -> None:
        """End the connection if none of the bytes that waited `before` has been taken; else look again."""
        now = untaken_bytes(transport)
        if now < before:
            self._stalled = asyncio.get_running_loop().call_later(STALL_S, self._look, transport, now)
        else:
            transport.abort()

    def _go_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._go_on()
        if self._caller is not None:
            self._places.leave(self._caller)
            self._caller = None
        super().connection_lost(exc)
