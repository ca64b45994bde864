"""The node of this machine asked whether it does its work: what health checks of containers need."""

import http.client
import json

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
    from s3discovery.http.token import token_of

    token = token_of(settings)()
    asked = Address(_reached_at(settings.http_address), settings.http_port)
    # Never by way of a proxy, which urllib would take from the environment.
    connection = http.client.HTTPConnection(asked.host, asked.port, timeout=_LIMIT_S)
    try:
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {token}"} if token else {})
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
    return is_ready, reason


def _reached_at(http_address: str) -> str:
    """Return where this machine reaches who listens there: a wildcard hears its own IP version alone."""
    if not is_wildcard(http_address):
        return http_address
    return "::1" if ":" in http_address else "127.0.0.1"
