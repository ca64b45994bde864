"""What every Broker does."""

import asyncio
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from s3discovery.brokers import Broker
from s3discovery.node import NO_METADATA, Address, Member

_LOOK_EVERY_S = 0.01
# S3 sends metadata as headers x-amz-meta-..., names in lower case, at most 2 KB together.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_TEXT = re.compile(r"[!-~]([ -~]*[!-~])?")
_METADATA_LIMIT_BYTES = 2048
_NOBODY: frozenset[Member] = frozenset()

MakeBroker = Callable[[str], Broker]


class BrokerContract:
    """What every Broker does; for pytest with asyncio.

    Subclass it as `Test...` with a fixture `make_broker` that gives a function of a cluster id: it
    returns a new broker, not entered, whose cluster transport listens at `host`. Those that it made can be
    each other's peers. `limit_s` is how long they may take to connect."""

    host = "127.0.0.1"
    limit_s = 15.0

    async def test_what_is_published_fits_into_a_node_file(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker:
            assert broker.port is None or 1 <= broker.port <= 65535
            metadata = dict(broker.metadata)
            for name, text in metadata.items():
                assert _NAME.fullmatch(name), f"{name!r} cannot be part of a header's name"
                assert _TEXT.fullmatch(text), f"{text!r} cannot be a header"
            assert sum(map(len, [*metadata, *metadata.values()])) <= _METADATA_LIMIT_BYTES

    async def test_what_is_published_stays_the_same(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker, make_broker("b") as other:
            before = (broker.port, dict(broker.metadata))
            await self._connect(broker, other)
            await broker.apply(_NOBODY)
            assert (broker.port, dict(broker.metadata)) == before

    async def test_it_begins_alone(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker:
            assert await broker.cluster() in (None, frozenset())

    async def test_it_connects_with_the_peers_it_is_handed(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as a, make_broker("b") as b, make_broker("c") as c:
            brokers = {"a": a, "b": b, "c": c}
            members = {name: self._member(name, broker) for name, broker in brokers.items()}
            for name, broker in brokers.items():
                await broker.apply(frozenset(members[other] for other in brokers if other != name))
            for name, broker in brokers.items():
                await self._until_connected(broker, brokers.keys() - {name})

    async def test_the_same_again_does_nothing_more(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker, make_broker("b") as other:
            await self._connect(broker, other)
            before = await broker.cluster()
            for refreshed_s in (1.0, 2.0, 3.0):
                # As discovery does: a new set of new members, which differ by their last refresh alone.
                peer = replace(self._member("b", other), modified_s=refreshed_s, etag=str(refreshed_s))
                await broker.apply(frozenset({peer}))
                assert await broker.cluster() == before

    async def test_an_empty_set_ends_every_connection(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker, make_broker("b") as other:
            await self._connect(broker, other)
            for _ in range(2):
                await broker.apply(_NOBODY)
                assert await broker.cluster() in (None, frozenset())

    async def test_whoever_is_no_peer_any_more_is_let_go_and_may_return(
        self, make_broker: MakeBroker
    ) -> None:
        async with make_broker("a") as broker, make_broker("b") as other:
            await self._connect(broker, other)
            await broker.apply(frozenset({self._nobody_there("gone", other)}))
            assert (await broker.cluster() or frozenset()) <= {"gone"}
            await self._connect(broker, other)

    async def test_it_is_connected_with_none_but_those_it_was_handed(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker, make_broker("b") as b, make_broker("c") as c:
            own = frozenset({self._member("a", broker)})
            await b.apply(own)
            await c.apply(own)  # "c" would be a peer; it is not asked to be one
            await broker.apply(frozenset({self._member("b", b)}))
            await self._until_connected(broker, {"b"})
            seen = await broker.cluster()
            assert seen is None or seen == {"b"}

    async def test_those_that_cannot_be_peers_hide_nobody(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker, make_broker("b") as other:
            await other.apply(frozenset({self._member("a", broker)}))
            good = self._member("b", other)
            handed = frozenset({good, *self._strange(other)})
            await broker.apply(handed)
            await self._until_connected(broker, {"b"})
            await broker.apply(handed)
            seen = await broker.cluster()
            assert seen is None or {"b"} <= seen <= {member.cluster_id for member in handed}
            assert broker.skipped <= {member.cluster_id for member in handed} - {"b"}
            await broker.apply(frozenset({good}))
            assert broker.skipped == frozenset()

    async def test_it_leaves_cleanly(self, make_broker: MakeBroker) -> None:
        before = asyncio.all_tasks()
        async with make_broker("b") as other:
            async with make_broker("a") as broker:
                port = broker.port
                await self._connect(broker, other)
            if port is not None:
                assert not await self._is_listening(port)
        assert asyncio.all_tasks() == before

    async def test_it_leaves_cleanly_although_it_was_handed_nothing(self, make_broker: MakeBroker) -> None:
        before = asyncio.all_tasks()
        async with make_broker("a"):
            pass
        assert asyncio.all_tasks() == before

    async def test_an_error_inside_comes_out_as_it_is(self, make_broker: MakeBroker) -> None:
        class OwnError(Exception):
            pass

        came_out = False
        try:
            async with make_broker("a") as broker:
                await broker.apply(_NOBODY)
                raise OwnError
        except OwnError:
            came_out = True
        assert came_out

    async def test_the_next_run_is_a_peer_like_the_first(self, make_broker: MakeBroker) -> None:
        async with make_broker("a") as broker:
            for _ in range(2):
                async with make_broker("b") as other:
                    await self._connect(broker, other)

    def _member(self, cluster_id: str, broker: Broker) -> Member:
        """Return a broker as peers find it in the bucket."""
        return Member(cluster_id, Address(self.host, broker.port or 7800), dict(broker.metadata))

    def _nobody_there(self, cluster_id: str, like: Broker) -> Member:
        """Return a member with a name that nobody has, so that no look-up leads anywhere."""
        garbled = {name: text[::-1] for name, text in like.metadata.items()}
        return Member(cluster_id, Address("nobody.invalid", 7800), garbled)

    def _strange(self, like: Broker) -> Iterator[Member]:
        """Yield members that may well stand in a bucket, and cannot be peers of `like`."""
        address = Address(self.host, like.port or 7800)
        yield Member("bare", address, NO_METADATA)
        yield Member("other", address, {"of-something-else": "1"})
        for number, text in enumerate(("", " ", "0", "garbage", "ä🙂", "\x00\r\n", "f" * 4000)):
            yield Member(f"garbage-{number}", address, dict.fromkeys(like.metadata, text))
        for number, host in enumerate(
            ("a b", "-x", "tcp://127.0.0.1", "127.0.0.1;x", "ü" * 300, "1.2.3", "::%x y")
        ):
            yield Member(f"host-{number}", Address(host, 7800), dict(like.metadata))
        yield self._nobody_there("unreachable", like)

    async def _connect(self, broker: Broker, other: Broker, name: str = "b") -> None:
        """Make each the other's peer, and wait until `broker` says so."""
        await other.apply(frozenset({self._member("a", broker)}))
        await broker.apply(frozenset({self._member(name, other)}))
        await self._until_connected(broker, {name})

    async def _until_connected(self, broker: Broker, cluster_ids: AbstractSet[str]) -> None:
        """Wait until `broker` is connected with these at least; one that cannot tell is taken at its word."""
        async with asyncio.timeout(self.limit_s):
            while (seen := await broker.cluster()) is not None and not cluster_ids <= seen:  # noqa: ASYNC110 - the seam has no event
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _is_listening(self, port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
