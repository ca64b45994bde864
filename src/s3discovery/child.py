"""The program that `s3discovery run -- program` stands in front of: started, signalled, waited for.

The child gets our standard streams, and stays in our process group: Ctrl-C in a terminal reaches it, too.
"""

import asyncio
import errno
import logging
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from s3discovery.errors import BrokerError
from s3discovery.node import NO_METADATA

log = logging.getLogger(__name__)

# What an init passes on; SIGTERM and SIGINT stop the agent, which then stops the child.
FORWARDED = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_SAY_EVERY_S = 10.0
# What shells end with if there is no such program, and if it is there but cannot be executed.
NOT_FOUND, NOT_EXECUTABLE = 127, 126
_SIGNALLED = 128  # what shells add to the number of the signal that ended a program


class Child:
    """One program; `command` is an argument vector, `environ` its environment. No I/O before `start`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.command = tuple(command)
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Future[int] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._turn = asyncio.Lock()
        self._starts = 0
        self._given: tuple[Sequence[str], Mapping[str, str]] = ((), NO_METADATA)  # to the last start

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def code(self) -> int | None:
        """Its exit code, as a shell gives it, once it has ended; 0 if it ended by SIGTERM, and we sent that.

        A supervisor would take another code for a failure, and start again what was to end."""
        process = self._process
        if process is None or process.returncode is None:
            return None
        code = _code(process.returncode)
        return 0 if self._is_stopping and code == _SIGNALLED + signal.SIGTERM else code

    @property
    def was_started(self) -> bool:
        """Whether it was ever started."""
        return self._process is not None

    def fault(self) -> tuple[int, str] | None:
        """Return why it cannot be started, and the exit code that shells have for that; None if it can."""
        name, path = self.command[0], self._environ.get("PATH", os.defpath)
        if shutil.which(name, path=path) is not None:
            return None
        if shutil.which(name, mode=os.F_OK, path=path) is not None:
            return NOT_EXECUTABLE, _no_start(name, os.strerror(errno.EACCES))
        return NOT_FOUND, _no_start(name, os.strerror(errno.ENOENT))

    async def start(self, arguments: Sequence[str] = (), environ: Mapping[str, str] = NO_METADATA) -> None:
        """Start it, with more `arguments` and variables; nothing if it runs already.

        Raises BrokerError if there is no such program, or it cannot be executed."""
        async with self._turn:
            if self.pid is None:
                self._given = arguments, environ
                await self._start()

    async def exited(self) -> int:
        """Wait until it ends without having been told to; return its exit code, as a shell gives it."""
        return await asyncio.shield(self._end())

    def signal(self, number: int) -> None:
        """Send it a signal; nothing if it does not run."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def tell_to_stop(self) -> None:
        """Ask it to end (SIGTERM), once: a second one might end it before it has saved its data."""
        if not self._is_stopping:
            self._is_stopping = True
            self.signal(signal.SIGTERM)

    async def stop(self, *, for_good: bool = True) -> None:
        """Ask it to end and wait for as long as that takes; nothing if it was never started.

        There is no SIGKILL after a while: how long a broker may take to save its data is not ours to say.
        Who is cancelled while waiting `for_good`, by a second signal, ends it at once. Not for good, the
        cancellation is the agent's own end, which waits for the program's in its turn."""
        process = self._process
        if process is None:
            return
        self.tell_to_stop()
        try:
            await self._patiently(process)
        except asyncio.CancelledError:
            if for_good:
                self.signal(signal.SIGKILL)
                await process.wait()
            raise

    async def restart(self) -> None:
        """Stop it, and start it again as before; once for all who ask before it starts.

        Raises BrokerError if it cannot be started any more; for `exited` it has ended then."""
        starts = self._starts
        async with self._turn:
            if self._starts != starts:
                return
            await self.stop(for_good=False)
            try:
                await self._start()
            except BrokerError:
                fault = self.fault()
                self._note_end(fault[0] if fault is not None else NOT_EXECUTABLE)
                raise

    async def _start(self) -> None:
        arguments, environ = self._given
        command = (*self.command, *arguments)
        self._starts += 1
        try:
            self._process = await asyncio.create_subprocess_exec(*command, env={**self._environ, **environ})
        except OSError as error:
            raise BrokerError(_no_start(command[0], error.strerror)) from error
        self._is_stopping = False
        log.info("program started command=%r pid=%d", command[0], self._process.pid)
        self._watcher = asyncio.create_task(self._watch(self._process), name="child")

    async def _patiently(self, process: asyncio.subprocess.Process) -> None:
        """Wait for its end, and say now and then that it is waited for."""
        waited_s = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAY_EVERY_S):
                    await process.wait()
                    return
            waited_s += _SAY_EVERY_S
            log.warning("program still ends, waiting pid=%d for_s=%.0f", process.pid, waited_s)

    def _end(self) -> "asyncio.Future[int]":
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = _code(await process.wait())
        if self._is_stopping or process is not self._process:
            return
        log.info("program ended command=%r code=%d", self.command[0], code)
        self._note_end(code)

    def _note_end(self, code: int) -> None:
        if not self._end().done():
            self._end().set_result(code)


def _no_start(name: str, why: str | None) -> str:
    return f"program {name!r} cannot be started: {why}; write its path after --"


def _code(returncode: int) -> int:
    return _SIGNALLED - returncode if returncode < 0 else returncode
