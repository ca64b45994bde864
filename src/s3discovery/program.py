"""One run of another program: without a shell, with a time limit, and gone with all it started.

What it reads is a file in memory, what it prints is kept up to a limit; nobody waits for the output of
programs that it left running in the background.
"""

import asyncio
import errno
import io
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress

from s3discovery.errors import BrokerError
from s3discovery.presentation import ENVIRONMENT_PREFIX
from s3discovery.settings.keys import KEYS
from s3discovery.settings.vectors import Vector

log = logging.getLogger(__name__)

OUTPUT_LIMIT_BYTES = 256 * 1024
_SHOWN_CHARS = 500
_LAST_WORDS_S = 0.2  # of output, once the program has ended
_END_LIMIT_S = 1.0  # from SIGTERM to SIGKILL
_NO_PROGRAM = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC})
_SECRETS = frozenset(
    f"{ENVIRONMENT_PREFIX}{key.name.upper().replace('-', '_')}" for key in KEYS if key.secret
) | {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"}

# Those of them that nobody but s3discovery reads. AWS_... may be for the program in front of which we stand.
_STORE_KEYS = frozenset(name for name in _SECRETS if name.startswith(f"{ENVIRONMENT_PREFIX}CREDENTIALS_"))


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the keys to the store, which no other program needs from us."""
    return {name: text for name, text in environ.items() if name not in _SECRETS}


def without_store_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the keys to the store that are written as settings of s3discovery."""
    return {name: text for name, text in environ.items() if name not in _STORE_KEYS}


async def run_program(
    vector: Vector, *, environ: Mapping[str, str], limit_s: float, text: str = "", is_question: bool = False
) -> str:
    """Run a program with `text` on its standard input; return what it printed, at most 256 KiB.

    It is ended, with its process group, after `limit_s` and when the caller is cancelled. What only asks,
    which happens often, is logged at level debug. Raises BrokerError if it cannot be started, overruns, or
    ends with another code than 0."""
    try:
        with _file_of(text) as file:
            transport, watch = await asyncio.get_running_loop().subprocess_exec(
                _Watch, *vector, stdin=file, env=dict(environ), start_new_session=True
            )
    except OSError as error:
        raise BrokerError(_no_start(vector, environ, error)) from error
    is_done = False
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.shield(watch.exited)
        is_done = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await asyncio.shield(watch.closed)
    except TimeoutError:
        raise BrokerError(
            f"command {list(vector)!r} took longer than command-timeout ({limit_s:g} s) and was ended; "
            f"it said {watch.said!r}"
        ) from None
    finally:
        try:
            if not is_done:
                await _end(transport.get_pid(), watch)
        finally:
            transport.close()
    code = transport.get_returncode()
    if code != 0:
        raise BrokerError(f"command {list(vector)!r} ended with code {code}; it said {watch.said!r}")
    level = logging.DEBUG if is_question else logging.INFO
    log.log(level, "command ran command=%r said=%r", list(vector), watch.said)
    return watch.output


def _file_of(text: str) -> io.FileIO:
    """Return a file in memory, so that a full disk stops no command; raises OSError."""
    file = io.FileIO(os.memfd_create("s3discovery"), "r+")
    file.write(text.encode())
    file.seek(0)
    return file


def _no_start(vector: Vector, environ: Mapping[str, str], error: OSError) -> str:
    if error.errno != errno.E2BIG:
        cure = "; write the path of a program" if error.errno in _NO_PROGRAM else ""
        return f"command {list(vector)!r} cannot be started: {error.strerror}{cure}"
    # Never without the variable that is too long: a program would take that for nobody being there.
    words = {f"argument {place}": word for place, word in enumerate(vector)}
    words |= {f"variable {name}": f"{name}={word}" for name, word in environ.items()}
    name, word = max(words.items(), key=lambda each: len(each[1]))
    return (
        f"command {vector[0]!r} cannot be started: {error.strerror}; {name} has {len(os.fsencode(word))} "
        "bytes and Linux takes 131071; give the nodes shorter ids and hosts, or divide them by file-prefix"
    )


async def _end(group: int, watch: "_Watch") -> None:
    """End a process group: SIGTERM, a second later SIGKILL to whoever is left of it."""
    try:
        _signal(group, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_LIMIT_S):
                await asyncio.shield(watch.exited)
    finally:
        _signal(group, signal.SIGKILL)
    await asyncio.shield(watch.exited)


def _signal(group: int, number: int) -> None:
    # PermissionError: all that is left of the group belongs to somebody else.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Watch(asyncio.SubprocessProtocol):
    """Keeps what a program prints, by stream; `exited` when it ends, `closed` when nobody can print more."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._printed = {1: bytearray(), 2: bytearray()}

    @property
    def output(self) -> str:
        """What it printed to standard output."""
        return self._printed[1].decode(errors="replace")

    @property
    def said(self) -> str:
        """The end of what it printed, for logs: errors first of all."""
        errors = self._printed[2].decode(errors="replace").strip()
        return "\n".join(filter(None, (self.output.strip(), errors)))[-_SHOWN_CHARS:]

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept = self._printed[fd]
        kept += data[: OUTPUT_LIMIT_BYTES - len(kept)]

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
