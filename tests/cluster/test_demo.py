"""The demo as its user runs it: as a process, to its end, interrupted, and kept."""

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from s3discovery.demo.child import kill

COMMAND = Path(sys.executable).with_name("s3discovery")
LIMIT_S = 60.0  # all of it takes 10 s on an idle machine
STEP = re.compile(r"ok +(\d+\.\d\d) s  \S.*")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# The command in an interpreter that lacks something.
WITHOUT = "import sys; {}; from s3discovery.cli import main; main(['demo'], prog_name='s3discovery')"


class Demo:
    """A running demo: what it has printed so far, on whatever it prints to."""

    def __init__(
        self, process: asyncio.subprocess.Process, screen: asyncio.StreamReader, keyboard: int
    ) -> None:
        self.process = process
        self._printed = b""
        self._news = asyncio.Event()
        self._keyboard = keyboard
        self._reading = asyncio.create_task(self._read(screen))

    @property
    def out(self) -> str:
        """What it printed, without colours and moves of the cursor."""
        return ESCAPES.sub("", self._printed.decode(errors="replace")).replace("\r\n", "\n")

    async def says(self, pattern: str) -> "re.Match[str]":
        """Wait until it has printed what `pattern` matches; return the first match."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while (found := re.search(pattern, self.out)) is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"it did not say {pattern!r} but:\n{self.out}") from None
        return found

    async def ended(self, limit_s: float = LIMIT_S) -> int:
        """Return its exit code, once everything that it printed is there."""
        try:
            async with asyncio.timeout(limit_s):
                await self._reading
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"it did not end, and said:\n{self.out}") from None

    def press_ctrl_c(self) -> None:
        os.write(self._keyboard, b"\x03")

    async def _read(self, screen: asyncio.StreamReader) -> None:
        with suppress(OSError):  # what a terminal says once nobody writes to it any more
            while data := await screen.read(65536):
                self._printed += data
                self._news.set()


@asynccontextmanager
async def running(folder: Path, *command: str | Path, is_on_terminal: bool = False) -> AsyncIterator[Demo]:
    """Run a command with all its temporary files in `folder`; it has ended at the end.

    On a terminal it has one of its own, of the usual size, as setsid gives it: Ctrl-C is a key there."""
    above, below = pty.openpty() if is_on_terminal else os.pipe()
    if is_on_terminal:
        termios.tcsetwinsize(below, (24, 80))
        command = ("setsid", "--ctty", "--wait", *command)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=kept | {"HOME": str(folder), "TMPDIR": str(folder), "TERM": "xterm"},
        stdin=below if is_on_terminal else asyncio.subprocess.DEVNULL,
        stdout=below,
        stderr=below,
    )
    os.close(below)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(above, "rb", buffering=0)
    )
    try:
        yield Demo(process, reader, above)
    finally:
        await kill(process)
        transport.close()


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that have something to do with `folder`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(folder) in line]


def assert_nothing_is_left(folder: Path) -> None:
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def needs_weed(seaweedfs: object) -> None:
    """Skip or fail as the fixture decides where the package is missing."""


async def test_it_plays_to_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, COMMAND, "demo") as demo:
        await demo.says("a real S3 server runs")
        assert any("weed" in line for line in processes_of(tmp_path))
        assert await demo.ended() == 0
    *lines, last = demo.out.splitlines()
    steps = [STEP.fullmatch(line) for line in lines]
    assert None not in steps, demo.out
    took_s = sum(float(step[1]) for step in steps if step is not None)
    total = re.fullmatch(r"all 9 steps held, (\d+\.\d) s", last)
    assert total is not None, demo.out
    assert len(steps) == 9
    assert abs(float(total[1]) - took_s) < 0.2
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("broker", ["nats", pytest.param("rabbitmq", marks=pytest.mark.soak)])
async def test_it_shows_real_engines_as_well(tmp_path: Path, broker: str) -> None:
    async with running(tmp_path, COMMAND, "demo", "--broker", broker) as demo:
        assert await demo.ended(limit_s=8 * LIMIT_S) == 0, demo.out
    assert "one cluster of 3, by the brokers' own word: formed 3/3" in demo.out
    assert "one cluster of 4, by the brokers' own word: formed 4/4" in demo.out
    assert "takes its place by itself" in demo.out
    assert "all 12 steps held" in demo.out
    assert_nothing_is_left(tmp_path)


async def test_it_is_live_on_a_terminal_and_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, COMMAND, "demo", is_on_terminal=True) as demo:
        await demo.says(r"node +MQTT +process +file in the bucket +sees")
        await demo.says(r"n3 +127\.0\.0\.1:\d+ +runs +\d+s +n1, n2, n3")
        assert len(processes_of(tmp_path)) >= 4
        demo.press_ctrl_c()
        assert await demo.ended() == 130
    assert "Traceback" not in demo.out
    assert_nothing_is_left(tmp_path)


async def test_kept_it_can_be_used_until_ctrl_c(tmp_path: Path) -> None:
    async with running(tmp_path, COMMAND, "demo", "--keep", is_on_terminal=True) as demo:
        await demo.says(r"(?m)^  and live: .*\n")
        nodes = dict(re.findall(r"(?m)^  (n\d): MQTT at 127\.0\.0\.1:(\d+)$", demo.out))
        assert set(nodes) == {"n3", "n4"}
        shown = await demo.says(r"(?m)^  who is there:  (.+)$")
        command = shlex.split(shown[1])
        assert command[1:3] == ["members", "-c"]
        # As the user copies it: it is called by its name only where that is found.
        async with running(tmp_path, *command, "--format", "json") as members:
            assert await members.ended() == 0
        assert [row["cluster_id"] for row in json.loads(members.out)] == ["n3", "n4"]
        async with aiomqtt.Client("127.0.0.1", int(nodes["n3"])) as one:
            await one.subscribe("kept", qos=1)
            async with aiomqtt.Client("127.0.0.1", int(nodes["n4"])) as other:
                await other.publish("kept", "still here", qos=1)
            async with asyncio.timeout(LIMIT_S):
                assert (await anext(aiter(one.messages))).payload == b"still here"
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ended() == 0
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        ("sys.modules['aiomqtt'] = None", "Error: the demo needs a package that is missing (aiomqtt)"),
        (
            "from importlib import metadata; metadata.files = lambda name: None",
            "FAILED   0.00 s  a real S3 server runs, with an empty bucket: SeaweedFS is not installed",
        ),
    ],
    ids=["aiomqtt", "seaweedfs"],
)
async def test_what_is_missing_is_named_with_the_cure(tmp_path: Path, lack: str, said: str) -> None:
    async with running(tmp_path, sys.executable, "-c", WITHOUT.format(lack)) as demo:
        assert await demo.ended() == 1
    assert said in demo.out
    assert "pip install 's3discovery[demo]'" in demo.out
    assert "Traceback" not in demo.out
    assert_nothing_is_left(tmp_path)
