"""Kinds of settings: how the text of one becomes its value.

A reader takes the text as written and returns the value, or raises `WrongTextError` whose message is
the cure: what to write instead. A bad text never becomes a value in silence.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlsplit

from s3discovery.errors import AddressError, CodecError
from s3discovery.node import Address, check_cluster_id, find_forbidden

DURATION_LIMIT_S = 10 * 365 * 86_400.0  # ten years: longer is a slip of the pen, not a wish
SHORTEST_S = 0.1  # below it a node would do nothing but ask
POLL_LIMIT_S = 86_400.0
ID_LIMIT_BYTES = 512
_COUNT_LIMIT = 10_000  # nodes; more is a slip of the pen
MASK = "***"
_UNITS_S = {
    "d": Decimal(86_400),
    "h": Decimal(3_600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
# \d is what Java's Character.digit takes: every decimal digit of Unicode. 40 digits: more is no number.
_NUMBER = re.compile(r"([+-]?)(\d{1,40}(?:\.\d{1,40})?)(ms|[smhd])?")
_WHOLE = re.compile(r"[+-]?\d{1,40}")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]+")
_PROFILE = re.compile(r"[^\s\[\]\x00-\x1f\x7f](?:[^\[\]\x00-\x1f\x7f]{0,126}[^\s\[\]\x00-\x1f\x7f])?")
# Sources: IAM's API reference of AssumeRole. Stores of other makers leave the account out.
_ROLE_ARN = re.compile(r"arn:[a-z-]+:(?:iam|sts):[a-z0-9-]*:[0-9]*:[!-~]{1,2000}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_PROCESS_ID_LIMIT = 2**22  # Linux: /proc/sys/kernel/pid_max is never more
_DNS_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*\.?", re.ASCII)
_DOMAIN_LIMIT = 180  # of DNS's 253 bytes; the names of nodes stand before it
_DATAGRAM_LEAST, _DATAGRAM_MOST = 512, 65_507  # RFC 1035; UDP over IPv4
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")


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


def read_minutes(text: str) -> float:
    """Read a duration to seconds; a bare whole number is minutes (the original plugin's unit)."""
    return _read_duration(text, bare="m", whole=True)


def read_seconds(text: str) -> float:
    """Read a duration to seconds; a bare whole number is seconds (HiveMQ 4's unit)."""
    return _read_duration(text, bare="s", whole=True)


def read_poll_interval(text: str) -> float:
    """Read a duration of 0.1 s to a day; a bare number is seconds."""
    seconds = _read_duration(text, bare="s", whole=False)
    if not SHORTEST_S <= seconds <= POLL_LIMIT_S:
        raise WrongTextError("write a duration from 100ms to 1d, such as 60s")
    return seconds


def read_wait(text: str) -> float:
    """Read a duration to seconds, 0 included; a bare number is seconds."""
    return _read_duration(text, bare="s", whole=False)


def read_count(text: str) -> int:
    """Read a whole number from 1 to 10,000."""
    _refuse_outer_spaces(text)
    if _WHOLE.fullmatch(text) is None or not 1 <= int(text) <= _COUNT_LIMIT:
        raise WrongTextError(f"write a whole number from 1 to {_COUNT_LIMIT}")
    return int(text)


def _read_duration(text: str, *, bare: str, whole: bool) -> float:
    _refuse_outer_spaces(text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise WrongTextError("write a number with a unit of ms, s, m, h or d, such as 90s or 6h")
    sign, number, unit = match.groups()
    if unit is None and whole and "." in number:
        raise WrongTextError(f"write a unit with a fraction: {number}{bare}")
    seconds = float(Decimal(number) * _UNITS_S[unit or bare])
    if sign == "-" and seconds > 0:
        raise WrongTextError("write a duration that is not negative; 0 switches it off")
    if seconds >= DURATION_LIMIT_S:
        raise WrongTextError("write less than ten years; 0 switches it off")
    if 0 < seconds < SHORTEST_S:
        raise WrongTextError("write at least 100ms; 0 switches it off")
    return seconds


def show_duration(seconds: float) -> str:
    """Write a duration in the largest unit that makes it whole, as the readers understand it."""
    exact = Decimal(repr(seconds))
    for unit, length in _UNITS_S.items():
        if exact and exact % length == 0:
            return f"{int(exact / length)}{unit}"
    return f"{exact.normalize():f}s"


def read_flag(text: str) -> bool:
    """Read `true` or `false` in any case, as Java's Boolean.parseBoolean; nothing else is false."""
    _refuse_outer_spaces(text)
    if text.lower() not in ("true", "false"):
        raise WrongTextError("write true or false")
    return text.lower() == "true"


def show_flag(value: bool) -> str:
    """Write a flag as `read_flag` understands it."""
    return "true" if value else "false"


def one_of(*choices: str) -> Callable[[str], str]:
    """Make a reader of a text that must be exactly one of `choices`, as the original compares them."""

    def read(text: str) -> str:
        _refuse_outer_spaces(text)
        if text not in choices:
            raise WrongTextError(f"write one of {', '.join(choices)}")
        return text

    return read


def read_port(text: str) -> int:
    """Read a port that can be dialled: 1..65535."""
    return _read_port(text, lowest=1)


def read_bind_port(text: str) -> int:
    """Read a port to listen at: 0..65535, where 0 is any free one."""
    return _read_port(text, lowest=0)


def _read_port(text: str, *, lowest: int) -> int:
    _refuse_outer_spaces(text)
    if _WHOLE.fullmatch(text) is None or not lowest <= int(text) <= 65535:
        raise WrongTextError(f"write a port from {lowest} to 65535, such as 7800")
    return int(text)


def read_bucket_name(text: str) -> str:
    """Read a bucket name, or the ARN of an access point; only the form is checked, old names included."""
    _refuse_outer_spaces(text)
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
    _refuse_outer_spaces(text)
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


def read_domain(text: str) -> str:
    """Read a DNS name, made absolute: with its final dot."""
    _refuse_outer_spaces(text)
    if _DOMAIN.fullmatch(text) is None or len(text) > _DOMAIN_LIMIT:
        raise WrongTextError("write a DNS name, such as cluster.s3discovery.")
    return text.lower().rstrip(".") + "."


def read_datagram_size(text: str) -> int:
    """Read the size of a UDP datagram that DNS can use: 512 to 65507 bytes."""
    _refuse_outer_spaces(text)
    if _WHOLE.fullmatch(text) is None or not _DATAGRAM_LEAST <= int(text) <= _DATAGRAM_MOST:
        raise WrongTextError(f"write a number of bytes from {_DATAGRAM_LEAST} to {_DATAGRAM_MOST}")
    return int(text)


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


def read_host(text: str) -> str:
    """Read an IP address or DNS name to listen at, wildcards included."""
    _refuse_outer_spaces(text)
    if not _is_host(text):
        raise WrongTextError("write an IP address or a host name alone, without scheme or port")
    return text


def read_dialled_host(text: str) -> str:
    """Read an IP address or DNS name that peers can dial."""
    read_host(text)
    if is_wildcard(text):
        raise WrongTextError("write the address that the other nodes dial; nobody can dial this one")
    return text


def read_listener(text: str) -> str:
    """Read `host:port` to listen at; an IPv6 address in brackets."""
    _refuse_outer_spaces(text)
    host, _, port = text.rpartition(":")
    if not _is_host(host) or (":" in host and not host.startswith("[")):
        raise WrongTextError("write host:port, such as 127.0.0.1:1883 or [::1]:1883")
    read_port(port)
    return text


def is_wildcard(host: str) -> bool:
    """Tell whether `host` is 0.0.0.0, :: or another spelling of "any address"."""
    try:
        return Address(host, 1).ip.is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    try:
        return Address(host, 1).ip.is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_host(text: str) -> bool:
    try:
        address = Address(text, 1)
    except AddressError:
        return False
    if _LOOKS_LIKE_IPV4.fullmatch(text):  # 10.0.0.256 would pass for a name
        return _is_ip(address)
    return address.is_dialable


def _is_ip(address: Address) -> bool:
    try:
        address.ip  # noqa: B018 - asked for its error
    except ValueError:
        return False
    return True


def read_endpoint(text: str) -> str:
    """Read `[http[s]://]host[:port][/path]`; kept as written."""
    _refuse_outer_spaces(text)
    cure = "write host, host:port or a URL such as http://localhost:9000"
    if _PRINTABLE.fullmatch(text) is None:
        raise WrongTextError(f"{cure}, without spaces")
    try:
        url = urlsplit(text if "://" in text else f"//{text}")
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise WrongTextError(f"{cure}: {error}") from error
    if "@" in url.netloc:
        raise WrongTextError("leave out user and password; credentials have keys of their own")
    if "?" in text or "#" in text:
        raise WrongTextError("leave out what begins with ? or #")
    if (
        url.scheme not in ("", "http", "https")
        or host in ("http", "https")
        or port == 0
        or not _is_host(host)
    ):
        raise WrongTextError(cure)
    return text


def read_name(text: str) -> str:
    """Read a short name of lower-case letters, digits, - and _."""
    _refuse_outer_spaces(text)
    if _NAME.fullmatch(text) is None:
        raise WrongTextError("write a name of lower-case letters, digits, - and _, such as none or amqtt")
    return text


def read_printable(text: str) -> str:
    """Read what travels in an HTTP header: printable ASCII without spaces."""
    _refuse_outer_spaces(text)
    if _PRINTABLE.fullmatch(text) is None:
        raise WrongTextError("write printable ASCII without spaces, as the store gave it")
    return text


def read_secret(text: str) -> Secret:
    """Read a secret: as `read_printable`, hidden from then on."""
    return Secret(read_printable(text))


def _matching(form: re.Pattern[str], cure: str) -> Callable[[str], str]:
    """Return a reader of texts that match `form` whole; `cure` says what to write instead of others."""

    def read(text: str) -> str:
        _refuse_outer_spaces(text)
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
    _refuse_outer_spaces(text)
    if _WHOLE.fullmatch(text) is None or not 0 < int(text) <= _PROCESS_ID_LIMIT:
        raise WrongTextError("write the id of a running process, such as 4711")
    return int(text)


def read_path(text: str) -> str:
    """Read the path of a file; whether it is there shows when it is opened."""
    if not text.strip() or find_forbidden(text) is not None:
        raise WrongTextError("write the path of a file")
    return text


def _refuse_outer_spaces(text: str) -> None:
    """Java keeps the spaces at the end of a line, so they would become a part of the value."""
    if text != text.strip():
        raise WrongTextError("remove the space around the value")
