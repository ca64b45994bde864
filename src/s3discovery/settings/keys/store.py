"""How the store is reached, where it is not AWS as usual."""

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

STORE: tuple[Key, ...] = (
    Key(
        "s3-endpoint",
        "endpoint",
        hosts.read_endpoint,
        "Address of an S3-compatible store; AWS in the bucket's region if not set.",
        "http://localhost:9000",
    ),
    Key(
        "s3-endpoint-region",
        "endpoint_region",
        kinds.read_region,
        "Region that requests to s3-endpoint are signed for; s3-bucket-region if not set.",
        "us-east-1",
    ),
    Key(
        "s3-path-style-access",
        "path_style",
        kinds.read_flag,
        "true puts the bucket into the path, false into the host name; chosen by itself if not set.",
        "true",
        show=kinds.show_flag,
    ),
    Key(
        "s3-dual-stack",
        "dual_stack",
        kinds.read_flag,
        "true reaches AWS by IPv6 as well as IPv4 (its dual-stack hosts); not with s3-endpoint.",
        "true",
        default="false",
        show=kinds.show_flag,
    ),
    Key(
        "s3-fips",
        "fips",
        kinds.read_flag,
        "true uses AWS's hosts with FIPS 140 cryptography, which the regions of China do not have; not with "
        "s3-endpoint.",
        "true",
        default="false",
        show=kinds.show_flag,
    ),
)
