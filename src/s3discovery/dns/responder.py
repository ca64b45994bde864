"""From a question's bytes to an answer's: pure but for the dice. Whatever arrives, it never raises.

dnspython reads the question; the answer is put together here, from records that the zone holds as bytes.
So every answer is cheap, whatever is varied in the question, and none has to be kept.
"""

import random
import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
from dns.opcode import Opcode
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from s3discovery.dns.zone import Records, Zone, wire_of

PLAIN_LIMIT_BYTES = 512  # RFC 1035: what every client without EDNS must take
TCP_LIMIT_BYTES = 65_535
_HEADER_BYTES = 12
_TYPE_AND_CLASS_BYTES = 4  # of a question, behind its name
_RECORD_HEAD_BYTES = 10  # a pointer to the name, type, class, TTL
# Reading a question costs time with its length and its records; honest ones have one or two beside it.
_ASKED_LIMIT_BYTES = 1232
_ASKED_RECORDS_LIMIT = 8
_POINTER = 0xC000
_TO_QUESTION = (_POINTER | _HEADER_BYTES).to_bytes(2)
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0400, 0x0200, 0x0100
_OPCODE = 0x7800
_OPT_BEGINS = b"\0" + RdataType.OPT.to_bytes(2)  # the root's name, and the type
_OPT_BYTES = 11  # without options
_TRANSFERS = frozenset({RdataType.AXFR, RdataType.IXFR})
_FOR_ANY = (RdataType.A, RdataType.AAAA, RdataType.PTR, RdataType.SRV, RdataType.SOA)


@dataclass(frozen=True, slots=True)
class _Query:
    """A question, and what came beside it: the version of EDNS (-1: none), what size it says the asker
    takes, and whether it wants DNSSEC."""

    name: dns.name.Name
    kind: int
    class_: int
    edns: int = -1
    payload_bytes: int = 0
    wants_dnssec: bool = False


@dataclass(frozen=True, slots=True)
class Crowd:
    """More addresses of one kind at the zone's name than `fit` into a datagram of `limit_bytes`."""

    kind: RdataType
    addresses: int
    fit: int
    limit_bytes: int


class Responder:
    """Answers for one zone, which may be replaced at any time.

    `max_udp_bytes` is the largest datagram; clients that state what they take (EDNS) get no more than that.
    `ttl_s` gives the time to live of an answer of now."""

    def __init__(
        self, zone: Zone, *, max_udp_bytes: int, ttl_s: Callable[[], int], dice: random.Random | None = None
    ) -> None:
        self._zone = zone
        self._max_udp_bytes = max_udp_bytes
        self._ttl_s = ttl_s
        self._dice = dice or random.Random()  # noqa: S311 - shuffles, no secrets

    @property
    def zone(self) -> Zone:
        return self._zone

    def replace(self, zone: Zone) -> None:
        """Answer for `zone` from now on."""
        self._zone = zone

    def crowds(self) -> list[Crowd]:
        """Return what a client that does not say what it takes never gets in one answer by UDP."""
        limit, origin = self._max_udp_bytes, self._zone.origin
        room = limit - _HEADER_BYTES - len(wire_of(origin)) - _TYPE_AND_CLASS_BYTES
        records, crowds = self._zone.find(origin) or {}, list[Crowd]()
        for kind in (RdataType.A, RdataType.AAAA):
            found = records.get(kind, ())
            fit = room // (_RECORD_HEAD_BYTES + len(found[0])) if found else 0
            if fit < len(found):
                crowds.append(Crowd(kind, len(found), fit, limit))
        return crowds

    def answer(self, asked: bytes, *, over_tcp: bool = False) -> bytes | None:
        """Return the answer to a message; None for what no answer is due to (an answer, or no DNS)."""
        if len(asked) < _HEADER_BYTES or asked[2] & 0x80:
            return None
        if int.from_bytes(asked[2:4]) & _OPCODE != Opcode.QUERY:
            return _head(asked, Rcode.NOTIMP)
        question = _question_of(asked)
        if question is None or sum(struct.unpack_from("!3H", asked, 6)) > _ASKED_RECORDS_LIMIT:
            return _head(asked, Rcode.FORMERR)
        if len(asked) > _ASKED_LIMIT_BYTES:
            return _head(asked, Rcode.FORMERR)
        try:
            query = _read(asked, question)
        except (dns.exception.DNSException, ValueError, struct.error):
            return _head(asked, Rcode.FORMERR)
        return self._reply(query, asked, question, over_tcp=over_tcp)

    def come_by_tcp(self, asked: bytes) -> bytes | None:
        """Return what tells the asker to come back over TCP, never longer than what was asked; None if that
        is no question. The owner of a forged address gets no more than the forger sent."""
        if len(asked) < _HEADER_BYTES or int.from_bytes(asked[2:4]) & (_RESPONSE | _OPCODE):
            return None
        question = _question_of(asked)
        return None if question is None else _head(asked, Rcode.NOERROR, _TRUNCATED, (1, 0, 0, 0)) + question

    def _reply(self, query: _Query, asked: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        opt = self._opt(query) if query.edns >= 0 else b""
        additional = 1 if opt else 0
        code, records = self._judge(query)
        if records is None:
            return _head(asked, code, 0, (1, 0, 0, additional)) + question + opt
        kind, found = _chosen(records, query.kind)
        if not found:
            counts = (1, 0, 1, additional)
            return (
                _head(asked, code, _AUTHORITATIVE, counts) + question + self._soa(query.name, question) + opt
            )
        limit = TCP_LIMIT_BYTES if over_tcp else self._limit(query)
        body, count = self._fill(kind, found, limit - _HEADER_BYTES - len(question) - len(opt))
        flags = _AUTHORITATIVE | (_TRUNCATED if count < len(found) else 0)
        return _head(asked, code, flags, (1, count, 0, additional)) + question + body + opt

    def _judge(self, query: _Query) -> tuple[Rcode, Records | None]:
        """Return the code of the answer, and what there is at the name; None if nothing is said of it."""
        if query.edns > 0:
            return Rcode.NOERROR, None  # the OPT record says what is wrong
        is_internet = query.class_ in (dns.rdataclass.IN, dns.rdataclass.ANY)
        if query.kind in _TRANSFERS or not is_internet or not self._zone.holds(query.name):
            return Rcode.REFUSED, None
        if not self._zone.is_known:
            return Rcode.SERVFAIL, None
        records = self._zone.find(query.name)
        return (Rcode.NXDOMAIN, {}) if records is None else (Rcode.NOERROR, records)

    def _limit(self, query: _Query) -> int:
        stated = max(PLAIN_LIMIT_BYTES, query.payload_bytes) if query.edns == 0 else self._max_udp_bytes
        return min(stated, self._max_udp_bytes)

    def _fill(self, kind: int, found: tuple[bytes, ...], limit: int) -> tuple[bytes, int]:
        """Return as many records as `limit` bytes hold, chosen and ordered by chance, and their number."""
        # No Python code a record: of 500 records, most of the time would go there.
        numbers = memoryview(self._dice.randbytes(4 * len(found))).cast("I")
        shuffled = sorted(found, key=dict(zip(found, numbers, strict=True)).__getitem__)
        sizes = list(accumulate(map(_RECORD_HEAD_BYTES.__add__, map(len, shuffled))))
        count = bisect_right(sizes, limit)
        head = _record_head(_TO_QUESTION, kind, self._ttl_s())
        return head.join([b"", *shuffled[:count]]), count

    def _soa(self, name: dns.name.Name, question: bytes) -> bytes:
        """Return the record that says how long nothing is to be taken for granted; it names the zone by a
        pointer into the question, or to itself where that is about another zone."""
        origin = wire_of(self._zone.origin)
        if name.is_subdomain(self._zone.origin):
            place = _HEADER_BYTES + len(question) - _TYPE_AND_CLASS_BYTES - len(origin)
            owner = (_POINTER | place).to_bytes(2)
        else:
            place, owner = _HEADER_BYTES + len(question), origin
        data = self._zone.soa((_POINTER | place).to_bytes(2))
        return _record_head(owner, RdataType.SOA, self._ttl_s()) + data

    def _opt(self, query: _Query) -> bytes:
        extended = Rcode.BADVERS >> 4 if query.edns > 0 else 0
        flags = dns.flags.DO if query.wants_dnssec else 0
        return struct.pack("!BHHBBHH", 0, RdataType.OPT, self._max_udp_bytes, extended, 0, flags, 0)


def _chosen(records: Records, kind: int) -> tuple[int, tuple[bytes, ...]]:
    """Return the records to answer with; to ANY those of one type (RFC 8482, 4.1)."""
    if kind == RdataType.ANY:
        kind = next((each for each in _FOR_ANY if each in records), kind)
    return kind, records.get(kind, ())


def _read(asked: bytes, question: bytes) -> _Query:
    """Read a question. By hand what nearly all are: alone, or with an OPT record; it takes a third of the
    time. Raises DNSException and what it is made of, if damaged."""
    kind, class_ = struct.unpack_from("!HH", question, len(question) - _TYPE_AND_CLASS_BYTES)
    behind = _HEADER_BYTES + len(question)
    others = asked[6:_HEADER_BYTES]
    if others == bytes(6):
        return _Query(dns.name.from_wire(asked, _HEADER_BYTES)[0], kind, class_)
    if others == b"\0\0\0\0\0\1" and asked[behind : behind + 3] == _OPT_BEGINS:
        payload_bytes, _, edns, flags, length = struct.unpack_from("!HBBHH", asked, behind + 3)
        if behind + _OPT_BYTES + length > len(asked):
            raise dns.exception.FormError
        name = dns.name.from_wire(asked, _HEADER_BYTES)[0]
        return _Query(name, kind, class_, edns, payload_bytes, bool(flags & dns.flags.DO))
    message = dns.message.from_wire(asked, ignore_trailing=True)
    name, wants_dnssec = message.question[0].name, bool(message.ednsflags & dns.flags.DO)
    return _Query(name, kind, class_, message.edns, message.payload, wants_dnssec)


def _question_of(asked: bytes) -> bytes | None:
    """Return the one question as it was spelled; None unless there is one, its name in full.

    Before a first name there is nothing that it could point to."""
    if asked[4:6] != b"\x00\x01":
        return None
    place = _HEADER_BYTES
    while place < len(asked) and asked[place]:
        if asked[place] & 0xC0:
            return None
        place += 1 + asked[place]
    end = place + 5
    return asked[_HEADER_BYTES:end] if end <= len(asked) else None


def _head(
    asked: bytes, code: Rcode, more_flags: int = 0, counts: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> bytes:
    """Return a header; as it is, without anything behind it, a refusal that is shorter than any question."""
    flags = _RESPONSE | int.from_bytes(asked[2:4]) & (_OPCODE | _RECURSION_DESIRED) | more_flags | code
    return asked[:2] + struct.pack("!5H", flags, *counts)


def _record_head(owner: bytes, kind: int, ttl_s: int) -> bytes:
    return owner + struct.pack("!HHI", kind, dns.rdataclass.IN, ttl_s)
