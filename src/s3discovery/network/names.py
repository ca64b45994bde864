"""Where a name leads, found out without anybody waiting.

A look-up is done by a daemon thread of its own: the threads of asyncio are few, and hold up the end of the
process while a name server does not answer.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Final

LOOK_UP_LIMIT_S: Final = 5.0
_THREADS = 16

Found = tuple[str, ...]
FindAddresses = Callable[[str], Awaitable[Found]]


class Names:
    """Looks names up, for one event loop.

    `threads` is how many at a time, those that nobody waits for any more included. `look_up` may block."""

    def __init__(
        self,
        threads: int = _THREADS,
        *,
        limit_s: float = LOOK_UP_LIMIT_S,
        look_up: Callable[[str], Found | OSError] | None = None,
    ) -> None:
        self._free = asyncio.Semaphore(threads)
        self._limit_s = limit_s
        self._look_up = look_up or _look_up

    async def find(self, host: str) -> Found:
        """Return the IP addresses of `host`, both families, the preferred one first.

        Raises OSError if there is none, or no answer within a few seconds, not counting the wait for a free
        thread: who stands behind others that get no answer must not fail with them."""
        await self._free.acquire()
        async with asyncio.timeout(self._limit_s):
            return await self._begin(host)

    def _begin(self, host: str) -> "asyncio.Future[Found]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()

        def finish(found: Found | OSError) -> None:
            self._free.release()
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def work() -> None:
            found = self._look_up(host)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody asks any more
                loop.call_soon_threadsafe(finish, found)

        try:
            threading.Thread(target=work, name="look-up", daemon=True).start()
        except RuntimeError as error:  # as many threads as the machine allows
            finish(OSError(str(error)))
        return answer


def _look_up(host: str) -> Found | OSError:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError as error:  # a label longer than DNS has
        return OSError(str(error))
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
