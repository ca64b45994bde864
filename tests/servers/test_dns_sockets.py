"""DNS at its sockets: which addresses answer, who is let go, and what is left when it ends."""

import asyncio
import errno
import ipaddress
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import dns.asyncquery
import dns.message
import pytest

from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.dns import serving
from s3discovery.dns.datagrams import Datagrams
from s3discovery.dns.listening import open_pairs
from s3discovery.dns.rates import Rates
from s3discovery.dns.responder import Responder
from s3discovery.dns.streams import Streams
from s3discovery.dns.zone import Node, Zone
from s3discovery.errors import ServerError
from s3discovery.node import Member
from s3discovery.running import Running
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

NAME = "cluster.s3discovery."
LIMIT_S = 10.0
FIRST = int(ipaddress.ip_address("10.9.0.1"))
QUERY = dns.message.make_query(NAME, "A", use_edns=False)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def responder(count: int = 1) -> Responder:
    nodes = [Node(f"n{place}", 7800, (ipaddress.ip_address(FIRST + place),)) for place in range(count)]
    return Responder(Zone(NAME, nodes), max_udp_bytes=4096, ttl_s=lambda: 1)


@asynccontextmanager
async def served(listen: str) -> AsyncIterator[int]:
    settings, clock = make_settings(), SystemClock()
    async with (
        Discovery(settings, MemoryBucket(FakeClock()), clock=clock) as discovery,
        serving(listen, Running(settings, discovery, clock, lambda: None)) as at,
    ):
        yield at[1]


async def answers(host: str, port: int) -> tuple[bool, bool]:
    """Tell whether there is an answer by UDP, and by TCP. What another address sends is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.connect((host, port))
        asker.send(QUERY.to_wire())
        try:
            async with asyncio.timeout(LIMIT_S):
                by_udp = len(await loop.sock_recv(asker, 4096)) > 12
        except (OSError, TimeoutError):
            by_udp = False
    try:
        await dns.asyncquery.tcp(QUERY, host, LIMIT_S, port)
    except OSError:
        return by_udp, False
    return by_udp, True


@pytest.mark.parametrize(
    ("listen", "yes", "no"),
    [
        ("127.0.0.1", ["127.0.0.1"], ["::1"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2"], ["::1"]),
        ("[::]", ["127.0.0.1", "127.0.0.2", "::1"], []),
        ("[::1]", ["::1"], ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"], []),
    ],
)
async def test_udp_and_tcp_answer_at_the_same_addresses(listen: str, yes: list[str], no: list[str]) -> None:
    if not has_ipv6() and ":" in listen:
        pytest.skip("no IPv6 here")
    async with served(f"{listen}:0") as port:
        for host in yes:
            assert await answers(host, port) == (True, True), host
        for host in no if has_ipv6() else ():
            assert await answers(host, port) == (False, False), host


def found(*hosts: str) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """What getaddrinfo says of a name with these addresses."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]


async def test_a_name_with_many_addresses_is_served_at_those_that_are_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def getaddrinfo(host: str, *_: object, **__: object) -> object:
        return found(*host.split())

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    pairs = await open_pairs("192.0.2.1 127.0.0.1 127.0.0.3", 0)
    places = [each.getsockname() for pair in pairs for each in pair]
    for pair in pairs:
        for each in pair:
            each.close()
    assert [host for host, _ in places] == ["127.0.0.1"] * 2 + ["127.0.0.3"] * 2
    assert len({port for _, port in places}) == 1
    with pytest.raises(OSError, match="assign") as caught:
        await open_pairs("192.0.2.1", 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_port_in_use_is_named_and_nothing_stays_open(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        cure = f"^no DNS at {listen}: the port is in use; write a free one to dns-listen$"
        with pytest.raises(ServerError, match=cure):
            async with served(listen):
                pass
        other = socket.SOCK_DGRAM if kind == socket.SOCK_STREAM else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, other) as free:
            free.bind(taken.getsockname())


@pytest.mark.parametrize(
    ("listen", "cure"),
    [
        ("192.0.2.1:5391", "dns-listen is not of this machine; write an address that it has"),
        ("[2001:db8::1]:5391", "dns-listen is not of this machine; write an address that it has"),
        ("no-such-host.invalid:5391", "dns-listen does not resolve"),
    ],
)
async def test_where_it_cannot_be_is_told_with_the_cure(listen: str, cure: str) -> None:
    with pytest.raises(ServerError, match=re.escape(f"no DNS at {listen}: {cure}")):
        async with served(listen):
            pass


@pytest.mark.parametrize(("listen", "told"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")])
async def test_where_it_listens_is_logged_as_an_address(
    listen: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not has_ipv6() and ":" in listen:
        pytest.skip("no IPv6 here")
    caplog.set_level(logging.INFO)
    async with served(f"{listen}:0") as port:
        assert f"dns serves name={NAME} listen={told}:{port}" in caplog.text


class Full(socket.socket):
    """A socket whose buffer takes nothing while `is_full`."""

    is_full = True
    refused = 0

    def sendmsg(self, *arguments: object) -> int:
        if self.is_full:
            self.refused += 1
            raise BlockingIOError
        return super().sendmsg(*arguments)  # type: ignore[arg-type]  # as it came


async def test_what_a_full_buffer_does_not_take_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    datagrams = Datagrams(responder(), Rates(1, FakeClock()))
    with Full(socket.AF_INET, socket.SOCK_DGRAM) as place, socket.socket(type=socket.SOCK_DGRAM) as asker:
        place.bind(("127.0.0.1", 0))
        for each in (place, asker):
            each.setblocking(False)
        asker.connect(place.getsockname())
        with datagrams.at(place):
            async with asyncio.timeout(LIMIT_S):
                for _ in range(20):
                    asker.send(QUERY.to_wire())
                while place.refused < 20:  # noqa: ASYNC110 - a socket has no events
                    await asyncio.sleep(0)
                place.is_full = False
                last = dns.message.make_query(NAME, "SRV", use_edns=False)
                asker.send(last.to_wire())
                answer = dns.message.from_wire(await loop.sock_recv(asker, 4096))
                assert last.is_response(answer), "nothing waited"
    assert caplog.text == ""


@asynccontextmanager
async def streams(*, idle_s: float = 60, life_s: float = 60, count: int = 1) -> AsyncIterator[int]:
    """DNS over TCP alone; yields the port."""
    own = Streams(responder(count), Rates(1, FakeClock()), idle_s=idle_s, life_s=life_s)
    async with own.conversing(), await asyncio.start_server(own.connected, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        server.close()


async def test_of_many_tcp_callers_the_last_is_let_go_until_another_leaves() -> None:
    async with streams() as port, asyncio.timeout(LIMIT_S):
        callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(65)]
        assert await callers[-1][0].read() == b""
        callers[0][1].close()
        while True:
            with suppress(EOFError, OSError):  # the place is not free yet
                assert len((await dns.asyncquery.tcp(QUERY, "127.0.0.1", LIMIT_S, port)).answer) == 1
                break
        for _, writer in callers:
            writer.close()


@pytest.mark.parametrize("begun", [b"", b"\x00", b"\x00\x20half"])
async def test_a_silent_tcp_caller_is_let_go(begun: bytes) -> None:
    async with streams(idle_s=0.1) as port, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        assert await reader.read() == b""
        writer.close()


async def test_a_tcp_caller_that_does_not_read_is_let_go_with_what_was_for_it() -> None:
    own = Streams(responder(500), Rates(1, FakeClock()), idle_s=0.2)
    taken = list[asyncio.StreamWriter]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)
        own.connected(reader, writer)

    loop = asyncio.get_running_loop()
    asked = QUERY.to_wire()
    async with own.conversing(), await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.setblocking(False)
            async with asyncio.timeout(LIMIT_S):
                await loop.sock_connect(caller, server.sockets[0].getsockname())
                with suppress(ConnectionError):  # it is let go meanwhile
                    while True:
                        await loop.sock_sendall(caller, (len(asked).to_bytes(2) + asked) * 100)
                (writer,) = taken
                while writer.transport.get_extra_info("socket").fileno() >= 0:  # noqa: ASYNC110 - nor has this
                    await asyncio.sleep(0.01)
        server.close()


async def test_the_end_of_it_ends_the_conversations() -> None:
    before = asyncio.all_tasks()
    async with served("127.0.0.1:0") as port, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await dns.asyncquery.tcp(QUERY, "127.0.0.1", LIMIT_S, port)
    assert asyncio.all_tasks() <= before
    async with asyncio.timeout(LIMIT_S):
        assert await reader.read() == b""
    writer.close()


class Broken(Discovery):
    """A bug."""

    @property
    def members(self) -> frozenset[Member]:
        raise RuntimeError("a bug")


async def test_an_error_in_following_does_not_pass_in_silence() -> None:
    settings, clock, was_ended = make_settings(), SystemClock(), False

    async def serve() -> None:
        nonlocal was_ended
        async with (
            Broken(settings, MemoryBucket(FakeClock()), clock=clock) as discovery,
            serving("127.0.0.1:0", Running(settings, discovery, clock, lambda: None)),
        ):
            try:
                async with asyncio.timeout(LIMIT_S):
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                was_ended = True
                raise

    with pytest.raises(ExceptionGroup) as caught:
        await serve()
    assert was_ended
    assert caught.group_contains(RuntimeError, match="a bug")
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling(), "whoever caught the error goes on as if nobody had wanted its end"


async def test_errors_of_what_is_done_within_stay_what_they_are() -> None:
    with pytest.raises(ServerError, match="of another"):
        async with served("127.0.0.1:0"):
            raise ServerError("of another")
