import pytest

from s3discovery.errors import SettingsError
from s3discovery.s3.location import locate


@pytest.mark.parametrize(
    ("region", "url", "arn"),
    [
        ("eu-central-1", "https://mesh.s3.eu-central-1.amazonaws.com/k", "arn:aws:s3:::mesh/k"),
        ("us-east-1", "https://mesh.s3.us-east-1.amazonaws.com/k", "arn:aws:s3:::mesh/k"),
        ("cn-north-1", "https://mesh.s3.cn-north-1.amazonaws.com.cn/k", "arn:aws-cn:s3:::mesh/k"),
        ("us-gov-west-1", "https://mesh.s3.us-gov-west-1.amazonaws.com/k", "arn:aws-us-gov:s3:::mesh/k"),
    ],
)
def test_partitions(region: str, url: str, arn: str) -> None:
    location = locate("mesh", region)
    assert location.object_url("k") == url
    assert location.arn("k") == arn
    assert location.is_aws


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
