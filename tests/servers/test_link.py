"""The bad ways to a store: what of HTTP gets through them."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from s3discovery.clock import SystemClock
from s3discovery.testing.link import Link

LATE_S = 0.3


class Way:
    """A server that counts what it is asked, and the link before it."""

    def __init__(self) -> None:
        self.served = 0
        self.link = Link("http://127.0.0.1:0")

    async def serve(self, request: web.Request) -> web.Response:
        await request.read()
        self.served += 1
        return web.Response(text="done")

    async def ask(self, session: aiohttp.ClientSession) -> int:
        """Return the status, 0 if the connection ends without one."""
        try:
            # PATCH, which aiohttp does not ask again by itself.
            async with session.patch(self.link.endpoint, data=b"x" * 10_000) as response:
                await response.read()
                return response.status
        except aiohttp.ClientError:
            return 0


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    made = Way()
    app = web.Application()
    app.router.add_route("*", "/", made.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.link = Link(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await made.link.open()
    yield made
    await made.link.close()
    await runner.cleanup()


async def test_every_third_request_is_refused_or_loses_its_answer(way: Way) -> None:
    way.link.fail(every=3)
    async with aiohttp.ClientSession() as session:
        assert [await way.ask(session) for _ in range(7)] == [200, 200, 503, 200, 200, 0, 200]
    assert (way.link.requests, way.link.faults, way.served) == (7, 2, 6)


async def test_every_answer_is_late_and_none_is_lost(way: Way) -> None:
    clock = SystemClock()
    way.link.slow(LATE_S)
    async with aiohttp.ClientSession() as session:
        for _ in range(2):  # by one connection
            began_s = clock.monotonic_s()
            assert await way.ask(session) == 200
            assert clock.monotonic_s() - began_s >= LATE_S


async def test_nothing_gets_through_a_cut_one_until_it_is_mended(way: Way) -> None:
    async with aiohttp.ClientSession() as session:
        assert await way.ask(session) == 200
        way.link.cut()
        assert await way.ask(session) == 0
        way.link.mend()
        assert await way.ask(session) == 200
