"""The server at its port, for as long as a node runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from s3discovery.errors import ServerError
from s3discovery.http import page
from s3discovery.http.api import Api
from s3discovery.http.connections import BACKLOG, IDLE_S, Connection, places
from s3discovery.http.guard import guard
from s3discovery.http.token import token_of
from s3discovery.http.watching import watching
from s3discovery.network.binding import cure_of
from s3discovery.node import Address
from s3discovery.running import Running

log = logging.getLogger(__name__)

_REQUEST_LIMIT_BYTES = 4096  # nobody sends us anything
_STOP_LIMIT_S = 1.0


@asynccontextmanager
async def serving(
    port: int, running: Running, metrics: Callable[[], tuple[str, bytes]] | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve at `port` of `http-address` while entered; yields host and port.

    Raises ServerError, and SettingsError for a token file that is of no use."""
    settings = running.settings
    token = token_of(settings)
    async with watching(running) as seen:
        app = web.Application(middlewares=[guard(token)], client_max_size=_REQUEST_LIMIT_BYTES)
        app.add_routes([*Api(seen, token, metrics).routes(), web.get("/", page.show)])
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_STOP_LIMIT_S)
        await runner.setup()
        try:
            listener = await _listen(runner, settings.http_address, port)
            try:
                host, own_port = listener.sockets[0].getsockname()[:2]
                log.info("http serves url=http://%s/", Address(host, own_port))
                yield host, own_port
            finally:
                listener.close()
        finally:
            seen.end()  # or each stream would be waited for, which ends with its reader alone
            await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
    """Raises ServerError."""
    server, free, bugs = cast("web.Server", runner.server), places(), _log_of_bugs()

    def connection() -> Connection:
        return Connection(server, free, access_log=None, logger=bugs, keepalive_timeout=IDLE_S)

    try:
        return await asyncio.get_running_loop().create_server(connection, host, port, backlog=BACKLOG)
    except OSError as error:
        cure = cure_of(error, address_key="http-address", port_key="http-port")
        raise ServerError(f"no HTTP at {Address(host, port)}: {cure}") from error


def _log_of_bugs() -> logging.Logger:
    """Return where aiohttp tells of errors of ours; malformed requests, which anybody may send, are none."""

    def is_ours(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

    made = logging.getLogger(f"{__name__}.requests")
    if not made.filters:
        made.addFilter(is_ours)
    return made
