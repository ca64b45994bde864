"""What every Bucket does."""

import asyncio
from collections.abc import Awaitable

from s3discovery.bucket import Bucket
from s3discovery.errors import BucketError, ObjectMissingError, ObjectTooLargeError, PreconditionError


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
        assert await bucket.delete("file", if_match=second.etag)
        assert await self._keys(bucket, "") == set()
        await _refused(bucket.delete("file", if_match=second.etag), PreconditionError)

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
