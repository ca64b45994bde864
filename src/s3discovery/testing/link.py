"""The way to a store in tests: a TCP proxy that can be cut, slow, or fail."""

import asyncio
import socket
from dataclasses import dataclass

from s3discovery.demo import child

_CHUNK = 65536
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class _Exchange:
    """How far one connection is. Without pipelining, what follows an answer is the next request."""

    is_answered: bool = True
    loses_answer: bool = False


class Link:
    """A proxy before the store: cut, nothing gets through; slow and failing are meant for HTTP.

    `requests` have come so far, and `faults` of them were refused or lost their answer."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._more: list[asyncio.Server] = []
        self._is_cut = False
        self._late_s = 0.0
        self._fault_every = 0
        self.requests = 0
        self.faults = 0
        self.endpoint = ""

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, child.HOST, port)
        self.endpoint = f"http://{child.HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def listen(self, listener: socket.socket) -> None:
        """Serve at one more socket, such as one of another network namespace."""
        self._more.append(await asyncio.start_server(self._serve, sock=listener))

    def cut(self) -> None:
        self._is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def slow(self, late_s: float) -> None:
        """Pass every answer on so much later than it comes."""
        self._late_s = late_s

    def fail(self, *, every: int) -> None:
        """Let each `every`-th request fail: by turns refused unseen (503), and done but its answer lost."""
        self._fault_every = every

    def mend(self) -> None:
        self._is_cut, self._late_s, self._fault_every = False, 0.0, 0

    async def close(self) -> None:
        self.cut()
        for server in (self._server, *self._more):
            if server is not None:
                server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ends, exchange = {writer, back}, _Exchange()
        self._writers |= ends
        try:
            await asyncio.gather(
                self._ask(reader, back, writer, exchange), self._answer(there, writer, exchange)
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
        exchange: _Exchange,
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if exchange.is_answered:
                    exchange.is_answered = False
                    if self._is_refused(exchange):
                        await _refuse(reader, writer)
                        break
                back.write(data)
                await back.drain()
        except OSError:
            pass
        finally:
            back.transport.abort()

    async def _answer(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, exchange: _Exchange
    ) -> None:
        try:
            while data := await there.read(_CHUNK):
                if not exchange.is_answered:
                    await asyncio.sleep(self._late_s)
                    if exchange.loses_answer:
                        break
                    exchange.is_answered = True
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    def _is_refused(self, exchange: _Exchange) -> bool:
        """Count a request, and decide what becomes of it."""
        self.requests += 1
        if not self._fault_every or self.requests % self._fault_every:
            return False
        self.faults += 1
        exchange.loses_answer = self.faults % 2 == 0
        return not exchange.loses_answer


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say so, and let the rest of the request come: a close with unread data would destroy the answer."""
    writer.write(_REFUSAL)
    await writer.drain()
    while await reader.read(_CHUNK):
        pass
