"""What one caller of DNS may take: questions a second, connections, and turns."""

import asyncio
import ipaddress
from typing import cast

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3discovery.dns.datagrams import Datagrams
from s3discovery.dns.rates import Rates
from s3discovery.dns.responder import Responder
from s3discovery.dns.streams import Streams
from s3discovery.dns.zone import Node, Zone
from s3discovery.testing import FakeClock

NAME = "cluster.s3discovery."
FIRST = int(ipaddress.ip_address("10.1.0.0"))
REMOTE = "192.0.2.1"
LIMIT_S = 10.0
ASKED = dns.message.make_query(NAME, "A", use_edns=0, payload=4096).to_wire()


def responder() -> Responder:
    nodes = [Node(f"n{place}", 7800, (ipaddress.ip_address(FIRST + place),)) for place in range(3)]
    return Responder(Zone(NAME, nodes), max_udp_bytes=4096, ttl_s=lambda: 7)


class Hand(FakeClock):
    """A clock set by hand, thousands of times."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


class TestRates:
    async def test_who_asks_too_often_waits(self) -> None:
        clock = FakeClock()
        rates = Rates(10, clock)
        assert sum(rates.allows(REMOTE) for _ in range(100)) == 20
        assert rates.allows("192.0.2.2")
        await clock.advance(1)
        assert sum(rates.allows(REMOTE) for _ in range(100)) == 10

    @pytest.mark.parametrize("asked_per_s", [201, 220, 1000])
    def test_who_steadily_asks_too_often_gets_what_is_allowed(self, asked_per_s: int) -> None:
        clock = Hand()
        rates = Rates(200, clock)
        while rates.allows(REMOTE):
            pass
        answered = 0
        for place in range(asked_per_s * 3):
            clock.now_s = place / asked_per_s
            answered += rates.allows(REMOTE)
        assert 590 <= answered <= 600

    def test_a_network_of_ipv6_is_one_caller(self) -> None:
        rates = Rates(1, FakeClock())
        assert sum(rates.allows(f"2001:db8::{place:x}") for place in range(50)) == 2

    def test_machines_on_one_link_are_callers_each(self) -> None:
        rates = Rates(1, FakeClock())
        assert sum(rates.allows("fe80::1%eth0") for _ in range(9)) == 2
        assert rates.allows("fe80::2")

    def test_this_machine_may_ask_as_often_as_it_likes(self) -> None:
        rates = Rates(1, FakeClock())
        assert all(rates.allows(caller) for caller in ["127.0.0.1", "::1"] * 50)

    def test_no_address_is_not_answered(self) -> None:
        assert not Rates(1, FakeClock()).allows("nonsense")

    def test_ipv4_within_ipv6_is_the_same_caller(self) -> None:
        rates = Rates(1, FakeClock())
        assert sum(rates.allows(caller) for caller in [REMOTE, f"::ffff:{REMOTE}"] * 9) == 2
        assert sum(rates.allows(f"::ffff:192.0.2.{place}") for place in range(2, 50)) == 48
        assert all(rates.allows("::ffff:127.0.0.1") for _ in range(50))

    def test_callers_without_number_are_forgotten(self) -> None:
        rates = Rates(1, FakeClock())
        while rates.allows(REMOTE):
            pass
        for place in range(9_999):
            rates.allows(str(ipaddress.ip_address(FIRST + place)))
        assert not rates.allows(REMOTE), "so many are remembered"
        rates.allows("192.0.2.2")
        assert rates.allows(REMOTE)


class TestDatagrams:
    def test_who_asks_too_often_is_told_to_come_by_tcp(self) -> None:
        datagrams = Datagrams(responder(), Rates(1, FakeClock()))
        found = [datagrams.answer(ASKED, REMOTE) or b"" for _ in range(5)]
        query, answers = dns.message.from_wire(ASKED), [dns.message.from_wire(answer) for answer in found]
        assert all(query.is_response(answer) for answer in answers)
        assert [bool(answer.flags & dns.flags.TC) for answer in answers] == [False] * 2 + [True] * 3
        assert answers[2].answer == []
        assert len(found[2]) <= len(ASKED)

    def test_an_answer_or_garbage_is_not_answered_even_so(self) -> None:
        datagrams = Datagrams(responder(), Rates(1, FakeClock()))
        while not dns.message.from_wire(datagrams.answer(ASKED, REMOTE) or b"").flags & dns.flags.TC:
            pass
        is_answer, is_update = b"\x80", b"\x28"
        others = (ASKED[:2] + flags + ASKED[3:] for flags in (is_answer, is_update))
        for data in (*others, ASKED[:11], ASKED[:20], b""):
            assert datagrams.answer(data, REMOTE) is None

    @given(st.binary(max_size=100))
    def test_it_is_never_longer_than_the_question(self, data: bytes) -> None:
        assert len(responder().come_by_tcp(data) or b"") <= len(data)


class Wire:
    """A connection from `peer`: what is written to it, and how it ended."""

    def __init__(self, peer: str = REMOTE) -> None:
        self.peer = peer
        self.sent: list[bytes] = []
        self.is_closed = False
        self.is_aborted = False
        self.transport = self

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return self.peer, 5353

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    async def wait_closed(self) -> None:
        pass

    @property
    def writer(self) -> asyncio.StreamWriter:
        return cast("asyncio.StreamWriter", self)


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


class TestStreams:
    async def test_one_caller_has_few_places(self) -> None:
        streams = Streams(responder(), Rates(1, FakeClock()))
        wires = [Wire() for _ in range(9)] + [Wire("192.0.2.2")]
        async with asyncio.TaskGroup() as tasks:
            readers = [asyncio.StreamReader() for _ in wires]
            for reader, wire in zip(readers, wires, strict=True):
                tasks.create_task(streams.serve(reader, wire.writer))
            await asyncio.sleep(0)
            assert [wire.is_closed for wire in wires] == [False] * 8 + [True, False]
            for reader in readers:
                reader.feed_eof()
        assert all(wire.is_closed for wire in wires)

    async def test_who_has_no_address_any_more_is_let_go(self) -> None:
        wire = Wire("")
        await Streams(responder(), Rates(1, FakeClock())).serve(asyncio.StreamReader(), wire.writer)
        assert wire.is_closed

    async def test_what_is_no_question_ends_it(self) -> None:
        wire, reader = Wire(), asyncio.StreamReader()
        reader.feed_data(framed(ASKED) + framed(b"\0" * 2 + b"\x80" + b"\0" * 9) + framed(ASKED))
        async with asyncio.timeout(LIMIT_S):
            await Streams(responder(), Rates(10, FakeClock())).serve(reader, wire.writer)
        assert (len(wire.sent), wire.is_closed) == (1, True)

    async def test_who_asks_ahead_leaves_others_their_turn(self) -> None:
        wire, reader, turns = Wire("127.0.0.1"), asyncio.StreamReader(), 0
        reader.feed_data(framed(ASKED) * 50)
        reader.feed_eof()
        serving = asyncio.create_task(Streams(responder(), Rates(1, FakeClock())).serve(reader, wire.writer))
        while not serving.done():
            await asyncio.sleep(0)
            turns += 1
            assert len(wire.sent) <= turns
        assert len(wire.sent) == 50

    async def test_a_caller_from_elsewhere_is_answered_as_often_as_is_allowed(self) -> None:
        clock, wire, reader = FakeClock(), Wire(), asyncio.StreamReader()
        reader.feed_data(framed(ASKED) * 40)
        reader.feed_eof()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Streams(responder(), Rates(10, clock)).serve(reader, wire.writer))
            await clock.settle()
            assert len(wire.sent) == 20
            await clock.advance(1.0)
            assert 29 <= len(wire.sent) <= 31
            await clock.advance(2.0)
        assert len(wire.sent) == 40

    async def test_a_conversation_ends_after_a_while(self) -> None:
        wire, reader = Wire("127.0.0.1"), asyncio.StreamReader()
        streams = Streams(responder(), Rates(1, FakeClock()), idle_s=60, life_s=0.05)
        async with asyncio.timeout(LIMIT_S):
            await streams.serve(reader, wire.writer)
        assert wire.is_closed
