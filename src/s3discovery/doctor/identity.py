"""The credentials: which source gave them, whose they are, when they end. Secrets are never shown."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from s3discovery.clock import Clock
from s3discovery.credentials import Credentials, CredentialsProvider
from s3discovery.doctor.diagnosis import split_cure
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, ok
from s3discovery.errors import CredentialsError, SettingsError
from s3discovery.settings.keys.credentials import show_access_key_id

_CHECK = "credentials"
# How AWS writes access key ids, and most stores after it; a secret has other characters, too, and more.
_LIKE_AN_ID = re.compile("[A-Z0-9]{16,32}", re.ASCII)
_ACCOUNT_LIMIT_S = 1.5
_SHOWN_START, _SHOWN_END = 4, 4  # of an access key id: enough to tell one's keys apart


def shorten(access_key_id: str) -> str:
    """Return an access key id as it is shown; what may be a secret in its place shows next to nothing."""
    if _LIKE_AN_ID.fullmatch(access_key_id) is None:
        return show_access_key_id(access_key_id)
    return f"{access_key_id[:_SHOWN_START]}...{access_key_id[-_SHOWN_END:]}"


async def examine_credentials(provider: CredentialsProvider, kind: str) -> tuple[Credentials | None, Finding]:
    """Return the credentials of the type `kind`, None if there are none, and what was found."""
    try:
        credentials = await provider.credentials()
    except CredentialsError as error:
        found, cure = split_cure(error)
        return None, report("no-credentials", found, cure=cure)
    if credentials.is_anonymous:
        return credentials, ok(_CHECK, "anonymous: requests are not signed")
    found = f"{shorten(credentials.access_key_id)!r} from {credentials.source or kind!r}"
    if credentials.session_token is not None:
        found += ", with a session token"
    if credentials.expires_s is None:
        return credentials, ok(_CHECK, found)
    return credentials, ok(_CHECK, f"{found}, renewed before {_shown_time(credentials.expires_s)}")


def judge_keys(found: Finding, credentials: Credentials) -> list[Finding]:
    """Return `found`, and what is to be said about the keys themselves."""
    key_id, secret = credentials.access_key_id, credentials.secret_access_key.reveal()
    if len(key_id) <= len(secret) or _LIKE_AN_ID.fullmatch(key_id) or not _LIKE_AN_ID.fullmatch(secret):
        return [found]
    shown = f"{shorten(key_id)!r} has {len(key_id)} characters, and the secret fewer, all of them of ids"
    return [found, report("keys-swapped", shown, source=credentials.source or "the source")]


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
