"""The node of this machine asked whether it does its work: what health checks of containers need.

The token, which opens more than this, is not sent: whoever listens at the port need not be the node, and
whoever asks need not be able to read it. Why a node is not ready, its control socket tells its own user.
"""

import asyncio
import http.client
import json

from s3discovery import control
from s3discovery.errors import ControlError, Problem, SettingsError
from s3discovery.node import Address
from s3discovery.settings.config import Settings
from s3discovery.settings.hosts import is_wildcard

_LIMIT_S = 3.0
_ANSWER_LIMIT_BYTES = 64 * 1024


def ask_readiness(settings: Settings) -> tuple[bool, str]:
    """Return whether the node at `http-port` is ready, and why not.

    Raises ControlError if none answers there, SettingsError if no port is set."""
    if settings.http_port is None:
        cure = "is missing; --here asks the node there: write for example http-port:9119"
        raise SettingsError([Problem("http-port", None, cure)])
    asked = Address(_reached_at(settings.http_address), settings.http_port)
    # Never by way of a proxy, which urllib would take from the environment.
    connection = http.client.HTTPConnection(asked.host, asked.port, timeout=_LIMIT_S)
    try:
        connection.request("GET", "/readyz")
        answer = json.loads(connection.getresponse().read(_ANSWER_LIMIT_BYTES))
        is_ready, reason = answer["ready"] is True, str(answer["reason"])
    except (OSError, http.client.HTTPException) as error:
        raise ControlError(
            f"no node answers at {asked} ({type(error).__name__}); see whether it runs, with the same "
            "http-address and http-port"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise ControlError(f"what answers at {asked} is no s3discovery; write another http-port") from error
    finally:
        connection.close()
    if not is_ready and (settings.http_token is not None or settings.http_token_file is not None):
        reason = asyncio.run(_reason(settings)) or reason
    # It may be the word of whoever listens there, or of a broker.
    return is_ready, reason if reason.isprintable() else repr(reason)


async def _reason(settings: Settings) -> str | None:
    """Return why the node is not ready, None if it does not tell this user."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            return await control.ask_why(control.socket_path(settings))
    except (ControlError, TimeoutError):
        return None


def _reached_at(http_address: str) -> str:
    """Return where this machine reaches who listens there: a wildcard hears its own IP version alone."""
    if not is_wildcard(http_address):
        return http_address
    return "::1" if ":" in http_address else "127.0.0.1"
