"""Where the members' host names lead, found out beside everything else.

Nobody waits for a look-up: what is known is used, and news are told. Names that are not known yet, those that
are, and those that were not found the last time have threads of their own, so that none starves the others.
"""

import asyncio
import ipaddress
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from s3discovery.clock import Clock
from s3discovery.ip import IP, unmapped
from s3discovery.network.names import Found

# A name that nobody answers for takes a thread for as long as the system tries. Of new names nobody knows
# which those are, so there are more threads for them; each is made when it is needed.
_THREADS_NEW = 64
_THREADS = 16
_KEPT_S = 30.0  # an address that was found is not looked for again
_AGAIN_S = 5.0  # after a failure; twice as long after each further one
_AGAIN_LIMIT_S = 60.0


class FindsNames(Protocol):
    """What looks a host name up, as `Names` does."""

    async def find(self, host: str) -> Found:
        """Return the IP addresses of `host`; raises OSError if none is found."""
        ...


@dataclass(slots=True)
class _Host:
    """`due_s` is when it is to be looked up (again), by our monotonic clock; `task` is who does."""

    addresses: tuple[IP, ...] = ()
    failures: int = 0
    due_s: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was never found out whether there is an address."""
        return not self.addresses and not self.failures


class Directory:
    """The host names that matter now. `tell` is called when a look-up has ended: where a name leads may have
    changed, and `due_s` has.

    `make_names` makes what looks names up, so many at a time."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        clock: Clock,
        tell: Callable[[], None],
        make_names: Callable[[int], FindsNames],
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._tell = tell
        self._new, self._known, self._failing = (
            make_names(threads) for threads in (_THREADS_NEW, _THREADS, _THREADS)
        )
        self._hosts: dict[str, _Host] = {}

    @property
    def due_s(self) -> float:
        """When the next look-up is due, by our monotonic clock; infinity if none is."""
        return min((host.due_s for host in self._hosts.values() if host.task is None), default=math.inf)

    def addresses_of(self, name: str) -> tuple[IP, ...]:
        """Return what is known: while a look-up fails, what the last good one found."""
        host = self._hosts.get(name)
        return () if host is None else host.addresses

    def mind(self, names: Collection[str]) -> None:
        """Mind these names from now on, and forget all others; look up what is due."""
        for name in self._hosts.keys() - names:
            if (task := self._hosts.pop(name).task) is not None:
                task.cancel()
        now_s = self._clock.monotonic_s()
        for name in names:
            host = self._hosts.setdefault(name, _Host(due_s=now_s))
            if host.task is None and host.due_s <= now_s:
                host.task = self._tasks.create_task(self._look_up(name, host), name=f"look-up {name}")

    async def _look_up(self, name: str, host: _Host) -> None:
        lane = self._failing if host.failures else self._new if host.is_open else self._known
        try:
            found = await lane.find(name)
        except OSError:
            host.failures += 1
            delay_s = min(_AGAIN_LIMIT_S, _AGAIN_S * 2.0 ** min(host.failures - 1, 10))
        else:
            host.addresses = tuple(unmapped(ipaddress.ip_address(text)) for text in found)
            host.failures, delay_s = 0, _KEPT_S
        host.due_s, host.task = self._clock.monotonic_s() + delay_s, None
        self._tell()
