"""The responder at its sockets: UDP and TCP, in step with discovery.

Host names of members are looked up after each listing, so that answers come from memory alone. Who asks too
often is dropped, loopback excepted: an answer to a forged address would be an attack on its owner.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import cast

from s3discovery.clock import Clock
from s3discovery.config import Settings
from s3discovery.discovery import Discovery
from s3discovery.dns.responder import TCP_LIMIT_BYTES, Responder
from s3discovery.dns.zone import IP, Node, Zone, fit_to_publish
from s3discovery.errors import ServerError
from s3discovery.names import Names
from s3discovery.node import Member
from s3discovery.running import Running

log = logging.getLogger(__name__)

# The time to the next listing, but not more: a newcomer may make us look sooner.
_TTL_LIMIT_S = 5.0
_TCP_IDLE_S = 10.0
_TCP_CONNECTIONS = 64
_CALLERS_LIMIT = 10_000  # addresses whose rate is remembered
_BURST_S = 2.0  # a caller may ask what it is allowed in so long at once


class Rates:
    """A token bucket a caller; IPv6 callers by /64, which one machine commonly has to itself."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._callers: dict[object, tuple[float, float]] = {}

    def allows(self, caller: str) -> bool:
        """Tell whether this question may be answered."""
        try:
            ip = ipaddress.ip_address(caller.partition("%")[0])
        except ValueError:
            return False
        if ip.is_loopback:
            return True
        key: object = ip if ip.version == 4 else int(ip) >> 64
        now_s = self._clock.monotonic_s()
        tokens, at_s = self._callers.get(key, (self._per_s * _BURST_S, now_s))
        tokens = min(self._per_s * _BURST_S, tokens + (now_s - at_s) * self._per_s)
        if len(self._callers) >= _CALLERS_LIMIT and key not in self._callers:
            self._callers.clear()
        self._callers[key] = (max(0.0, tokens - 1), now_s)
        return tokens >= 1


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder, rates: Rates) -> None:
        self._responder = responder
        self._rates = rates
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, caller: tuple[str | object, int]) -> None:
        if self._transport is None or not self._rates.allows(str(caller[0])):
            return
        answer = self._responder.answer(data)
        if answer is not None:
            self._transport.sendto(answer, caller)


class Streams:
    """Questions over TCP, each with its length before it (RFC 1035, 4.2.2)."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the caller has no more questions, or is silent for long."""
        if self._open >= _TCP_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(_TCP_IDLE_S):
                        length = int.from_bytes(await reader.readexactly(2))
                        answer = self._responder.answer(await reader.readexactly(length), over_tcp=True)
                        if answer is None:
                            break
                        writer.write(len(answer).to_bytes(2) + answer)
                        await writer.drain()
        finally:
            self._open -= 1
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
            lambda: _Datagrams(responder, Rates(settings.dns_rate, clock)), local_addr=(host, port)
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
        nodes = await _look_up(names, discovery.members, known)
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


async def _look_up(
    names: Names, members: Iterable[Member], known: Mapping[str, tuple[IP, ...]]
) -> list[Node]:
    """Return the members with their addresses; whose name is not found just now keeps those `known`."""

    async def find(member: Member) -> Node:
        try:
            addresses: tuple[IP, ...] = (member.address.ip,)
        except ValueError:
            addresses = ()
            if member.address.is_dialable:
                addresses = known.get(member.cluster_id, ())
                with suppress(OSError, TimeoutError):
                    found = await names.find(member.address.host)
                    addresses = tuple(ipaddress.ip_address(text.partition("%")[0]) for text in found)
        return Node(member.cluster_id, member.address.port, addresses)

    return list(await asyncio.gather(*(find(member) for member in members)))
