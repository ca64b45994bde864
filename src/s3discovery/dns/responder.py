"""From a question's bytes to an answer's: pure but for the dice. Whatever arrives, it never raises.

Answers are rendered by dnspython, several ways shuffled, and kept until the zone or its time to live
changes: the next question of the same kind costs a copy. Nothing that was asked is kept but names of ours.
"""

import random
import struct
from collections.abc import Callable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rrset
from dns.rdatatype import RdataType

from s3discovery.dns.zone import Records, Zone

PLAIN_LIMIT_BYTES = 512  # RFC 1035: what every client without EDNS must take
TCP_LIMIT_BYTES = 65_535
_HEADER_BYTES = 12
_VARIANTS = 8  # differently shuffled answers to one question
_CACHE_LIMIT = 512
_RESPONSE, _RECURSION_DESIRED = 0x8000, 0x0100
_SHUFFLED = frozenset({RdataType.A, RdataType.AAAA, RdataType.SRV})


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
        self._kept: dict[tuple[bytes, int, int], list[bytes]] = {}
        self._kept_ttl_s = -1

    @property
    def zone(self) -> Zone:
        return self._zone

    def replace(self, zone: Zone) -> None:
        """Answer for `zone` from now on."""
        self._zone = zone
        self._kept.clear()

    def answer(self, asked: bytes, *, over_tcp: bool = False) -> bytes | None:
        """Return the answer to a message; None for what no answer is due to (an answer, or no DNS)."""
        if len(asked) < _HEADER_BYTES or asked[2] & 0x80:
            return None
        ttl_s = self._ttl_s()
        if ttl_s != self._kept_ttl_s:
            self._kept.clear()
            self._kept_ttl_s = ttl_s
        try:
            query = dns.message.from_wire(asked, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError, struct.error):
            return _refusal(asked, dns.rcode.FORMERR)
        try:
            return self._reply(query, asked, ttl_s, over_tcp=over_tcp)
        except (dns.exception.DNSException, ValueError, struct.error):
            return _refusal(asked, dns.rcode.SERVFAIL)

    def _reply(self, query: dns.message.Message, asked: bytes, ttl_s: int, *, over_tcp: bool) -> bytes:
        if query.opcode() != dns.opcode.QUERY:
            return _refusal(asked, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return _refusal(asked, dns.rcode.FORMERR)
        if query.edns > 0:
            return self._render(query, ttl_s, dns.rcode.BADVERS, {}, PLAIN_LIMIT_BYTES)
        limit = self._limit(query, over_tcp=over_tcp)
        question = query.question[0]
        if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY) or not self._zone.holds(
            question.name
        ):
            return self._render(query, ttl_s, dns.rcode.REFUSED, {}, limit)
        if not self._zone.is_known:
            return self._render(query, ttl_s, dns.rcode.SERVFAIL, {}, limit)
        records = self._zone.find(question.name)
        if records is None:
            return self._render(query, ttl_s, dns.rcode.NXDOMAIN, {}, limit)
        return self._from_kept(query, asked, ttl_s, records, limit)

    def _limit(self, query: dns.message.Message, *, over_tcp: bool) -> int:
        if over_tcp:
            return TCP_LIMIT_BYTES
        stated = max(PLAIN_LIMIT_BYTES, query.payload) if query.edns == 0 else self._max_udp_bytes
        return min(stated, self._max_udp_bytes)

    def _from_kept(
        self, query: dns.message.Message, asked: bytes, ttl_s: int, records: Records, limit: int
    ) -> bytes:
        """Return one of the answers rendered before, with this question's id, flag and spelling."""
        question = query.question[0]
        length = sum(len(label) + 1 for label in question.name.labels) + 4
        spelled = asked[_HEADER_BYTES : _HEADER_BYTES + length]
        key = (spelled.lower(), query.edns, limit)
        variants = self._kept.setdefault(key, [])
        if len(variants) < _VARIANTS:
            variants.append(self._render(query, ttl_s, dns.rcode.NOERROR, records, limit))
            chosen = variants[-1]
        else:
            chosen = self._dice.choice(variants)
        if len(self._kept) > _CACHE_LIMIT:
            self._kept.clear()
        flags = int.from_bytes(chosen[2:4]) & ~_RECURSION_DESIRED
        flags |= int.from_bytes(asked[2:4]) & _RECURSION_DESIRED
        counts, rest = chosen[4:_HEADER_BYTES], chosen[_HEADER_BYTES + length :]
        return asked[:2] + flags.to_bytes(2) + counts + spelled + rest

    def _render(
        self, query: dns.message.Message, ttl_s: int, code: dns.rcode.Rcode, records: Records, limit: int
    ) -> bytes:
        """Render an answer of at most `limit` bytes; if something does not fit, the answer says so."""
        question = query.question[0]
        found = self._chosen(records, question.rdtype)
        kept = len(found)
        while True:
            message = dns.message.make_response(query, our_payload=self._max_udp_bytes)
            message.set_rcode(code)
            if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                message.flags |= dns.flags.AA
            for record in found[:kept]:
                rrset = message.find_rrset(
                    message.answer, question.name, dns.rdataclass.IN, record.rdtype, create=True
                )
                rrset.add(record, ttl_s)
            if not found and code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                rrset = message.find_rrset(
                    message.authority, self._zone.origin, dns.rdataclass.IN, RdataType.SOA, create=True
                )
                rrset.add(self._zone.soa, ttl_s)
            if kept < len(found):
                message.flags |= dns.flags.TC
            try:
                return message.to_wire(max_size=limit)
            except dns.exception.TooBig:
                if not kept:
                    return _refusal(query.to_wire(), dns.rcode.SERVFAIL)
                size = len(message.to_wire(max_size=TCP_LIMIT_BYTES))
                kept = min(kept - 1, kept * limit // size)

    def _chosen(self, records: Records, kind: RdataType) -> Sequence[dns.rdata.Rdata]:
        found = [record for each in records.values() for record in each] if kind == RdataType.ANY else None
        chosen = list(records.get(kind, ())) if found is None else found
        if kind in _SHUFFLED:
            self._dice.shuffle(chosen)
        return chosen


def _refusal(asked: bytes, code: dns.rcode.Rcode) -> bytes:
    """Return a bare header that refuses: never longer than the question."""
    flags = _RESPONSE | int.from_bytes(asked[2:4]) & (0x7800 | _RECURSION_DESIRED) | int(code)
    return asked[:2] + flags.to_bytes(2) + bytes(8)
