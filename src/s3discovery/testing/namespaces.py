"""Hosts in network namespaces (Linux, root): each with an address of its own, all at one switch.

The store does not stand at that switch: it is reached through sockets that listen in each namespace and
belong to this process. So a cut between the hosts is none between a host and the store.
"""

import asyncio
import ctypes
import itertools
import os
import shutil
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count(1)


class NamespaceError(Exception):
    """This machine does not let us make network namespaces."""


class Hosts:
    """`count` hosts, numbered from 1, with addresses 10.77.0.1 and so on; raises NamespaceError."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.prefix = f"s3d{os.getpid()}-{next(_NUMBERS)}-"
        self._switch = f"{self.prefix}sw"
        self._names = [f"{self.prefix}{number}" for number in range(1, count + 1)]

    @property
    def addresses(self) -> list[str]:
        return [f"10.77.0.{number}" for number in range(1, self._count + 1)]

    async def __aenter__(self) -> Self:
        if shutil.which("ip") is None:
            raise NamespaceError("ip (iproute2) is not installed")
        try:
            await self._make()
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._remove()

    async def cut(self, number: int) -> None:
        """Pull the cable of one host."""
        await _ip("-n", self._switch, "link", "set", f"p{number}", "down")

    async def mend(self, number: int) -> None:
        """Plug it in again."""
        await _ip("-n", self._switch, "link", "set", f"p{number}", "up")

    def listen(self, number: int, port: int) -> socket.socket:
        """Return a socket that listens at 127.0.0.1 of one host."""
        found: list[socket.socket] = []

        def enter() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/run/netns/{self._names[number - 1]}").open("rb") as namespace:
                if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    return
            found.append(socket.create_server(("127.0.0.1", port)))

        thread = threading.Thread(target=enter)  # only this thread moves, and ends there
        thread.start()
        thread.join()
        if not found:
            raise NamespaceError("setns is not permitted")
        return found[0]

    async def _make(self) -> None:
        await _ip("netns", "add", self._switch)
        await _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        await _ip("-n", self._switch, "link", "set", "br0", "up")
        for number, (name, address) in enumerate(zip(self._names, self.addresses, strict=True), start=1):
            await _ip("netns", "add", name)
            cable = ("link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            await _ip("-n", self._switch, *cable)
            await _ip("-n", self._switch, "link", "set", f"p{number}", "master", "br0", "up")
            await _ip("-n", name, "link", "set", "lo", "up")
            await _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            await _ip("-n", name, "link", "set", "eth0", "up")

    async def _remove(self) -> None:
        for name in (*self._names, self._switch):
            process = await asyncio.create_subprocess_exec(
                "ip", "netns", "delete", name, stderr=asyncio.subprocess.DEVNULL
            )
            await process.wait()


async def _ip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode != 0:
        raise NamespaceError(f"ip {' '.join(arguments)}: {said.decode(errors='replace').strip()}")
