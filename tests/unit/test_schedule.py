"""When to poll, refresh, retry and give in to a nudge."""

import pytest

from s3discovery.errors import ThrottledError, UnreachableError
from s3discovery.schedule import (
    NudgeAllowance,
    after_refusal_s,
    refresh_retry_limit_s,
    regular_delay_s,
    retry_delay_s,
)

LAST_DICE = 1 - 2**-53  # the largest that random() gives


@pytest.mark.parametrize("interval_s", [0.1, 5, 60, 10_800])
def test_a_regular_delay_is_in_the_last_tenth_of_its_interval(interval_s: float) -> None:
    assert regular_delay_s(interval_s, 0.0) == interval_s
    assert regular_delay_s(interval_s, 0.5) == pytest.approx(0.95 * interval_s)
    assert 0.9 * interval_s <= regular_delay_s(interval_s, LAST_DICE) < interval_s


@pytest.mark.parametrize(
    ("failures", "longest_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (1000, 30.0)]
)
def test_a_retry_doubles_up_to_its_limit_and_spreads_over_the_upper_half(
    failures: int, longest_s: float
) -> None:
    assert retry_delay_s(failures, 30.0, 0.0) == longest_s / 2
    assert retry_delay_s(failures, 30.0, LAST_DICE) == pytest.approx(longest_s)


def test_a_retry_is_never_later_than_a_short_interval() -> None:
    assert retry_delay_s(1, 0.1, LAST_DICE) <= 0.1


@pytest.mark.parametrize(
    ("interval_s", "expiration_s", "limit_s"),
    [(0.5, 10, 0.125), (20, 60, 5), (60, 180, 15), (10_800, 21_600, 30), (60, 80, 2.5), (60, 0, 15)],
)
def test_the_own_file_is_tried_again_within_a_quarter_of_its_interval_and_what_expiry_leaves(
    interval_s: float, expiration_s: float, limit_s: float
) -> None:
    assert refresh_retry_limit_s(interval_s, expiration_s) == limit_s


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"), [(None, 5.0), (1.0, 5.0), (60.0, 60.0), (86_400.0, 300.0)]
)
def test_a_store_that_asks_for_time_gets_it_within_reason(
    retry_after_s: float | None, delay_s: float
) -> None:
    error = ThrottledError("slow down")
    error.retry_after_s = retry_after_s
    assert after_refusal_s(5.0, error) == delay_s
    assert after_refusal_s(5.0, UnreachableError("no answer")) == after_refusal_s(5.0, None) == 5.0


class TestNudges:
    def spent(self, *times_s: float) -> NudgeAllowance:
        allowance = NudgeAllowance()
        for at_s in times_s:
            allowance = allowance.spend(at_s)
        return allowance

    def test_five_at_once_are_free(self) -> None:
        for count in range(5):
            assert self.spent(*[0.0] * count).wait_s(0) == 0

    def test_the_sixth_waits_for_five_seconds(self) -> None:
        allowance = self.spent(*[0.0] * 5)
        assert allowance.wait_s(0) == pytest.approx(5)
        assert allowance.wait_s(3) == pytest.approx(2)
        assert allowance.wait_s(5) == pytest.approx(0)

    def test_rest_gives_five_back_and_no_more(self) -> None:
        allowance = self.spent(*[0.0] * 5, *[1000.0] * 5)
        assert allowance.wait_s(1000) == pytest.approx(5)

    def test_a_knock_that_never_ends_gets_twelve_a_minute(self) -> None:
        allowance, now_s, given = NudgeAllowance(), 0.0, 0
        while now_s < 600:
            now_s += allowance.wait_s(now_s)
            allowance = allowance.spend(now_s)
            given += 1
        assert given <= 600 / 5 + 5 + 1

    def test_an_allowance_that_begins_late_is_not_larger(self) -> None:
        assert NudgeAllowance().spend(1e9).tokens == 4
