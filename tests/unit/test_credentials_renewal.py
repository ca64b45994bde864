"""Credentials that end: renewed in time, kept through outages, by a clock that only the test moves."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from s3discovery.credentials import Credentials, renewal
from s3discovery.credentials.renewal import FETCH_LIMIT_S, Issued, RenewedCredentials
from s3discovery.errors import CredentialsError
from s3discovery.settings.config import Secret
from s3discovery.testing import FakeClock

LIFE_S = 900.0


class Issuer:
    """Issues credentials numbered by generation, each for `life_s`; fails while `down`."""

    def __init__(self, clock: FakeClock, *, life_s: float | None = LIFE_S, skew_s: float = 0.0) -> None:
        self.clock = clock
        self.life_s = life_s
        self.skew_s = skew_s
        self.down = False
        self.asked_at_s: list[float] = []
        self.generation = 0
        self.gate: asyncio.Event | None = None

    async def issue(self) -> Issued:
        self.asked_at_s.append(self.clock.monotonic_s())
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.down:
            raise CredentialsError("issuer: out of order; wait")
        self.generation += 1
        now_s = self.clock.start_s + self.clock.monotonic_s() + self.skew_s
        until_s = None if self.life_s is None else now_s + self.life_s
        keys = Credentials(f"AK{self.generation}", Secret("SK"), Secret("ST"), until_s)
        return Issued(keys, now_s)


def renewed(clock: FakeClock, issuer: Issuer, dice: Callable[[], float] = lambda: 1.0) -> RenewedCredentials:
    return RenewedCredentials(issuer.issue, clock, "issuer", dice=dice)


async def test_three_generations_without_a_failed_call() -> None:
    clock = FakeClock()
    issuer = Issuer(clock)
    provider = renewed(clock, issuer)
    seen, at_s = [], 0.0
    while at_s < 3 * LIFE_S:
        keys = await provider.credentials()
        assert keys.expires_s is not None
        assert keys.expires_s > clock.wall_s(), "never used after their end"
        assert provider.expires_s == keys.expires_s
        seen.append(keys.access_key_id)
        await clock.advance(5)
        at_s += 5
    generations = list(dict.fromkeys(seen))
    assert generations[:4] == ["AK1", "AK2", "AK3", "AK4"]
    # A third of the life is left when the next generation is asked for, and once is enough.
    assert issuer.asked_at_s[:3] == [0, pytest.approx(600, abs=10), pytest.approx(1200, abs=20)]
    assert len(issuer.asked_at_s) == issuer.generation


async def test_long_lives_are_renewed_a_quarter_of_an_hour_before_their_end() -> None:
    clock = FakeClock()
    issuer = Issuer(clock, life_s=6 * 3600)
    provider = renewed(clock, issuer)
    await provider.credentials()
    await clock.advance(6 * 3600 - 901)
    await provider.credentials()
    assert issuer.generation == 1
    await clock.advance(2)
    await provider.credentials()
    await clock.settle()
    assert (await provider.credentials()).access_key_id == "AK2"


async def test_nobody_waits_for_a_renewal_while_the_old_ones_last() -> None:
    clock = FakeClock()
    issuer = Issuer(clock)
    provider = renewed(clock, issuer)
    await provider.credentials()
    issuer.gate = asyncio.Event()
    await clock.advance(700)
    for _ in range(3):
        async with asyncio.timeout(1):
            assert (await provider.credentials()).access_key_id == "AK1"
        await clock.settle()
    assert len(issuer.asked_at_s) == 2, "one renewal at a time"
    issuer.gate.set()
    await clock.settle()
    assert (await provider.credentials()).access_key_id == "AK2"


async def test_an_outage_shorter_than_the_remaining_life_is_not_noticed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="s3discovery")
    clock = FakeClock()
    issuer = Issuer(clock)
    provider = renewed(clock, issuer)
    await provider.credentials()
    issuer.down = True
    while clock.monotonic_s() < LIFE_S - 70:
        assert (await provider.credentials()).access_key_id == "AK1"
        await clock.advance(1)
    tried = [at_s for at_s in issuer.asked_at_s if at_s > 0]
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == sorted(waits), "it backs off"
    assert waits[0] <= 3
    assert 50 <= waits[-1] <= 62
    issuer.down = False
    while clock.monotonic_s() < LIFE_S + 10:
        await provider.credentials()
        await clock.advance(1)
    assert (await provider.credentials()).access_key_id == "AK2"
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1, "a change, not every tick"
    until = f"{datetime.fromtimestamp(clock.start_s + LIFE_S, UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert until in warned[0].getMessage()


async def test_a_longer_outage_is_an_error_with_its_reason_and_ends_by_itself() -> None:
    clock = FakeClock()
    issuer = Issuer(clock)
    provider = renewed(clock, issuer)
    await provider.credentials()
    issuer.down = True
    await clock.advance(LIFE_S)
    asked = len(issuer.asked_at_s)
    for _ in range(20):
        with pytest.raises(CredentialsError, match="issuer: out of order"):
            await provider.credentials()
    assert len(issuer.asked_at_s) == asked + 1, "asked with restraint"
    issuer.down = False
    await clock.advance(1)
    assert (await provider.credentials()).access_key_id == "AK2"


async def test_the_first_failure_is_an_error_and_asked_again_later() -> None:
    clock = FakeClock()
    issuer = Issuer(clock)
    issuer.down = True
    provider = renewed(clock, issuer)
    with pytest.raises(CredentialsError, match="out of order"):
        await provider.credentials()
    assert provider.expires_s is None
    issuer.down = False
    await clock.advance(1)
    assert (await provider.credentials()).access_key_id == "AK1"


@pytest.mark.parametrize("skew_s", [-5 * 3600.0, 5 * 3600.0])
async def test_a_wrong_wall_clock_changes_nothing(skew_s: float) -> None:
    clock = FakeClock(skew_s=-skew_s)
    issuer = Issuer(clock)
    provider = renewed(clock, issuer)
    for _ in range(400):
        await provider.credentials()
        await clock.advance(5)
    assert issuer.asked_at_s[:3] == [0, pytest.approx(600, abs=10), pytest.approx(1200, abs=20)]


async def test_a_wall_clock_that_is_set_meanwhile_changes_nothing() -> None:
    clock = FakeClock()
    provider = renewed(clock, Issuer(clock))
    await provider.credentials()
    clock.skew_s = 10 * 3600
    assert (await provider.credentials()).access_key_id == "AK1"


async def test_what_does_not_end_is_kept() -> None:
    clock = FakeClock()
    issuer = Issuer(clock, life_s=None)
    provider = renewed(clock, issuer)
    for _ in range(3):
        assert (await provider.credentials()).expires_s is None
        await clock.advance(1e6)
    assert issuer.generation == 1


async def test_what_has_ended_already_is_refused() -> None:
    clock = FakeClock()
    with pytest.raises(CredentialsError, match=r"issuer: the credentials it gives ended at 20.*clock"):
        await renewed(clock, Issuer(clock, life_s=-1)).credentials()


async def test_an_issuer_that_gives_the_old_ones_again_is_asked_again() -> None:
    """As EC2 does until five minutes before the end."""
    clock = FakeClock()
    until_s = clock.start_s + LIFE_S
    asked: list[float] = []

    async def issue() -> Issued:
        asked.append(clock.monotonic_s())
        rotated = clock.monotonic_s() > LIFE_S - 300
        end_s = until_s + LIFE_S if rotated else until_s
        return Issued(Credentials("NEW" if rotated else "OLD", Secret("SK"), None, end_s), clock.wall_s())

    provider = RenewedCredentials(issue, clock, "issuer")
    for _ in range(int(LIFE_S)):
        await provider.credentials()
        await clock.advance(1)
    assert (await provider.credentials()).access_key_id == "NEW"
    assert len(asked) < 6


async def test_a_cancelled_caller_does_not_take_the_renewal_along() -> None:
    clock = FakeClock()
    issuer = Issuer(clock)
    issuer.gate = asyncio.Event()
    provider = renewed(clock, issuer)
    first, second = (asyncio.create_task(provider.credentials()) for _ in range(2))
    await clock.settle()
    first.cancel()
    await clock.settle()
    issuer.gate.set()
    assert (await second).access_key_id == "AK1"
    assert len(issuer.asked_at_s) == 1


async def test_an_issuer_that_hangs_is_an_error_in_time() -> None:
    assert FETCH_LIMIT_S < 10, "an S3 call has ten seconds"
    clock = FakeClock()
    issuer = Issuer(clock)
    issuer.gate = asyncio.Event()
    provider = RenewedCredentials(issuer.issue, clock, "issuer", limit_s=0.05)
    with pytest.raises(CredentialsError, match=r"issuer: no answer within 0.05 s"):
        await provider.credentials()


async def test_a_slow_issuer_is_an_error_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "FETCH_LIMIT_S", 0.05)
    clock = FakeClock()
    issuer = Issuer(clock)
    issuer.gate = asyncio.Event()
    provider = RenewedCredentials(issuer.issue, clock, "issuer", limit_s=60)
    with pytest.raises(CredentialsError, match=r"issuer: no answer for 0.05 s; look why it is slow$"):
        await provider.credentials()
    issuer.gate.set()
    assert (await provider.credentials()).access_key_id


async def test_a_source_with_a_bug_is_a_failed_renewal(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    issuer = Issuer(clock)
    broken = False

    async def issue() -> Issued:
        if broken:
            raise ValueError("M4RKED")
        return await issuer.issue()

    provider = RenewedCredentials(issue, clock, "issuer", dice=lambda: 1.0)
    await provider.credentials()
    broken = True
    while clock.monotonic_s() < LIFE_S - 10:
        assert (await provider.credentials()).access_key_id == "AK1"
        await clock.advance(5)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1, "a change, not every tick"
    assert "ValueError" in errors[0].getMessage()
    assert "test_credentials_renewal.py" in errors[0].getMessage(), "where it was raised"
    await clock.advance(20)
    with pytest.raises(CredentialsError, match=r"issuer: it failed unexpectedly \(ValueError\); ") as caught:
        await provider.credentials()
    assert "M4RKED" not in str(caught.value) + caplog.text
    broken = False
    await clock.advance(61)
    assert (await provider.credentials()).access_key_id == "AK2"


async def test_a_first_fetch_with_a_bug_is_an_error_of_credentials() -> None:
    async def issue() -> Issued:
        raise ZeroDivisionError

    with pytest.raises(CredentialsError, match=r"issuer: .*ZeroDivisionError"):
        await RenewedCredentials(issue, FakeClock(), "issuer").credentials()


async def test_an_end_that_no_calendar_has() -> None:
    provider = renewed(FakeClock(), Issuer(FakeClock(), life_s=1e12))
    assert (await provider.credentials()).access_key_id == "AK1"
