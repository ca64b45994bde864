"""The page in a real browser, over a node whose bucket is in memory."""

import asyncio
import itertools
import re
import time
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from playwright.async_api import Browser, Page, async_playwright, expect

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.http import serving
from s3discovery.node import NO_METADATA, Address, Member, NodeFile
from s3discovery.running import ClusterState, Running
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings

SEEN_MS = 2000.0  # so soon a change has to be on the page
LIMIT_S = 20.0


@asynccontextmanager
async def launched(executable: str) -> AsyncIterator[Browser]:
    """A browser, ended in the end."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable)
        yield browser
        await browser.close()


class RealTime(FakeClock):
    """The store's clock, which goes on by itself."""

    def __init__(self) -> None:
        super().__init__(start_s=time.time())
        self._since_s = time.monotonic()

    def monotonic_s(self) -> float:
        return time.monotonic() - self._since_s


@dataclass
class Agent:
    """A node with its page, over a bucket in memory."""

    base: str
    bucket: MemoryBucket
    cable: Cable
    state: ClusterState | None = None
    number: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def plant(self, cluster_id: str, host: str = "10.0.0.1", *, age_s: float = 0, **metadata: str) -> None:
        """Write a node's file; every one differs, as those of a node that refreshes do."""
        body = codec.encode(NodeFile("1", next(self.number), cluster_id, Address(host, 7800)), "1")
        named = {f"s3discovery-{key}": text for key, text in metadata.items()}
        self.bucket.plant(f"nodes/{cluster_id}", body, named or NO_METADATA, age_s=age_s)


@asynccontextmanager
async def agent(metadata: Mapping[str, str] = NO_METADATA, /, **settings: str) -> AsyncIterator[Agent]:
    """Run a node without a broker; with `metadata`, as of one whose broker can tell."""
    clock, bucket = SystemClock(), MemoryBucket(RealTime())
    cable = Cable(bucket)
    read = make_settings(**{"poll_interval": "200ms", "http_port": "1", **settings})
    own = Member("own", Address("10.0.0.9", 7800), metadata)
    async with Discovery(read, cable, own, clock=clock) as discovery:
        found = Agent("", bucket, cable)
        running = Running(read, discovery, clock, lambda: found.state)
        async with serving(0, running) as (host, port):
            found.base = f"http://{host}:{port}"
            yield found


@dataclass
class Seen:
    """A page, and what it did beside showing itself."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def text(self, selector: str, text: str | re.Pattern[str], limit_ms: float = SEEN_MS) -> None:
        """Wait until `selector` holds `text`."""
        await expect(self.page.locator(selector)).to_contain_text(text, timeout=limit_ms)

    async def count(self, selector: str, count: int, limit_ms: float = SEEN_MS) -> None:
        await expect(self.page.locator(selector)).to_have_count(count, timeout=limit_ms)


@asynccontextmanager
async def opened(
    browser: Browser,
    base: str,
    *,
    faulty: bool = False,
    clock: bool = False,
    size: tuple[int, int] = (1280, 900),
    **options: Any,
) -> AsyncIterator[Seen]:
    """Open the page; unless `faulty`, nothing may have gone wrong in it in the end.

    With `clock`, its time is moved on by `page.clock`."""
    viewport = {"width": size[0], "height": size[1]}
    context = await browser.new_context(viewport=viewport, timezone_id="UTC", **options)  # type: ignore[arg-type] # a dict serves as the TypedDict
    context.set_default_timeout(LIMIT_S * 1000)
    page = await context.new_page()
    seen = Seen(page)
    page.on("console", lambda message: seen.errors.append(message.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    if clock:
        await page.clock.install()
    try:
        await page.goto(base + "/")
        await page.evaluate("window.isSame = true")
        yield seen
        assert await page.evaluate("window.isSame"), "the page was loaded anew"
    finally:
        await context.close()
    foreign = [url for url in seen.requests if not url.startswith((base + "/", "data:"))]
    assert foreign == []
    assert faulty or seen.errors == []


class Relay:
    """The way from the browser to the agent at `target`, which can be cut, or fall silent."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._port = 0
        self._silent: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.headers: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    def silence(self) -> None:
        """Pass nothing on over the connections of now, and leave them open; new ones work."""
        self._silent |= self._writers

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.cut()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urllib.parse.urlsplit(self.target)
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        self._writers |= {writer, far_writer}
        with suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if writer in self._silent:
                continue
            self.headers += data.decode(errors="replace").lower().split("\r\n")
            writer.write(data)
            await writer.drain()
        writer.close()
