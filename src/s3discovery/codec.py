"""Node files as bytes, in the two formats that HiveMQ's S3 discovery reads and writes.

The rule: what the original Java code reads, we read with the same result, and what we write it reads,
except where a file could not be of a living node or could do harm (docs/design.md lists each case).
A body is base64 of fields joined by `||||`; version 1 ends with a separator, version 4 does not.
"""

import base64
import binascii
import re
import string

from s3discovery.errors import AddressError, CodecError
from s3discovery.node import Address, NodeFile, check_cluster_id

VERSIONS = ("1", "4")
# A body of the longest id and host that anything writes is far below this; more is not a node file.
BODY_LIMIT = 8192  # bytes

_SEPARATOR = "||||"
_FIELDS = 5
_ALPHABET = frozenset(string.ascii_letters + string.digits + "+/")
_INTEGER = re.compile(r"[+-]?\d{1,32}")  # what Java's Long.parseLong takes: any Unicode digits
_LONG_MAX = 2**63 - 1
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


def encode(node_file: NodeFile, version: str) -> bytes:
    """Return the body that stands for `node_file` in format `version` ("1" or "4").

    Raises CodecError for an unknown version, or an id or host that would not be read back as written."""
    if version not in VERSIONS:
        raise CodecError(f"node file version {version!r} is unknown; use one of {', '.join(VERSIONS)}")
    host, cluster_id = node_file.address.host, check_cluster_id(node_file.cluster_id)
    fields = [version, str(node_file.written_ms), cluster_id, host, str(node_file.address.port)]
    text = _SEPARATOR.join(fields)
    if text.split(_SEPARATOR) != fields:
        raise CodecError(
            f"cluster id {cluster_id!r} or host {host!r} would blur with the separator {_SEPARATOR!r}"
        )
    if version == "1":
        text += _SEPARATOR
    return base64.b64encode(text.encode())


def decode(body: bytes) -> NodeFile:
    """Return what a node file's body says; raises CodecError with the reason if it says nothing usable."""
    if len(body) > BODY_LIMIT:
        raise CodecError(f"{len(body)} bytes are too many for a node file (at most {BODY_LIMIT})")
    text = body.decode("latin-1")
    fields = _split(_decode_base64(text))
    if len(fields) < _FIELDS:
        raise CodecError(f"has {len(fields)} fields instead of {_FIELDS}")
    version, written, cluster_id, host, port = fields[:_FIELDS]
    if version not in VERSIONS:
        raise CodecError(f"has version {version[:20]!r}, known are {' and '.join(VERSIONS)}")
    written_ms = _integer(written, "timestamp")
    if version == "4":
        _check_strict(text, fields, written_ms)
    try:
        address = Address(host, _integer(port, "port"))
    except AddressError as error:
        raise CodecError(str(error)) from error
    return NodeFile(version, written_ms, check_cluster_id(cluster_id), address)


def _decode_base64(text: str) -> str:
    """Decode the first line, padding optional and excess padding ignored, as the version-1 reader does."""
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    digits = line.rstrip("=")
    if not digits:
        raise CodecError("is empty")
    if not _ALPHABET.issuperset(digits):
        raise CodecError("is not base64")
    try:
        data = base64.b64decode(digits + "=" * (-len(digits) % 4))
    except binascii.Error as error:
        raise CodecError(f"is not base64: {error}") from error
    # Java turns an encoded surrogate into one replacement character, Python into three.
    return _SURROGATE.sub("\ufffd".encode(), data).decode("utf-8", errors="replace")


def _split(text: str) -> list[str]:
    """Split as Java does: empty fields at the end do not count."""
    fields = text.split(_SEPARATOR)
    while fields and not fields[-1]:
        fields.pop()
    return fields


def _check_strict(text: str, fields: list[str], written_ms: int) -> None:
    """Refuse what the version-4 reader refuses: other fields, anything around the base64, no time."""
    if len(fields) != _FIELDS:
        raise CodecError(f"has {len(fields)} fields instead of {_FIELDS}")
    digits = text.rstrip("=")
    if not _ALPHABET.issuperset(digits) or len(text) not in (len(digits), len(digits) + -len(digits) % 4):
        raise CodecError("has more than the base64 text")
    if written_ms <= 0:
        raise CodecError(f"timestamp {written_ms} is not positive")


def _integer(text: str, name: str) -> int:
    if _INTEGER.fullmatch(text) is None or not -_LONG_MAX - 1 <= (number := int(text)) <= _LONG_MAX:
        raise CodecError(f"{name} {text[:40]!r} is not a whole number of 64 bits")
    return number
