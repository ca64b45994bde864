"""The installed command as processes, against a real S3 server: what people and scripts see of it."""

import asyncio
import base64
import json
import os
import pty
import re
import signal
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import pytest

from s3discovery import codec
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.demo.child import choose_ports
from s3discovery.node import Address, NodeFile, Report
from s3discovery.s3 import S3Bucket
from s3discovery.testing.stores import Store, way_to
from s3discovery.topology import encode_report

COMMAND = Path(sys.executable).with_name("s3discovery")
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "node_files.json").read_text())
# Bodies that the original Java classes wrote: format, id, host.
HIVEMQ_NODES = {
    ("v1", "a", "0.0.0.0"),
    ("v1", "Zk3q9", "2001:db8:85a3::8a2e:370:7334"),
    ("v4", "h2", "node-1.cluster.example.com"),
    ("v4", "h3", "hivemq-0.hivemq.default.svc.cluster.local."),
    ("v4", "ünïcödé", "höst.example"),
}
PREFIX = "nodes/"
LIMIT_S = 15.0  # for what takes well under a second on an idle machine
LEAVE_S = 5.0


class Server(Store, Protocol):
    """What the fixture `seaweedfs` gives."""

    reader: Credentials
    lister: Credentials


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int | None
    out: str
    err: str


class Process:
    """A process of the command; what it says is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._news = asyncio.Event()
        self._texts = {"out": b"", "err": b""}
        self._readers = [
            asyncio.create_task(self._read("out", process.stdout)),
            asyncio.create_task(self._read("err", process.stderr)),
        ]

    async def _read(self, name: str, stream: asyncio.StreamReader | None) -> None:
        while stream is not None and (data := await stream.read(65536)):
            self._texts[name] += data
            self._news.set()

    @property
    def out(self) -> str:
        return self._texts["out"].decode()

    @property
    def err(self) -> str:
        return self._texts["err"].decode()

    async def says(self, text: str, *, times: int = 1, limit_s: float = LIMIT_S) -> None:
        """Wait until it has said `text` so often, on standard output or error."""
        try:
            async with asyncio.timeout(limit_s):
                while (self.out + self.err).count(text) < times:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"it did not say {text!r} but {self.out}{self.err}") from None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self, *, limit_s: float = LIMIT_S) -> Ended:
        """Wait for its end."""
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*self._readers)
            await self._process.wait()
        return Ended(self._process.returncode, self.out, self.err)

    async def clear_away(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)


class Line:
    """The line to the store, as a TCP proxy: it notes every request, and can be down, or silent."""

    def __init__(self, endpoint: str, port: int = 0) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[str] = []
        self.is_silent = False
        self.endpoint = ""

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"

    async def down(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.down()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as tasks:
                back = tasks.create_task(self._forward(far_reader, writer))
                await self._forward(reader, far_writer)
                back.cancel()
        except* ConnectionError:
            pass  # one side hung up
        finally:
            far_writer.close()
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.requests += [found.decode() for found in re.findall(rb"^([A-Z]+ \S+) HTTP/1.1\r\n", data)]
            if not self.is_silent:
                writer.write(data)
                await writer.drain()


class Place:
    """A bucket of one's own on a real server, and a way to run the command against it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.name = server.new_bucket()
        self.processes: list[Process] = []

    def write(self, name: str = "a.properties", **texts: str | None) -> Path:
        """Write a properties file; keys are written with `_` for `-`, None leaves one out."""
        settings = {
            **way_to(self.name, self.server.endpoint, self.server.credentials),
            "file-prefix": PREFIX,
            "file-expiration": "60s",
            "update-interval": "20s",
            "poll-interval": "300ms",
            "bind-address": "10.0.0.1",
            **{key.replace("_", "-"): text for key, text in texts.items()},
        }
        path = self.folder / name
        lines = [f"{key}={text}\n" for key, text in settings.items() if text is not None]
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(lines))
        fresh.replace(path)
        return path

    async def start(
        self, *arguments: str | Path, environ: Mapping[str, str] | None = None, stdout: int | None = None
    ) -> Process:
        """Start `s3discovery` with these arguments, and nothing of this process's environment."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        process = Process(
            await asyncio.create_subprocess_exec(
                COMMAND,
                *arguments,
                cwd=self.folder,
                env={"HOME": str(self.folder), **kept, **(environ or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
                stderr=asyncio.subprocess.PIPE,
            )
        )
        self.processes.append(process)
        return process

    async def call(self, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> Ended:
        """Run the command to its end; it never shows a traceback."""
        ended = await (await self.start(*arguments, environ=environ)).ended(limit_s=30)
        assert "Traceback" not in ended.err
        return ended

    @asynccontextmanager
    async def bucket(self) -> AsyncIterator[S3Bucket]:
        async with S3Bucket(
            name=self.name,
            region="us-east-1",
            endpoint=self.server.endpoint,
            credentials=FixedCredentials(self.server.credentials),
        ) as bucket:
            yield bucket

    async def keys(self) -> set[str]:
        async with self.bucket() as bucket:
            return {entry.key for entry in (await bucket.list("")).entries}

    async def has(self, *keys: str, limit_s: float = LIMIT_S) -> None:
        """Wait until the bucket has these keys and no others."""
        found: set[str] = set()
        try:
            async with asyncio.timeout(limit_s), self.bucket() as bucket:
                while found != set(keys):
                    found = {entry.key for entry in (await bucket.list("")).entries}
        except TimeoutError:
            raise AssertionError(f"the bucket has {found}, not {set(keys)}") from None

    async def plant_node(self, cluster_id: str, report: Report) -> None:
        """Write the file of a node of ours that reports so of its broker."""
        metadata = {f"s3discovery-{name}": text for name, text in encode_report(report, "x").items()}
        async with self.bucket() as bucket:
            await bucket.put(PREFIX + cluster_id, body(cluster_id), metadata)

    async def plant(self, **bodies: bytes) -> None:
        """Write files below the prefix, as anything might."""
        async with self.bucket() as bucket:
            for cluster_id, body in bodies.items():
                await bucket.put(PREFIX + cluster_id, body)


def body(cluster_id: str, *, version: str = "1", port: int = 7800) -> bytes:
    return codec.encode(NodeFile(version, 1, cluster_id, Address(f"{cluster_id}.example", port)), version)


def base64_of(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.fixture
async def place(seaweedfs: Server, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(seaweedfs, tmp_path)
    yield place
    for process in place.processes:
        await process.clear_away()


class TestMembers:
    async def test_json_is_exactly_the_documented_list(self, place: Place) -> None:
        await place.plant(a=body("a"), b=body("b", version="4", port=7801))
        config = place.write(cluster_id="b")
        ended = await place.call("members", "-c", config, "--format", "json")
        assert (ended.code, ended.err) == (0, "")
        rows = json.loads(ended.out)
        assert all(0 <= row.pop("age_s") < 60 for row in rows)
        assert rows == [
            {"cluster_id": "a", "host": "a.example", "port": 7800, "own": False},
            {"cluster_id": "b", "host": "b.example", "port": 7801, "own": True},
        ]

    async def test_table_has_a_line_for_each(self, place: Place) -> None:
        await place.plant(a=body("a"), b=body("b"))
        ended = await place.call("members", "-c", place.write())
        assert (ended.code, ended.err) == (0, "")
        head, *lines = [line.split() for line in ended.out.splitlines()]
        assert head == ["cluster", "id", "address", "age"]
        assert [line[:2] for line in lines] == [["a", "a.example:7800"], ["b", "b.example:7800"]]

    async def test_nobody_is_an_empty_list_and_a_word_to_people(self, place: Place) -> None:
        config = place.write()
        table, form = await asyncio.gather(
            place.call("members", "-c", config), place.call("members", "-c", config, "--format", "json")
        )
        assert (form.code, json.loads(form.out)) == (0, [])
        assert (table.code, table.out) == (0, "")
        assert f"no members in s3://{place.name}/{PREFIX}" in table.err

    async def test_files_that_may_not_be_read_are_no_empty_cluster(self, place: Place) -> None:
        await place.plant(a=body("a"))
        lister = place.server.lister
        config = place.write(
            credentials_access_key_id=lister.access_key_id,
            credentials_secret_access_key=lister.secret_access_key.reveal(),
        )
        ended = await place.call("members", "-c", config, "--format", "json")
        assert (ended.code, json.loads(ended.out)) == (1, [])
        assert "s3:GetObject" in ended.err.splitlines()[-1]

    async def test_asks_and_writes_nothing_and_a_reader_may_do_it(self, place: Place) -> None:
        await place.plant(a=body("a"), dead=body("dead"), empty=b"")
        reader = place.server.reader
        async with Line(place.server.endpoint) as line:
            config = place.write(
                s3_endpoint=line.endpoint,
                cluster_id="a",
                file_expiration="2s",
                update_interval="1s",
                credentials_access_key_id=reader.access_key_id,
                credentials_secret_access_key=reader.secret_access_key.reveal(),
            )
            ended = await place.call("members", "-c", config, "--format", "json")
        assert ended.code == 0
        assert len(line.requests) == 4
        assert {request.split()[0] for request in line.requests} == {"GET"}
        assert await place.keys() == {PREFIX + name for name in ("a", "dead", "empty")}

    async def test_settings_come_from_the_environment_too(self, place: Place) -> None:
        await place.plant(a=body("a"))
        environ = {
            f"S3DISCOVERY_{key.upper().replace('-', '_')}": text
            for key, text in (line.split("=", 1) for line in place.write().read_text().splitlines())
        }
        ended = await place.call("members", "--format", "json", environ=environ)
        assert [row["cluster_id"] for row in json.loads(ended.out)] == ["a"]

    # aiohttp's advice for the 10 MB that this test itself writes.
    @pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
    async def test_garbage_is_skipped_with_a_reason_and_hides_nobody(self, place: Place) -> None:
        await place.plant(
            good=body("good"),
            other=body("good"),
            zz=body("zz", version="4"),
            empty=b"",
            large=b"A" * 10_000_000,
            binary=bytes(range(256)),
            version=base64_of("9||||1||||version||||h||||1||||"),
            short=base64_of("1||||1||||short"),
            port=base64_of("1||||1||||port||||h||||70000||||"),
            escape=base64_of("1||||1||||escape\x1b[2J||||h||||1||||"),
        )
        ended = await place.call("members", "-c", place.write(), "--format", "json")
        assert ended.code == 0
        assert [row["cluster_id"] for row in json.loads(ended.out)] == ["good", "zz"]
        said = dict(re.findall(r"^skipped 'nodes/(\w+)': (.+)$", ended.err, re.MULTILINE))
        reasons = {
            "empty": "is empty",
            "large": "10000000 bytes",
            "binary": "is not base64",
            "version": "version '9'",
            "short": "fields",
            "port": "port 70000",
            "escape": "control character",
            "other": "is of node 'good'",
        }
        assert set(said) == set(reasons)
        for key, reason in reasons.items():
            assert reason in said[key]
        assert "\x1b" not in ended.err

    async def test_files_as_hivemq_writes_them_and_two_nodes_of_ours(self, place: Place) -> None:
        wanted = {}
        async with place.bucket() as bucket:
            for case in GOLDEN["create"]:
                if (case["format"], case["cluster_id"], case["host"]) in HIVEMQ_NODES:
                    await bucket.put(PREFIX + case["cluster_id"], case["body"].encode())
                    wanted[case["cluster_id"]] = (case["host"], case["port"])
        assert len(wanted) == len(HIVEMQ_NODES)
        for name in ("ours-1", "ours-2"):
            await place.start("run", "-c", place.write(name, cluster_id=name, external_address=f"{name}.x"))
            wanted[name] = (f"{name}.x", 7800)
        await place.has(*(PREFIX + name for name in wanted))
        ended = await place.call("members", "-c", place.write(), "--format", "json")
        found = {row["cluster_id"]: (row["host"], row["port"]) for row in json.loads(ended.out)}
        assert found == wanted
        assert ended.err == ""


class TestStatus:
    async def ask(self, place: Place, **texts: str) -> tuple[int | None, dict[str, object], str]:
        ended = await place.call("status", "-c", place.write(**texts), "--format", "json")
        return ended.code, json.loads(ended.out), ended.err

    async def test_its_exit_code_tells_what_cluster_there_is(self, place: Place) -> None:
        for name, other in (("a", "b"), ("b", "a")):
            await place.plant_node(name, Report(True, frozenset({other})))
        code, found, _ = await self.ask(place)
        assert (code, found["split"], found["whole"]) == (4, True, False)
        for name in ("a", "b"):
            await place.plant_node(name, Report(True))
        code, found, _ = await self.ask(place)
        assert (code, found["split"], found["whole"]) == (0, False, True)
        await place.plant_node("c", Report(False))
        code, found, _ = await self.ask(place)
        assert (code, found["split"], found["waiting"]) == (3, False, ["c"])

    async def test_a_cluster_of_which_files_could_not_be_read_is_not_whole(self, place: Place) -> None:
        await place.plant_node("a", Report(True))
        lister = place.server.lister
        code, found, err = await self.ask(
            place,
            credentials_access_key_id=lister.access_key_id,
            credentials_secret_access_key=lister.secret_access_key.reveal(),
        )
        assert (code, found["members"]) == (1, [])
        assert "s3:GetObject" in err.splitlines()[-1]


PAGE = b"<!DOCTYPE html><html><body>Please <a href='/login'>log in</a></body></html>"


@asynccontextmanager
async def web_page(status: str) -> AsyncIterator[str]:
    """A web server that is no S3; gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(PAGE)}\r\nLocation: /login\r\n"
            writer.write(head.encode() + b"Content-Type: text/html\r\nConnection: close\r\n\r\n" + PAGE)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address at which nobody listens."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"http://127.0.0.1:{port}"


class TestRemarksOnSettings:
    """What may be meant otherwise is said by every command, and goes into no result."""

    SAID = "file-prefix is empty, so every object of the bucket is looked at: write file-prefix:"
    UNKNOWN = "unknown key ignored key='pol-interval'"

    def write(self, place: Place) -> Path:
        return place.write("config.properties", file_prefix=None, compatibility="hivemq-3", pol_interval="9s")

    @pytest.mark.parametrize("arguments", [["members"], ["status"], ["config"], ["policy"], ["leave"]])
    async def test_are_said_once_each(self, place: Place, arguments: list[str]) -> None:
        ended = await place.call(*arguments, "-c", self.write(place))
        for said in (self.SAID, self.UNKNOWN):
            (line,) = [line for line in ended.err.splitlines() if said in line]
            assert "WARNING" in line
            assert said not in ended.out

    async def test_leave_json_as_it_is(self, place: Place) -> None:
        ended = await place.call("members", "-c", self.write(place), "--format", "json")
        assert (ended.code, json.loads(ended.out)) == (0, [])
        assert len(ended.err.splitlines()) == 2

    async def test_are_not_said_to_who_wants_to_hear_of_errors_alone(self, place: Place) -> None:
        ended = await place.call(
            "members", "-c", self.write(place), "--format", "json", "--log-level", "error"
        )
        assert (ended.code, ended.err) == (0, "")

    async def test_are_findings_of_doctor_and_nothing_else(self, place: Place) -> None:
        ended = await place.call("doctor", "-c", self.write(place), "--read-only")
        assert "WARNING" not in ended.err
        assert "file-prefix is empty" in ended.out

    async def test_are_said_before_the_changes_that_watch_tells(self, place: Place) -> None:
        await place.plant(a=body("a"))
        config = place.write(pol_interval="9s")
        watching = await place.start("watch", "-c", config, "--interval", "200ms")
        await watching.says("a.example")
        watching.send(signal.SIGINT)
        ended = await watching.ended()
        assert ended.code == 0
        (line,) = ended.err.splitlines()
        assert self.UNKNOWN in line


class TestStoreErrors:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"s3_bucket_name": "no-such-bucket"}, r"bucket 'no-such-bucket' does not exist.*s3-bucket-name"),
            ({"credentials_secret_access_key": "wr0ng-secret"}, r"credentials-secret-access-key"),
            ({"credentials_access_key_id": "AKUNKNOWN"}, r"credentials-access-key-id"),
        ],
        ids=["missing bucket", "wrong secret", "unknown key"],
    )
    async def test_a_refusal_is_named_with_its_cure(
        self, place: Place, wrong: dict[str, str], said: str
    ) -> None:
        ended = await place.call("members", "-c", place.write(**wrong))
        assert (ended.code, ended.out) == (1, "")
        assert re.match(f"Error: .*{said}", ended.err)
        assert "wr0ng-secret" not in ended.err

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            ("200 OK", "is s3-endpoint really an S3 endpoint"),
            ("404 Not Found", "is s3-endpoint really an S3 endpoint"),
            ("302 Found", "redirected to '/login'"),
        ],
    )
    async def test_a_web_page_is_no_store(self, place: Place, status: str, said: str) -> None:
        async with web_page(status) as url:
            ended = await place.call("members", "-c", place.write(s3_endpoint=url))
        assert (ended.code, ended.out) == (1, "")
        assert said in ended.err

    async def test_nobody_there(self, place: Place) -> None:
        async with nobody() as url:
            ended = await place.call("members", "-c", place.write(s3_endpoint=url))
        assert (ended.code, ended.out) == (1, "")
        assert url in ended.err
        assert "ECONNREFUSED" in ended.err
        assert "check s3-endpoint" in ended.err

    async def test_a_node_waits_for_a_store_that_refuses_it_and_says_why_once(self, place: Place) -> None:
        config = place.write(credentials_secret_access_key="wr0ng-secret", cluster_id="a")
        node = await place.start("run", "-c", config)
        await node.says("poll failed")
        place.write(cluster_id="a")
        await place.has(PREFIX + "a")
        node.send(signal.SIGTERM)
        ended = await node.ended()
        assert ended.code == 0
        assert len(re.findall("own file could not be written.*credentials-secret-access-key", ended.err)) == 1
        assert "wr0ng-secret" not in ended.err
        assert "Traceback" not in ended.err


class TestWrongSettings:
    @pytest.mark.parametrize("command", ["run", "members"])
    async def test_a_file_that_is_missing_or_cannot_be_read(self, place: Place, command: str) -> None:
        missing, unreadable = await asyncio.gather(
            place.call(command, "-c", "missing.properties"), place.call(command, "-c", "/proc/self/mem")
        )
        assert missing.code == unreadable.code == 2
        assert re.search(r"'missing\.properties'.*does not exist", missing.err)
        assert re.search(r"'/proc/self/mem'.*cannot be read", unreadable.err)

    async def test_a_binary_file_is_reported_key_by_key_without_its_bytes(self, place: Place) -> None:
        path = place.folder / "binary.properties"
        path.write_bytes(bytes(range(256)) * 4)
        ended = await place.call("run", "-c", path)
        assert ended.code == 2
        assert "s3-bucket-name: is missing" in ended.err
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", ended.err)

    async def test_every_problem_at_once(self, place: Place) -> None:
        config = place.write(poll_interval="often", bind_port="x", update_interval="2h", file_prefix=None)
        ended = await place.call("run", "-c", config)
        assert ended.code == 2
        for key in ("poll-interval", "bind-port", "update-interval"):
            assert f"\n  - {key}" in ended.err
        assert "file-prefix: is missing" in ended.err
        assert await place.keys() == set()

    @pytest.mark.parametrize("key", ["bind_port", "amqtt_listen"])
    async def test_a_port_in_use_is_named(self, place: Place, key: str) -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = str(server.sockets[0].getsockname()[1])
        free = choose_ports(["mqtt"])["mqtt"]
        settings = {"bind_port": "0", "amqtt_listen": f"127.0.0.1:{free}", "bind_address": "127.0.0.1"}
        settings[key] = port if key == "bind_port" else f"127.0.0.1:{port}"
        config = place.write(broker="amqtt", cluster_id="a", external_port="7800", **settings)
        try:
            ended = await place.call("run", "-c", config)
        finally:
            server.close()
            await server.wait_closed()
        assert ended.code == 1
        assert port in ended.err
        assert key.replace("_", "-") in ended.err
        assert await place.keys() == set()


class TestRun:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_registers_and_a_signal_takes_the_file_away(
        self, place: Place, number: signal.Signals
    ) -> None:
        await place.plant(b=body("b"))
        node = await place.start("run", "-c", place.write(cluster_id="a"))
        await place.has(PREFIX + "a", PREFIX + "b")
        await node.says("member joined cluster_id='b'")
        await node.says("node runs cluster_id='a' address=10.0.0.1:7800 broker=none")
        node.send(number)
        ended = await node.ended(limit_s=LEAVE_S)
        assert (ended.code, ended.out) == (0, "")
        assert "Traceback" not in ended.err
        assert await place.keys() == {PREFIX + "b"}

    async def test_a_killed_process_leaves_its_file(self, place: Place) -> None:
        node = await place.start("run", "-c", place.write(cluster_id="a"))
        await node.says("node runs")
        node.send(signal.SIGKILL)
        await node.ended()
        assert await place.keys() == {PREFIX + "a"}

    async def test_garbage_is_told_once_and_stops_nothing(self, place: Place) -> None:
        await place.plant(bad=b"\x1b[2J", b=body("b"))
        node = await place.start("run", "-c", place.write(cluster_id="a"))
        await node.says("member joined cluster_id='b'")
        await place.plant(c=body("c"))
        await node.says("member joined cluster_id='c'")
        assert node.err.count("node file skipped key='nodes/bad'") == 1

    async def test_a_good_change_is_applied_and_a_bad_one_is_not(self, place: Place) -> None:
        node = await place.start("run", "-c", place.write(cluster_id="a"))
        await place.has(PREFIX + "a")
        place.write(cluster_id="a", file_prefix="moved/")
        await place.has("moved/a", limit_s=3)
        place.write(cluster_id="a", file_prefix="again/", poll_interval="often")
        await node.says("settings not applied")
        await node.says("poll-interval='often'")
        async with place.bucket() as bucket:
            await bucket.put("moved/late", body("late"))
        await node.says("member joined cluster_id='late'")
        place.write(cluster_id="a", file_prefix="again/")
        await place.has("again/a", "moved/late", limit_s=3)
        node.send(signal.SIGTERM)
        ended = await node.ended(limit_s=LEAVE_S)
        assert ended.code == 0
        assert await place.keys() == {"moved/late"}

    async def test_a_store_that_comes_late_is_waited_for_and_one_that_goes_hinders_no_end(
        self, place: Place
    ) -> None:
        async with Line(place.server.endpoint) as line:
            await line.down()
            node = await place.start("run", "-c", place.write(cluster_id="a", s3_endpoint=line.endpoint))
            await node.says("own file could not be written")
            await node.says("poll failed, keeping 0 peers")
            assert await place.keys() == set()
            await line.up()
            await place.has(PREFIX + "a")
            await node.says("poll works again")
            await line.down()
            await node.says("poll failed, keeping 0 peers", times=2)
            node.send(signal.SIGTERM)
            ended = await node.ended(limit_s=LEAVE_S + 2)
        assert ended.code == 0
        assert "own file stays in the bucket until it expires" in ended.err
        assert "Traceback" not in ended.err

    async def test_a_store_that_never_answers_hinders_no_end(self, place: Place) -> None:
        async with Line(place.server.endpoint) as line:
            node = await place.start("run", "-c", place.write(cluster_id="a", s3_endpoint=line.endpoint))
            await node.says("node runs")
            line.is_silent = True
            node.send(signal.SIGTERM)
            ended = await node.ended(limit_s=LEAVE_S + 2)
        assert ended.code == 0
        assert "own file stays in the bucket until it expires" in ended.err
        assert "Traceback" not in ended.err

    async def test_events_are_lines_of_json(self, place: Place) -> None:
        node = await place.start("run", "--events", "-c", place.write(cluster_id="a"))
        await node.says('"joined"')
        await place.plant(b=body("b"))
        await node.says('"cluster_id": "b"')
        node.send(signal.SIGTERM)
        ended = await node.ended()
        assert [json.loads(line)["cluster_id"] for line in ended.out.splitlines()] == ["a", "b"]

    async def test_a_node_outlives_the_reader_of_its_events(self, place: Place) -> None:
        near, far = os.pipe()
        os.close(near)
        node = await place.start("run", "--events", "-c", place.write(cluster_id="a"), stdout=far)
        os.close(far)
        await node.says("events cannot be written any more error=Broken pipe")
        await place.plant(b=body("b"))
        await node.says("member joined cluster_id='b'")
        node.send(signal.SIGTERM)
        ended = await node.ended()
        assert ended.code == 0
        assert "Traceback" not in ended.err
        assert "BrokenPipe" not in ended.err


class TestWatch:
    async def changes(self, place: Place, watching: Process) -> None:
        """Let nodes join, move and leave."""
        await watching.says("a.example")
        await place.plant(b=body("b"))
        await watching.says("b.example")
        await place.plant(b=body("b", port=7801))
        await watching.says("moved")
        async with place.bucket() as bucket:
            await bucket.delete(PREFIX + "b")
        await watching.says("left")
        watching.send(signal.SIGINT)

    async def test_lines_for_people(self, place: Place) -> None:
        await place.plant(a=body("a"))
        watching = await place.start("watch", "-c", place.write(), "--interval", "200ms")
        await self.changes(place, watching)
        ended = await watching.ended()
        assert (ended.code, ended.err) == (0, "")
        assert [line.split()[1:] for line in ended.out.splitlines()] == [
            ["joined", "a", "a.example:7800"],
            ["joined", "b", "b.example:7800"],
            ["moved", "b", "b.example:7801"],
            ["left", "b", "b.example:7801"],
        ]
        assert await place.keys() == {PREFIX + "a"}

    async def test_lines_for_scripts(self, place: Place) -> None:
        await place.plant(a=body("a"))
        watching = await place.start("watch", "-c", place.write(), "--interval", "200ms", "--format", "json")
        await self.changes(place, watching)
        ended = await watching.ended()
        assert (ended.code, ended.err) == (0, "")
        rows = [json.loads(line) for line in ended.out.splitlines()]
        assert [(row["change"], row["cluster_id"], row["port"]) for row in rows] == [
            ("joined", "a", 7800),
            ("joined", "b", 7800),
            ("moved", "b", 7801),
            ("left", "b", 7801),
        ]

    @asynccontextmanager
    async def in_a_terminal(
        self, config: Path, term: str, *, width: int = 120, **environ: str
    ) -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
        """Watch in a terminal of 24 lines; gives what waits for texts and returns all that was shown."""
        near, far = pty.openpty()
        termios.tcsetwinsize(far, (24, width))
        loop, shown, news = asyncio.get_running_loop(), bytearray(), asyncio.Event()

        def read() -> None:
            with suppress(OSError):  # the other end is closed
                shown.extend(os.read(near, 65536))
            news.set()

        async def shows(*texts: bytes) -> bytes:
            async with asyncio.timeout(LIMIT_S):
                while not all(text in shown for text in texts):
                    news.clear()
                    await news.wait()
            return bytes(shown)

        loop.add_reader(near, read)
        unsized = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
        process = await asyncio.create_subprocess_exec(
            COMMAND, "watch", "-c", config, "--interval", "200ms",
            cwd=config.parent, env={**unsized, "TERM": term, **environ},
            stdin=far, stdout=far, stderr=far,
        )  # fmt: skip
        os.close(far)
        try:
            yield shows
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(LIMIT_S):
                assert await process.wait() == 0
        finally:
            loop.remove_reader(near)
            os.close(near)
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert b"Traceback" not in shown

    async def test_a_table_in_a_terminal(self, place: Place) -> None:
        await place.plant(a=body("a"), bad=b"")
        async with self.in_a_terminal(place.write(), "xterm") as shows:
            await shows(b"a.example:7800", b"is empty", b"store answers")

    @pytest.mark.parametrize("environ", [{}, {"COLUMNS": "0", "LINES": "0"}], ids=["unset", "0"])
    async def test_names_in_a_narrow_terminal(self, place: Place, environ: dict[str, str]) -> None:
        await place.plant(**{"node-of-site-3": body("node-of-site-3")})
        async with self.in_a_terminal(place.write(), "xterm", width=30, **environ) as shows:
            shown = await shows(b"node-of-site-3  ", b"expires in")
        assert b":7800" not in shown

    async def test_lines_in_a_terminal_that_cannot_draw(self, place: Place) -> None:
        await place.plant(a=body("a"))
        async with self.in_a_terminal(place.write(), "dumb") as shows:
            await shows(b" joined a a.example:7800\r\n")
            await place.plant(b=body("b"))
            shown = await shows(b" joined b b.example:7800\r\n")
        assert b"\x1b" not in shown

    async def test_no_log_runs_across_the_screen(self, place: Place) -> None:
        async with Line(place.server.endpoint) as line:
            await line.down()
            config = place.write(s3_endpoint=line.endpoint)
            async with self.in_a_terminal(config, "xterm") as shows:
                shown = await shows(b"No complete listing of the store")
        assert b"poll failed" not in shown

    async def test_a_store_that_is_away_is_told_and_waited_for(self, place: Place) -> None:
        await place.plant(a=body("a"))
        async with Line(place.server.endpoint) as line:
            await line.down()
            config = place.write(s3_endpoint=line.endpoint)
            watching = await place.start("watch", "-c", config, "--interval", "200ms")
            await watching.says("poll failed")
            await line.up()
            await watching.says("a.example")
            watching.send(signal.SIGTERM)
            ended = await watching.ended()
        assert ended.code == 0
        assert "Traceback" not in ended.err
