"""Durations in settings: a number with a unit, or a bare number in the unit of the key."""

import re
from decimal import Decimal

from s3discovery.settings.hivemq_4 import decode_long
from s3discovery.settings.kinds import WrongTextError, refuse_outer_spaces

DURATION_LIMIT_S = 10 * 365 * 86_400.0  # ten years: longer is a slip of the pen, not a wish
SHORTEST_S = 0.1  # below it a node would do nothing but ask
POLL_LIMIT_S = 86_400.0
_ZERO_IS_OFF = "; 0 switches it off"
_UNITS_S = {
    "d": Decimal(86_400),
    "h": Decimal(3_600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
# \d is what Java's Character.digit takes: every decimal digit of Unicode. 40 digits: more is no number.
_NO_OCTAL = re.compile(r"[+-]?0[0-9]+", re.ASCII)
_NUMBER = re.compile(r"([+-]?)(\d{1,40}(?:\.\d{1,40})?)(ms|[smhd])?")


def read_minutes(text: str) -> float:
    """Read a duration to seconds; a bare whole number is minutes (the original plugin's unit).

    0 is "never"."""
    return _within_limits(_read_duration(text, bare="m", whole=True), zero=_ZERO_IS_OFF)


def read_seconds(text: str) -> float:
    """Read a duration to seconds; a bare number is seconds, hexadecimal or octal as HiveMQ 4 reads it.

    0 is "never"."""
    number = decode_long(text)
    if number is None and _NO_OCTAL.fullmatch(text):
        raise WrongTextError("write the number without a 0 before it: HiveMQ 4 reads it as octal, and fails")
    seconds = _read_duration(text if number is None else str(number), bare="s", whole=True)
    return _within_limits(seconds, zero=_ZERO_IS_OFF)


def read_poll_interval(text: str) -> float:
    """Read a duration of 0.1 s to a day; a bare number is seconds."""
    seconds = _read_duration(text, bare="s", whole=False)
    if not SHORTEST_S <= seconds <= POLL_LIMIT_S:
        raise WrongTextError("write a duration from 100ms to 1d, such as 60s")
    return seconds


def read_wait(text: str) -> float:
    """Read a duration to seconds, 0 included, which means what the key says; a bare number is seconds."""
    return _within_limits(_read_duration(text, bare="s", whole=False), zero=", or 0")


def _read_duration(text: str, *, bare: str, whole: bool) -> float:
    """Return seconds, however many, and be they negative."""
    refuse_outer_spaces(text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise WrongTextError("write a number with a unit of ms, s, m, h or d, such as 90s or 6h")
    sign, number, unit = match.groups()
    if unit is None and whole and "." in number:
        raise WrongTextError(f"write a unit with a fraction: {number}{bare}")
    seconds = float(Decimal(number) * _UNITS_S[unit or bare])
    return -seconds if sign == "-" and seconds > 0 else seconds


def _within_limits(seconds: float, *, zero: str) -> float:
    """Return `seconds` unless they are no wait; `zero` is what is to be said of 0."""
    if seconds < 0 or 0 < seconds < SHORTEST_S:
        raise WrongTextError(f"write at least 100ms{zero}")
    if seconds >= DURATION_LIMIT_S:
        raise WrongTextError(f"write less than ten years{zero}")
    return seconds


def show_duration(seconds: float) -> str:
    """Write a duration in the largest unit that makes it whole, as the readers understand it."""
    exact = Decimal(repr(seconds))
    for unit, length in _UNITS_S.items():
        if exact and exact % length == 0:
            return f"{int(exact / length)}{unit}"
    return f"{exact.normalize():f}s"
