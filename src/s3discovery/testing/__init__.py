"""Fakes and contract suites for the seams; for tests of s3discovery and of what others build on it.

A fake proves nothing about the world: what matters is tested on real servers too. Nothing in the
package imports this one.
"""

from s3discovery.testing.broker_contract import BrokerContract, MakeBroker
from s3discovery.testing.bucket_contract import BucketContract
from s3discovery.testing.clock_contract import ClockContract, LetPass
from s3discovery.testing.engine_contract import EngineContract, MakeEngine, StopBroker
from s3discovery.testing.engines import FakeClusters, FakeEngine
from s3discovery.testing.fakes import (
    Cable,
    FakeClock,
    MemoryBucket,
    RecordingBroker,
    SkewedClock,
    make_settings,
)
from s3discovery.testing.hostile import HOSTILE_TEXTS, MARK

__all__ = [
    "HOSTILE_TEXTS",
    "MARK",
    "BrokerContract",
    "BucketContract",
    "Cable",
    "ClockContract",
    "EngineContract",
    "FakeClock",
    "FakeClusters",
    "FakeEngine",
    "LetPass",
    "MakeBroker",
    "MakeEngine",
    "MemoryBucket",
    "RecordingBroker",
    "SkewedClock",
    "StopBroker",
    "make_settings",
]
