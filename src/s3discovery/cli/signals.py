"""Ctrl-C and SIGTERM end a command politely."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from s3discovery.child import FORWARDED, Child

_Result = TypeVar("_Result")


def until_signal(main_coroutine: Coroutine[Any, Any, _Result], child: Child | None = None) -> _Result | None:
    """Run to the end, or to SIGTERM or Ctrl-C, which end it politely; None is returned then.

    A second signal ends what the first left to do. Other signals are passed on to `child`."""

    async def guarded() -> _Result | None:
        loop, task, signals = asyncio.get_running_loop(), asyncio.current_task(), []

        def stop(number: int) -> None:
            signals.append(number)
            if task is not None:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        if child is not None:
            for number in FORWARDED:
                loop.add_signal_handler(number, child.signal, number)
        try:
            return await main_coroutine
        except asyncio.CancelledError:
            if not signals:
                raise
            return None
        finally:
            # Whatever is still to be waited for, such as a thread that hangs, yields to the next signal.
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    return asyncio.run(guarded())
