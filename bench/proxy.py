"""A loopback TCP proxy in front of the store that notes when requests were answered.

It adds less than a millisecond to a request; asking the store in a loop whether a file is there would
take the processor from what is measured.
"""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from s3discovery.clock import SystemClock


class Proxy:
    """Forwards to `endpoint`; `answered` holds (method and path, monotonic s) of every success."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._clock = SystemClock()
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.answered: list[tuple[str, float]] = []
        self.endpoint = ""

    async def wait_for(self, what: str, count: int = 1, *, limit_s: float = 60.0) -> float:
        """Return when the `count`-th request that holds `what` was answered with success (monotonic s)."""
        async with asyncio.timeout(limit_s):
            while True:
                found = [at_s for line, at_s in self.answered if what in line]
                if len(found) >= count:
                    return found[count - 1]
                self._news.clear()
                await self._news.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        store, to_store = await asyncio.open_connection(*self._target)
        asked: list[str] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                answers = tasks.create_task(self._answers(store, to_client, asked))
                await self._requests(client, to_store, asked)
                answers.cancel()
        except* ConnectionError:
            pass  # one side ended the connection: nothing more to forward
        finally:
            to_store.close()
            to_client.close()

    async def _requests(
        self, client: asyncio.StreamReader, to_store: asyncio.StreamWriter, asked: list[str]
    ) -> None:
        """Forward; on one connection the client waits for each answer, so a request begins a chunk."""
        while data := await client.read(65536):
            first = data.split(b"\r\n", 1)[0]
            if first.endswith(b" HTTP/1.1"):
                asked.append(first.removesuffix(b" HTTP/1.1").decode("latin-1"))
            to_store.write(data)
            await to_store.drain()

    async def _answers(
        self, store: asyncio.StreamReader, to_client: asyncio.StreamWriter, asked: list[str]
    ) -> None:
        while data := await store.read(65536):
            if asked and data.startswith(b"HTTP/1.1 2"):
                self.answered.append((asked.pop(), self._clock.monotonic_s()))
                self._news.set()
            to_client.write(data)
            await to_client.drain()
