import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.endpoint_provider import EndpointProvider

from s3discovery.aws.regions import is_region, partition_of
from s3discovery.errors import SettingsError
from s3discovery.s3.location import locate

DATA = Path(botocore.__file__).parent / "data"
PARTITIONS = json.loads((DATA / "partitions.json").read_text())
# "aws-global" and its like are no regions, but names for the SDK's own purposes.
REGIONS = [
    region
    for partition in PARTITIONS["partitions"]
    for region in partition["regions"]
    if not region.endswith("-global")
]
ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mesh"


@cache
def sdk_rules() -> Any:
    with gzip.open(DATA / "s3" / "2006-03-01" / "endpoint-rule-set-1.json.gz") as file:
        return EndpointProvider(json.load(file), PARTITIONS)


def sdk_root(**inputs: Any) -> tuple[str, str]:
    """Return the URL that the SDK's rules give, and the region that it signs for."""
    found = sdk_rules().resolve_endpoint(UseGlobalEndpoint=False, **inputs)
    return found.url, found.properties["authSchemes"][0]["signingRegion"]


@pytest.mark.parametrize("path_style", [True, False], ids=["path", "host"])
@pytest.mark.parametrize("fips", [True, False], ids=["fips", "-"])
@pytest.mark.parametrize("dual_stack", [True, False], ids=["dual", "-"])
@pytest.mark.parametrize("bucket", ["mesh", "my.mesh", "My_Mesh", "mesh-abcdefghijklmnop-s3alias"])
def test_hosts_are_those_of_the_sdk(bucket: str, dual_stack: bool, fips: bool, path_style: bool) -> None:
    for region in [*REGIONS, "eu-new-7"]:
        if fips and region.startswith("cn-"):
            continue
        theirs = sdk_root(
            Bucket=bucket,
            Region=region,
            UseFIPS=fips,
            UseDualStack=dual_stack,
            ForcePathStyle=path_style,
        )
        ours = locate(bucket, region, None, path_style, dual_stack=dual_stack, fips=fips)
        assert (ours.root.rstrip("/"), ours.region) == theirs
        assert ours.is_aws


@pytest.mark.parametrize("fips", [True, False], ids=["fips", "-"])
@pytest.mark.parametrize("dual_stack", [True, False], ids=["dual", "-"])
@pytest.mark.parametrize("separator", "/:")
def test_access_points_are_where_the_sdk_finds_them(dual_stack: bool, fips: bool, separator: str) -> None:
    for region in REGIONS:
        partition = partition_of(region)[0]
        if fips and partition == "aws-cn":
            continue
        arn = f"arn:{partition}:s3:{region}:123456789012:accesspoint{separator}my-mesh"
        # Another region of the same partition is configured: the ARN's wins, as with the SDK.
        configured = next(other for other in REGIONS if partition_of(other)[0] == partition)
        theirs = sdk_root(
            Bucket=arn, Region=configured, UseFIPS=fips, UseDualStack=dual_stack, UseArnRegion=True
        )
        ours = locate(arn, configured, dual_stack=dual_stack, fips=fips)
        assert (ours.root.rstrip("/"), ours.region) == theirs
        assert ours.arn() == f"arn:{partition}:s3:{region}:123456789012:accesspoint/my-mesh"
        assert ours.arn("p/n1") == f"{ours.arn()}/object/p/n1"
        assert ours.in_region("eu-west-3") is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://accesspoint.vpce-1a2b3c4d-5e6f.s3.eu-west-1.vpce.amazonaws.com",
        "http://store.example.com:9000",
    ],
)
def test_access_points_at_an_endpoint_of_ones_own(endpoint: str) -> None:
    theirs = sdk_root(Bucket=ACCESS_POINT, Region="eu-west-1", Endpoint=endpoint)
    assert locate(ACCESS_POINT, "eu-west-1", endpoint).root.rstrip("/") == theirs[0]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.eu-west-1.amazonaws.com",
        "https://s3-eu-west-1.amazonaws.com",
        "https://s3.dualstack.eu-west-1.amazonaws.com",
        "https://s3.amazonaws.com",
        "https://s3.cn-north-1.amazonaws.com.cn",
        "https://bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
    ],
)
@pytest.mark.parametrize("bucket", ["mesh", "my.mesh"])
def test_hosts_of_aws_have_the_bucket_in_front(bucket: str, endpoint: str) -> None:
    theirs = sdk_root(Bucket=bucket, Region="eu-west-1", Endpoint=endpoint)
    location = locate(bucket, "eu-west-1", endpoint)
    assert location.root.rstrip("/") == theirs[0]
    assert location.is_aws
    in_path = locate("mesh", "eu-west-1", endpoint, True)
    assert in_path.root == f"{endpoint}/mesh"
    assert in_path.is_path_style
    assert not locate("mesh", "eu-west-1", endpoint).is_path_style


@pytest.mark.parametrize(
    ("bucket", "region", "options", "complaint"),
    [
        ("mesh", "cn-north-1", {"fips": True}, "s3-fips='true': leave it out"),
        ("mesh", "eu-west-1", {"fips": True, "endpoint": "http://h"}, "s3-fips='true'.*s3-endpoint"),
        (
            "mesh",
            "eu-west-1",
            {"dual_stack": True, "endpoint": "https://s3.eu-west-1.amazonaws.com"},
            "s3-dual-stack='true'.*s3-endpoint",
        ),
        ("mesh", "x", {"endpoint": "https://mesh.s3.eu-west-1.amazonaws.com"}, r"leave out 'mesh\.'"),
        (ACCESS_POINT, "cn-north-1", {}, "s3-bucket-region='cn-north-1'.*s3-bucket-region:eu-west-1"),
        (ACCESS_POINT, "eu-west-1", {"path_style": True}, "s3-path-style-access"),
        (ACCESS_POINT, "eu-west-1", {"endpoint": "http://127.0.0.1:9000"}, "s3-endpoint.*host name"),
        ("mesh--euw1-az1--x-s3", "eu-west-1", {}, "S3 Express"),
        ("mesh-abc--op-s3", "eu-west-1", {}, "Outposts"),
        ("mesh-abc--ol-s3", "eu-west-1", {}, "Object Lambda"),
        ("abcdef.mrap", "eu-west-1", {}, "SigV4A"),
    ],
)
def test_what_contradicts_itself(bucket: str, region: str, options: Any, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        locate(bucket, region, **options)


@pytest.mark.parametrize(
    ("arn", "complaint"),
    [
        ("arn:aws:s3:::mesh", "name of the bucket alone: mesh"),
        ("arn:aws:s3::123456789012:accesspoint/abc.mrap", "SigV4A"),
        (
            "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-1/accesspoint/x",
            "Outposts is not supported",
        ),
        ("arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/x", "Object Lambda is not supported"),
        ("arn:aws:s3express:us-east-1:123456789012:bucket/x", "S3 Express"),
        ("arn:aws:s3tables:us-east-1:123456789012:bucket/x", "table buckets"),
        ("arn:aws:sns:us-east-1:123456789012:topic", "names no access point"),
        ("arn:aws:s3:us-east-1:123456789012:job/x", "names no access point"),
        ("arn:aws:s3:us-east-1", "whole ARN"),
        ("arn:aws:s3:us-east-1:123456789012:accesspoint/", "access point's name"),
        ("arn:aws:s3:us-east-1:123456789012:accesspoint/a/b/c", "access point's name"),
        ("arn:aws:s3:us-east-1:123456789012:accesspoint/evil.example.com", "access point's name"),
        ("arn:aws:s3:us-east-1:1234:accesspoint/mesh", "12 digits"),
        ("arn:aws:s3:evil/:123456789012:accesspoint/mesh", "region of the access point"),
        ("arn:aws:s3:cn-north-1:123456789012:accesspoint/mesh", "write aws-cn for 'aws'"),
    ],
)
def test_arns_that_name_no_access_point_say_what_instead(arn: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=f"s3-bucket-name.*{complaint}"):
        locate(arn, "us-east-1")


def test_names_with_reserved_endings_are_for_other_stores_to_judge() -> None:
    assert locate("mesh--x-s3", "us-east-1", "http://h").root == "http://h/mesh--x-s3"


class TestInRegion:
    @pytest.mark.parametrize(
        ("endpoint", "root"),
        [
            (None, "https://mesh.s3.eu-west-1.amazonaws.com/"),
            ("https://s3.us-east-1.amazonaws.com", "https://mesh.s3.eu-west-1.amazonaws.com/"),
            ("https://s3.amazonaws.com", "https://mesh.s3.eu-west-1.amazonaws.com/"),
            (
                "https://s3.dualstack.us-east-1.amazonaws.com:443",
                "https://mesh.s3.dualstack.eu-west-1.amazonaws.com:443/",
            ),
            (
                "https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com",
                "https://mesh.bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com/",
            ),
            ("http://minio:9000", "http://minio:9000/mesh"),
        ],
    )
    def test_hosts_of_aws_change_and_others_do_not(self, endpoint: str | None, root: str) -> None:
        found = locate("mesh", "us-east-1", endpoint).in_region("eu-west-1")
        assert found is not None
        assert (found.root, found.region) == (root, "eu-west-1")

    def test_the_wish_is_kept(self) -> None:
        found = locate("mesh", "us-east-1", None, True, dual_stack=True, fips=True).in_region("us-west-2")
        assert found is not None
        assert found.root == "https://s3-fips.dualstack.us-west-2.amazonaws.com/mesh"

    @pytest.mark.parametrize(
        "garbage",
        [
            "",
            "garage",
            "evil.example.com",
            "eu-west-1.evil.com/",
            "eu-west-1\n",
            "EU",
            "cn-north-1",
            "x" * 99,
        ],
    )
    def test_garbage_and_other_partitions_lead_nowhere(self, garbage: str) -> None:
        assert locate("mesh", "us-east-1").in_region(garbage) is None
        assert locate("mesh", "us-east-1", "https://s3.us-east-1.amazonaws.com").in_region(garbage) is None

    def test_other_stores_call_their_regions_what_they_like(self) -> None:
        found = locate("mesh", "us-east-1", "http://h").in_region("garage")
        assert found is not None
        assert found.region == "garage"
        assert locate("mesh", "us-east-1", "http://h").in_region("evil\r\nx: y") is None


def test_form_of_regions() -> None:
    assert all(is_region(region, of_aws=True) for region in REGIONS)


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("eu-central-1", "arn:aws:s3:::mesh/k"),
        ("cn-north-1", "arn:aws-cn:s3:::mesh/k"),
        ("us-gov-west-1", "arn:aws-us-gov:s3:::mesh/k"),
    ],
)
def test_partitions(region: str, arn: str) -> None:
    assert locate("mesh", region).arn("k") == arn


@pytest.mark.parametrize(
    ("bucket", "endpoint", "path_style", "base"),
    [
        ("mesh", None, None, "https://mesh.s3.eu-west-1.amazonaws.com"),
        ("mesh", None, True, "https://s3.eu-west-1.amazonaws.com/mesh"),
        ("my.mesh", None, None, "https://s3.eu-west-1.amazonaws.com/my.mesh"),
        ("my.mesh", None, False, "https://s3.eu-west-1.amazonaws.com/my.mesh"),
        ("My_Mesh", None, False, "https://s3.eu-west-1.amazonaws.com/My_Mesh"),
        ("mesh", "minio:9000", None, "https://minio:9000/mesh"),
        ("mesh", "http://minio:9000", None, "http://minio:9000/mesh"),
        ("mesh", "http://minio:9000", False, "http://mesh.minio:9000"),
        ("my.mesh", "http://minio:9000", False, "http://my.mesh.minio:9000"),
        ("my.mesh", "https://minio:9000", False, "https://minio:9000/my.mesh"),
        ("mesh", "http://Minio/", None, "http://minio/mesh"),
        ("mesh", "http://minio/base/", None, "http://minio/base/mesh"),
        ("mesh", "http://127.0.0.1:9000", False, "http://127.0.0.1:9000/mesh"),
        ("mesh", "http://[::1]:9000", False, "http://[::1]:9000/mesh"),
    ],
)
def test_addressing(bucket: str, endpoint: str | None, path_style: bool | None, base: str) -> None:
    location = locate(bucket, "eu-west-1", endpoint, path_style)
    assert location.object_url("k") == f"{base}/k"
    assert location.is_aws == (endpoint is None)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("//a", "//a"),
        ("/a", "/a"),
        ("a/../b/./c", "a/../b/./c"),
        (" +%?#&=\\", "%20%2B%25%3F%23%26%3D%5C"),
        ("ü~", "%C3%BC~"),
        ("no-utf8-\udcff", "no-utf8-%FF"),
    ],
)
def test_key_is_kept_byte_for_byte(key: str, path: str) -> None:
    assert locate("mesh", "eu-west-1", "http://h").object_url(key) == f"http://h/mesh/{path}"


def test_list_url() -> None:
    location = locate("mesh", "eu-west-1", "http://h")
    assert location.list_url("a/b +", None) == (
        "http://h/mesh?list-type=2&prefix=a%2Fb%20%2B&max-keys=1000&encoding-type=url"
    )
    assert "&continuation-token=t%2B%2F%3D&" in location.list_url("", "t+/=")


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "ftp://h",
        "http://",
        "http://h:0",
        "http://h:99999",
        "http://h:x",
        "http://user:pw@h",
        "http://h/?q=1",
        "http://h/#f",
        "http://[::1",
        "http://a b",
        "http://a..b",
        "http://h/a b",
        "http://h/%zz",
        "http://h\r\nX: y",
        "http://exämple.com",
    ],
)
def test_endpoint_that_is_none_is_refused_with_the_key_named(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="s3-endpoint="):
        locate("mesh", "eu-west-1", endpoint)


@pytest.mark.parametrize("region", ["", "eu west", "eu/west", "evil.example.com/", "x\n"])
def test_region_that_is_none_is_refused(region: str) -> None:
    with pytest.raises(SettingsError, match="s3-bucket-region"):
        locate("mesh", region)


def test_bucket_without_a_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="s3-bucket-name"):
        locate("", "eu-west-1")
