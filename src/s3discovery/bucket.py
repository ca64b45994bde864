"""The store, behind a seam: four verbs on one bucket.

Errors are those below `BucketError`. Every call has a deadline of its own and may be retried inside;
a caller sees one answer or one error. Times are the store's own, as Unix seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from s3discovery.node import NO_METADATA


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a listing; `modified_s` is S3's LastModified, `etag` is without quotes."""

    key: str
    etag: str
    modified_s: float
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys that begin with a prefix: complete, or not there at all.

    `server_time_s` is the Date header of the first page (None where the store sends none)."""

    entries: tuple[Entry, ...]
    server_time_s: float | None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as read; `metadata` is its user metadata, keys in lower case without `x-amz-meta-`."""

    body: bytes
    etag: str
    modified_s: float
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)


@dataclass(frozen=True, slots=True)
class Written:
    """What the store answered to a put."""

    etag: str
    server_time_s: float | None


class Bucket(Protocol):
    """One S3 bucket. Keys are any Unicode text, byte for byte; nothing is normalised."""

    async def list(self, prefix: str) -> Listing:
        """Return every entry whose key begins with `prefix`, all pages, in any order."""

    async def get(self, key: str, *, limit: int) -> Stored:
        """Read the object; raises ObjectMissingError, or ObjectTooLargeError beyond `limit` bytes."""

    async def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        """Write the object; `metadata` keys are lower-case ASCII, values any Unicode text.

        `if_match` (an ETag) and `if_none_match` (only if there is none) raise PreconditionError."""

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        """Delete the object; a missing one is no error, unless `if_match` is given.

        False: the store says that there was none (S3 itself does not tell). Raises PreconditionError if
        the ETag differs, ConditionUnsupportedError where the store says that it does not know the
        condition."""


@runtime_checkable
class Expiring(Protocol):
    """A bucket that is reached with credentials which may end."""

    @property
    def credentials_expire_s(self) -> float | None:
        """When those last used end, as Unix seconds by their issuer's clock; None: never, or none used."""
