"""What all clusters of real agents in tests have in common: a store, quick settings, and waiting."""

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import aiomqtt

from s3discovery import wiring
from s3discovery.demo import child
from s3discovery.errors import BrokerError
from s3discovery.testing.link import Link
from s3discovery.testing.stores import Store, way_to

EXPIRY_S = 5.0
PREFIX = "hivemq/cluster/nodes/"
LOOK_EVERY_S = 0.05


class AgentProcess:
    """`s3discovery run` as a process: the node of this `name`, and what it logs."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def said(self) -> str:
        """All that it, and what it started, have logged so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def state(self) -> str:
        """What it said last of its cluster."""
        found: list[str] = re.findall(r"\.driver cluster ([a-z].*)", self.said)
        return found[-1] if found else ""

    @property
    def code(self) -> int | None:
        """How it ended, None as long as it has not."""
        return self._process.returncode if self._process is not None else None

    async def kill(self, *, with_server: bool = True) -> None:
        """End it (SIGKILL), and what it started with it, as if the machine died."""
        if self._process is not None and self._process.returncode is None:
            if with_server:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
            await self._process.wait()

    async def end(self) -> None:
        """End it as systemd does (SIGTERM)."""
        if self._process is not None:
            await child.end(self._process, limit_s=20.0)


A = TypeVar("A", bound=AgentProcess)


class AgentCluster(Generic[A]):
    """Agents, and the store between them, which they reach by `link`."""

    limit_s: float

    def __init__(self, agents: Sequence[A], properties: Path, link: Link) -> None:
        self.agents = agents
        self.properties = properties
        self.link = link

    def __getitem__(self, number: int) -> A:
        return self.agents[number]

    @property
    def names(self) -> set[str]:
        return {agent.name for agent in self.agents}

    async def until(
        self, condition: Callable[[], bool | Awaitable[bool]], what: str, limit_s: float | None = None
    ) -> None:
        """Wait for something to be so; AssertionError with what the agents said last if it does not."""
        limit_s = limit_s or self.limit_s
        try:
            async with asyncio.timeout(limit_s):
                while not await _now(condition):  # noqa: ASYNC110 - logs and programs have no event
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            said = "\n".join(f"--- {agent.name}\n{agent.said[-4000:]}" for agent in self.agents)
            raise AssertionError(f"{what}: not within {limit_s:g} s\n{said}") from None

    async def until_said(self, number: int, text: str, limit_s: float | None = None) -> None:
        """Wait until an agent has logged something."""
        await self.until(lambda: text in self[number].said, f"agent {number} says {text!r}", limit_s)

    async def files(self) -> set[str]:
        """Return whose node files are in the bucket."""
        seen = await wiring.look(wiring.Origins(self.properties, environ={}))
        return {member.cluster_id for member in seen.members}

    async def empty_bucket(self) -> None:
        """Delete all node files."""
        origins = wiring.Origins(self.properties, environ={})
        async with origins.open_bucket(origins.read()) as bucket:
            for entry in (await bucket.list(PREFIX)).entries:
                await bucket.delete(entry.key)


async def _now(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    """Return what is so now; a broker that does not answer says no."""
    try:
        found = condition()
        return found if isinstance(found, bool) else await found
    except BrokerError:
        return False


async def payloads(client: aiomqtt.Client, count: int, limit_s: float = 90.0) -> list[bytes]:
    """Return the next `count` payloads."""
    found: list[bytes] = []
    async with asyncio.timeout(limit_s):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            found.append(message.payload)
            if len(found) == count:
                break
    return found


def write_settings(file: Path, store: Store, endpoint: str, **settings: str) -> None:
    """Write the settings of a new cluster, quicker than anybody would have them.

    `settings` are texts by key, `-` written as `_`."""
    values = {
        **way_to(store.new_bucket(), endpoint, store.credentials),
        "file-prefix": PREFIX,
        "file-expiration": f"{EXPIRY_S:g}s",
        "update-interval": "1s",
        "poll-interval": "1s",
        "stable-margin": "1s",
    } | {key.replace("_", "-"): text for key, text in settings.items()}
    file.write_text("".join(f"{key}:{text}\n" for key, text in values.items()))
