"""Erlang's port mapper (epmd), asked directly: which nodes are registered at a host, and at which ports.

It answers within a millisecond, where rabbitmqctl takes half a second of CPU. Source of the protocol:
Erlang's "Distribution Protocol", NAMES_REQ.
"""

import asyncio
import re
from typing import Final

from s3discovery.errors import BrokerError

_NAMES_REQUEST: Final = b"\x00\x01n"
_LINE: Final = re.compile(rb"name (\S{1,255}) at port (\d{1,5})")
_LIMIT_BYTES: Final = 64 * 1024
_LIMIT_S: Final = 5.0


async def registered(host: str, port: int, limit_s: float = _LIMIT_S) -> dict[str, int]:
    """Return the nodes at `host`: the part of the name before the @, and the distribution port.

    Raises BrokerError naming what is in the way."""
    where = f"epmd of {host!r} (port {port})"
    try:
        async with asyncio.timeout(limit_s):
            answer = await _ask(host, port)
    except TimeoutError as error:
        raise BrokerError(
            f"{where} does not answer within {limit_s:g} s; open that port between nodes"
        ) from error
    except OSError as error:
        raise BrokerError(
            f"{where} cannot be reached: {error.strerror or error}; the name must resolve here, a RabbitMQ "
            f"node must run there, and port {port} be open between nodes"
        ) from error
    return {match[1].decode("latin-1"): int(match[2]) for match in _LINE.finditer(answer)}


async def check_open(host: str, port: int, limit_s: float = _LIMIT_S) -> None:
    """Raise BrokerError unless the distribution port of a node takes connections from here."""
    try:
        async with asyncio.timeout(limit_s):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # TimeoutError is one
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or error
        raise BrokerError(
            f"the distribution port {port} of {host!r} is closed from here ({why}); open it between nodes, "
            "or set RABBITMQ_DIST_PORT there to one that is"
        ) from error
    writer.close()


async def _ask(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_NAMES_REQUEST)
        answer = b""
        while len(answer) < _LIMIT_BYTES and (part := await reader.read(_LIMIT_BYTES)):
            answer += part
        return answer
    finally:
        writer.close()
