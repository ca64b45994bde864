"""What goes over the wire: metadata, dates and S3's XML, to and from our own values.

Nothing that comes from the other side is trusted: entities are refused, sizes are the caller's to cap.
"""

import re
import xml.etree.ElementTree as ET  # for its types; s3discovery.xml parses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, unquote_plus

from s3discovery.bucket import Entry
from s3discovery.errors import StoreFaultError
from s3discovery.xml import NotXmlError, parse_xml

META = "x-amz-meta-"
# Printable ASCII that survives every header: not "%" (our escape), not " " (trimmed and folded by the
# signature), not "?" (some stores read "=?...?=" as an RFC 2047 word), not '"' and "\" (quoting).
_PLAIN = "!#$&'()*+,-./:;<=>@[]^_`{|}~"
_NOT_IN_ETAG = re.compile("[^!-~]")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: header names in lower case, the body as far as it was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def server_time_s(self) -> float | None:
        return parse_http_date(self.headers.get("date"))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; `token` asks for the next, None on the last."""

    entries: tuple[Entry, ...]
    token: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """S3's error document; empty texts where it says nothing."""

    code: str = ""
    message: str = ""
    region: str = ""
    server_time_s: float | None = None
    endpoint: str = ""


class NotS3Error(ValueError):
    """The body is not what S3 writes; the text says what is wrong with it."""


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the headers for user metadata: values percent-encoded UTF-8 wherever not plain ASCII."""
    return {META + key: quote(value, safe=_PLAIN) for key, value in metadata.items()}


def decode_metadata(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the user metadata among `headers`; others' may hold any bytes, and never fails."""
    found: dict[str, str] = {}
    for name, raw in headers:
        lower = name.lower()
        if not lower.startswith(META):
            continue
        text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        key, value = lower.removeprefix(META), unquote(text, errors="replace")
        found[key] = f"{found[key]},{value}" if key in found else value
    return found


def parse_http_date(text: str | None) -> float | None:
    """Return an HTTP date as Unix seconds; None if there is none, or one that cannot be read."""
    if text is None:
        return None
    try:
        return _unix_s(parsedate_to_datetime(text))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def parse_etag(text: str) -> str:
    """Return an ETag without its quotes, and without what no header could hold when it is sent back."""
    return _NOT_IN_ETAG.sub("", text).removeprefix("W/").strip('"')


def parse_page(body: bytes) -> Page:
    """Parse a ListObjectsV2 answer; raises NotS3Error, or StoreFaultError where it contradicts itself."""
    root, space = _parse(body)
    if root.tag != f"{space}ListBucketResult":
        raise NotS3Error(f"a document {root.tag[:40]!r} instead of a listing")
    encoded = root.findtext(f"{space}EncodingType") == "url"
    entries = tuple(_entry(node, space, encoded) for node in root.iterfind(f"{space}Contents"))
    if root.findtext(f"{space}IsTruncated", "false").strip().lower() != "true":
        return Page(entries, None)
    token = root.findtext(f"{space}NextContinuationToken")
    if not token:
        raise StoreFaultError("the store says that its listing goes on, but not where; it is no complete S3")
    return Page(entries, token)


def parse_refusal(body: bytes) -> Refusal:
    """Parse an error document; an empty Refusal if it is none, since errors come in any shape."""
    try:
        root, space = _parse(body)
    except NotS3Error:
        return Refusal()
    error = root if root.tag == f"{space}Error" else root.find(f"{space}Error")
    if error is None:
        return Refusal()
    return Refusal(
        code=error.findtext(f"{space}Code", "").strip(),
        message=error.findtext(f"{space}Message", "").strip(),
        region=error.findtext(f"{space}Region", "").strip(),
        endpoint=error.findtext(f"{space}Endpoint", "").strip(),
        server_time_s=_iso_or_none(error.findtext(f"{space}ServerTime")),
    )


def _parse(body: bytes) -> tuple[ET.Element, str]:
    """Return the root, and the name space in braces that its names begin with (S3's, or none)."""
    try:
        return parse_xml(body)
    except NotXmlError as error:
        raise NotS3Error(str(error)) from error


def _entry(node: ET.Element, space: str, encoded: bool) -> Entry:
    texts = {child.tag: child.text or "" for child in node}
    key = texts.get(f"{space}Key")
    if not key:
        raise NotS3Error("a listing with an entry without a key")
    try:
        modified_s = _iso_s(texts[f"{space}LastModified"])
        size = int(texts.get(f"{space}Size") or 0)
    except (KeyError, ValueError, OverflowError) as error:
        raise NotS3Error(f"a listing with an entry {key[:80]!r} that cannot be read ({error!r})") from error
    if encoded:
        key = unquote_plus(key, errors="surrogateescape")
    return Entry(key, parse_etag(texts.get(f"{space}ETag", "")), modified_s, size)


def _iso_or_none(text: str | None) -> float | None:
    try:
        return None if text is None else _iso_s(text)
    except (ValueError, OverflowError):
        return None


def _iso_s(text: str) -> float:
    return _unix_s(datetime.fromisoformat(text.strip()))


def _unix_s(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
