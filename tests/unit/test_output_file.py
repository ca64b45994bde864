"""Outputs: templates that are checked, files that are replaced whole, reloads that are not forgotten."""

import asyncio
import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from s3discovery import codec
from s3discovery.agent import Agent, Parts
from s3discovery.bucket import Bucket
from s3discovery.child import Child
from s3discovery.errors import AddressError, BrokerError, SettingsError, UnreachableError
from s3discovery.node import Address, Member, NodeFile
from s3discovery.outputs import Outputs, apart
from s3discovery.outputs.choice import make_outputs
from s3discovery.outputs.file import BEGIN, END, OutputFile
from s3discovery.outputs.template import OutputTemplate
from s3discovery.presentation import make_roster
from s3discovery.settings.config import Settings
from s3discovery.settings.keys.command import BUILT_IN
from s3discovery.testing import HOSTILE_TEXTS, MARK, FakeClock, MemoryBucket, make_settings

OWN = Member("me", Address("10.0.0.7", 7800))
LINE = "{% for peer in peers %}{{ peer.id }}={{ peer.address }}\n{% endfor %}"


def members(*cluster_ids: str) -> frozenset[Member]:
    return frozenset(Member(each, Address(f"{each}.example", 7800)) for each in cluster_ids)


class Place:
    """A folder with a template and an output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "out"
        self.told = folder / "told"
        self.template = folder / "template.j2"
        self.template.write_text(LINE)

    def make(self, child: Child | None = None, **settings: str) -> Outputs:
        values = {"output_file": str(self.file), "output_template": str(self.template)} | settings
        outputs = make_outputs(make_settings(**values), os.environ, child)
        assert outputs is not None
        return outputs

    async def try_out(self) -> None:
        await self.make().try_out()

    @property
    def tell(self) -> str:
        """A reload command that leaves a line."""
        return f"sh -c 'echo $S3DISCOVERY_PEER_IDS >> {self.told}'"

    @property
    def tellings(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_file_is_rendered_and_its_reader_told(place: Place) -> None:
    outputs = place.make(output_reload=place.tell)
    assert not place.file.exists()
    await outputs.apply(OWN, members("b", "a"))
    assert place.file.read_text() == "a=a.example:7800\nb=b.example:7800\n"
    await outputs.apply(OWN, members("b"))
    assert place.file.read_text() == "b=b.example:7800\n"
    assert place.tellings == ["a b", "b"]


async def test_nothing_is_written_when_nothing_changed(place: Place) -> None:
    place.file.write_text("a=a.example:7800\n")
    before = place.file.stat()
    outputs = place.make(output_reload=place.tell)
    for _ in range(2):
        await outputs.apply(OWN, members("a"))
    after = place.file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert place.tellings == ["a"]  # once a start: whoever wrote the file may not have lived to tell


async def test_what_somebody_else_wrote_is_mended(place: Place) -> None:
    outputs = place.make()
    await outputs.apply(OWN, members("a"))
    place.file.write_text("garbage")
    await outputs.apply(OWN, members("a"))
    assert place.file.read_text() == "a=a.example:7800\n"


async def test_a_reload_that_failed_is_made_up_for(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    sign = place.folder / "go"
    outputs = place.make(output_reload=f"test -e {sign} && {place.tell}")
    for _ in range(3):
        await outputs.apply(OWN, members("a"))
    assert caplog.text.count("output failed") == 1
    assert place.tellings == []
    sign.touch()
    for _ in range(2):
        await outputs.apply(OWN, members("a"))
    assert place.tellings == ["a"]


async def test_a_signal_is_sent(place: Place) -> None:
    program = "import signal; signal.sigwait([signal.SIGUSR1])"
    mask = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); print(1, flush=True);"
    with subprocess.Popen([sys.executable, "-c", mask + program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pid_file = place.folder / "pid"
        pid_file.write_text(f"{process.pid}\n")
        await place.make(output_signal=f"USR1:{pid_file}").apply(OWN, members("a"))
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("text", ["", "x", "0", "1", "-1", "99999999999"])
async def test_a_pid_file_that_names_nobody(
    place: Place, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (place.folder / "pid").write_text(text)
    await place.make(output_signal=f"TERM:{place.folder / 'pid'}").apply(OWN, members("a"))
    assert "no signal could be sent" in caplog.text


async def test_the_child_is_signalled_or_restarted(place: Place) -> None:
    program = "import signal, sys; signal.signal(1, lambda *_: open(sys.argv[1], 'a').write('h'))"
    loop = "; [signal.pause() for _ in iter(int, 1)]"
    hups = place.folder / "hups"
    child = Child([sys.executable, "-c", program + loop, str(hups)], os.environ)
    by_signal = place.make(child, output_signal="HUP:child")
    by_restart = place.make(child, output_signal="restart:child", output_file=str(place.folder / "other"))
    await by_signal.apply(OWN, members("a"))  # nobody there to tell yet: he will find the new file
    await child.start()
    try:
        async with asyncio.timeout(10):
            while not hups.exists():
                await asyncio.sleep(0.2)
                await by_signal.apply(OWN, members(os.urandom(3).hex()))
                await child.start()
        before = child.pid
        assert before is not None
        await by_restart.apply(OWN, members("a"))
        assert child.pid not in (None, before)
    finally:
        await child.stop()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    owner = (path.stat().st_uid, path.stat().st_gid)
    assert OutputFile(path).replace(b"new")
    assert (mode(path), (path.stat().st_uid, path.stat().st_gid)) == (0o640, owner)


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    OutputFile(tmp_path / "out").replace(b"new")
    (tmp_path / "usual").touch()
    assert mode(tmp_path / "out") == mode(tmp_path / "usual")


def test_a_symbolic_link_leads_to_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "out", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    assert OutputFile(link).replace(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with path.open() as reader:
        OutputFile(path).replace(b"new content")
        assert reader.read() == "old"
    assert path.read_text() == "new content"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrokerError, match="folder must exist"):
        OutputFile(tmp_path / "nowhere" / "out").replace(b"x")
    path = tmp_path / "out"
    path.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BrokerError, match="No space left"):
        OutputFile(path).replace(b"x")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_block_leaves_the_rest_alone(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost")
    file = OutputFile(path, in_block=True)
    assert file.replace(b"10.0.0.1 a\n")
    assert path.read_bytes() == b"127.0.0.1 localhost\n" + BEGIN + b"10.0.0.1 a\n" + END
    path.write_bytes(path.read_bytes() + b"::1 mine\n")
    assert file.replace(b"10.0.0.2 b")
    assert not file.replace(b"10.0.0.2 b")
    assert path.read_bytes() == b"127.0.0.1 localhost\n" + BEGIN + b"10.0.0.2 b\n" + END + b"::1 mine\n"
    path.write_bytes(BEGIN + b"x\n")
    with pytest.raises(BrokerError, match="none"):
        file.replace(b"y")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("a\n{% for x %}\n", "line 2: Expected 'in'|line 2: expected token 'in'"),
        ("a\nb\n{{ peers", "line 3"),
        ("a\n\n{{ pears }}\n", "line 3: 'pears' is undefined"),
        ("a\n{% for peer in peers %}\n{{ peer.hosst }}{% endfor %}", "line 3: .* has no attribute 'hosst'"),
        ("{{ own }}", "line 1: Shown is no text"),
        ("{{ own.metadata }}", "is no text"),
        ("{{ None }}", "NoneType is no text"),
        ("{{ vars.nothing }}", "has no attribute 'nothing'"),
        ("{{ 1 / 0 }}", "line 1: division by zero"),
        ("{{ ''.__class__.__mro__ }}", "line 1: access to attribute '__class__'"),
        ("{{ peers.append(1) }}", "line 1"),
        ("{% include '/etc/passwd' %}", "line 1"),
        ("{{ 'x' * 2000000 }}", "more than 1048576"),
        (
            "{% for a in range(100000) %}{% for b in range(9) %}{{ a }}{{ b }}{% endfor %}{% endfor %}",
            "more than",
        ),
        ("{% for a in range(10000000) %}{% endfor %}", "line 1: Range too big"),
    ],
)
async def test_a_wrong_template_is_an_error_at_the_start(place: Place, source: str, why: str) -> None:
    place.template.write_text(source)
    with pytest.raises(SettingsError, match=why):
        await place.try_out()


@pytest.mark.parametrize("name", ["/nowhere/x.j2", "/dev/zero", "/etc"])
def test_a_template_that_cannot_be_read(place: Place, name: str) -> None:
    with pytest.raises(SettingsError, match="output-template"):
        place.make(output_template=name)


def test_a_template_of_no_text(place: Place) -> None:
    place.template.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        place.make()


def test_without_jinja_it_is_said_what_to_install(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SettingsError, match=r"pip install 's3discovery\[templates\]'"):
        place.make()


def strange() -> frozenset[Member]:
    found = [Member(f"meta-{n}", Address("10.0.0.2", 1), {"x": text}) for n, text in enumerate(HOSTILE_TEXTS)]
    found += [Member(text, Address("10.0.0.2", 1)) for text in HOSTILE_TEXTS]
    for number, text in enumerate(HOSTILE_TEXTS):
        with suppress(AddressError):  # then no node file can say this at all
            found.append(Member(f"host-{number}", Address(text, 1)))
    return frozenset(found)


@pytest.mark.parametrize("name", BUILT_IN)
def test_hostile_members_reach_no_built_in(name: str) -> None:
    template = OutputTemplate(name, {})
    roster = make_roster(OWN, strange() | members("good"))
    text = template.render(roster, {}).decode()
    assert MARK not in text
    harmless = {each for each in roster.peers if each.id == "good" or each.id.startswith("meta-")}
    assert set(roster.peers) == harmless
    assert (
        text
        == template.render(
            make_roster(
                OWN,
                [each for each in strange() if each.cluster_id.startswith("meta-")] + list(members("good")),
            ),
            {},
        ).decode()
    )


def test_what_the_built_ins_say() -> None:
    peers = [Member("rabbit@b", Address("b.example", 5672)), Member("a", Address("::1", 1883))]
    roster = make_roster(OWN, peers)

    def render(name: str, **variables: str) -> str:
        return OutputTemplate(name, variables).render(roster, variables).decode()

    assert render("hosts", domain="mqtt.internal") == "::1 a.mqtt.internal\n10.0.0.7 me.mqtt.internal\n"
    assert json.loads(render("prometheus", port="9090")) == [
        {"targets": ["[::1]:9090"], "labels": {"cluster_id": "a"}},
        {"targets": ["10.0.0.7:9090"], "labels": {"cluster_id": "me"}},
        {"targets": ["b.example:9090"], "labels": {"cluster_id": "rabbit@b"}},
    ]
    assert [row["id"] for row in json.loads(render("json"))["members"]] == ["a", "me", "rabbit@b"]
    assert 'S3DISCOVERY_PEERS="[::1]:1883 b.example:5672"\n' in render("env")
    assert "    server rabbit:b b.example:5672 init-addr last,libc,none\n" in render("haproxy")
    assert "\naddress ::1:1883\n" in render("mosquitto")
    assert "me" not in render("haproxy", own="no")
    assert len(json.loads(render("prometheus", own="no"))) == 2
    hub = OutputTemplate("mosquitto", {}).render(
        make_roster(peers[1].__class__("a", OWN.address), peers[:1]), {}
    )
    assert b"connection" not in hub


async def test_a_folder_of_outputs(place: Place) -> None:
    folder = place.folder / "outputs"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.properties").write_text(
            f"output-file:{place.folder / name}\noutput-template:json\noutput-reload:{place.tell}\n"
        )
    (folder / "README").write_text("no output")
    await place.make(output_folder=str(folder)).apply(OWN, members("a"))
    assert json.loads((place.folder / "two").read_text())["own"]["id"] == "me"
    assert (place.folder / "one").read_text() == (place.folder / "two").read_text()
    assert place.file.exists()
    assert len(place.tellings) == 2


def test_every_fault_of_a_folder_is_told_at_once(place: Place) -> None:
    folder = place.folder / "outputs"
    with pytest.raises(SettingsError, match="is no folder"):
        place.make(output_folder=str(folder))
    folder.mkdir()
    (folder / "a.properties").write_text("output-fiel:/tmp/x\n")
    (folder / "b.properties").write_text("output-file:/tmp/x\noutput-template:haproxi\n")
    (folder / "c.properties").write_text("output-file:/tmp/x\n")
    with pytest.raises(SettingsError) as caught:
        place.make(output_folder=str(folder))
    problems = [str(problem) for problem in caught.value.problems]
    assert [problem.split(":")[0].split("=")[0] for problem in problems] == [
        *("output-fiel", "output-file", "output-template", "output-template")
    ]
    assert all("(set in" in problem for problem in problems)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"output_file": "/x"}, "output-template"),
        ({"output_template": "json"}, "output-template"),
        ({"output_file": "/x", "output_template": "jsn"}, "output-template"),
        ({"output_file": "/x", "output_template": "json", "output_signal": "HUP"}, "output-signal"),
        ({"output_file": "/x", "output_template": "json", "output_signal": "KILL:/x"}, "output-signal"),
        ({"output_file": "/x", "output_template": "json", "output_signal": "HUP:x"}, "output-signal"),
        (
            {"output_file": "/x", "output_template": "json", "output_signal": "HUP:/x", "output_reload": "x"},
            "output-signal",
        ),
        ({"output_file": "/x", "output_template": "json", "output_variables": "a b=1"}, "output-variables"),
    ],
)
def test_wrong_settings(settings: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(**settings)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_a_signal_to_a_child_needs_one(place: Place) -> None:
    with pytest.raises(SettingsError, match="run -- program") as caught:
        place.make(output_signal="HUP:child")
    assert [(each.key, each.value) for each in caught.value.problems] == [("output-signal", "HUP:child")]


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HUGE = "{{ 'x' * 900000000 }}"
AT_FIVE = "{%% if members | length == 5 %%}%s{%% endif %%}{{ own.id }}"  # more than are in the trial


async def test_a_template_that_does_not_end_is_an_error_at_the_start(place: Place) -> None:
    place.template.write_text(LOOP)
    with pytest.raises(SettingsError, match=r"took more than 5 s of processor time .* look for loops"):
        await place.try_out()


async def test_a_machine_without_time_is_no_error_of_the_settings(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(apart, "LIMIT_S", 0.001)
    place.template.write_text("x")
    await place.try_out()
    assert "the machine is too busy" in caplog.text


async def test_a_template_of_a_huge_value_is_an_error_at_the_start(place: Place) -> None:
    place.template.write_text("\n" + HUGE)
    with pytest.raises(SettingsError, match="line 2: it needs too much memory"):
        await place.try_out()


@pytest.mark.parametrize(
    ("source", "why"), [(LOOP, "took longer than 3 s"), (HUGE, "too much memory")], ids=("loop", "huge")
)
async def test_a_template_that_runs_away_stops_nothing_else(
    place: Place, source: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.template.write_text(AT_FIVE % source)
    outputs = place.make()
    monkeypatch.setattr(apart, "LIMIT_S", 3.0)
    applying = asyncio.create_task(outputs.apply(OWN, members("a", "b", "c", "d")))
    longest_s = 0.0
    async with asyncio.timeout(30):
        while not applying.done():
            before_s = time.monotonic()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, time.monotonic() - before_s)
    assert longest_s < 2
    assert why in caplog.text
    assert not place.file.exists()
    assert renderers() == []
    monkeypatch.undo()
    await outputs.apply(OWN, members("a"))
    assert place.file.read_text() == "me"


async def test_who_is_cancelled_ends_the_template(place: Place) -> None:
    place.template.write_text(AT_FIVE % LOOP)
    applying = asyncio.create_task(place.make().apply(OWN, members("a", "b", "c", "d")))
    async with asyncio.timeout(10):
        while not renderers():  # noqa: ASYNC110 - a process is no event
            await asyncio.sleep(0.01)
        applying.cancel()
        with suppress(asyncio.CancelledError):
            await applying
    assert renderers() == []


async def test_the_same_members_are_not_rendered_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outputs = place.make()
    await outputs.apply(OWN, members("a"))
    monkeypatch.setattr(apart, "_VECTOR", ("/nowhere",))
    await outputs.apply(OWN, members("a"))
    assert "output failed" not in caplog.text
    await outputs.apply(OWN, members("a", "b"))
    assert "no process can be started: No such file or directory" in caplog.text
    assert place.file.read_text() == "a=a.example:7800\n"


def test_a_template_finds_no_keys_to_the_store(place: Place) -> None:
    environ = {"S3DISCOVERY_CREDENTIALS_SECRET_ACCESS_KEY": "x", "AWS_SECRET_ACCESS_KEY": "x", "PATH": "/bin"}
    template = apart.TemplateApart(str(place.template), {}, environ)
    assert template._environ == {"PATH": "/bin"}


def renderers() -> list[int]:
    """Return the processes of ours that render."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    found = [pid for pid in pids if b"outputs.render" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return [int(pid) for pid in found]


class Machine:
    """A node without a broker, over fakes, whose outputs are real."""

    def __init__(self, place: Place, **settings: str) -> None:
        self.clock = FakeClock()
        self.bucket = MemoryBucket(self.clock)
        self.child: Child | None = None
        values = {"output_file": str(place.file), "output_template": str(place.template)} | settings
        self.settings = make_settings(cluster_id="me", **values)

    def agent(self) -> Agent:
        return Agent(
            Parts(
                read_settings=lambda: self.settings,
                settings_mark=lambda: 0,
                open_bucket=self._open,
                make_broker=lambda _: None,
                find_address=self._find_address,
                make_cluster_id=lambda: "me",
                clock=self.clock,
                environ=os.environ,
                child=self.child,
                make_outputs=make_outputs,
            )
        )

    @asynccontextmanager
    async def _open(self, settings: Settings) -> AsyncIterator[Bucket]:
        yield self.bucket

    async def _find_address(self, settings: Settings, port: int | None) -> Address:
        return OWN.address

    def join(self, cluster_id: str) -> None:
        body = codec.encode(NodeFile("1", 1, cluster_id, Address(f"{cluster_id}.example", 7800)), "1")
        self.bucket.plant(f"nodes/{cluster_id}", body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[Any]]:
        task = asyncio.create_task(self.agent().run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await self.clock.advance(1)
                await asyncio.sleep(0.005)  # for threads and processes, which know no FakeClock


async def at_once(work: Callable[..., object], *arguments: object) -> object:
    return work(*arguments)


async def test_an_outage_touches_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # No thread, and a built-in one: while another process or thread works, members of the fake clock expire.
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    machine = Machine(place, output_template="json")
    machine.join("a")
    machine.bucket.outage = UnreachableError("the store is down")

    def peers() -> list[str]:
        return [row["id"] for row in json.loads(place.file.read_text())["peers"]]

    async with machine.running():
        for _ in range(20):
            await machine.clock.advance(1)
        assert not place.file.exists()
        machine.bucket.outage = None
        await machine.until(place.file.exists)
        assert peers() == ["a"]
        machine.bucket.outage = UnreachableError("the store is down")
        for _ in range(300):
            await machine.clock.advance(1)
        machine.bucket.outage = None
        machine.join("b")
        await machine.until(lambda: peers() == ["a", "b"])


async def test_a_child_finds_its_file(place: Place) -> None:
    machine = Machine(place, output_template="json")  # built in: see above
    machine.child = Child(["cp", str(place.file), str(place.told)], os.environ)
    machine.join("a")
    machine.bucket.outage = UnreachableError("the store is down")
    async with machine.running() as task:
        for _ in range(20):
            await machine.clock.advance(1)
        assert not machine.child.was_started
        machine.bucket.outage = None
        await machine.until(task.done)
        assert await task == 0
    assert [row["id"] for row in json.loads(place.told.read_text())["peers"]] == ["a"]


async def test_a_wrong_template_ends_the_start_before_anything_is_written(place: Place) -> None:
    place.template.write_text("{{ nothing }}")
    machine = Machine(place)
    with pytest.raises(SettingsError, match="line 1"):
        await machine.agent().run()
    assert machine.bucket.keys == set()


async def test_a_fault_at_run_time_leaves_the_last_good_file(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.template.write_text("{{ 1 // (3 - members | length) }}{{ own.id }}")
    with pytest.raises(SettingsError, match="by zero"):
        await place.try_out()  # three members are among the examples
    place.template.write_text("{{ 1 // (5 - members | length) }}{{ own.id }}")
    outputs = place.make()
    await outputs.apply(OWN, members("a"))
    await outputs.apply(OWN, members("a", "b", "c", "d"))
    await outputs.apply(OWN, members("a", "b", "c", "d"))
    assert place.file.read_text() == "0me"
    assert caplog.text.count("by zero") == 1


async def test_a_hostile_member_is_left_out_and_logged_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    outputs = place.make()
    for _ in range(3):
        await outputs.apply(OWN, members("good") | {Member("$(x)", Address("10.0.0.2", 1))})
    assert place.file.read_text() == "good=good.example:7800\n"
    assert caplog.text.count("left out of outputs") == 1
