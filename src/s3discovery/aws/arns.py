"""ARNs of access points, which can stand for the bucket's name; others are refused with the reason."""

import re
from dataclasses import dataclass

from s3discovery.aws.regions import is_region, partition_of

_ACCOUNT = "[0-9]{12}"
_NAME = "[a-z0-9][a-z0-9-]{1,48}[a-z0-9]"
_FORM = "arn:aws:s3:eu-west-1:123456789012:accesspoint/name"
_INSTEAD = "write the name of the bucket, or the ARN or alias of one of its access points"
_OTHER_SERVICES = {
    "s3-outposts": "S3 on Outposts is not supported, as no node outside could reach it",
    "s3-object-lambda": "Object Lambda is not supported, as it may change node files on their way",
    "s3express": "directory buckets (S3 Express) are not supported, as they have another way of signing",
    "s3tables": "table buckets are not supported, as they hold no objects",
}
# What AWS reserves as the end of names that are no general-purpose buckets.
_OTHER_ENDINGS = {
    "--x-s3": _OTHER_SERVICES["s3express"],
    "--xa-s3": _OTHER_SERVICES["s3express"],
    "--op-s3": _OTHER_SERVICES["s3-outposts"],
    "--ol-s3": _OTHER_SERVICES["s3-object-lambda"],
    "--table-s3": _OTHER_SERVICES["s3tables"],
    ".mrap": "multi-region access points are not supported, as they are signed by another method (SigV4A)",
}


class WrongArnError(ValueError):
    """An ARN that names no access point of a bucket; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """An access point: another name of a bucket, with a policy of its own."""

    partition: str
    region: str
    account: str
    name: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:s3:{self.region}:{self.account}:accesspoint/{self.name}"

    @property
    def label(self) -> str:
        """What stands before the host's name."""
        return f"{self.name}-{self.account}"


def read_access_point(arn: str) -> AccessPoint:
    """Read the ARN of an access point, its name after a `/` or a `:`; raises WrongArnError."""
    parts = arn.split(":", 5)
    if len(parts) != 6:
        raise WrongArnError(f"write the whole ARN, such as {_FORM}")
    _, partition, service, region, account, resource = parts
    if service in _OTHER_SERVICES:
        raise WrongArnError(f"{_OTHER_SERVICES[service]}; {_INSTEAD}")
    kind, _, name = resource.replace(":", "/").partition("/")
    if service != "s3" or kind != "accesspoint":
        if service == "s3" and not region and not account:
            raise WrongArnError(f"write the name of the bucket alone: {kind}")
        raise WrongArnError(f"this ARN names no access point of a bucket; {_INSTEAD}, such as {_FORM}")
    if not region:
        raise WrongArnError(f"{_OTHER_ENDINGS['.mrap']}; {_INSTEAD}")
    if not is_region(region, of_aws=True):
        raise WrongArnError(f"write the region of the access point into the ARN, such as {_FORM}")
    if (expected := partition_of(region)[0]) != partition:
        raise WrongArnError(f"write {expected} for {partition!r}: {region} is in that partition")
    if re.fullmatch(_ACCOUNT, account) is None:
        raise WrongArnError(f"write the account's 12 digits into the ARN, such as {_FORM}")
    if re.fullmatch(_NAME, name) is None:
        raise WrongArnError(
            f"write the access point's name, 3 to 50 lower-case letters, digits and -, at the end: {_FORM}"
        )
    return AccessPoint(partition, region, account, name)


def why_not_a_bucket(name: str) -> str | None:
    """Return why `name` can be no general-purpose bucket of AWS and what to write, None if it can."""
    for ending, reason in _OTHER_ENDINGS.items():
        if name.endswith(ending):
            return f"{reason}; {_INSTEAD}"
    return None
