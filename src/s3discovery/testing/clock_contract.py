"""What every Clock does."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from s3discovery.clock import Clock

_LIMIT_S = 10.0  # of real time, for what takes next to none
_NAP_S = 0.02

LetPass = Callable[[float], Awaitable[None]]


class ClockContract:
    """What every Clock does; for pytest with asyncio.

    Subclass it as `Test...` with a fixture `clock`, and a fixture `let_pass` that gives a function of
    seconds which returns once the clock is that much further: `asyncio.sleep` for one that runs by itself."""

    async def test_monotonic_time_never_goes_back(self, clock: Clock, let_pass: LetPass) -> None:
        seen_s = []
        for _ in range(5):
            seen_s += [clock.monotonic_s() for _ in range(200)]
            await let_pass(_NAP_S)
        assert seen_s == sorted(seen_s)
        assert clock.monotonic_s() - seen_s[0] >= 4 * _NAP_S

    async def test_wall_time_is_a_number_of_seconds(self, clock: Clock) -> None:
        assert math.isfinite(clock.wall_s())

    async def test_sleep_lasts_as_long_as_was_said(self, clock: Clock, let_pass: LetPass) -> None:
        async def sleep() -> float:
            before_s = clock.monotonic_s()
            await clock.sleep(_NAP_S)
            return clock.monotonic_s() - before_s

        sleeper = asyncio.create_task(sleep())
        await let_pass(2 * _NAP_S)
        async with asyncio.timeout(_LIMIT_S):
            assert await sleeper >= _NAP_S * 0.9  # asyncio wakes early by as much as its clock is coarse

    async def test_sleepers_wake_in_the_order_of_their_ends(self, clock: Clock, let_pass: LetPass) -> None:
        woken = []

        async def sleep(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        sleepers = [asyncio.create_task(sleep(_NAP_S * times)) for times in (7, 1, 4)]
        await let_pass(8 * _NAP_S)
        async with asyncio.timeout(_LIMIT_S):
            await asyncio.gather(*sleepers)
        assert woken == sorted(woken)

    async def test_sleep_lets_others_run(self, clock: Clock, let_pass: LetPass) -> None:
        sleeper = asyncio.create_task(clock.sleep(_NAP_S))
        await asyncio.sleep(0)
        assert not sleeper.done(), "nobody else ran until it was over"
        await let_pass(2 * _NAP_S)
        async with asyncio.timeout(_LIMIT_S):
            await sleeper

    async def test_no_time_and_less_than_none_are_over_at_once(self, clock: Clock) -> None:
        async with asyncio.timeout(_LIMIT_S):
            for seconds in (0.0, -1.0, -math.inf):
                turns: list[str] = []
                asyncio.get_running_loop().call_soon(turns.append, "other")
                await clock.sleep(seconds)
                assert turns == ["other"], "others had no turn"

    async def test_a_sleep_without_end_ends_by_cancelling_alone(
        self, clock: Clock, let_pass: LetPass
    ) -> None:
        sleeper = asyncio.create_task(clock.sleep(math.inf))
        await let_pass(_NAP_S)
        assert not sleeper.done()
        await _cancel(sleeper)

    async def test_a_cancelled_sleep_leaves_nothing(self, clock: Clock, let_pass: LetPass) -> None:
        before = asyncio.all_tasks()
        cancelled, other = (asyncio.create_task(clock.sleep(_NAP_S)) for _ in range(2))
        await let_pass(0)
        await asyncio.sleep(0)
        await _cancel(cancelled)
        await let_pass(2 * _NAP_S)
        async with asyncio.timeout(_LIMIT_S):
            await other
        assert asyncio.all_tasks() == before


async def _cancel(sleeper: "asyncio.Task[None]") -> None:
    """Cancel a sleep; fail unless it ends at once, and as cancelled."""
    sleeper.cancel()
    async with asyncio.timeout(_LIMIT_S):
        await asyncio.wait({sleeper})
    assert sleeper.cancelled()
