"""The files of the others: read when they change, and known until they are gone.

A file that cannot be read hides no other, and what was known of it before stays known.
"""

import asyncio

from s3discovery import membership
from s3discovery.bucket import Bucket, Entry, Listing
from s3discovery.codec import BODY_LIMIT
from s3discovery.errors import DiscoveryError, ObjectMissingError, ObjectTooLargeError, UnreachableError
from s3discovery.membership import Reading, View

_READS_AT_ONCE = 16
_READS_LIMIT_S = 10.0  # of all reads of a poll: what is not read by then is read at the next


class KnownFiles:
    """What was read below one prefix of one bucket; `readings` by key."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.readings: dict[str, Reading] = {}
        self.failure: DiscoveryError | None = None
        self._bucket = bucket
        self._prefix = prefix

    def use(self, bucket: Bucket) -> None:
        """Go on through another way to the same place."""
        self._bucket = bucket

    async def read_new(self, listing: Listing, own_key: str | None) -> None:
        """Read the files whose content is not known, at most 16 at once.

        Nothing is raised: `failure` is why the last one could not be read, None if all could."""
        self.failure = None
        unread = membership.unread(listing, self.readings, own_key)
        limit = asyncio.Semaphore(_READS_AT_ONCE)
        try:
            async with asyncio.timeout(_READS_LIMIT_S), asyncio.TaskGroup() as tasks:
                for entry in unread:
                    tasks.create_task(self._read(entry, limit))
        except TimeoutError:
            for entry in membership.unread(listing, self.readings, own_key):
                self._postpone(entry, UnreachableError(f"was not read within {_READS_LIMIT_S:g} s"))

    def forget(self, listing: Listing, view: View) -> None:
        """Forget what was read of keys that are gone, but not of peers that are members all the same."""
        kept = {entry.key for entry in listing.entries}
        kept.update(self._prefix + cluster_id for cluster_id in view.carried)
        for key in self.readings.keys() - kept:
            del self.readings[key]

    async def _read(self, entry: Entry, limit: asyncio.Semaphore) -> None:
        before = self.readings.get(entry.key)
        if entry.size > BODY_LIMIT:
            too_large = f"has {entry.size} bytes, too many for a node file"
            self.readings[entry.key] = membership.reject(entry, too_large, before)
            return
        try:
            async with limit:
                stored = await self._bucket.get(entry.key, limit=BODY_LIMIT)
        except ObjectMissingError:
            return
        except ObjectTooLargeError as error:
            self.readings[entry.key] = membership.reject(entry, str(error), before)
        except DiscoveryError as error:
            self._postpone(entry, error)
        else:
            self.readings[entry.key] = membership.read(entry, stored, self._prefix, before)

    def _postpone(self, entry: Entry, error: DiscoveryError) -> None:
        self.failure = error
        self.readings[entry.key] = membership.postpone(str(error), self.readings.get(entry.key))
