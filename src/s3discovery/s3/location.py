"""Where a bucket is: from region, name and endpoint to the URL of every key."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from s3discovery.aws.regions import (
    bucket_before_s3,
    has_fips,
    host_in_region,
    is_aws_host,
    is_region,
    partition_of,
    s3_host,
)
from s3discovery.errors import Problem, SettingsError
from s3discovery.ip import ip_of

if TYPE_CHECKING:
    from s3discovery.aws.arns import AccessPoint

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
class Wish:
    """What the settings say of the way to a bucket, beside its name and region."""

    endpoint: str | None = None
    path_style: bool | None = None
    dual_stack: bool = False
    fips: bool = False


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket's place: `endpoint` as shown to people, `root` the bucket's own URL, and `base` the URL
    that a slash and a key are appended to. `region` is signed for; `is_aws` tells AWS from other stores."""

    bucket: str
    region: str
    partition: str
    endpoint: str
    root: str
    base: str
    is_aws: bool
    access_point: "AccessPoint | None" = None
    wish: Wish = field(default=Wish(), repr=False)

    @property
    def is_path_style(self) -> bool:
        """Whether the bucket's name stands in the path, not before the host."""
        return self.root.startswith(f"{self.endpoint}/")

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
        if self.access_point is not None:
            return str(self.access_point) if key is None else f"{self.access_point}/object/{key}"
        resource = self.bucket if key is None else f"{self.bucket}/{key}"
        return f"arn:{self.partition}:s3:::{resource}"

    def in_region(self, region: str) -> "Location | None":
        """Return where the bucket is if it is in `region`, as a store says; None where that cannot be.

        AWS's hosts change with it, within the partition, as credentials hold for no other; at an endpoint of
        one's own the region is signed for, and nothing else. An access point's ARN names its region."""
        if self.access_point is not None or not is_region(region, of_aws=self.is_aws):
            return None
        if self.is_aws and partition_of(region)[0] != self.partition:
            return None
        return _locate(self.bucket, region, self.wish, moved=True)


def locate(
    bucket: str,
    region: str,
    endpoint: str | None = None,
    path_style: bool | None = None,
    *,
    dual_stack: bool = False,
    fips: bool = False,
) -> Location:
    """Return where `bucket` is, a name or the ARN of an access point, whose region then wins.

    `endpoint` is a URL, or a host with or without a port (then https); None is AWS's own of `region`, which
    `dual_stack` and `fips` choose among. `path_style` None: the bucket goes into the path at stores other
    than AWS and for names that cannot be a host label, else in front of the host. Raises SettingsError."""
    return _locate(bucket, region, Wish(endpoint, path_style, dual_stack, fips))


def _locate(bucket: str, region: str, wish: Wish, *, moved: bool = False) -> Location:
    if _REGION.fullmatch(region) is None:
        raise _wrong("s3-bucket-region", region, "write a region such as eu-central-1")
    if not bucket:
        raise _wrong("s3-bucket-name", bucket, "write the bucket's name")
    access_point = _read_access_point(bucket, region)
    if access_point is not None:
        region = access_point.region
    if wish.endpoint is None:
        if wish.fips and not has_fips(region):
            raise _wrong("s3-fips", "true", f"leave it out: S3 has no FIPS hosts in {region}")
        host = s3_host(
            region, dual_stack=wish.dual_stack, fips=wish.fips, access_point=access_point is not None
        )
        scheme, authority, path, is_aws = "https", host, "", True
    else:
        scheme, authority, path, is_aws = _own_endpoint(wish, region if moved else None)
    if is_aws:
        _check_name(bucket)
    shown = f"{scheme}://{authority}{path.rstrip('/')}"
    label = bucket if access_point is None else access_point.label
    path_style = wish.path_style if wish.path_style is not None else not is_aws
    if access_point is not None:
        _check_access_point(wish, authority)
        path_style = False
    if path_style or not _fits_host(label, scheme, authority):
        root = base = f"{shown}/{_quote(label)}"
    else:
        root = f"{scheme}://{label}.{authority}{path or '/'}"
        base = root.rstrip("/")
    partition = partition_of(region)[0]
    return Location(bucket, region, partition, shown, root, base, is_aws, access_point, wish)


def _read_access_point(bucket: str, region: str) -> "AccessPoint | None":
    if not bucket.startswith("arn:"):
        return None
    from s3discovery.aws.arns import WrongArnError, read_access_point  # few buckets are written so

    try:
        found = read_access_point(bucket)
    except WrongArnError as error:
        raise _wrong("s3-bucket-name", bucket, str(error)) from error
    if is_region(region, of_aws=True) and partition_of(region)[0] != found.partition:
        cure = f"write s3-bucket-region:{found.region}, the access point's own; this is another partition"
        raise _wrong("s3-bucket-region", region, cure)
    return found


def _check_name(bucket: str) -> None:
    """Refuse the names that AWS reserves for what is no bucket as we need one."""
    if not bucket.endswith(("-s3", ".mrap")):
        return
    from s3discovery.aws.arns import why_not_a_bucket

    if (reason := why_not_a_bucket(bucket)) is not None:
        raise _wrong("s3-bucket-name", bucket, reason)


def _check_access_point(wish: Wish, authority: str) -> None:
    if wish.path_style:
        raise _wrong("s3-path-style-access", "true", "leave it out: access points are reached by host alone")
    if ip_of(urlsplit(f"//{authority}").hostname or "") is not None:
        raise _wrong("s3-endpoint", wish.endpoint or "", "write a host name: access points stand before it")


def _own_endpoint(wish: Wish, moved_to: str | None) -> tuple[str, str, str, bool]:
    """Return scheme, host with port, path, and whether that is AWS; `moved_to` another region."""
    endpoint = wish.endpoint or ""
    if wish.dual_stack or wish.fips:
        key = "s3-dual-stack" if wish.dual_stack else "s3-fips"
        raise _wrong(
            key, "true", "leave out either this or s3-endpoint: it chooses among AWS's own endpoints"
        )
    scheme, authority, path = _parse_endpoint(endpoint)
    host = urlsplit(f"//{authority}").hostname or ""
    if not is_aws_host(host):
        return scheme, authority, path, False
    if before := bucket_before_s3(host):
        raise _wrong("s3-endpoint", endpoint, f"leave out {before!r}: the bucket's name is put there")
    if moved_to is not None:
        authority = authority.replace(host, host_in_region(host, moved_to), 1)
    return scheme, authority, path, True


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
    return ip_of(host) is not None or _HOST_NAME.fullmatch(host) is not None


def _fits_host(bucket: str, scheme: str, authority: str) -> bool:
    """Tell whether the bucket's name can stand before the endpoint's host."""
    host = urlsplit(f"//{authority}").hostname or ""
    if ip_of(host) is not None or ip_of(bucket) is not None:
        return False
    if _HOST_LABEL.fullmatch(bucket):
        return True
    return scheme == "http" and 3 <= len(bucket) <= 63 and _HOST_LABELS.fullmatch(bucket) is not None


def _quote(text: str, *, safe: str = "") -> str:
    # Keys that are no UTF-8 arrive as surrogates and leave as the same bytes.
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


def _wrong(key: str, value: str, cure: str) -> SettingsError:
    return SettingsError([Problem(key, value, cure)])
