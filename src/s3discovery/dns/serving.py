"""The responder at its sockets: UDP and TCP, in step with discovery.

Host names of members are looked up beside, so that answers come from memory alone. Who asks too often by UDP
is told to come by TCP, loopback excepted: more, sent to a forged address, would be an attack on its owner.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from s3discovery.dns.datagrams import Datagrams
from s3discovery.dns.following import Following, time_to_live_s
from s3discovery.dns.listening import open_pairs
from s3discovery.dns.rates import Rates
from s3discovery.dns.responder import Responder
from s3discovery.dns.streams import READ_LIMIT_BYTES, Streams
from s3discovery.dns.zone import Zone
from s3discovery.errors import ServerError
from s3discovery.network.binding import cure_of
from s3discovery.node import Address
from s3discovery.running import Running

log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(listen: str, running: Running) -> AsyncIterator[tuple[str, int]]:
    """Answer at `listen` (host:port) while entered; yields host and port. Raises ServerError."""
    settings, discovery, clock = running.settings, running.discovery, running.clock

    def ttl_s() -> int:
        return time_to_live_s(
            listed_s=discovery.status.listed_s,
            poll_interval_s=discovery.settings.poll_interval_s,
            now_s=clock.monotonic_s(),
        )

    responder = Responder(
        Zone(settings.dns_name, is_known=False), max_udp_bytes=settings.dns_max_udp, ttl_s=ttl_s
    )
    async with AsyncExitStack() as stack:
        host, port = await _open(stack, responder, running, listen)
        await stack.enter_async_context(_beside(Following(discovery, responder, clock).run()))
        log.info("dns serves name=%s listen=%s", settings.dns_name, Address(host, port))
        yield host, port


async def _open(
    stack: AsyncExitStack, responder: Responder, running: Running, listen: str
) -> tuple[str, int]:
    """Answer at `listen` until `stack` is left; return host and port. Raises ServerError."""
    rate, clock = running.settings.dns_rate, running.clock
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        pairs = await open_pairs(host, int(port))
    except OSError as error:
        cure = cure_of(error, address_key="dns-listen", port_key="dns-listen")
        raise ServerError(f"no DNS at {listen}: {cure}") from error
    for pair in pairs:
        for each in pair:
            stack.callback(each.close)
    # Each has its own: a forger who uses up what an address may ask by UDP must not close TCP to it as well.
    datagrams, streams = Datagrams(responder, Rates(rate, clock)), Streams(responder, Rates(rate, clock))
    await stack.enter_async_context(streams.conversing())
    for tcp, udp in pairs:
        server = await asyncio.start_server(streams.connected, sock=tcp, limit=READ_LIMIT_BYTES)
        stack.callback(server.close)
        stack.enter_context(datagrams.at(udp))
    return host, int(pairs[0][0].getsockname()[1])


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do `work` while entered. If it fails, what is done within is cancelled, and the error raised: answers
    that nothing keeps up to date any more must not go on in silence.

    A TaskGroup would wrap the errors of what is done within."""
    within = asyncio.current_task()
    is_cancelled = False

    def ended(task: asyncio.Task[None]) -> None:
        nonlocal is_cancelled
        if not task.cancelled() and within is not None:
            is_cancelled = within.cancel()

    task = asyncio.create_task(work, name="dns")
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.remove_done_callback(ended)
        task.cancel()
        if is_cancelled and within is not None:
            within.uncancel()
        with suppress(asyncio.CancelledError):
            await task
