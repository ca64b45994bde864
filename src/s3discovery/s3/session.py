"""One HTTP session: aiohttp's, with our limits, and names looked up without anybody waiting."""

import socket
import ssl
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from s3discovery.network.names import Names

CONCURRENT_CALLS = 16
_CONNECT_LIMIT_S = 3.0  # so that a lost SYN leaves time for another try
_SILENCE_LIMIT_S = 5.0  # so that a lost answer does


class _Resolver(AbstractResolver):
    """Names by threads that hold up nothing when a name server does not answer."""

    def __init__(self) -> None:
        self._names = Names()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [
            (address, socket.AF_INET6 if ":" in address else socket.AF_INET)
            for address in await self._names.find(host)
        ]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
            for address, kind in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        return None


def make_session(context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """Make the session; TLS with `context`, or as the system has it. A request's `trace_request_ctx` is its
    Call, whose `sent` counts."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_count_sent)
    return aiohttp.ClientSession(
        # True: aiohttp's own context, which is there already.
        connector=aiohttp.TCPConnector(limit=CONCURRENT_CALLS, resolver=_Resolver(), ssl=context or True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_LIMIT_S, sock_read=_SILENCE_LIMIT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "s3discovery", "Accept-Encoding": "identity"},
        skip_auto_headers=("Content-Type",),
        auto_decompress=False,
        trace_configs=[trace],
    )


async def _count_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.sent += 1
