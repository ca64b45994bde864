"""Which proxy a request goes through, by the variables that curl and the SDKs know.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; the lower-case name wins over the upper-case one, and one
that is set to nothing counts as set, so that it can be switched off.
"""

import base64
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from s3discovery.errors import Problem, SettingsError
from s3discovery.ip import IP, ip_of
from s3discovery.settings.kinds import Secret

_PORTS = {"http": 80, "https": 443}
# Link-local: the metadata of EC2 and ECS. fd00:ec2::254 and ::23 are the same by IPv6.
_NEVER = ("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")
_CURE = "write http://host:port (user:password@ before the host, percent-encoded, where it wants them)"
_HOST = "[A-Za-z0-9_.:-]{1,255}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: `url` without user and password, which are in `authorization`; `variable` named it."""

    url: str
    variable: str
    authorization: Secret | None = None

    def __str__(self) -> str:
        return f"{self.url} ({self.variable})"


def find_proxy(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for `url`, None for the direct way; raises SettingsError if it is written wrong."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable, text = _lookup(name, environ)
        if text:
            port = parts.port or _PORTS.get(parts.scheme, 0)
            return None if _goes_direct(host, port, environ) else _read(variable, text)
    return None


def _lookup(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return which variable counts, and its text."""
    variable = name if name in environ else name.upper()
    return variable, environ.get(variable, "").strip()


def _read(variable: str, text: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _wrong(variable, text, _CURE) from None
    if parts.scheme.startswith("socks"):
        cure = "SOCKS is not supported: write an HTTP proxy, http://host:port, or put the store into NO_PROXY"
        raise _wrong(variable, text, cure)
    if parts.scheme not in _PORTS or re.fullmatch(_HOST, host) is None or port == 0:
        raise _wrong(variable, text, _CURE)
    shown = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}"
    if parts.username is None:
        return Proxy(url, variable)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(url, variable, Secret(f"Basic {base64.b64encode(pair.encode()).decode()}"))


def _wrong(variable: str, text: str, cure: str) -> SettingsError:
    # What is no URL cannot be searched for its password, and so is never shown.
    shown = None if "@" in text else text[:120]
    return SettingsError([Problem(variable, shown, cure)], "environment")


def _goes_direct(host: str, port: int, environ: Mapping[str, str]) -> bool:
    """Tell whether `host` is this machine or its metadata, or NO_PROXY names it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = ip_of(host)
    if address is not None and any(_holds(network, address) for network in _NEVER):
        return True
    _, text = _lookup("no_proxy", environ)
    return any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", text) if entry)


def _covers(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry of NO_PROXY means `host`: `*`, an IP address or network, a name with all below
    it, each with or without a port."""
    if entry == "*":
        return True
    address = ip_of(host)
    for name, of_port in _readings(entry.lower()):
        if of_port is not None and of_port != port:
            continue
        if address is not None:
            if _holds(name, address):
                return True
            continue
        bare = name.removeprefix("*").strip(".")
        if bare and (host.rstrip(".") == bare or host.rstrip(".").endswith(f".{bare}")):
            return True
    return False


def _readings(entry: str) -> Iterator[tuple[str, int | None]]:
    """Yield host and port of an entry; a bare IPv6 address has colons, but no port."""
    found = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([^:]+):([0-9]{1,5})", entry, re.ASCII)
    if found is None:
        yield entry, None
    else:
        host, port = found[1] or found[3], found[2] or found[4]
        yield host, int(port) if port else None


def _holds(text: str, address: IP) -> bool:
    try:
        return address in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
