"""How long to wait before asking again: exponential back-off with full jitter, or what the store says."""

from collections.abc import Callable

from s3discovery.s3.wire import Answer, parse_http_date

RETRIES = 3
_FIRST_S = 0.1
_LONGEST_S = 2.0
_STATUSES = frozenset({429, 500, 502, 503, 504})
# Codes that come with other statuses: the store saw no whole request in time, or two writers at once.
_CODES = frozenset({"RequestTimeout", "ConditionalRequestConflict", "OperationAborted"})


def is_passing(status: int | None, code: str | None) -> bool:
    """Tell whether a refusal may pass by itself."""
    return status in _STATUSES or code in _CODES


def backoff_s(retry: int, random: Callable[[], float]) -> float:
    """Return how long to wait before retry number `retry` (from 0); `random` gives 0..1.

    Full jitter: anything from nothing to the bound, so that nodes which failed together spread out."""
    return float(min(_LONGEST_S, _FIRST_S * 4**retry)) * random()


def retry_after_s(answer: Answer, now_s: float) -> float:
    """Return what the store asks to wait, in seconds; 0 if it asks for nothing.

    A date counts from the answer's own Date, or from `now_s` (Unix seconds) without one."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 10**6))
    until_s = parse_http_date(text)
    if until_s is None:
        return 0.0
    from_s = answer.server_time_s
    return max(0.0, until_s - (now_s if from_s is None else from_s))
