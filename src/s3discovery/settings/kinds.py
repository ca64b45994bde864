"""Kinds of settings: how the text of one becomes its value.

A reader takes the text as written and returns the value, or raises `WrongTextError` whose message is
the cure: what to write instead. A bad text never becomes a value in silence.
"""

import re
from collections.abc import Callable

from s3discovery.errors import CodecError
from s3discovery.node import check_cluster_id, find_forbidden

ID_LIMIT_BYTES = 512
_COUNT_LIMIT = 10_000  # nodes; more is a slip of the pen
MASK = "***"
WHOLE = re.compile(r"[+-]?\d{1,40}")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
PRINTABLE = re.compile(r"[!-~]+")
_PROFILE = re.compile(r"[^\s\[\]\x00-\x1f\x7f](?:[^\[\]\x00-\x1f\x7f]{0,126}[^\s\[\]\x00-\x1f\x7f])?")
# Sources: IAM's API reference of AssumeRole. Stores of other makers leave the account out.
_ROLE_ARN = re.compile(r"arn:[a-z-]+:(?:iam|sts):[a-z0-9-]*:[0-9]*:[!-~]{1,2000}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_PROCESS_ID_LIMIT = 2**22  # Linux: /proc/sys/kernel/pid_max is never more


class Secret:
    """A text that shows only to who asks: its repr and str are `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))


class WrongTextError(ValueError):
    """A text that is not a value of its kind; the message says what to write instead."""


def read_count(text: str) -> int:
    """Read a whole number from 1 to 10,000."""
    refuse_outer_spaces(text)
    if WHOLE.fullmatch(text) is None or not 1 <= int(text) <= _COUNT_LIMIT:
        raise WrongTextError(f"write a whole number from 1 to {_COUNT_LIMIT}")
    return int(text)


def read_flag(text: str) -> bool:
    """Read `true` or `false` in any case, as Java's Boolean.parseBoolean; nothing else is false."""
    refuse_outer_spaces(text)
    if text.lower() not in ("true", "false"):
        raise WrongTextError("write true or false")
    return text.lower() == "true"


def show_flag(value: bool) -> str:
    """Write a flag as `read_flag` understands it."""
    return "true" if value else "false"


def one_of(*choices: str) -> Callable[[str], str]:
    """Make a reader of a text that must be exactly one of `choices`, as the original compares them."""

    def read(text: str) -> str:
        refuse_outer_spaces(text)
        if text not in choices:
            raise WrongTextError(f"write one of {', '.join(choices)}")
        return text

    return read


def read_bucket_name(text: str) -> str:
    """Read a bucket name, or the ARN of an access point; only the form is checked, old names included."""
    refuse_outer_spaces(text)
    if text.startswith("arn:"):
        from s3discovery.aws.arns import WrongArnError, read_access_point  # few buckets are written so

        try:
            read_access_point(text)
        except WrongArnError as error:
            raise WrongTextError(str(error)) from error
        return text
    if _BUCKET.fullmatch(text) is None:
        raise WrongTextError(
            "write the name of the bucket alone: 3 to 63 lower-case letters, digits, dots and hyphens "
            "(old buckets: also capitals and underscores, up to 255)"
        )
    return text


def read_region(text: str) -> str:
    """Read a region; only its form is checked, since new ones come every year."""
    refuse_outer_spaces(text)
    if _REGION.fullmatch(text) is None:
        near = text.lower().replace("_", "-")
        example = near if _REGION.fullmatch(near) else "us-east-1"
        raise WrongTextError(f"write lower-case letters, digits and hyphens: {example}")
    return text


def read_prefix(text: str) -> str:
    """Read any text without control characters, outer spaces kept: keys are taken byte for byte."""
    if (char := find_forbidden(text)) is not None:
        raise WrongTextError(f"remove the control character {char!r}")
    return text


def read_object_key(text: str) -> str:
    """Read the key of one object: a prefix that is not empty."""
    if not text.strip():
        raise WrongTextError("write the key of an object, such as .s3discovery/seed")
    return read_prefix(text)


def read_cluster_id(text: str) -> str:
    """Read the id of a node: what can stand in a node file and in a key."""
    try:
        check_cluster_id(text)
    except CodecError as error:
        raise WrongTextError(
            f"write a name that is unique in the cluster, such as node-1: {error}"
        ) from error
    if "||||" in text or text.startswith("|") or text.endswith("|"):
        raise WrongTextError("remove the |: the fields of a node file are separated by ||||")
    if len(text.encode()) > ID_LIMIT_BYTES:
        raise WrongTextError(f"write at most {ID_LIMIT_BYTES} bytes of UTF-8")
    return text


def read_name(text: str) -> str:
    """Read a short name of lower-case letters, digits, - and _."""
    refuse_outer_spaces(text)
    if _NAME.fullmatch(text) is None:
        raise WrongTextError("write a name of lower-case letters, digits, - and _, such as none or amqtt")
    return text


def read_printable(text: str) -> str:
    """Read what travels in an HTTP header: printable ASCII without spaces."""
    refuse_outer_spaces(text)
    if PRINTABLE.fullmatch(text) is None:
        raise WrongTextError("write printable ASCII without spaces, as the store gave it")
    return text


def read_secret(text: str) -> Secret:
    """Read a secret: as `read_printable`, hidden from then on."""
    return Secret(read_printable(text))


def _matching(form: re.Pattern[str], cure: str) -> Callable[[str], str]:
    """Return a reader of texts that match `form` whole; `cure` says what to write instead of others."""

    def read(text: str) -> str:
        refuse_outer_spaces(text)
        if form.fullmatch(text) is None:
            raise WrongTextError(cure)
        return text

    return read


# A profile's name as it stands between brackets in AWS's files; the others as STS allows them.
read_profile = _matching(_PROFILE, "write the name of a profile alone, without brackets, such as production")
read_role_arn = _matching(_ROLE_ARN, "write the ARN of a role, such as arn:aws:iam::123456789012:role/mqtt")
read_external_id = _matching(
    _EXTERNAL_ID, "write 2 to 1224 letters, digits and _+=,.@:/- as the trust policy has them"
)
read_session_name = _matching(_SESSION_NAME, "write 2 to 64 letters, digits and _+=,.@- such as mqtt-node-1")


def read_process_id(text: str) -> int:
    """Read the id of a process."""
    refuse_outer_spaces(text)
    if WHOLE.fullmatch(text) is None or not 0 < int(text) <= _PROCESS_ID_LIMIT:
        raise WrongTextError("write the id of a running process, such as 4711")
    return int(text)


def read_path(text: str) -> str:
    """Read the path of a file; whether it is there shows when it is opened."""
    if not text.strip() or find_forbidden(text) is not None:
        raise WrongTextError("write the path of a file")
    return text


def refuse_outer_spaces(text: str) -> None:
    """Raise WrongTextError for a space around `text`.

    Java keeps the spaces at the end of a line, so they would become a part of the value."""
    if text != text.strip():
        raise WrongTextError("remove the space around the value")
