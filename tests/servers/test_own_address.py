"""ECS and EC2 metadata over HTTP, and the kernel's own answers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from s3discovery import own_address
from s3discovery.node import Address
from s3discovery.own_address import SystemHost, find_own_address
from s3discovery.settings.config import Settings, parse

SETTINGS: Settings = parse(
    {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": "hivemq",
        "file-prefix": "p/",
        "file-expiration": "6h",
        "update-interval": "3h",
    }
)


class Ec2Host(SystemHost):
    """This machine, believing that it is in EC2."""

    def read_text(self, path: str) -> str | None:
        return "Amazon EC2"


async def serve_task(request: web.Request) -> web.Response:
    return web.json_response({"Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.1.0.1"]}]})


async def serve_token(request: web.Request) -> web.Response:
    if request.headers.get("X-aws-ec2-metadata-token-ttl-seconds") is None:
        return web.Response(status=400)
    return web.Response(text="TOKEN")


async def serve_address(request: web.Request) -> web.Response:
    if request.headers.get("X-aws-ec2-metadata-token") != "TOKEN":
        return web.Response(status=401)
    return web.Response(text="10.3.0.1")


async def serve_silence(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def serve_redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound("/task")


async def serve_flood(request: web.Request) -> web.Response:
    return web.Response(body=b"x" * (own_address.ANSWER_LIMIT_BYTES + 1))


@pytest.fixture
async def metadata() -> AsyncIterator[str]:
    """The base URL of a metadata service."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/task", serve_task),
            web.put("/latest/api/token", serve_token),
            web.get("/latest/meta-data/local-ipv4", serve_address),
            web.get("/silence", serve_silence),
            web.get("/redirect", serve_redirect),
            web.get("/flood", serve_flood),
        ]
    )
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


async def test_ecs_names_the_address(metadata: str) -> None:
    found = await find_own_address(SETTINGS, {"ECS_CONTAINER_METADATA_URI_V4": f"{metadata}/task"})
    assert found == Address("10.1.0.1", 7800)


async def test_ec2_names_the_address(metadata: str) -> None:
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}
    assert await find_own_address(SETTINGS, environ, host=Ec2Host()) == Address("10.3.0.1", 7800)


@pytest.mark.parametrize("path", ["missing", "redirect", "flood", "latest/api/token"])
async def test_an_answer_that_is_none(metadata: str, path: str) -> None:
    assert await SystemHost().ask(f"{metadata}/{path}") is None


async def test_silence_costs_a_second_at_most(metadata: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_address, "ASK_LIMIT_S", 0.05)
    async with asyncio.timeout(10):
        assert await SystemHost().ask(f"{metadata}/silence") is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense", "http://", "http://h:x/", "http://[::1/"])
async def test_nobody_there(url: str) -> None:
    assert await SystemHost().ask(url) is None


def test_the_kernel_knows_its_interfaces() -> None:
    host = SystemHost()
    assert host.interface_address("lo") == "127.0.0.1"
    assert host.interface_address("no-such-if") is None
    assert host.source_address("127.0.0.1") == "127.0.0.1"
    assert host.source_address("nonsense") is None
    assert host.read_text("/proc/self/comm")
    assert host.read_text("/no/such/file") is None
