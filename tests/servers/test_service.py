"""s3discovery as a service: what systemd is told at a real socket, SIGHUP, shell completion."""

import asyncio
import errno
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from s3discovery.bucket import Listing
from s3discovery.cli.readiness import ask_readiness
from s3discovery.clock import SystemClock
from s3discovery.demo.child import choose_ports
from s3discovery.discovery import Discovery
from s3discovery.errors import ControlError
from s3discovery.node import Address, Member
from s3discovery.running import Running
from s3discovery.systemd import Systemd, telling
from s3discovery.testing import FakeClock, MemoryBucket, make_settings
from s3discovery.testing.stores import Store, way_to

COMMAND = str(Path(sys.executable).with_name("s3discovery"))
LIMIT_S = 20.0
# Says in what environment it was started, and notes SIGHUP.
PROGRAM = """
import os, signal, sys, time
log = open(sys.argv[1], "a", buffering=1)
signal.signal(signal.SIGHUP, lambda *_: log.write("SIGHUP\\n"))
log.write("told %s\\n" % sorted({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)))
while True:
    time.sleep(60)
"""


class Systemds:
    """The socket that systemd listens at, and what arrived there: one dictionary a datagram."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[dict[str, str]] = []

    def listen(self) -> None:
        """Take in what has arrived."""
        while True:
            try:
                text = self.socket.recv(65536).decode()
            except BlockingIOError:
                return
            self.heard.append(dict(line.split("=", 1) for line in text.split("\n")))

    def has(self, **fields: str) -> bool:
        self.listen()
        return any(fields.items() <= message.items() for message in self.heard)

    def count(self, name: str) -> int:
        self.listen()
        return sum(name in message for message in self.heard)

    def place(self, name: str) -> int:
        """Which message was the first with this field."""
        return next(number for number, message in enumerate(self.heard) if name in message)

    def statuses(self) -> list[str]:
        self.listen()
        return [message["STATUS"] for message in self.heard if "STATUS" in message]


class Bench:
    """A bucket, a node in front of it, and systemd's end of the socket."""

    def __init__(self, server: Store, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "node.properties"
        self.systemd = Systemds(folder / "notify.sock")
        self.settings = {
            **way_to(server.new_bucket(), server.endpoint, server.credentials),
            "file-prefix": "nodes/",
            "file-expiration": "60s",
            "update-interval": "20s",
            "poll-interval": "500ms",
            "cluster-id": "n1",
            "external-address": "127.0.0.1",
            "control-socket": str(folder / "control.sock"),
            "log-format": "json",
        }
        self.stack = ExitStack()

    def run(self, *arguments: str, watchdog_s: float = 1.0) -> "subprocess.Popen[bytes]":
        self.write()
        log = self.stack.enter_context((self.folder / "log").open("ab"))
        process = subprocess.Popen(
            (COMMAND, "run", "-c", str(self.file), *arguments),
            stdout=log,
            stderr=log,
            env=os.environ
            | {"NOTIFY_SOCKET": str(self.systemd.path), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))},
        )
        self.stack.callback(_end, process)
        return process

    def write(self) -> None:
        self.file.write_text("".join(f"{key}={text}\n" for key, text in self.settings.items()))

    def events(self) -> list[str]:
        """The events of the log, every line of which must be JSON."""
        return [json.loads(line)["event"] for line in (self.folder / "log").read_text().splitlines()]


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not come true"
        time.sleep(0.05)


@pytest.fixture
def bench(seaweedfs: Store, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(seaweedfs, tmp_path)
    with bench.stack, bench.systemd.socket:
        yield bench


def test_systemd_is_told_from_start_to_end(bench: Bench) -> None:
    process = bench.run()
    systemd = bench.systemd
    until(lambda: systemd.has(READY="1"), "readiness")
    assert "1 member, none tells of its broker" in systemd.statuses()
    until(lambda: systemd.count("WATCHDOG") >= 2, "the watchdog's food")
    assert "registered" in bench.events()

    bench.settings["poll-interval"] = "400ms"
    bench.write()
    readies = systemd.count("READY")
    before_us = time.monotonic() * 1e6
    process.send_signal(signal.SIGHUP)
    until(lambda: systemd.count("READY") > readies, "the end of the reload")
    reloading = systemd.heard[systemd.place("RELOADING")]
    assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic() * 1e6
    until(lambda: "settings applied" in bench.events(), "the new settings")

    process.send_signal(signal.SIGHUP)
    until(lambda: "settings read again, nothing to apply" in bench.events(), "a reload of nothing new")
    bench.settings["poll-interval"] = "never"
    bench.write()
    process.send_signal(signal.SIGHUP)
    until(lambda: "settings not applied, the old ones stay in force" in bench.events(), "a refusal")
    until(lambda: systemd.count("READY") == readies + 3, "the end of that reload")
    assert process.poll() is None

    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert systemd.has(STOPPING="1")


def test_a_store_that_is_down_is_waited_for(bench: Bench) -> None:
    bench.settings["s3-endpoint"] = "http://127.0.0.1:1"
    process = bench.run()
    until(lambda: bench.systemd.count("EXTEND_TIMEOUT_USEC"), "a longer start")
    assert bench.systemd.statuses()[0].startswith("waiting for the store; store: ")
    assert bench.systemd.count("READY") == bench.systemd.count("WATCHDOG") == 0
    process.send_signal(signal.SIGHUP)
    until(lambda: "settings read again, nothing to apply" in bench.events(), "the reload")
    assert bench.systemd.count("READY") == 0, "a reload makes nothing ready"
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0


def test_a_program_behind_us_is_not_to_speak_for_us_and_hears_sighup_too(bench: Bench) -> None:
    (bench.folder / "program.py").write_text(PROGRAM)
    notes = bench.folder / "notes"
    process = bench.run("--", sys.executable, str(bench.folder / "program.py"), str(notes))
    until(lambda: notes.exists() and notes.read_text(), "the program")
    assert notes.read_text() == "told []\n"
    process.send_signal(signal.SIGHUP)
    until(lambda: "SIGHUP" in notes.read_text(), "SIGHUP at the program")
    until(lambda: bench.systemd.count("RELOADING"), "the reload")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) in (0, 128 + signal.SIGTERM)


def test_a_health_check_asks_the_node_that_runs_here(bench: Bench) -> None:
    def ask(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            (COMMAND, "status", "--here", "-c", str(bench.file), *arguments),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env=os.environ | {"http_proxy": "http://127.0.0.1:1"},
        )
        return done.returncode, done.stdout + done.stderr

    bench.write()
    code, said = ask()
    assert (code, "http-port: is missing; --here asks the node there" in said) == (2, True)
    bench.settings["http-port"] = str(choose_ports(["http"])["http"])
    bench.settings["http-token"] = "t0ken"
    bench.write()
    code, said = ask()
    assert (code, "no node answers at 127.0.0.1:" in said) == (1, True)
    process = bench.run()
    until(lambda: ask()[0] == 0, "health")
    assert ask("--format", "json") == (0, '{"ready": true, "reason": "ready"}\n')
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0


async def test_an_answer_of_somebody_else_is_no_health(unused_tcp_port_factory: Callable[[], int]) -> None:
    port = unused_tcp_port_factory()
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b"nonsense\r\n\r\n"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        for said in ("no s3discovery", "no node answers"):
            with pytest.raises(ControlError, match=said):
                await asyncio.to_thread(ask_readiness, make_settings(http_port=str(port)))


@asynccontextmanager
async def answering(host: str, document: str, heard: list[bytes] | None = None) -> AsyncIterator[int]:
    """Answer every HTTP request at `host` with JSON; gives the port. `heard` is given the requests."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(document)}\r\n\r\n{document}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("http_address", "listener", "named"),
    [
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("::", "::1", "[::1]"),
        ("::1", "::1", "[::1]"),
    ],
)
async def test_a_wildcard_is_asked_at_the_loopback_of_its_kind(
    http_address: str, listener: str, named: str
) -> None:
    settings = {"http_address": http_address, "http_token": "t0ken"}
    try:
        async with answering(listener, '{"ready": true, "reason": "ready"}') as port:
            asked = make_settings(http_port=str(port), **settings)
            assert await asyncio.to_thread(ask_readiness, asked) == (True, "ready")
    except OSError as error:
        if listener != "::1" or error.errno != errno.EADDRNOTAVAIL:
            raise
        pytest.skip("this machine has no IPv6")
    with pytest.raises(ControlError, match=re.escape(f"no node answers at {named}:{port} ")):
        await asyncio.to_thread(ask_readiness, asked)


@pytest.mark.parametrize(
    ("key", "text"), [("http_token", "t0ken"), ("http_token_file", "token"), ("http_token_file", "none")]
)
async def test_no_token_is_shown_to_whoever_listens_at_the_port(key: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    heard = list[bytes]()
    text = str(tmp_path / text) if key.endswith("file") else text
    for is_ready in (True, False):
        document = json.dumps({"ready": is_ready, "reason": "\x1b[2J"})
        async with answering("127.0.0.1", document, heard) as port:
            settings = {key: text, "http_port": str(port), "control_socket": str(tmp_path / "none.sock")}
            found = await asyncio.to_thread(ask_readiness, make_settings(**settings))
            assert found == (is_ready, r"'\x1b[2J'")
    assert len(heard) == 2
    assert not any(b"t0ken" in request or b"authorization" in request.lower() for request in heard)


def test_why_a_node_is_not_ready_is_told_to_its_user(bench: Bench) -> None:
    def ask(*arguments: str) -> tuple[int, str]:
        command = (COMMAND, "status", "--here", "-c", str(bench.file), *arguments)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
        return done.returncode, done.stdout

    token = bench.folder / "token"
    token.write_text("ключ-€")
    bench.settings |= {
        "http-port": str(choose_ports(["http"])["http"]),
        "http-token-file": str(token),
        "s3-endpoint": "http://127.0.0.1:1",
    }
    process = bench.run()
    until(lambda: ask() == (1, "not registered in the bucket\n"), "the reason")
    token.unlink()
    assert ask() == (1, "not registered in the bucket\n")
    assert ask("-o", "control-socket=/nowhere") == (
        1,
        "not ready; why is in the log, and at /v1/status for who may ask it\n",
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0


async def test_a_node_that_is_not_ready_is_not_healthy(bench: Bench) -> None:
    async with answering("127.0.0.1", '{"ready": false, "reason": "waits for the store"}') as port:
        bench.settings["http-port"] = str(port)
        bench.write()
        process = await asyncio.create_subprocess_exec(
            COMMAND, "status", "--here", "-c", bench.file, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    assert (process.returncode, said) == (1, b"waits for the store\n")


class HangingBucket(MemoryBucket):
    """A bucket whose listings never come, once told so: a deadline that is missing somewhere."""

    hangs = False

    async def list(self, prefix: str) -> Listing:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().list(prefix)


async def test_a_poll_that_hangs_starves_the_watchdog(tmp_path: Path) -> None:
    clock, bucket = FakeClock(), HangingBucket(FakeClock())
    heard = Systemds(tmp_path / "notify.sock")
    systemd = Systemd({"NOTIFY_SOCKET": str(heard.path), "WATCHDOG_USEC": "60000000"}, clock)
    own = Member("own", Address("10.0.0.9", 7800))
    settings = make_settings(poll_interval="60s")
    with heard.socket:
        async with Discovery(settings, bucket, own, clock=clock) as discovery:
            running = Running(settings, discovery, clock, lambda: None)
            async with telling(systemd, running):
                await clock.settle()
                assert heard.has(READY="1")
                for _ in range(4):
                    before = heard.count("WATCHDOG")
                    await clock.advance(60)
                    assert heard.count("WATCHDOG") > before
                bucket.hangs = True
                await clock.advance(60 + 60 + 360 + 2)
                before = heard.count("WATCHDOG")
                await clock.advance(120)
                assert heard.count("WATCHDOG") == before
            assert heard.has(STOPPING="1")


async def test_nobody_there_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody.sock")}, SystemClock())
    for _ in range(3):
        systemd.ready()
    assert [record.getMessage().split(" address")[0] for record in caplog.records] == [
        "systemd cannot be told"
    ]


def test_a_value_begins_no_field_and_an_abstract_name_is_reached() -> None:
    name = f"s3discovery-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).tell(STATUS="a\nREADY=1\r\0b")
        assert listener.recv(1000) == b"STATUS=a READY=1 b"


def test_bash_completes_commands_options_and_settings(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")

    def complete(*words: str) -> list[str]:
        script = (
            f"source <({COMMAND} completion bash)\n"
            f"COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1}\n"
            f"_s3discovery_completion {COMMAND}\n"
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=LIMIT_S, check=True, cwd=tmp_path
        )
        return done.stdout.split()

    assert complete("s3discovery", "mem") == ["members"]
    assert complete("s3discovery", "status", "--form") == ["--format"]
    for command in ("run", "init"):
        assert complete("s3discovery", command, "-o", "log-f") == ["log-format="]


def test_bash_puts_no_space_between_a_setting_and_its_value(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    near, far = pty.openpty()
    environ = os.environ | {
        "TERM": "dumb",
        "PS1": "$ ",
        "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
    }
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=far, stdout=far, stderr=far, cwd=tmp_path, env=environ, start_new_session=True,
    )  # fmt: skip
    os.close(far)
    os.set_blocking(near, False)
    shown = bytearray()

    def shows(text: bytes) -> bool:
        with suppress(OSError):  # nothing there yet
            shown.extend(os.read(near, 65536))
        return text in shown

    try:
        os.write(near, b"source <(s3discovery completion bash); echo re''ady\n")
        until(lambda: shows(b"ready\r\n"), "bash")
        os.write(near, b"s3discovery init -o log-f\t")
        until(lambda: shows(b"-o log-format="), "the setting")
        os.write(near, b"json stat")
        until(lambda: shows(b"-o log-format=json stat"), "its value")
    finally:
        os.close(near)
        shell.kill()
        shell.wait()


@pytest.mark.parametrize(
    ("shell", "line"),
    [("bash", "[[ $value == *= ]] && compopt -o nospace"), ("zsh", '-U "${suffix[@]}"')],
)
def test_the_scripts_leave_the_space_out(shell: str, line: str) -> None:
    """Were click to change its scripts, what is put in would silently be missing."""
    done = subprocess.run((COMMAND, "completion", shell), capture_output=True, text=True, check=True)
    assert line in done.stdout
