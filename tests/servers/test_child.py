"""`s3discovery run -- program`: the agent in front of a program, against a real S3 server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from s3discovery.testing.stores import Store, way_to

COMMAND = str(Path(sys.executable).with_name("s3discovery"))
LIMIT_S = 20.0  # for what takes well under a second on an idle machine
# Writes what happens to it, one line each; ends by SIGUSR1 with code 7, is stubborn if told so.
PROGRAM = """
import os, signal, sys, time
log = open(sys.argv[1], "a", buffering=1)
def note(number, frame):
    name = signal.Signals(number).name
    log.write(name + "\\n")
    if name == "SIGUSR1":
        sys.exit(7)
    if name == "SIGTERM" and "stubborn" not in sys.argv:
        sys.exit(0)
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, note)
log.write("started %d\\n" % os.getpid())
while True:
    time.sleep(60)
"""
# Takes its time to end: until there is a file GATE.
SAVING = """
import os, pathlib, signal, sys, time
log = open(sys.argv[1], "a", buffering=1)
def end(number, frame):
    log.write("saving\\n")
    while not os.path.exists("GATE"):
        time.sleep(0.01)
    log.write("saved\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
log.write("started %d\\n" % os.getpid())
while True:
    time.sleep(60)
"""
# As a broker's daemon does: leaves a process behind whose parent is gone, and which ends.
ORPHAN = """
import os, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
    os._exit(0)
os.wait()
time.sleep(1)
zombies = [pid for pid in os.listdir("/proc") if pid.isdigit() and ") Z" in open(f"/proc/{pid}/stat").read()]
print("pid", os.getpid(), "zombies", zombies, flush=True)
sys.exit(5 if zombies else 3)
"""


class Bench:
    """A bucket, a program that notes what happens to it, and the commands on them."""

    def __init__(self, server: Store, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.settings = {
            **way_to(server.new_bucket(), server.endpoint, server.credentials),
            "file-prefix": "nodes/",
            "file-expiration": "60s",
            "update-interval": "20s",
            "poll-interval": "500ms",
            "cluster-id": "n1",
            "external-address": "127.0.0.1",
            "control-socket": str(folder / "control.sock"),
        }
        self._stack = ExitStack()
        (folder / "program.py").write_text(PROGRAM)

    def run(
        self, *arguments: str, program: tuple[str, ...] | None = None, before: tuple[str, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start `s3discovery run` in front of the program, or of another."""
        own = (sys.executable, str(self.folder / "program.py"), str(self.notes))
        return self.start("run", *arguments, "--", *(program or own), before=before)

    def start(self, command: str, *arguments: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
        """Start a command that goes on."""
        return self._start((*before, *self._command(command, *arguments)))

    def start_with(self, settings: Path) -> "subprocess.Popen[bytes]":
        """Start another node, with settings of its own."""
        return self._start((COMMAND, "run", "-c", str(settings)))

    def _start(self, command: tuple[str, ...]) -> "subprocess.Popen[bytes]":
        log = self._stack.enter_context((self.folder / "log").open("ab"))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self._stack.callback(self._end, process)
        return process

    def ask(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(command, *arguments), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )

    def members(self) -> list[str]:
        rows = json.loads(self.ask("members", "--format", "json").stdout)
        return [row["cluster_id"] for row in rows]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def noted(self) -> list[str]:
        return self.notes.read_text().split("\n") if self.notes.exists() else []

    def has_noted(self, line: str) -> bool:
        return line in self.noted()

    def close(self) -> None:
        self._stack.close()

    def _command(self, name: str, *arguments: str) -> tuple[str, ...]:
        file = self.folder / f"{self.settings['cluster-id']}.properties"
        file.write_text("".join(f"{key}={text}\n" for key, text in self.settings.items()))
        return (COMMAND, name, "-c", str(file), *arguments)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            process.kill()
            process.wait()
        for line in self.noted():
            if line.startswith("started") and Path(f"/proc/{line.split()[1]}").exists():
                os.kill(int(line.split()[1]), signal.SIGKILL)


@pytest.fixture
def bench(seaweedfs: Store, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(seaweedfs, tmp_path)
    try:
        yield bench
    finally:
        bench.close()


def until(condition: Callable[[], object], what: str = "it") -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not come true"
        time.sleep(0.05)


def test_a_program_is_started_told_and_its_code_passed_on(bench: Bench) -> None:
    process = bench.run()
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    assert bench.members() == ["n1"]
    for number in (signal.SIGHUP, signal.SIGUSR2):
        process.send_signal(number)
        until(partial(bench.has_noted, number.name), number.name)
    assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    assert process.wait(LIMIT_S) == 7
    assert bench.members() == []


def test_sigterm_stops_both_and_takes_the_file_away(bench: Bench) -> None:
    process = bench.run()
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert "SIGTERM" in bench.noted()
    assert bench.members() == []


def test_the_file_stays_if_that_is_wished(bench: Bench) -> None:
    bench.settings["leave-on-stop"] = "false"
    process = bench.run()
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert bench.members() == ["n1"]


def test_a_second_signal_ends_a_program_that_does_not(bench: Bench) -> None:
    process = bench.run(
        program=(sys.executable, str(bench.folder / "program.py"), str(bench.notes), "stubborn")
    )
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    process.send_signal(signal.SIGTERM)
    until(partial(bench.has_noted, "SIGTERM"), "SIGTERM")
    until(lambda: bench.members() == [], "the file's end")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 128 + signal.SIGKILL


def test_two_signals_at_once_end_it_as_well(bench: Bench) -> None:
    """The second one meets the node in the middle of leaving, wherever that is."""
    nodes = []
    for number in range(6):
        bench.settings |= {
            "cluster-id": f"n{number}",
            "external-port": str(7801 + number),
            "control-socket": str(bench.folder / f"{number}.sock"),
        }
        nodes.append(bench.start("run"))
    until(lambda: len(bench.members()) == len(nodes), "the nodes")
    for number, node in enumerate(nodes):
        node.send_signal(signal.SIGINT)
        time.sleep((0.0005, 0.002, 0.004, 0.008, 0.012, 0.02)[number])
        node.send_signal(signal.SIGINT)
    for node in nodes:
        # -2: the node had left already, and Python ends by the signal itself then.
        assert node.wait(LIMIT_S) in (0, 1, 130, -signal.SIGINT)


def test_a_program_that_is_killed_ends_the_agent_with_a_shells_code(bench: Bench) -> None:
    process = bench.run()
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    os.kill(int(bench.noted()[0].split()[1]), signal.SIGKILL)
    assert process.wait(LIMIT_S) == 128 + signal.SIGKILL
    assert bench.members() == []


def test_a_program_that_is_not_there_is_named(bench: Bench) -> None:
    process = bench.run(program=("no-such-broker", "-x"))
    assert process.wait(LIMIT_S) == 127
    assert "program 'no-such-broker' cannot be started" in bench.log()
    assert "Traceback" not in bench.log()
    assert "registered" not in bench.log()


def test_a_program_that_cannot_be_executed_is_named(bench: Bench) -> None:
    process = bench.run(program=(str(bench.folder / "program.py"),))
    assert process.wait(LIMIT_S) == 126
    assert "Permission denied; write its path after --" in bench.log()
    assert "registered" not in bench.log()


def test_a_program_gets_no_keys_to_the_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("credentials-access-key-id", "credentials-secret-access-key"):
        key = f"S3DISCOVERY_{name.upper().replace('-', '_')}"
        monkeypatch.setenv(key, bench.settings.pop(name))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "for-the-program")
    seen = bench.folder / "seen"
    process = bench.run(program=("sh", "-c", f"env > {seen}"))
    assert process.wait(LIMIT_S) == 0, bench.log()
    variables = seen.read_text()
    assert "S3DISCOVERY_CREDENTIALS_SECRET_ACCESS_KEY" not in variables
    assert "AWS_SECRET_ACCESS_KEY=for-the-program\n" in variables


def test_a_template_that_runs_away_leaves_sigterm_alone(bench: Bench) -> None:
    template = bench.folder / "loop.j2"
    # Not tried out with a node of this name.
    template.write_text(
        "{% if own.id == 'n1' %}{% for a in range(99999) %}{% for b in range(99999) %}"
        "{% endfor %}{% endfor %}{% endif %}"
    )
    bench.settings |= {"output-file": str(bench.folder / "out"), "output-template": str(template)}
    process = bench.start("run")
    until(lambda: bench.members() == ["n1"], "the node")
    until(partial(_renders, process.pid), "the template")
    began_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert time.monotonic() - began_s < 8
    assert bench.members() == []


def _renders(pid: int) -> bool:
    return any(b"outputs.render" in Path(f"/proc/{each}/cmdline").read_bytes() for each in _children(pid))


def test_templates_that_loop_at_the_start_leave_sigterm_alone(bench: Bench) -> None:
    loop, outputs = bench.folder / "loop.j2", bench.folder / "outputs"
    loop.write_text("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    outputs.mkdir()
    for number in range(3):
        text = f"output-file={bench.folder}/{number}\noutput-template={loop}\n"
        (outputs / f"{number}.properties").write_text(text)
    bench.settings["output-folder"] = str(outputs)
    process = bench.start("run")
    until(partial(_renders, process.pid), "the template")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    # Else they had been ended for their time, and the start refused.
    assert "took longer" not in bench.log()


def test_sigterm_during_a_restart_lets_the_program_save_its_data(bench: Bench) -> None:
    peer = bench.folder / "peer.properties"
    saving = SAVING.replace("GATE", str(bench.folder / "gate"))
    (bench.folder / "program.py").write_text(saving)
    bench.settings |= {
        "output-file": str(bench.folder / "out"),
        "output-template": "json",
        "output-signal": "restart:child",
    }
    process = bench.run()
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    text = "".join(f"{key}={value}\n" for key, value in bench.settings.items() if "output" not in key)
    socket = bench.folder / "peer.sock"
    peer.write_text(f"{text}cluster-id=n2\nexternal-port=7801\ncontrol-socket={socket}\n")
    bench.start_with(peer)
    until(partial(bench.has_noted, "saving"), "the restart")
    process.send_signal(signal.SIGTERM)
    until(lambda: "n1" not in bench.members(), "the file's end")
    assert process.poll() is None
    (bench.folder / "gate").touch()
    assert process.wait(LIMIT_S) == 0
    assert bench.noted()[-2:] == ["saved", ""]
    assert bench.noted().count("saving") == 1


def test_without_the_store_nothing_is_started(bench: Bench) -> None:
    bench.settings |= {"s3-endpoint": "http://127.0.0.1:1", "store-timeout": "2s"}
    process = bench.run()
    assert process.wait(LIMIT_S) == 1
    assert bench.noted() == []
    assert "no complete listing within store-timeout (2 s)" in bench.log()


def test_leave_ends_the_node_and_the_program(bench: Bench) -> None:
    process = bench.run()
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    until((bench.folder / "control.sock").is_socket, "the control socket")
    assert bench.ask("leave").returncode == 0
    assert process.wait(LIMIT_S) == 0
    assert bench.members() == []
    again = bench.ask("leave")
    assert again.returncode == 1
    assert "no node of these settings runs here" in again.stderr


def test_as_process_1_it_reaps_orphans(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("a process namespace of its own needs root")
    (bench.folder / "orphan.py").write_text(ORPHAN)
    process = bench.run(
        program=(sys.executable, str(bench.folder / "orphan.py")),
        before=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
    )
    assert process.wait(LIMIT_S) == 3, bench.log()
    assert "zombies []" in bench.log()


def test_as_process_1_it_passes_signals_on(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("a process namespace of its own needs root")
    process = bench.run(before=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert "SIGTERM" in bench.noted()
    assert bench.members() == []


def test_as_process_1_even_kill_9_leaves_no_program_behind(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("a process namespace of its own needs root")
    process = bench.run(before=("unshare", "--pid", "--fork", "--mount-proc"))
    until(lambda: any(line.startswith("started") for line in bench.noted()), "the start")
    first = _children(process.pid)[0]
    os.kill(_children(first)[0], signal.SIGKILL)
    assert process.wait(LIMIT_S) == 128 + signal.SIGKILL
    until(lambda: not _runs(str(bench.folder / "program.py")), "the end of the program")


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(word: str) -> bool:
    """Tell whether any process has this word among its arguments."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                return True
    return False


def test_status_tells_by_its_exit_code(bench: Bench) -> None:
    empty = bench.ask("status")
    assert (empty.returncode, "no members" in empty.stdout) == (3, True)
    bench.run()
    until(lambda: bench.members() == ["n1"], "the node")
    found = bench.ask("status", "--format", "json")
    assert found.returncode == 5, found.stderr
    document = json.loads(found.stdout)
    assert document["cluster"] == "1 member, none tells of its broker"
    assert document["whole"] is None
    assert document["groups"] == [["n1"]]
    bench.settings["s3-endpoint"] = "http://127.0.0.1:1"
    assert bench.ask("status").returncode == 1
