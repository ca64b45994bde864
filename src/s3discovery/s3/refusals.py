"""What a refusal means: from S3's status, code and message to an error of ours, with its cure.

Texts from the other side are shown by repr and cut, since anything may have sent them.
"""

import re
from dataclasses import dataclass

from s3discovery.aws.regions import GLOBAL_REGION, is_region, region_of_host
from s3discovery.errors import (
    AccessDeniedError,
    BucketError,
    BucketMissingError,
    ClockSkewError,
    ConditionUnsupportedError,
    CredentialsRejectedError,
    ForeignAnswerError,
    ObjectMissingError,
    PreconditionError,
    StoreFaultError,
    ThrottledError,
    WrongRegionError,
)
from s3discovery.s3.location import Location
from s3discovery.s3.wire import Answer, Refusal, parse_refusal

SKEW_CODE = "RequestTimeTooSkewed"
_PAGE_SHOWN = 40  # bytes of what is no answer of S3's
_SHOWN = 200  # characters of a foreign text that an error shows
_KEPT = 2000  # characters of S3's message that an error keeps: AWS names who, what, and which policy

ACTIONS = {
    "list": "s3:ListBucket",
    "get": "s3:GetObject",
    "put": "s3:PutObject",
    "delete": "s3:DeleteObject",
}

_CREDENTIAL_CURES = {
    "InvalidAccessKeyId": "the store does not know the access key id; "
    "set credentials-access-key-id to one of this store",
    "SignatureDoesNotMatch": "the secret does not belong to the access key id; "
    "set credentials-secret-access-key to the one issued with it",
    "ExpiredToken": "the session token has expired; fetch new temporary credentials",
    "ExpiredTokenException": "the session token has expired; fetch new temporary credentials",
    "InvalidToken": "the session token is not valid; set credentials-session-token to the one issued with "
    "this access key id, and to nothing for permanent keys",
    "TokenRefreshRequired": "the session token must be refreshed; fetch new temporary credentials",
    "InvalidSecurity": "the credentials are not valid; issue new ones",
    "AccountProblem": "there is a problem with the account; ask its owner",
    "NotSignedUp": "the account is not signed up for S3; ask its owner",
}
_REGION_CODES = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)
# How AWS names the action that was refused, which need not be the verb's own: a PUT with tags needs two. The
# rest of the message is not looked at, since names in it are their owner's choice.
_ACTION = re.compile(r"not authorized to perform: ((?:s3[a-z-]{0,20}|kms):[A-Z][A-Za-z]{1,60})\b", re.ASCII)
# How S3 says in which region a bucket is that another region was asked for; us-east-1 has no name there.
_CONSTRAINT = "The ([a-z0-9-]{1,64}) location constraint is incompatible"
_HOST_LIMIT = 253  # characters of a host name
_THROTTLE_CODES = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded"}
)
_PRECONDITION_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "OperationAborted"})
_UNSUPPORTED_CODES = frozenset(
    {"", "NotImplemented", "InvalidRequest", "InvalidArgument", "UnsupportedOperation", "InvalidHeader"}
)


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: the verb, where, of which key (the prefix for a listing), and on a condition or not."""

    verb: str
    location: Location
    key: str
    conditional: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.key!r} in bucket {self.location.bucket!r} at {self.location.endpoint}"


def explain(question: Question, answer: Answer) -> BucketError:
    """Return the error that `answer`, which is no success, stands for."""
    refusal = parse_refusal(answer.body)
    found = (
        _explain_region(question, answer, refusal)
        or _explain_code(question, answer, refusal)
        or _explain_stranger(question, answer, refusal)
        or _explain_status(question, answer, refusal)
    )
    found.status = answer.status
    found.code = refusal.code or None
    found.said = refusal.message[:_KEPT]
    found.server_time_s = answer.server_time_s
    return found


def named_action(said: str) -> str | None:
    """Return the action that a refusal names as the one that is missing, None where it names none."""
    found = _ACTION.search(said[:_KEPT])
    return None if found is None else found[1]


def not_s3(question: Question, answer: Answer, what: str) -> ForeignAnswerError:
    """Return the error for an answer that S3 would not give, such as a web page."""
    behind = ", and does the store behind it run" if answer.status == 503 else ""
    return ForeignAnswerError(
        f"{question} was answered with {what}; is s3-endpoint really an S3 endpoint{behind}?",
        status=answer.status,
        server_time_s=answer.server_time_s,
    )


def _explain_region(question: Question, answer: Answer, refusal: Refusal) -> BucketError | None:
    region = _named_region(answer, refusal)
    named_another = bool(region) and region != question.location.region
    redirected = answer.status in (301, 307, 308)
    if not (refusal.code in _REGION_CODES or (named_another and (redirected or answer.status == 400))):
        return None
    if not named_another:
        return WrongRegionError(
            f"{question} was refused as of another region ({_said(answer, refusal)}), but the store does "
            "not say which; set s3-bucket-region to the region of the bucket",
            region=None,
        )
    place = question.location
    if not is_region(region, of_aws=False):  # only what can be a region is offered as a line to write
        return WrongRegionError(
            f"bucket {place.bucket!r} is said to be in a region {region[:_SHOWN]!r}, which can be none; "
            "check s3-endpoint",
            region=None,
        )
    if place.access_point is not None:
        return WrongRegionError(
            f"the access point {place.bucket!r} is said to be in region {region}; "
            "write s3-bucket-name with the ARN that its owner's console shows",
            region=region,
        )
    instead = "" if place.wish.endpoint is None else f" (s3-endpoint-region:{region} if that is set)"
    return WrongRegionError(
        f"bucket {place.bucket!r} is in region {region}, not in {place.region}; "
        f"write s3-bucket-region:{region}{instead}",
        region=region,
    )


def _named_region(answer: Answer, refusal: Refusal) -> str:
    """Return the region that a refusal names, in one of the ways S3 has for that; empty if none."""
    if region := answer.headers.get("x-amz-bucket-region") or refusal.region:
        return region
    if refusal.code == "IllegalLocationConstraintException":
        found = re.search(_CONSTRAINT, refusal.message[:_SHOWN])
        region = found[1] if found else ""
        return GLOBAL_REGION if region == "unspecified" else region
    if len(refusal.endpoint) <= _HOST_LIMIT:
        return region_of_host(refusal.endpoint) or ""
    return ""


def _explain_code(question: Question, answer: Answer, refusal: Refusal) -> BucketError | None:
    code = refusal.code
    if code == "NoSuchAccessPoint":
        return BucketMissingError(
            f"access point {question.location.bucket!r} does not exist; "
            "create it or set s3-bucket-name to the bucket's name"
        )
    if code == "NoSuchBucket":
        name = question.location.bucket
        return BucketMissingError(
            f"bucket {name!r} does not exist at {question.location.endpoint}; create it or set s3-bucket-name"
        )
    if code == "NoSuchKey":
        return _missing(question)
    if (cure := _CREDENTIAL_CURES.get(code)) is not None:
        return CredentialsRejectedError(f"{question} was refused ({_said(answer, refusal)}): {cure}")
    if code == SKEW_CODE:
        return ClockSkewError(
            f"{question} was refused for its time ({_said(answer, refusal)}); "
            "set this machine's clock, or the store's"
        )
    if code in _THROTTLE_CODES:
        return _throttled(question, answer, refusal)
    if code in _PRECONDITION_CODES:
        return _changed(question)
    return None


def _explain_stranger(question: Question, answer: Answer, refusal: Refusal) -> BucketError | None:
    """Return the error for what refuses as S3 might, but says so in no document of S3's: a login page, a
    firewall, a gateway whose store is down."""
    is_s3 = refusal.code or "x-amz-request-id" in answer.headers or not answer.body.strip()
    if is_s3 or answer.status not in (401, 403, 503):
        return None
    return not_s3(question, answer, f"HTTP {answer.status} and {answer.body[:_PAGE_SHOWN]!r}")


def _explain_status(question: Question, answer: Answer, refusal: Refusal) -> BucketError:
    status, said = answer.status, _said(answer, refusal)
    if status == 404 and not refusal.code and question.verb != "list" and _is_bare(answer):
        return _missing(question)
    if status in (401, 403):
        return _denied(question, said, refusal.message)
    if status == 412:
        return _changed(question)
    if status in (429, 503):
        return _throttled(question, answer, refusal)
    if status == 400 and _has_dots(question.key):
        return StoreFaultError(
            f"{question} was refused ({said}); choose a file-prefix without '.' or '..' between its slashes"
        )
    if question.conditional and (status == 501 or (status == 400 and refusal.code in _UNSUPPORTED_CODES)):
        return ConditionUnsupportedError(
            f"the store at {question.location.endpoint} does not know the condition of {question} ({said})"
        )
    if 300 <= status < 400:
        target = answer.headers.get("location", "")[:_SHOWN]
        return StoreFaultError(
            f"{question} was redirected to {target!r} ({said}), and redirects are not followed; "
            "set s3-endpoint to the S3 endpoint itself"
        )
    if status >= 500:
        return StoreFaultError(f"{question} failed in the store ({said}); look at the store's own log")
    if refusal.code:
        return StoreFaultError(
            f"{question} was refused ({said}); check file-prefix, cluster-id and s3-endpoint"
        )
    return StoreFaultError(f"{question} was refused ({said}); is s3-endpoint really an S3 endpoint?")


def _is_bare(answer: Answer) -> bool:
    """Tell whether a 404 can be S3's: some stores send no body with it, but none sends a page."""
    return not answer.body.strip()


def _has_dots(key: str) -> bool:
    return any(part in (".", "..") for part in key.split("/"))


def _missing(question: Question) -> BucketError:
    if question.conditional:
        return _changed(question)
    return ObjectMissingError(f"there is no object {question.key!r} in bucket {question.location.bucket!r}")


def _changed(question: Question) -> PreconditionError:
    return PreconditionError(f"{question}: somebody else wrote or deleted it meanwhile")


def _denied(question: Question, said: str, message: str) -> AccessDeniedError:
    action = named_action(message) or ACTIONS[question.verb]
    if "explicit deny" in message.lower():
        return AccessDeniedError(
            f"{question} is not permitted ({said}); remove the Deny of {action} from that policy: an Allow "
            "elsewhere does not help"
        )
    if action.startswith("kms:"):
        return AccessDeniedError(
            f"{question} is not permitted ({said}); allow {action} on the KMS key to these credentials, in "
            "its key policy or by IAM"
        )
    # Of the keys, only this one is known here; what else a node needs is that below its file-prefix.
    is_of_bucket = action == ACTIONS["list"]
    resource = question.location.arn(None if is_of_bucket else question.key)
    also = "" if question.location.access_point is None else ", in the access point's policy and the bucket's"
    rest = "" if is_of_bucket else ", and on all else below file-prefix"
    return AccessDeniedError(
        f"{question} is not permitted ({said}); allow {action} on {resource} to these credentials"
        f"{also}{rest} (s3discovery policy prints what a node needs)"
    )


def _throttled(question: Question, answer: Answer, refusal: Refusal) -> ThrottledError:
    wait = answer.headers.get("retry-after")
    asked = f" and asks to wait {wait[:40]!r}" if wait else ""
    return ThrottledError(
        f"{question}: the store asks for fewer requests ({_said(answer, refusal)}){asked}; "
        "raise poll-interval if this goes on"
    )


def _said(answer: Answer, refusal: Refusal) -> str:
    """Return what the store said, fit to be shown."""
    said = f"HTTP {answer.status}"
    if refusal.code:
        said += f" {refusal.code[:_SHOWN]!r}"
    if refusal.message:
        said += f" {refusal.message[:_SHOWN]!r}"
    return said
