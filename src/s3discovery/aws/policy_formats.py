"""How a policy and a lifecycle rule are written: JSON for the AWS CLI, CloudFormation, Terraform.

All of it is ASCII, so that no terminal or pipe can spoil it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence

from s3discovery.aws.policy import Document, LifecycleRule

_CLOUDFORMATION = "2010-09-09"
_DESCRIPTION = "What a node of s3discovery needs"
_READER_DESCRIPTION = "What an observer of s3discovery needs"
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def render_policy(policy: Document, form: str, *, read_only: bool = False) -> str:
    """Return `policy` as a document of `form`, one of FORMATS."""
    description = _READER_DESCRIPTION if read_only else _DESCRIPTION
    return _POLICY_FORMATS[form](policy, description)


def render_lifecycle(rule: LifecycleRule, form: str) -> str:
    """Return `rule` as a document of `form`, one of FORMATS."""
    return _LIFECYCLE_FORMATS[form](rule)


def _policy_json(policy: Document, _: str) -> str:
    return _json(policy)


def _policy_cloudformation(policy: Document, description: str) -> str:
    resource = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Description": description, "PolicyDocument": policy},
    }
    return _json(
        {
            "AWSTemplateFormatVersion": _CLOUDFORMATION,
            "Description": f"{description}: attach the policy to its role or user.",
            "Resources": {"S3DiscoveryPolicy": resource},
            "Outputs": {"PolicyArn": {"Value": {"Ref": "S3DiscoveryPolicy"}}},
        }
    )


def _policy_terraform(policy: Document, description: str) -> str:
    lines = (
        'resource "aws_iam_policy" "s3discovery" {',
        '  name_prefix = "s3discovery-"',
        f"  description = {_quote(description)}",
        f"  policy      = jsonencode({_hcl(policy, 1)})",
        "}",
    )
    return "\n".join(lines) + "\n"


def _lifecycle_json(rule: LifecycleRule) -> str:
    """As `aws s3api put-bucket-lifecycle-configuration` takes it."""
    tags = [{"Key": key, "Value": value} for key, value in rule.tags.items()]
    chosen = {"And": {"Prefix": rule.prefix, "Tags": tags}} if tags else {"Prefix": rule.prefix}
    return _json(
        {
            "Rules": [
                {
                    "ID": rule.name,
                    "Status": "Enabled",
                    "Filter": chosen,
                    "Expiration": {"Days": rule.days},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": rule.old_version_days},
                }
            ]
        }
    )


def _lifecycle_cloudformation(rule: LifecycleRule) -> str:
    """CloudFormation knows lifecycle rules only as a part of the bucket."""
    tags = [{"Key": key, "Value": value} for key, value in rule.tags.items()]
    bucket = {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": rule.bucket,
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": rule.name,
                        "Status": "Enabled",
                        "Prefix": rule.prefix,
                        **({"TagFilters": tags} if tags else {}),
                        "ExpirationInDays": rule.days,
                        "NoncurrentVersionExpiration": {"NoncurrentDays": rule.old_version_days},
                    }
                ]
            },
        },
    }
    return _json(
        {
            "AWSTemplateFormatVersion": _CLOUDFORMATION,
            "Description": "A bucket that removes node files of s3discovery nobody refreshed; import it if "
            "it exists, or take its LifecycleConfiguration over into your own template.",
            "Resources": {"NodeFiles": bucket},
        }
    )


def _lifecycle_terraform(rule: LifecycleRule) -> str:
    chosen = [f"      prefix = {_quote(rule.prefix)}"]
    if rule.tags:
        tags = [f"          {_quote(key)} = {_quote(value)}" for key, value in rule.tags.items()]
        chosen = ["      and {", f"    {chosen[0]}", "        tags = {", *tags, "        }", "      }"]
    lines = (
        'resource "aws_s3_bucket_lifecycle_configuration" "s3discovery" {',
        f"  bucket = {_quote(rule.bucket)}",
        "",
        "  rule {",
        f"    id     = {_quote(rule.name)}",
        '    status = "Enabled"',
        "",
        "    filter {",
        *chosen,
        "    }",
        "",
        "    expiration {",
        f"      days = {rule.days}",
        "    }",
        "",
        "    noncurrent_version_expiration {",
        f"      noncurrent_days = {rule.old_version_days}",
        "    }",
        "  }",
        "}",
    )
    return "\n".join(lines) + "\n"


def _json(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def _hcl(value: object, depth: int) -> str:
    """Return a value as an expression of HCL, its lines indented by `depth` steps but for the first."""
    inner, outer = "  " * (depth + 1), "  " * depth
    match value:
        case str():
            return _quote(value)
        case Mapping():
            names = [(name if _WORD.fullmatch(name) else _quote(name), each) for name, each in value.items()]
            width = max(len(name) for name, _ in names)
            rows = [f"{inner}{name:{width}} = {_hcl(each, depth + 1)}" for name, each in names]
            return "\n".join(["{", *rows, f"{outer}}}"])
        case Sequence():
            if all(isinstance(each, str) for each in value):
                return f"[{', '.join(_hcl(each, depth) for each in value)}]"
            rows = [f"{inner}{_hcl(each, depth + 1)}," for each in value]
            return "\n".join(["[", *rows, f"{outer}]"])
        case _:
            return json.dumps(value)


def _quote(text: str) -> str:
    """Return a string of HCL; ${ and %{ would begin a template."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${").replace("%{", "%%{")
    return f'"{"".join(_ascii(char) for char in escaped)}"'


def _ascii(char: str) -> str:
    code = ord(char)
    if 0x20 <= code < 0x7F:
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


_POLICY_FORMATS: Mapping[str, Callable[[Document, str], str]] = {
    "json": _policy_json,
    "cloudformation": _policy_cloudformation,
    "terraform": _policy_terraform,
}
_LIFECYCLE_FORMATS: Mapping[str, Callable[[LifecycleRule], str]] = {
    "json": _lifecycle_json,
    "cloudformation": _lifecycle_cloudformation,
    "terraform": _lifecycle_terraform,
}
FORMATS = tuple(_POLICY_FORMATS)
