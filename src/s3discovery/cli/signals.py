"""Ctrl-C and SIGTERM end a command politely; SIGHUP has a node read its settings again."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from s3discovery.child import FORWARDED, Child

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_Result = TypeVar("_Result")


def until_signal(
    main_coroutine: Coroutine[Any, Any, _Result],
    child: Child | None = None,
    on_hangup: Callable[[], None] | None = None,
) -> _Result | None:
    """Run to the end, or to SIGTERM or Ctrl-C, which end it politely; None is returned then.

    A second signal ends what the first left to do. Other signals are passed on to `child`, SIGHUP as well;
    `on_hangup` is called for that one too."""

    async def guarded() -> _Result | None:
        loop, task, signals = asyncio.get_running_loop(), asyncio.current_task(), []

        def stop(number: int) -> None:
            signals.append(number)
            if task is not None:
                task.cancel()

        for number in _STOPPING:
            loop.add_signal_handler(number, stop, number)
        for number in FORWARDED:
            hearers = _hearers(number, child, on_hangup)
            if hearers:
                loop.add_signal_handler(number, _call_all, hearers)
        try:
            return await main_coroutine
        except asyncio.CancelledError:
            if not signals:
                raise
            return None
        finally:
            # Whatever is still to be waited for, such as a thread that hangs, yields to the next signal.
            for number in _STOPPING:
                loop.remove_signal_handler(number)

    return asyncio.run(guarded())


def _hearers(
    number: int, child: Child | None, on_hangup: Callable[[], None] | None
) -> tuple[Callable[[], None], ...]:
    """Return who is to hear of a signal that does not end us."""
    passing = (partial(child.signal, number),) if child is not None else ()
    return (*passing, on_hangup) if on_hangup is not None and number == signal.SIGHUP else passing


def _call_all(hearers: tuple[Callable[[], None], ...]) -> None:
    for hear in hearers:
        hear()
