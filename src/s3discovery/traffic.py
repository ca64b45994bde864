"""What went to the store and came back, counted: requests by verb and outcome, their time, their bytes."""

import bisect
from collections import Counter
from dataclasses import dataclass, field

# Seconds; a LIST of a thousand keys takes 20 ms, a call is given up after 10 s.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Times:
    """A histogram of seconds: `counts` by bucket, the last for what is longer than all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def note(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Traffic:
    """All of it since the start of the process, over however many connections."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.times: dict[str, Times] = {}
        self.sent_bytes = 0
        self.received_bytes = 0

    def note(self, verb: str, outcome: str, seconds: float, *, sent_bytes: int, received_bytes: int) -> None:
        """Count one request; `outcome` is its HTTP status, or `lost` where no answer came."""
        self.requests[verb, outcome] += 1
        self.times.setdefault(verb, Times()).note(seconds)
        self.sent_bytes += sent_bytes
        self.received_bytes += received_bytes
