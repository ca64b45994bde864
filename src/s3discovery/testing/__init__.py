"""Fakes and contract suites for the seams; for tests of s3discovery and of what others build on it.

A fake proves nothing about the world: what matters is tested on real servers too. Nothing in the
package imports this one.
"""

from s3discovery.testing.broker_contract import BrokerContract, MakeBroker
from s3discovery.testing.bucket_contract import BucketContract
from s3discovery.testing.clock_contract import ClockContract, LetPass
from s3discovery.testing.fakes import (
    Cable,
    FakeClock,
    MemoryBucket,
    RecordingBroker,
    SkewedClock,
    make_settings,
)

__all__ = [
    "BrokerContract",
    "BucketContract",
    "Cable",
    "ClockContract",
    "FakeClock",
    "LetPass",
    "MakeBroker",
    "MemoryBucket",
    "RecordingBroker",
    "SkewedClock",
    "make_settings",
]
