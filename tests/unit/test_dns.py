"""DNS without sockets: what the zone holds, and what every kind of question is answered."""

import ipaddress
import random

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from s3discovery.dns.responder import PLAIN_LIMIT_BYTES, Responder
from s3discovery.dns.serving import Rates
from s3discovery.dns.zone import Node, Zone, fit_to_publish, label_of
from s3discovery.testing import FakeClock

NAME = "cluster.s3discovery."
V4 = ipaddress.ip_address("10.0.0.1")
V6 = ipaddress.ip_address("2001:db8::1")


def nodes(count: int) -> list[Node]:
    first = int(ipaddress.ip_address("10.1.0.0"))
    return [Node(f"n{place}", 7800, (ipaddress.ip_address(first + place),)) for place in range(count)]


def responder(zone: Zone, *, max_udp_bytes: int = 4096, seed: int = 1) -> Responder:
    return Responder(zone, max_udp_bytes=max_udp_bytes, ttl_s=lambda: 7, dice=random.Random(seed))


def ask(
    zone: Zone | Responder,
    name: str = NAME,
    kind: str = "A",
    *,
    edns_bytes: int | None = None,
    over_tcp: bool = False,
) -> dns.message.Message:
    query = dns.message.make_query(
        name, kind, use_edns=False if edns_bytes is None else 0, payload=edns_bytes
    )
    own = zone if isinstance(zone, Responder) else responder(zone)
    answer = own.answer(query.to_wire(), over_tcp=over_tcp)
    assert answer is not None
    message = dns.message.from_wire(answer)
    assert query.is_response(message)
    return message


def texts(message: dns.message.Message) -> set[str]:
    return {record.to_text() for rrset in message.answer for record in rrset}


class TestZone:
    def test_all_nodes_are_at_its_name(self) -> None:
        zone = Zone(NAME, [Node("a", 7800, (V4,)), Node("b", 7800, (V6,))])
        assert texts(ask(zone)) == {"10.0.0.1"}
        assert texts(ask(zone, kind="AAAA")) == {"2001:db8::1"}
        srv = {f"0 0 7800 a.{NAME}", f"0 0 7800 b.{NAME}"}
        assert texts(ask(zone, kind="SRV")) == srv
        assert texts(ask(zone, f"_cluster._tcp.{NAME}", "SRV")) == srv

    def test_each_node_has_a_name_and_a_way_back(self) -> None:
        zone = Zone(NAME, [Node("node-1", 7800, (V4, V6))])
        assert texts(ask(zone, f"node-1.{NAME}")) == {"10.0.0.1"}
        assert texts(ask(zone, f"node-1.{NAME}", "AAAA")) == {"2001:db8::1"}
        assert texts(ask(zone, "1.0.0.10.in-addr.arpa.", "PTR")) == {f"node-1.{NAME}"}

    @pytest.mark.parametrize(
        "cluster_id", ["rabbit@host", "Node", "ü", "a.b", "-a", "a" * 64, "n--x", "a\\000", "*", ""]
    )
    def test_an_id_that_is_no_label_gets_a_digest(self, cluster_id: str) -> None:
        label = label_of(cluster_id)
        assert label.startswith("n--")
        assert label != label_of(cluster_id + "2")
        assert texts(ask(Zone(NAME, [Node(cluster_id, 1, (V4,))]), f"{label}.{NAME}")) == {"10.0.0.1"}

    def test_who_listens_elsewhere_is_in_srv_alone(self) -> None:
        zone = Zone(NAME, [*nodes(2), Node("odd", 7801, (V4,))])
        assert zone.odd == ("odd",)
        assert "10.0.0.1" not in texts(ask(zone))
        assert f"0 0 7801 odd.{NAME}" in texts(ask(zone, kind="SRV"))

    def test_two_nodes_at_one_address_are_one_record(self) -> None:
        answer = ask(Zone(NAME, [Node("a", 7800, (V4,)), Node("b", 7800, (V4,))]))
        assert [len(rrset) for rrset in answer.answer] == [1]

    def test_what_nobody_can_dial_is_not_published(self) -> None:
        found = [
            ipaddress.ip_address(text) for text in ("0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "fe80::1")
        ]
        assert fit_to_publish([*found, V4], with_loopback=False) == (V4,)
        assert fit_to_publish(found, with_loopback=True) == (ipaddress.ip_address("127.0.0.1"),)


class TestAnswers:
    def test_ours_is_authoritative_and_short_lived(self) -> None:
        answer = ask(Zone(NAME, nodes(3)))
        assert answer.flags & dns.flags.AA
        assert answer.answer[0].ttl == 7

    def test_no_ipv6_is_an_empty_answer_at_once(self) -> None:
        answer = ask(Zone(NAME, nodes(3)), kind="AAAA")
        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
        assert answer.authority[0].rdtype == RdataType.SOA

    def test_nobody_there_is_an_empty_answer(self) -> None:
        answer = ask(Zone(NAME))
        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])

    def test_nothing_known_yet_is_a_failure(self) -> None:
        assert ask(Zone(NAME, is_known=False)).rcode() == dns.rcode.SERVFAIL

    def test_a_name_of_nobody_does_not_exist(self) -> None:
        answer = ask(Zone(NAME, nodes(1)), f"nobody.{NAME}")
        assert answer.rcode() == dns.rcode.NXDOMAIN
        assert answer.authority[0].rdtype == RdataType.SOA

    @pytest.mark.parametrize(
        "name", ["example.com.", ".", "s3discovery.", f"{NAME}example.com.", "9.0.0.10.in-addr.arpa."]
    )
    def test_all_else_is_refused(self, name: str) -> None:
        assert ask(Zone(NAME, nodes(1)), name).rcode() == dns.rcode.REFUSED

    def test_answers_are_shuffled(self) -> None:
        own = responder(Zone(NAME, nodes(20)))
        firsts = {next(iter(ask(own).answer[0])).to_text() for _ in range(40)}
        assert len(firsts) > 3

    def test_spelling_and_id_are_the_askers(self) -> None:
        own = responder(Zone(NAME, nodes(2)))
        for spelled in ("ClUsTeR.s3DiScOvErY.", NAME, NAME.upper()) * 5:
            query = dns.message.make_query(spelled, "A", use_edns=False)
            answer = own.answer(query.to_wire())
            assert answer is not None
            assert dns.message.from_wire(answer).question[0].name.to_text() == spelled
            assert answer[:2] == query.id.to_bytes(2)

    def test_a_new_zone_is_told_at_once(self) -> None:
        own = responder(Zone(NAME, nodes(1)))
        for _ in range(20):
            ask(own)
        own.replace(Zone(NAME, [Node("b", 7800, (V4,))]))
        assert texts(ask(own)) == {"10.0.0.1"}

    def test_any_and_other_opcodes(self) -> None:
        zone = Zone(NAME, nodes(1))
        assert "10.1.0.0" in texts(ask(zone, kind="ANY"))
        query = dns.message.make_query(NAME, "SOA")
        query.set_opcode(dns.opcode.NOTIFY)
        answer = responder(zone).answer(query.to_wire())
        assert answer is not None
        assert dns.message.from_wire(answer).rcode() == dns.rcode.NOTIMP

    def test_an_unknown_version_of_edns_is_named(self) -> None:
        query = dns.message.make_query(NAME, "A", use_edns=3)
        answer = responder(Zone(NAME, nodes(1))).answer(query.to_wire())
        assert answer is not None
        assert dns.message.from_wire(answer).rcode() == dns.rcode.BADVERS


class TestSize:
    """HiveMQ takes 4096 bytes without saying so, and does not come back over TCP when told to."""

    def test_what_fits_is_not_truncated(self) -> None:
        answer = ask(Zone(NAME, nodes(250)))
        assert not answer.flags & dns.flags.TC
        assert len(answer.answer[0]) == 250

    @pytest.mark.parametrize(
        ("max_udp_bytes", "edns_bytes", "limit"),
        [(4096, None, 4096), (512, None, 512), (4096, 1232, 1232), (4096, 100, 512), (1232, 65535, 1232)],
    )
    def test_no_datagram_is_larger_than_allowed(
        self, max_udp_bytes: int, edns_bytes: int | None, limit: int
    ) -> None:
        own = responder(Zone(NAME, nodes(500)), max_udp_bytes=max_udp_bytes)
        query = dns.message.make_query(
            NAME, "A", use_edns=False if edns_bytes is None else 0, payload=edns_bytes
        )
        answer = own.answer(query.to_wire())
        assert answer is not None
        assert limit - 40 <= len(answer) <= limit
        assert dns.message.from_wire(answer).flags & dns.flags.TC

    def test_over_tcp_all_of_them_come(self) -> None:
        answer = ask(Zone(NAME, nodes(500)), over_tcp=True)
        assert not answer.flags & dns.flags.TC
        assert len(answer.answer[0]) == 500


class TestGarbage:
    @given(st.binary(max_size=600))
    def test_anything_is_survived(self, data: bytes) -> None:
        answer = responder(Zone(NAME, nodes(3))).answer(data)
        assert answer is None or len(answer) <= 4096

    def test_damaged_questions_are_answered_shortly_or_not_at_all(self) -> None:
        own, dice = responder(Zone(NAME, nodes(3))), random.Random(7)
        whole = dns.message.make_query(NAME, "A").to_wire()
        for _ in range(10_000):
            data = bytearray(whole)
            for _ in range(dice.randint(1, 6)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            answer = own.answer(bytes(data[: dice.randint(0, len(data))]))
            assert answer is None or len(answer) <= PLAIN_LIMIT_BYTES

    def test_an_answer_is_not_answered(self) -> None:
        own = responder(Zone(NAME, nodes(1)))
        answer = own.answer(dns.message.make_query(NAME, "A").to_wire())
        assert answer is not None
        assert own.answer(answer) is None


class TestRates:
    async def test_who_asks_too_often_waits(self) -> None:
        clock = FakeClock()
        rates = Rates(10, clock)
        assert sum(rates.allows("192.0.2.1") for _ in range(100)) == 20
        assert rates.allows("192.0.2.2")
        await clock.advance(1)
        assert sum(rates.allows("192.0.2.1") for _ in range(100)) == 10

    def test_a_network_of_ipv6_is_one_caller(self) -> None:
        rates = Rates(1, FakeClock())
        assert sum(rates.allows(f"2001:db8::{place:x}") for place in range(50)) == 2

    def test_this_machine_may_ask_as_often_as_it_likes(self) -> None:
        rates = Rates(1, FakeClock())
        assert all(rates.allows(caller) for caller in ["127.0.0.1", "::1"] * 50)

    def test_no_address_is_not_answered(self) -> None:
        assert not Rates(1, FakeClock()).allows("nonsense")
