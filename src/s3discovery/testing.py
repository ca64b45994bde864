"""Fakes and contract suites for the seams; for tests of s3discovery and of what others build on it.

A fake proves nothing about the world: what matters is tested on real servers too. Nothing in the
package imports this module.
"""

import asyncio
import hashlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Self

from s3discovery.bucket import Bucket, Entry, Listing, Stored, Written
from s3discovery.config import Settings, parse
from s3discovery.errors import BucketError, ObjectMissingError, ObjectTooLargeError, PreconditionError
from s3discovery.node import NO_METADATA, Member

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

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        await self._ask("delete", key)
        found = self._objects.get(key)
        if self.honours_conditions and if_match is not None and (found is None or found.etag != if_match):
            raise PreconditionError(
                f"object {key!r} is not as expected", status=412, code="PreconditionFailed"
            )
        self._objects.pop(key, None)

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

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        await self._through().delete(key, if_match=if_match)

    def _through(self) -> Bucket:
        if self.cut is not None:
            raise self.cut
        return self._bucket


class RecordingBroker:
    """A Broker that remembers the peer sets it was handed, and is connected with all of the last at once."""

    def __init__(self, port: int | None = None, metadata: Mapping[str, str] = NO_METADATA) -> None:
        self._port = port
        self._metadata = metadata
        self.applied: list[frozenset[Member]] = []
        self.failure: Exception | None = None

    @property
    def port(self) -> int | None:
        return self._port

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    async def apply(self, peers: frozenset[Member]) -> None:
        if self.failure is not None:
            raise self.failure
        self.applied.append(peers)

    async def cluster(self) -> frozenset[str] | None:
        return frozenset(peer.cluster_id for peer in self.applied[-1]) if self.applied else frozenset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class BucketContract:
    """What every Bucket does; for pytest with asyncio.

    Subclass it as `Test...` with a fixture `bucket` that gives an empty one. A store that rewrites
    some keys (SeaweedFS does) says so by `keeps_odd_keys`; `many` is
    how many keys the test of paging writes."""

    keeps_odd_keys = True
    many = 1001

    PLAIN_KEYS = (
        "plain",
        "deep/er/key",
        "a b",
        "a+b",
        "a%b",
        "a%2Fb",
        "q?x=1&y#z",
        "ünï/中文/🙂",
        "x'(y)*~!$,;:@=",
        'quote"<&>',
        ".hidden",
    )
    ODD_KEYS = (
        "//double",
        "in//side",
        "/leading",
        "back\\slash",
        "dot/./x",
        "dots/../x",
        "..",
        "tab\there",
        "tail/",
    )

    async def test_object_comes_back_as_written(self, bucket: Bucket) -> None:
        body = bytes(range(256))
        written = await bucket.put("file", body, {"s3discovery-a": "1", "s3discovery-b-c": "x"})
        stored = await bucket.get("file", limit=len(body))
        assert stored.body == body
        assert stored.etag == written.etag
        assert '"' not in stored.etag
        assert dict(stored.metadata) == {"s3discovery-a": "1", "s3discovery-b-c": "x"}

    async def test_empty_object_comes_back(self, bucket: Bucket) -> None:
        await bucket.put("empty", b"")
        assert (await bucket.get("empty", limit=0)).body == b""

    async def test_metadata_may_be_any_text(self, bucket: Bucket) -> None:
        metadata = {
            "s3discovery-unicode": "Zürich 中文 🙂",
            "s3discovery-percent": "100% %41 %zz",
            "s3discovery-spaces": "  two  spaces  ",
            "s3discovery-signs": "a,b=?c;\"d\"\\'e'<&>{}|^`~#:/@",
            "s3discovery-lines": "one\r\ntwo\tthree",
            "s3discovery-word": "=?UTF-8?Q?x?=",
        }
        await bucket.put("file", b"x", metadata)
        assert dict((await bucket.get("file", limit=1)).metadata) == metadata

    async def test_put_replaces_body_and_metadata(self, bucket: Bucket) -> None:
        first = await bucket.put("file", b"one", {"s3discovery-a": "1"})
        second = await bucket.put("file", b"two", {"s3discovery-b": "2"})
        stored = await bucket.get("file", limit=10)
        assert first.etag != second.etag
        assert (stored.body, dict(stored.metadata)) == (b"two", {"s3discovery-b": "2"})

    async def test_listing_tells_etag_size_and_times(self, bucket: Bucket) -> None:
        written = await bucket.put("file", b"abc")
        listing = await bucket.list("")
        (entry,) = listing.entries
        assert (entry.key, entry.etag, entry.size) == ("file", written.etag, 3)
        assert listing.server_time_s is not None
        assert written.server_time_s is not None
        assert -2 <= listing.server_time_s - entry.modified_s <= 60
        assert -2 <= listing.server_time_s - written.server_time_s <= 60
        assert abs((await bucket.get("file", limit=3)).modified_s - entry.modified_s) <= 1

    async def test_prefix_is_text_not_a_folder(self, bucket: Bucket) -> None:
        for key in ("a/node-1", "a/node-2/x", "a/nod", "a/other", "b/node-1"):
            await bucket.put(key, b"x")
        assert await self._keys(bucket, "a/node") == {"a/node-1", "a/node-2/x"}
        assert await self._keys(bucket, "a/") == {"a/node-1", "a/node-2/x", "a/nod", "a/other"}
        assert await self._keys(bucket, "none") == set()

    async def test_keys_are_kept_byte_for_byte(self, bucket: Bucket) -> None:
        keys = self.PLAIN_KEYS + (self.ODD_KEYS if self.keeps_odd_keys else ())
        for key in keys:
            await bucket.put(key, key.encode())
        assert await self._keys(bucket, "") == set(keys)
        for key in keys:
            assert await self._keys(bucket, key) == {key}
            assert (await bucket.get(key, limit=100)).body == key.encode()
            await bucket.delete(key)
        assert await self._keys(bucket, "") == set()

    async def test_listing_is_complete_beyond_a_page(self, bucket: Bucket) -> None:
        keys = {f"many/{number:04d} +%ü" for number in range(self.many)}
        names = iter(sorted(keys))

        async def write() -> None:
            for name in names:
                await bucket.put(name, b"x")

        await asyncio.gather(*(write() for _ in range(8)))
        listing = await bucket.list("many/")
        assert len(listing.entries) == self.many
        assert {entry.key for entry in listing.entries} == keys

    async def test_missing_object_is_named(self, bucket: Bucket) -> None:
        error = await _refused(bucket.get("none", limit=10), ObjectMissingError)
        assert "'none'" in str(error)

    async def test_get_takes_no_more_than_the_limit(self, bucket: Bucket) -> None:
        await bucket.put("big", b"x" * 11)
        await _refused(bucket.get("big", limit=10), ObjectTooLargeError)
        assert len((await bucket.get("big", limit=11)).body) == 11

    async def test_create_only_if_there_is_none(self, bucket: Bucket) -> None:
        await bucket.put("file", b"first", if_none_match=True)
        await _refused(bucket.put("file", b"second", if_none_match=True), PreconditionError)
        assert (await bucket.get("file", limit=10)).body == b"first"

    async def test_one_of_many_creators_wins(self, bucket: Bucket) -> None:
        async def create(number: int) -> bool:
            try:
                await bucket.put("lock", b"%d" % number, if_none_match=True)
            except PreconditionError:
                return False
            return True

        won = await asyncio.gather(*(create(number) for number in range(8)))
        assert won.count(True) == 1
        assert (await bucket.get("lock", limit=10)).body == b"%d" % won.index(True)

    async def test_replace_only_what_was_seen(self, bucket: Bucket) -> None:
        first = await bucket.put("file", b"one")
        second = await bucket.put("file", b"two", if_match=first.etag)
        await _refused(bucket.put("file", b"three", if_match=first.etag), PreconditionError)
        await _refused(bucket.put("gone", b"three", if_match=second.etag), PreconditionError)
        assert await self._keys(bucket, "") == {"file"}
        assert (await bucket.get("file", limit=10)).body == b"two"

    async def test_delete_only_what_was_seen(self, bucket: Bucket) -> None:
        first = await bucket.put("file", b"one")
        second = await bucket.put("file", b"two")
        await _refused(bucket.delete("file", if_match=first.etag), PreconditionError)
        assert await self._keys(bucket, "") == {"file"}
        await bucket.delete("file", if_match=second.etag)
        assert await self._keys(bucket, "") == set()

    async def test_delete_of_what_is_missing_is_no_error(self, bucket: Bucket) -> None:
        await bucket.put("other", b"x")
        await bucket.delete("none")
        assert await self._keys(bucket, "") == {"other"}

    async def _keys(self, bucket: Bucket, prefix: str) -> set[str]:
        return {entry.key for entry in (await bucket.list(prefix)).entries}


async def _refused(call: Awaitable[object], kind: type[BucketError]) -> BucketError:
    """Return the error of `kind` that `call` must raise."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
