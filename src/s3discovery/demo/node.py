"""A node of the demo: `s3discovery run` with its broker, as processes of their own."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from s3discovery.demo import child
from s3discovery.demo.launch import Launch
from s3discovery.errors import DiscoveryError

_TAIL_LINES = 12


class NodeEndedError(DiscoveryError):
    """A node ended although nobody asked it to."""


class Node:
    """One node. Inside the context it runs; `members` are the ids that it itself says it sees."""

    def __init__(self, number: int, launch: Launch, folder: Path, properties: Path) -> None:
        self.number = number
        self.cluster_id = launch.cluster_id
        self.mqtt_port = launch.mqtt_port
        self.members: set[str] = set()
        self.process: asyncio.subprocess.Process | None = None
        self._folder = folder
        self._properties = properties
        self._launch = launch
        self._log = folder / f"{launch.cluster_id}.log"
        self._news = asyncio.Event()
        self._stack = AsyncExitStack()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def log_tail(self) -> str:
        """The last lines that the node logged."""
        with suppress(OSError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        return ""

    async def wait_until(self, holds: Callable[[set[str]], bool]) -> None:
        """Return once the ids that this node sees are as they should be; the caller sets the deadline."""
        while not holds(self.members):
            self.check_running()
            await self._news.wait()

    def check_running(self) -> None:
        """Raise NodeEndedError if the process has ended."""
        if self.process is not None and self.process.returncode is not None:
            raise NodeEndedError(f"{self.cluster_id} ended by itself, exit code {self.process.returncode}")

    async def __aenter__(self) -> Self:
        options = {"cluster-id": self.cluster_id, **self._launch.options}
        async with AsyncExitStack() as stack:
            log = stack.enter_context(self._log.open("ab"))
            self.process = await child.start(
                [
                    *(sys.executable, "-m", "s3discovery", "run", "--events", "-c", str(self._properties)),
                    *(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
                    *(("--", *self._launch.program) if self._launch.program else ()),
                ],
                folder=self._folder,
                # Nothing of the user's settings or keys may take part.
                environ={"PATH": os.defpath, "HOME": str(self._folder), **self._launch.environ},
                log=log,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(child.end, self.process)
            reader = asyncio.create_task(self._read_events(self.process), name=f"events of {self.cluster_id}")
            stack.callback(reader.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _read_events(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:  # the program's own words, which share the stream
                continue
            if event["change"] == "left":
                self.members.discard(event["cluster_id"])
            else:
                self.members.add(event["cluster_id"])
            self._announce()
        await process.wait()
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
