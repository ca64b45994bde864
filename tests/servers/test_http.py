"""HTTP at a real socket: what programs are told, and who is turned away."""

import asyncio
import itertools
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, ServerError, UnreachableError
from s3discovery.http import api, connections, serving
from s3discovery.http.api import Api
from s3discovery.http.connections import Connection
from s3discovery.network.callers import Places
from s3discovery.node import Address, Member, NodeFile
from s3discovery.observation import journal
from s3discovery.running import ClusterState, Running
from s3discovery.settings.config import Secret
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings

LIMIT_S = 10.0
HOSTILE = "<script>alert(1)</script>\"'&\u202e"


class Node:
    """A node with HTTP on, over a bucket in memory."""

    def __init__(self, base: str, bucket: MemoryBucket, cable: Cable, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.bucket = bucket
        self.cable = cable
        self.session = session
        self.left = 0
        self.refusal: BrokerError | None = None
        self.state: ClusterState | None = None

    async def put(self, cluster_id: str, host: str = "10.0.0.1", port: int = 7800) -> None:
        body = codec.encode(NodeFile("1", 1, cluster_id, Address(host, port)), "1")
        await self.bucket.put(f"nodes/{cluster_id}", body)

    async def ask(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        async with self.session.request(method, self.base + path, headers=named) as answer:
            return answer.status, await answer.json()

    async def leave(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.left += 1


@asynccontextmanager
async def node(
    *, observes: bool = False, outage: UnreachableError | None = None, **settings: str
) -> AsyncIterator[Node]:
    clock = SystemClock()
    bucket = MemoryBucket(FakeClock())
    cable = Cable(bucket)
    cable.cut = outage
    read = make_settings(poll_interval="200ms", http_port="1", **settings)
    own = None if observes else Member("own", Address("10.0.0.9", 7800))
    async with Discovery(read, cable, own, clock=clock) as discovery, aiohttp.ClientSession() as session:
        found = Node("", bucket, cable, session)
        running = Running(read, discovery, clock, lambda: found.state, None if observes else found.leave)
        async with serving(0, running) as (host, port):
            found.base = f"http://{host}:{port}"
            yield found


class Stream:
    """A reader of the events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.last = ""

    async def next(self) -> tuple[str, dict[str, Any]]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(LIMIT_S):
            while True:
                line = (await self._answer.content.readline()).decode().rstrip("\n")
                if line:
                    name, _, text = line.partition(": ")
                    fields[name] = text
                elif "event" in fields:
                    self.last = fields["id"]
                    return fields["event"], json.loads(fields["data"])

    async def heartbeat(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not (line := await self._answer.content.readline()).startswith(b": "):
                assert line

    async def end(self) -> None:
        """Wait until there is no more; fails if it is broken off."""
        async with asyncio.timeout(LIMIT_S):
            while await self._answer.content.readline():
                pass

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            found, data = await self.next()
            if found == kind:
                return data


@asynccontextmanager
async def stream(node: Node, **headers: str) -> AsyncIterator[Stream]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with node.session.get(node.base + "/v1/events", headers=named) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield Stream(answer)


async def test_members_and_status() -> None:
    async with node() as own, stream(own) as events:
        await own.put("a", "2001:db8::1", 7801)
        assert (await events.until("joined"))["cluster_id"] == "a"
        status, members = await own.ask("/v1/members")
        assert status == 200
        assert [(row["cluster_id"], row["host"], row["port"], row["own"]) for row in members["members"]] == [
            ("a", "2001:db8::1", 7801, False),
            ("own", "10.0.0.9", 7800, True),
        ]
        assert members["members"][0]["expires_in_s"] == pytest.approx(60, abs=2)
        _, found = await own.ask("/v1/status")
        assert found["version"] == 1
        assert found["registered"]
        assert found["store"]["answers"]
        assert found["cluster"]["state"] == "2 members, none tells of its broker"
        assert found["cluster"]["whole"] is None


async def test_health_and_readiness() -> None:
    async with node() as own, stream(own) as events:
        assert await own.ask("/healthz") == (200, {"alive": True})
        assert (await own.ask("/readyz"))[0] == 200
        own.state = ClusterState("incomplete 1/2, waiting for 'b'")
        status, found = await own.ask("/readyz")
        assert (status, found["ready"]) == (503, False)
        assert "waiting for 'b'" in found["reason"]
        own.state = ClusterState("formed 2/2", is_whole=True, is_ready=True)
        assert (await own.ask("/readyz"))[0] == 200
        own.cable.cut = UnreachableError("cut")
        assert (await events.until("store"))["answers"] is False
        # The last good listing is younger than expiry: the node does its work.
        assert (await own.ask("/readyz"))[0] == 200


async def test_what_happens_is_told_and_a_reader_goes_on_where_he_was() -> None:
    async with node() as own:
        async with stream(own) as events:
            kind, snapshot = await events.next()
            assert kind == "snapshot"
            assert [row["cluster_id"] for row in snapshot["members"]["members"]] == ["own"]
            await own.put("a")
            assert (await events.until("joined"))["cluster_id"] == "a"
            last = events.last
        await own.bucket.delete("nodes/a")
        async with stream(own, Last_Event_ID=last) as events:
            assert (await events.until("left"))["cluster_id"] == "a"
            await own.put("b")
            assert (await events.until("joined"))["cluster_id"] == "b"
        epoch, _, number = last.rpartition("-")
        assert int(number) > 0
        # A bare number, or one of another process, may be of another event here.
        others = (number, f"00000000-{number}", f"{epoch}-999999", f"{epoch}-{'9' * 40}", f"{epoch}-٣")
        for unknown in (*others, "x", "-1", f"{epoch}-", epoch, ""):
            async with stream(own, Last_Event_ID=unknown) as events:
                assert (await events.next())[0] == "snapshot"


async def test_another_process_starts_the_numbers_anew() -> None:
    ids = []
    for _ in range(2):
        async with node() as own, stream(own) as events:
            await events.next()
            ids.append(events.last.rpartition("-"))
    assert ids[0][0] != ids[1][0]


async def test_an_id_in_the_snapshot_is_one_to_go_on_from() -> None:
    async with node() as own:
        async with stream(own) as events:
            await events.next()
            await own.put("a")
            await events.until("joined")
        async with stream(own) as events:
            _, snapshot = await events.next()
        noted = snapshot["events"][0]["id"]
        async with stream(own, Last_Event_ID=noted) as events:
            assert (await events.until("joined"))["cluster_id"] == "a"


class TestReaders:
    async def test_who_comes_when_all_places_are_taken_ends_the_oldest(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "_READERS", 2)
        async with node() as own, AsyncExitStack() as readers:
            found = [await readers.enter_async_context(stream(own)) for _ in range(2)]
            async with own.session.get(own.base + "/v1/events") as answer:
                assert answer.status == 503, "they have not read for long"
            monkeypatch.setattr(api, "_READER_LEAST_S", 0.0)
            found.append(await readers.enter_async_context(stream(own)))
            with pytest.raises(aiohttp.ClientError):
                await found[0].until("never")
            await own.put("a")
            for each in found[1:]:
                assert (await each.until("joined"))["cluster_id"] == "a"

    async def test_who_goes_and_a_head_take_no_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api, "_READERS", 2)
        monkeypatch.setattr(api, "_HEARTBEAT_S", 0.1)  # at which a reader that has gone is seen
        async with node() as own, stream(own) as oldest:
            for _ in range(3):
                async with own.session.head(own.base + "/v1/events") as answer:
                    assert (answer.status, answer.content_type) == (200, "text/event-stream")
            for number in range(3):
                async with stream(own) as other:
                    await other.next()
                # A heartbeat after the next news, the one who went is out.
                await own.put(f"n{number}")
                assert (await oldest.until("joined"))["cluster_id"] == f"n{number}"
                for _ in range(3):
                    await oldest.heartbeat()

    async def test_another_token_ends_the_streams_of_the_last_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "_HEARTBEAT_S", 0.1)
        path = tmp_path / "token"
        path.write_text("t0ken-123")
        async with (
            node(http_token_file=str(path)) as own,
            stream(own, Authorization="Bearer t0ken-123") as events,
        ):
            await events.next()
            path.write_text("t0ken-rotated")
            async with stream(own, Authorization="Bearer t0ken-rotated") as others:
                await others.next()
                await events.end()
                await own.put("a")
                assert (await others.until("joined"))["cluster_id"] == "a"

    async def test_the_end_of_a_node_does_not_wait_for_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules[serving.__module__], "_STOP_LIMIT_S", 1000.0)
        async with aiohttp.ClientSession() as session, AsyncExitStack() as readers:
            async with asyncio.timeout(LIMIT_S):
                async with node() as own:
                    answer = await readers.enter_async_context(session.get(own.base + "/v1/events"))
                    events = Stream(answer)
                    await events.next()
            await events.end()

    async def test_a_silent_stream_shows_that_it_lives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api, "_HEARTBEAT_S", 0.05)
        async with node() as own, own.session.get(own.base + "/v1/events") as answer:
            async with asyncio.timeout(LIMIT_S):
                for _ in range(2):
                    while await answer.content.readline() != b": still here\n":
                        pass


class TestConnections:
    async def test_who_opens_many_is_refused_and_who_goes_makes_room(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        free = Places("http", in_all=3, each=3, kept=0)
        monkeypatch.setattr(sys.modules[serving.__module__], "places", lambda: free)
        async with node() as own, asyncio.timeout(LIMIT_S):
            held = [await talk(own) for _ in range(3)]
            for _ in range(5):
                reader, writer = await talk(own)
                assert await ended(reader) == b""
                writer.close()
            with pytest.raises(aiohttp.ClientError):
                await own.ask("/healthz")
            held[0][1].close()
            while not await answers(own):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
            for _, writer in held[1:]:
                writer.close()
        assert caplog.text.count("http connections refused") == 1

    @pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
    async def test_who_sends_no_whole_request_is_ended(
        self, begun: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.modules[serving.__module__], "IDLE_S", 0.3)
        async with node() as own, asyncio.timeout(LIMIT_S), stream(own) as events:
            reader, writer = await talk(own)
            writer.write(begun)
            assert await ended(reader) == b""
            writer.close()
            # Who has asked for the events says nothing more, either.
            await own.put("a")
            await events.until("joined")


class Watched(Connection):
    """A connection that tells what becomes of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waits = asyncio.Event()
        self.is_over = asyncio.Event()

    @property
    def open_transport(self) -> asyncio.Transport:
        assert self.transport is not None
        return self.transport

    def pause_writing(self) -> None:
        super().pause_writing()
        self.waits.set()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.waits.clear()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.is_over.set()

    def stuff(self) -> None:
        """Write until the kernel takes no more, and a little is left over."""
        while not self.open_transport.get_write_buffer_size():
            self.open_transport.write(b"x" * 4096)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    """The connections of the server, the oldest first."""
    found: list[Watched] = []

    def noted(*args: Any, **kwargs: Any) -> Watched:
        found.append(Watched(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(sys.modules[serving.__module__], "Connection", noted)
    return found


class TestUnreadAnswers:
    SIZE = 16_000_000  # more than all the buffers on the way hold

    @pytest.fixture(autouse=True)
    def much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Api, "_snapshot", lambda api: {"x": "x" * self.SIZE})
        monkeypatch.setattr(api, "members_document", lambda moment: {"x": "x" * self.SIZE})

    @asynccontextmanager
    async def asking(
        self, own: Node, path: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Ask, and read no more than the reader takes by itself."""
        reader, writer = await talk(own, limit=1024)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            async with asyncio.timeout(LIMIT_S):
                yield reader, writer
        finally:
            writer.close()

    @pytest.mark.parametrize("path", ["/v1/events", "/v1/members"])
    async def test_who_takes_nothing_is_ended(
        self, path: str, made: list[Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "STALL_S", 0.1)
        async with node() as own, self.asking(own, path) as (reader, _):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await made[0].is_over.wait()
            # What was on its way can be read, and no more.
            read = 0
            with suppress(ConnectionError):
                while found := await reader.read(65536):
                    read += len(found)
            assert read < self.SIZE

    async def test_who_takes_a_little_at_a_time_is_not(
        self, made: list[Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        untaken = [5000, 4000, 3999, 3000, 3000, 3000]
        monkeypatch.setattr(connections, "STALL_S", 0.01)
        monkeypatch.setattr(connections, "untaken_bytes", lambda transport: untaken.pop(0))
        async with node() as own, self.asking(own, "/v1/members"):
            while not made:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
            await made[0].is_over.wait()
        assert untaken == [3000], "it is ended at the first look that finds no less than the one before"

    @pytest.mark.parametrize("path", ["/v1/events", "/v1/members"])
    async def test_what_the_kernel_holds_is_not_taken_yet(self, path: str, made: list[Watched]) -> None:
        async with node() as own, self.asking(own, path) as (reader, _):
            await reader.readline()
            await made[0].waits.wait()
            transport = made[0].open_transport
            before = connections.untaken_bytes(transport)
            assert before > transport.get_write_buffer_size() > 0
            while connections.untaken_bytes(transport) >= before:
                await reader.read(1024)

    async def test_who_has_read_all_is_not_ended_later(
        self, made: list[Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stall_s, looks = 0.1, itertools.count()
        monkeypatch.setattr(connections, "STALL_S", stall_s)
        monkeypatch.setattr(connections, "untaken_bytes", lambda transport: -next(looks))
        async with node() as own, asyncio.timeout(LIMIT_S):
            assert (await own.ask("/v1/members"))[0] == 200
            assert next(looks) > 0, "it had to wait"
            monkeypatch.setattr(connections, "untaken_bytes", lambda transport: 0)
            await asyncio.sleep(2 * stall_s)  # a timer left over would come before this one
            assert (await own.ask("/healthz"))[0] == 200
            assert len(made) == 1
            assert not made[0].is_over.is_set()

    async def test_who_goes_is_not_looked_after(
        self, made: list[Watched], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        stall_s = 0.1
        monkeypatch.setattr(connections, "STALL_S", stall_s)
        async with node() as own, self.asking(own, "/v1/members") as (reader, writer):
            await reader.readline()
            await made[0].waits.wait()
            writer.transport.abort()
            await made[0].is_over.wait()
            await asyncio.sleep(2 * stall_s)  # a timer left over would come before this one
        assert "Exception in callback" not in caplog.text

    async def test_the_last_little_is_to_be_taken_as_well(
        self, made: list[Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "STALL_S", 0.1)
        async with node() as own, self.asking(own, "/healthz") as (reader, _):
            await reader.readline()
            made[0].stuff()
            await made[0].is_over.wait()

    async def test_nothing_is_added_while_something_waits(
        self, made: list[Watched], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Api, "_snapshot", lambda api: {})
        async with node() as own, self.asking(own, "/v1/events") as (reader, _):
            await reader.readuntil(b"event: snapshot\n")
            slow = made[0]
            slow.stuff()
            async with stream(own) as others:
                seen = []
                for name in ("a", "b", "c"):
                    await own.put(name)
                    assert (await others.until("joined"))["cluster_id"] == name
                    seen.append(slow.open_transport.get_write_buffer_size())
            assert seen[0] == seen[1] == seen[2], "after the first, each is kept back"


async def talk(own: Node, limit: int = 65536) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection, and say nothing."""
    host, _, port = own.base.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=limit)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the end, however it came."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def answers(own: Node) -> bool:
    try:
        return (await own.ask("/healthz"))[0] == 200
    except aiohttp.ClientError:
        return False


async def test_events_of_one_poll_have_ids_of_their_own() -> None:
    async with node() as own, stream(own) as events:
        await events.next()
        for name in ("a", "b", "c"):
            await own.put(name)
        assert (await events.until("joined"))["cluster_id"] == "a"
        async with stream(own, Last_Event_ID=events.last) as later:
            assert [(await later.until("joined"))["cluster_id"] for _ in "bc"] == ["b", "c"]
        async with own.session.get(f"{own.base}/v1/events?last_event_id={events.last}") as answer:
            assert (await Stream(answer).until("joined"))["cluster_id"] == "b"


async def test_a_bug_is_told_once_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(moment: object) -> None:
        raise RuntimeError("a bug")

    caplog.set_level(logging.INFO)
    async with node() as own, stream(own) as events:
        await events.next()
        with monkeypatch.context() as broken:
            broken.setattr(journal, "troubles", fail)
            await own.put("a")
            async with asyncio.timeout(LIMIT_S):
                while "journal failed" not in caplog.text:  # noqa: ASYNC110 - no event tells of it
                    await asyncio.sleep(0.02)
            await own.put("b")
            async with asyncio.timeout(LIMIT_S):
                while "cluster_id='b'" not in caplog.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert [(await events.until("joined"))["cluster_id"] for _ in "ab"] == ["a", "b"]
    assert caplog.text.count("journal failed") == 1


async def test_an_outage_and_its_end_are_told() -> None:
    async with node() as own, stream(own) as events:
        own.cable.cut = UnreachableError("the cable is cut")
        assert await events.until("store") | {"at": 0} == {
            "at": 0,
            "answers": False,
            "error": "the cable is cut",
        }
        own.cable.cut = None
        assert (await events.until("store"))["answers"] is True


async def test_what_is_in_the_bucket_breaks_no_frame() -> None:
    async with node() as own, stream(own) as events:
        await own.put(HOSTILE)
        assert (await events.until("joined"))["cluster_id"] == HOSTILE
        await own.bucket.put("nodes/x\ndata: y", b"garbage\n\nevent: z")
        assert (await events.until("skipped"))["key"] == "nodes/x\ndata: y"


async def test_prometheus_gets_dialable_targets_alone() -> None:
    async with node() as own, stream(own) as events:
        await own.put("a", "2001:db8::1")
        await own.put("b", "-evil;host")
        await own.put("c", "127.0.0.1")
        for _ in range(3):
            await events.until("joined")
        assert [group["targets"] for group in (await own.ask("/prometheus-sd"))[1]] == [
            ["[2001:db8::1]:7800"],
            ["10.0.0.9:7800"],
        ]
        assert (await own.ask("/prometheus-sd?port=9119"))[1][1]["targets"] == ["10.0.0.9:9119"]
        assert (await own.ask("/prometheus-sd?port=00080"))[1][1]["targets"] == ["10.0.0.9:80"]
        for wrong in ("0", "65536", "x", "", "1" * 30, "٣", "00000199999", "000001", "9" * 5000):
            assert (await own.ask(f"/prometheus-sd?port={wrong}"))[0] == 400


@pytest.mark.parametrize(
    ("request_line", "said"),
    [
        (b"GET /prometheus-sd?port=" + b"9" * 9000 + b" HTTP/1.1", "a line of the request is too long"),
        (b"secret \x00\xff nonsense", "this is no HTTP that can be read"),
    ],
    ids=["long", "nonsense"],
)
async def test_what_cannot_be_read_is_refused_as_every_error_is_told(request_line: bytes, said: str) -> None:
    async with node() as own:
        reader, writer = await talk(own)
        writer.write(request_line + b"\r\nHost: localhost\r\n\r\n")
        head, _, body = (await ended(reader)).partition(b"\r\n\r\n")
        writer.close()
    assert head.split()[1] == b"400"
    assert b"\r\nContent-Type: application/json" in head
    assert json.loads(body) == {"error": said}


async def test_prometheus_keeps_its_targets_while_the_members_are_not_known() -> None:
    async with node(outage=UnreachableError("cut")) as own:
        assert await own.ask("/prometheus-sd") == (
            503,
            {"error": "no complete listing yet, so the members are not known"},
        )
        own.cable.cut = None
        async with asyncio.timeout(LIMIT_S):
            while (await own.ask("/prometheus-sd"))[0] != 200:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.05)


async def test_leaving() -> None:
    async with node() as own:
        assert await own.ask("/v1/leave", method="POST") == (202, {"left": True})
        assert own.left == 1
        own.refusal = BrokerError("the broker is busy")
        assert await own.ask("/v1/leave", method="POST") == (409, {"error": "the broker is busy"})
        assert (await own.ask("/v1/leave"))[0] == 405
    async with node(observes=True) as watcher:
        assert (await watcher.ask("/v1/leave", method="POST"))[0] == 409
        assert not any(verb in watcher.bucket.requests for verb in ("put", "delete"))


class TestStrangers:
    async def test_a_foreign_page_is_turned_away(self) -> None:
        async with node() as own:
            assert (await own.ask("/v1/leave", method="POST", Origin="https://evil.example"))[0] == 403
            assert (await own.ask("/v1/status", Origin="null"))[0] == 403
            assert (await own.ask("/v1/leave", method="POST", Origin="http://127.0.0.1:1"))[0] == 403
            assert (await own.ask("/v1/status", Origin=own.base))[0] == 200
            assert (await own.ask("/v1/status", Origin="HTTP://LOCALHOST:80", Host="localhost:80"))[0] == 200
            assert own.left == 0

    async def test_with_the_token_it_is_all_one_by_which_name_or_proxy(self) -> None:
        async with node(http_token="t0ken-123") as own:
            odd = {
                "Host": "broker-7.example",
                "Origin": "https://mqtt.example",
                "Sec-Fetch-Site": "cross-site",
            }
            brought = odd | {"Authorization": "bearer t0ken-123"}
            assert (await own.ask("/v1/members", **brought))[0] == 200
            assert (await own.ask("/v1/leave", method="POST", **brought))[0] == 202
            assert (own.left, await own.ask("/v1/leave", method="POST", **odd)) == (
                1,
                (401, {"error": "a token is needed: Authorization: Bearer <http-token>"}),
            )
            assert own.left == 1
            async with own.session.get(own.base + "/", headers={"Host": "broker-7.example"}) as answer:
                assert answer.status == 200

    async def test_what_is_nearly_the_token_is_none(self) -> None:
        async with node(http_token="t0ken-123") as own:
            for nearly in ("Bearer", "Bearer ", "Bearer t0ken-12", "Bearer t0ken-1234", "Bearer T0ken-123"):
                assert (await own.ask("/v1/members", Authorization=nearly))[0] == 401
            for scheme in ("Basic", "Token", "Bearerx", ""):
                assert (await own.ask("/v1/members", Authorization=f"{scheme} t0ken-123"))[0] == 401
            assert (await own.ask("/v1/members", Authorization="t0ken-123"))[0] == 401

    async def test_what_a_foreign_page_has_a_browser_load_is_turned_away(self) -> None:
        async with node() as own:
            for site in ("cross-site", "same-site"):
                for path in ("/v1/events", "/v1/status"):
                    assert (await own.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors"))[0] == 403
                assert (await own.ask("/v1/status", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate"))[0] == 403
                assert (await own.ask("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors"))[0] == 403
                link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
                async with own.session.get(own.base + "/", headers=link) as answer:
                    assert answer.status == 200
            for site in ("same-origin", "none"):
                assert (await own.ask("/v1/status", Sec_Fetch_Site=site))[0] == 200

    @pytest.mark.parametrize(
        ("token", "line", "status"),
        [
            ("t0ken-123", b"Authorization: Bearer \xff\xfe", 401),
            ("t0ken-123", b"Authorization: \xff", 401),
            ("t0ken-123", b"Host: [", 401),
            ("", b"Origin: http://[", 403),
            ("", b"Origin: http://\xff", 403),
            ("", b"Host: [", 403),
            ("", b"Host: \xff", 403),
        ],
    )
    async def test_headers_that_are_none(
        self, token: str, line: bytes, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with node(http_token=token) as own:
            host, _, port = own.base.removeprefix("http://").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            named = b"" if line.startswith(b"Host") else f"Host: {host}\r\n".encode()
            request = b"GET /v1/status HTTP/1.1\r\n" + named + line + b"\r\nConnection: close\r\n\r\n"
            writer.write(request)
            async with asyncio.timeout(LIMIT_S):
                answer = await reader.read()
            writer.close()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"X-Frame-Options: DENY" in answer
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    async def test_a_bug_is_told_once_and_shows_nothing(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(moment: object) -> None:
            raise RuntimeError("s3cret")

        monkeypatch.setattr(api, "status_document", fail)
        async with node() as own:
            for _ in range(3):
                async with own.session.get(own.base + "/v1/status") as answer:
                    assert answer.status == 500
                    assert "s3cret" not in (await answer.text())
                    assert set(await answer.json()) == {"error"}
                    assert answer.headers["X-Frame-Options"] == "DENY"
            assert (await own.ask("/v1/members"))[0] == 200
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(errors) == 1

    async def test_another_token_in_the_file_is_taken_up(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("t0ken-123")
        async with node(http_token_file=str(path)) as own:
            assert (await own.ask("/v1/members", Authorization="Bearer t0ken-123"))[0] == 200
            path.write_text("t0ken-rotated")
            assert (await own.ask("/v1/members", Authorization="Bearer t0ken-123"))[0] == 401
            assert (await own.ask("/v1/members", Authorization="Bearer t0ken-rotated"))[0] == 200
            path.unlink()
            assert (await own.ask("/v1/members", Authorization="Bearer t0ken-rotated"))[0] == 200

    async def test_a_foreign_name_that_leads_here_is_turned_away(self) -> None:
        async with node() as own:
            assert (await own.ask("/v1/members", Host="evil.example"))[0] == 403
            assert (await own.ask("/v1/members", Host="localhost:9119"))[0] == 200
            assert (await own.ask("/healthz", Host="evil.example"))[0] == 200

    async def test_without_the_token_there_is_health_alone(self) -> None:
        async with node(http_token="t0ken-123") as own:
            for path in (
                "/v1/members",
                "/v1/status",
                "/v1/events",
                "/prometheus-sd",
                "/openapi.json",
                "/nothing",
            ):
                assert (await own.ask(path))[0] == 401
                assert (await own.ask(path, Authorization="Bearer t0ken-124"))[0] == 401
            assert (await own.ask("/healthz"))[0] == 200
            assert (await own.ask("/v1/members", Authorization="Bearer t0ken-123"))[0] == 200

    async def test_why_it_is_not_ready_is_told_to_who_may_ask_the_rest(self) -> None:
        foreign = [{"Host": "evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
        brought = {"Authorization": "Bearer t0ken-123"}
        for token, welcome, others in (
            ("", [{}], foreign),
            ("t0ken-123", [brought, *(brought | odd for odd in foreign)], [{}, *foreign]),
        ):
            async with node(http_token=token) as own:
                own.state = ClusterState("login refused for 'svc'")
                for headers in (*welcome, *others):
                    status, found = await own.ask("/readyz", **headers)
                    assert (status, found["ready"]) == (503, False)
                    assert ("'svc'" in found["reason"]) == (headers in welcome), headers
                own.state = ClusterState("formed", is_ready=True)
                for headers in others:
                    assert await own.ask("/readyz", **headers) == (200, {"ready": True, "reason": "ready"})

    async def test_the_page_is_there_and_locked_up(self) -> None:
        async with node() as own, own.session.get(own.base + "/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "form-action 'none'" in policy
            assert answer.headers["X-Frame-Options"] == "DENY"


async def test_all_else_is_not_found_in_json() -> None:
    async with node() as own:
        for path in ("/nothing", "/v1", "/v1/members/", "/..%2f..%2fetc/passwd"):
            assert (await own.ask(path))[0] == 404


async def test_the_document_describes_every_route() -> None:
    async with node() as own:
        _, document = await own.ask("/openapi.json")
        validate(document)
        for path, item in document["paths"].items():
            for method in item:
                async with own.session.request(method, own.base + path) as answer:
                    assert str(answer.status) in item[method]["responses"], path


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("127.0.0.1", "the port is in use; write a free one to http-port"),
        ("192.0.2.1", "http-address is not of this machine"),
        ("no-such-host.invalid", "http-address does not resolve"),
    ],
)
async def test_where_it_cannot_be_is_told_with_the_cure(address: str, cure: str) -> None:
    async with node() as own:
        port = int(own.base.rpartition(":")[2])
        settings = make_settings(http_port=str(port), http_address=address, http_token="t0ken-123")
        clock = SystemClock()
        async with Discovery(settings, MemoryBucket(FakeClock()), clock=clock) as discovery:
            with pytest.raises(ServerError, match=f"no HTTP at {address}:{port}: {cure}"):
                async with serving(port, Running(settings, discovery, clock, lambda: None)):
                    pass


async def test_its_url_is_logged_as_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with node(http_address="::1"):
        assert "url=http://[::1]:" in caplog.text


def test_the_token_does_not_show() -> None:
    settings = replace(make_settings(), http_token=Secret("t0ken-123"))
    assert "t0ken" not in repr(settings)
