"""The installed command as a process, as a user would run it, and what the kernel says of it."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

COMMAND = Path(sys.executable).with_name("s3discovery")
_STOP_LIMIT_S = 10.0


@asynccontextmanager
async def run_node(texts: dict[str, str]) -> AsyncIterator[int]:
    """Run a node with these settings; gives its process id."""
    with tempfile.TemporaryDirectory(prefix="s3discovery-bench-") as folder:
        file = Path(folder) / "s3discovery.properties"
        own = {"cluster-id": "own", "bind-address": "10.0.0.1"}
        file.write_text("".join(f"{key}={text}\n" for key, text in (texts | own).items()))
        process = await asyncio.create_subprocess_exec(
            COMMAND, "run", "-c", file, "--log-level", "error", stdin=asyncio.subprocess.DEVNULL
        )
        try:
            yield process.pid
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(_STOP_LIMIT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def resident_mib(pid: int) -> float:
    """Return VmRSS; Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell the memory of process {pid}")


def processor_s(pid: int) -> float:
    """Return what all threads have run, which the kernel counts in nanoseconds; Linux only."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9
