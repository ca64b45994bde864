"""Child processes that end with this one, however it ends."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
_STOP_LIMIT_S = 6.0  # a node takes at most 5 s to leave

# Runs in the child before the program does: asks Linux for SIGKILL when the parent dies, and looks
# whether it has died already. Not a preexec_fn, which may deadlock where there are threads.
_DIE_WITH_PARENT = """
import ctypes, os, sys
parent, program = int(sys.argv[1]), sys.argv[2]
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, 9)
if os.getppid() != parent:
    os._exit(1)
os.execv(program, sys.argv[2:])
"""


async def start(
    command: Sequence[str],
    *,
    folder: Path,
    environ: Mapping[str, str],
    log: IO[bytes],
    stdout: IO[bytes] | int | None = None,
) -> asyncio.subprocess.Process:
    """Start a program (first its path) in a session of its own, so that Ctrl-C reaches the parent alone."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command),
        cwd=folder,
        env=dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log if stdout is None else stdout,
        stderr=log,
        start_new_session=True,
    )


async def end(process: asyncio.subprocess.Process, limit_s: float = _STOP_LIMIT_S) -> None:
    """End a child: SIGTERM, and SIGKILL if it takes too long or nobody waits for it any more."""
    if process.returncode is not None:
        return
    try:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await process.wait()
    finally:
        await kill(process)


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a child and whatever it started at once (SIGKILL): as if its machine had lost its power."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it is the leader of its session
    if process.returncode is None:
        await process.wait()


def choose_ports(names: Sequence[str]) -> dict[str, int]:
    """Return a different port for every name, free on loopback at this moment."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind((HOST, 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}
