"""AWS's partitions and regions: what they are called, and the host names that follow from that.

Regions are known by their form alone, never from a list: new ones come every year.
"""

import re

# Beginning of a region's name, partition, DNS suffix. Source: partitions.json of AWS's SDKs.
_PARTITIONS = (
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
)
GLOBAL_REGION = "us-east-1"  # what S3's host name without a region stands for
_WITHOUT_FIPS = "aws-cn"

# Compiled where they are used, which is seldom: a start should not pay for them.
_AWS_REGION = r"[a-z]{2,6}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}"
_REGION = r"[a-z0-9-]{1,64}"
_SUFFIXES = ("amazonaws.com", *(suffix for _, _, suffix in _PARTITIONS))
# S3's own hosts: s3.<region>, s3-<region> (the old form), s3.dualstack.<region>, s3-fips.<region>, and s3.
_HOST = (
    r"(?P<before>(?:[^.]+\.)*)(?P<service>s3(?:-accesspoint)?(?:-fips)?(?:\.dualstack)?)"
    rf"(?:[.-](?P<region>{_AWS_REGION}))?\.(?:{'|'.join(_SUFFIXES).replace('.', '[.]')})"
)


def partition_of(region: str) -> tuple[str, str]:
    """Return the partition of `region` and its DNS suffix; a region nobody knows is in `aws`."""
    for start, partition, suffix in _PARTITIONS:
        if region.startswith(start):
            return partition, suffix
    return "aws", "amazonaws.com"


def s3_host(region: str, *, dual_stack: bool = False, fips: bool = False, access_point: bool = False) -> str:
    """Return the name of S3's host in `region`, to whose front a bucket's name can be put.

    Source: the endpoint rules of AWS's SDKs."""
    service = f"s3{'-accesspoint' * access_point}{'-fips' * fips}{'.dualstack' * dual_stack}"
    return f"{service}.{region}.{partition_of(region)[1]}"


def has_fips(region: str) -> bool:
    """Tell whether S3 has hosts with FIPS cryptography there."""
    return partition_of(region)[0] != _WITHOUT_FIPS


def is_aws_host(host: str) -> bool:
    """Tell whether `host` is one of AWS's, endpoints of one's own network (VPC) included."""
    return _plain(host).endswith(tuple(f".{suffix}" for suffix in _SUFFIXES))


def bucket_before_s3(host: str) -> str:
    """Return what stands before S3's own host name, with its dot; empty for any other host."""
    found = re.fullmatch(_HOST, _plain(host))
    return found["before"] if found else ""


def region_of_host(host: str) -> str | None:
    """Return the region of S3's own host, also with a bucket's name before it; None for any other."""
    found = re.fullmatch(_HOST, _plain(host))
    return None if found is None else found["region"] or GLOBAL_REGION


def host_in_region(host: str, region: str) -> str:
    """Return S3's own host as it is called in another region; any other host as it is."""
    found = re.fullmatch(_HOST, _plain(host))
    if found is None:
        return host
    return f"{found['before']}{found['service']}.{region}.{partition_of(region)[1]}"


def is_region(text: str, *, of_aws: bool) -> bool:
    """Tell whether `text` looks like a region: one of AWS's, or what any store may call one."""
    return re.fullmatch(_AWS_REGION if of_aws else _REGION, text) is not None


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")
