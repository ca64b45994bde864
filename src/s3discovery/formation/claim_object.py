"""The claim in the bucket: read again before every use, and replaced only if it still is as it was read."""

import logging
import secrets
from dataclasses import replace

from s3discovery.discovery import Discovery
from s3discovery.errors import (
    CodecError,
    ConditionUnsupportedError,
    ObjectMissingError,
    ObjectTooLargeError,
    PreconditionError,
)
from s3discovery.formation import seed
from s3discovery.formation.seed import Claim
from s3discovery.settings.claim import claim_key

log = logging.getLogger(__name__)


class ClaimObject:
    """The object at `key`, wherever the settings of `discovery` have it now."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._honours_conditions = True
        self._warned: set[str] = set()

    @property
    def key(self) -> str:
        return claim_key(self._discovery.settings)

    @property
    def place(self) -> object:
        """What changes when the settings lead to another object."""
        settings = self._discovery.settings
        return *settings.store, self.key

    @property
    def is_conditional(self) -> bool:
        """Whether the store lets one of several writes win, as far as is known."""
        capabilities = self._discovery.status.capabilities
        return (
            self._honours_conditions
            and capabilities.conditional_create is not False
            and capabilities.conditional_write is not False
        )

    async def read(self) -> tuple[Claim | None, str | None]:
        """Return the claim and its ETag, None if there is none.

        Raises BucketError, or CodecError if it is garbage."""
        try:
            stored = await self._discovery.bucket.get(self.key, limit=seed.CLAIM_LIMIT)
            return seed.decode(stored.body), stored.etag
        except ObjectMissingError:
            return None, None
        except (CodecError, ObjectTooLargeError) as error:
            why = f"it {error}" if isinstance(error, CodecError) else "it is too large"
            raise CodecError(
                f"the object {self.key!r}, by which nodes agree who starts the cluster, cannot be used, "
                f"as {why}; delete it from the bucket, unless a newer s3discovery wrote it: then upgrade "
                "this node"
            ) from error

    async def write(self, claim: Claim, etag: str | None) -> None:
        """Write the claim over the one of `etag`, over nothing if None; raises BucketError.

        Whether it was written is seen by reading it again: an answer may be lost, a condition refused."""
        body = seed.encode(replace(claim, nonce=secrets.token_hex(8)))
        bucket, key = self._discovery.bucket, self.key
        self._warn_of_prefix()
        try:
            if self.is_conditional:
                await bucket.put(key, body, if_match=etag, if_none_match=etag is None)
            else:
                self._warn(
                    "the store does not honour conditional writes: the oldest node starts the cluster, and "
                    "if nodes do not see each other just then, two are started"
                )
                await bucket.put(key, body)
        except ConditionUnsupportedError:
            self._honours_conditions = False
        except (PreconditionError, ObjectMissingError):
            return
        else:
            log.info("claim written key=%r stage=%s owner=%r", key, claim.stage.value, claim.owner.cluster_id)

    async def remove(self, etag: str | None) -> bool:
        """Delete the claim if it still is the one of `etag`; raises BucketError."""
        bucket, key = self._discovery.bucket, self.key
        try:
            await bucket.delete(key, if_match=etag)
        except ConditionUnsupportedError:
            await bucket.delete(key)
        except (PreconditionError, ObjectMissingError):
            return False
        log.info("claim removed, as the last member leaves key=%r", key)
        return True

    def _warn_of_prefix(self) -> None:
        if not self._discovery.settings.file_prefix:
            self._warn(
                f"file-prefix is empty, so HiveMQ nodes read the object {self.key!r} as a node file, and log "
                "that it is none: set file-prefix"
            )

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)
