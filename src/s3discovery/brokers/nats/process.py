"""The nats-server of this node as a process: started, told to read its configuration again, restarted."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from s3discovery.brokers.nats import jetstream
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.monitoring import Monitor, SilentError
from s3discovery.brokers.nats.views import Server
from s3discovery.child import Child
from s3discovery.clock import Clock
from s3discovery.errors import BrokerError
from s3discovery.node import NO_METADATA, Address
from s3discovery.program import run_program
from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)

_START_LIMIT_S = 15.0
_RELOAD_LIMIT_S = 3.0
_LOOK_EVERY_S = 0.05
_CHECK_LIMIT_S = 10.0
_PID_LIMIT = 2**22  # Linux: /proc/sys/kernel/pid_max is never more
_PROGRAM = "nats-server"
NAME_VARIABLE = "NATS_SERVER_NAME"  # what nats.conf may write as its server_name


class Process:
    """One nats-server: `child` if it is ours to start, or one that runs by itself and has a pid file."""

    def __init__(
        self, access: Access, monitor: Monitor, child: Child | None, settings: Settings, clock: Clock
    ) -> None:
        self._access = access
        self._monitor = monitor
        self._child = child
        self._pid_file = settings.nats_pid_file
        self._has_jetstream = settings.nats_jetstream
        self._clock = clock
        self._environ: Mapping[str, str] = NO_METADATA

    @property
    def is_ours(self) -> bool:
        """Whether we start it."""
        return self._child is not None

    @property
    def is_running(self) -> bool:
        """Whether it runs, as far as that is known without asking it."""
        return self._child is None or self._child.pid is not None

    async def server(self) -> Server:
        """Return what it says of itself; raises BrokerError if it does not answer."""
        if self._child is not None and self._child.was_started and self._child.pid is None:
            raise BrokerError("nats-server has ended; its own last lines say why")
        return await self._monitor.server()

    async def awaited(self, limit_s: float) -> Server:
        """Return what it says once it answers and its JetStream is on, or could have been for long.

        Raises BrokerError if it does not answer within `limit_s`."""
        deadline_s = self._clock.monotonic_s() + limit_s
        while True:
            is_late = self._clock.monotonic_s() >= deadline_s
            try:
                server = await self.server()
                if is_late or server.store_dir is not None or not self._has_jetstream:
                    return server
            except SilentError:
                if is_late:
                    raise
            await self._clock.sleep(_LOOK_EVERY_S)

    async def start(self, name: str, own: Address) -> Server:
        """Start it as the server `name`; raises BrokerError if its places are taken, or it ends."""
        if self._child is None:
            raise ValueError("a server that runs by itself is not ours to start")
        await self._check_free(own)
        # Not as an argument: MQTT wants the name in nats.conf, and refuses to reload without.
        self._environ = {NAME_VARIABLE: name}
        await self._child.start(environ=self._environ)
        return await self.awaited(_START_LIMIT_S)

    async def stop(self) -> None:
        """End it, if it is ours."""
        if self._child is not None and self._child.pid is not None:
            await self._child.stop(for_good=False)

    async def reload(self, before: Server) -> Server:
        """Have it read its configuration again; raises BrokerError with the cause if it does not.

        One of ours that refuses to is started anew, if its configuration is valid."""
        self._signal()
        after = await self._loaded(before)
        if after is not None:
            return after
        cause = await self._why_refused(before)
        if self._child is None or not await self._is_valid():
            raise BrokerError(f"nats-server does not take its configuration: {cause}")
        log.warning("nats-server is started anew, as it cannot reload reason=%r", cause)
        await self._child.restart()
        return await self.awaited(_START_LIMIT_S)

    async def _loaded(self, before: Server) -> Server | None:
        deadline_s = self._clock.monotonic_s() + _RELOAD_LIMIT_S
        while self._clock.monotonic_s() < deadline_s:
            server = await self.server()
            if server.loaded != before.loaded:
                return server
            await self._clock.sleep(_LOOK_EVERY_S)
        return None

    async def _why_refused(self, server: Server) -> str:
        """Return what the server has against its configuration."""
        if self._access.system is None:
            return "its log says why (nats-system-user would let it say so here)"
        async with jetstream.connect(self._access, server, self._access.system) as connection:
            return await connection.refused_reload(server) or "it did not answer the signal"

    async def _is_valid(self) -> bool:
        """Tell whether a new process would take the configuration; raises BrokerError with what is wrong."""
        command = self._child.command if self._child is not None else ()
        if not command or Path(command[0]).name != _PROGRAM:
            return False
        await run_program((*command, "-t"), environ={**os.environ, **self._environ}, limit_s=_CHECK_LIMIT_S)
        return True

    def _signal(self) -> None:
        if self._child is not None:
            self._child.signal(signal.SIGHUP)
            return
        pid = _read_pid(self._pid_file)
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            raise BrokerError(
                f"nats-server (process {pid} of nats-pid-file) cannot be signalled: {error.strerror}; run "
                "s3discovery as its user"
            ) from error

    async def _check_free(self, own: Address) -> None:
        """Raise BrokerError if another server is where ours would be."""
        try:
            other = await self._monitor.server()
        except SilentError:
            pass
        else:
            raise BrokerError(
                f"a nats-server ({other.name!r}) runs at nats-monitor-url already; stop it, or start "
                "s3discovery without a program to stand beside it"
            )
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(own.host, own.port)
        except OSError:  # a TimeoutError is one
            return
        writer.close()
        raise BrokerError(
            f"another program listens at {own} already; stop it, or write another port into bind-port and "
            "nats.conf"
        )


def _read_pid(path: str | None) -> int:
    """Return the process in a pid file, once it is known to be a nats-server's."""
    cure = 'write pid_file: "..." into nats.conf and the same path into nats-pid-file'
    if path is None:
        raise BrokerError(f"nats-server cannot be told to read its routes; {cure}")
    try:
        pid = int(Path(path).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise BrokerError(f"nats-pid-file {path!r} holds no process id: {error}; {cure}") from error
    if not 1 < pid <= _PID_LIMIT:
        raise BrokerError(f"nats-pid-file {path!r} holds {pid}, which is no process; {cure}")
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return pid  # no /proc here, or no process: the signal tells
    if "nats" not in name:
        # SIGHUP ends most programs: an old file must not end somebody else's.
        raise BrokerError(f"nats-pid-file {path!r} is out of date: process {pid} is {name!r}; {cure}")
    return pid
