"""The key of SSE-C, read from its file; it is shown nowhere."""

import base64
import binascii
from pathlib import Path

from s3discovery.errors import Problem, SettingsError
from s3discovery.s3.ownership import CustomerKey

KEY_BYTES = 32  # AES-256
_LIMIT_BYTES = 1024  # base64 of a key has 44; more is another file
_MAKE = "make one with: openssl rand -base64 32"


def read_customer_key(path: str) -> CustomerKey:
    """Return the key in the file: 32 bytes, or base64 of them; raises SettingsError."""
    try:
        with Path(path).open("rb") as file:
            found = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise _wrong(path, f"does not exist; write the key into it ({_MAKE}), or name another") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or "no path"
        may_not = isinstance(error, PermissionError)
        cure = "give this user the right to, or name another" if may_not else "name a file"
        raise _wrong(path, f"cannot be read ({why}); {cure}") from error
    raw = found if len(found) == KEY_BYTES else _decode(found)
    if len(raw) != KEY_BYTES:
        raise _wrong(path, f"must hold {KEY_BYTES} bytes, raw or in base64, and nothing else; {_MAKE}")
    return CustomerKey.of(raw)


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return b""


def _wrong(path: str, cure: str) -> SettingsError:
    return SettingsError([Problem("sse-customer-key-file", path, cure)])
