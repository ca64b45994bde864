"""The probe: a key that stands for no node, and is gone at once.

HiveMQ's nodes read every object below the prefix: one with nothing but a line break in it they skip without
a word (at their log level for debugging). Our own nodes know the key. Whatever happens, Ctrl-C included, the
probe is taken away again.
"""

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from s3discovery.bucket import Bucket
from s3discovery.errors import BucketError, DiscoveryError

log = logging.getLogger(__name__)

BODY = b"\n"
# Survives every header as it stands, and escaped: what nodes publish is plain, what users may set is not.
METADATA = {"s3discovery-probe": "a1-_.~", "s3discovery-probe-text": "grün 100 %"}
_CLEAN_UP_LIMIT_S = 4.0

_Result = TypeVar("_Result")


class Probe:
    """A key below the prefix that is this examination's own, while the context is entered."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.key = f"{prefix}s3discovery-probe-{secrets.token_hex(8)}"
        self.failure: DiscoveryError | None = None  # why it could not be taken away
        self._bucket = bucket
        self._may_exist = False
        self._under_way: set[asyncio.Task[Any]] = set()

    async def put(
        self, *, if_match: str | None = None, if_none_match: bool = False, through: Bucket | None = None
    ) -> str:
        """Write the probe, maybe `through` another way to the bucket; return its ETag."""
        existed, self._may_exist = self._may_exist, True
        put = (through or self._bucket).put(
            self.key, BODY, METADATA, if_match=if_match, if_none_match=if_none_match
        )
        try:
            return (await self._unbroken(put)).etag
        except BucketError as error:
            if error.status is not None and error.status < 500:
                self._may_exist = existed  # refused for certain
            raise

    async def delete(self, *, if_match: str | None = None) -> None:
        await self._unbroken(self._bucket.delete(self.key, if_match=if_match))
        self._may_exist = False

    @property
    def may_exist(self) -> bool:
        """Whether it is there, as far as is known."""
        return self._may_exist

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            async with asyncio.timeout(_CLEAN_UP_LIMIT_S):
                if self._under_way:
                    await asyncio.wait(self._under_way)
                if self._may_exist:
                    await self._bucket.delete(self.key)
                    self._may_exist = False
        except TimeoutError:
            self.failure = DiscoveryError(f"no answer within {_CLEAN_UP_LIMIT_S:g} s")
        except DiscoveryError as error:
            self.failure = error
        except BaseException:  # a second Ctrl-C
            if self._may_exist:
                log.error("probe maybe left behind, delete it by hand if it is there key=%r", self.key)
            raise
        if self.failure is not None:
            log.error("probe left behind, delete it by hand key=%r error=%s", self.key, self.failure)

    async def _unbroken(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Wait for `work`, which goes on when the waiting is cancelled: what it wrote must be known."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)
