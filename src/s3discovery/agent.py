"""The agent: one node for as long as it runs. Discovery and its broker in one TaskGroup, settings followed.

What an agent is made of comes from outside (wiring joins it); here is only how the parts live together:
the broker is started first, since it knows its port and its key; the node file is published next; and
from then on every complete listing is applied to the broker, and every good change of settings to both.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace

from s3discovery.brokers import Broker
from s3discovery.bucket import Bucket
from s3discovery.clock import Clock, sleep_unless
from s3discovery.config import KEYS, Settings
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, DiscoveryError
from s3discovery.node import NO_METADATA, Address, Member

log = logging.getLogger(__name__)

# How often the settings file is looked at: a stat costs microseconds, and nobody waits for less.
_WATCH_INTERVAL_S = 1.0
_CONNECT_INTERVAL_S = 1.0
# Settings that a running broker was started with, and the bucket that it was found by.
_FIXED = ("broker", "bind_address", "bind_port", "amqtt_listen", "amqtt_config")
_OF_BUCKET = tuple(key.attribute for key in KEYS if key.name.startswith(("s3-", "credentials-", "java-")))


@dataclass(frozen=True, slots=True)
class Parts:
    """What an agent is made of.

    `read_settings` raises SettingsError with all problems; `settings_mark` changes whenever reading
    them again could give something else. `make_broker` returns None for `broker:none`."""

    read_settings: Callable[[], Settings]
    settings_mark: Callable[[], object]
    open_bucket: Callable[[Settings], AbstractAsyncContextManager[Bucket]]
    make_broker: Callable[[Settings, str, Callable[[], None]], Broker | None]
    find_address: Callable[[Settings, int | None], Awaitable[Address]]
    make_cluster_id: Callable[[], str]
    clock: Clock


class Agent:
    """One node. `run` lasts until it is cancelled, and then leaves politely."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._broker: Broker | None = None
        self._discovery: Discovery | None = None
        self._open_buckets: list[AsyncExitStack] = []

    async def run(self, started: Callable[[Discovery, Broker | None], None] | None = None) -> None:
        """Be a node; `started` is called once the first attempt to register and to list has been made.

        Raises SettingsError, AddressError or BrokerError if the node cannot start."""
        mark = self._parts.settings_mark()
        settings = self._parts.read_settings()
        _log_durations(settings)
        cluster_id = settings.cluster_id or self._parts.make_cluster_id()
        async with AsyncExitStack() as stack:
            self._broker = self._parts.make_broker(settings, cluster_id, self._look_now)
            if self._broker is not None:
                await stack.enter_async_context(self._broker)
            own = await self._own_member(settings, cluster_id)
            stack.push_async_callback(self._close_buckets)
            bucket = await self._open_bucket(settings)
            self._discovery = Discovery(settings, bucket, own, clock=self._parts.clock)
            discovery = await stack.enter_async_context(self._discovery)
            if started is not None:
                started(discovery, self._broker)
            async with asyncio.TaskGroup() as tasks:
                if self._broker is not None:
                    tasks.create_task(self._drive(discovery, self._broker), name="broker")
                tasks.create_task(
                    self._follow_settings(discovery, settings, bucket, own, mark), name="settings"
                )

    async def _open_bucket(self, settings: Settings) -> Bucket:
        opening = AsyncExitStack()
        bucket = await opening.enter_async_context(self._parts.open_bucket(settings))
        self._open_buckets.append(opening)
        return bucket

    async def _close_buckets(self, *, but: int = 0) -> None:
        """Close the oldest open buckets, until `but` so many are left."""
        while len(self._open_buckets) > but:
            await self._open_buckets.pop(0).aclose()

    def _look_now(self) -> None:
        if self._discovery is not None:
            self._discovery.look_now()

    async def _own_member(self, settings: Settings, cluster_id: str) -> Member:
        broker = self._broker
        address = await self._parts.find_address(settings, broker.port if broker is not None else None)
        return Member(cluster_id, address, broker.metadata if broker is not None else NO_METADATA)

    async def _drive(self, discovery: Discovery, broker: Broker) -> None:
        """Hand every complete listing's peers to the broker, and tell when it has them all, or not."""
        polls, said, refused = discovery.polls, "", ""
        while True:
            peers, missing = discovery.peers, frozenset[str]()
            try:
                await broker.apply(peers)
                seen = await broker.cluster()
            except BrokerError as error:
                if str(error) != refused:
                    log.error("broker refused its peers, trying again at the next poll error=%s", error)
                refused = str(error)
            else:
                refused = ""
                if seen is not None and discovery.polls:
                    possible = frozenset(peer.cluster_id for peer in peers) - broker.skipped
                    missing = possible - seen
                    if (state := _state(len(possible), missing, len(peers) - len(possible))) != said:
                        log.info("cluster %s", state)
                        said = state
            # A broker needs a moment to connect; nobody waits for the next poll to be told that it has.
            wait_s = _CONNECT_INTERVAL_S if missing else math.inf
            if await sleep_unless(self._parts.clock, wait_s, discovery.polled(polls)):
                polls = discovery.polls

    async def _follow_settings(
        self, discovery: Discovery, settings: Settings, bucket: Bucket, own: Member, mark: object
    ) -> None:
        """Apply the settings whenever they have changed for the better; a bad change stops nothing."""
        while True:
            # An old bucket is closed only once nothing of it is needed any more: whoever is cancelled while
            # he moves still leaves through the bucket that his file is in.
            if not discovery.is_moving:
                await self._close_buckets(but=1)
            await self._parts.clock.sleep(_WATCH_INTERVAL_S)
            now = self._parts.settings_mark()
            if now == mark:
                continue
            mark = now
            try:
                changed = self._without_fixed(settings, self._parts.read_settings())
                if changed != settings:
                    bucket, own = await self._apply(discovery, settings, changed, bucket, own)
                    settings = changed
                    _log_durations(settings)
                    log.info("settings applied")
            except DiscoveryError as error:
                log.error("settings not applied, the old ones stay in force error=%s", error)

    async def _apply(
        self, discovery: Discovery, settings: Settings, changed: Settings, bucket: Bucket, own: Member
    ) -> tuple[Bucket, Member]:
        cluster_id = changed.cluster_id or own.cluster_id
        next_own = await self._own_member(changed, cluster_id)
        if all(getattr(settings, name) == getattr(changed, name) for name in _OF_BUCKET):
            await discovery.reconfigure(changed, bucket, next_own)
            return bucket, next_own
        next_bucket = await self._open_bucket(changed)
        await discovery.reconfigure(changed, next_bucket, next_own)
        return next_bucket, next_own

    def _without_fixed(self, settings: Settings, changed: Settings) -> Settings:
        """Return `changed` with what only a restart can change left as it is."""
        kept = {
            name: getattr(settings, name)
            for name in _FIXED
            if getattr(settings, name) != getattr(changed, name)
        }
        if kept:
            log.warning(
                "settings wait for a restart keys=%s", ",".join(name.replace("_", "-") for name in kept)
            )
        return replace(changed, **kept)


def _state(peers: int, missing: frozenset[str], skipped: int) -> str:
    """Say how far the broker's cluster is what the bucket says it should be.

    `peers` are those that can be; `skipped` others can not."""
    there = f"{peers + 1 - len(missing)}/{peers + 1}"
    others = f" ({skipped} in the bucket skipped: no peers of this broker)" if skipped else ""
    names = ", ".join(repr(cluster_id) for cluster_id in sorted(missing))
    return f"incomplete {there}{others}, waiting for {names}" if missing else f"formed {there}{others}"


def _log_durations(settings: Settings) -> None:
    log.info(
        "settings file-expiration=%gs update-interval=%gs poll-interval=%gs compatibility=%s",
        settings.file_expiration_s,
        settings.update_interval_s,
        settings.poll_interval_s,
        settings.compatibility,
    )
    spare_s = (settings.file_expiration_s - settings.update_interval_s) / 2
    if 0 < spare_s < settings.poll_interval_s:
        log.warning(
            "an outage of the store between two polls could pass unnoticed and cost a living node: "
            "set poll-interval to %gs or less, or file-expiration higher",
            spare_s,
        )
