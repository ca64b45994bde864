"""Reading what a server or a program issued: one JSON object in the shape that all of AWS's share.

Its text never shows in an error, as it holds secrets.
"""

import json
from datetime import UTC, datetime
from typing import Any

from s3discovery.credentials.provider import make_credentials
from s3discovery.credentials.renewal import Issued
from s3discovery.errors import CredentialsError


def read_object(text: str, source: str) -> dict[str, Any]:
    """Return the JSON object of `text`; raises CredentialsError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None  # without the cause: it holds the text
    if not isinstance(found, dict):
        raise CredentialsError(f"{source}: the answer is no JSON object; is this really its address?")
    return found


def read_issued(found: dict[str, Any], source: str, now_s: float | None = None) -> Issued:
    """Return the credentials in `found`; `Token` and `SessionToken` are one. Raises CredentialsError."""
    token = found.get("Token") or found.get("SessionToken") or None
    expires_s = read_moment(found.get("Expiration"), source)
    if token is not None and not isinstance(token, str):
        raise CredentialsError(f"{source}: the session token is no text; it is no source of credentials")
    access_key_id = _text(found, "AccessKeyId", source)
    secret_access_key = _text(found, "SecretAccessKey", source)
    return Issued(make_credentials(source, access_key_id, secret_access_key, token, expires_s), now_s)


def _text(found: dict[str, Any], name: str, source: str) -> str:
    text = found.get(name)
    if not isinstance(text, str) or not text:
        raise CredentialsError(f"{source}: the answer has no {name}; it is no source of credentials")
    return text


def read_moment(text: object, source: str) -> float | None:
    """Return an ISO 8601 moment as Unix seconds, None if there is none; raises CredentialsError."""
    if text is None or text == "":
        return None
    try:
        moment = datetime.fromisoformat(str(text).strip())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        cure = "it must be a moment such as 2030-01-02T03:04:05Z"
        raise CredentialsError(f"{source}: the Expiration cannot be read; {cure}") from None
