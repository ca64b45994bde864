"""Discovery over a bucket in memory and a clock moved by hand: rules 1 to 9 and 11 of docs/design.md."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from s3discovery import codec
from s3discovery.discovery import Discovery
from s3discovery.errors import (
    AccessDeniedError,
    ConditionUnsupportedError,
    PreconditionError,
    StoreFaultError,
    ThrottledError,
    UnreachableError,
)
from s3discovery.membership import Change
from s3discovery.node import Address, Member, NodeFile
from s3discovery.settings.config import Settings
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings

POLL_S, UPDATE_S, EXPIRATION_S = 5, 20, 60
SETTINGS = make_settings()


def member(cluster_id: str, port: int = 7800) -> Member:
    return Member(cluster_id, Address(f"{cluster_id}.example", port))


def body(cluster_id: str, *, version: str = "1", port: int = 7800) -> bytes:
    node_file = NodeFile(version, 1_800_000_000_000, cluster_id, Address(f"{cluster_id}.example", port))
    return codec.encode(node_file, version)


def ids(discovery: Discovery) -> set[str]:
    return {found.cluster_id for found in discovery.members}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bucket(clock: FakeClock) -> MemoryBucket:
    return MemoryBucket(clock)


@pytest.fixture
def node(bucket: MemoryBucket, clock: FakeClock) -> Callable[..., Discovery]:
    def make(
        cluster_id: str, *, settings: Settings = SETTINGS, skew_s: float = 0, port: int = 7800
    ) -> Discovery:
        return Discovery(settings, bucket, member(cluster_id, port), clock=clock.seen_from(skew_s=skew_s))

    return make


async def test_registers_and_finds_the_others(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a, node("b") as b:
        assert ids(b) == {"a", "b"}
        await clock.advance(POLL_S)
        assert ids(a) == {"a", "b"}
        assert codec.decode(bucket.peek("nodes/a").body).address == Address("a.example", 7800)
        assert a.status.registered
        assert {found.cluster_id for found in a.peers} == {"b"}
    assert bucket.keys == set()


async def test_a_steady_poll_is_one_list_and_nothing_else(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    for index in range(50):
        bucket.plant(f"nodes/n{index}", body(f"n{index}"))
    async with node("a", settings=make_settings(update_interval="50s")):
        assert bucket.requests == {"put": 1, "list": 1, "get": 50}
        bucket.requests.clear()
        await clock.advance(POLL_S * 4)
        assert set(bucket.requests) == {"list"}
        assert 4 <= bucket.requests["list"] <= 5
        bucket.requests.clear()
        bucket.plant("nodes/n7", body("n7", port=7801))
        await clock.advance(POLL_S)
        assert bucket.requests["get"] == 1


async def test_a_failed_listing_keeps_the_members_and_says_so(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.plant("nodes/b", body("b"))
    async with node("a") as a:
        bucket.outage = UnreachableError("no answer")
        with caplog.at_level(logging.ERROR):
            await clock.advance(POLL_S * 4)
        assert ids(a) == {"a", "b"}
        assert isinstance(a.status.error, UnreachableError)
        assert len([r for r in caplog.records if "poll failed" in r.message]) == 1, (
            "changes are logged, not ticks"
        )
        bucket.outage = None
        await clock.advance(POLL_S * 2)
        assert a.status.error is None


async def test_a_file_that_cannot_be_read_hides_nobody(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("nodes/good", body("good"))
    bucket.plant("nodes/denied", body("denied"))
    bucket.failures["get", "nodes/denied"] = AccessDeniedError("no s3:GetObject")
    for key, garbage in {
        "empty": b"",
        "binary": bytes(range(256)),
        "large": b"A" * 10_000_000,
        "version": b"OXx8fHwxfHx8fHZlcnNpb258fHx8aHx8fHwxfHx8fA==",
        "other": body("good"),
    }.items():
        bucket.plant(f"nodes/{key}", garbage)
    async with node("a") as a:
        assert ids(a) == {"a", "good"}
        assert set(a.status.problems) == {
            f"nodes/{key}" for key in ("empty", "binary", "large", "version", "other", "denied")
        }
        assert "no s3:GetObject" in a.status.problems["nodes/denied"]
        bucket.failures.clear()
        await clock.advance(POLL_S)
        assert ids(a) == {"a", "good", "denied"}
        assert bucket.requests["get"] == 7, "the large file is never read, the denied one twice, garbage once"


async def test_a_known_node_outlives_garbage_over_its_file(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("nodes/b", body("b"))
    async with node("a") as a:
        bucket.plant("nodes/b", b"garbage")
        await clock.advance(POLL_S)
        assert ids(a) == {"a", "b"}
        bucket.failures["get", "nodes/b"] = StoreFaultError("500")
        bucket.plant("nodes/b", body("b", port=7801))
        await clock.advance(POLL_S)
        assert ids(a) == {"a", "b"}
        await clock.advance(EXPIRATION_S + POLL_S)
        assert ids(a) == {"a"}, "but it expires as any other"


@pytest.mark.parametrize("disturb", ["drop", "overwrite"])
async def test_the_own_file_is_mended_within_a_poll(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, disturb: str
) -> None:
    async with node("a") as a:
        written = bucket.peek("nodes/a").body
        if disturb == "drop":
            bucket.drop("nodes/a")
        else:
            bucket.plant("nodes/a", b"garbage")
        assert "a" in ids(a)
        await clock.advance(POLL_S)
        assert codec.decode(bucket.peek("nodes/a").body).address == codec.decode(written).address
        assert ids(a) == {"a"}


async def test_a_wiped_bucket_empties_no_cluster(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a, node("b") as b, node("c") as c:
        await clock.advance(POLL_S)
        for key in list(bucket.keys):
            bucket.drop(key)
        for _ in range(2 * POLL_S):
            await clock.advance(1)
            assert all(ids(each) == {"a", "b", "c"} for each in (a, b, c))
        assert bucket.keys == {"nodes/a", "nodes/b", "nodes/c"}


@pytest.mark.parametrize("skew_s", [0, 7 * 3600, -7 * 3600])
async def test_expiry_ignores_the_wall_clocks(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, skew_s: float
) -> None:
    bucket.plant("nodes/dead", body("dead"))
    async with node("a", skew_s=skew_s) as a, node("b", skew_s=-skew_s) as b:
        for _ in range(EXPIRATION_S):
            await clock.advance(1)
            assert {"a", "b"} <= ids(a) & ids(b) | {"b"}
        assert "dead" in ids(a), "exactly at the limit is alive"
        await clock.advance(POLL_S + 1)
        assert ids(a) == ids(b) == {"a", "b"}


async def test_expiry_without_a_date_header_runs_on_the_own_file(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.sends_date = False
    bucket.plant("nodes/dead", body("dead"))
    async with node("a") as a:
        await clock.advance(EXPIRATION_S - POLL_S)
        assert ids(a) == {"a", "dead"}
        await clock.advance(3 * POLL_S)
        assert ids(a) == {"a"}


async def test_a_store_whose_clock_leaps_loses_nobody(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a, node("b") as b:
        await clock.advance(POLL_S)
        for leap_s in (7 * 3600, -14 * 3600, 7 * 3600):
            bucket.skew_s += leap_s
            for _ in range(2 * UPDATE_S):
                await clock.advance(1)
                assert ids(a) == ids(b) == {"a", "b"}


async def test_expired_files_are_cleared_once_the_living_had_time_to_refresh_and_only_unchanged(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("nodes/dead", body("dead"), age_s=EXPIRATION_S + 1)
    bucket.plant("nodes/returning", body("returning"), age_s=EXPIRATION_S + 1)
    bucket.plant("nodes/notes.txt", b"not a node file", age_s=EXPIRATION_S * 1000)
    async with node("a") as a:
        assert ids(a) == {"a"}
        await clock.advance(3 * UPDATE_S)
        assert "nodes/dead" in bucket.keys, "an update interval, and twice that for whatever is in the way"
        bucket.plant("nodes/returning", body("returning", port=7801))
        await clock.advance(POLL_S)
        assert bucket.keys == {"nodes/a", "nodes/returning", "nodes/notes.txt"}
        assert ids(a) == {"a", "returning"}


async def test_clearing_that_is_denied_stops_nothing(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("nodes/dead", body("dead"), age_s=EXPIRATION_S + 1)
    bucket.failures["delete", "nodes/dead"] = AccessDeniedError("no s3:DeleteObject")
    async with node("a") as a:
        bucket.plant("nodes/b", body("b"))
        await clock.advance(3 * POLL_S)
        assert ids(a) == {"a", "b"}
        assert a.status.error is None


async def test_a_forged_expired_file_deletes_nobody_else(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a, node("victim"):
        bucket.plant("nodes/forged", body("victim"), age_s=EXPIRATION_S * 10)
        await clock.advance(4 * POLL_S)
        assert "nodes/victim" in bucket.keys
        assert ids(a) == {"a", "victim"}


@pytest.mark.parametrize("outage_s", [EXPIRATION_S, 10 * EXPIRATION_S, 3600])
async def test_an_outage_of_any_length_loses_nobody(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, outage_s: float
) -> None:
    bucket.plant("nodes/dead", body("dead"))
    async with node("a") as a, node("b") as b, node("c") as c:
        await clock.advance(POLL_S)
        bucket.outage = UnreachableError("no answer")
        await clock.advance(outage_s)
        bucket.outage = None
        for _ in range(UPDATE_S * 4):
            await clock.advance(1)
            assert all({"a", "b", "c"} <= ids(each) for each in (a, b, c))
        assert all(ids(each) == {"a", "b", "c"} for each in (a, b, c)), "who died meanwhile is gone then"


async def test_an_outage_is_not_asked_about_more_often_than_a_healthy_store(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a"):
        bucket.outage = UnreachableError("no answer")
        await clock.advance(20 * POLL_S)
        bucket.requests.clear()
        await clock.advance(100 * POLL_S)
        assert bucket.requests["list"] <= 100 * 2
        assert bucket.requests["put"] <= 100 * POLL_S / (UPDATE_S / 8)


async def test_leaving_deletes_the_own_file_only(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a"):
        bucket.plant(
            "nodes/a", body("a", port=9999), {"s3discovery-incarnation": "9999999999999-0123456789abcdef"}
        )
    assert codec.decode(bucket.peek("nodes/a").body).address.port == 9999


async def test_leaving_an_unreachable_store_ends_anyway(
    node: Callable[..., Discovery], bucket: MemoryBucket
) -> None:
    async with node("a"):
        bucket.outage = UnreachableError("no answer")
    assert bucket.keys == {"nodes/a"}


async def test_a_killed_node_is_taken_by_expiry(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    cable = Cable(bucket)
    async with node("a") as a:
        async with Discovery(SETTINGS, cable, member("b"), clock=clock):
            await clock.advance(POLL_S)
            assert ids(a) == {"a", "b"}
            cable.cut = UnreachableError("killed")
        assert "nodes/b" in bucket.keys
        await clock.advance(EXPIRATION_S + 3 * POLL_S)
        assert ids(a) == {"a"}
        await clock.advance(3 * UPDATE_S + POLL_S)
        assert bucket.keys == {"nodes/a"}


async def test_two_processes_with_one_id_both_say_so_and_do_not_flap(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with node("twin", port=1111) as first:
        await clock.advance(POLL_S)
        async with node("twin", port=2222) as second:
            await clock.advance(4 * POLL_S)
            assert first.status.rival is not None
            assert first.status.rival.address.port == 2222
            assert second.status.rival is not None
            assert second.status.rival.address.port == 1111
            complaints = [r for r in caplog.records if "cluster id used twice" in r.message]
            assert len(complaints) >= 2
            assert all(r.levelno == logging.ERROR for r in complaints)
            bucket.requests.clear()
            await clock.advance(UPDATE_S * 10)
            assert codec.decode(bucket.peek("nodes/twin").body).address.port == 2222, "the later one keeps it"
            assert bucket.requests["put"] <= 12, "one writes at its interval, the other not at all"
            assert bucket.requests["get"] <= 12
        await clock.advance(2 * POLL_S)
        assert codec.decode(bucket.peek("nodes/twin").body).address.port == 1111, (
            "and gives it back on leaving"
        )


async def test_a_lost_answer_to_a_put_is_no_rival(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a:
        stored = bucket.peek("nodes/a")
        registration = a._registration
        assert registration is not None
        registration.own._etag = "of-an-answer-that-never-came"
        await clock.advance(POLL_S)
        assert a.status.rival is None
        assert bucket.peek("nodes/a").body == stored.body


async def test_changes_are_told_once(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    told: list[Change] = []

    async def listen(discovery: Discovery) -> None:
        told.extend([change async for change in discovery.changes()])

    async with node("a") as a:
        listener = asyncio.create_task(listen(a))
        await clock.settle()
        async with node("b"):
            await clock.advance(POLL_S)
            bucket.plant("nodes/c", body("c"))
            await clock.advance(UPDATE_S * 2)
            bucket.plant("nodes/c", body("c", port=7801))
            await clock.advance(POLL_S)
        await clock.advance(POLL_S)
    await listener
    assert [(change.kind, change.member.cluster_id) for change in told] == [
        ("joined", "a"),
        ("joined", "b"),
        ("joined", "c"),
        ("moved", "c"),
        ("left", "b"),
    ]
    assert told[3].before is not None
    assert (told[3].before.address.port, told[3].member.address.port) == (7800, 7801)


async def test_a_nudge_polls_at_once_but_not_without_limit(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a", settings=make_settings(poll_interval="50s")) as a:
        bucket.plant("nodes/b", body("b"))
        a.look_now()
        await clock.settle()
        assert ids(a) == {"a", "b"}
        bucket.requests.clear()
        for _ in range(300):
            a.look_now()
            await clock.advance(0.1)
        assert bucket.requests["list"] <= 5 + 30 / 5 + 1


async def test_new_settings_move_the_own_file_at_once(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("other/b", body("b"))
    async with node("a") as a:
        changed = make_settings(file_prefix="other/", poll_interval="1s")
        await a.reconfigure(changed, bucket, member("a"))
        await clock.settle()
        assert bucket.keys == {"other/a", "other/b"}
        assert ids(a) == {"a", "b"}
        await a.reconfigure(changed, bucket, member("renamed"))
        await clock.settle()
        assert bucket.keys == {"other/renamed", "other/b"}
        assert ids(a) == {"renamed", "b"}
        bucket.requests.clear()
        await clock.advance(3)
        assert bucket.requests["list"] >= 3, "the new poll interval is in force"


async def test_registering_goes_on_until_the_store_lets_it(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.failures["put", "nodes/a"] = AccessDeniedError("no s3:PutObject")
    bucket.plant("nodes/b", body("b"))
    async with node("a") as a:
        assert ids(a) == {"a", "b"}, "who may not write may still see"
        assert not a.status.registered
        assert isinstance(a.status.write_error, AccessDeniedError)
        bucket.failures.clear()
        await clock.advance(POLL_S)
        assert a.status.registered
        assert a.status.write_error is None


async def test_registered_is_who_the_others_count(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    """Once written is not enough: the file may be gone, or have expired while writing was refused."""
    async with node("a") as a:
        assert a.status.registered
        bucket.failures["put", "nodes/a"] = AccessDeniedError("no s3:PutObject")
        await clock.advance(EXPIRATION_S - 1)
        assert a.status.registered
        await clock.advance(2)
        assert not a.status.registered
        bucket.failures.clear()
        await clock.advance(UPDATE_S)
        assert a.status.registered
        bucket.failures["put", "nodes/a"] = AccessDeniedError("no s3:PutObject")
        await clock.advance(UPDATE_S)
        bucket.drop("nodes/a")
        await clock.advance(POLL_S * 1.5)
        assert not a.status.registered
        bucket.failures.clear()
        await clock.advance(UPDATE_S)
        assert a.status.registered


async def test_a_departure_takes_the_file_away_whatever_leave_on_stop_says(
    node: Callable[..., Discovery], bucket: MemoryBucket
) -> None:
    settings = make_settings(leave_on_stop="false")
    async with node("a", settings=settings):
        pass
    assert bucket.keys == {"nodes/a"}
    async with node("a", settings=settings) as a:
        a.depart()
    assert bucket.keys == set()


async def test_an_observer_writes_nothing(bucket: MemoryBucket, clock: FakeClock) -> None:
    bucket.plant("nodes/b", body("b", version="4"))
    bucket.plant("nodes/dead", body("dead"), age_s=EXPIRATION_S + 1)
    async with Discovery(SETTINGS, bucket, clock=clock) as observer:
        await clock.advance(5 * POLL_S)
        assert ids(observer) == {"b"}
        assert observer.own is None
    assert set(bucket.requests) == {"list", "get"}


async def test_without_expiry_nobody_expires_and_nothing_is_refreshed(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("nodes/old", body("old"), age_s=10**8)
    async with node("a", settings=make_settings(file_expiration="0", update_interval="0")) as a:
        await clock.advance(10**4)
        assert ids(a) == {"a", "old"}
        assert bucket.requests["put"] == 1


async def test_the_file_is_refreshed_in_time(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a"):
        for _ in range(10 * UPDATE_S):
            await clock.advance(1)
            assert bucket.now_s - bucket.peek("nodes/a").modified_s <= UPDATE_S + 1
    assert 10 <= bucket.requests["put"] <= 13


async def test_cancelled_while_starting_leaves_nothing(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hang(prefix: str) -> None:
        await hanging.wait()

    monkeypatch.setattr(bucket, "list", hang)
    task = asyncio.create_task(node("a").__aenter__())
    await clock.settle()
    assert bucket.keys == {"nodes/a"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bucket.keys == set()


async def test_errors_of_the_caller_reach_him_as_raised(
    node: Callable[..., Discovery], bucket: MemoryBucket
) -> None:
    with pytest.raises(ValueError, match="his own"):
        async with node("a"):
            raise ValueError("his own")
    assert bucket.keys == set()


async def test_a_file_that_could_not_be_moved_is_moved_when_the_store_lets_it(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a:
        bucket.failures["put", "other/a"] = StoreFaultError("503")
        await a.reconfigure(make_settings(file_prefix="other/"), bucket, member("a"))
        assert bucket.keys == {"nodes/a"}, "the old file stays until the new one is there"
        assert a.is_moving
        bucket.failures.clear()
        await clock.advance(2 * UPDATE_S)
        assert bucket.keys == {"other/a"}
        assert not a.is_moving


async def test_leaving_takes_away_a_file_whose_writing_was_never_answered(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = bucket.put

    async def unanswered(*args: object, **options: object) -> None:
        await put(*args, **options)  # type: ignore[arg-type]
        raise UnreachableError("the answer was lost")

    monkeypatch.setattr(bucket, "put", unanswered)
    async with node("a") as a:
        assert bucket.keys == {"nodes/a"}
        assert not a.status.registered
    assert bucket.keys == set()


async def test_a_wipe_just_before_a_refresh_is_noticed_all_the_same(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    slow = make_settings(poll_interval="19s", update_interval="20s")
    async with node("a", settings=slow) as a, node("b", settings=slow) as b:
        await clock.advance(19)
        for _ in range(30):
            await clock.advance(1)
            for key in list(bucket.keys):
                bucket.drop(key)
            for _ in range(2 * UPDATE_S):
                await clock.advance(1)
                assert ids(a) == ids(b) == {"a", "b"}
            assert bucket.keys == {"nodes/a", "nodes/b"}


@pytest.mark.parametrize("honest", [True, False])
async def test_a_store_whose_conditions_lie_is_written_to_without(
    node: Callable[..., Discovery],
    bucket: MemoryBucket,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    honest: bool,
) -> None:
    put = bucket.put

    async def refuse_conditions(*args: object, **options: object) -> object:
        if options.get("if_match") or options.get("if_none_match"):
            raise ConditionUnsupportedError("501") if honest else PreconditionError("412")
        return await put(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bucket, "put", refuse_conditions)
    async with node("a"):
        for _ in range(5 * UPDATE_S):
            await clock.advance(1)
            assert bucket.now_s - bucket.peek("nodes/a").modified_s <= UPDATE_S + POLL_S


async def test_a_newcomer_after_a_leap_of_the_stores_clock_deletes_no_living_file(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a, node("b") as b:
        await clock.advance(POLL_S)
        bucket.skew_s += 7 * 3600
        async with node("c") as c:
            for _ in range(2 * UPDATE_S):
                await clock.advance(1)
                assert {"nodes/a", "nodes/b", "nodes/c"} == bucket.keys
                assert {"a", "b"} <= ids(a) & ids(b)
            assert ids(c) == {"a", "b", "c"}


async def test_new_credentials_after_an_outage_lose_nobody(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    cable = Cable(bucket)
    async with node("b"), Discovery(SETTINGS, cable, member("a"), clock=clock) as a:
        await clock.advance(POLL_S)
        bucket.outage = cable.cut = UnreachableError("credentials have expired")
        await clock.advance(7 * 3600)
        bucket.outage = None
        await a.reconfigure(SETTINGS, Cable(bucket), member("a"))
        for _ in range(4 * UPDATE_S):
            await clock.advance(1)
            assert ids(a) == {"a", "b"}
        assert not a.is_moving
        assert bucket.keys == {"nodes/a", "nodes/b"}


async def test_a_node_that_starts_in_an_outage_does_not_take_the_living_for_dead(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.plant("nodes/slow", body("slow"), age_s=EXPIRATION_S - UPDATE_S)
    bucket.plant("nodes/dead", body("dead"), age_s=EXPIRATION_S + 1)
    bucket.outage = UnreachableError("no answer")
    async with node("a") as a:
        await clock.advance(3600)
        bucket.outage = None
        await clock.advance(POLL_S)
        assert ids(a) == {"a", "slow"}
        await clock.advance(5 * UPDATE_S)
        assert ids(a) == {"a"}


async def test_an_earlier_file_of_this_very_process_is_no_peer(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a") as a:
        bucket.failures["delete", "nodes/a"] = AccessDeniedError("no s3:DeleteObject")
        await a.reconfigure(SETTINGS, bucket, member("renamed"))
        await clock.advance(POLL_S)
        assert bucket.keys == {"nodes/a", "nodes/renamed"}
        assert ids(a) == {"renamed"}
        bucket.failures.clear()
        await clock.advance(2 * UPDATE_S)
        assert bucket.keys == {"nodes/renamed"}


async def test_writes_that_are_refused_are_repeated_with_back_off(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.failures["put", "nodes/a"] = AccessDeniedError("no s3:PutObject")
    async with node("a", settings=make_settings(poll_interval="1s")):
        await clock.advance(60)
        bucket.requests.clear()
        await clock.advance(600)
        assert 600 / (UPDATE_S / 4) <= bucket.requests["put"] <= 600 / (UPDATE_S / 8) + 1


async def test_a_store_that_asks_for_time_gets_it(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    async with node("a"):
        throttled = ThrottledError("slow down")
        throttled.retry_after_s = 100.0
        bucket.outage = throttled
        await clock.advance(2 * UPDATE_S)
        bucket.requests.clear()
        await clock.advance(600)
        assert bucket.requests["list"] <= 6
        assert bucket.requests["put"] <= 6


async def test_a_lost_answer_does_not_spoil_the_stores_time(
    node: Callable[..., Discovery],
    bucket: MemoryBucket,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = bucket.put

    async def unanswered(*args: object, **options: object) -> object:
        await put(*args, **options)  # type: ignore[arg-type]
        raise UnreachableError("the answer was lost")

    async with node("a", settings=make_settings(poll_interval="1s")) as a:
        for answers in (True, False, True, False, False):
            monkeypatch.setattr(bucket, "put", put if answers else unanswered)
            for _ in range(2 * UPDATE_S):
                await clock.advance(1)
                assert a.now_s is not None
                assert abs(a.now_s - bucket.now_s) <= 2


async def test_a_store_that_lost_one_answer_is_not_taken_for_one_that_lies(
    node: Callable[..., Discovery],
    bucket: MemoryBucket,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put, conditions = bucket.put, list[bool]()
    lost = iter([True])

    async def remember(*args: object, **options: object) -> object:
        conditions.append(bool(options.get("if_match") or options.get("if_none_match")))
        written = await put(*args, **options)  # type: ignore[arg-type]
        if len(conditions) > 1 and next(lost, False):
            raise UnreachableError("the answer was lost")
        return written

    monkeypatch.setattr(bucket, "put", remember)
    async with node("a"):
        await clock.advance(10 * UPDATE_S)
    assert conditions[0] is False
    assert all(conditions[1:])


async def test_a_node_cancelled_while_it_moves_leaves_no_file_behind(
    bucket: MemoryBucket, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, release = bucket.put, asyncio.Event()

    async def slow(*args: object, **options: object) -> object:
        if options.get("if_match"):
            await release.wait()
        return await put(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bucket, "put", slow)
    moved = make_settings(file_prefix="other/")

    async def live() -> None:
        async with Discovery(SETTINGS, bucket, member("a"), clock=clock) as discovery:
            await clock.sleep(UPDATE_S + 1)
            await discovery.reconfigure(moved, bucket, member("a"))

    task = asyncio.create_task(live())
    await clock.advance(UPDATE_S + 2)
    task.cancel()
    await clock.settle()
    release.set()
    await asyncio.gather(task, return_exceptions=True)
    assert bucket.keys == set()


async def test_without_a_date_header_a_moment_without_the_stores_time_forgets_no_leap(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    bucket.sends_date = False
    async with node("a") as a, node("b") as b:
        await clock.advance(POLL_S)
        bucket.plant("nodes/a", b"garbage")
        bucket.skew_s += 7 * 3600
        for _ in range(4 * UPDATE_S):
            await clock.advance(1)
            assert ids(a) == ids(b) == {"a", "b"}


async def test_a_poll_under_way_while_leaving_writes_nothing_any_more(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, release, end = bucket.delete, asyncio.Event(), asyncio.Event()

    async def slow(key: str, *, if_match: str | None = None) -> None:
        await release.wait()
        await delete(key, if_match=if_match)

    monkeypatch.setattr(bucket, "delete", slow)

    async def live() -> None:
        async with node("a"):
            await end.wait()

    task = asyncio.create_task(live())
    await clock.settle()
    end.set()
    await clock.advance(POLL_S)
    assert bucket.requests["list"] == 2, "a poll has begun, and waits to look after the own file"
    release.set()
    await task
    assert bucket.keys == set()


async def test_a_file_left_at_another_store_is_taken_away_there_whatever_changes_here(
    node: Callable[..., Discovery], bucket: MemoryBucket, clock: FakeClock
) -> None:
    other = MemoryBucket(clock)
    elsewhere = make_settings(s3_bucket_name="other")
    async with node("a") as a:
        bucket.failures["delete", "nodes/a"] = UnreachableError("no answer")
        await a.reconfigure(elsewhere, other, member("a"))
        assert a.is_moving
        await a.reconfigure(elsewhere, Cable(other), member("a"))
        bucket.failures.clear()
        await clock.advance(2 * UPDATE_S)
        assert not a.is_moving
        assert (bucket.keys, other.keys) == (set(), {"nodes/a"})
