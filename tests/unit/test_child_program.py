"""The program behind `--`: restarted once for all who ask, never killed for it, ended with a true code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from s3discovery.child import NOT_EXECUTABLE, NOT_FOUND, Child
from s3discovery.errors import BrokerError

LIMIT_S = 30.0
# Notes what happens to it; ends, with `sys.argv[2]` as its code, once the file `may-end` is there.
PROGRAM = """#!{python}
import os, pathlib, signal, sys, time
notes = pathlib.Path(sys.argv[1])
def note(text):
    with notes.open("a") as file:
        file.write(text + "\\n")
def end(number, frame):
    note("asked")
    while not notes.with_name("may-end").exists():
        time.sleep(0.01)
    note("saved")
    sys.exit(int(sys.argv[2]))
signal.signal(signal.SIGTERM, end)
note("started " + " ".join(sys.argv[3:] + [os.environ.get("GIVEN", "")]))
while True:
    time.sleep(60)
"""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.program = folder / "program"
        self.program.write_text(PROGRAM.format(python=sys.executable))
        self.program.chmod(0o755)
        self.notes = folder / "notes"
        self.gate = folder / "may-end"
        self.child = self.of(0)

    def of(self, code: int) -> Child:
        return Child([str(self.program), str(self.notes), str(code)], os.environ)

    @property
    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - files and processes are no events
                await asyncio.sleep(0.01)

    async def started(self, child: Child | None = None) -> Child:
        child = child or self.child
        await child.start(("one",), {"GIVEN": "two"})
        await self.until(lambda: self.noted == ["started one two"])
        return child


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.child.signal(signal.SIGKILL)
    await bench.child.stop()


async def test_a_restart_that_is_cancelled_kills_nobody(bench: Bench) -> None:
    child = await bench.started()
    restarting = asyncio.create_task(child.restart())
    await bench.until(lambda: "asked" in bench.noted)
    restarting.cancel()
    with suppress(asyncio.CancelledError):
        await restarting
    child.tell_to_stop()
    stopping = asyncio.create_task(child.stop())
    bench.gate.touch()
    async with asyncio.timeout(LIMIT_S):
        await stopping
    assert bench.noted == ["started one two", "asked", "saved"]
    assert child.code == 0


async def test_the_last_stop_that_is_cancelled_does(bench: Bench) -> None:
    child = await bench.started()
    stopping = asyncio.create_task(child.stop())
    await bench.until(lambda: "asked" in bench.noted)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    assert child.code == 128 + signal.SIGKILL


async def test_it_is_restarted_as_it_was_started_once_for_all_who_ask(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    child = await bench.started()
    restarting = [asyncio.create_task(child.restart()) for _ in range(3)]
    await bench.until(lambda: "asked" in bench.noted)
    starting = asyncio.create_task(child.start(("another",)))  # finds it running
    bench.gate.touch()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*restarting, starting)
    await bench.until(lambda: len(bench.noted) == 4)
    assert bench.noted == ["started one two", "asked", "saved", "started one two"]
    assert caplog.text.count("program started") == 2
    await child.restart()
    assert caplog.text.count("program started") == 3


@pytest.mark.parametrize(("is_there", "code"), [(False, NOT_FOUND), (True, NOT_EXECUTABLE)])
async def test_a_program_that_cannot_be_started_again_has_ended(
    bench: Bench, *, is_there: bool, code: int
) -> None:
    child = await bench.started()
    bench.gate.touch()
    bench.program.chmod(0o644) if is_there else bench.program.unlink()
    with pytest.raises(BrokerError, match="cannot be started"):
        await child.restart()
    async with asyncio.timeout(LIMIT_S):
        assert await child.exited() == code


@pytest.mark.parametrize(("code", "told"), [(143, 0), (0, 0), (1, 1)])
async def test_whom_our_sigterm_ended_has_not_failed(bench: Bench, code: int, told: int) -> None:
    bench.child = await bench.started(bench.of(code))
    bench.gate.touch()
    await bench.child.stop()
    assert bench.child.code == told


async def test_who_has_no_handler_for_it_has_not_failed_either() -> None:
    child = Child(["sleep", "1000"], os.environ)
    await child.start()
    await child.stop()
    assert child.code == 0


async def test_the_sigterm_of_others_is_a_failure() -> None:
    child = Child(["sleep", "1000"], os.environ)
    await child.start()
    child.signal(signal.SIGTERM)
    assert await child.exited() == 143
    assert child.code == 143
