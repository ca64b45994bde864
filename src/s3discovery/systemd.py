"""systemd is told how this process is: ready, what of, reloading, stopping, and that its loops run.

One datagram a message to the socket that systemd names (sd_notify(3)); without one there is nobody to tell.
The watchdog is fed only while polls are attempted as they are due, so a loop that hangs ends in a restart.
"""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from s3discovery.clock import Clock, SystemClock
from s3discovery.running import Running
from s3discovery.topology import topology

log = logging.getLogger(__name__)

# Whoever inherits these speaks for us: a broker that is started by us must not.
VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_LOOK_INTERVAL_S = 1.0
_START_STEP_S = 30.0  # by so much the start may go on, from each time that we say so
# Beyond its interval a poll may wait for the 300 s that a store may ask for; and its requests take time.
_POLL_MARGIN_S = 360.0
_STATUS_CHARS = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Systemd:
    """The one who started us, if that is systemd and wants to be told; telling never fails."""

    def __init__(
        self, environ: Mapping[str, str], clock: Clock | None = None, pid: int | None = None
    ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._clock = clock or SystemClock()
        self.watchdog_s = _watchdog_s(environ, pid)
        self._is_ready = False
        self._has_failed = False

    @property
    def listens(self) -> bool:
        """Whether anybody is to be told."""
        return self._address is not None

    def ready(self) -> None:
        """Say that the start, or a reload, is done."""
        self._is_ready = True
        self.tell(READY="1")

    def reloading(self) -> None:
        """Say that the settings are read again; `reloaded` ends it."""
        self.tell(RELOADING="1", MONOTONIC_USEC=str(int(self._clock.monotonic_s() * 1e6)))

    def reloaded(self) -> None:
        """Say that the settings have been read again, whether they were good or not."""
        if self._is_ready:
            self.ready()

    def tell(self, **fields: str) -> None:
        """Send one message; nothing in a value begins another field."""
        if self._address is None:
            return
        lines = (f"{name}={_CONTROL.sub(' ', text)}" for name, text in fields.items())
        message = "\n".join(lines).encode("utf-8", "backslashreplace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message, self._address)
        except OSError as error:
            if not self._has_failed:
                log.warning("systemd cannot be told address=%r error=%s", self._address, error)
            self._has_failed = True
            return
        self._has_failed = False


@asynccontextmanager
async def telling(systemd: Systemd, running: Running) -> AsyncIterator[None]:
    """Tell systemd of `running` while entered, and at the end that it stops."""
    if not systemd.listens:
        yield
        return
    task = asyncio.create_task(_keep_telling(systemd, running), name="systemd")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        systemd.tell(STOPPING="1", STATUS="stopping")


async def _keep_telling(systemd: Systemd, running: Running) -> None:
    clock, pulse = running.clock, Pulse(running.clock.monotonic_s())
    seen, said, is_ready, next_s = object(), "", False, 0.0
    while True:
        discovery, now_s = running.discovery, clock.monotonic_s()
        attempts = discovery.counts.get("poll", 0) + discovery.counts.get("poll_failed", 0)
        pulse.note(attempts, now_s)
        # What a status is made from, as far as it costs nothing to look at every second.
        if (now := (attempts, running.cluster_state(), discovery.status.registered)) != seen:
            seen = now
            if (words := status(running)) != said:
                systemd.tell(STATUS=words)
                said = words
        if not is_ready and is_up(running):
            systemd.ready()
            is_ready, next_s = True, 0.0
        if now_s >= next_s:
            beats = pulse.beats(now_s, discovery.settings.poll_interval_s)
            if not is_ready:
                # A store that is down is waited for, and systemd must not take that for a start that hangs.
                systemd.tell(EXTEND_TIMEOUT_USEC=str(int(_START_STEP_S * 1e6)))
                next_s = now_s + _START_STEP_S / 3
            elif systemd.watchdog_s is not None and beats:
                systemd.tell(WATCHDOG="1")
                next_s = now_s + systemd.watchdog_s / 2
        wait_s = (
            _LOOK_INTERVAL_S if systemd.watchdog_s is None else min(_LOOK_INTERVAL_S, systemd.watchdog_s / 4)
        )
        await clock.sleep(wait_s)


class Pulse:
    """Whether polls go on: how many there were, and when the last one ended."""

    def __init__(self, now_s: float) -> None:
        self._attempts = -1
        self._at_s = now_s

    def note(self, attempts: int, now_s: float) -> None:
        """Take in how many polls have been attempted."""
        if attempts != self._attempts:
            self._attempts, self._at_s = attempts, now_s

    def beats(self, now_s: float, poll_interval_s: float) -> bool:
        """Tell whether the last poll ended no longer ago than it may."""
        return now_s - self._at_s <= poll_interval_s + _POLL_MARGIN_S


def is_up(running: Running) -> bool:
    """Tell whether the node is registered and knows the others; an observer need only know them."""
    discovery = running.discovery
    found = discovery.status
    return found.listed_s is not None and (found.registered or discovery.own is None)


def status(running: Running) -> str:
    """Return a line on how the node and its cluster are."""
    discovery = running.discovery
    found = discovery.status
    error = found.error or found.write_error
    if found.listed_s is None:
        words = "waiting for the store"
    else:
        state = running.cluster_state()
        words = str(topology(discovery.members))
        if state is not None and state.text:
            words = f"{len(discovery.members)} members, {state.text}"
        if discovery.own is not None and not found.registered:
            words = f"not registered, {words}"
    return f"{words}; store: {error}"[:_STATUS_CHARS] if error is not None else words[:_STATUS_CHARS]


def _address(text: str) -> str | None:
    """Return what to send to: a path, or an abstract name, which `@` stands before; None: nobody."""
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str], pid: int | None) -> float | None:
    """Return within what time systemd wants to hear of us; None if it does not, or of somebody else."""
    text, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        return None
    return None if whose and whose != str(pid) else int(text) / 1e6
