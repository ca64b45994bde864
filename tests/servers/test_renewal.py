"""Nodes that run on credentials which end: the store refuses every key after its time, and nobody notices."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from aiohttp import web

from s3discovery.aws.policy import make_policy
from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, FixedCredentials, provider_for
from s3discovery.discovery import Discovery
from s3discovery.errors import CredentialsError, CredentialsRejectedError
from s3discovery.membership import Change
from s3discovery.node import Address, Member
from s3discovery.s3 import S3Bucket
from s3discovery.testing import make_settings

NODES = ("a", "b", "c")
LIMIT_S = 30.0
# Of a life a third is left when renewal begins, and a retry follows 1 s after a failure at the latest.
SHORT_LIFE_S = 3.0
LONG_LIFE_S = 6.0


class Store(Protocol):
    """What the fixture `iam_store` gives."""

    endpoint: str
    credentials: Credentials

    async def new_bucket(self) -> str: ...
    async def new_user(self, policy: Mapping[str, Any]) -> str: ...
    async def issue(self, user: str) -> Credentials: ...
    async def revoke(self, user: str, credentials: Credentials) -> None: ...


class Issuer:
    """A container endpoint for every node: keys of the store that it takes back when their time is over.

    `lives_s` says how long the next ones last, then the last for ever. It answers with an error while
    `is_down`, and, with `refuses_third_once`, each node once that asks for its third ones."""

    def __init__(self, store: Store, user: str, lives_s: list[float]) -> None:
        self._store = store
        self._user = user
        self._lives_s = lives_s
        self._timers: set[asyncio.Task[None]] = set()
        self._clock = SystemClock()
        self.is_down = False
        self.refuses_third_once = False
        self.refused: set[str] = set()
        self.issued: dict[str, list[Credentials]] = {name: [] for name in NODES}
        self.revoked: list[Credentials] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["node"]
        generation = len(self.issued[name])
        if self.is_down:
            return web.Response(status=503)
        if self.refuses_third_once and generation == 2 and name not in self.refused:
            self.refused.add(name)
            return web.Response(status=503)
        life_s = self._lives_s[min(generation, len(self._lives_s) - 1)]
        keys = await self._store.issue(self._user)
        keys = replace(keys, expires_s=self._clock.wall_s() + life_s)
        self.issued[name].append(keys)
        timer = asyncio.create_task(self._revoke(keys, life_s))
        self._timers.add(timer)
        return web.json_response(
            {
                "AccessKeyId": keys.access_key_id,
                "SecretAccessKey": keys.secret_access_key.reveal(),
                "Expiration": f"{datetime.fromtimestamp(keys.expires_s or 0, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            }
        )

    async def _revoke(self, keys: Credentials, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._store.revoke(self._user, keys)
        self.revoked.append(keys)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/{node}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()
            for timer in self._timers:
                timer.cancel()
            await asyncio.gather(*self._timers, return_exceptions=True)


class Cluster:
    """Three nodes, what changed in the view of each, and who issues their keys."""

    def __init__(self, issuer: Issuer, bucket: str, endpoint: str) -> None:
        self.issuer = issuer
        self.nodes: dict[str, Discovery] = {}
        self.changes: dict[str, list[Change]] = {name: [] for name in NODES}
        self.settings = make_settings(
            s3_bucket_name=bucket,
            s3_endpoint=endpoint,
            file_expiration="60s",
            update_interval="1s",
            poll_interval="200ms",
            credentials_type="container",
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for number, name in enumerate(NODES):
                environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.issuer.url}/{name}"}
                provider = provider_for(self.settings, environ)
                bucket = await stack.enter_async_context(S3Bucket.from_settings(self.settings, provider))
                own = Member(name, Address(f"10.0.0.{number + 1}", 7800))
                self.nodes[name] = await stack.enter_async_context(Discovery(self.settings, bucket, own))
            watchers = [asyncio.create_task(self._watch(name)) for name in NODES]
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)

    async def _watch(self, name: str) -> None:
        async for change in self.nodes[name].changes():
            self.changes[name].append(change)

    @property
    def is_complete(self) -> bool:
        return all(
            {member.cluster_id for member in node.members} == set(NODES) for node in self.nodes.values()
        )

    def errors(self) -> list[object]:
        return [error for node in self.nodes.values() if (error := node.status.error) is not None]


@asynccontextmanager
async def cluster(store: Store, *lives_s: float) -> AsyncIterator[Cluster]:
    """Run three nodes on keys that last so long; gives them once everybody sees all."""
    bucket = await store.new_bucket()
    user = await store.new_user(make_policy(make_settings(s3_bucket_name=bucket)))
    issuer = Issuer(store, user, list(lives_s))
    found = Cluster(issuer, bucket, store.endpoint)
    async with issuer.serving(), found.running():
        await until(lambda: found.is_complete, "everybody sees all")
        yield found
        # Whoever was seen was seen without a break.
        assert found.is_complete
        for name, changes in found.changes.items():
            assert sorted((change.kind, change.member.cluster_id) for change in changes) == [
                ("joined", each) for each in NODES
            ], name


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - the store sets no events
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def test_three_generations_and_a_short_outage_are_not_noticed(
    iam_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "s3discovery")
    async with cluster(iam_store, SHORT_LIFE_S, LONG_LIFE_S) as running:
        issuer = running.issuer
        issuer.refuses_third_once = True
        await until(
            lambda: all(len(keys) >= 2 for keys in issuer.issued.values()), "a second generation is issued"
        )
        await until(lambda: len(issuer.revoked) >= len(NODES), "the first one ends")
        await until(lambda: all(len(keys) >= 3 for keys in issuer.issued.values()), "a third is issued")
        assert issuer.refused == set(NODES)
        await until(lambda: len(issuer.revoked) >= 2 * len(NODES), "the second one ends")
        polls = {name: node.polls for name, node in running.nodes.items()}
        await until(
            lambda: all(node.polls > polls[name] + 1 for name, node in running.nodes.items()), "polls go on"
        )
        assert running.errors() == []
        for name, node in running.nodes.items():
            assert node.status.write_error is None
            assert node.status.credentials_until_s == pytest.approx(
                issuer.issued[name][-1].expires_s, abs=0.01
            )
        await refuses(iam_store, running, issuer.revoked)
    said = [record.getMessage() for record in caplog.records]
    assert [message for message in said if "the old ones serve until=" not in message] == []
    assert len(said) == len(NODES), "each node says once that a renewal failed"


async def refuses(store: Store, running: Cluster, revoked: list[Credentials]) -> None:
    """See that the store takes no key whose time is over: else this test shows nothing."""
    for keys in revoked:
        async with S3Bucket.from_settings(running.settings, FixedCredentials(keys)) as bucket:
            with pytest.raises(CredentialsRejectedError):
                await bucket.list(running.settings.file_prefix)


async def test_a_long_outage_is_told_and_heals(iam_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(iam_store, SHORT_LIFE_S) as running:
        issuer = running.issuer
        issuer.is_down = True
        await until(lambda: len(running.errors()) == len(NODES), "everybody notices")
        for error in running.errors():
            assert isinstance(error, CredentialsError)
            assert "container: the endpoint at 127.0.0.1" in str(error)
            assert "HTTP 503" in str(error)
        assert running.is_complete, "members stay while nobody knows better"
        issuer.is_down = False
        await until(lambda: running.errors() == [], "it heals")
        polls = {name: node.polls for name, node in running.nodes.items()}
        await until(
            lambda: all(node.polls > polls[name] for name, node in running.nodes.items()), "polls go on"
        )
    assert sum("poll failed" in record.getMessage() for record in caplog.records) == len(NODES)
