"""When to poll, refresh, retry and give in to a nudge: arithmetic only, handed the time and the dice."""

from dataclasses import dataclass

from s3discovery.errors import DiscoveryError, ThrottledError

# A regular delay is drawn from the last tenth of its interval: nodes started together drift apart,
# and nobody is ever later than the interval says.
_SPREAD = 0.1
_RETRY_BASE_S = 1.0
_REFRESH_RETRY_LIMIT_S = 30.0
_RETRY_AFTER_LIMIT_S = 300.0
# Nudges come from whoever knocks at the cluster transport: five at once are free, then one every 5 s,
# which bounds what a stranger can add to the bill at about 12 requests a minute.
_NUDGE_BURST = 5.0
_NUDGES_PER_S = 0.2


def regular_delay_s(interval_s: float, dice: float) -> float:
    """Return the wait until the next regular poll or refresh; `dice` is uniform in [0, 1)."""
    return interval_s * (1 - _SPREAD * dice)


def retry_delay_s(failures: int, limit_s: float, dice: float) -> float:
    """Return the wait after the `failures`-th failure in a row (1 is the first), at most `limit_s`.

    Back-off with jitter over its upper half: an outage is asked about no more often than a healthy
    store, and nodes that failed together do not come back together."""
    return min(limit_s, _RETRY_BASE_S * 2.0 ** min(failures - 1, 16)) * (1 + dice) / 2


def refresh_retry_limit_s(update_interval_s: float, file_expiration_s: float) -> float:
    """Return the longest wait between attempts to write the own file.

    A quarter of an update interval at most, so that after an outage every living node has been seen again
    before the others may count it as dead, even if the store goes on failing now and then; and well within
    what expiry leaves over."""
    spare_s = (file_expiration_s - update_interval_s) / 8 if file_expiration_s > 0 else update_interval_s
    return min(_REFRESH_RETRY_LIMIT_S, update_interval_s / 4, spare_s)


def after_refusal_s(delay_s: float, error: DiscoveryError | None) -> float:
    """Return `delay_s`, or longer if the store asked for it as it refused, within reason."""
    retry_after_s = error.retry_after_s if isinstance(error, ThrottledError) else None
    return max(delay_s, min(retry_after_s or 0.0, _RETRY_AFTER_LIMIT_S))


@dataclass(frozen=True, slots=True)
class NudgeAllowance:
    """A token bucket: how many polls out of turn are allowed now."""

    tokens: float = _NUDGE_BURST
    at_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """Return how long the next nudge has to wait; 0 if it is allowed at once."""
        return max(0.0, (1.0 - self._tokens_at(now_s)) / _NUDGES_PER_S)

    def spend(self, now_s: float) -> "NudgeAllowance":
        """Return what is left after one nudge at `now_s`."""
        return NudgeAllowance(max(0.0, self._tokens_at(now_s) - 1.0), now_s)

    def _tokens_at(self, now_s: float) -> float:
        return min(_NUDGE_BURST, self.tokens + (now_s - self.at_s) * _NUDGES_PER_S)
