"""The HTTP interface does what its OpenAPI document says, whatever is asked: held to it by schemathesis."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError
from s3discovery.http import serving
from s3discovery.metrics import Metrics
from s3discovery.node import Address, Member, NodeFile
from s3discovery.running import ClusterState, Running
from s3discovery.testing import FakeClock, MemoryBucket, make_settings
from s3discovery.traffic import Traffic

COMMAND = str(Path(sys.executable).with_name("schemathesis"))
LIMIT_S = 60.0
# A stream ends only with its reader, so a fuzzer would wait for each: test_http.py reads it.
ENDLESS = "/v1/events"


@asynccontextmanager
async def node(**settings: str) -> AsyncIterator[str]:
    """A node among others, one of them hostile, whose broker refuses every second wish to leave."""
    clock, bucket, traffic = SystemClock(), MemoryBucket(FakeClock()), Traffic()
    for cluster_id in ("a", '"><script>\u202e', "b" * 200):
        body = codec.encode(NodeFile("1", 1, cluster_id, Address("10.0.0.1", 7800)), "1")
        await bucket.put(f"nodes/{cluster_id}", body)
    await bucket.put("nodes/garbage", b"\xff\x00")
    wishes = 0

    async def leave() -> None:
        nonlocal wishes
        wishes += 1
        if wishes % 2:
            raise BrokerError("the broker is busy")

    read = make_settings(http_port="1", **settings)
    own = Member("own", Address("10.0.0.9", 7800))
    async with Discovery(read, bucket, own, clock=clock) as discovery:
        state = ClusterState("formed 4/4", is_whole=True, is_ready=True)
        running = Running(read, discovery, clock, lambda: state, leave)
        async with serving(0, running, Metrics(running, traffic).render) as (host, port):
            yield f"http://{host}:{port}"


async def fuzz(base: str, folder: Path, *arguments: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
    """Return the exit code of the fuzzer, and what it says."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "run",
        f"{base}/openapi.json",
        "--checks=all",
        f"--exclude-path={ENDLESS}",
        "--request-timeout=5",
        "--seed=1",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(limit_s):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode()


async def test_it_keeps_its_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with node() as base:
        code, said = await fuzz(base, tmp_path, "--phases=examples,coverage,fuzzing", "--max-examples=5")
    assert code == 0, said[-4000:]
    # Nor can anybody fill the log by requests that are none.
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_with_a_token_too(tmp_path: Path) -> None:
    async with node(http_token="t0ken") as base:
        header = "--header=Authorization:Bearer t0ken"
        code, said = await fuzz(base, tmp_path, "--phases=coverage", header)
    assert code == 0, said[-4000:]


@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_it_keeps_its_word_for_long(tmp_path: Path) -> None:
    async with node() as base:
        code, said = await fuzz(base, tmp_path, "--max-examples=2000", "--max-time=240", limit_s=360.0)
    assert code == 0, said[-4000:]
