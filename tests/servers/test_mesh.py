"""The mesh on real sockets: who gets in, what arrives, what is counted."""

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import psutil
import pytest
import zmq
from zmq.utils import z85

from s3discovery.errors import BrokerError
from s3discovery.mesh import Mesh, MeshCounts, Message, wire
from s3discovery.mesh.link import KeyPair, Limits
from s3discovery.mesh.wire import Frame
from s3discovery.network.names import FindAddresses, Found, Names
from s3discovery.node import Address, Member

HOST = "127.0.0.1"


@dataclass
class Node:
    """A mesh and what it has delivered."""

    name: str
    mesh: Mesh
    delivered: list[Message] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)

    @property
    def member(self) -> Member:
        return Member(self.name, Address(HOST, self.mesh.port), self.mesh.metadata)

    @property
    def counts(self) -> MeshCounts:
        return self.mesh.counts


@asynccontextmanager
async def running(
    name: str,
    *,
    host: str = HOST,
    port: int = 0,
    limits: Limits | None = None,
    look: Callable[[], None] = lambda: None,
    find: FindAddresses | None = None,
) -> AsyncIterator[Node]:
    delivered: list[Message] = []
    looks: list[float] = []

    async def deliver(message: Message) -> None:
        delivered.append(message)

    def look_now() -> None:
        looks.append(time.monotonic())
        look()

    async with Mesh(host, port, deliver, look_now, limits, find) as mesh:
        yield Node(name, mesh, delivered, looks)


async def until(condition: Callable[[], object], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nothing signals most of what is waited for
            await asyncio.sleep(0.005)


async def join(*nodes: Node) -> None:
    for node in nodes:
        node.mesh.apply(frozenset(other.member for other in nodes if other is not node))
    await until(lambda: all(len(node.mesh.established()) == len(nodes) - 1 for node in nodes))


class Intruder:
    """A DEALER socket of our own, with whatever keys."""

    def __init__(self, node: Node, keys: KeyPair | None) -> None:
        self.context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.handshake_ivl = 1000
        if keys is not None:
            self.socket.curve_publickey = keys.public
            self.socket.curve_secretkey = keys.secret
            self.socket.curve_serverkey = bytes.fromhex(node.mesh.metadata["curve"])
        self.socket.connect(f"tcp://{HOST}:{node.mesh.port}")

    def send(self, frame: Frame | bytes) -> None:
        self.socket.send(wire.encode(frame) if isinstance(frame, Frame) else frame, zmq.NOBLOCK)

    def heard(self) -> list[bytes]:
        found = []
        while self.socket.poll(0):
            found.append(self.socket.recv())
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()


def member_with(keys: KeyPair, name: str = "x") -> Member:
    return Member(name, Address(HOST, 9), {"curve": keys.public_hex})


def numbered(count: int, qos: int = 1) -> list[Message]:
    return [Message(f"t/{number % 7}", str(number).encode(), qos) for number in range(count)]


async def test_messages_of_each_reach_all_others_once_and_in_order() -> None:
    async with running("a") as a, running("b") as b, running("c") as c:
        await join(a, b, c)
        said = {
            node.name: [Message(f"from/{node.name}", b"%d" % n, n % 3) for n in range(2000)]
            for node in (a, b, c)
        }
        for messages in zip(*said.values(), strict=True):
            for node, message in zip((a, b, c), messages, strict=True):
                node.mesh.publish(message)
        await until(lambda: all(len(node.delivered) >= 4000 for node in (a, b, c)))
        await until(lambda: all(node.counts.unconfirmed == 0 for node in (a, b, c)))
        for node in (a, b, c):
            for other in (a, b, c):
                got = [message for message in node.delivered if message.topic == f"from/{other.name}"]
                assert got == ([] if other is node else said[other.name])
            assert (node.counts.sent, node.counts.confirmed, node.counts.received) == (4000, 4000, 4000)
            assert (node.counts.lost, node.counts.dropped, node.counts.refused) == (0, 0, 0)


async def test_payloads_arrive_byte_for_byte() -> None:
    messages = [
        Message("binary/é/漢", bytes(range(256)), 2, retain=True),
        Message("empty", b"", 0),
        Message("large", os.urandom(1_000_000), 1),
        Message("larger", os.urandom(20_000_000), 2),
        Message("t" * 65_535, b"x" * 200_000, 0),
        Message("end", b"", 0),
    ]
    async with running("a") as a, running("b") as b:
        await join(a, b)
        for message in messages:
            a.mesh.publish(message)
        await until(lambda: len(b.delivered) == len(messages))
        assert b.delivered == messages
        await until(lambda: a.counts.unconfirmed == 0)
        assert (b.counts.lost, b.counts.garbled) == (0, 0)


async def test_topics_of_the_broker_itself_stay_at_home() -> None:
    async with running("a") as a, running("b") as b:
        await join(a, b)
        a.mesh.publish(Message("$SYS/broker/uptime", b"1", 0))
        a.mesh.publish(Message("t", b"2", 0))
        await until(lambda: b.delivered)
        assert b.delivered == [Message("t", b"2", 0)]
        assert (a.counts.sent, a.counts.dropped) == (1, 0)


@pytest.mark.parametrize("keys", [None, KeyPair.new()], ids=["no CURVE", "a key of nobody"])
async def test_a_stranger_gets_nothing_and_nothing_in(
    keys: KeyPair | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with running("a") as a, running("b") as b:
        await join(a, b)
        with Intruder(b, keys) as intruder:
            intruder.send(Frame(wire.HELLO, 1, 0, a.mesh.metadata["curve"]))
            intruder.send(Frame(wire.PUBLISH, 1, 1, a.mesh.metadata["curve"], Message("t", b"evil", 0)))
            a.mesh.publish(Message("t", b"good", 0))
            if keys is not None:
                await until(lambda: b.counts.strangers >= 2)  # it has been told no, and tried again
                assert "mesh.stranger" in caplog.text
                assert len(b.looks) >= 2
            else:
                await asyncio.sleep(1.5)  # there is no event for a connection that libzmq itself refuses
            assert intruder.heard() == []
        assert b.delivered == [Message("t", b"good", 0)]


async def test_a_stranger_with_the_name_of_a_member_gets_nothing() -> None:
    """Who takes a member's id, but has not its secret key, is nobody."""
    async with running("a") as a, running("b") as b:
        await join(a, b)
        thief = KeyPair(z85.encode(bytes.fromhex(a.mesh.metadata["curve"])), KeyPair.new().secret)
        with Intruder(b, thief) as intruder:
            intruder.send(Frame(wire.PUBLISH, 9, 1, a.mesh.metadata["curve"], Message("t", b"evil", 0)))
            await asyncio.sleep(1.5)  # as above: nothing tells that nothing happens
            assert intruder.heard() == []
        assert b.delivered == []


async def test_a_newcomer_is_in_as_soon_as_its_key_is_known() -> None:
    """Its handshake is held while the bucket is looked at; nobody waits for a poll."""
    async with running("new") as new:

        def look() -> None:
            asyncio.get_running_loop().call_later(0.3, lambda: old.mesh.apply(frozenset({new.member})))

        async with running("old", look=look) as old:
            begun_s = time.monotonic()
            new.mesh.apply(frozenset({old.member}))
            new.mesh.publish(Message("t", b"hello", 1))
            await until(lambda: old.delivered and old.mesh.established() and new.mesh.established(), 1)
            assert time.monotonic() - begun_s < 1
            assert old.looks
            assert old.counts.strangers == 0
            old.mesh.publish(Message("t", b"welcome", 1))
            await until(lambda: new.delivered)


async def test_a_newcomer_known_late_gets_in_at_its_next_try() -> None:
    async with running("new") as new, running("old") as old:
        new.mesh.apply(frozenset({old.member}))
        await until(lambda: old.counts.strangers)
        old.mesh.apply(frozenset({new.member}))
        await until(new.mesh.established, 3)


async def test_a_peer_that_comes_back_with_a_new_key_is_taken_in() -> None:
    async with running("a") as a:
        async with running("b") as b:
            await join(a, b)
            old = b.member
        a.mesh.publish(Message("t", b"into the void", 0))
        async with running("b") as b:
            assert b.member != old
            await join(a, b)
            a.mesh.publish(Message("t", b"to the new one", 0))
            b.mesh.publish(Message("t", b"from the new one", 0))
            await until(lambda: a.delivered and b.delivered)
            assert [message.payload for message in b.delivered] == [b"to the new one"]
            assert (a.counts.abandoned, a.counts.sent, a.counts.lost) == (1, 2, 0)


async def test_a_peer_that_is_away_costs_little_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as nobody:  # bound, not listening: every dial is refused
        nobody.bind((HOST, 0))
        away = Member("away", Address(HOST, nobody.getsockname()[1]), {"curve": KeyPair.new().public_hex})
        async with running("a", limits=Limits(messages=100)) as a:
            a.mesh.apply(frozenset({away}))
            for message in numbered(250):
                a.mesh.publish(message)
            assert (a.counts.unconfirmed, a.counts.dropped) == (100, 150)
            assert a.mesh.established() == frozenset()
            begun = time.process_time()
            await asyncio.sleep(2)
            assert time.process_time() - begun < 0.3
            a.mesh.apply(frozenset())
            assert (a.counts.unconfirmed, a.counts.abandoned, a.counts.dropped) == (0, 100, 150)
    assert "mesh.closed peer='away' abandoned=100" in caplog.text
    assert "mesh.dropped count=1 " in caplog.text
    assert caplog.text.count("mesh.dropped") <= 2


async def test_bytes_are_bounded_too() -> None:
    async with running("a", limits=Limits(bytes=10_000)) as a:
        a.mesh.apply(frozenset({member_with(KeyPair.new())}))
        for _ in range(3):
            a.mesh.publish(Message("t", b"x" * 4000, 0))
        assert (a.counts.unconfirmed, a.counts.dropped) == (2, 1)


async def test_a_peer_that_was_away_gets_what_waited() -> None:
    async with running("a") as a, running("b") as b:
        port = b.mesh.port
        late = Member("b", Address(HOST, port), b.mesh.metadata)
        a.mesh.apply(frozenset({late}))  # b does not know a yet: its gate holds the door
        for message in numbered(50):
            a.mesh.publish(message)
        await until(lambda: b.counts.strangers)
        assert b.delivered == []
        b.mesh.apply(frozenset({a.member}))
        await until(lambda: len(b.delivered) == 50)
        await until(lambda: a.counts.unconfirmed == 0)
        assert b.delivered == numbered(50)


class Wire:
    """A TCP relay to `port` that can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self.cut()
        await until(lambda: not self._writers)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        both = {writer, far_writer}
        self._writers |= both

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(4096):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass
            for each in both:
                each.transport.abort()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        self._writers -= both


async def test_what_a_cut_wire_loses_is_counted_to_the_message(caplog: pytest.LogCaptureFixture) -> None:
    count = 6000
    payload = b"x" * 2000
    async with running("a") as a, running("b") as b, Wire(b.mesh.port) as relay:
        b.mesh.apply(frozenset({a.member}))
        a.mesh.apply(frozenset({Member("b", Address(HOST, relay.port), b.mesh.metadata)}))
        await until(a.mesh.established)
        for number in range(count):
            a.mesh.publish(Message("t", b"%d " % number + payload, 1))
            if number in (1500, 3000, count - 1):
                relay.cut()
            if number % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: a.counts.unconfirmed == 0, 20)
        assert b.counts.received + b.counts.lost == a.counts.sent == count
        assert b.counts.lost > 0
        await until(lambda: "mesh.lost" in caplog.text)
        numbers = [int(message.payload.split()[0]) for message in b.delivered]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == b.counts.received


async def test_a_member_that_was_removed_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as a, running("b") as b:
        await join(a, b)
        a.mesh.publish(Message("t", b"1", 0))
        await until(lambda: b.delivered)
        b.mesh.apply(frozenset())
        a.mesh.publish(Message("t", b"2", 0))
        await until(lambda: b.counts.refused)
        assert b.delivered == [Message("t", b"1", 0)]
        await until(lambda: "mesh.refused" in caplog.text)
        b.mesh.apply(frozenset({a.member}))
        a.mesh.publish(Message("t", b"3", 0))
        await until(lambda: len(b.delivered) == 2)
        assert b.delivered[-1].payload == b"3"
        assert b.counts.lost == 1


async def test_garbage_from_a_member_is_counted_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    keys = KeyPair.new()
    good = Message("t", b"good", 1)
    async with running("b") as b:
        b.mesh.apply(frozenset({member_with(keys)}))
        with Intruder(b, keys) as intruder:
            for garbage in (
                b"",
                b"\x01",
                b"\xff" * 100,
                os.urandom(5000),
                wire.encode(Frame(wire.PUBLISH, 1, 1, "somebody else", good)),
                wire.encode(Frame(77, 1, 1, keys.public_hex)),
                wire.encode(Frame(wire.ACK, 1, 1, keys.public_hex)),
                b"\x09 of another release",
                b"\x09 of another release",
            ):
                intruder.send(garbage)
            intruder.socket.send_multipart([b"in", b"parts"])
            intruder.send(Frame(wire.PUBLISH, 1, 1, keys.public_hex, good))
            intruder.send(Frame(wire.PUBLISH, 1, 1, keys.public_hex, good))
            intruder.send(Frame(wire.PUBLISH, 1, 4, keys.public_hex, good))
            intruder.send(Frame(wire.HELLO, 1, 6, keys.public_hex))
            await until(lambda: b.counts.lost == 4)
            await until(intruder.heard)
        assert b.delivered == [good, good]
        assert (b.counts.garbled, b.counts.duplicates, b.counts.received) == (10, 1, 2)
    assert caplog.text.count("mesh.version") <= 2  # os.urandom may be of yet another version
    assert "mesh.garbled" in caplog.text
    assert "mesh.lost count=" in caplog.text


async def test_a_large_message_of_which_a_part_is_missing_is_lost_alone() -> None:
    keys = KeyPair.new()
    large = Frame(wire.PUBLISH, 1, 1, keys.public_hex, Message("t", b"x" * 1_000_000, 1))
    good = Message("t", b"good", 1)
    first, second, *_ = wire.cut(wire.encode(large))
    async with running("b") as b:
        b.mesh.apply(frozenset({member_with(keys)}))
        with Intruder(b, keys) as intruder:
            intruder.send(first)
            intruder.send(Frame(wire.PUBLISH, 1, 2, keys.public_hex, good))
            intruder.send(second)
            await until(lambda: b.counts.garbled)
        assert b.delivered == [good]
        assert (b.counts.lost, b.counts.garbled, b.counts.duplicates) == (1, 1, 0)


async def test_false_acks_confirm_nothing() -> None:
    """A peer that acknowledges what was never sent, or other links, is not believed."""
    keys = KeyPair.new()
    context = zmq.Context()
    server = context.socket(zmq.ROUTER)
    server.linger = 0
    server.curve_server = True
    server.curve_secretkey = keys.secret
    port = server.bind_to_random_port(f"tcp://{HOST}")
    try:
        async with running("a") as a:
            a.mesh.apply(frozenset({Member("x", Address(HOST, port), {"curve": keys.public_hex})}))
            for message in numbered(3):
                a.mesh.publish(message)
            await until(lambda: server.poll(0))
            route = server.recv_multipart()[0]
            server.send_multipart([route, wire.encode(Frame(wire.ACK, 1, 0, "x"))])
            await until(a.mesh.established)
            for ack in (
                Frame(wire.ACK, 1, 99, "x"),
                Frame(wire.ACK, 5, 3, "x"),
                Frame(wire.HELLO, 1, 3, "x"),
            ):
                server.send_multipart([route, wire.encode(ack)])
            server.send_multipart([route, b"garbage"])
            await until(lambda: a.counts.garbled == 4)
            assert (a.counts.confirmed, a.counts.unconfirmed) == (0, 3)
            server.send_multipart([route, wire.encode(Frame(wire.ACK, 1, 2, "x"))])
            server.send_multipart([route, wire.encode(Frame(wire.ACK, 1, 1, "x"))])
            await until(lambda: a.counts.confirmed == 2)
            assert a.mesh.established() == {"x"}
    finally:
        server.close()
        context.term()


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


async def test_strangers_cannot_fill_the_memory() -> None:
    """A caller that says only that it speaks CURVE may send one short command, and that soon."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    size = 60 * 2**20
    async with running("a") as a, AsyncExitStack() as stack:
        calls = []
        for _ in range(8):
            reader, writer = await asyncio.open_connection(HOST, a.mesh.port)
            stack.callback(writer.transport.abort)
            writer.write(greeting)
            await reader.readexactly(len(greeting))
            calls.append((reader, writer))
        before, most, idle = resident_bytes(), 0, calls.pop()
        garbage = b"x" * 2**18

        async def pour(writer: asyncio.StreamWriter) -> None:
            nonlocal most
            writer.write(b"\x06" + size.to_bytes(8, "big"))
            try:
                for _ in range(size // len(garbage)):
                    writer.write(garbage)
                    await writer.drain()
                    most = max(most, resident_bytes())
            except ConnectionError:
                return

        await asyncio.gather(*(pour(writer) for _, writer in calls))
        assert most - before < 40 * 2**20
        async with asyncio.timeout(5):
            assert await idle[0].read() == b""  # who says nothing more is let go


async def test_a_member_with_our_own_key_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """A changed cluster-id leaves the old file behind: it is no other node."""
    async with running("a") as a, running("b") as b:
        await join(a, b)
        for _ in range(3):
            a.mesh.apply(frozenset({b.member, replace(a.member, cluster_id="old")}))
        a.mesh.publish(Message("t", b"", 0))
        await until(lambda: b.delivered)
        b.mesh.publish(Message("t", b"", 0))
        await until(lambda: a.delivered)
        assert (a.counts.sent, len(a.delivered)) == (1, 1)
        assert a.mesh.skipped == {"old"}
    assert caplog.text.count("mesh.skipped") == 1
    assert "peer='old' reason=its key is this node's own" in caplog.text


async def test_messages_for_a_peer_that_no_link_can_be_opened_to_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: "zmq.Socket[bytes]", endpoint: str) -> None:
        raise zmq.ZMQError(errno.EMFILE)

    async with running("a") as a:
        with monkeypatch.context() as patch:
            patch.setattr(zmq.Socket, "connect", refuse)
            a.mesh.apply(frozenset({member_with(KeyPair.new())}))
        a.mesh.publish(Message("t", b"", 0))
        a.mesh.publish(Message("$SYS/x", b"", 0))
        assert (a.counts.sent, a.counts.dropped) == (0, 1)
        a.mesh.apply(frozenset())
        a.mesh.publish(Message("t", b"", 0))
        assert a.counts.dropped == 1


async def test_a_member_that_is_no_peer_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as a, running("b") as b:
        odd = frozenset(
            {
                Member("hivemq", Address("10.0.0.9", 7800)),
                Member("odd\u202e", Address(HOST, 7800), {"curve": "zz"}),
                Member("path", Address("a/../b", 7800), {"curve": "0" * 64}),
            }
        )
        b.mesh.apply(frozenset({a.member}))
        for _ in range(3):
            a.mesh.apply(odd | {b.member})
        await until(lambda: a.mesh.established() == {"b"})
        assert a.mesh.skipped == {member.cluster_id for member in odd}
        assert caplog.text.count("mesh.skipped") == 3
        assert "\u202e" not in caplog.text


async def test_an_idle_mesh_idles() -> None:
    async with running("a") as a, running("b") as b:
        await join(a, b)
        b.mesh.stop_listening()  # and a socket that nobody reads must not keep anybody awake
        a.mesh.publish(Message("t", b"", 0))
        begun = time.process_time()
        await asyncio.sleep(1.5)
        assert time.process_time() - begun < 0.3


async def test_a_peer_that_changes_its_id_keeps_its_links(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running("a") as a, running("b") as b:
        await join(a, b)
        renamed = replace(b.member, cluster_id="new", modified_s=2.0)
        for seen in ({b.member, renamed}, {renamed}):
            a.mesh.apply(frozenset(seen))
            assert a.mesh.established() == {"new"}
            a.mesh.publish(Message("t", b"to b", 0))
            b.mesh.publish(Message("t", b"from b", 0))
        await until(lambda: len(a.delivered) == len(b.delivered) == 2)
        assert caplog.text.count("mesh.connecting") == 2
        assert "mesh.skipped peer='b' reason=its key is that of 'new'" in caplog.text
        assert (a.counts.abandoned, b.counts.garbled) == (0, 0)


async def test_applying_twice_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running("a") as a, running("b") as b:
        await join(a, b)
        links = caplog.text.count("mesh.connecting")
        moved = Member("b", b.member.address, {**b.member.metadata, "agent": "2"}, written_ms=5)
        a.mesh.apply(frozenset({moved}))
        assert caplog.text.count("mesh.connecting") == links == 2


async def test_what_is_sent_last_is_confirmed_before_leaving(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running("b") as b:
        async with running("a") as a:
            await join(a, b)
            for message in numbered(1500):
                a.mesh.publish(message)
        assert b.delivered == numbered(1500)
        assert a.counts.unconfirmed == a.counts.abandoned == 0
        a.mesh.publish(Message("t", b"too late", 0))
        assert a.counts.sent == 1500


async def test_leaving_makes_the_peers_look_at_once() -> None:
    async with running("b") as b:
        async with running("a") as a:
            await join(a, b)
            looks = len(b.looks)
        await until(lambda: len(b.looks) > looks, within_s=2)


async def test_leaving_does_not_wait_long_for_a_peer_that_is_silent() -> None:
    async with running("b") as b, running("a") as a:
        await join(a, b)
        b.mesh.stop_listening()
        a.mesh.publish(Message("t", b"x", 0))
        begun_s = time.monotonic()
        await a.mesh.__aexit__(None, None, None)
        assert 0.9 < time.monotonic() - begun_s < 2.5
        assert a.counts.abandoned == 1


async def test_a_port_in_use_is_an_error_with_a_cure() -> None:
    async with running("a") as a:
        with pytest.raises(BrokerError, match=f"{HOST}:{a.mesh.port}.*bind-port"):
            async with running("b", port=a.mesh.port):
                pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "\n"])
async def test_an_address_that_is_not_ours_is_an_error(host: str) -> None:
    async def deliver(message: Message) -> None: ...

    with pytest.raises(BrokerError, match="bind-address"):
        async with Mesh(host, 0, deliver, lambda: None):
            pass


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "localhost"])
async def test_any_way_to_say_where_listens_for_loopback(host: str | None) -> None:
    async def deliver(message: Message) -> None: ...

    async with Mesh(host, 0, deliver, lambda: None) as mesh:
        _, writer = await asyncio.open_connection(HOST, mesh.port)
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def needs_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")


@pytest.mark.usefixtures("needs_ipv6")
async def test_peers_meet_over_ipv6() -> None:
    async with running("a", host="::1") as a, running("b", host="[::1]") as b:
        b.mesh.apply(frozenset({replace(a.member, address=Address("::1", a.mesh.port))}))
        a.mesh.apply(frozenset({replace(b.member, address=Address("[::1]", b.mesh.port))}))
        await until(lambda: a.mesh.established() and b.mesh.established())


class Directory:
    """Names and their addresses, to be changed; a name that is not in it gets no answer at all."""

    def __init__(self, **names: Found) -> None:
        self.names = names
        self.asked: list[str] = []

    async def find(self, host: str) -> Found:
        self.asked.append(host)
        if host not in self.names:
            await asyncio.Event().wait()
        if not self.names[host]:
            raise OSError(f"{host} is not known")
        return self.names[host]


def named(node: Node, host: str) -> Member:
    return replace(node.member, address=Address(host, node.mesh.port))


@pytest.mark.usefixtures("needs_ipv6")
async def test_a_name_of_either_family_is_dialled() -> None:
    directory = Directory(four=(HOST,), six=("::1",), both=("::1", HOST))
    async with running("a", find=directory.find) as a, running("b", host="::1") as b, running("c") as c:
        for node in (b, c):
            node.mesh.apply(frozenset({a.member}))
        a.mesh.apply(frozenset({named(b, "six"), named(c, "four")}))
        await until(lambda: a.mesh.established() == {"b", "c"})
        a.mesh.apply(frozenset({named(c, "both")}))  # where nobody listens at the first of its addresses
        await until(lambda: a.mesh.established() == {"c"})


async def test_a_dead_name_delays_nobody() -> None:
    directory = Directory()
    async with running("a", find=directory.find) as a, running("b") as b:
        await join(a, b)
        dead = [
            Member(
                f"dead-{number}", Address(f"dead-{number}.example", 7800), member_with(KeyPair.new()).metadata
            )
            for number in range(20)
        ]
        a.mesh.apply(frozenset({b.member, *dead}))
        await until(lambda: len(directory.asked) == 20)
        for _ in range(20):
            b.delivered.clear()
            a.mesh.publish(Message("t", b"", 0))
            await until(lambda: b.delivered, within_s=0.5)
        await until(lambda: a.counts.unconfirmed == 20 * 20)
        assert (a.counts.sent, a.counts.dropped) == (20 * 21, 0)
        a.mesh.apply(frozenset({b.member}))
        assert a.counts.abandoned == 20 * 20


async def test_zeromq_itself_never_looks_a_name_up(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []
    connect = zmq.Socket.connect

    def spy(self: "zmq.Socket[bytes]", endpoint: str) -> object:
        dialled.append(endpoint)
        return connect(self, endpoint)

    monkeypatch.setattr(zmq.Socket, "connect", spy)
    async with running("a") as a, running("b") as b:
        b.mesh.apply(frozenset({a.member}))
        a.mesh.apply(frozenset({named(b, "localhost")}))
        await until(lambda: len(dialled) >= 2)
        assert not any("localhost" in endpoint for endpoint in dialled)


async def test_what_is_published_before_a_name_is_known_waits_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = Directory(b=())
    async with running("a", find=directory.find) as a, running("b") as b:
        b.mesh.apply(frozenset({a.member}))
        a.mesh.apply(frozenset({named(b, "b")}))
        for message in numbered(50):
            a.mesh.publish(message)
        await until(lambda: "error=b is not known" in caplog.text)
        assert (a.counts.unconfirmed, a.counts.dropped) == (50, 0)
        directory.names["b"] = (HOST,)
        await until(lambda: len(b.delivered) == 50)
        assert b.delivered == numbered(50)
        assert (b.counts.lost, b.counts.duplicates) == (0, 0)


async def test_a_peer_that_has_moved_is_found_and_nothing_is_lost() -> None:
    """A name may lead to where the peer was before for some time yet."""
    directory = Directory(b=("127.0.0.9",))
    async with running("a", find=directory.find) as a, running("b") as b:
        b.mesh.apply(frozenset({a.member}))
        a.mesh.apply(frozenset({named(b, "b")}))
        await until(lambda: directory.asked)
        for message in numbered(50):
            a.mesh.publish(message)
        directory.names["b"] = (HOST,)
        await until(lambda: len(b.delivered) == 50)
        await until(lambda: a.counts.unconfirmed == 0)
        assert b.delivered == numbered(50)
        assert (b.counts.lost, b.counts.duplicates, a.counts.abandoned) == (0, 0, 0)


async def test_names_are_looked_up_for_real() -> None:
    assert HOST in await Names().find("localhost")
    for host in ("no-such-host.invalid", "a" * 64 + ".example"):
        with pytest.raises(OSError, match=r"."):
            await Names().find(host)


async def test_an_error_of_the_caller_stays_what_it_is() -> None:
    with pytest.raises(KeyError):
        async with running("a"):
            raise KeyError("of the caller")


async def test_a_failure_inside_ends_the_caller() -> None:
    async def deliver(message: Message) -> None:
        raise RuntimeError("a bug")

    async def talk(a: Node) -> None:
        async with Mesh(HOST, 0, deliver, lambda: None) as b:
            b.apply(frozenset({a.member}))
            a.mesh.apply(frozenset({Member("b", Address(HOST, b.port), b.metadata)}))
            a.mesh.publish(Message("t", b"", 0))
            await asyncio.sleep(10)

    async with running("a") as a:
        with pytest.raises(ExceptionGroup) as failure:
            await talk(a)
        assert failure.group_contains(RuntimeError, match="a bug")


async def test_the_secret_key_is_never_shown() -> None:
    keys = KeyPair.new()
    assert keys.secret.decode() not in repr(keys)
    assert keys.public_hex in repr(keys)
