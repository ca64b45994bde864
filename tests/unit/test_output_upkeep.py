"""Outputs while things go wrong: reloads that are owed, files that cannot be written, readers that hang."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from s3discovery.child import Child
from s3discovery.discovery import Discovery
from s3discovery.errors import SettingsError
from s3discovery.node import Address, Member
from s3discovery.outputs import Outputs, apart, render
from s3discovery.outputs.choice import make_outputs
from s3discovery.outputs.file import BEGIN, END, OutputFile
from s3discovery.presentation import make_roster
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0  # for what takes a second on an idle machine
OWN = Member("me", Address("10.0.0.7", 7800))
PEERS = "{{ peers | map(attribute='id') | join(',') }}"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# Piece by piece, so that the memory is used before there is too much of it.
GREEDY = (
    "{% set all = namespace(x=[]) %}"
    "{% for i in range(90000) %}{% set all.x = all.x + [i ~ 'x' * 4000] %}{% endfor %}"
)


def members(*cluster_ids: str) -> frozenset[Member]:
    return frozenset(Member(each, Address(f"{each}.example", 7800)) for each in cluster_ids)


class Folder:
    """A folder of outputs, each of them `key: text` in a file of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "outputs").mkdir()
        self.add("out")

    def add(self, name: str, template: str = PEERS, **keys: str) -> None:
        self.file(f"{name}.j2").write_text(template)
        described = {"output-file": str(self.file(name)), "output-template": str(self.file(f"{name}.j2"))}
        described |= {f"output-{key}": text for key, text in keys.items()}
        text = "".join(f"{key}:{value}\n" for key, value in described.items())
        (self.path / "outputs" / f"{name}.properties").write_text(text)

    def file(self, name: str) -> Path:
        return self.path / name

    def make(self, child: Child | None = None) -> Outputs:
        settings = make_settings(output_folder=str(self.path / "outputs"), command_timeout="20s")
        outputs = make_outputs(settings, os.environ, child)
        assert outputs is not None
        return outputs


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - files and processes are no events
            await asyncio.sleep(0.01)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class TestReloads:
    async def test_what_an_earlier_run_owed_is_made_up_for(self, folder: Folder) -> None:
        told, gate = folder.file("told"), folder.file("gate")
        os.mkfifo(gate)
        folder.add("out", reload=f"sh -c 'echo begun >> {told}; read line < {gate}; echo done >> {told}'")
        applying = asyncio.create_task(folder.make().apply(OWN, members("a")))
        await until(lambda: lines(told) == ["begun"])
        applying.cancel()
        with suppress(asyncio.CancelledError):
            await applying
        assert folder.file("out").read_text() == "a"
        folder.add("out", reload=f"sh -c 'echo $S3DISCOVERY_PEER_IDS >> {told}'")
        after = folder.make()
        for _ in range(2):
            await after.apply(OWN, members("a"))
        assert lines(told) == ["begun", "a"]

    async def test_only_what_changed_since_the_last_one_is_told_as_changed(self, folder: Folder) -> None:
        told = folder.file("told")
        folder.add("out", reload=f"sh -c 'echo +$S3DISCOVERY_JOINED_IDS -$S3DISCOVERY_LEFT_IDS >> {told}'")
        outputs = folder.make()
        for peers in (("a",), ("a", "b"), ("b",)):
            await outputs.apply(OWN, members(*peers))
        assert lines(told) == ["+a -", "+b -", "+ -a"]

    def test_a_folder_that_cannot_be_synced_has_a_new_file_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.fsync

        def files_only(handle: int) -> None:
            if Path(f"/proc/self/fd/{handle}").is_dir():
                raise OSError(22, "Invalid argument")
            real(handle)

        monkeypatch.setattr(os, "fsync", files_only)
        assert OutputFile(tmp_path / "out").replace(b"new")
        assert (tmp_path / "out").read_bytes() == b"new"


class TestWritten:
    async def test_a_program_waits_for_every_file(self, folder: Folder) -> None:
        folder.add("second")
        folder.file("second").mkdir()
        outputs = folder.make()
        waiting = asyncio.create_task(outputs.written())
        for _ in range(5):
            await outputs.apply(OWN, members("a"))
        assert folder.file("out").read_text() == "a"
        assert not waiting.done()
        folder.file("second").rmdir()
        await outputs.apply(OWN, members("a"))
        async with asyncio.timeout(LIMIT_S):
            await waiting

    async def test_the_file_of_an_earlier_run_will_do_after_some_tries(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        folder.file("out").write_text("earlier")
        monkeypatch.setattr(os, "fsync", full)
        outputs = folder.make()
        waiting = asyncio.create_task(outputs.written())
        for _ in range(2):
            await outputs.apply(OWN, members("a"))
        assert not waiting.done()
        for _ in range(2):
            await outputs.apply(OWN, members("a"))
        async with asyncio.timeout(LIMIT_S):
            await waiting
        assert caplog.text.count("output stays as an earlier run left it") == 1
        monkeypatch.undo()
        await outputs.apply(OWN, members("a"))
        assert folder.file("out").read_text() == "a"

    @pytest.mark.parametrize(
        ("content", "in_block", "is_there"),
        [
            (None, False, False),
            (b"", False, True),
            (b"::1 localhost\n", True, False),
            (BEGIN + END, True, True),
        ],
    )
    def test_what_an_earlier_run_has_left(
        self, tmp_path: Path, content: bytes | None, in_block: bool, is_there: bool
    ) -> None:
        if content is not None:
            (tmp_path / "out").write_bytes(content)
        assert OutputFile(tmp_path / "out", in_block=in_block).is_there() is is_there

    def test_a_folder_is_no_file_of_an_earlier_run(self, tmp_path: Path) -> None:
        assert not OutputFile(tmp_path).is_there()

    async def test_who_could_not_be_told_keeps_no_program_waiting(self, folder: Folder) -> None:
        folder.add("out", reload="false")
        outputs = folder.make()
        await outputs.apply(OWN, members("a"))
        async with asyncio.timeout(LIMIT_S):
            await outputs.written()


async def test_a_reader_that_hangs_holds_up_no_other_output(folder: Folder) -> None:
    begun, gate = folder.file("begun"), folder.file("gate")
    os.mkfifo(gate)
    folder.add("out", reload=f"sh -c 'touch {begun}; read line < {gate}'")
    folder.add("second")
    clock = FakeClock()
    discovery = Discovery(make_settings(), MemoryBucket(clock), OWN, clock=clock)
    async with discovery:
        running = asyncio.create_task(folder.make().run(discovery))
        try:
            await until(lambda: begun.exists() and folder.file("second").exists())
            folder.file("second").write_text("garbage")
            polls = discovery.polls
            async with asyncio.timeout(LIMIT_S):
                while folder.file("second").read_text() == "garbage":
                    await clock.advance(1)
                    await asyncio.sleep(0.01)
            assert discovery.polls > polls
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def renderers() -> int:
    """Return how many processes of ours render."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(b"outputs.render" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)


class TestTrial:
    async def test_who_is_told_to_stop_waits_for_no_template(self, folder: Folder) -> None:
        for name in ("out", "second", "third"):
            folder.add(name, LOOP)
        trying = asyncio.create_task(folder.make().try_out())
        await until(lambda: renderers() == 2)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert renderers() == 0

    async def test_all_wrong_ones_are_told_with_the_file_that_asks_for_them(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apart, "LIMIT_S", 20.0)
        folder.add("out", "{{ pears }}")
        folder.add("second", "\n{% for x %}")
        with pytest.raises(SettingsError) as caught:
            await folder.make().try_out()
        first, second = sorted(map(str, caught.value.problems))
        assert "'pears' is undefined" in first
        assert f"(set in {folder.path}/outputs/out.properties)" in first
        assert "second.j2', line 2" in second


def start_render(source: str, patch: str = "", peers: int = 1) -> "subprocess.Popen[bytes]":
    """Start what renders, with a request on its standard input."""
    roster = make_roster(OWN, members(*(f"node-{number}" for number in range(peers))))
    code = f"import sys\nfrom s3discovery.outputs import render\n{patch}\nsys.exit(render.main())"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(render.make_request("x.j2", source, {}, roster))
    process.stdin.close()
    process.stdin = None
    return process


class TestLimits:
    def test_two_greedy_templates_fit_beside_the_agent(self) -> None:
        # Asked within: what a parent measures of a child begins with what the parent had itself.
        told = 'import atexit\natexit.register(lambda: print(open("/proc/self/status").read()))'
        process = start_render(GREEDY, told)
        said, _ = process.communicate(timeout=LIMIT_S)
        assert b"line 1: it needs too much memory" in said
        assert process.returncode == render.REFUSED
        agent = 80 * 1024 * 1024
        peak = int(re.findall(rb"VmHWM:\D*(\d+) kB", said)[0]) * 1024
        assert min(allowed()) == 256 * 1024 * 1024
        assert 2 * peak + agent <= min(allowed())

    def test_a_cluster_of_thousands_fits_in(self) -> None:
        process = start_render(PEERS, peers=5000)
        said, _ = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, said.count(b",")) == (0, 4999)

    def test_a_template_whose_agent_is_gone_ends_by_its_processor_time(self) -> None:
        with start_render(LOOP, "render.CPU_LIMIT_S = 1") as process:
            try:
                assert process.wait(LIMIT_S) < 0
            finally:
                process.kill()
        assert render.CPU_LIMIT_S < apart.LIMIT_S


def allowed() -> list[int]:
    """Return how many bytes of memory our units and manifests let the agent have, with its templates."""
    unit = (ROOT / "deploy" / "systemd" / "s3discovery.service").read_text().splitlines()
    texts = [line.removeprefix("MemoryMax=") for line in unit if line.startswith("MemoryMax=")]
    for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            spec = document.get("spec", {}).get("template", {}).get("spec", {})
            texts += [
                each["resources"]["limits"]["memory"]
                for each in (*spec.get("containers", ()), *spec.get("initContainers", ()))
                if each["image"].startswith("s3discovery")
            ]
    units = {"M": 2**20, "G": 2**30}
    return [int(text.removesuffix("i")[:-1]) * units[text.removesuffix("i")[-1]] for text in texts]
