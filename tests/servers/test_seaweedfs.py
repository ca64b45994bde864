"""The demo's SeaweedFS: it starts, stays on loopback, and leaves nothing, however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from s3discovery.clock import SystemClock
from s3discovery.credentials import FixedCredentials
from s3discovery.demo.child import choose_ports
from s3discovery.demo.seaweedfs import Identity, SeaweedError, SeaweedFS, find_weed
from s3discovery.errors import BucketMissingError
from s3discovery.s3 import S3Bucket

# Started as a process of its own, to be killed: prints SeaweedFS's pid and folder once it is ready.
PARENT = """
import asyncio, psutil
from s3discovery.demo.seaweedfs import SeaweedFS

async def main():
    async with SeaweedFS() as server:
        print(server.pid, psutil.Process(server.pid).cwd(), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def needs_weed(seaweedfs: object) -> None:
    """Skip or fail as the fixture decides where the package is missing."""


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def sockets_in_tmp() -> set[Path]:
    """Where SeaweedFS makes its sockets, whatever TMPDIR says."""
    return set(Path("/tmp").glob("seaweedfs-*.sock"))


async def until(condition: Callable[[], bool], limit_s: float = 15.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_life(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sockets = sockets_in_tmp()
    async with SeaweedFS([Identity("reader", ("Read",))]) as server:
        assert server.pid is not None
        process = psutil.Process(server.pid)
        listening = [each.laddr for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert os.getsid(server.pid) != os.getsid(0), "Ctrl-C would end it before its parent does"
        ports = {str(address.port) for address in listening}
        await server.create_bucket("mesh")
        await server.create_bucket("mesh")
        keys = FixedCredentials(server.credentials)
        async with S3Bucket(name="mesh", region="r", endpoint=server.endpoint, credentials=keys) as bucket:
            await bucket.put("k", b"x")
        async with S3Bucket(name="other", region="r", endpoint=server.endpoint, credentials=keys) as bucket:
            with pytest.raises(BucketMissingError):
                await bucket.put("k", b"x")
        assert server.secret_access_key not in " ".join(process.cmdline() + list(process.environ().values()))
        pid = server.pid
    assert not psutil.pid_exists(pid)
    assert server.pid is None
    assert left_in(tmp_path) == []
    assert not [path for path in sockets_in_tmp() - sockets if path.stem.rpartition("-")[2] in ports]


async def test_cancelled_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = SeaweedFS()
    start = asyncio.create_task(server.__aenter__())
    await until(lambda: server.pid is not None)
    assert server.pid is not None
    pid = server.pid
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not psutil.pid_exists(pid)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
async def test_it_goes_with_its_parent(sent: signal.Signals, tmp_path: Path) -> None:
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        text=True,
    )
    pid = None
    with parent:
        try:
            assert parent.stdout is not None
            line = await asyncio.to_thread(parent.stdout.readline)
            pid = int(line.split()[0])
            assert not is_gone(pid)
            parent.send_signal(sent)
            await until(partial(is_gone, pid))
            await until(lambda: parent.poll() is not None)
        finally:
            parent.kill()
            if pid is not None and not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
    if sent == signal.SIGINT:
        assert left_in(tmp_path) == []


async def test_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    with pytest.raises(SeaweedError, match=r"(?s)ended at its start; the end of its log:\n.*iam\.json"):
        # An action list that is no list of texts: its configuration cannot be read.
        async with SeaweedFS([Identity("broken", [{"no": "text"}])]):  # type: ignore[list-item]  # wrong on purpose
            pass
    assert clock.monotonic_s() - began_s < 30


def test_ports_are_different() -> None:
    ports = choose_ports([str(number) for number in range(50)])
    assert len(set(ports.values())) == 50


def test_missing_package_names_the_cure() -> None:
    with pytest.raises(SeaweedError, match=r"pip install 's3discovery\[demo\]'"):
        find_weed("s3discovery-no-such-package")
