"""What is an IP address, and what it stands for."""

import pytest

from s3discovery.ip import ip_of, unmapped


@pytest.mark.parametrize(
    "host", ["node-1", "10.0.0.256", "[::1]", "10.0.0.0/8", "", "fe80::1%", "2130706433"]
)
def test_what_is_no_address_is_none(host: str) -> None:
    assert ip_of(host) is None


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::10.0.0.1", "::a00:1"),
    ],
)
def test_an_address_stands_for_one_that_every_machine_understands(host: str, plain: str) -> None:
    ip = ip_of(host)
    assert ip is not None
    assert str(unmapped(ip)) == plain
