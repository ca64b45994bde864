"""Credentials that end: renewed before they do, kept while they last, asked for with restraint.

A renewal runs beside the calls that need credentials: as long as the old ones last, nobody waits for it,
and nobody notices that it failed. Its time is the issuer's own where that is known, then monotonic: a
wall clock that is hours wrong, or set meanwhile, changes nothing.
"""

import asyncio
import logging
import math
import random
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from s3discovery.clock import Clock
from s3discovery.credentials.provider import Credentials
from s3discovery.errors import CredentialsError
from s3discovery.schedule import retry_delay_s

log = logging.getLogger(__name__)

# Renewal begins when a third of the life is left, 15 minutes at most: AWS puts new credentials for an
# instance out 5 minutes before the old ones end, and its SDKs begin at 15.
_LEAD_PART = 3
_LEAD_LIMIT_S = 900.0
_RETRY_LIMIT_S = 60.0
FETCH_LIMIT_S = 8.0  # an S3 call has 10 s, and its error should name the source rather than S3


@dataclass(frozen=True, slots=True)
class Issued:
    """Credentials as issued; `now_s` is the issuer's clock then (Unix seconds), None if it did not say."""

    credentials: Credentials
    now_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    credentials: Credentials
    renew_at_s: float  # monotonic, as is the next
    end_at_s: float


class RenewedCredentials:
    """Credentials of `fetch`, which raises CredentialsError; `source` names it. `dice` gives 0..1.

    `limit_s` bounds one fetch. Whatever else `fetch` raises is a renewal that failed, too: a bug in a source
    must not end a node whose credentials still last. It is logged with its place, without its text."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Issued]],
        clock: Clock,
        source: str,
        *,
        limit_s: float = FETCH_LIMIT_S,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._source = source
        self._limit_s = limit_s
        self._dice = dice
        self._held: _Held | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._failures = 0
        self._error = ""
        self._retry_at_s = -math.inf

    @property
    def expires_s(self) -> float | None:
        """When the credentials held end, as Unix seconds by their issuer's clock; None: never, or none."""
        return None if self._held is None else self._held.credentials.expires_s

    async def credentials(self) -> Credentials:
        now_s = self._clock.monotonic_s()
        self._collect()
        held = self._held
        if self._renewal is None and now_s >= self._retry_at_s and (held is None or now_s >= held.renew_at_s):
            self._renewal = asyncio.create_task(self._renew(), name=f"credentials of {self._source}")
        if held is not None and now_s < held.end_at_s:
            return held.credentials
        if self._renewal is not None:
            # Shielded: it goes on for the others when this caller is cancelled.
            await asyncio.wait({self._renewal}, timeout=FETCH_LIMIT_S)
            self._collect()
        held = self._held
        if held is not None and self._clock.monotonic_s() < held.end_at_s:
            return held.credentials
        if self._renewal is not None:
            raise CredentialsError(f"{self._source}: no answer for {FETCH_LIMIT_S:g} s; look why it is slow")
        raise CredentialsError(self._error)

    def _collect(self) -> None:
        """Forget a renewal that has ended; what it raised is a bug, and is raised here."""
        if self._renewal is not None and self._renewal.done():
            ended, self._renewal = self._renewal, None
            if not ended.cancelled():
                ended.result()

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                issued = await self._fetch()
            self._take(issued)
        except TimeoutError:
            self._fail(f"{self._source}: no answer within {self._limit_s:g} s; look why it is slow")
        except CredentialsError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - see above
            self._fail_unexpectedly(error)

    def _take(self, issued: Issued) -> None:
        credentials = issued.credentials
        now_s = self._clock.monotonic_s()
        life_s = math.inf
        if credentials.expires_s is not None:
            life_s = credentials.expires_s - (self._clock.wall_s() if issued.now_s is None else issued.now_s)
        if life_s <= 0:
            raise CredentialsError(
                f"{self._source}: the credentials it gives ended at {_show(credentials.expires_s)}; renew "
                "them there, or set this machine's clock"
            )
        lead_s = min(_LEAD_LIMIT_S, life_s / _LEAD_PART)
        if self._failures or self._held is None:
            log.info("credentials issued source=%r until=%s", self._source, _show(credentials.expires_s))
        self._held = _Held(credentials, now_s + life_s - lead_s, now_s + life_s)
        self._failures, self._error, self._retry_at_s = 0, "", -math.inf

    def _fail_unexpectedly(self, error: Exception) -> None:
        kind = type(error).__name__
        if self._failures == 0:
            # Without what it says: that may be a secret.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            log.error("source failed source=%r error=%s at=%s:%s", self._source, kind, *frame[:2])
        self._fail(f"{self._source}: it failed unexpectedly ({kind}); look at the log, and report this bug")

    def _fail(self, error: str) -> None:
        self._failures += 1
        delay_s = retry_delay_s(self._failures, _RETRY_LIMIT_S, self._dice())
        self._error, self._retry_at_s = error, self._clock.monotonic_s() + delay_s
        if self._failures == 1 and self._held is not None:
            until = _show(self._held.credentials.expires_s)
            log.warning("credentials not renewed, the old ones serve until=%s error=%r", until, error)


def _show(unix_s: float | None) -> str:
    if unix_s is None:
        return "for ever"
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):  # beyond the year 9999, by a zone of its own
        return f"{unix_s:.0f} s of Unix time"
