"""Time, behind a seam: nothing else in s3discovery asks the machine what time it is."""

import asyncio
import time
from typing import Protocol


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
