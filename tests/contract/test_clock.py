"""The contract of Clock over every Clock: the machine's, and the fakes."""

import asyncio

import pytest

from s3discovery.clock import Clock, SystemClock
from s3discovery.testing import ClockContract, FakeClock, LetPass


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    def let_pass(self) -> LetPass:
        return asyncio.sleep


class TestFakeClock(ClockContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def let_pass(self, clock: FakeClock) -> LetPass:
        return clock.advance


class TestSkewedClock(ClockContract):
    @pytest.fixture
    def base(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def clock(self, base: FakeClock) -> Clock:
        return base.seen_from(skew_s=-7 * 3600.0)

    @pytest.fixture
    def let_pass(self, base: FakeClock) -> LetPass:
        return base.advance
