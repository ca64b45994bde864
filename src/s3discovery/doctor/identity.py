"""The credentials: which source gave them, whose they are, when they end. Secrets are never shown."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from s3discovery.clock import Clock
from s3discovery.credentials import Credentials, CredentialsProvider
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, ok
from s3discovery.errors import CredentialsError, SettingsError

_CHECK = "credentials"
_ACCOUNT_LIMIT_S = 1.5
_SHOWN_START, _SHOWN_END = 4, 4  # of an access key id: enough to tell one's keys apart


def shorten(access_key_id: str) -> str:
    """Return an access key id as it is shown."""
    if len(access_key_id) < 2 * (_SHOWN_START + _SHOWN_END):
        return f"{access_key_id[:_SHOWN_START]}..."
    return f"{access_key_id[:_SHOWN_START]}...{access_key_id[-_SHOWN_END:]}"


async def examine_credentials(provider: CredentialsProvider, kind: str) -> tuple[Credentials | None, Finding]:
    """Return the credentials of the type `kind`, None if there are none, and what was found."""
    try:
        credentials = await provider.credentials()
    except CredentialsError as error:
        return None, report("no-credentials", "none", cure=str(error))
    if credentials.is_anonymous:
        return credentials, ok(_CHECK, "anonymous: requests are not signed")
    found = f"{shorten(credentials.access_key_id)!r} from {credentials.source or kind!r}"
    if credentials.session_token is not None:
        found += ", with a session token"
    if credentials.expires_s is None:
        return credentials, ok(_CHECK, found)
    return credentials, ok(_CHECK, f"{found}, renewed before {_shown_time(credentials.expires_s)}")


async def name_account(
    found: Finding, credentials: Credentials, environ: Mapping[str, str], region: str, clock: Clock
) -> Finding:
    """Return `found` with whom the credentials stand for, as far as AWS's STS says so in good time."""
    from s3discovery.credentials.sts import TokenService

    if credentials.is_anonymous:
        return found
    try:
        async with asyncio.timeout(_ACCOUNT_LIMIT_S):
            arn = await TokenService(environ, region, clock).identify(credentials)
    except (TimeoutError, CredentialsError, SettingsError):
        return found  # a comfort: what is wrong with the credentials, S3 will say
    return replace(found, found=f"{found.found}; they are {arn!r}") if arn else found


def _shown_time(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return f"{unix_s:.0f} s of Unix time"
