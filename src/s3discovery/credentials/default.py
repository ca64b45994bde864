"""credentials-type:default: the first source that has any, in the order that the original documents."""

import asyncio
import logging
from collections.abc import Sequence

from s3discovery.credentials.provider import Credentials, CredentialsProvider
from s3discovery.errors import CredentialsError

log = logging.getLogger(__name__)


class DefaultCredentials:
    """The first of `sources` that gives credentials; it is kept from then on.

    Kept, because another source stands for somebody else: while a role's service is down for a minute,
    a node should not go on as whoever the next source knows."""

    def __init__(self, sources: Sequence[CredentialsProvider]) -> None:
        self._sources = sources
        self._chosen: CredentialsProvider | None = None
        self._lock = asyncio.Lock()

    async def credentials(self) -> Credentials:
        if self._chosen is None:
            async with self._lock:  # one look at a time: some sources ask a server
                if self._chosen is None:
                    return await self._choose()
        return await self._chosen.credentials()

    async def _choose(self) -> Credentials:
        reasons = []
        for source in self._sources:
            try:
                found = await source.credentials()
            except CredentialsError as error:
                reasons.append(str(error))
                continue
            self._chosen = source
            log.info("credentials found source=%r", found.source)
            return found
        lines = "".join(f"\n  - {reason}" for reason in reasons)
        raise CredentialsError(f"credentials-type:default, and no source gave any; mend one of them:{lines}")
