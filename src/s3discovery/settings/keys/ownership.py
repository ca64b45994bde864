"""Whose the node files are and how they are encrypted: what is sent beside them.

What contradicts what among these keys is here as well, since it is S3's own rule.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from s3discovery.ip import ip_of
from s3discovery.settings import kinds
from s3discovery.settings.keys.key import Key
from s3discovery.settings.kinds import WrongTextError

AES256 = "AES256"
KMS = "aws:kms"
DSSE = "aws:kms:dsse"
# S3's canned ACLs of objects.
ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
# Source: S3's documentation of object tags; lengths are UTF-16 code units.
_TAGS_LIMIT = 10
_TAG_KEY_LIMIT = 128
_TAG_VALUE_LIMIT = 256
_TAG_TEXT = re.compile(r"[\w +\-=.:/@]*")
_BETWEEN_TAGS = re.compile("[,&]")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_KMS_KEY = re.compile(r"[A-Za-z0-9:/_.@-]{1,2048}", re.ASCII)

Tags = tuple[tuple[str, str], ...]


def read_account(text: str) -> str:
    """Read the id of an AWS account: 12 digits, leading zeros included."""
    if _ACCOUNT.fullmatch(text) is None:
        raise WrongTextError("write the 12 digits of the account's id, such as 123456789012, without hyphens")
    return text


def read_kms_key(text: str) -> str:
    """Read what names a KMS key: its id, ARN or alias; stores of other makers have forms of their own."""
    if _KMS_KEY.fullmatch(text) is None:
        raise WrongTextError("write the id, the ARN or the alias of a KMS key, such as alias/mqtt")
    return text


def read_tags(text: str) -> Tags:
    """Read `key=value` pairs, separated by a comma or by & as S3's header has them.

    %XX stands for a byte of UTF-8, and + for itself. Raises WrongTextError beyond S3's limits."""
    tags: dict[str, str] = {}
    for pair in _BETWEEN_TAGS.split(text):
        raw_key, between, raw_value = pair.partition("=")
        try:
            key, value = (
                unquote(raw_key.strip(), errors="strict"),
                unquote(raw_value.strip(), errors="strict"),
            )
        except UnicodeDecodeError:
            raise WrongTextError("write UTF-8 behind every %, or no % at all") from None
        if not between or not key:
            raise WrongTextError(
                "write key=value pairs with a comma between them, such as team=iot,stage=prod"
            )
        _check_tag(key, value)
        if key in tags:
            raise WrongTextError(f"write each key once; {key!r} comes twice")
        tags[key] = value
    if len(tags) > _TAGS_LIMIT:
        raise WrongTextError(f"write at most {_TAGS_LIMIT} tags; an object of S3 has no more")
    return tuple(tags.items())


def _check_tag(key: str, value: str) -> None:
    if key.lower().startswith("aws:"):
        raise WrongTextError(f"write another key than {key!r}; those that begin with aws: are AWS's own")
    for what, part, limit in (("key", key, _TAG_KEY_LIMIT), ("value", value, _TAG_VALUE_LIMIT)):
        if len(part.encode("utf-16-le")) // 2 > limit:
            raise WrongTextError(f"write at most {limit} characters for the {what} of a tag")
        if _TAG_TEXT.fullmatch(part) is None:
            raise WrongTextError(f"write letters, digits, spaces and + - = . _ : / @ alone, not {part!r}")


def show_tags(tags: Tags) -> str:
    """Write tags as `read_tags` understands them."""
    pairs = (f"{key.replace('=', '%3D')}={value}" for key, value in tags)
    return ",".join(pair.replace(" ", "%20") for pair in pairs)


OWNERSHIP: tuple[Key, ...] = (
    Key(
        "server-side-encryption",
        "server_side_encryption",
        kinds.one_of(AES256, KMS, DSSE),
        "How the store encrypts the node files that this node writes: AES256, aws:kms or aws:kms:dsse; as "
        "the bucket's default says if not set.",
        KMS,
    ),
    Key(
        "kms-key-id",
        "kms_key_id",
        read_kms_key,
        "Id, ARN or alias of the key, with server-side-encryption aws:kms or aws:kms:dsse; the account's own "
        "key for S3 if not set.",
        "alias/mqtt",
    ),
    Key(
        "bucket-key",
        "bucket_key",
        kinds.read_flag,
        "Whether a key of the bucket spares requests to KMS, with server-side-encryption aws:kms; as the "
        "bucket's default says if not set.",
        "true",
        show=kinds.show_flag,
    ),
    Key(
        "sse-customer-key-file",
        "sse_customer_key_file",
        kinds.read_path,
        "File with the key (32 bytes, raw or in base64) that node files are encrypted and read with (SSE-C): "
        "the same for all nodes. The key is sent with every request, so over https alone.",
        "/run/secrets/s3-customer-key",
    ),
    Key(
        "acl",
        "acl",
        kinds.one_of(*ACLS),
        f"Canned ACL of the node files that this node writes: {', '.join(ACLS[:-1])} or {ACLS[-1]}.",
        "bucket-owner-full-control",
    ),
    Key(
        "requester-pays",
        "requester_pays",
        kinds.read_flag,
        "true agrees to pay for the requests, as a bucket of type requester-pays asks for.",
        "true",
        default="false",
        show=kinds.show_flag,
    ),
    Key(
        "expected-bucket-owner",
        "expected_bucket_owner",
        read_account,
        "Account that must own the bucket; the store refuses every request if another one does.",
        "123456789012",
    ),
    Key(
        "object-tags",
        "object_tags",
        read_tags,
        "Tags of the node files that this node writes, such as for a lifecycle rule: key=value pairs with a "
        "comma (or &) between them, at most 10.",
        "team=iot,stage=production",
        show=show_tags,
    ),
)


def clashes(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between these keys, as (key, cure); `found` is values by attribute."""
    encryption = found.get("server_side_encryption")
    # What is not among `found` was written wrong, and has been reported already.
    if found.get("kms_key_id") and encryption not in (KMS, DSSE) and "server_side_encryption" in found:
        yield (
            "kms-key-id",
            f"write server-side-encryption:{KMS} too, or leave this out: no other uses a KMS key",
        )
    if found.get("bucket_key") is not None and encryption != KMS and "server_side_encryption" in found:
        yield "bucket-key", f"leave it out, or write server-side-encryption:{KMS}: no other has bucket keys"
    if found.get("sse_customer_key_file"):
        if encryption:
            yield (
                "sse-customer-key-file",
                "leave out either this or server-side-encryption: an object is encrypted in one way",
            )
        if _is_overheard(found.get("endpoint") or ""):
            yield "sse-customer-key-file", "write an s3-endpoint with https://: the key travels with requests"
    if found.get("requester_pays") and found.get("credentials_type") == "anonymous":
        yield "requester-pays", "write false, or another credentials-type: who is anonymous cannot pay"


def _is_overheard(endpoint: str) -> bool:
    """Tell whether what is sent to `endpoint` leaves the machine unencrypted."""
    url = urlsplit(endpoint)
    host = (url.hostname or "").rstrip(".")
    if url.scheme != "http" or host == "localhost":
        return False
    ip = ip_of(host)
    return ip is None or not ip.is_loopback
