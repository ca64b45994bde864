"""Whether MQTT clients are served: a real CONNECT, since NATS's own health check says yes too early.

While the meta group has no leader, NATS takes the connection and closes it after 5 s without an answer.
"""

import asyncio
import secrets
import ssl
import struct
from contextlib import suppress

from s3discovery.brokers.nats.login import Login
from s3discovery.errors import BrokerError

LIMIT_S = 7.0  # longer than NATS takes to give up
_CONNACK = 0x20
_DISCONNECT = b"\xe0\x00"
_KEEP_ALIVE_S = 10
_CLEAN, _HAS_PASSWORD, _HAS_USER = 0x02, 0x40, 0x80
_REFUSED_LOGIN = (4, 5)


def connect_packet(client_id: str, login: Login | None) -> bytes:
    """Return a CONNECT of MQTT 3.1.1 with a clean session (section 3.1)."""
    flags, fields = _CLEAN, [client_id]
    if login is not None:
        flags |= _HAS_USER | _HAS_PASSWORD
        fields += [login.user, login.password.reveal()]
    body = _field("MQTT") + struct.pack(">BBH", 4, flags, _KEEP_ALIVE_S) + b"".join(map(_field, fields))
    return bytes((0x10,)) + _length(len(body)) + body


async def try_connect(host: str, port: int, login: Login | None, tls: ssl.SSLContext | None) -> None:
    """Connect and disconnect as an MQTT client; raises BrokerError with the cause if that fails."""
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(LIMIT_S):
            code = await _connect(host, port, login, tls)
    except TimeoutError:
        raise BrokerError(f"no answer to an MQTT CONNECT at {where} within {LIMIT_S:g} s") from None
    except asyncio.IncompleteReadError:
        raise BrokerError(
            f"the MQTT CONNECT at {where} was closed without an answer: JetStream has no leader that it can "
            "reach, or TLS is expected (nats-mqtt-url:mqtts://...)"
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise BrokerError(
            f"no MQTT connection to {where}: {error}; check nats-mqtt-url and nats-tls-ca"
        ) from error
    if code in _REFUSED_LOGIN:
        raise BrokerError(f"MQTT at {where} refused the login; set nats-mqtt-user and nats-mqtt-password")
    if code != 0:
        raise BrokerError(f"MQTT at {where} refused the CONNECT with code {code}")


async def _connect(host: str, port: int, login: Login | None, tls: ssl.SSLContext | None) -> int:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(connect_packet(f"s3d-{secrets.token_hex(8)}", login))
        kind, _, _, code = await reader.readexactly(4)
        writer.write(_DISCONNECT)
        await writer.drain()
        return code if kind == _CONNACK else -1
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def _field(text: str) -> bytes:
    content = text.encode()
    return struct.pack(">H", len(content)) + content


def _length(number: int) -> bytes:
    found = bytearray()
    while True:
        number, low = divmod(number, 128)
        found.append(low | 0x80 if number else low)
        if not number:
            return bytes(found)
