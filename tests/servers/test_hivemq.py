"""HiveMQ nodes with their stock extension and ours beside HiveMQ, in one bucket on a real store.

The files of HiveMQ's nodes are those that the original classes wrote (`tests/golden`); what those classes
make of our files is held against their rules.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import pytest

from s3discovery.credentials import FixedCredentials
from s3discovery.demo.child import choose_ports
from s3discovery.s3 import S3Bucket
from s3discovery.testing.stores import Store, way_to
from s3discovery.wiring import Origins, make_agent

LIMIT_S = 15.0
PREFIX = "hivemq/cluster/nodes/"
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "node_files.json").read_text(encoding="utf-8"))
CONFIG = """<?xml version="1.0"?>
<hivemq>
    <cluster>
        <enabled>true</enabled>
        <transport>
            <tcp>
                <bind-address>${ENV:HIVEMQ_BIND_ADDRESS}</bind-address>
                <bind-port>7800</bind-port>
            </tcp>
        </transport>
        <discovery>
            <extension/>
        </discovery>
    </cluster>
</hivemq>
"""
# Those of the golden files whose address is one that DNS can tell, and whose key every store keeps.
OF_HIVEMQ = {"10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.10"}


class Place:
    """A bucket, its nodes of HiveMQ, and those of ours."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.name = store.new_bucket()

    @asynccontextmanager
    async def bucket(self) -> AsyncIterator[S3Bucket]:
        credentials = FixedCredentials(self.store.credentials)
        async with S3Bucket(
            name=self.name, region="us-east-1", endpoint=self.store.endpoint, credentials=credentials
        ) as bucket:
            yield bucket

    async def start_hivemq(self, version: str, host: str) -> None:
        """Write the file that the original writes."""
        case = golden(version, host)
        async with self.bucket() as bucket:
            await bucket.put(PREFIX + name_of(host), renamed(case))

    async def stop_hivemq(self, host: str) -> None:
        async with self.bucket() as bucket:
            await bucket.delete(PREFIX + name_of(host))

    async def bodies(self) -> list[bytes]:
        async with self.bucket() as bucket:
            listing = await bucket.list(PREFIX)
            return [(await bucket.get(entry.key, limit=8192)).body for entry in listing.entries]

    def settings(self, name: str, compatibility: str) -> tuple[Path, int]:
        """Write the settings of one of our nodes; return their path and the port of its DNS."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "config.xml").write_text(CONFIG)
        port = choose_ports(["dns"])["dns"]
        values = {
            **way_to(self.name, self.store.endpoint, self.store.credentials),
            "s3-path-style-access": "true",
            "file-prefix": PREFIX,
            "file-expiration": "360s",
            "update-interval": "180s",
            "poll-interval": "200ms",
            "compatibility": compatibility,
            "cluster-id": name,
            "control-socket": str(folder / "control.sock"),
            "broker": "hivemq",
            "hivemq-config": str(folder / "config.xml"),
            "dns-listen": f"127.0.0.1:{port}",
        }
        path = folder / "s3discovery.properties"
        path.write_text("".join(f"{key}:{text}\n" for key, text in values.items()))
        return path, port


class Node:
    """One of our nodes, beside a HiveMQ at `host`."""

    def __init__(self, place: Place, name: str, host: str, compatibility: str) -> None:
        self.host = host
        path, self._port = place.settings(name, compatibility)
        origins = Origins(path, environ={"HIVEMQ_BIND_ADDRESS": host})
        self._running = asyncio.create_task(make_agent(origins).run(), name=name)

    async def told(self) -> set[str]:
        """Return what HiveMQ is told by DNS."""
        query = dns.message.make_query("cluster.s3discovery.", "A", use_edns=False)
        try:
            answer = await dns.asyncquery.udp(query, "127.0.0.1", 1.0, self._port)
        except (OSError, dns.exception.Timeout):
            return set()
        return {str(record) for rrset in answer.answer for record in rrset}

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


def golden(version: str, host: str) -> dict[str, Any]:
    wanted = (f"v{version}", host)
    return next(case for case in GOLDEN["create"] if (case["format"], case["host"]) == wanted)


def name_of(host: str) -> str:
    return f"h{host.rpartition('.')[2]}"


def renamed(case: dict[str, Any]) -> bytes:
    """Return the body of a golden case with an id whose key every store keeps."""
    text = base64.b64decode(case["body"]).decode()
    assert text.count(case["cluster_id"]) == 1
    return base64.b64encode(text.replace(case["cluster_id"], name_of(case["host"])).encode())


def seen_by(version: str, bodies: Iterable[bytes]) -> set[str]:
    """Return the addresses that HiveMQ's extension makes of files.

    Version 3 looks at no version and needs five fields; version 4 reads its own version with five alone."""
    found = set()
    for body in bodies:
        fields = base64.b64decode(body, validate=True).decode().split("||||")
        while fields and not fields[-1]:
            fields.pop()  # as Java's split does
        if len(fields) == 5 and (version == "1" or fields[0] == "4"):
            assert fields[4] == "7800"
            found.add(fields[3])
    return found


class Move:
    """A cluster on the move: who is alive now, and who of ours tells of it."""

    def __init__(self, place: Place, version: str) -> None:
        self.place = place
        self.version = version
        self.alive: set[str] = set()
        self.ours: list[Node] = []

    async def starts(self, host: str, node: Node | None = None) -> None:
        """Wait until everybody sees `host`; nobody may lose another meanwhile."""
        kept, settled = set(self.alive), list(self.ours)
        self.alive.add(host)
        if node is not None:
            self.ours.append(node)
        await self._settle(kept, settled)

    async def stops(self, host: str) -> None:
        """Wait until nobody sees `host`; nobody may lose another meanwhile."""
        self.alive.remove(host)
        await self._settle(set(self.alive), self.ours)

    async def _settle(self, kept: set[str], settled: Iterable[Node]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while True:
                by_hivemq = seen_by(self.version, await self.place.bodies())
                told = {node: await node.told() for node in self.ours}
                assert by_hivemq >= kept, f"HiveMQ lost {kept - by_hivemq}"
                for node in settled:
                    assert told[node] >= kept, f"{node.host} lost {kept - told[node]}"
                if all(view == self.alive for view in (by_hivemq, *told.values())):
                    return
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(("version", "compatibility"), [("1", "hivemq-3"), ("4", "hivemq-4")])
async def test_a_rolling_move_there_and_back(
    seaweedfs: Store, tmp_path: Path, version: str, compatibility: str
) -> None:
    place = Place(seaweedfs, tmp_path)
    move = Move(place, version)
    theirs = sorted(OF_HIVEMQ)[:3]
    for host in theirs:
        await place.start_hivemq(version, host)
        await move.starts(host)
    try:
        # There: a machine at a time, HiveMQ's own extension off, ours on. It keeps its address.
        for number, host in enumerate(theirs):
            await place.stop_hivemq(host)
            await move.stops(host)
            await move.starts(host, Node(place, f"n{number}", host, compatibility))
        # And back.
        for host in theirs:
            await move.ours.pop(0).stop()
            await move.stops(host)
            await place.start_hivemq(version, host)
            await move.starts(host)
        assert move.alive == set(theirs)
    finally:
        for node in move.ours:
            await node.stop()


async def test_files_of_both_versions_side_by_side(seaweedfs: Store, tmp_path: Path) -> None:
    """We read both and write one; so does HiveMQ, but its version 4 reads its own alone."""
    place = Place(seaweedfs, tmp_path)
    await place.start_hivemq("1", "10.0.0.4")
    await place.start_hivemq("4", "10.0.0.5")
    first = Node(place, "n1", "10.0.1.1", "hivemq-3")
    second = Node(place, "n2", "10.0.1.2", "hivemq-4")
    everybody = {"10.0.0.4", "10.0.0.5", "10.0.1.1", "10.0.1.2"}
    try:
        async with asyncio.timeout(LIMIT_S):
            while not await first.told() == await second.told() == everybody:  # noqa: ASYNC110 - DNS has no events
                await asyncio.sleep(0.05)
        assert seen_by("1", await place.bodies()) == everybody
        assert seen_by("4", await place.bodies()) == {"10.0.0.5", "10.0.1.2"}
    finally:
        await first.stop()
        await second.stop()
    assert seen_by("1", await place.bodies()) == {"10.0.0.4", "10.0.0.5"}
