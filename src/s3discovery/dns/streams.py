"""Questions over TCP, each with its length before it (RFC 1035, 4.2.2).

A caller may send as fast as it likes and read as slowly: it must cost neither the others their turn nor us a
socket for long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from s3discovery.dns.rates import Rates
from s3discovery.dns.responder import Responder
from s3discovery.network.callers import Places, caller_of

READ_LIMIT_BYTES = 4096  # of questions ahead
_PLACES = 64
_PLACES_EACH = 8
_PLACES_KEPT = 8  # for this machine
_IDLE_S = 10.0
_LIFE_S = 30.0
_PARTING_S = 2.0  # for what is on its way


class Streams:
    """The conversations by TCP."""

    def __init__(
        self, responder: Responder, rates: Rates, *, idle_s: float = _IDLE_S, life_s: float = _LIFE_S
    ) -> None:
        self._responder = responder
        self._rates = rates
        self._idle_s = idle_s
        self._life_s = life_s
        self._places = Places("dns", in_all=_PLACES, each=_PLACES_EACH, kept=_PLACES_KEPT)
        self._conversations: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a conversation, for as long as `conversing`."""
        task = asyncio.get_running_loop().create_task(self.serve(reader, writer), name="dns-tcp")
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    @asynccontextmanager
    async def conversing(self) -> AsyncIterator[None]:
        """End all conversations on leaving."""
        try:
            yield
        finally:
            open_ones = tuple(self._conversations)
            for each in open_ones:
                each.cancel()
            await asyncio.gather(*open_ones, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the caller has no more questions, is silent, does not read, or was here for long."""
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""  # gone already
        caller = caller_of(address)
        if caller is None or not self._places.take(caller):
            writer.close()
            return
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                async with asyncio.timeout(self._life_s):
                    await self._converse(address, reader, writer)
            writer.close()
            with suppress(OSError):
                async with asyncio.timeout(_PARTING_S):
                    await writer.wait_closed()
        finally:
            writer.transport.abort()  # with what is still to be sent: close waits for that for ever
            self._places.leave(caller)

    async def _converse(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            async with asyncio.timeout(self._idle_s):
                length = int.from_bytes(await reader.readexactly(2))
                asked = await reader.readexactly(length)
            await self._rates.allowed(address)
            answer = self._responder.answer(asked, over_tcp=True)
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2) + answer)
            async with asyncio.timeout(self._idle_s):
                await writer.drain()
            await asyncio.sleep(0)  # with questions ahead, nothing above waits
