"""What real stores honour, found out by a node that starts; and nodes on a store that honours nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from s3discovery import codec
from s3discovery.capabilities import Capabilities
from s3discovery.credentials import FixedCredentials
from s3discovery.discovery import Discovery
from s3discovery.node import Address, Member, NodeFile
from s3discovery.s3 import S3Bucket
from s3discovery.settings.config import Settings
from s3discovery.testing import make_settings

CONDITIONS = {"if-match", "if-none-match"}
LIMIT_S = 15
KILLED = codec.encode(NodeFile("1", 1, "killed", Address("killed.example", 7800)), "1")


def settings_of(endpoint: str, bucket: str) -> Settings:
    return make_settings(
        s3_endpoint=endpoint,
        s3_bucket_name=bucket,
        poll_interval="100ms",
        update_interval="1s",
        file_expiration="3s",
    )


@asynccontextmanager
async def node(server: Any, settings: Settings, cluster_id: str) -> AsyncIterator[Discovery]:
    own = Member(cluster_id, Address(f"{cluster_id}.example", 7800))
    bucket = S3Bucket.from_settings(settings, FixedCredentials(server.credentials))
    async with bucket, Discovery(settings, bucket, own) as discovery:
        yield discovery


async def until(discovery: Discovery, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await discovery.polled(discovery.polls)


def ids(discovery: Discovery) -> set[str]:
    return {member.cluster_id for member in discovery.members}


@pytest.mark.parametrize("store", ["seaweedfs", "moto_server"])
async def test_real_stores_honour_all(store: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(store)
    settings = settings_of(server.endpoint, server.new_bucket())
    async with node(server, settings, "a") as a:
        await until(a, lambda: a.status.capabilities.is_known)
        assert a.status.capabilities == Capabilities(True, True, True, True)
        assert (a.status.error, a.status.write_error, a.status.rival) == (None, None, None)
        async with node(server, settings, "b") as b:
            assert ids(b) == {"a", "b"}
            assert b.status.problems == {}
    async with S3Bucket.from_settings(settings, FixedCredentials(server.credentials)) as bucket:
        assert (await bucket.list("")).entries == (), "the questions leave nothing behind"


@asynccontextmanager
async def without_conditions(endpoint: str) -> AsyncIterator[str]:
    """A store that ignores conditions: what stands in front of `endpoint` takes them away."""
    async with ClientSession(
        timeout=ClientTimeout(total=10), auto_decompress=False, cookie_jar=DummyCookieJar()
    ) as session:

        async def forward(request: web.Request) -> web.Response:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in CONDITIONS
            }
            url = URL(f"{endpoint}{request.raw_path}", encoded=True)
            body = await request.read()
            async with session.request(request.method, url, headers=headers, data=body) as answer:
                content = await answer.read()
                kept = {
                    name: value
                    for name, value in answer.headers.items()
                    if name.lower() not in ("content-length", "transfer-encoding", "connection")
                }
                return web.Response(status=answer.status, headers=kept, body=content)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


async def test_nodes_live_on_a_store_that_ignores_conditions_and_say_so(
    moto_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with without_conditions(moto_server.endpoint) as endpoint:
        settings = settings_of(endpoint, moto_server.new_bucket())
        keys = FixedCredentials(moto_server.credentials)
        async with S3Bucket.from_settings(settings, keys) as bucket:
            await bucket.put("nodes/killed", KILLED)
            with caplog.at_level(logging.WARNING):
                async with node(moto_server, settings, "a") as a:
                    await until(a, lambda: a.status.capabilities.is_known)
                    assert a.status.capabilities == Capabilities(False, False, False, True)
                    async with node(moto_server, settings, "b") as b:
                        await until(b, lambda: b.status.capabilities.is_known)
                        await until(a, lambda: "b" in ids(a))
                        # Longer than a file lives, so each refreshes its own more than once.
                        async with asyncio.timeout(LIMIT_S):
                            while "killed" in ids(a) | ids(b) or await has(bucket, "nodes/killed"):
                                await a.polled(a.polls)
                                assert ids(a) >= {"a", "b"} <= ids(b)
                        assert a.status.rival is b.status.rival is None
                        assert a.status.problems == b.status.problems == {}
                    await until(a, lambda: ids(a) == {"a"})
            assert (await bucket.list("")).entries == ()
    said = [record.message for record in caplog.records if "does not honour" in record.message]
    assert [line.split(":")[0].rpartition(" ")[2] for line in said] == [
        "conditional_create",
        "conditional_write",
        "conditional_delete",
    ] * 2


async def has(bucket: S3Bucket, key: str) -> bool:
    return any(entry.key == key for entry in (await bucket.list(key)).entries)
