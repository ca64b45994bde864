"""DNS at real sockets: asked by dig, by dnspython's resolver, by glibc, and by garbage."""

import asyncio
import ipaddress
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import dns.asyncquery
import dns.asyncresolver
import dns.flags
import dns.message
import pytest

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.dns import serving
from s3discovery.errors import UnreachableError
from s3discovery.node import Address, NodeFile
from s3discovery.running import Running
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings

NAME = "cluster.s3discovery."
LIMIT_S = 10.0
FIRST = int(ipaddress.ip_address("10.9.0.1"))


class Cluster:
    """A bucket with so many nodes, and the DNS that tells of them."""

    def __init__(self, bucket: MemoryBucket, port: int) -> None:
        self.bucket = bucket
        self.port = port

    async def put(self, cluster_id: str, host: str) -> None:
        body = codec.encode(NodeFile("1", 1, cluster_id, Address(host, 7800)), "1")
        await self.bucket.put(f"nodes/{cluster_id}", body)

    async def ask(self, name: str = NAME, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=False)
        if tcp:
            return await dns.asyncquery.tcp(query, "127.0.0.1", LIMIT_S, self.port)
        return await dns.asyncquery.udp(query, "127.0.0.1", LIMIT_S, self.port)

    async def dig(self, *arguments: str) -> list[str]:
        command = ("dig", "@127.0.0.1", "-p", str(self.port), "+time=3", "+tries=1", *arguments)
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        return out.decode().splitlines()


@asynccontextmanager
async def cluster(count: int) -> AsyncIterator[Cluster]:
    clock = SystemClock()
    bucket = MemoryBucket(FakeClock())
    settings = make_settings(poll_interval="200ms")
    found = Cluster(bucket, 0)
    for place in range(count):
        await found.put(f"n{place}", str(ipaddress.ip_address(FIRST + place)))
    async with (
        Discovery(settings, bucket, clock=clock) as discovery,
        serving("127.0.0.1:0", Running(settings, discovery, clock, lambda: None)) as at,
    ):
        found.port = at[1]
        await until_there_are(found, count)
        yield found


async def until_there_are(found: Cluster, count: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            answer = await found.ask(tcp=True)
            if answer.rcode() == 0 and sum(len(rrset) for rrset in answer.answer) == count:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("count", [1, 50, 500])
async def test_dnspython_finds_them_all(count: int) -> None:
    async with cluster(count) as found:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], found.port
        answer = await resolver.resolve(NAME, "A")
        if count <= 253:  # beyond that the resolver comes back over TCP by itself
            assert len(answer) == count
        assert {record.to_text() for record in answer} == {
            str(ipaddress.ip_address(FIRST + place)) for place in range(count)
        }
        assert len(await resolver.resolve(NAME, "SRV")) == count


async def test_dig_finds_them(tmp_path: Path) -> None:
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    async with cluster(3) as found:
        addresses = ["10.9.0.1", "10.9.0.2", "10.9.0.3"]
        for arguments in (
            [NAME],
            [NAME, "+tcp"],
            [NAME, "+noedns"],
            [NAME, "+bufsize=1232"],
            [NAME, "+cookie"],
        ):
            assert sorted(await found.dig("+short", *arguments)) == addresses
        assert await found.dig("+short", "-x", "10.9.0.2") == [f"n1.{NAME}"]
        assert await found.dig("+short", NAME, "AAAA") == []
        assert any("REFUSED" in line for line in await found.dig("example.com"))
        assert any("NXDOMAIN" in line for line in await found.dig(f"nobody.{NAME}"))


async def test_a_join_and_a_leave_show() -> None:
    async with cluster(2) as found:
        await found.put("n9", "10.9.9.9")
        await until_there_are(found, 3)
        await found.bucket.delete("nodes/n9")
        await until_there_are(found, 2)


async def test_the_last_good_set_stays_while_the_store_is_down() -> None:
    clock = SystemClock()
    bucket = MemoryBucket(FakeClock())
    found = Cluster(bucket, 0)
    await found.put("a", "10.9.0.1")

    cable = Cable(bucket)
    settings = make_settings(poll_interval="100ms")
    async with (
        Discovery(settings, cable, clock=clock) as discovery,
        serving("127.0.0.1:0", Running(settings, discovery, clock, lambda: None)) as at,
    ):
        found.port = at[1]
        await until_there_are(found, 1)
        cable.cut = UnreachableError("cut")
        async with asyncio.timeout(LIMIT_S):
            while discovery.status.error is None:  # noqa: ASYNC110 - no event tells of a failure
                await asyncio.sleep(0.05)
        await until_there_are(found, 1)


async def test_garbage_hurts_nobody() -> None:
    async with cluster(3) as found:
        dice = random.Random(3)
        whole = dns.message.make_query(NAME, "A").to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(("127.0.0.1", found.port))
            for number in range(10_000):
                data = bytearray(whole)
                for _ in range(dice.randint(1, 8)):
                    data[dice.randrange(len(data))] = dice.randrange(256)
                with suppress(BlockingIOError, ConnectionRefusedError):
                    sender.send(bytes(data[: dice.randint(0, len(data))]))
                with suppress(BlockingIOError):
                    assert len(sender.recv(65_535)) <= 4096
                if number % 50 == 0:
                    await asyncio.sleep(0)
        await until_there_are(found, 3)


async def test_silent_and_broken_tcp_callers_hurt_nobody() -> None:
    async with cluster(3) as found:
        callers = [await asyncio.open_connection("127.0.0.1", found.port) for _ in range(80)]
        for place, (_, writer) in enumerate(callers):
            writer.write([b"", b"\x00", b"\xff\xff" + b"x" * 40, b"\x00\x05hello"][place % 4])
        assert len((await found.ask()).answer[0]) == 3
        for _, writer in callers:
            writer.close()
        await until_there_are(found, 3)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with its own resolv.conf, which names 127.0.0.1."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    name = f"s3d-dns-{os.getpid()}"
    folder = Path("/etc/netns") / name
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        folder.mkdir(parents=True)
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        (folder / "nsswitch.conf").write_text("hosts: dns\n")
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        shutil.rmtree(folder)


SERVE = """
import asyncio, sys
from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.dns import serving
from s3discovery.node import Address, NodeFile
from s3discovery.running import Running
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings

async def main():
    clock = SystemClock()
    bucket = MemoryBucket(FakeClock())
    for cluster_id, host in (("a", "10.9.0.1"), ("b", "2001:db8::2")):
        body = codec.encode(NodeFile("1", 1, cluster_id, Address(host, 7800)), "1")
        await bucket.put("nodes/" + cluster_id, body)
    settings = make_settings()
    async with (
        Discovery(settings, bucket, clock=clock) as discovery,
        serving("127.0.0.1:53", Running(settings, discovery, clock, lambda: None)),
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def test_glibc_finds_them(namespace: str) -> None:

    inside = ("ip", "netns", "exec", namespace)
    server = subprocess.Popen(
        (*inside, sys.executable, "-c", SERVE), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == b"ready\n"
        found = subprocess.run(
            (*inside, "getent", "ahosts", NAME), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert {line.split()[0] for line in found.stdout.splitlines()} == {"10.9.0.1", "2001:db8::2"}
        back = subprocess.run(
            (*inside, "getent", "hosts", "10.9.0.1"),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert back.stdout.split() == ["10.9.0.1", "a.cluster.s3discovery"]
    finally:
        server.stdin.close()
        server.wait(LIMIT_S)
        server.stdout.close()
