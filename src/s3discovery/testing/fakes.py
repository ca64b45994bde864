"""Fakes for the seams: time that stands still, a bucket in memory, a broker that only remembers."""

import asyncio
import hashlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from s3discovery.bucket import Bucket, Entry, Listing, Stored, Written
from s3discovery.errors import BucketError, ObjectMissingError, ObjectTooLargeError, PreconditionError
from s3discovery.node import NO_METADATA, Member
from s3discovery.settings.config import Settings, parse

# Turns of the loop that let every task run as far as it can without time passing: more than the
# longest chain of awaits between two sleeps in the package.
_TURNS = 30


def make_settings(**values: str) -> Settings:
    """Return valid settings; `values` are texts of keys, written with `_` for `-`."""
    defaults = {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": "bucket",
        "file-prefix": "nodes/",
        "file-expiration": "60s",
        "update-interval": "20s",
        "poll-interval": "5s",
    }
    return parse(defaults | {key.replace("_", "-"): text for key, text in values.items()})


class FakeClock:
    """Time that stands still until `advance` is called; `skew_s` is the error of the wall clock."""

    def __init__(self, *, start_s: float = 1_800_000_000.0, skew_s: float = 0.0) -> None:
        self.start_s = start_s
        self.skew_s = skew_s
        self._now_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self.start_s + self._now_s + self.skew_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking sleepers in their order."""
        end_s = self._now_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._now_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
                await self.settle()
        self._now_s = end_s
        await self.settle()

    async def settle(self) -> None:
        """Let every task run as far as it can without time passing."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def seen_from(self, *, skew_s: float) -> "SkewedClock":
        """Return this clock as a machine sees it whose wall clock is wrong by `skew_s`."""
        return SkewedClock(self, skew_s)


class SkewedClock:
    """A machine's view of a FakeClock: same time, wrong wall clock."""

    def __init__(self, base: FakeClock, skew_s: float) -> None:
        self._base = base
        self.skew_s = skew_s

    def monotonic_s(self) -> float:
        return self._base.monotonic_s()

    def wall_s(self) -> float:
        return self._base.wall_s() + self.skew_s

    async def sleep(self, seconds: float) -> None:
        await self._base.sleep(seconds)


class MemoryBucket:
    """A Bucket in memory that behaves as S3 does, and fails as it is told.

    `requests` counts calls by verb. While `outage` is set every call raises it; `failures` holds errors
    by (verb, key) that every such call raises. `skew_s` moves the store's own clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._objects: dict[str, Stored] = {}
        self.requests: Counter[str] = Counter()
        self.outage: BucketError | None = None
        self.failures: dict[tuple[str, str], BucketError] = {}
        self.skew_s = 0.0
        self.sends_date = True
        self.honours_conditions = True

    @property
    def now_s(self) -> float:
        """The store's time, in whole seconds as S3 gives it."""
        return float(math.floor(self._clock.start_s + self._clock.monotonic_s() + self.skew_s))

    @property
    def keys(self) -> set[str]:
        return set(self._objects)

    def peek(self, key: str) -> Stored:
        """Return an object without counting a request."""
        return self._objects[key]

    def plant(
        self, key: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA, *, age_s: float = 0
    ) -> None:
        """Store an object that somebody wrote `age_s` ago, without counting a request."""
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._objects[key] = Stored(body, etag, self.now_s - age_s, dict(metadata))

    def drop(self, key: str) -> None:
        """Remove an object behind everybody's back."""
        del self._objects[key]

    async def list(self, prefix: str) -> Listing:
        await self._ask("list", prefix)
        entries = tuple(
            Entry(key, stored.etag, stored.modified_s, len(stored.body))
            for key, stored in sorted(self._objects.items())
            if key.startswith(prefix)
        )
        return Listing(entries, self._date())

    async def get(self, key: str, *, limit: int) -> Stored:
        await self._ask("get", key)
        stored = self._objects.get(key)
        if stored is None:
            raise ObjectMissingError(
                f"no object {key!r}", status=404, code="NoSuchKey", server_time_s=self._date()
            )
        if len(stored.body) > limit:
            raise ObjectTooLargeError(f"object {key!r} has {len(stored.body)} bytes, more than {limit}")
        return stored

    async def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        await self._ask("put", key)
        found = self._objects.get(key)
        if self.honours_conditions and (
            (if_none_match and found is not None)
            or (if_match is not None and (found is None or found.etag != if_match))
        ):
            raise PreconditionError(
                f"object {key!r} is not as expected", status=412, code="PreconditionFailed"
            )
        self.plant(key, body, metadata)
        return Written(self._objects[key].etag, self._date())

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        await self._ask("delete", key)
        found = self._objects.get(key)
        if self.honours_conditions and if_match is not None and (found is None or found.etag != if_match):
            raise PreconditionError(
                f"object {key!r} is not as expected", status=412, code="PreconditionFailed"
            )
        self._objects.pop(key, None)
        return True

    async def _ask(self, verb: str, key: str) -> None:
        self.requests[verb] += 1
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage
        if (failure := self.failures.get((verb, key))) is not None:
            raise failure

    def _date(self) -> float | None:
        return self.now_s if self.sends_date else None


class Cable:
    """A Bucket as one machine reaches it; while `cut` is set, nothing goes through from there."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.cut: BucketError | None = None

    async def list(self, prefix: str) -> Listing:
        return await self._through().list(prefix)

    async def get(self, key: str, *, limit: int) -> Stored:
        return await self._through().get(key, limit=limit)

    async def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        bucket = self._through()
        return await bucket.put(key, body, metadata, if_match=if_match, if_none_match=if_none_match)

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        return await self._through().delete(key, if_match=if_match)

    def _through(self) -> Bucket:
        if self.cut is not None:
            raise self.cut
        return self._bucket


class RecordingBroker:
    """A Broker that remembers the peer sets it was handed, and is connected with all of the last at once."""

    cluster_id: str | None = None

    def __init__(self, port: int | None = None, metadata: Mapping[str, str] = NO_METADATA) -> None:
        self._port = port
        self._metadata = metadata
        self.applied: list[frozenset[Member]] = []
        self.failure: Exception | None = None
        self.never_peers: frozenset[str] = frozenset()  # ids of those that this broker skips
        self.never_seen: frozenset[str] = frozenset()  # ids of those that it does not connect with

    @property
    def port(self) -> int | None:
        return self._port

    @property
    def skipped(self) -> frozenset[str]:
        handed = self.applied[-1] if self.applied else frozenset()
        return self.never_peers & {peer.cluster_id for peer in handed}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    async def apply(self, peers: frozenset[Member]) -> None:
        if self.failure is not None:
            raise self.failure
        self.applied.append(peers)

    async def cluster(self) -> frozenset[str] | None:
        handed = self.applied[-1] if self.applied else frozenset()
        return frozenset(peer.cluster_id for peer in handed) - self.never_peers - self.never_seen

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None
