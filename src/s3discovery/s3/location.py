"""Where a bucket is: from region, name and endpoint to the URL of every key."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from s3discovery.errors import Problem, SettingsError
from s3discovery.regions import partition_of

PAGE_KEYS = 1000  # S3's own maximum

# A label that can stand in front of the endpoint's host name; dots would break the TLS certificate's `*`.
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_HOST_LABELS = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII
)
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_ENDPOINT_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*", re.ASCII)
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket's place: `endpoint` as shown to people, `root` the bucket's own URL, and `base` the URL
    that a slash and a key are appended to."""

    bucket: str
    region: str
    partition: str
    endpoint: str
    root: str
    base: str
    is_aws: bool

    def object_url(self, key: str) -> str:
        """Return the URL of `key`, byte for byte: no segment is ever normalised."""
        return f"{self.base}/{_quote(key, safe='/')}"

    def list_url(self, prefix: str, token: str | None) -> str:
        """Return the URL of one page of ListObjectsV2, the next one when there is a `token`."""
        query = f"list-type=2&prefix={_quote(prefix)}&max-keys={PAGE_KEYS}"
        if token is not None:
            query += f"&continuation-token={_quote(token)}"
        return f"{self.root}?{query}&encoding-type=url"

    def arn(self, key: str | None = None) -> str:
        """Return the ARN of the bucket, or of an object in it, as an IAM policy names it."""
        resource = self.bucket if key is None else f"{self.bucket}/{key}"
        return f"arn:{self.partition}:s3:::{resource}"


def locate(bucket: str, region: str, endpoint: str | None = None, path_style: bool | None = None) -> Location:
    """Return where `bucket` is.

    `endpoint` is a URL, or a host with or without a port (then https); None is AWS's own of `region`.
    `path_style` None: the bucket goes into the path for an endpoint of one's own and for names that
    cannot be a host label, else in front of the host. Raises SettingsError."""
    if _REGION.fullmatch(region) is None:
        raise _wrong("s3-bucket-region", region, "write a region such as eu-central-1")
    if not bucket:
        raise _wrong("s3-bucket-name", bucket, "write the bucket's name")
    partition, suffix = partition_of(region)
    if endpoint is None:
        scheme, authority, path = "https", f"s3.{region}.{suffix}", ""
    else:
        scheme, authority, path = _parse_endpoint(endpoint)
    if path_style is None:
        path_style = endpoint is not None
    if path_style or not _fits_host(bucket, scheme, authority):
        root = base = f"{scheme}://{authority}{path.rstrip('/')}/{_quote(bucket)}"
    else:
        root = f"{scheme}://{bucket}.{authority}{path or '/'}"
        base = root.rstrip("/")
    shown = f"{scheme}://{authority}{path.rstrip('/')}"
    return Location(bucket, region, partition, shown, root, base, endpoint is None)


def _parse_endpoint(endpoint: str) -> tuple[str, str, str]:
    """Return scheme, host with port, and path as written."""
    url = endpoint if "://" in endpoint else f"https://{endpoint}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong("s3-endpoint", endpoint, "write http(s)://host:port, with a port in 1..65535") from None
    if parts.scheme not in ("http", "https"):
        raise _wrong("s3-endpoint", endpoint, "write a URL that begins with http:// or https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise _wrong("s3-endpoint", endpoint, "write http(s)://host:port/path alone: no user, query or #")
    if host is None or not _is_host(host) or port == 0:
        raise _wrong("s3-endpoint", endpoint, "write a host name or an IP address ([...] around IPv6)")
    if _ENDPOINT_PATH.fullmatch(parts.path) is None:
        raise _wrong("s3-endpoint", endpoint, "percent-encode its path")
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port is None else f"{shown}:{port}"
    return parts.scheme, authority, parts.path


def _is_host(host: str) -> bool:
    return _is_ip(host) or _HOST_NAME.fullmatch(host) is not None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _fits_host(bucket: str, scheme: str, authority: str) -> bool:
    """Tell whether the bucket's name can stand before the endpoint's host."""
    host = urlsplit(f"//{authority}").hostname or ""
    if _is_ip(host) or _is_ip(bucket):
        return False
    if _HOST_LABEL.fullmatch(bucket):
        return True
    return scheme == "http" and 3 <= len(bucket) <= 63 and _HOST_LABELS.fullmatch(bucket) is not None


def _quote(text: str, *, safe: str = "") -> str:
    # Keys that are no UTF-8 arrive as surrogates and leave as the same bytes.
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


def _wrong(key: str, value: str, cure: str) -> SettingsError:
    return SettingsError([Problem(key, value, cure)])
