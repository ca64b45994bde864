"""Time, behind a seam: nothing else in s3discovery asks the machine what time it is."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic_s(self) -> float:
        """Seconds that never jump, from an arbitrary start."""

    def wall_s(self) -> float:
        """Unix seconds by this machine's wall clock, which may be wrong by hours."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of monotonic time have passed."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def sleep_unless(clock: Clock, seconds: float, wake: Coroutine[Any, Any, object]) -> bool:
    """Sleep, or less if `wake` ends before; tell whether it did. What is not waited for is cancelled."""
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    waker = asyncio.ensure_future(wake)
    try:
        await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        return waker.done()
    finally:
        sleeper.cancel()
        waker.cancel()
