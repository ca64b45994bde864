"""Process 1 of a container: passes signals on, reaps whoever lost his parent, ends with its program's code.

A process 1 that does neither leaves zombies behind and cannot be stopped. The program is this very
process, forked before it has threads or an event loop.
"""

import os
import signal
import sys
from contextlib import suppress

# Signals about the terminal, and those that mean a fault of this process itself, are not passed on.
_KEPT = {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGSEGV, signal.SIGBUS}
_KEPT |= {signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGKILL}
_PASSED = signal.valid_signals() - _KEPT - {signal.SIGSTOP}
_SIGNALLED = 128  # what shells add to the number of the signal that ended a program


def stand_in_as_init() -> None:
    """If this is process 1, go on in a child of it and never return in the parent; else do nothing."""
    if os.getpid() != 1:
        return
    waited_for = _PASSED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    sys.stdout.flush()
    sys.stderr.flush()
    program = os.fork()
    if program == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_watch_over(program, waited_for))


def _watch_over(program: int, waited_for: set[signal.Signals]) -> int:
    """Pass signals on and reap until the program has ended; return its code as a shell gives it."""
    while True:
        number = signal.sigwait(waited_for)
        if number != signal.SIGCHLD:
            os.kill(program, number)
            continue
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == program:
                code = os.waitstatus_to_exitcode(ended[1])
                return _SIGNALLED - code if code < 0 else code


def _take_terminal() -> None:
    """Be a group of its own, so that Ctrl-C reaches the program once: not also by way of process 1."""
    os.setpgid(0, 0)
    if sys.stdin is not None and sys.stdin.isatty():
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        # Refused for a terminal that is not the one that controls us: its Ctrl-C reaches nobody here.
        with suppress(OSError):
            os.tcsetpgrp(sys.stdin.fileno(), os.getpid())
        signal.signal(signal.SIGTTOU, before)
