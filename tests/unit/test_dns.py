"""DNS without sockets: what the zone holds, and what every kind of question is answered."""

import ipaddress
import random
import re
import struct
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from s3discovery.dns.responder import PLAIN_LIMIT_BYTES, Crowd, Responder
from s3discovery.dns.zone import Node, Zone, fit_to_publish, label_of

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


def code_of(asked: bytes) -> int:
    answer = responder(Zone(NAME, nodes(1))).answer(asked)
    assert answer is not None
    return int.from_bytes(answer[2:4]) & 0xF


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
        "cluster_id",
        [
            *("rabbit@host", "Node", "ü", "a.b", "-a", "a" * 64, "n--x", "a\\000", "*", ""),
            *("ns", "hostmaster", "_tcp", "_cluster"),
        ],
    )
    def test_an_id_that_is_no_label_or_taken_gets_a_digest(self, cluster_id: str) -> None:
        label = label_of(cluster_id)
        assert label.startswith("n--")
        assert label != label_of(cluster_id + "2")
        assert texts(ask(Zone(NAME, [Node(cluster_id, 1, (V4,))]), f"{label}.{NAME}")) == {"10.0.0.1"}

    def test_the_names_on_the_page_are_right(self) -> None:
        page = Path(__file__).parents[2] / "docs" / "how-to" / "hivemq.md"
        table = page.read_text(encoding="utf-8").partition("| its name in DNS |")[2].partition("\n\n")[0]
        found = re.findall(r"^\| `(.+?)` \| `(.+?)`", table, re.MULTILINE)
        assert len(found) == 6
        assert {cluster_id: label_of(cluster_id) for cluster_id, _ in found} == dict(found)

    def test_who_listens_elsewhere_is_in_srv_alone(self) -> None:
        zone = Zone(NAME, [*nodes(2), Node("odd", 7801, (V4,))])
        assert zone.odd == ("odd",)
        assert "10.0.0.1" not in texts(ask(zone))
        assert f"0 0 7801 odd.{NAME}" in texts(ask(zone, kind="SRV"))

    def test_addresses_stand_for_the_port_of_who_asks_whatever_most_have(self) -> None:
        # An upgrade that moves the port, or forged files.
        zone = Zone(
            NAME, [Node("own", 7800, (V4,)), *(replace(node, port=1) for node in nodes(3))], port=7800
        )
        assert texts(ask(zone)) == {"10.0.0.1"}
        assert (zone.port, zone.odd) == (7800, ("n0", "n1", "n2"))
        assert len(texts(ask(zone, kind="SRV"))) == 4

    def test_of_ports_that_as_many_have_an_observer_takes_the_lowest(self) -> None:
        zone = Zone(NAME, [Node("a", 7801, (V4,)), Node("b", 7800, (V6,))])
        assert (zone.port, zone.odd) == (7800, ("a",))

    def test_a_name_between_the_zone_and_its_records_exists(self) -> None:
        for name in (f"_tcp.{NAME}", f"ns.{NAME}", f"_cluster._tcp.{NAME}"):
            answer = ask(Zone(NAME), name)
            assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])

    def test_two_nodes_at_one_address_are_one_record(self) -> None:
        answer = ask(Zone(NAME, [Node("a", 7800, (V4,)), Node("b", 7800, (V4,))]))
        assert [len(rrset) for rrset in answer.answer] == [1]

    def test_what_nobody_can_dial_is_not_published(self) -> None:
        found = [
            ipaddress.ip_address(text) for text in ("0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "fe80::1")
        ]
        reserved = [ipaddress.ip_address(text) for text in ("255.255.255.255", "240.0.0.1", "0.1.2.3", "1::")]
        assert fit_to_publish([*found, *reserved, V4], with_loopback=False) == (V4,)
        assert fit_to_publish(found, with_loopback=True) == (ipaddress.ip_address("127.0.0.1"),)
        assert fit_to_publish([ipaddress.ip_address("::1")], with_loopback=True)

    def test_ipv4_within_ipv6_is_judged_and_published_as_ipv4(self) -> None:
        found = [
            ipaddress.ip_address(f"::ffff:{text}") for text in ("127.0.0.1", "255.255.255.255", "10.0.0.1")
        ]
        assert fit_to_publish([*found, V4], with_loopback=False) == (V4,)

    def test_an_interface_of_another_machine_is_not_published(self) -> None:
        assert fit_to_publish([ipaddress.ip_address("2001:db8::1%eth0")], with_loopback=False) == (V6,)

    def test_a_node_without_an_address_is_nowhere(self) -> None:
        zone = Zone(NAME, [Node("a", 7800, (V4,)), Node("b", 7801, ()), Node("c", 7801, ())])
        assert texts(ask(zone, kind="SRV")) == {f"0 0 7800 a.{NAME}"}
        assert texts(ask(zone)) == {"10.0.0.1"}
        assert zone.odd == ()


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

    def test_who_is_left_out_changes(self) -> None:
        own, seen = responder(Zone(NAME, nodes(500))), set[str]()
        for _ in range(30):
            answer = texts(ask(own))
            assert len(answer) == 253
            seen |= answer
        assert len(seen) == 500

    def test_all_orders_are_possible(self) -> None:
        own = responder(Zone(NAME, nodes(3)))
        orders = {tuple(record.to_text() for record in ask(own).answer[0]) for _ in range(100)}
        assert len(orders) == 6

    @pytest.mark.parametrize("flag", [0, dns.flags.RD])
    def test_whether_recursion_was_desired_is_said_back(self, flag: int) -> None:
        query = dns.message.make_query(NAME, "A", flags=flag)
        answer = responder(Zone(NAME, nodes(1))).answer(query.to_wire())
        assert answer is not None
        assert dns.message.from_wire(answer).flags & dns.flags.RD == flag

    @pytest.mark.parametrize(
        ("class_", "expected"),
        [("IN", dns.rcode.NOERROR), ("ANY", dns.rcode.NOERROR), ("CH", dns.rcode.REFUSED)],
    )
    def test_only_the_internet_is_spoken_of(self, class_: str, expected: int) -> None:
        query = dns.message.make_query(NAME, "A", class_)
        answer = responder(Zone(NAME, nodes(1))).answer(query.to_wire())
        assert answer is not None
        assert dns.message.from_wire(answer).rcode() == expected

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

    def test_any_is_answered_by_records_of_one_type(self) -> None:
        zone = Zone(NAME, [Node("a", 7800, (V4, V6))])
        for name, kind in ((NAME, "A"), (f"_cluster._tcp.{NAME}", "SRV"), ("1.0.0.10.in-addr.arpa.", "PTR")):
            (rrset,) = ask(zone, name, "ANY").answer
            assert rrset.rdtype.name == kind
        assert ask(Zone(NAME), kind="ANY").answer[0].rdtype == RdataType.SOA
        assert ask(zone, f"ns.{NAME}", "ANY").answer == []

    @pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
    @pytest.mark.parametrize("over_tcp", [False, True])
    def test_the_zone_is_not_transferred(self, kind: str, over_tcp: bool) -> None:
        query = dns.message.make_query(NAME, kind)
        answer = responder(Zone(NAME, nodes(1))).answer(query.to_wire(), over_tcp=over_tcp)
        assert answer is not None
        assert dns.message.from_wire(answer, one_rr_per_rrset=True).rcode() == dns.rcode.REFUSED

    def test_nothing_names_the_zone_whatever_was_asked(self) -> None:
        deep = ".".join(["a" * 60] * 3) + f".{NAME}"
        for name, kind in ((NAME, "TXT"), (deep.upper(), "A"), ("1.0.0.10.in-addr.arpa.", "A")):
            answer = ask(Zone(NAME, [Node("a", 7800, (V4,))], serial=9), name, kind, edns_bytes=512)
            (soa,) = answer.authority
            assert soa.name == dns.name.from_text(NAME)
            assert soa[0].to_text().lower() == f"ns.{NAME} hostmaster.{NAME} 9 60 10 86400 0"
        (soa,) = ask(Zone(NAME, serial=9), kind="SOA").answer
        assert soa[0].to_text() == f"ns.{NAME} hostmaster.{NAME} 9 60 10 86400 0"
        assert texts(ask(Zone(NAME), kind="NS")) == {f"ns.{NAME}"}

    @pytest.mark.parametrize("wants_dnssec", [False, True])
    def test_edns_is_answered_by_edns(self, wants_dnssec: bool) -> None:
        for name in (NAME, f"nobody.{NAME}", "example.com."):
            query = dns.message.make_query(name, "A", use_edns=0, payload=1232, want_dnssec=wants_dnssec)
            answer = responder(Zone(NAME, nodes(1))).answer(query.to_wire())
            assert answer is not None
            message = dns.message.from_wire(answer)
            assert (message.edns, message.payload) == (0, 4096)
            assert bool(message.ednsflags & dns.flags.DO) is wants_dnssec
        assert ask(Zone(NAME, nodes(1))).edns == -1

    def test_other_opcodes_are_not_known(self) -> None:
        zone = Zone(NAME, nodes(1))
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
        opt = 0 if edns_bytes is None else 11
        assert limit - 16 < len(answer) <= limit
        assert (len(answer) - 12 - len(NAME) - 1 - 4 - opt) % 16 == 0
        assert dns.message.from_wire(answer).flags & dns.flags.TC

    @pytest.mark.parametrize(
        ("count", "max_udp_bytes", "expected"),
        [
            (253, 4096, []),
            (254, 4096, [Crowd(RdataType.A, 254, 253, 4096)]),
            (75, 1232, [Crowd(RdataType.A, 75, 74, 1232)]),
            (0, 512, []),
        ],
    )
    def test_it_is_known_what_a_datagram_does_not_hold(
        self, count: int, max_udp_bytes: int, expected: list[Crowd]
    ) -> None:
        own = responder(Zone(NAME, nodes(count)), max_udp_bytes=max_udp_bytes)
        assert own.crowds() == expected
        for crowd in expected:
            assert len(ask(own).answer[0]) == crowd.fit

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

    @pytest.mark.parametrize("place", [0, 4, 12, 19])
    def test_a_name_that_points_elsewhere_is_damaged(self, place: int) -> None:
        header = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)
        asked = header + b"\x07cluster\x0bs3discovery" + bytes((0xC0, place)) + b"\0\x01\0\x01"
        assert code_of(asked) == code_of(asked + bytes(300)) == dns.rcode.FORMERR

    def test_what_takes_long_to_read_is_not_read(self) -> None:
        name = b"\x07cluster\x0bs3discovery\0"
        record = name + struct.pack("!HHIH", 1, 1, 0, 4) + bytes(4)
        for count, expected in ((8, dns.rcode.NOERROR), (9, dns.rcode.FORMERR)):
            asked = struct.pack("!6H", 7, 0, 1, 0, 0, count) + name + b"\0\x01\0\x01" + record * count
            assert code_of(asked) == expected
        whole = dns.message.make_query(NAME, "A").to_wire()
        assert code_of(whole + bytes(1232 - len(whole))) == dns.rcode.NOERROR
        assert code_of(whole + bytes(1233 - len(whole))) == dns.rcode.FORMERR

    def test_options_that_end_too_soon_are_damaged(self) -> None:
        whole = dns.message.make_query(NAME, "A", use_edns=0).to_wire()
        assert code_of(whole) == dns.rcode.NOERROR
        assert code_of(whole[:-1]) == code_of(whole[:-1] + b"\1") == dns.rcode.FORMERR

    @pytest.mark.parametrize("count", [0, 2, 65535])
    def test_not_one_question_is_damaged(self, count: int) -> None:
        question = b"\x07cluster\x0bs3discovery\0\0\x01\0\x01"
        assert code_of(struct.pack("!6H", 7, 0, count, 0, 0, 0) + question * 2) == dns.rcode.FORMERR

    def test_an_answer_is_not_answered(self) -> None:
        own = responder(Zone(NAME, nodes(1)))
        answer = own.answer(dns.message.make_query(NAME, "A").to_wire())
        assert answer is not None
        assert own.answer(answer) is None
