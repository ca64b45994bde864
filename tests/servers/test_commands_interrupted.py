"""Commands that are interrupted, or whose output nobody reads any more: their exit code says so."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("s3discovery")
LIMIT_S = 20.0
SETTINGS = (
    "s3-bucket-region=us-east-1",
    "s3-bucket-name=bucket",
    "file-prefix=nodes/",
    "file-expiration=60s",
    "update-interval=20s",
)


def words(*more: str) -> tuple[str, ...]:
    return tuple(word for text in (*SETTINGS, *more) for word in ("-o", text))


@asynccontextmanager
async def started(
    folder: Path, *arguments: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a command in an environment without settings; it is gone at the end."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("S3", "AWS_"))}
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, cwd=folder, env=environ, stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_leave_does_not_say_that_a_node_has_left_which_did_not_answer(
    tmp_path: Path, number: signal.Signals
) -> None:
    asked = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the wish in, as a node whose broker lasts; end when the asker does."""
        await reader.readline()
        asked.set()
        await reader.read()
        writer.close()

    path = tmp_path / "node.sock"
    async with (
        asyncio.timeout(LIMIT_S),
        await asyncio.start_unix_server(hear, path),
        started(tmp_path, "leave", *words(f"control-socket={path}")) as process,
    ):
        await asked.wait()
        process.send_signal(number)
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"left the cluster" not in said
    assert b"interrupted before the node answered: it may still be leaving" in said


@pytest.mark.parametrize("command", ["members", "status"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_look_that_is_interrupted_is_no_answer(
    tmp_path: Path, command: str, number: signal.Signals
) -> None:
    asked = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be a store that takes its time."""
        asked.set()
        await reader.read()
        writer.close()

    async with asyncio.timeout(LIMIT_S), await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        keys = (
            "credentials-type=access_key",
            "credentials-access-key-id=a",
            "credentials-secret-access-key=b",
        )
        endpoint = f"s3-endpoint=http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with started(tmp_path, command, "--format", "json", *words(endpoint, *keys)) as process:
            await asked.wait()
            process.send_signal(number)
            out, said = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    "arguments", [("config", *words()), ("policy", *words()), ("completion", "bash"), ("--help",)]
)
async def test_an_output_that_nobody_reads_ends_a_command_quietly(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    near, far = os.pipe()
    os.close(near)
    async with started(tmp_path, *arguments, stdout=far) as process:
        os.close(far)
        async with asyncio.timeout(LIMIT_S):
            _, said = await process.communicate()
    assert (process.returncode, said) == (1, b"")
