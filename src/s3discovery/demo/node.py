"""A node of the demo: `s3discovery run` with an amqtt broker, as a process of its own."""

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
from s3discovery.errors import DiscoveryError

_TAIL_LINES = 12


class NodeEndedError(DiscoveryError):
    """A node ended although nobody asked it to."""


class Node:
    """One node. Inside the context it runs; `members` are the ids that it itself says it sees."""

    def __init__(self, cluster_id: str, folder: Path, properties: Path, mqtt_port: int) -> None:
        self.cluster_id = cluster_id
        self.mqtt_port = mqtt_port
        self.members: set[str] = set()
        self.process: asyncio.subprocess.Process | None = None
        self._folder = folder
        self._properties = properties
        self._log = folder / f"{cluster_id}.log"
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
        options = {
            "cluster-id": self.cluster_id,
            "broker": "amqtt",
            "bind-port": "0",
            "amqtt-listen": f"{child.HOST}:{self.mqtt_port}",
        }
        async with AsyncExitStack() as stack:
            log = stack.enter_context(self._log.open("wb"))
            self.process = await child.start(
                [
                    *(sys.executable, "-m", "s3discovery", "run", "--events", "-c", str(self._properties)),
                    *(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
                ],
                folder=self._folder,
                # Nothing of the user's settings or keys may take part.
                environ={"PATH": os.defpath, "HOME": str(self._folder)},
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
            event = json.loads(line)
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
