"""Process 1: reaps all who ended, however many did at once, and needs no terminal of its own."""

import subprocess
import sys

LIMIT_S = 30.0
# Everything ends before anybody looks, so that all of it is a single SIGCHLD.
AT_ONCE = """
import os, signal, sys
from s3discovery import pid1
waited_for = pid1._PASSED | {signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
def child(code):
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid
orphans = [child(0) for _ in range(3)]
program = child(7)
code = pid1._watch_over(program, waited_for)
os.write(1, str(code).encode())
"""
# A leader of a session has no terminal until it opens one; this one was opened by somebody else.
TERMINAL = """
import os, pty, sys
master, slave = pty.openpty()
pid = os.fork()
if pid == 0:
    os.setsid()
    if os.fork() == 0:
        os.dup2(slave, 0)
        sys.stdin = open(0)
        from s3discovery import pid1
        pid1._take_terminal()
        os._exit(7)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
os.write(1, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
"""


def ask(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=LIMIT_S, check=False)
    assert done.stderr == b""
    return done.stdout.decode()


def test_several_that_end_at_once_are_all_reaped() -> None:
    assert ask(AT_ONCE) == "7"


def test_a_terminal_of_others_is_left_to_them() -> None:
    assert ask(TERMINAL) == "7"
