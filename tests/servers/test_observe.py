"""`s3discovery observe` on a real store, its requests counted on their way: it reads, and nothing else."""

import asyncio
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from dns.asyncquery import udp
from dns.exception import Timeout
from dns.message import make_query

from s3discovery.clock import SystemClock
from s3discovery.credentials import FixedCredentials
from s3discovery.demo.child import choose_ports
from s3discovery.discovery import Discovery
from s3discovery.node import Address, Member
from s3discovery.s3 import S3Bucket
from s3discovery.settings.config import parse
from s3discovery.testing.stores import Store, way_to

LIMIT_S = 20.0
PREFIX = "hivemq/cluster/nodes/"
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "node_files.json").read_text(encoding="utf-8"))
# Files that the original classes wrote, by their address: (version, id).
OF_HIVEMQ = {"10.0.0.4": ("v1", "id/with/slashes"), "10.0.0.6": ("v4", "pipe|one")}
OURS = {"10.0.1.1": "n1", "10.0.1.2": "n2", "10.0.1.3": "n3"}
REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.[01]\r?$", re.MULTILINE)
READS = {"GET", "HEAD"}


class Counted:
    """A way to a store on which every request is counted; bytes pass as they are."""

    def __init__(self, endpoint: str) -> None:
        target = urlsplit(endpoint)
        self._target = (target.hostname, target.port)
        self.requests: Counter[str] = Counter()
        self.endpoint = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Counted"]:
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_store, to_store = await asyncio.open_connection(*self._target)
        back = asyncio.create_task(self._pass(from_store, writer, lambda _: None))
        await self._pass(reader, to_store, self._count)
        await back

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], None]
    ) -> None:
        try:
            while data := await reader.read(65536):
                look(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _count(self, data: bytes) -> None:
        for method, _ in REQUEST.findall(data):
            self.requests[method.decode()] += 1


def values_of(store: Store, bucket: str, **others: str) -> dict[str, str]:
    values = {
        **way_to(bucket, store.endpoint, store.credentials),
        "s3-path-style-access": "true",
        "file-prefix": PREFIX,
        "file-expiration": "360s",
        "update-interval": "180s",
        "poll-interval": "200ms",
    }
    return values | {name.replace("_", "-"): text for name, text in others.items()}


@asynccontextmanager
async def cluster(store: Store, bucket: str) -> AsyncIterator[S3Bucket]:
    """Three nodes of ours, and one of each version of HiveMQ; yields a way to look at their files."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            S3Bucket(
                name=bucket,
                region="us-east-1",
                endpoint=store.endpoint,
                credentials=FixedCredentials(store.credentials),
            )
        )
        for host, (version, cluster_id) in OF_HIVEMQ.items():
            wanted = (version, cluster_id, host)
            body = next(
                c["body"] for c in GOLDEN["create"] if (c["format"], c["cluster_id"], c["host"]) == wanted
            )
            await opened.put(PREFIX + cluster_id, body.encode())
        settings = parse(values_of(store, bucket))
        for host, cluster_id in OURS.items():
            own = Member(cluster_id, Address(host, 7800))
            node = Discovery(settings, opened, own, clock=SystemClock())
            await stack.enter_async_context(node)
        yield opened


async def files(bucket: S3Bucket) -> Mapping[str, tuple[str, float]]:
    return {entry.key: (entry.etag, entry.modified_s) for entry in (await bucket.list(PREFIX)).entries}


@asynccontextmanager
async def observing(folder: Path, values: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command at work; told to end, it ends well."""
    path = folder / "s3discovery.properties"
    path.write_text("".join(f"{key}:{text}\n" for key, text in values.items()))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "s3discovery", "observe", "-c", str(path), stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            _, log = await process.communicate()
        assert process.returncode == 0, log.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def told_by_dns(port: int) -> set[str] | None:
    """Return the addresses in DNS; None while there is no answer."""
    try:
        answer = await udp(make_query("cluster.s3discovery.", "A"), "127.0.0.1", 1.0, port)
    except (OSError, Timeout):
        return None
    return {str(record) for rrset in answer.answer for record in rrset} if answer.rcode() == 0 else None


async def until_told(port: int, expected: set[str]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while await told_by_dns(port) != expected:  # noqa: ASYNC110 - another process sets no events
            await asyncio.sleep(0.05)


async def more_polls(way: Counted, count: int) -> None:
    """Wait until so many more requests have been made; in a steady state each is a poll."""
    before = way.requests.total()
    async with asyncio.timeout(LIMIT_S):
        while way.requests.total() < before + count:  # noqa: ASYNC110 - another process sets no events
            await asyncio.sleep(0.05)


async def test_a_cluster_is_seen_without_one_write(seaweedfs: Store, tmp_path: Path) -> None:
    bucket = seaweedfs.new_bucket()
    ports = choose_ports(["dns", "http"])
    async with cluster(seaweedfs, bucket) as opened, Counted(seaweedfs.endpoint).open() as way:
        before = await files(opened)
        assert len(before) == len(OURS) + len(OF_HIVEMQ)
        values = values_of(
            seaweedfs, bucket, dns_listen=f"127.0.0.1:{ports['dns']}", http_port=str(ports["http"])
        )
        async with observing(tmp_path, values | {"s3-endpoint": way.endpoint}):
            await until_told(ports["dns"], {*OURS, *OF_HIVEMQ})
            found = await members(ports["http"])
            await more_polls(way, 5)
        assert await files(opened) == before
        assert {row["host"]: row["cluster_id"] for row in found} == OURS | {
            host: cluster_id for host, (_, cluster_id) in OF_HIVEMQ.items()
        }
        assert not any(row["own"] for row in found)
    assert way.requests["GET"] > len(before), "the requests were not counted"
    assert set(way.requests) <= READS


async def members(port: int) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/v1/members") as answer,
    ):
        assert answer.status == 200
        rows: list[dict[str, Any]] = (await answer.json())["members"]
        return rows


async def test_a_hangup_does_not_end_it(seaweedfs: Store, tmp_path: Path) -> None:
    bucket = seaweedfs.new_bucket()
    port = choose_ports(["dns"])["dns"]
    async with cluster(seaweedfs, bucket):
        values = values_of(seaweedfs, bucket, dns_listen=f"127.0.0.1:{port}")
        async with observing(tmp_path, values) as process:
            await until_told(port, {*OURS, *OF_HIVEMQ})
            process.send_signal(signal.SIGHUP)
            lines = await logged(process, "observe goes on with the settings of its start")
            assert not any("neither dns-listen nor http-port is set" in line for line in lines)
            await until_told(port, {*OURS, *OF_HIVEMQ})


async def logged(process: asyncio.subprocess.Process, words: str) -> list[str]:
    """Return the lines of the log up to the one with these words."""
    assert process.stderr is not None
    lines = [""]
    async with asyncio.timeout(LIMIT_S):
        while words not in lines[-1]:
            line = await process.stderr.readline()
            assert line, lines
            lines.append(line.decode())
    return lines


async def test_who_is_told_nothing_is_told_why(seaweedfs: Store, tmp_path: Path) -> None:
    async with observing(tmp_path, values_of(seaweedfs, seaweedfs.new_bucket())) as process:
        lines = await logged(process, "neither dns-listen nor http-port is set, so this only logs who")
    durations = "settings file-expiration=360s update-interval=180s poll-interval=0.2s compatibility=hivemq-3"
    assert sum(durations in line for line in lines) == 1


async def test_who_is_dead_is_not_cleared_away(seaweedfs: Store, tmp_path: Path) -> None:
    """HiveMQ's own extension deletes expired files; an observer leaves them to those they belong to."""
    bucket = seaweedfs.new_bucket()
    port = choose_ports(["dns"])["dns"]
    async with cluster(seaweedfs, bucket) as opened, Counted(seaweedfs.endpoint).open() as way:
        before = await files(opened)
        values = values_of(
            seaweedfs, bucket, dns_listen=f"127.0.0.1:{port}", file_expiration="1s", update_interval="200ms"
        )
        async with observing(tmp_path, values | {"s3-endpoint": way.endpoint}):
            await until_told(port, set())
            # A node clears what it has seen expired for longer than an update interval.
            await more_polls(way, 10)
        assert await files(opened) == before
    assert set(way.requests) <= READS
