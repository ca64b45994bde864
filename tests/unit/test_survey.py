"""What a store honours is found out once, by a node that is in already, and nobody else notices."""

import logging
from collections.abc import Callable, Mapping

import pytest

from s3discovery import codec, membership
from s3discovery.bucket import Bucket, Stored, Written
from s3discovery.capabilities import OF_AWS, UNKNOWN, Capabilities
from s3discovery.discovery import Discovery
from s3discovery.errors import (
    AccessDeniedError,
    ConditionUnsupportedError,
    ObjectMissingError,
    PreconditionError,
    UnreachableError,
)
from s3discovery.node import NO_METADATA, Address, Member, NodeFile
from s3discovery.own_file import OwnFile
from s3discovery.settings.config import Settings
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

ALL = Capabilities(True, True, True, True)
SETTINGS = make_settings(s3_endpoint="http://store:1")
POLL_S = 5


class LesserBucket(MemoryBucket):
    """A store that leaves out what `ignores` names, by the attributes of Capabilities."""

    def __init__(self, clock: FakeClock, *ignores: str) -> None:
        super().__init__(clock)
        self.ignores = set(ignores)
        self.deleted: list[str] = []
        self.on_create: Callable[[], None] = lambda: None
        self.deletes_missing = True

    async def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Written:
        if if_none_match:
            self.on_create()
        return await super().put(
            key,
            body,
            NO_METADATA if "metadata" in self.ignores else metadata,
            if_match=None if "conditional_write" in self.ignores else if_match,
            if_none_match=if_none_match and "conditional_create" not in self.ignores,
        )

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        self.deleted.append(key)
        if key not in self.keys and not self.deletes_missing:
            await self._ask("delete", key)
            if if_match is not None:
                raise PreconditionError("gone", status=404, code="NoSuchKey")
            return False
        return await super().delete(key, if_match=None if "conditional_delete" in self.ignores else if_match)


def body(cluster_id: str) -> bytes:
    return codec.encode(NodeFile("1", 1_800_000_000_000, cluster_id, Address("h.example", 7800)), "1")


def node(bucket: Bucket, clock: FakeClock, settings: Settings = SETTINGS) -> Discovery:
    return Discovery(settings, bucket, Member("a", Address("a.example", 7800)), clock=clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_store_is_asked_once_after_the_own_file_is_in(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = LesserBucket(clock)
    with caplog.at_level(logging.INFO):
        async with node(bucket, clock) as a:
            assert bucket.requests == {"put": 1, "list": 1}, "nobody waits for it"
            assert a.status.capabilities == UNKNOWN
            before = bucket.peek("nodes/a")
            await clock.settle()
            assert a.status.capabilities == ALL
            assert bucket.requests == {"put": 3, "list": 1, "delete": 1, "get": 1}
            assert bucket.peek("nodes/a") == before, "the own file is as it was"
            assert bucket.keys == {"nodes/a"}
            assert [membership.is_probe(key, "nodes/") for key in bucket.deleted] == [True]
            bucket.requests.clear()
            await clock.advance(POLL_S * 3)
            assert set(bucket.requests) == {"list"}
            await clock.advance(600)
            assert len(bucket.deleted) == 1
            assert bucket.requests["get"] == 0
    (line,) = [record.message for record in caplog.records if "honours" in record.message]
    assert line.endswith(
        "conditional_create=yes conditional_write=yes conditional_delete=yes metadata=yes "
        "endpoint=http://store:1 bucket='bucket'"
    )
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_aws_is_known_and_an_observer_asks_nobody(clock: FakeClock) -> None:
    bucket = LesserBucket(clock)
    async with node(bucket, clock, make_settings()) as a:
        await clock.settle()
        assert a.status.capabilities == OF_AWS
        assert bucket.requests == {"put": 1, "list": 1}
    bucket.requests.clear()
    async with Discovery(SETTINGS, bucket, clock=clock) as observer:
        await clock.advance(POLL_S * 3)
        assert observer.status.capabilities == UNKNOWN
        assert set(bucket.requests) == {"list"}


@pytest.mark.parametrize(
    "ignored",
    [
        ("conditional_create",),
        ("conditional_write",),
        ("conditional_delete",),
        ("metadata",),
        ("conditional_create", "conditional_write", "conditional_delete"),
        ("conditional_create", "conditional_write", "conditional_delete", "metadata"),
    ],
    ids="+".join,
)
async def test_what_is_ignored_is_said_with_its_cost_and_does_no_harm(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, ignored: tuple[str, ...]
) -> None:
    bucket = LesserBucket(clock, *ignored)
    bucket.plant("nodes/b", body("b"))
    with caplog.at_level(logging.WARNING):
        async with node(bucket, clock) as a:
            await clock.settle()
            assert a.status.capabilities == Capabilities(**{name: name not in ignored for name in _NAMES})
            bucket.requests.clear()
            await clock.advance(POLL_S * 2)
            assert set(bucket.requests) <= {"list", "get"}, "the file is known to be our own"
            assert bucket.requests["get"] <= 1
            bucket.requests.clear()
            await clock.advance(POLL_S)
            assert set(bucket.requests) == {"list"}
            assert {member.cluster_id for member in a.members} == {"a", "b"}
            assert a.status.registered
            assert a.status.rival is None
            assert a.status.error is a.status.write_error is None
        assert bucket.keys == {"nodes/b"}, "it left"
    said = [record.message for record in caplog.records]
    assert len(said) == len(ignored), said
    for name in ignored:
        (line,) = [line for line in said if f"store does not honour {name}: " in line]
        assert len(line) > 80


_NAMES = ("conditional_create", "conditional_write", "conditional_delete", "metadata")


async def test_a_refused_condition_is_an_answer(clock: FakeClock) -> None:
    class Refusing(MemoryBucket):
        async def put(
            self,
            key: str,
            body: bytes,
            metadata: Mapping[str, str] = NO_METADATA,
            *,
            if_match: str | None = None,
            if_none_match: bool = False,
        ) -> Written:
            if if_match or if_none_match:
                raise ConditionUnsupportedError("501")
            return await super().put(key, body, metadata)

        async def delete(self, key: str, *, if_match: str | None = None) -> bool:
            if if_match:
                raise ConditionUnsupportedError("501")
            return await super().delete(key)

    bucket = Refusing(clock)
    async with node(bucket, clock) as a:
        await clock.settle()
        assert a.status.capabilities == Capabilities(False, False, False, True)
        assert a.status.registered
        assert bucket.requests["put"] == 2, "once refused, conditions are not tried on"
    assert bucket.keys == set()


async def test_an_error_is_no_answer_and_asked_again_ever_more_rarely(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = LesserBucket(clock, "conditional_create")
    settings = make_settings(
        s3_endpoint="http://store:1", poll_interval="10m", update_interval="2h", file_expiration="5h"
    )
    denied = AccessDeniedError("no s3:DeleteObject")

    async def refuse(key: str, *, if_match: str | None = None) -> bool:
        bucket.deleted.append(key)
        raise denied

    allowed, bucket.delete = bucket.delete, refuse  # type: ignore[method-assign]  # until it is allowed
    with caplog.at_level(logging.INFO):
        async with node(bucket, clock, settings) as a:
            await clock.settle()
            assert a.status.capabilities == Capabilities(False, True, None, True)
            assert a.status.error is a.status.write_error is None
            await clock.advance(60)
            assert 3 <= len(bucket.deleted) <= 7
            gets = bucket.requests["get"]
            await clock.advance(24 * 3600)
            assert len(bucket.deleted) <= 60
            assert bucket.requests["get"] == gets, "what is known is not asked again"
            bucket.delete = allowed  # type: ignore[method-assign]
            await clock.advance(3600)
            assert a.status.capabilities == Capabilities(False, True, True, True)
    told = [record for record in caplog.records if "honours" in record.message]
    assert len(told) == 2
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1, "what was said is not said again"
    assert "does not honour conditional_create" in warned[0]


async def test_an_outage_at_the_start_is_waited_for(clock: FakeClock) -> None:
    bucket = LesserBucket(clock)
    bucket.outage = UnreachableError("no answer")
    async with node(bucket, clock) as a:
        await clock.advance(60)
        assert a.status.capabilities == UNKNOWN
        assert bucket.deleted == []
        bucket.outage = None
        await clock.advance(60)
        assert a.status.registered
        assert a.status.capabilities == ALL


async def test_an_outage_in_between_is_no_answer(clock: FakeClock) -> None:
    bucket = LesserBucket(clock)
    async with node(bucket, clock) as a:
        bucket.outage = UnreachableError("no answer")
        await clock.settle()
        assert a.status.capabilities == UNKNOWN
        assert bucket.requests["put"] == 2, "the other questions would fail as well"
        bucket.outage = None
        await clock.advance(2)
        assert a.status.capabilities == ALL


async def test_every_place_is_asked_once(clock: FakeClock) -> None:
    first, second = LesserBucket(clock), LesserBucket(clock, "conditional_delete")
    elsewhere = make_settings(s3_endpoint="http://store:1", s3_bucket_name="other")
    prefixed = make_settings(s3_endpoint="http://store:1", file_prefix="elsewhere/")
    own = Member("a", Address("a.example", 7800))
    async with node(first, clock) as a:
        await clock.settle()
        await a.reconfigure(prefixed, first, own)
        await clock.settle()
        assert len([key for key in first.deleted if "probe" in key]) == 1, "it is the same store"
        await a.reconfigure(elsewhere, second, own)
        await clock.settle()
        assert a.status.capabilities == Capabilities(True, True, False, True)
        assert len([key for key in second.deleted if "probe" in key]) == 1
        await a.reconfigure(SETTINGS, first, own)
        await clock.advance(POLL_S)
        assert a.status.capabilities == ALL
        assert len([key for key in first.deleted if "probe" in key]) == 1


async def test_a_wipe_just_before_the_question_is_noticed_as_ever(clock: FakeClock) -> None:
    bucket = LesserBucket(clock)
    bucket.plant("nodes/b", body("b"))

    def wipe() -> None:
        bucket.on_create = lambda: None
        for key in bucket.keys:
            bucket.drop(key)

    bucket.on_create = wipe
    async with node(bucket, clock) as a:
        assert {member.cluster_id for member in a.members} == {"a", "b"}
        await clock.settle()
        assert a.status.capabilities == ALL, "it is the wipe that let the first creation through"
        assert bucket.keys == {"nodes/a"}
        await clock.advance(POLL_S * 2)
        assert {member.cluster_id for member in a.members} == {"a", "b"}, "b has just not come back yet"
        await clock.advance(120)
        assert {member.cluster_id for member in a.members} == {"a"}
        assert a.status.registered


async def test_not_found_is_an_answer_unless_every_missing_key_is(clock: FakeClock) -> None:
    class NotFound(LesserBucket):
        async def delete(self, key: str, *, if_match: str | None = None) -> bool:
            if if_match is not None and key not in self.keys:
                raise PreconditionError("gone", status=404, code="NoSuchKey")
            return await super().delete(key, if_match=if_match)

    async with node(NotFound(clock), clock) as a:
        await clock.settle()
        assert a.status.capabilities == ALL
    bucket = LesserBucket(clock)
    bucket.deletes_missing = False
    async with node(bucket, clock) as a:
        await clock.settle()
        assert a.status.capabilities == Capabilities(True, True, None, True)


async def test_metadata_of_a_file_that_is_not_ours_says_nothing(clock: FakeClock) -> None:
    class Swapped(LesserBucket):
        async def get(self, key: str, *, limit: int) -> Stored:
            found = await super().get(key, limit=limit)
            return Stored(body("x"), "another", found.modified_s)

    class Vanished(LesserBucket):
        async def get(self, key: str, *, limit: int) -> Stored:
            raise ObjectMissingError("gone")

    for kind in (Swapped, Vanished):
        async with node(kind(clock), clock) as a:
            await clock.settle()
            assert a.status.capabilities == Capabilities(True, True, True, None)


async def test_who_leaves_meanwhile_writes_no_more(clock: FakeClock) -> None:
    bucket = LesserBucket(clock, *_NAMES)
    async with node(bucket, clock):
        pass
    await clock.settle()
    assert bucket.keys == set()


async def test_a_file_that_another_took_over_is_not_written(clock: FakeClock) -> None:
    bucket = LesserBucket(clock, *_NAMES)
    member = Member("a", Address("a.example", 7800))
    own = OwnFile(bucket, "nodes/", member, "1", "1800000000000-0123456789abcdef", clock)
    assert await own.honours(create=True) is None, "nor one that was never written"
    await own.refresh()
    await own.retire()
    assert await own.honours(create=True) is await own.honours(create=False) is None
    assert bucket.requests["put"] == 1


def test_it_reads_as_a_line() -> None:
    assert str(UNKNOWN).startswith("conditional_create=unknown conditional_write=unknown ")
    assert not UNKNOWN.is_known
    assert OF_AWS.is_known
    assert list(UNKNOWN.missing()) == list(OF_AWS.missing()) == []
