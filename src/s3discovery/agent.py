"""The agent: one node for as long as it runs. Discovery and its broker in one TaskGroup, settings followed.

What an agent is made of comes from outside (wiring joins it); here is only how the parts live together:
the broker is entered first, since it knows its port and its key; the node file is published next; and
from then on every complete listing is applied to the broker, and every good change of settings to both.
With a child in front of which the agent stands, the child's end is the agent's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace

from s3discovery.brokers import Addressed, Broker, Engine, Messenger, Surroundings
from s3discovery.bucket import Bucket
from s3discovery.child import Child
from s3discovery.clock import Clock, sleep_unless
from s3discovery.discovery import Discovery
from s3discovery.driver import Driver
from s3discovery.errors import DiscoveryError, UnreachableError
from s3discovery.node import NO_METADATA, Address, Member
from s3discovery.outputs import Outputs
from s3discovery.running import ClusterState, Running, Sight
from s3discovery.settings.config import KEYS, Settings
from s3discovery.settings.keys import FIXED
from s3discovery.settings.keys.ownership import OWNERSHIP
from s3discovery.settings.telling import tell_durations

log = logging.getLogger(__name__)

# How often the settings file is looked at: a stat costs microseconds, and nobody waits for less.
_WATCH_INTERVAL_S = 1.0
_OF_BUCKET = tuple(
    key.attribute for key in KEYS if key in OWNERSHIP or key.name.startswith(("s3-", "credentials-", "java-"))
)


Serve = Callable[[Running], AbstractAsyncContextManager[object]]
MakeOutputs = Callable[[Settings, Mapping[str, str], Child | None], Outputs | None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an agent is made of.

    `read_settings` raises SettingsError with all problems; `settings_mark` changes whenever reading
    them again could give something else. `make_broker` returns None for `broker:none`. `child` is a program
    to stand in front of. While what `listen` returns is entered, somebody may ask the node to leave, or how
    it is; what `serve` returns tells others who the members are. `reloading` and `reloaded` are called when
    somebody asked for the settings to be read again, and when that is done."""

    read_settings: Callable[[], Settings]
    settings_mark: Callable[[], object]
    open_bucket: Callable[[Settings], AbstractAsyncContextManager[Bucket]]
    make_broker: Callable[[Surroundings], Broker | None]
    find_address: Callable[[Settings, int | None], Awaitable[Address]]
    make_cluster_id: Callable[[], str]
    clock: Clock
    environ: Mapping[str, str] = field(default_factory=lambda: NO_METADATA, repr=False)
    child: Child | None = None
    make_outputs: MakeOutputs = lambda settings, environ, child: None
    listen: Serve = lambda running: nullcontext()
    serve: Serve = lambda running: nullcontext()
    reloading: Callable[[], None] = lambda: None
    reloaded: Callable[[], None] = lambda: None


class Agent:
    """One node. `run` lasts until it is cancelled, or its child ends, and then leaves politely."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._broker: Broker | None = None
        self._discovery: Discovery | None = None
        self._driver: Driver | None = None
        self._outputs: Outputs | None = None
        self._left = asyncio.Event()
        self._leaving = asyncio.Lock()
        self._reload_asked = False
        self._open_buckets: list[AsyncExitStack] = []

    async def run(self, started: Callable[[Discovery, Broker | None], None] | None = None) -> int:
        """Be a node; `started` is called once the first attempt to register and to list has been made.

        Returns the exit code of the child; without one it lasts until it is cancelled. Raises SettingsError,
        AddressError or BrokerError if the node cannot start."""
        mark = self._parts.settings_mark()
        settings = self._parts.read_settings()
        tell_durations(settings)
        cluster_id = settings.cluster_id or self._parts.make_cluster_id()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._stop_child)
            self._outputs = self._parts.make_outputs(settings, self._parts.environ, self._parts.child)
            if self._outputs is not None:
                await self._outputs.try_out()
            self._broker = self._parts.make_broker(self._surroundings(settings, cluster_id))
            if self._broker is not None:
                await stack.enter_async_context(self._broker)
                cluster_id = self._broker.cluster_id or cluster_id
            own = await self._own_member(settings, cluster_id)
            stack.push_async_callback(self._close_buckets)
            bucket = await self._open_bucket(settings)
            self._discovery = Discovery(settings, bucket, own, clock=self._parts.clock)
            discovery = await stack.enter_async_context(self._discovery)
            if started is not None:
                started(discovery, self._broker)
            running = Running(
                settings,
                discovery,
                self._parts.clock,
                self.cluster_state,
                self.leave,
                self._sight,
                self._messages,
            )
            await stack.enter_async_context(self._parts.listen(running))
            await stack.enter_async_context(self._parts.serve(running))
            # Last of all to be entered, so the child is told to end before the file is taken away.
            stack.callback(self._tell_child)
            try:
                return await self._live(discovery, settings, bucket, own, mark)
            except asyncio.CancelledError as error:
                # Kept until all is left: a second cancellation that meets an exit stack under way would make
                # one of the two its own context, and contextlib would follow that for ever.
                cancelled = error
            except ExceptionGroup as group:
                refused, bugs = group.split(DiscoveryError)
                if refused is None or bugs is not None:
                    raise
                raise refused.exceptions[0] from group
        raise cancelled

    def _messages(self) -> Mapping[str, int]:
        broker: object = self._broker
        return broker.messages() if isinstance(broker, Messenger) else {}

    def _sight(self) -> Sight | None:
        return self._driver.sight if self._driver is not None else None

    def cluster_state(self) -> ClusterState | None:
        """Return what the driven broker's cluster is; None where no broker is driven."""
        if self._leaving.locked() or self._left.is_set():
            return ClusterState("leaving", is_whole=True)
        if self._broker is None:
            return None
        return self._driver.state if self._driver is not None else ClusterState()

    async def leave(self) -> None:
        """Take the node out of its broker's cluster for good, and end `run`.

        Raises BrokerError if the broker refuses; then everything stays as it is. Who asks while it leaves
        already waits for that."""
        async with self._leaving:
            if self._driver is not None:
                await self._driver.leave()
            if self._discovery is not None:
                self._discovery.depart()
            self._left.set()

    def reload(self) -> None:
        """Have the settings read again now, even if their file looks as it did."""
        self._reload_asked = True
        self._parts.reloading()

    async def _live(
        self, discovery: Discovery, settings: Settings, bucket: Bucket, own: Member, mark: object
    ) -> int:
        """Drive the broker and follow the settings until the child ends or the node leaves."""
        async with asyncio.TaskGroup() as tasks:
            following = [
                tasks.create_task(
                    self._follow_settings(discovery, settings, bucket, own, mark), name="settings"
                ),
                tasks.create_task(self._limit_wait(discovery, settings), name="store"),
            ]
            if self._outputs is not None:
                following.append(tasks.create_task(self._outputs.run(discovery), name="outputs"))
            if self._broker is not None:
                self._driver = Driver(discovery, self._broker, self._parts.clock, self._parts.child)
                following.append(tasks.create_task(self._drive(self._driver), name="broker"))
            code = await self._end(discovery)
            for task in following:
                task.cancel()
        return code

    async def _drive(self, driver: Driver) -> None:
        await self._prepared()
        await driver.run()

    async def _prepared(self) -> None:
        """Wait until a child would find every file that is rendered for it."""
        if self._outputs is not None and self._parts.child is not None:
            await self._outputs.written()

    async def _end(self, discovery: Discovery) -> int:
        """Wait until the child has ended or the node has left; return the exit code."""
        leaving = asyncio.ensure_future(self._left.wait())
        running = asyncio.ensure_future(self._run_child(discovery))
        try:
            await asyncio.wait({leaving, running}, return_when=asyncio.FIRST_COMPLETED)
            async with self._leaving:  # a program may end as it leaves its cluster: that is to be finished
                return 0 if self._left.is_set() else running.result()
        finally:
            leaving.cancel()
            running.cancel()

    async def _run_child(self, discovery: Discovery) -> int:
        """Return how the child ended; without a broker to start it, it is started after the first listing."""
        child = self._parts.child
        if child is None:
            forever: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            return await forever
        if self._broker is None:
            await discovery.polled()
            await self._prepared()
            await child.start()
        return await child.exited()

    async def _limit_wait(self, discovery: Discovery, settings: Settings) -> None:
        """Give up when a broker's start has waited too long for the store."""
        waits = self._parts.child is not None or isinstance(self._broker, Engine)
        if not waits or not settings.store_timeout_s or discovery.polls:
            return
        if not await sleep_unless(self._parts.clock, settings.store_timeout_s, discovery.polled()):
            raise UnreachableError(
                f"no complete listing within store-timeout ({settings.store_timeout_s:g} s), so no broker "
                f"was started: {discovery.status.error}"
            )

    def _tell_child(self) -> None:
        if self._parts.child is not None:
            self._parts.child.tell_to_stop()

    async def _stop_child(self) -> None:
        if self._parts.child is not None:
            await self._parts.child.stop()

    def _surroundings(self, settings: Settings, cluster_id: str) -> Surroundings:
        return Surroundings(
            settings, cluster_id, self._look_now, self._parts.environ, self._parts.child, self._own
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

    def _own(self) -> Member | None:
        return self._discovery.own if self._discovery is not None else None

    async def _own_member(self, settings: Settings, cluster_id: str) -> Member:
        broker = self._broker
        if isinstance(broker, Addressed) and settings.bind_address is None:
            settings = replace(settings, bind_address=broker.host)
        address = await self._parts.find_address(settings, broker.port if broker is not None else None)
        return Member(cluster_id, address, broker.metadata if broker is not None else NO_METADATA)

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
            was_asked, self._reload_asked = self._reload_asked, False
            if now == mark and not was_asked:
                continue
            mark = now
            try:
                changed = self._without_fixed(settings, self._parts.read_settings())
                if changed != settings:
                    bucket, own = await self._apply(discovery, settings, changed, bucket, own)
                    settings = changed
                    tell_durations(settings)
                    log.info("settings applied")
                elif was_asked:
                    log.info("settings read again, nothing to apply")
            except DiscoveryError as error:
                log.error("settings not applied, the old ones stay in force error=%s", error)
            if was_asked:
                self._parts.reloaded()

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
        waiting = [
            key for key in FIXED if getattr(settings, key.attribute) != getattr(changed, key.attribute)
        ]
        if waiting:
            log.warning("settings wait for a restart keys=%s", ",".join(key.name for key in waiting))
        return replace(changed, **{key.attribute: getattr(settings, key.attribute) for key in waiting})
