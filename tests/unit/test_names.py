"""Names looked up by threads: how many at a time, how long, and what goes wrong."""

import asyncio
import threading

import pytest

from s3discovery.network.names import Found, Names

LIMIT_S = 10.0


async def test_a_thread_is_free_again_after_each_look_up() -> None:
    names = Names(threads=2)
    async with asyncio.timeout(LIMIT_S):
        found = await asyncio.gather(*(names.find(f"127.0.0.{place}") for place in range(1, 9)))
        for _ in range(3):
            with pytest.raises(OSError, match="label"):
                await names.find("a" * 64)
    assert found == [(f"127.0.0.{place}",) for place in range(1, 9)]


async def test_who_waits_for_a_thread_does_not_fail_with_who_holds_it() -> None:
    may_end = threading.Event()

    def look_up(host: str) -> Found:
        if host == "silent":
            may_end.wait(LIMIT_S)
        return (host,)

    names = Names(threads=1, limit_s=1.0, look_up=look_up)
    async with asyncio.timeout(LIMIT_S):
        first, second = (asyncio.create_task(names.find(host)) for host in ("silent", "good"))
        with pytest.raises(TimeoutError):
            await first
        await asyncio.sleep(0)
        assert not second.done(), "the thread is still taken"
        may_end.set()
        assert await second == ("good",)
