"""From an error of the store to the fault behind it, as far as the error itself says."""

import re
from dataclasses import dataclass

from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding
from s3discovery.errors import (
    AccessDeniedError,
    BucketError,
    BucketMissingError,
    ClockSkewError,
    CredentialsError,
    CredentialsRejectedError,
    DiscoveryError,
    ForeignAnswerError,
    KeyChangedError,
    ProxyError,
    StoreFaultError,
    ThrottledError,
    UnreachableError,
    WrongRegionError,
)
from s3discovery.s3.location import Location
from s3discovery.s3.refusals import ACTIONS, named_action

_CODE_SHOWN = 80  # characters of the store's code
_SHOWN = 240  # characters of the store's message
_REJECTED = {
    "InvalidAccessKeyId": "unknown-access-key",
    "SignatureDoesNotMatch": "wrong-secret",
    "ExpiredToken": "token-expired",
    "ExpiredTokenException": "token-expired",
    "TokenRefreshRequired": "token-expired",
    "InvalidToken": "wrong-token",
}
# What stores say that want the bucket in the host name.
_VIRTUAL_HOST_CODES = frozenset({"SecondLevelDomainForbidden", "PathStyleRequestNotAllowed"})
_POLICY = re.compile(r"explicit deny in an? ([a-z -]{1,60}?)(?: policy|[.,]|$)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """Where was asked, with which access key id (shortened), and from which source that is."""

    location: Location
    key: str
    source: str


def said(error: DiscoveryError) -> str:
    """Return what the store answered, fit to be shown; the error itself where there was no answer."""
    if not isinstance(error, BucketError) or error.status is None:
        return str(error)
    parts = [f"HTTP {error.status}"]
    if error.code:
        parts.append(repr(error.code[:_SHOWN]))
    if error.said:
        parts.append(repr(error.said[:_SHOWN]))
    return " ".join(parts)


def split_cure(error: DiscoveryError) -> tuple[str, str]:
    """Return what is wrong, and what to do: errors of ours say both, in that order."""
    text, more, rest = str(error).partition("\n")
    found, semicolon, cure = text.rpartition("; ")
    if not semicolon:
        whose = "what credentials-type names" if isinstance(error, CredentialsError) else "the store"
        return str(error), f"look at {whose}"
    return found, f"{cure}{more}{rest}"


def diagnose(error: BucketError, asked: Asked) -> Finding:
    """Return the fault behind an error that is no question of permission."""
    place, found = asked.location, said(error)
    match error:
        case CredentialsRejectedError():
            name = _REJECTED.get(error.code or "", "credentials-refused")
            return report(name, found, key=asked.key, source=asked.source)
        case ClockSkewError():
            return report("clock-refused", found)
        case WrongRegionError():
            return _other_region(error, asked.location)
        case BucketMissingError():
            return report("bucket-missing", found, bucket=repr(place.bucket))
        case ThrottledError():
            return report("throttled", found)
        case ProxyError():
            return report("proxy-unusable", said(error), cure=str(error))
        case UnreachableError():
            return report("no-answer", str(error))
        case _:
            return _unlike_s3(error, asked)


def _unlike_s3(error: BucketError, asked: Asked) -> Finding:
    match error:
        case KeyChangedError():
            return report("keys-changed", str(error))
        case ForeignAnswerError():
            return report("not-s3", str(error), place=asked.location.endpoint)
        case StoreFaultError() if error.code in _VIRTUAL_HOST_CODES:
            return report("needs-virtual-host", said(error))
        case StoreFaultError() if error.status is not None and error.status >= 500:
            return report("store-fault", said(error))
        case StoreFaultError() if error.code is None:
            return report("not-s3", str(error), place=asked.location.endpoint)
        case _:
            return report("refused-otherwise", str(error), code=repr((error.code or "")[:_CODE_SHOWN]))


def explain_denial(error: AccessDeniedError, verb: str, asked: Asked, prefix: str) -> Finding:
    """Return the missing permission behind a refusal of `verb`, as the check of that verb.

    It is needed for all keys below `prefix`, whichever was tried."""
    found = said(error)
    action = named_action(error.said) or ACTIONS[verb]
    if "explicit deny" in error.said.lower():
        named = _POLICY.search(error.said)
        policy = f"{named[1]} policy" if named else "policy that holds it"
        return report("explicit-deny", found, check=verb, action=action, policy=policy)
    if action.startswith("kms:"):
        return report("key-denied", found, check=verb, action=action)
    resource = asked.location.arn(None if action == ACTIONS["list"] else f"{prefix}*")
    return report(f"{verb}-denied", found, action=action, resource=resource)


def region_line(location: Location, region: str) -> str:
    """Return the setting that names the region of a bucket at `location`."""
    key = "s3-bucket-region" if location.wish.endpoint is None else "s3-endpoint-region"
    return f"{key}:{region}"


def _other_region(error: WrongRegionError, location: Location) -> Finding:
    if error.region is None:
        return report("unknown-region", str(error))
    found = f"the bucket is in {error.region}, not in {location.region}"
    return report("wrong-region", found, line=region_line(location, error.region))
