import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from s3discovery.errors import AddressError, SettingsError
from s3discovery.node import NO_METADATA, Address
from s3discovery.own_address import find_own_address
from s3discovery.settings.config import Settings, parse

ECS = {"ECS_CONTAINER_METADATA_URI_V4": "http://ecs/v4/1"}
EC2 = "http://169.254.169.254/latest"
AMAZON = {"/sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}


@dataclass
class FakeHost:
    """A machine as a test wants it; `asked` keeps the HTTP requests as (method, URL, headers)."""

    files: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    interfaces: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def read_text(self, path: str) -> str | None:
        return self.files.get(path)

    def source_address(self, target: str) -> str | None:
        return self.routes.get(target)

    def interface_address(self, interface: str) -> str | None:
        return self.interfaces.get(interface)

    async def ask(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] = NO_METADATA
    ) -> str | None:
        self.asked.append((method, url, dict(headers)))
        return self.answers.get(url)


ROUTED = FakeHost(routes={"192.0.2.1": "10.0.0.9", "2001:db8::1": "fd00::9"})


def settings(**others: str) -> Settings:
    values = {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": "hivemq",
        "file-prefix": "p/",
        "file-expiration": "6h",
        "update-interval": "3h",
    }
    return parse(values | {name.replace("_", "-"): text for name, text in others.items()})


def ecs(*addresses: str, mode: str = "awsvpc", **more: object) -> dict[str, str]:
    networks = [{"NetworkMode": mode, "IPv4Addresses": list(addresses), **more}]
    return {"http://ecs/v4/1": json.dumps({"Networks": networks})}


@pytest.mark.parametrize(
    ("others", "port", "expected"),
    [
        (
            {"external_address": "n.example", "external_port": "1", "bind_address": "10.0.0.1"},
            None,
            ("n.example", 1),
        ),
        ({"external_address": "n.example", "bind_port": "7801"}, None, ("n.example", 7801)),
        ({"bind_address": "10.0.0.1"}, None, ("10.0.0.1", 7800)),
        ({"bind_address": "10.0.0.1", "external_port": "1"}, None, ("10.0.0.1", 1)),
        ({"bind_address": "127.0.0.1"}, None, ("127.0.0.1", 7800)),
        ({"bind_address": "127.0.0.1", "bind_port": "0", "broker": "amqtt"}, 4711, ("127.0.0.1", 4711)),
        ({"external_port": "17800", "bind_port": "0", "broker": "amqtt"}, 4711, ("10.0.0.9", 17800)),
        ({"external_port": "17800"}, None, ("10.0.0.9", 17800)),
        ({"bind_address": "0.0.0.0"}, None, ("10.0.0.9", 7800)),
        ({"bind_address": "::"}, None, ("10.0.0.9", 7800)),
        ({}, None, ("10.0.0.9", 7800)),
        ({}, 4711, ("10.0.0.9", 4711)),
    ],
)
async def test_what_is_set_wins(others: dict[str, str], port: int | None, expected: tuple[str, int]) -> None:
    assert await find_own_address(settings(**others), {}, port=port, host=ROUTED) == Address(*expected)


async def test_a_free_port_must_be_named() -> None:
    with pytest.raises(SettingsError, match="bind-port"):
        await find_own_address(settings(bind_port="0", broker="amqtt"), {}, host=ROUTED)


async def test_nothing_is_asked_when_all_is_set() -> None:
    host = FakeHost(files=AMAZON)
    await find_own_address(settings(external_address="h"), ECS, host=host)
    assert not host.asked


async def test_the_order_of_finding_out() -> None:
    answers = ecs("10.1.0.1") | {f"{EC2}/meta-data/local-ipv4": "10.3.0.1\n"}
    environ = ECS | {"POD_IP": "10.2.0.1", "MY_POD_IP": "10.2.0.2", "K8S_POD_IP": "10.2.0.3"}
    host = FakeHost(files=AMAZON, routes=ROUTED.routes, answers=answers)
    found = []
    for gone in (None, "ECS_CONTAINER_METADATA_URI_V4", "POD_IP", "MY_POD_IP", "K8S_POD_IP"):
        environ.pop(gone or "", None)
        found.append((await find_own_address(settings(), environ, host=host)).host)
    host.files = {}
    found.append((await find_own_address(settings(), environ, host=host)).host)
    host.routes = {"2001:db8::1": "fd00::9"}
    found.append((await find_own_address(settings(), environ, host=host)).host)
    assert found == ["10.1.0.1", "10.2.0.1", "10.2.0.2", "10.2.0.3", "10.3.0.1", "10.0.0.9", "fd00::9"]


@pytest.mark.parametrize(
    "answers",
    [
        {},
        ecs(),
        ecs(""),
        ecs("172.17.0.5", mode="bridge"),
        {"http://ecs/v4/1": "not JSON"},
        {"http://ecs/v4/1": "[]"},
        {"http://ecs/v4/1": '{"Networks": [1]}'},
        {"http://ecs/v4/1": '{"Networks": {"IPv4Addresses": 1}}'},
        {"http://ecs/v4/1": "null"},
        ecs("not-an-address"),
        ecs("127.0.0.1"),
    ],
)
async def test_odd_ecs_metadata_is_passed_over(answers: dict[str, str]) -> None:
    host = FakeHost(routes=ROUTED.routes, answers=answers)
    assert (await find_own_address(settings(), ECS, host=host)).host == "10.0.0.9"


async def test_ecs_with_ipv6_alone() -> None:
    host = FakeHost(answers=ecs(IPv6Addresses=["fd00::5"]))
    assert (await find_own_address(settings(), ECS, host=host)).host == "fd00::5"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"/sys/class/dmi/id/sys_vendor": "QEMU\n", "/sys/class/dmi/id/product_uuid": "4c4c4544-ec2"},
    ],
)
async def test_ec2_is_not_asked_elsewhere(files: dict[str, str]) -> None:
    host = FakeHost(files=files, routes=ROUTED.routes)
    await find_own_address(settings(), {}, host=host)
    assert not host.asked


@pytest.mark.parametrize(
    "files",
    [
        AMAZON,
        {"/sys/class/dmi/id/product_uuid": "EC2F58B9-0000\n"},
        {"/sys/class/dmi/id/bios_vendor": "Amazon EC2\n"},
    ],
)
async def test_ec2_is_asked_with_a_token(files: dict[str, str]) -> None:
    answers = {f"{EC2}/api/token": "TOKEN", f"{EC2}/meta-data/local-ipv4": "10.3.0.1"}
    host = FakeHost(files=files, routes=ROUTED.routes, answers=answers)
    assert (await find_own_address(settings(), {}, host=host)).host == "10.3.0.1"
    assert host.asked == [
        ("PUT", f"{EC2}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}),
        ("GET", f"{EC2}/meta-data/local-ipv4", {"X-aws-ec2-metadata-token": "TOKEN"}),
    ]


async def test_ec2_with_ipv6_alone_and_without_tokens() -> None:
    host = FakeHost(files=AMAZON, answers={f"{EC2}/meta-data/ipv6": "fd00::7"})
    assert (await find_own_address(settings(), {}, host=host)).host == "fd00::7"
    assert [headers for method, _, headers in host.asked if method == "GET"] == [{}, {}]


async def test_ec2_can_be_disabled_or_elsewhere() -> None:
    host = FakeHost(files=AMAZON, routes=ROUTED.routes)
    await find_own_address(settings(), {"AWS_EC2_METADATA_DISABLED": "True"}, host=host)
    assert not host.asked
    await find_own_address(settings(), {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://imds/"}, host=host)
    assert host.asked[0][1] == "http://imds/latest/api/token"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "wildcard"),
        ("::", "wildcard"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("172.17.0.1", "docker0"),
        ("nonsense\n", "no IP address"),
    ],
)
async def test_useless_addresses_are_refused_when_found_out(address: str, reason: str) -> None:
    host = FakeHost(routes={"192.0.2.1": address}, interfaces={"docker0": "172.17.0.1"})
    with pytest.raises(AddressError, match=rf"{reason}.*set external-address") as caught:
        await find_own_address(settings(), {"POD_IP": address}, host=host)
    assert "\n" not in str(caught.value)
    if "\n" not in address:
        allowed = await find_own_address(settings(bind_address=address), {}, host=ROUTED)
        assert allowed.host in (address, "10.0.0.9")


async def test_a_container_beside_docker0_is_not_refused() -> None:
    host = FakeHost(routes={"192.0.2.1": "172.17.0.2"}, interfaces={"docker0": "172.17.0.1"})
    assert (await find_own_address(settings(), {}, host=host)).host == "172.17.0.2"


async def test_a_wildcard_of_ipv4_does_not_publish_ipv6() -> None:
    host = FakeHost(routes={"2001:db8::1": "fd00::9"})
    with pytest.raises(AddressError, match="IPv4 alone"):
        await find_own_address(settings(bind_address="0.0.0.0"), {}, host=host)
    assert (await find_own_address(settings(bind_address="::"), {}, host=host)).host == "fd00::9"


async def test_no_address_at_all_says_what_to_do() -> None:
    with pytest.raises(AddressError, match=r"nothing on this machine named one.*set external-address"):
        await find_own_address(settings(), {}, host=FakeHost())
