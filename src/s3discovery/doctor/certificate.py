"""The TLS handshake with the endpoint, and what its certificate says, trusted or not."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HANDSHAKE_LIMIT_S = 3.0
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL
_NAMES_SHOWN = 5

# OpenSSL's reasons to reject a certificate.
_EXPIRED = 10
_NOT_YET_VALID = 9
_WRONG_NAME = frozenset({62, 64})  # host name, IP address


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; `ends_s` is Unix seconds, None where it could not be read."""

    names: tuple[str, ...] = ()
    issuer: str = ""
    ends: str = "?"
    ends_s: float | None = None

    def __str__(self) -> str:
        shown = ", ".join(repr(name) for name in self.names[:_NAMES_SHOWN]) or "no name"
        return f"certificate of {shown}, issued by {self.issuer!r}, until {self.ends}"


@dataclass(frozen=True, slots=True)
class Handshake:
    """How a handshake went: `fault` is the name of what is wrong with it, None where nothing is."""

    fault: str | None
    said: str
    certificate: Certificate


async def shake_hands(
    connection: socket.socket, host: str, context: ssl.SSLContext, *, limit_s: float = _HANDSHAKE_LIMIT_S
) -> Handshake:
    """Do a handshake on `connection`, and close it."""
    try:
        async with asyncio.timeout(limit_s):
            _, writer = await asyncio.open_connection(sock=connection, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return Handshake(_fault_of(error), str(error.verify_message), Certificate())
    except ssl.SSLError as error:
        speaks_plain = error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
        return Handshake("plain-http" if speaks_plain else "tls-broken", _reason(error), Certificate())
    except TimeoutError:
        return Handshake("tls-broken", f"no answer to the handshake within {limit_s:g} s", Certificate())
    except (OSError, EOFError) as error:
        return Handshake("tls-broken", _reason(error), Certificate())
    try:
        return Handshake(None, "", _read(writer.get_extra_info("peercert") or {}))
    finally:
        await _close(writer)


async def speaks_tls(connection: socket.socket, host: str) -> bool:
    """Tell whether the other side of `connection` answers a handshake, whatever its certificate."""
    context = _trusting_anybody()
    return (await shake_hands(connection, host, context)).fault is None


async def read_certificate(first: socket.socket, second: socket.socket, host: str) -> Certificate:
    """Return what the certificate says that was not trusted; an empty one where nothing can be read.

    Python reads only certificates that it trusts: so this one is fetched, and then trusted by itself, for
    these two handshakes, on which nothing is said."""
    fetched = await _fetch(first, host)
    if fetched is None:
        second.close()
        return Certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags = ssl.VerifyFlags(
        int(context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~int(ssl.VERIFY_X509_STRICT)
        | _NO_CHECK_TIME
    )
    try:
        context.load_verify_locations(cadata=fetched)
    except ssl.SSLError:
        second.close()
        return Certificate()
    return (await shake_hands(second, host, context)).certificate


async def _fetch(connection: socket.socket, host: str) -> bytes | None:
    try:
        async with asyncio.timeout(_HANDSHAKE_LIMIT_S):
            _, writer = await asyncio.open_connection(
                sock=connection, ssl=_trusting_anybody(), server_hostname=host
            )
    except (OSError, EOFError):
        return None
    try:
        return writer.get_extra_info("ssl_object").getpeercert(binary_form=True)  # type: ignore[no-any-return]  # of Any
    finally:
        await _close(writer)


def _trusting_anybody() -> ssl.SSLContext:
    """Return a context for looking alone: nothing is sent over its connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _fault_of(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _WRONG_NAME:
        return "wrong-name"
    return {_EXPIRED: "certificate-expired", _NOT_YET_VALID: "certificate-not-yet-valid"}.get(
        error.verify_code, "unknown-ca"
    )


def _read(found: Mapping[str, Any]) -> Certificate:
    names = tuple(str(value) for _, value in found.get("subjectAltName", ()))
    ends = str(found.get("notAfter", "?"))
    try:
        ends_s: float | None = float(ssl.cert_time_to_seconds(ends))
    except ValueError:
        ends_s = None
    return Certificate(names or _common_name(found, "subject"), *_issuer(found), ends, ends_s)


def _issuer(found: Mapping[str, Any]) -> tuple[str]:
    names = _common_name(found, "issuer")
    return (names[0] if names else "?",)


def _common_name(found: Mapping[str, Any], whose: str) -> tuple[str, ...]:
    pairs = [pair for group in found.get(whose, ()) for pair in group]
    wanted = ("commonName", "organizationName")
    return next(((str(value),) for name in wanted for key, value in pairs if key == name), ())


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(0.2):
            await writer.wait_closed()
