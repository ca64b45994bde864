"""Hosts, ports and endpoints in settings."""

import re
from urllib.parse import urlsplit

from s3discovery.errors import AddressError
from s3discovery.node import Address
from s3discovery.settings.kinds import PRINTABLE, WHOLE, WrongTextError, refuse_outer_spaces

_DNS_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*\.?", re.ASCII)
_DOMAIN_LIMIT = 180  # of DNS's 253 bytes; the names of nodes stand before it
_DATAGRAM_LEAST, _DATAGRAM_MOST = 512, 65_507  # RFC 1035; UDP over IPv4
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")


def read_port(text: str) -> int:
    """Read a port that can be dialled: 1..65535."""
    return _read_port(text, lowest=1)


def read_bind_port(text: str) -> int:
    """Read a port to listen at: 0..65535, where 0 is any free one."""
    return _read_port(text, lowest=0)


def _read_port(text: str, *, lowest: int) -> int:
    refuse_outer_spaces(text)
    if WHOLE.fullmatch(text) is None or not lowest <= int(text) <= 65535:
        raise WrongTextError(f"write a port from {lowest} to 65535, such as 7800")
    return int(text)


def read_host(text: str) -> str:
    """Read an IP address or DNS name to listen at, wildcards included."""
    refuse_outer_spaces(text)
    if not _is_host(text):
        raise WrongTextError("write an IP address or a host name alone, without scheme or port")
    return text


def read_dialled_host(text: str) -> str:
    """Read an IP address or DNS name that peers can dial."""
    read_host(text)
    if is_wildcard(text):
        raise WrongTextError("write the address that the other nodes dial; nobody can dial this one")
    return text


def read_listener(text: str) -> str:
    """Read `host:port` to listen at; an IPv6 address in brackets."""
    refuse_outer_spaces(text)
    host, _, port = text.rpartition(":")
    if not _is_host(host) or (":" in host and not host.startswith("[")):
        raise WrongTextError("write host:port, such as 127.0.0.1:1883 or [::1]:1883")
    read_port(port)
    return text


def is_wildcard(host: str) -> bool:
    """Tell whether `host` is 0.0.0.0, :: or another spelling of "any address"."""
    ip = Address(host, 1).ip
    return ip is not None and ip.is_unspecified


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    ip = Address(host, 1).ip
    return host.lower() == "localhost" if ip is None else ip.is_loopback


def _is_host(text: str) -> bool:
    try:
        address = Address(text, 1)
    except AddressError:
        return False
    if _LOOKS_LIKE_IPV4.fullmatch(text):  # 10.0.0.256 would pass for a name
        return address.ip is not None
    return address.is_dialable


def read_endpoint(text: str) -> str:
    """Read `[http[s]://]host[:port][/path]`; kept as written."""
    refuse_outer_spaces(text)
    cure = "write host, host:port or a URL such as http://localhost:9000"
    if PRINTABLE.fullmatch(text) is None:
        raise WrongTextError(f"{cure}, without spaces")
    try:
        url = urlsplit(text if "://" in text else f"//{text}")
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise WrongTextError(f"{cure}: {error}") from error
    if "@" in url.netloc:
        raise WrongTextError("leave out user and password; credentials have keys of their own")
    if "?" in text or "#" in text:
        raise WrongTextError("leave out what begins with ? or #")
    if (
        url.scheme not in ("", "http", "https")
        or host in ("http", "https")
        or port == 0
        or not _is_host(host)
    ):
        raise WrongTextError(cure)
    return text


def read_domain(text: str) -> str:
    """Read a DNS name, made absolute: with its final dot."""
    refuse_outer_spaces(text)
    if _DOMAIN.fullmatch(text) is None or len(text) > _DOMAIN_LIMIT:
        raise WrongTextError("write a DNS name, such as cluster.s3discovery.")
    return text.lower().rstrip(".") + "."


def read_datagram_size(text: str) -> int:
    """Read the size of a UDP datagram that DNS can use: 512 to 65507 bytes."""
    refuse_outer_spaces(text)
    if WHOLE.fullmatch(text) is None or not _DATAGRAM_LEAST <= int(text) <= _DATAGRAM_MOST:
        raise WrongTextError(f"write a number of bytes from {_DATAGRAM_LEAST} to {_DATAGRAM_MOST}")
    return int(text)
