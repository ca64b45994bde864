"""The responder at its sockets: UDP and TCP, in step with discovery.

Host names of members are looked up after each listing, so that answers come from memory alone. Who asks too
often by UDP is told to come by TCP, loopback excepted: more, sent to a forged address, would be an attack on
its owner.
"""

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol, cast

from s3discovery.clock import Clock
from s3discovery.discovery import Discovery
from s3discovery.dns.responder import TCP_LIMIT_BYTES, Responder
from s3discovery.dns.zone import IP, Node, Zone, fit_to_publish, unmapped
from s3discovery.errors import ServerError
from s3discovery.network.names import Found, Names
from s3discovery.node import Member
from s3discovery.running import Running
from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)

# The time to the next listing, but not more: a newcomer may make us look sooner.
_TTL_LIMIT_S = 5.0
_TCP_IDLE_S = 10.0
_TCP_PLACES = 64
_TCP_PLACES_EACH = 8
_CALLERS_LIMIT = 10_000  # addresses whose rate is remembered
_BURST_S = 2.0  # a caller may ask what it is allowed in so long at once


Caller = int | str
"""Who is counted as one: an IPv4 address, or an IPv6 /64, which one machine commonly has to itself."""

_LOCAL = "loopback"


def caller_of(address: str) -> Caller | None:
    """Return who asks from an IP address; None if it is none."""
    try:
        ip = unmapped(ipaddress.ip_address(address))
    except ValueError:
        return None
    if ip.is_loopback:
        return _LOCAL
    return str(ip) if ip.version == 4 else int(ip) >> 64


class Rates:
    """A token bucket a caller; this machine may ask as often as it likes."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._callers: dict[Caller, tuple[float, float]] = {}

    def allows(self, address: str) -> bool:
        """Tell whether a question from there may be answered."""
        caller = caller_of(address)
        if caller is None or caller == _LOCAL:
            return caller == _LOCAL
        now_s = self._clock.monotonic_s()
        tokens, at_s = self._callers.get(caller, (self._per_s * _BURST_S, now_s))
        tokens = min(self._per_s * _BURST_S, tokens + (now_s - at_s) * self._per_s)
        if len(self._callers) >= _CALLERS_LIMIT and caller not in self._callers:
            self._callers.clear()
        self._callers[caller] = (max(0.0, tokens - 1), now_s)
        return tokens >= 1


class Places:
    """The connections that may be open at a time, in all and for one caller; this machine may have all."""

    def __init__(self, *, in_all: int = _TCP_PLACES, each: int = _TCP_PLACES_EACH) -> None:
        self._in_all = in_all
        self._each = each
        self._taken: Counter[Caller] = Counter()

    def take(self, caller: Caller) -> bool:
        """Take a place, to be left again; False if there is none for this caller."""
        if self._taken.total() >= self._in_all:
            return False
        if caller != _LOCAL and self._taken[caller] >= self._each:
            return False
        self._taken[caller] += 1
        return True

    def leave(self, caller: Caller) -> None:
        """Give a place back."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]


class Datagrams(asyncio.DatagramProtocol):
    """Questions over UDP, one a datagram."""

    def __init__(self, responder: Responder, rates: Rates) -> None:
        self._responder = responder
        self._rates = rates
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, caller: tuple[str | object, int]) -> None:
        is_allowed = self._rates.allows(str(caller[0]))
        answer = self._responder.answer(data) if is_allowed else self._responder.come_by_tcp(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, caller)


class Streams:
    """Questions over TCP, each with its length before it (RFC 1035, 4.2.2)."""

    def __init__(self, responder: Responder, *, idle_s: float = _TCP_IDLE_S) -> None:
        self._responder = responder
        self._idle_s = idle_s
        self._places = Places()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the caller has no more questions, or is silent for long."""
        peer = writer.get_extra_info("peername")
        caller = caller_of(str(peer[0])) if peer else None  # None: gone already
        if caller is None or not self._places.take(caller):
            writer.close()
            return
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(self._idle_s):
                        length = int.from_bytes(await reader.readexactly(2))
                        answer = self._responder.answer(await reader.readexactly(length), over_tcp=True)
                        if answer is None:
                            break
                        writer.write(len(answer).to_bytes(2) + answer)
                        await writer.drain()
        finally:
            self._places.leave(caller)
            writer.close()


@asynccontextmanager
async def serving(listen: str, running: Running) -> AsyncIterator[tuple[str, int]]:
    """Answer at `listen` (host:port) while entered; yields host and port. Raises ServerError."""
    settings, discovery, clock = running.settings, running.discovery, running.clock

    def ttl_s() -> int:
        listed_s = discovery.status.listed_s
        if listed_s is None:
            return 0
        left_s = listed_s + discovery.settings.poll_interval_s - clock.monotonic_s()
        return int(max(0.0, min(left_s, _TTL_LIMIT_S)))

    responder = Responder(
        Zone(settings.dns_name, is_known=False), max_udp_bytes=settings.dns_max_udp, ttl_s=ttl_s
    )
    host, _, port_text = listen.rpartition(":")
    host = host.strip("[]")
    loop = asyncio.get_running_loop()
    streams = Streams(responder)
    try:
        server = await asyncio.start_server(streams.serve, host, int(port_text), limit=TCP_LIMIT_BYTES)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Datagrams(responder, Rates(settings.dns_rate, clock)), local_addr=(host, port)
        )
    except OSError as error:
        raise ServerError(
            f"no DNS at {listen} ({error.strerror}); write a free port to dns-listen, and mind "
            "that port 53 needs the right CAP_NET_BIND_SERVICE"
        ) from error
    following = asyncio.create_task(_follow(settings, discovery, responder), name="dns")
    log.info("dns serves name=%s listen=%s:%d", settings.dns_name, host, port)
    try:
        yield host, port
    finally:
        following.cancel()
        transport.close()
        server.close()


async def _follow(settings: Settings, discovery: Discovery, responder: Responder) -> None:
    """Make the zone what the last complete listing says, each time there is one."""
    names, known = Names(), dict[str, tuple[IP, ...]]()
    before: list[Node] | None = None
    polls, odd = 0, tuple[str, ...]()
    while True:
        await discovery.polled(polls)
        polls = discovery.polls
        own = discovery.own
        nodes = await look_up(names, discovery.members, known)
        known = {node.cluster_id: node.addresses for node in nodes}
        with_loopback = own is not None and any(
            ip.is_loopback for node in nodes if node.cluster_id == own.cluster_id for ip in node.addresses
        )
        fit = [
            Node(node.cluster_id, node.port, fit_to_publish(node.addresses, with_loopback=with_loopback))
            for node in nodes
        ]
        if fit == before:
            continue
        before = fit
        responder.replace(Zone(settings.dns_name, fit, serial=polls))
        if responder.zone.odd != odd:
            odd = responder.zone.odd
            if odd:
                log.warning("dns leaves nodes at an unusual port to SRV cluster_ids=%r", odd)


class FindsNames(Protocol):
    """What looks a host name up, as `Names` does."""

    async def find(self, host: str) -> Found:
        """Return the IP addresses of `host`; raises OSError or TimeoutError if none is found."""
        ...


async def look_up(
    names: FindsNames, members: Iterable[Member], known: Mapping[str, tuple[IP, ...]]
) -> list[Node]:
    """Return the members with their addresses; whose name is not found just now keeps those `known`."""

    async def find(member: Member) -> Node:
        try:
            addresses: tuple[IP, ...] = (unmapped(member.address.ip),)
        except ValueError:
            addresses = ()
            if member.address.is_dialable:
                addresses = known.get(member.cluster_id, ())
                with suppress(OSError, TimeoutError):
                    found = await names.find(member.address.host)
                    addresses = tuple(unmapped(ipaddress.ip_address(text)) for text in found)
        return Node(member.cluster_id, member.address.port, addresses)

    return list(await asyncio.gather(*(find(member) for member in members)))
