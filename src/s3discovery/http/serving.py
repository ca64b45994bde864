"""The server at its port, for as long as a node runs."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from s3discovery.errors import ServerError
from s3discovery.http import page
from s3discovery.http.api import Api
from s3discovery.http.guard import guard
from s3discovery.http.token import token_of
from s3discovery.http.watching import watching
from s3discovery.running import Running

log = logging.getLogger(__name__)

_LOCAL_NAMES = frozenset({"localhost"})
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
    own_hosts = _LOCAL_NAMES | {settings.http_address}
    async with watching(running) as seen:
        app = web.Application(middlewares=[guard(token, own_hosts)], client_max_size=_REQUEST_LIMIT_BYTES)
        app.add_routes([*Api(seen, metrics).routes(), web.get("/", page.show)])
        runner = web.AppRunner(
            app, access_log=None, logger=_log_of_bugs(), handle_signals=False, shutdown_timeout=_STOP_LIMIT_S
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.http_address, port)
            await _start(site, settings.http_address, port)
            host, own_port = runner.addresses[0][:2]
            log.info("http serves url=http://%s:%d/", host, own_port)
            yield host, own_port
        finally:
            await runner.cleanup()


def _log_of_bugs() -> logging.Logger:
    """Return where aiohttp tells of errors of ours; malformed requests, which anybody may send, are none."""

    def is_ours(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

    made = logging.getLogger(f"{__name__}.requests")
    if not made.filters:
        made.addFilter(is_ours)
    return made


async def _start(site: web.TCPSite, host: str, port: int) -> None:
    try:
        await site.start()
    except OSError as error:
        raise ServerError(
            f"no HTTP at {host}:{port} ({error.strerror}); write a free port to http-port"
        ) from error
