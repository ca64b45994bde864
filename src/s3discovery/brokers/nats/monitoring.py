"""The monitoring port of nats-server, asked by HTTP."""

import asyncio
import json
from typing import Any

import aiohttp

from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.views import Json, Meta, Server, read_meta, read_names, read_server
from s3discovery.errors import BrokerError

_LIMIT_S = 5.0
_LIMIT_BYTES = 16 * 1024 * 1024


class SilentError(BrokerError):
    """Nothing answers at the monitoring port: no server yet, or none that is monitored."""


class Monitor:
    """The monitoring port of one server; every question raises BrokerError without a proper answer."""

    def __init__(self, access: Access) -> None:
        self._url = access.monitor_url
        self._access = access

    async def server(self) -> Server:
        """Return the server itself."""
        return read_server(await self._ask("/varz"))

    async def connected(self) -> frozenset[str]:
        """Return the names of the servers that it has routes with."""
        return read_names(await self._ask("/routez"))

    async def meta(self) -> Meta | None:
        """Return the meta group as it sees it; None without JetStream, and after it was removed."""
        return read_meta(await self._ask("/jsz"))

    async def _ask(self, path: str) -> Json:
        url = f"{self._url}{path}"
        tls = self._access.tls() if url.startswith("https:") else True
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LIMIT_S)) as session,
                session.get(url, ssl=tls, allow_redirects=False) as response,
            ):
                content = await _read(response)
        except aiohttp.ClientConnectorError as error:
            raise SilentError(
                f"nothing answers at nats-monitor-url {self._url}: {error.strerror or error}; is it up? "
                "write http: 127.0.0.1:8222 into nats.conf, or what it has into nats-monitor-url"
            ) from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise BrokerError(
                f"no answer from nats-monitor-url {url}: {error!r}; is it the http: of nats.conf?"
            ) from error
        return _decode(content, url)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        content += part
        if len(content) > _LIMIT_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(content)


def _decode(content: bytes, url: str) -> Json:
    try:
        said: Any = json.loads(content)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise BrokerError(f"what answers at {url} is no nats-server; write its http: into nats-monitor-url")
    return said
