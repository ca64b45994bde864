"""What each store honours, asked once, in the background, by a node whose own file is in the bucket already.

Nobody else notices: the own file is written on conditions that do not hold, a key that no node can have
is deleted on one, and the own file is read. AWS is not asked, since it is known. An error is no answer.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from s3discovery.bucket import Bucket
from s3discovery.capabilities import OF_AWS, UNKNOWN, Capabilities
from s3discovery.errors import (
    AccessDeniedError,
    ConditionUnsupportedError,
    DiscoveryError,
    PreconditionError,
)
from s3discovery.own_file import NO_ETAG, OwnFile
from s3discovery.settings.config import Settings, StoreName

log = logging.getLogger(__name__)


class Survey:
    """What is known of every store that this process has used, by endpoint and bucket."""

    def __init__(self) -> None:
        self._known: dict[StoreName, Capabilities] = {}

    def of(self, settings: Settings) -> Capabilities:
        """Return what is known of the store that the settings name."""
        return self._known.get(settings.store, UNKNOWN) if settings.endpoint else OF_AWS

    async def ask(self, settings: Settings, own: OwnFile) -> bool:
        """Ask what is not known yet; False if some of it still is not.

        Never raises for what the store or the way to it does."""
        before = known = self.of(settings)
        questions: dict[str, Callable[[], Awaitable[bool | None]]] = {
            "conditional_write": lambda: own.honours(create=False),
            "conditional_create": lambda: own.honours(create=True),
            "conditional_delete": lambda: own.while_ours(partial(_honours_delete, settings.file_prefix)),
            "metadata": own.keeps_metadata,
        }
        for name, question in questions.items():
            if getattr(known, name) is not None:
                continue
            try:
                known = replace(known, **{name: await question()})
            except AccessDeniedError as error:
                log.debug("store not asked for %s error=%s", name, error)
            except DiscoveryError as error:
                log.debug("store not asked for %s and what follows error=%s", name, error)
                break
        self._known[settings.store] = known
        if known != before:
            _tell(settings, before, known)
        return known.is_known


async def _honours_delete(prefix: str, bucket: Bucket) -> bool | None:
    """Delete what is not there on a condition that does not hold."""
    # A probe's name (see membership.is_probe), which nobody has: deleting it by mistake deletes nothing.
    key = f"{prefix}s3discovery-probe-{secrets.token_hex(8)}"
    try:
        return False if await bucket.delete(key, if_match=NO_ETAG) else None
    except ConditionUnsupportedError:
        return False
    except PreconditionError as error:
        if error.status != 404:
            return True
    # Not found: moto's way of refusing, but some stores say it to whoever deletes a missing key.
    return True if await bucket.delete(key) else None


def _tell(settings: Settings, before: Capabilities, known: Capabilities) -> None:
    endpoint, bucket = settings.store
    log.info("store asked what it honours %s endpoint=%s bucket=%r", known, endpoint, bucket)
    told = dict(before.missing())
    for name, cost in known.missing():
        if name not in told:
            log.warning("store does not honour %s: %s", name, cost)
