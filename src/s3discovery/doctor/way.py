"""The way to the endpoint: name, connection, proxy, TLS. Nothing is asked of the store yet."""

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from s3discovery.clock import Clock
from s3discovery.doctor import certificate, tunnel
from s3discovery.doctor.certificate import Certificate, Handshake
from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, Verdict, not_reached, ok
from s3discovery.network.names import FindAddresses
from s3discovery.network.proxies import Proxy
from s3discovery.s3.location import Location

CONNECT_LIMIT_S = 2.0
_ADDRESSES_TRIED = 4
_ADDRESSES_SHOWN = 4
_CERTIFICATE_SOON_S = 14 * 86400.0
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Target:
    """The endpoint as it is dialled: `host` has the bucket's name before it where `bare_host` has not."""

    location: Location
    scheme: str
    host: str
    bare_host: str
    port: int

    @classmethod
    def of(cls, location: Location) -> "Target":
        parts, bare = urlsplit(location.root), urlsplit(location.endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(location, parts.scheme, parts.hostname or "", bare.hostname or "", port)

    @property
    def place(self) -> str:
        return show_place(self.host, self.port)

    @property
    def has_bucket_in_host(self) -> bool:
        return self.host != self.bare_host


def show_place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Way:
    """The way to `target`; `findings` says what was found on it."""

    def __init__(
        self,
        target: Target,
        proxy: Proxy | None,
        context: ssl.SSLContext | None,
        find_addresses: FindAddresses,
        clock: Clock,
    ) -> None:
        self.findings: list[Finding] = []
        self._target = target
        self._proxy = proxy
        self._context = context
        self._find_addresses = find_addresses
        self._clock = clock
        self._address = ""
        self._addresses: tuple[str, ...] = ()
        self._host, self._port = target.host, target.port
        if proxy is not None:
            parts = urlsplit(proxy.url)
            self._host, self._port = parts.hostname or "", parts.port or 0

    @property
    def is_open(self) -> bool:
        return all(finding.verdict in (Verdict.OK, Verdict.WARNING) for finding in self.findings)

    async def examine(self) -> None:
        """Go the way until something is wrong."""
        steps = {"dns": self._resolve, "tcp": self._connect, "proxy": self._pass_proxy, "tls": self._secure}
        failed: str | None = None
        for check, step in steps.items():
            if failed is not None:
                self.findings.append(not_reached(check, failed))
                continue
            found = await step()
            self.findings.append(found)
            if found.verdict is Verdict.FAULT:
                failed = check

    async def speaks_tls(self) -> bool:
        """Tell whether a port that is asked in plain HTTP speaks TLS."""
        try:
            connection = await self._open()
        except (OSError, tunnel.RefusedError):
            return False
        return await certificate.speaks_tls(connection, self._target.host)

    async def _resolve(self) -> Finding:
        whose = "" if self._proxy is None else "the proxy: "
        try:
            self._addresses = await self._find_addresses(self._host)
        except OSError as error:
            return await self._unresolved(error)
        if self._addresses == (self._host,):
            return ok("dns", f"{whose}{self._host} is an address")
        shown = ", ".join(self._addresses[:_ADDRESSES_SHOWN])
        more = len(self._addresses) - _ADDRESSES_SHOWN
        return ok("dns", f"{whose}{self._host} is {shown}{f' and {more} more' if more > 0 else ''}")

    async def _unresolved(self, error: OSError) -> Finding:
        target, reason = self._target, error.strerror or str(error) or "no answer of the name server"
        found = f"no address for {self._host} ({reason})"
        if self._proxy is not None:
            return report("name-not-found", found, key=self._proxy.variable)
        if target.location.is_aws:
            return report("name-not-found", found, key="s3-bucket-region (or s3-endpoint)")
        if target.has_bucket_in_host:
            try:
                await self._find_addresses(target.bare_host)
            except OSError:
                pass
            else:
                return report("bucket-in-name-not-found", found, host=target.bare_host)
        return report("name-not-found", found, key="s3-endpoint")

    async def _connect(self) -> Finding:
        began_s = self._clock.monotonic_s()
        failures: list[tuple[str, OSError]] = []
        for address in self._addresses[:_ADDRESSES_TRIED]:
            try:
                connection = await dial(address, self._port)
            except OSError as error:
                failures.append((address, error))
                continue
            connection.close()
            self._address = address
            took_ms = (self._clock.monotonic_s() - began_s) * 1000
            others = f"; not {', '.join(place for place, _ in failures)}" if failures else ""
            return ok("tcp", f"{show_place(address, self._port)} in {took_ms:.0f} ms{others}")
        address, last = failures[-1]
        place = show_place(self._host, self._port)
        return report(_fault_of(last), f"{show_place(address, self._port)}: {reason(last)}", place=place)

    async def _pass_proxy(self) -> Finding:
        proxy, target = self._proxy, self._target
        if proxy is None:
            return ok("proxy", "none")
        found, place = str(proxy), show_place(self._host, self._port)
        if self._is_proxy_by_tls:
            return ok("proxy", f"{found}, reached by TLS: it shows with the first request")
        try:
            connection = await dial(self._address, self._port)
            if target.scheme == "https":
                await tunnel.open_tunnel(connection, proxy, target.place)
                connection.close()
            else:
                await tunnel.ask_plainly(connection, proxy, target.location.endpoint)
        except tunnel.RefusedError as error:
            return report(
                error.fault,
                f"{found}: {error}",
                proxy=place,
                place=target.place,
                host=target.host,
                variable=proxy.variable,
            )
        except OSError as error:
            return report("no-proxy", f"{found}: {reason(error)}", variable=proxy.variable, proxy=place)
        return ok("proxy", found)

    @property
    def _is_proxy_by_tls(self) -> bool:
        return self._proxy is not None and self._proxy.url.startswith("https:")

    async def _secure(self) -> Finding:
        target = self._target
        if target.scheme != "https":
            return ok("tls", "none: s3-endpoint says http, so what is in the bucket travels in the clear")
        if self._is_proxy_by_tls:
            return ok("tls", "through the proxy: it shows with the first request")
        context = self._context or ssl.create_default_context()
        try:
            seen = await certificate.shake_hands(await self._open(), target.host, context)
            if seen.fault is None:
                return self._judge(seen)
            if seen.fault in ("plain-http", "tls-broken"):
                return report(seen.fault, seen.said)
        except (OSError, tunnel.RefusedError) as error:
            return report("tls-broken", reason(error))
        read = await self._read_certificate()
        if seen.fault == "wrong-name" and await self._fits_without_bucket(context):
            return report("wrong-name-of-bucket", f"{seen.said}; {read}", host=target.bare_host)
        names = ", ".join(repr(each) for each in read.names[:_ADDRESSES_SHOWN]) or "none"
        return report(seen.fault, f"{seen.said}; {read}", host=target.host, names=names, ended=read.ends)

    async def _read_certificate(self) -> Certificate:
        """Return what the certificate says that was not trusted, as far as the store lets that be read."""
        try:
            first = await self._open()
        except (OSError, tunnel.RefusedError):
            return Certificate()
        try:
            second = await self._open()
        except (OSError, tunnel.RefusedError):
            first.close()
            return Certificate()
        except BaseException:
            first.close()
            raise
        return await certificate.read_certificate(first, second, self._target.host)

    async def _fits_without_bucket(self, context: ssl.SSLContext) -> bool:
        target = self._target
        if not target.has_bucket_in_host:
            return False
        try:
            connection = await self._open()
        except (OSError, tunnel.RefusedError):
            return False
        seen = await certificate.shake_hands(connection, target.bare_host, context)
        return seen.fault is None

    def _judge(self, seen: Handshake) -> Finding:
        ends_s = seen.certificate.ends_s
        if ends_s is not None and ends_s - self._clock.wall_s() < _CERTIFICATE_SOON_S:
            return report(
                "certificate-ending",
                str(seen.certificate),
                host=self._target.host,
                ends=seen.certificate.ends,
            )
        return ok("tls", str(seen.certificate))

    async def _open(self) -> socket.socket:
        """Return a connection on which TLS may begin."""
        connection = await dial(self._address, self._port)
        if self._proxy is not None:
            await tunnel.open_tunnel(connection, self._proxy, self._target.place)
        return connection


async def dial(address: str, port: int, *, limit_s: float = CONNECT_LIMIT_S) -> socket.socket:
    """Return a connection to the IP `address`; raises OSError, TimeoutError among them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        async with asyncio.timeout(limit_s):
            host, _, zone = address.partition("%")
            scope = socket.if_nametoindex(zone) if zone else 0
            where = (host, port, 0, scope) if family == socket.AF_INET6 else (host, port)
            await asyncio.get_running_loop().sock_connect(connection, where)
    except BaseException:
        connection.close()
        raise
    return connection


def _fault_of(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "packets-dropped"
    return "no-route" if error.errno in _NO_ROUTE else "port-closed"


def reason(error: BaseException) -> str:
    """Return the system's own words for why there is no connection."""
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return f"{errno.errorcode[error.errno]}: {os.strerror(error.errno)}"
    return str(error) or type(error).__name__
