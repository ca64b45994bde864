"""broker:command, with real programs: what they are told, when they are run, and how they end."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from s3discovery import codec
from s3discovery.brokers import Engine, Leaver, Roster, Surroundings
from s3discovery.brokers.command import CommandBroker, Nodes, command_broker, read_nodes
from s3discovery.child import Child
from s3discovery.discovery import Discovery
from s3discovery.driver import Driver
from s3discovery.errors import AddressError, BrokerError, SettingsError, UnreachableError
from s3discovery.formation import seed
from s3discovery.formation.formation import Formation
from s3discovery.node import Address, Member, NodeFile
from s3discovery.program import run_program
from s3discovery.settings.claim import claim_key
from s3discovery.testing import (
    HOSTILE_TEXTS,
    MARK,
    BrokerContract,
    FakeClock,
    MakeBroker,
    MemoryBucket,
    make_settings,
)

# Appends what it was told to a file: arguments, variables of ours, standard input.
RECORDER = """
import json, os, sys
told = {name: text for name, text in os.environ.items() if name.startswith(("S3DISCOVERY_", "AWS_"))}
with open(sys.argv[1], "a") as file:
    print(json.dumps([sys.argv[2:], told, json.load(sys.stdin)]), file=file)
"""


def member(cluster_id: str, host: str = "10.0.0.1", port: int = 7800) -> Member:
    return Member(cluster_id, Address(host, port), {"incarnation": os.urandom(4).hex()})


def members(*cluster_ids: str) -> frozenset[Member]:
    return frozenset(member(each, f"{each}.example") for each in cluster_ids)


def vector(*words: str) -> str:
    return json.dumps([sys.executable, "-c", *words])


class Recorder:
    """A command that records how it was run."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "told"

    def __call__(self, *words: str) -> list[str]:
        return [sys.executable, "-c", RECORDER, str(self.file), *words]

    def text(self, *words: str) -> str:
        return json.dumps(self(*words))

    @property
    def runs(self) -> list[Any]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    @property
    def words(self) -> list[list[str]]:
        return [run[0] for run in self.runs]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def make(child: Child | None = None, own: str = "me", **settings: str) -> Any:
    surroundings = Surroundings(
        make_settings(broker="command", **settings),
        own,
        environ=os.environ
        | {"AWS_SECRET_ACCESS_KEY": "hush", "S3DISCOVERY_CREDENTIALS_SESSION_TOKEN": "hush"},
        child=child,
        own=lambda: member(own, "10.0.0.7"),
    )
    return command_broker(surroundings)


class TestCommandBroker(BrokerContract):
    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        return lambda cluster_id: make(own=cluster_id, command="true")


async def test_a_command_is_told_in_every_way(recorder: Recorder) -> None:
    async with make(
        command=recorder.text("--own={own_host}:{own_port}", "{peer_ids}", "{peers...}")
    ) as broker:
        await broker.apply(members("b", "a"))
    (words, variables, document) = recorder.runs[0]
    assert words == ["--own=10.0.0.7:7800", "a,b", "a.example:7800", "b.example:7800"]
    assert variables["S3DISCOVERY_PEER_HOSTS"] == "a.example b.example"
    assert variables["S3DISCOVERY_JOINED_IDS"] == "a b"
    assert [row["id"] for row in document["members"]] == ["a", "b", "me"]
    assert document["joined"] == ["a", "b"]


async def test_a_command_gets_no_secret_of_the_store(recorder: Recorder) -> None:
    async with make(command=recorder.text()) as broker:
        await broker.apply(members())
    assert "hush" not in json.dumps(recorder.runs)


async def test_it_is_run_for_changes_alone(recorder: Recorder) -> None:
    async with make(command=recorder.text("{joined_ids}", "{left_ids}")) as broker:
        for peers in (("a",), ("a",), ("a", "b"), ("a", "b"), ("b",), ("b",), ()):
            await broker.apply(members(*peers))
    assert recorder.words == [["a", ""], ["b", ""], ["", "a"], ["", "b"]]


async def test_several_are_run_in_order_until_one_fails(recorder: Recorder) -> None:
    commands = [recorder("1"), recorder("2"), ["false"], recorder("3")]
    async with make(command=json.dumps(commands)) as broker:
        with pytest.raises(BrokerError, match=r"'false'.*ended with code 1"):
            await broker.apply(members("a"))
    assert recorder.words == [["1"], ["2"]]


async def test_what_failed_is_run_again_with_the_newest(recorder: Recorder, tmp_path: Path) -> None:
    sign = tmp_path / "go"
    commands = [["test", "-e", str(sign)], recorder("{peer_ids}", "{joined_ids}")]
    async with make(command=json.dumps(commands)) as broker:
        for peers in (("a",), ("a", "b")):
            with pytest.raises(BrokerError):
                await broker.apply(members(*peers))
        sign.touch()
        await broker.apply(members("b", "c"))
        await broker.apply(members("b", "c"))
    assert recorder.words == [["b,c", "b,c"]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/nowhere/to/be/found", "cannot be started: No such file"),
        ("/etc/passwd", "cannot be started: Permission denied"),
        (vector("import sys; print('out'); sys.exit('why not')"), r"code 1; it said 'out\\nwhy not'"),
        (vector("import os, signal; os.kill(os.getpid(), 9)"), "code -9"),
    ],
)
async def test_why_a_command_failed_is_said(text: str, why: str) -> None:
    async with make(command=text) as broker:
        with pytest.raises(BrokerError, match=why):
            await broker.apply(members("a"))


async def test_output_is_logged_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with make(command=vector("print('x' * 5_000_000, end=chr(27))")) as broker:
        await broker.apply(members())
    (line,) = [record.getMessage() for record in caplog.records if "command ran" in record.message]
    assert len(line) < 1000
    assert "\x1b" not in line


async def test_the_last_words_of_a_program_are_not_lost() -> None:
    program = "import os; os.write(1, b'x' * 200_000); os.write(2, b'y' * 60_000)"
    for _ in range(5):
        said = await run_program((sys.executable, "-c", program), environ=os.environ, limit_s=10)
        assert len(said) == 200_000


# Prints the id of a process that it leaves in the background, and sleeps.
SLEEPER = """
import subprocess, sys, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
left = subprocess.Popen(["sleep", "600"])
with open(sys.argv[1], "w") as file:
    print(left.pid, file=file)
time.sleep(float(sys.argv[2]))
"""


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.02)


async def test_a_command_that_overruns_is_ended_with_all_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with make(command=vector(SLEEPER, str(file), "600"), command_timeout="1s") as broker:
        with pytest.raises(BrokerError, match=r"command-timeout \(1 s\)"):
            await broker.apply(members("a"))
    await until(lambda: is_gone(int(file.read_text())))


async def test_a_command_ends_when_the_node_stops(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with make(command=vector(SLEEPER, str(file), "600")) as broker:
        running = asyncio.create_task(broker.apply(members("a")))
        await until(lambda: file.exists() and bool(file.read_text()))
        running.cancel()
        async with asyncio.timeout(4):
            with pytest.raises(asyncio.CancelledError):
                await running
    await until(lambda: is_gone(int(file.read_text())))


async def test_what_a_command_leaves_in_the_background_lives_on(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with make(command=vector(SLEEPER, str(file), "0"), command_timeout="5s") as broker:
        async with asyncio.timeout(4):
            await broker.apply(members("a"))
    left = psutil.Process(int(file.read_text()))
    assert left.is_running()
    left.kill()


async def test_hostile_members_reach_no_command(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    strange = []
    for number, text in enumerate(HOSTILE_TEXTS):
        strange.append(Member(text, Address("10.0.0.2", 1)))
        strange.append(Member(f"meta-{number}", Address("10.0.0.2", 1), {"name": text}))
        with suppress(AddressError):  # then no node file can say this at all
            strange.append(Member(f"host-{number}", Address(text, 1)))
    words = ("{peers}", "{peer_ids...}", "{peer_hosts...}", "{members...}", "{hub_id}", "{joined_ids...}")
    async with make(command=recorder.text(*words)) as broker:
        for _ in range(2):
            await broker.apply(frozenset({member("good"), *strange}))
        assert broker.skipped == {
            each.cluster_id for each in strange if not each.cluster_id.startswith("meta-")
        }
    assert len(recorder.runs) == 1
    assert MARK not in json.dumps(recorder.runs)
    assert all(not word.startswith("-") for word in recorder.words[0])
    assert caplog.text.count("member skipped") == len(broker.skipped)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("", Nodes()),
        ("a\n b \n\n", Nodes(frozenset("ab"))),
        ("a\nb down\n", Nodes(frozenset("a"), frozenset("b"))),
        ('["a", "b"]', Nodes(frozenset("ab"))),
        ('{"up": ["a"], "down": ["b"]}\n', Nodes(frozenset("a"), frozenset("b"))),
    ],
)
def test_what_command_cluster_prints(text: str, nodes: Nodes) -> None:
    assert read_nodes(text) == nodes


@pytest.mark.parametrize("text", ["a b", "a down x", "[1]", '{"up": "a"}', "[", '{"up": [["a"]]}'])
def test_what_command_cluster_may_not_print(text: str) -> None:
    with pytest.raises(BrokerError, match="command-cluster"):
        read_nodes(text)


async def test_the_broker_says_whom_it_sees(tmp_path: Path, recorder: Recorder) -> None:
    seen = tmp_path / "seen"
    seen.write_text("me\na\nstranger\nb down\n")
    broker = make(command=recorder.text("{peer_ids}"), command_cluster=f"cat {seen}", poll_interval="100ms")
    async with broker:
        assert await broker.cluster() == frozenset()
        await broker.apply(members("a", "b"))
        assert await broker.cluster() == {"a"}
        # It was told, and does not see b: it is told again, but not more often than there are polls.
        await broker.apply(members("a", "b"))
        assert len(recorder.runs) == 1
        await asyncio.sleep(0.15)
        await broker.apply(members("a", "b"))
        assert len(recorder.runs) == 2
        seen.write_text("me\na\nb\n")
        await asyncio.sleep(0.15)
        assert await broker.cluster() == {"a", "b"}
        await broker.apply(members("a", "b"))
        assert len(recorder.runs) == 2


async def test_without_command_cluster_it_cannot_tell() -> None:
    async with make(command="true") as broker:
        await broker.apply(members("a"))
        assert await broker.cluster() is None


async def test_leaving(recorder: Recorder) -> None:
    async with make(command="true", command_leave=recorder.text("{own_id}", "{peer_ids}")) as broker:
        await broker.apply(members("a"))
        assert isinstance(broker, Leaver)
        await broker.leave()
    assert recorder.words == [["me", "a"]]


async def test_a_child_runs_before_it_is_spoken_to(recorder: Recorder) -> None:
    child = Child(["sleep", "600"], os.environ)
    async with make(child, command=recorder.text()) as broker:
        await broker.apply(members("a"))
        assert child.pid is not None
    await child.stop()


class Cluster:
    """A broker whose cluster is a file; `join` puts the node and its peer into it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "cluster"
        self.file.write_text("me\n")
        self.join = f"sh -c 'echo $1 >> {self.file}' sh {{join_id}}"

    def make(self, **settings: str) -> Any:
        values: dict[str, Any] = {"command_join": self.join, "command_cluster": f"cat {self.file}"} | settings
        return make(**values)


async def test_with_command_join_it_is_an_engine(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with cluster.make() as engine:
        assert isinstance(engine, Engine)
        assert await engine.is_blank()
        await engine.found()
        assert await engine.is_blank()
        (peer,) = members("a")
        await engine.join(peer)
        assert not await engine.is_blank()
        await engine.apply(frozenset({peer}))
        assert await engine.cluster() == frozenset("a")
        assert await engine.down() == frozenset()


@pytest.mark.parametrize("others", ["a\n", "b down\n", ""])
async def test_only_the_last_member_that_leaves_takes_the_claim_away(tmp_path: Path, others: str) -> None:
    cluster, clock = Cluster(tmp_path), FakeClock()
    bucket, settings = MemoryBucket(clock), make_settings()
    key = claim_key(settings)
    cluster.file.write_text("me\na\n")
    founder = seed.Process("1700000000000-0123456789abcdef", "a")
    bucket.plant(key, seed.encode(seed.Claim("a" * 16, founder, seed.Stage.FORMED, nonce="0" * 16)))
    engine = cluster.make(command_leave=f"sh -c 'echo me > {cluster.file}'")
    async with engine, Discovery(settings, bucket, member("me"), clock=clock) as discovery:
        while not discovery.status.registered:
            await clock.advance(1)
        formation = Formation(discovery, engine, clock)
        assert (await formation.step()).is_formed
        cluster.file.write_text("me\n" + others)
        keeps_roster = isinstance(engine, Roster)
        assert keeps_roster
        assert await engine.members() == {"me", *others.split()[:1]}
        await formation.leave()
    assert (key in bucket.keys) is bool(others)


async def test_whether_an_engine_has_left_is_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(tmp_path)
    cluster.file.write_text("me\na\nb down\n")
    async with cluster.make(command_leave="echo cannot leave, busy") as engine:
        with pytest.raises(BrokerError, match=r"cluster, with \['a', 'b'\]; it said 'cannot leave, busy"):
            await engine.leave()
    for left in ("me", "a"):
        cluster.file.write_text("me\na\n")
        async with cluster.make(command_leave=f"sh -c 'echo {left} > {cluster.file}'") as engine:
            await engine.leave()
    assert not caplog.records
    async with cluster.make(command_leave=f"rm {cluster.file}") as engine:
        await engine.leave()
    assert "cannot be seen whether the broker has left" in caplog.text


async def test_an_engine_without_command_leave_cannot_leave_others(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.file.write_text("me\nb down\n")
    async with cluster.make() as engine:
        with pytest.raises(BrokerError, match=r"with \['b'\]: set command-leave"):
            await engine.leave()
        cluster.file.write_text("me\n")
        await engine.leave()


async def test_who_is_not_named_cannot_tell_the_members(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.file.write_text("a\n")
    async with cluster.make() as engine:
        with pytest.raises(BrokerError, match="does not name this node, 'me'"):
            await engine.members()


def test_without_it_is_none() -> None:
    assert isinstance(make(command="true"), CommandBroker)
    assert not isinstance(make(command="true"), Engine)


async def test_a_join_that_only_says_so_is_no_join(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with cluster.make(command_join="echo Failed to join {join_id}") as engine:
        with pytest.raises(BrokerError, match="without 'a'; it said 'Failed to join a"):
            await engine.join(next(iter(members("a"))))


async def test_nobody_joins_a_peer_that_cannot_be_shown(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with cluster.make() as engine:
        with pytest.raises(BrokerError, match="cannot be shown"):
            await engine.join(Member("--x", Address("10.0.0.1", 1)))
    assert cluster.file.read_text() == "me\n"


async def test_a_node_of_which_others_are_down_is_not_blank(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.file.write_text("me\nb down\n")
    async with cluster.make() as engine:
        assert not await engine.is_blank()
        assert await engine.down() == {"b"}


@pytest.mark.parametrize("printed", ["", "a\n", "me down\na\n"])
async def test_a_node_that_its_broker_does_not_name_is_not_blank(tmp_path: Path, printed: str) -> None:
    cluster = Cluster(tmp_path)
    cluster.file.write_text(printed)
    async with cluster.make() as engine:
        with pytest.raises(BrokerError, match="write as cluster-id what the broker calls itself"):
            await engine.is_blank()


async def test_forgetting(tmp_path: Path, recorder: Recorder) -> None:
    cluster = Cluster(tmp_path)
    cluster.file.write_text("me\na\nb down\n--x down\n")
    async with cluster.make(command_forget=recorder.text("{forget_id}")) as engine:
        await engine.forget("b")
        await engine.forget("a")  # it is up
        await engine.forget("stranger")
        with pytest.raises(BrokerError, match="cannot be shown"):
            await engine.forget("--x")
    assert recorder.words == [["b"]]
    async with cluster.make() as engine:
        with pytest.raises(BrokerError, match="set command-forget"):
            await engine.forget("b")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "command"),
        ({"command": "a | b"}, "command"),
        ({"command": "a {join_id}"}, "command"),
        ({"command_join": "a {join_id}"}, "command-cluster"),
        ({"command": "a", "command_timeout": "0"}, "command-timeout"),
    ],
)
def test_wrong_settings(settings: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(broker="command", **settings)
    assert [problem.key for problem in caught.value.problems] == [key]


async def test_nobody_is_told_that_he_is_alone_before_the_bucket_was_seen(recorder: Recorder) -> None:
    clock = FakeClock()
    bucket = MemoryBucket(clock)
    bucket.outage = UnreachableError("the store is down")
    body = codec.encode(NodeFile("1", 1, "a", Address("a.example", 7800)), "1")
    bucket.plant("nodes/a", body)
    broker = make(command=recorder.text("{peer_ids}"))
    async with Discovery(make_settings(), bucket, member("me"), clock=clock) as discovery:
        driver = Driver(discovery, broker, clock)
        assert await driver.step()
        assert recorder.runs == []
        bucket.outage = None
        while not discovery.polls:
            await clock.advance(1)
        assert await driver.step()
    assert recorder.words == [["a"]]
