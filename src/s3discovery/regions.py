"""AWS's partitions: which one a region is in, and what its host names end with."""

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


def partition_of(region: str) -> tuple[str, str]:
    """Return the partition of `region` and its DNS suffix; a region nobody knows is in `aws`."""
    for start, partition, suffix in _PARTITIONS:
        if region.startswith(start):
            return partition, suffix
    return "aws", "amazonaws.com"
