"""The least that AWS has to allow: an IAM policy for the bucket and prefix, and a lifecycle rule.

What is allowed is what `s3` asks for, no more: ListObjectsV2 below the prefix, and three verbs on the keys
there. A conditional DELETE needs the right to read as well (S3's user guide). Who may not list is not
told either that a key is missing (403 instead of 404): S3 asks then whether a listing with the whole key as
its prefix would be allowed, which is why the condition ends with a wildcard.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from s3discovery.aws.arns import read_access_point
from s3discovery.aws.regions import partition_of
from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.claim import claim_key
from s3discovery.settings.config import Settings
from s3discovery.settings.keys.ownership import DSSE, KMS

Document = Mapping[str, Any]

VERSION = "2012-10-17"  # the language's; an earlier one takes ${*} as it stands
_READ = ("s3:GetObject",)
_WRITE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
_DAY_S = 86_400.0
_ARN = "arn:"
_WITHOUT_FOUNDER = ("none", "amqtt", "hivemq")
_ALIAS = "-s3alias"  # what the aliases of access points end with
# Policies hold characters up to U+00FF only. Source: IAM's API reference, PutUserPolicy.
_BEYOND = re.compile(r"[^\x20-\xff]+")
_SPECIAL = re.compile(r"[*?]|\$(?=\{)")


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """A rule of the bucket: what begins with `prefix` and has all `tags` goes when nobody wrote it for
    `days` days."""

    bucket: str
    prefix: str
    days: int
    tags: Mapping[str, str]

    name = "s3discovery-dead-nodes"
    old_version_days = 1  # a bucket with versions keeps one for every refresh


def make_policy(settings: Settings, *, read_only: bool = False) -> Document:
    """Return the IAM policy of a node, or with `read_only` of those who only look."""
    return {"Version": VERSION, "Statement": list(_statements(settings, read_only=read_only))}


def make_lifecycle_rule(settings: Settings) -> LifecycleRule:
    """Return the rule that removes node files nobody refreshed; raises SettingsError where it would hurt.

    S3 counts whole days, so a rule clears away what no node clears; expiry stays with the nodes."""
    problems = list(_dangers(settings))
    if problems:
        raise SettingsError(problems)
    days = max(1, math.ceil(settings.file_expiration_s / _DAY_S))
    return LifecycleRule(settings.bucket_name, settings.file_prefix, days, dict(settings.object_tags or ()))


def remarks(settings: Settings) -> Iterator[str]:
    """Yield what a person should know before using the policy."""
    if settings.credentials_type == "anonymous":
        yield (
            "credentials-type:anonymous has no identity to attach this to; make it a bucket policy with a "
            "Principal, or choose another credentials-type"
        )
    if settings.bucket_name.endswith(_ALIAS):
        yield (
            f"{settings.bucket_name} is the alias of an access point, which policies do not know; set "
            "s3-bucket-name to the access point's ARN to get its policy"
        )
    if _BEYOND.search(settings.file_prefix):
        yield (
            "policies hold no characters beyond U+00FF: each run of them in file-prefix became *, which "
            "allows more than needed; choose another file-prefix to avoid that"
        )
    if _is_with_kms(settings) and settings.kms_key_id is None:
        yield (
            "any KMS key of this region is allowed, through S3 alone; set kms-key-id to allow that one, or "
            "remove the statement if it is AWS's own key aws/s3"
        )


def lifecycle_remarks(rule: LifecycleRule) -> Iterator[str]:
    """Yield what a person should know before using the rule."""
    yield (
        f"S3 counts whole days: what begins with {rule.prefix!r} goes at the midnight (UTC) after "
        f"{rule.days * 24} h without a refresh; dead nodes are told by file-expiration as ever"
    )
    yield "a bucket has one lifecycle configuration: if it has rules already, add this one to them"
    if rule.tags:
        yield "only files with all of object-tags go; other nodes, such as HiveMQ's, write none"


def _statements(settings: Settings, *, read_only: bool) -> Iterator[Document]:
    bucket = _bucket_arn(settings)
    listing: dict[str, Any] = {
        "Sid": "ListNodeFiles",
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [bucket],
    }
    patterns = list(_key_patterns(settings, read_only=read_only))
    # An empty prefix is the whole bucket, with a condition or without.
    if settings.file_prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": patterns}}
    yield listing
    yield {
        "Sid": "ReadNodeFiles" if read_only else "KeepNodeFiles",
        "Effect": "Allow",
        "Action": list(_READ if read_only else _write_actions(settings)),
        "Resource": [f"{_objects_arn(bucket)}{pattern}" for pattern in patterns],
    }
    if _is_with_kms(settings):
        yield _key_statement(settings, read_only=read_only)


def _write_actions(settings: Settings) -> Iterator[str]:
    yield from _WRITE
    if settings.acl:
        yield "s3:PutObjectAcl"
    if settings.object_tags:
        yield "s3:PutObjectTagging"


def _is_with_kms(settings: Settings) -> bool:
    return settings.server_side_encryption in (KMS, DSSE)


def _key_statement(settings: Settings, *, read_only: bool) -> Document:
    """Return what allows the use of the KMS key, through S3 in this region alone.

    Policies name keys by their ARN; an alias is a condition on the key. Source: KMS's developer guide."""
    region = _region(settings)
    partition, suffix = partition_of(region)
    key = settings.kms_key_id or ""
    keys = f"arn:{partition}:kms:{region}:*:key/"
    condition: dict[str, Any] = {"StringEquals": {"kms:ViaService": f"s3.{region}.{suffix}"}}
    owner, slash, alias = key.rpartition("alias/")
    if slash:
        condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": f"alias/{alias}"}
        resource = f"{owner}key/*" if owner else f"{keys}*"
    elif key.startswith(_ARN):
        resource = key
    else:
        resource = f"{keys}{key or '*'}"
    return {
        "Sid": "UseKeyOfNodeFiles",
        "Effect": "Allow",
        "Action": ["kms:Decrypt"] if read_only else ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": [resource],
        "Condition": condition,
    }


def _key_patterns(settings: Settings, *, read_only: bool) -> Iterator[str]:
    """Yield patterns of the keys that are used: node files, and the claim of brokers that have a founder."""
    yield f"{_literal(settings.file_prefix)}*"
    if not read_only and settings.file_prefix and _has_founder(settings):
        yield _literal(claim_key(settings))


def _has_founder(settings: Settings) -> bool:
    """Tell whether one node founds the cluster of such brokers. Of an unknown one that is taken for granted:
    a right too many is a key more, a right too few a cluster less."""
    if settings.broker == "command":
        return settings.command_join is not None
    return settings.broker not in _WITHOUT_FOUNDER


def _region(settings: Settings) -> str:
    """Return the region of the bucket; an access point's ARN names its own."""
    if settings.bucket_name.startswith(_ARN):
        return read_access_point(settings.bucket_name).region
    return settings.bucket_region


def _bucket_arn(settings: Settings) -> str:
    if settings.bucket_name.startswith(_ARN):
        return str(read_access_point(settings.bucket_name))
    partition, _ = partition_of(settings.bucket_region)
    return f"arn:{partition}:s3:::{settings.bucket_name}"


def _objects_arn(bucket: str) -> str:
    """Return what the ARN of every object begins with; an access point has a word of its own before them."""
    return f"{bucket}/object/" if ":accesspoint/" in bucket else f"{bucket}/"


def _literal(text: str) -> str:
    """Return a pattern that matches `text` itself, as far as policies can hold it."""
    return _BEYOND.sub("*", _SPECIAL.sub(lambda found: f"${{{found[0]}}}", text))


def _dangers(settings: Settings) -> Iterator[Problem]:
    if settings.bucket_name.startswith(_ARN) or settings.bucket_name.endswith(_ALIAS):
        cure = "name the bucket itself: a lifecycle rule belongs to it, not to an access point"
        yield Problem("s3-bucket-name", settings.bucket_name, cure)
    if not settings.file_prefix:
        cure = "choose a prefix that only node files have: the rule would remove everything in the bucket"
        yield Problem("file-prefix", "", cure)
    if settings.file_expiration_s == 0:
        cure = "choose a duration, and an update-interval: the rule would remove files of living nodes"
        yield Problem("file-expiration", "0", cure)
