"""What stands between a node and its store: certificates, a proxy, and S3 as it answers region by region.

Needs the package `cryptography`, which is not installed with s3discovery.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from s3discovery.aws.regions import region_of_host
from s3discovery.credentials import Credentials
from s3discovery.s3.signing import sign

_DAY = dt.timedelta(days=1)
_HEAD_LIMIT_BYTES = 64 * 1024


class CertificateAuthority:
    """A CA that nobody trusts until told to: `path` is the PEM file to trust."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            self._builder(self._name, self._key, now - 10 * _DAY, now + 10 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(of_ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(
        self, *names: str, ends_in_days: float = 5, begins_in_days: float = -5
    ) -> ssl.SSLContext:
        """Return what a server of these names (or IP addresses) serves TLS with."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        now = dt.datetime.now(dt.UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(subject, key, now + begins_in_days * _DAY, now + ends_in_days * _DAY)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
            .add_extension(_usage(of_ca=False), critical=True)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{certificate.serial_number:x}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begins: dt.datetime,
        ends: dt.datetime,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )


def _usage(*, of_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not of_ca,
        key_cert_sign=of_ca,
        crl_sign=of_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class HttpProxy:
    """An HTTP proxy on loopback: `routes` says by a regular expression of host:port where a request really
    goes; other hosts are answered 502. `requests` are the first lines that came in.

    `user` and `password`, if set, are asked for (407); a host that `refused` matches gets 403."""

    def __init__(
        self,
        routes: Mapping[str, tuple[str, int]],
        *,
        user: str | None = None,
        password: str = "",
        refused: str | None = None,
    ) -> None:
        self._routes = {re.compile(pattern): target for pattern, target in routes.items()}
        self._pair = None if user is None else f"{user}:{password}".encode()
        self._refused = None if refused is None else re.compile(refused)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.requests: list[str] = []
        self.authority = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD_LIMIT_BYTES)
        self.authority = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._serve(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; True if another may follow on this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, _, rest = head.partition("\r\n")
        self.requests.append(line)
        method, target, _ = line.split(" ", 2)
        address = target if method == "CONNECT" else target.split("/", 3)[2]
        if (status := self._judge(address, rest)) is not None:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return False
        host, port = next(found for pattern, found in self._routes.items() if pattern.search(address))
        far_reader, far_writer = await asyncio.open_connection(host, port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = f"/{target.split('/', 3)[3]}"
                kept = re.sub(r"(?im)^(proxy-[a-z-]+|connection): .*\r\n", "", rest)
                far_writer.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n{kept}".encode("latin-1"))
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()
        return False

    def _judge(self, address: str, headers: str) -> int | None:
        """Return the status to refuse with, None to go on."""
        if self._pair is not None:
            given = re.search(r"(?im)^proxy-authorization: basic (\S+)", headers)
            if given is None or base64.b64decode(given[1]) != self._pair:
                return 407
        if self._refused is not None and self._refused.search(address):
            return 403
        return None if any(pattern.search(address) for pattern in self._routes) else 502


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(ConnectionError, OSError, RuntimeError):
        writer.close()


@asynccontextmanager
async def forwarded(
    host: str, target: tuple[str, int], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Listen at `host`, by TLS if there is a `context`, and forward to `target`; yields the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection(*target)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            far_writer.close()
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(accept, host, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class RegionalS3:
    """S3 with one bucket that is in `region`, which answers requests for other regions as AWS does.

    The region asked is the one in the host's name, or `serves` for names that have none. `way` chooses how
    another region is told: "redirect" (301), "temporary" (307) or "constraint" (400, opt-in regions).
    Signatures are checked; the bucket keeps nothing and lists nothing."""

    def __init__(
        self,
        bucket: str,
        region: str,
        keys: Credentials,
        *,
        serves: str | None = None,
        way: str = "redirect",
    ) -> None:
        self._bucket = bucket
        self._region = region
        self._keys = keys
        self._serves = serves
        self._way = way
        self.requests: list[tuple[str, str, int]] = []
        self.port = 0

    @asynccontextmanager
    async def serve(self, context: ssl.SSLContext | None = None) -> AsyncIterator["RegionalS3"]:
        """Serve on a port of loopback, by TLS if there is a `context`."""
        app = web.Application()
        app.router.add_route("*", "/{key:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        host = request.host.rpartition(":")[0] if re.search(r":\d+$", request.host) else request.host
        asked = self._serves or region_of_host(host) or self._region
        scope = re.search(r"Credential=[^/]+/\d{8}/([^/]*)/s3/aws4_request", request.headers["Authorization"])
        assert scope is not None
        answer = self._judge(request, await request.read(), asked, scope[1])
        self.requests.append((host, scope[1], answer.status))
        return answer

    def _judge(self, request: web.Request, body: bytes, asked: str, scope: str) -> web.Response:
        named = {"x-amz-bucket-region": self._region}
        if scope != asked:
            message = (
                f"The authorization header is malformed; the region '{scope}' is wrong; expecting '{asked}'"
            )
            return _error(400, "AuthorizationHeaderMalformed", message, f"<Region>{asked}</Region>")
        if asked != self._region and self._way == "constraint":
            place = "unspecified" if self._region == "us-east-1" else self._region
            message = (
                f"The {place} location constraint is incompatible for the region specific endpoint "
                "this request was sent to."
            )
            return _error(400, "IllegalLocationConstraintException", message)
        if asked != self._region:
            endpoint = f"{self._bucket}.s3-{self._region}.amazonaws.com"
            status, code = (
                (307, "TemporaryRedirect") if self._way == "temporary" else (301, "PermanentRedirect")
            )
            message = (
                "The bucket you are attempting to access must be addressed using the specified endpoint. "
                "Please send all future requests to this endpoint."
            )
            more = f"<Endpoint>{endpoint}</Endpoint><Bucket>{self._bucket}</Bucket>"
            return _error(status, code, message, more, named if status == 301 else {})
        if request.headers["Authorization"] != self._expected(request, body, scope):
            return _error(403, "SignatureDoesNotMatch", "The request signature does not match.")
        if request.method != "GET":
            return web.Response(headers={"ETag": '"e1"', **named})
        return web.Response(
            body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
            content_type="application/xml",
            headers=named,
        )

    def _expected(self, request: web.Request, body: bytes, region: str) -> str:
        at = dt.datetime.strptime(f"{request.headers['x-amz-date']}+0000", "%Y%m%dT%H%M%SZ%z")
        signed = re.search(r"SignedHeaders=([^,]+)", request.headers["Authorization"])
        assert signed is not None
        made = {"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
        headers = {name: request.headers[name] for name in signed[1].split(";") if name not in made}
        expected = sign(
            request.method,
            f"{request.scheme}://{request.host}{request.raw_path}",
            headers,
            body,
            credentials=self._keys,
            region=region,
            at_s=at.timestamp(),
        )
        return expected["Authorization"]


def _error(
    status: int, code: str, message: str, more: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return web.Response(
        status=status,
        text=f'<?xml version="1.0" encoding="UTF-8"?>\n{text}',
        content_type="application/xml",
        headers=dict(headers or {}),
    )
