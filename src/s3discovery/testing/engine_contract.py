"""The contract of Engine, to be run over every implementation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from s3discovery.brokers import Engine
from s3discovery.errors import BrokerError
from s3discovery.node import Address, Member

_LOOK_EVERY_S = 0.1

MakeEngine = Callable[[str], Engine]
StopBroker = Callable[[Engine], Awaitable[None]]


class EngineContract:
    """What every Engine does; for pytest with asyncio.

    Subclass it as `Test...` with two fixtures. `make_engine` gives a function of a name ("a", "b", "c"): it
    returns a new Engine, not entered, over a blank broker of its own at `host`, whatever its cluster id
    then is. `stop_broker` gives a coroutine function that stops the broker of an entered engine for good,
    as if its machine was lost. `limit_s` is how long the brokers may take to see what has happened, and to do
    what they refuse at first: it is asked of them again, as formation and the driver do."""

    host = "127.0.0.1"
    limit_s = 30.0

    def address(self, engine: Engine) -> Address:
        """Return where peers dial an entered engine."""
        return Address(self.host, engine.port or 7800)

    async def test_it_is_blank_until_it_joins(self, make_engine: MakeEngine) -> None:
        async with self._founded(make_engine) as a, make_engine("b") as b:
            assert await b.is_blank()
            await self._join(b, a)
            assert not await b.is_blank()
            await self._until(a, b)

    async def test_founding_again_changes_nothing(self, make_engine: MakeEngine) -> None:
        async with self._founded(make_engine) as a:
            await a.found()
            assert await a.cluster() in (None, frozenset())
            assert await a.down() == frozenset()

    async def test_joining_again_changes_nothing(self, make_engine: MakeEngine) -> None:
        async with self._clustered(make_engine, "b") as (a, b):
            await self._join(b, a)
            await self._until(a, b)
            assert await a.down() == await b.down() == frozenset()

    async def test_one_may_join_by_any_member(self, make_engine: MakeEngine) -> None:
        async with self._clustered(make_engine, "b") as (a, b), make_engine("c") as c:
            await self._join(c, b)
            await self._apply(a, b, c)
            await self._until(a, b, c)

    async def test_who_is_down_is_forgotten(self, make_engine: MakeEngine, stop_broker: StopBroker) -> None:
        async with self._clustered(make_engine, "b", "c") as (a, b, c):
            gone = self._member(c).cluster_id
            await stop_broker(c)
            await self._until_down(a, {gone})
            assert await a.cluster() in (None, {self._member(b).cluster_id})
            await self._persist(lambda: a.forget(gone))
            await self._until_down(a, set())
            await a.forget(gone)

    async def test_who_leaves_is_blank_and_counted_no_more(self, make_engine: MakeEngine) -> None:
        async with self._clustered(make_engine, "b", "c") as (a, b, c):
            await self._persist(c.leave)
            assert await c.is_blank()
            await self._apply(a, b)
            await self._until(a, b)
            await self._until_down(a, set())

    @asynccontextmanager
    async def _founded(self, make_engine: MakeEngine) -> AsyncIterator[Engine]:
        async with make_engine("a") as a:
            assert await a.is_blank()
            await a.found()
            await self._apply(a)
            yield a

    @asynccontextmanager
    async def _clustered(self, make_engine: MakeEngine, *names: str) -> AsyncIterator[tuple[Engine, ...]]:
        """Give the founder and, joined to it one after the other, those of `names`."""
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(self._founded(make_engine))]
            for name in names:
                engine = await stack.enter_async_context(make_engine(name))
                await self._join(engine, engines[0])
                engines.append(engine)
                await self._apply(*engines)
            await self._until(*engines)
            yield tuple(engines)

    def _member(self, engine: Engine) -> Member:
        """Return an engine as peers find it in the bucket."""
        cluster_id = engine.cluster_id
        assert cluster_id is not None, "peers know an engine by its own name"
        return Member(cluster_id, self.address(engine), dict(engine.metadata))

    async def _join(self, engine: Engine, other: Engine) -> None:
        await self._persist(lambda: engine.join(self._member(other)))

    async def _persist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step, again and again while the broker refuses it."""
        async with asyncio.timeout(self.limit_s):
            while True:
                try:
                    return await step()
                except BrokerError:
                    await asyncio.sleep(_LOOK_EVERY_S)

    async def _apply(self, *engines: Engine) -> None:
        """Hand each the others, as the driver does."""
        for engine in engines:
            await engine.apply(frozenset(self._member(other) for other in engines if other is not engine))

    async def _until(self, *engines: Engine) -> None:
        """Wait until each sees all others, and nobody else."""
        names = {self._member(engine).cluster_id for engine in engines}
        async with asyncio.timeout(self.limit_s):
            for engine in engines:
                wanted = names - {self._member(engine).cluster_id}
                while await engine.cluster() not in (None, wanted):  # noqa: ASYNC110 - the seam has no event
                    await asyncio.sleep(_LOOK_EVERY_S)

    async def _until_down(self, engine: Engine, names: set[str]) -> None:
        async with asyncio.timeout(self.limit_s):
            while await engine.down() != names:  # noqa: ASYNC110 - the seam has no event
                await asyncio.sleep(_LOOK_EVERY_S)
