"""Real RabbitMQ nodes for tests: on loopback or in network namespaces, with a port mapper of their own.

Nothing is shared with a RabbitMQ of the machine: own epmd, cookie, folders and ports. All processes end with
the one that started them.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from s3discovery.demo import child
from s3discovery.demo.brokers.rabbitmq import prepare_node, write_cookie

# Not /usr/sbin/rabbitmqctl: that is a wrapper which becomes the user rabbitmq, with another home.
BIN = Path("/usr/lib/rabbitmq/bin")
_START_LIMIT_S = 90.0
_LOOK_EVERY_S = 0.1


def find_rabbitmq() -> Path | None:
    """Return the folder with RabbitMQ's programs, None if it is not installed."""
    found = shutil.which("rabbitmq-server", path=str(BIN)) and shutil.which("epmd")
    return BIN if found else None


@dataclass
class RabbitNode:
    """One node: its name, ports, folders, and the environment that its programs want.

    `prefix` stands before every command, such as `ip netns exec n1`."""

    name: str
    host: str
    folder: Path
    environ: dict[str, str]
    amqp_port: int
    mqtt_port: int
    prefix: tuple[str, ...] = ()
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        return self.folder / "mnesia" / self.name

    @property
    def server(self) -> tuple[str, ...]:
        """The command that starts it."""
        return (str(BIN / "rabbitmq-server"),)

    @property
    def ctl(self) -> str:
        """How rabbitmqctl is called, for the setting rabbitmq-ctl."""
        return " ".join((*self.prefix, str(BIN / "rabbitmqctl")))

    async def start(self) -> None:
        """Start it, and wait until it is up."""
        await self.launch()
        await self.until_up()

    async def launch(self) -> None:
        """Start it, and wait for nothing."""
        with (self.folder / "out").open("ab") as out:
            command = (*self.prefix, *self.server)
            program = shutil.which(command[0]) or command[0]
            self.process = await child.start(
                (program, *command[1:]), folder=self.folder, environ=self.environ, log=out
            )

    async def until_up(self) -> None:
        """Wait until its application runs."""
        wait = "W = fun W(N) -> case rabbit:is_running() of true -> true; _ when N =:= 0 -> false; "
        wait += "_ -> timer:sleep(50), W(N - 1) end end, W(200)."
        async with asyncio.timeout(_START_LIMIT_S):
            while "true" not in (await self.call("eval", wait))[1]:  # noqa: ASYNC110 - a program is asked
                await asyncio.sleep(_LOOK_EVERY_S)

    async def call(self, *arguments: str) -> tuple[int, str]:
        """Run rabbitmqctl; return its exit code and all that it printed."""
        process = await asyncio.create_subprocess_exec(
            *(*self.prefix, str(BIN / "rabbitmqctl"), "--node", self.name),
            *(("--longnames",) if "." in self.host else ()),
            *arguments,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode(errors="replace")

    async def tell(self, *arguments: str) -> str:
        """Run rabbitmqctl, which must succeed; return what it printed."""
        code, said = await self.call(*arguments)
        assert code == 0, said
        return said

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self.process is not None:
            await child.kill(self.process)

    async def stop(self) -> None:
        """End it in good order."""
        if self.process is not None:
            await child.end(self.process, limit_s=30.0)

    async def wipe(self) -> None:
        """End it, and take its data away."""
        await self.kill()
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)


class RabbitNodes:
    """Nodes that can be a cluster, and their epmd; every process ended on leaving.

    `hosts` are names or addresses that the nodes have (all localhost by default); `prefixes` lead into the
    network namespaces that own them."""

    def __init__(self, folder: Path, count: int, *, hosts: Sequence[str] = (), prefix: str = "") -> None:
        self._folder = folder
        self._count = count
        self._hosts = hosts
        self._prefix = prefix
        self._epmds: list[asyncio.subprocess.Process] = []
        self.nodes: list[RabbitNode] = []

    def __getitem__(self, number: int) -> RabbitNode:
        return self.nodes[number]

    async def __aenter__(self) -> Self:
        home = self._folder / "home"
        home.mkdir(parents=True)
        write_cookie(home)
        epmd_port = child.choose_ports(["epmd"])["epmd"] if not self._hosts else 4369
        for number in range(1, self._count + 1):
            host = self._hosts[number - 1] if self._hosts else "localhost"
            prefix = ("ip", "netns", "exec", f"{self._prefix}{number}") if self._hosts else ()
            if self._hosts or number == 1:
                await self._start_epmd(epmd_port, prefix)
            self.nodes.append(self._node(number, host, home, epmd_port, prefix))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes))
        for epmd in self._epmds:
            await child.kill(epmd)

    def _node(
        self, number: int, host: str, home: Path, epmd_port: int, prefix: tuple[str, ...]
    ) -> RabbitNode:
        name = f"rmq{number}@{host}"
        folder = self._folder / f"n{number}"
        bound = host if self._hosts else child.HOST
        ports, environ = prepare_node(name, folder, home, epmd_port, bound)
        return RabbitNode(name, host, folder, environ, ports["amqp"], ports["mqtt"], prefix)

    async def _start_epmd(self, port: int, prefix: tuple[str, ...]) -> None:
        program = shutil.which("epmd")
        assert program is not None
        command = (*prefix, program, "-port", str(port))
        if not prefix:
            command = (*command, "-address", child.HOST)
        with (self._folder / "epmd").open("ab") as log:
            self._epmds.append(
                await child.start(
                    (shutil.which(command[0]) or command[0], *command[1:]),
                    folder=self._folder,
                    environ={"PATH": os.environ.get("PATH", "")},
                    log=log,
                )
            )
        await self._await_epmd(program, port, prefix)

    async def _await_epmd(self, program: str, port: int, prefix: tuple[str, ...]) -> None:
        async with asyncio.timeout(_START_LIMIT_S):
            while True:
                asking = await asyncio.create_subprocess_exec(
                    *(*prefix, program, "-port", str(port), "-names"),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                if await asking.wait() == 0:
                    return
                await asyncio.sleep(_LOOK_EVERY_S)


__all__ = ["BIN", "RabbitNode", "RabbitNodes", "find_rabbitmq", "write_cookie"]
