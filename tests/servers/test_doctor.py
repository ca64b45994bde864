"""Every fault that `doctor` names, produced for real, and recognised by its cure."""

import asyncio
import gc
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.doctor import Finding, Verdict, examine
from s3discovery.doctor.way import Target, Way
from s3discovery.node import Address, NodeFile
from s3discovery.s3 import S3Bucket
from s3discovery.s3.location import locate
from s3discovery.settings.config import Secret
from s3discovery.testing.endpoints import CertificateAuthority, HttpProxy, RegionalS3
from s3discovery.wiring import Origins

COMMAND = Path(sys.executable).with_name("s3discovery")
PREFIX = "mesh/nodes/"
SECRET, TOKEN, PASSWORD = "sEcReT-0123456789", "tOkEn-0123456789", "pAsSwOrD-0123456789"
KEYS = Credentials("AKIDOCTOR0123456", Secret(SECRET))
SHOWN = "'AKID...3456'"
LIMIT_S = 20.0
MISSING = "s3-bucket-name", "no-such-bucket"


class SkewedClock(SystemClock):
    """A wall clock that is wrong."""

    def __init__(self, skew_s: float) -> None:
        self._skew_s = skew_s

    def wall_s(self) -> float:
        return super().wall_s() + self._skew_s


class Seen:
    """What an examination found."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings

    def of(self, check: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.check == check]

    def verdict(self, check: str) -> Verdict:
        (finding,) = self.of(check)
        return finding.verdict

    @property
    def faults(self) -> dict[str, str]:
        """The cure by the name of every fault."""
        return {found.fault: found.cure or "" for found in self.findings if found.fault is not None}

    @property
    def first(self) -> tuple[str, str, str]:
        """Check, fault and cure of the first that is wrong."""
        found = next(found for found in self.findings if found.fault is not None)
        return found.check, found.fault or "", found.cure or ""

    def names_first(self, check: str, fault: str, cure: str) -> None:
        """Check what is wrong first."""
        assert self.first == (check, fault, cure)


async def look(
    endpoint: str | None,
    keys: Credentials = KEYS,
    *more: tuple[str, str],
    environ: Mapping[str, str] | None = None,
    clock: SystemClock | None = None,
    read_only: bool = False,
) -> Seen:
    """Examine with good settings, but for `more`."""
    origins = Origins(None, tuple(texts(endpoint, keys, dict(more))), dict(environ or {}))
    told: list[Finding] = []
    findings = await examine(origins, told.append, read_only=read_only, clock=clock)
    assert tuple(told) == findings
    assert keys.secret_access_key.reveal() not in repr(findings)
    return Seen(findings)


def texts(endpoint: str | None, keys: Credentials, more: Mapping[str, str]) -> Iterator[str]:
    settings = {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": "mesh",
        "file-prefix": PREFIX,
        "file-expiration": "6h",
        "update-interval": "3h",
        "credentials-type": "access_key",
        "credentials-access-key-id": keys.access_key_id,
        "credentials-secret-access-key": keys.secret_access_key.reveal(),
        "cluster-id": "own",
        "external-address": "10.0.0.1",
    }
    if keys.session_token is not None:
        settings["credentials-type"] = "temporary_session"
        settings["credentials-session-token"] = keys.session_token.reveal()
    if endpoint is not None:
        settings["s3-endpoint"] = endpoint
    return (f"{key}={text}" for key, text in (settings | dict(more)).items())


Refusal = Callable[[web.Request], web.Response | None]


def refusal(status: int, code: str, message: str = "it says so", /, **headers: str) -> web.Response:
    text = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, text=text, content_type="application/xml", headers=shown)


class TinyS3:
    """S3 with one bucket, "mesh", in the path or before the host; `refuse` may answer instead."""

    def __init__(self, refuse: Refusal = lambda request: None, *, style: str = "path") -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.asked: list[str] = []
        self.port = 0
        self._refuse = refuse
        self._style = style

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serve(self, context: ssl.SSLContext | None = None) -> AsyncIterator["TinyS3"]:
        async with served(self._answer, context) as self.port:
            yield self

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.raw_path}")
        if (refused := self._refuse(request)) is not None:
            return refused
        path = request.path.lstrip("/")
        if self._style == "path":
            bucket, _, key = path.partition("/")
        else:
            bucket, key = request.host.partition(".")[0], path
        if bucket != "mesh":
            return refusal(404, "NoSuchBucket")
        return self._use(request, key, await request.read())

    def _use(self, request: web.Request, key: str, body: bytes) -> web.Response:
        if not key:
            return web.Response(text=self._listing(request.query["prefix"]), content_type="application/xml")
        found = self.objects.get(key)
        etag = None if found is None else f'"{len(found[0]):032x}"'
        if ("If-None-Match" in request.headers and found) or request.headers.get("If-Match", etag) != etag:
            return refusal(412, "PreconditionFailed")
        if request.method == "PUT":
            meta = {name: text for name, text in request.headers.items() if name.startswith("x-amz-meta-")}
            self.objects[key] = body, meta
            return web.Response(headers={"ETag": f'"{len(body):032x}"'})
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if found is None:
            return refusal(404, "NoSuchKey")
        headers = {"ETag": etag or "", "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", **found[1]}
        return web.Response(body=found[0], headers=headers)

    def _listing(self, prefix: str) -> str:
        told = "<LastModified>2026-01-02T03:04:05Z</LastModified><Size>1</Size>"
        keys = "".join(
            f"<Contents><Key>{key}</Key><ETag>{len(body):032x}</ETag>{told}</Contents>"
            for key, (body, _) in self.objects.items()
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"


@asynccontextmanager
async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve on a port of loopback, which is yielded."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def without(endpoint: str, *dropped: str) -> AsyncIterator[str]:
    """What stands in front of `endpoint` and takes away headers that begin so."""
    timeout = ClientTimeout(total=10)
    async with ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=DummyCookieJar()) as session:

        async def forward(request: web.Request) -> web.Response:
            kept = {
                name: text for name, text in request.headers.items() if not name.lower().startswith(dropped)
            }
            url = URL(f"{endpoint}{request.raw_path}", encoded=True)
            async with session.request(
                request.method, url, headers=kept, data=await request.read()
            ) as answer:
                hop = ("content-length", "transfer-encoding", "connection")
                back = {name: text for name, text in answer.headers.items() if name.lower() not in hop}
                return web.Response(status=answer.status, headers=back, body=await answer.read())

        async with served(forward) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def put(server: Any, bucket_name: str, files: Mapping[str, bytes], **metadata: str) -> None:
    keys = FixedCredentials(server.credentials)
    async with S3Bucket(
        name=bucket_name, region="us-east-1", endpoint=server.endpoint, credentials=keys
    ) as bucket:
        for key, body in files.items():
            await bucket.put(PREFIX + key, body, metadata)


async def keys_in(server: Any, bucket_name: str) -> set[str]:
    keys = FixedCredentials(server.credentials)
    async with S3Bucket(
        name=bucket_name, region="us-east-1", endpoint=server.endpoint, credentials=keys
    ) as bucket:
        return {entry.key for entry in (await bucket.list("")).entries}


def node_file(cluster_id: str, host: str, port: int) -> bytes:
    return codec.encode(NodeFile("1", 1, cluster_id, Address(host, port)), "1")


class TestHealthy:
    async def test_all_is_well_and_nothing_is_left(self, seaweedfs: Any) -> None:
        # How long that takes is a figure of `make bench`; here it is LIMIT_S at most.
        name = seaweedfs.new_bucket()
        code, out, err = await command(
            *texts(seaweedfs.endpoint, seaweedfs.credentials, {"s3-bucket-name": name})
        )
        assert (code, err) == (0, "")
        lines = [line.split()[:2] for line in out.splitlines()]
        assert all(verdict == "ok" for _, verdict in lines[:-1]), out
        assert out.splitlines()[-1] == "all is well"
        assert await keys_in(seaweedfs, name) == set()

    async def test_json_is_the_documented_shape(self, seaweedfs: Any) -> None:
        given = texts(seaweedfs.endpoint, seaweedfs.credentials, {"s3-bucket-name": seaweedfs.new_bucket()})
        code, out, _ = await command(*given, flags=("--format", "json"))
        told = json.loads(out)
        assert (code, told["version"], told["verdict"], told["exit_code"]) == (0, 1, "ok", 0)
        assert told["findings"][0]["check"] == "configuration"
        assert {frozenset(finding) for finding in told["findings"]} == {
            frozenset({"check", "verdict", "found", "fault", "cure"})
        }

    async def test_real_aws_policies_suffice(self, iam_store: Any) -> None:
        seen = await look_as(iam_store, "List", "Get", "Put", "Delete")
        assert seen.faults == {}

    async def test_account_is_named_at_aws(self, authority: CertificateAuthority) -> None:
        async def identify(request: web.Request) -> web.Response:
            assert "Action=GetCallerIdentity" in await request.text()
            arn = "arn:aws:iam::123456789012:user/mqtt"
            space = "https://sts.amazonaws.com/doc/2011-06-15/"
            result = f"<GetCallerIdentityResult><Arn>{arn}</Arn></GetCallerIdentityResult>"
            return web.Response(text=f'<R xmlns="{space}">{result}</R>', content_type="text/xml")

        async with served(identify) as port, aws(authority, TinyS3(style="host")) as environ:
            sts = {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}"}
            seen = await look(None, environ=environ | sts)
        assert seen.faults.keys() == {"certificate-ending"}
        assert "'arn:aws:iam::123456789012:user/mqtt'" in seen.of("credentials")[0].found


async def command(
    *options: str, flags: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> tuple[int | None, str, str]:
    """Run the command; return its exit code, output and errors."""
    process = await start(*options, flags=flags, environ=environ)
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def start(
    *options: str, flags: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    clean = {
        name: text
        for name, text in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.startswith(("AWS_", "S3", "SSL_", "REQUESTS_"))
    }
    return await asyncio.create_subprocess_exec(
        str(COMMAND), "doctor", *flags, *(f"-o{option}" for option in options),
        env=clean | dict(environ or {}),
        cwd="/",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def aws(authority: CertificateAuthority, store: TinyS3) -> AsyncIterator[dict[str, str]]:
    """Let `store` stand for AWS, behind a proxy; yields what to set."""
    names = ("s3.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store.serve(authority.server_context(*names)))
        routes = {r"\.amazonaws\.com:443$": ("127.0.0.1", store.port)}
        proxy = await stack.enter_async_context(HttpProxy(routes))
        yield {
            "HTTPS_PROXY": f"http://{proxy.authority}",
            "AWS_CA_BUNDLE": str(authority.path),
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{free_port()}",
        }


_RESOURCES = {"List": "", "Get": "/*", "Put": "/*", "Delete": "/*"}
_ACTIONS = {
    "List": "s3:ListBucket",
    "Get": "s3:GetObject",
    "Put": "s3:PutObject",
    "Delete": "s3:DeleteObject",
}


async def look_as(store: Any, *verbs: str, name: str | None = None, read_only: bool = False) -> Seen:
    """Examine as somebody who may do just that with a bucket, a new one if it is not named."""
    bucket_name = name or await store.new_bucket()
    statements = [
        {
            "Effect": "Allow",
            "Action": _ACTIONS[verb],
            "Resource": f"arn:aws:s3:::{bucket_name}{_RESOURCES[verb]}",
        }
        for verb in verbs
    ]
    user = await store.new_user({"Version": "2012-10-17", "Statement": statements})
    return await look(
        store.endpoint, await store.issue(user), ("s3-bucket-name", bucket_name), read_only=read_only
    )


class TestConfiguration:
    async def test_problems_are_told_each_with_its_cure(self) -> None:
        code, out, _ = await command("file-prefixx=a/", "s3-bucket-region=us-east-1", "poll-interval=often")
        assert code == 2
        assert "cure: write file-prefix if that is meant, or remove it" in out
        assert "poll-interval='often'" in out
        assert "cure: is missing; write for example s3-bucket-name:hivemq" in out
        assert "peers          not reached  needs configuration" in out

    async def test_broker_that_is_not_installed(self) -> None:
        seen = await look("http://127.0.0.1:1", KEYS, ("broker", "nonsense"))
        assert seen.first[:2] == ("configuration", "wrong-setting")
        assert "nothing installed drives such a broker" in seen.first[2]

    async def test_unknown_key_is_a_warning(self, seaweedfs: Any) -> None:
        given = {"s3-bucket-name": seaweedfs.new_bucket(), "pol-interval": "1s"}
        options = list(texts(seaweedfs.endpoint, seaweedfs.credentials, given))
        assert (await command(*options))[0] == 0
        code, out, _ = await command(*options, flags=("--strict",))
        assert code == 1
        assert out.splitlines()[-1] == "1 warning"

    async def test_source_without_credentials(self) -> None:
        seen = await look("http://127.0.0.1:1", KEYS, ("credentials-type", "environment_variables"))
        seen.names_first("credentials", "no-credentials", "set it, or choose another credentials-type")
        assert seen.of("credentials")[0].found == "environment variables: AWS_ACCESS_KEY_ID is not set"
        assert seen.verdict("tcp") is Verdict.FAULT, "independent checks go on"
        assert seen.verdict("store") is Verdict.NOT_REACHED

    async def test_ca_bundle_without_certificates(self, tmp_path: Path) -> None:
        bundle = tmp_path / "empty"
        bundle.touch()
        given = list(texts(f"https://127.0.0.1:{free_port()}", KEYS, {}))
        environ = {"AWS_CA_BUNDLE": str(bundle)}
        code, out, _ = await command(*given, environ=environ)
        assert code == 2
        lines = out.splitlines()
        assert lines[0] == f"configuration  fault        AWS_CA_BUNDLE={str(bundle)!r}"
        assert lines[1].strip().startswith("cure: holds no certificates in PEM form; name the file of the CA")
        assert lines[2] == "credentials    not reached  needs configuration"
        assert lines[-1] == "1 fault"
        _, out, _ = await command(*given, flags=("--format", "json"), environ=environ)
        findings = json.loads(out)["findings"]
        assert [found["verdict"] for found in findings if found["check"] == "configuration"] == ["fault"]

    async def test_ca_bundle_is_not_read_where_no_tls_is_used(self, tmp_path: Path) -> None:
        async with TinyS3().serve() as store:
            seen = await look(store.endpoint, environ={"AWS_CA_BUNDLE": str(tmp_path / "none")})
        assert seen.faults == {}

    async def test_proxy_that_is_written_wrong(self) -> None:
        seen = await look("http://s3.example", environ={"HTTP_PROXY": "socks5://a:1"})
        assert [found.fault for found in seen.of("configuration")] == ["wrong-setting"]

    async def test_id_and_secret_that_were_exchanged(self) -> None:
        secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
        keys = Credentials(secret, Secret("AKIAIOSFODNN7EXAMPLE"))
        async with TinyS3(lambda request: refusal(403, "InvalidAccessKeyId")).serve() as store:
            seen = await look(store.endpoint, keys)
        seen.names_first("credentials", "keys-swapped", "exchange them where they are set: settings")
        assert seen.faults.keys() == {"keys-swapped", "unknown-access-key"}
        assert secret[:3] not in repr(seen.findings)


class TestNetwork:
    async def test_first_address_that_is_closed(self) -> None:
        async def find(host: str) -> tuple[str, ...]:
            return "127.0.0.2", "127.0.0.1"

        async with TinyS3().serve() as store:
            location = locate("mesh", "us-east-1", f"http://s3.example:{store.port}")
            way = Way(Target.of(location), None, None, find, SystemClock())
            await way.examine()
        assert way.is_open
        assert way.findings[1].found.endswith(" ms; not 127.0.0.2")

    async def test_name_that_is_not_found(self) -> None:
        seen = await look("http://no-such-host.invalid:9000")
        seen.names_first(
            "dns",
            "name-not-found",
            "check the spelling of s3-endpoint, and that this machine's name server answers "
            "(/etc/resolv.conf)",
        )
        assert seen.verdict("peers") is Verdict.NOT_REACHED

    async def test_region_that_is_misspelt(self) -> None:
        seen = await look(None, KEYS, ("s3-bucket-region", "eu-cental-1"))
        check, fault, cure = seen.first
        assert (check, fault) == ("dns", "name-not-found")
        assert cure.startswith("check the spelling of s3-bucket-region")

    async def test_port_that_is_closed(self) -> None:
        port = free_port()
        seen = await look(f"http://127.0.0.1:{port}")
        seen.names_first(
            "tcp",
            "port-closed",
            f"start the store, or correct the port in s3-endpoint: nobody listens at 127.0.0.1:{port}",
        )
        assert "ECONNREFUSED" in seen.of("tcp")[0].found

    async def test_packets_that_are_dropped(self) -> None:
        with full_queue() as port:
            seen = await look(f"http://127.0.0.1:{port}")
        seen.names_first(
            "tcp",
            "packets-dropped",
            f"let TCP to 127.0.0.1:{port} through (security group, firewall, route, VPC endpoint)",
        )

    async def test_address_without_a_route(self) -> None:
        # Nobody is connected with by TCP at the broadcast address, whatever the machine's routes are.
        seen = await look("http://255.255.255.255:9000")
        seen.names_first(
            "tcp",
            "no-route",
            "give this machine a route to 255.255.255.255:9000 (network interface, gateway, NAT, VPC "
            "endpoint)",
        )

    async def test_handshake_that_is_broken_off(self) -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            seen = await look(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert seen.first[:2] == ("tls", "tls-broken")
        assert seen.first[2].startswith("check s3-endpoint, and what stands between")

    async def test_https_to_a_port_of_plain_http(self) -> None:
        async with TinyS3().serve() as store:
            seen = await look(f"https://127.0.0.1:{store.port}")
        seen.names_first(
            "tls",
            "plain-http",
            "write s3-endpoint with http://, or the port where the store speaks TLS",
        )

    async def test_http_to_a_port_of_tls(self, authority: CertificateAuthority) -> None:
        async with TinyS3().serve(authority.server_context("127.0.0.1")) as store:
            seen = await look(f"http://127.0.0.1:{store.port}")
        seen.names_first("store", "port-speaks-tls", "write s3-endpoint with https://")


@contextmanager
def full_queue() -> Iterator[int]:
    """A port where the kernel drops every packet that would begin a connection: its queue is full."""
    with socket.socket() as listener, Unaccepted() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            held.connect(port)
        yield port


class Unaccepted:
    """Connections that nobody accepts."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def connect(self, port: int) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        self._held.append(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._held:
            connection.close()


class TestTls:
    async def test_ca_that_is_not_trusted(self, authority: CertificateAuthority) -> None:
        async with TinyS3().serve(authority.server_context("127.0.0.1")) as store:
            seen = await look(f"https://127.0.0.1:{store.port}")
            trusting = await look(
                f"https://127.0.0.1:{store.port}", environ={"AWS_CA_BUNDLE": str(authority.path)}
            )
        seen.names_first(
            "tls",
            "unknown-ca",
            "name the file of the CA that signed it in AWS_CA_BUNDLE (or SSL_CERT_FILE)",
        )
        assert "certificate of '127.0.0.1', issued by 'test CA', until " in seen.of("tls")[0].found
        assert trusting.verdict("list") is Verdict.OK
        assert trusting.first[:2] == ("tls", "certificate-ending")
        assert trusting.first[2].startswith("renew the certificate of 127.0.0.1 before ")

    @pytest.mark.parametrize(
        ("fault", "begins", "ends", "cure"),
        [
            ("certificate-expired", -8, -1, "renew the certificate of 127.0.0.1 (it ended "),
            ("certificate-not-yet-valid", 1, 8, "set this machine's clock"),
        ],
    )
    async def test_certificate_out_of_its_time(
        self, authority: CertificateAuthority, fault: str, begins: float, ends: float, cure: str
    ) -> None:
        context = authority.server_context("127.0.0.1", begins_in_days=begins, ends_in_days=ends)
        async with TinyS3().serve(context) as store:
            seen = await look(
                f"https://127.0.0.1:{store.port}", environ={"AWS_CA_BUNDLE": str(authority.path)}
            )
        assert seen.first[:2] == ("tls", fault)
        assert seen.first[2].startswith(cure)
        assert "issued by 'test CA', until " in seen.of("tls")[0].found

    async def test_certificate_of_another_name(self, authority: CertificateAuthority) -> None:
        async with TinyS3().serve(authority.server_context("s3.example", "other.example")) as store:
            seen = await look(
                f"https://127.0.0.1:{store.port}", environ={"AWS_CA_BUNDLE": str(authority.path)}
            )
        seen.names_first(
            "tls",
            "wrong-name",
            "write a name that the certificate holds ('s3.example', 'other.example') into s3-endpoint, or "
            "issue one for 127.0.0.1",
        )

    async def test_certificate_without_the_bucket(self, authority: CertificateAuthority) -> None:
        async with (
            TinyS3().serve(authority.server_context("s3.example")) as store,
            HttpProxy({r"s3\.example:443$": ("127.0.0.1", store.port)}) as proxy,
        ):
            environ = {"AWS_CA_BUNDLE": str(authority.path), "HTTPS_PROXY": f"http://{proxy.authority}"}
            seen = await look("https://s3.example", KEYS, ("s3-path-style-access", "false"), environ=environ)
        seen.names_first(
            "tls",
            "wrong-name-of-bucket",
            "write s3-path-style-access:true, or issue a certificate that holds *.s3.example",
        )

    @pytest.mark.parametrize("tunnels", [2, 3, 4])
    async def test_certificate_of_another_name_at_a_store_that_then_is_away(
        self, authority: CertificateAuthority, tunnels: int
    ) -> None:
        class Tiring(HttpProxy):
            def _judge(self, address: str, headers: str) -> int | None:
                return super()._judge(address, headers) if len(self.requests) <= tunnels else 502

        async with (
            TinyS3().serve(authority.server_context("s3.example")) as store,
            Tiring({r"s3\.example:443$": ("127.0.0.1", store.port)}) as proxy,
        ):
            environ = {"AWS_CA_BUNDLE": str(authority.path), "HTTPS_PROXY": f"http://{proxy.authority}"}
            seen = await look("https://s3.example", KEYS, ("s3-path-style-access", "false"), environ=environ)
            gc.collect()  # a socket that was forgotten is an error
        assert seen.first[:2] == ("tls", "wrong-name")


@pytest.mark.parametrize("scheme", ["http", "https"])
class TestProxy:
    async def see(self, scheme: str, place: str) -> Seen:
        variable = f"{scheme.upper()}_PROXY"
        return await look(f"{scheme}://s3.example", environ={variable: f"http://user:{PASSWORD}@{place}"})

    async def test_refuses(self, scheme: str) -> None:
        async with HttpProxy({}, refused="s3") as proxy:
            seen = await self.see(scheme, proxy.authority)
        port = 80 if scheme == "http" else 443
        seen.names_first(
            "proxy",
            "proxy-refused",
            f"let the proxy {proxy.authority} through to s3.example:{port}, or add s3.example to NO_PROXY",
        )
        assert PASSWORD not in repr(seen.findings)

    async def test_wants_others(self, scheme: str) -> None:
        async with HttpProxy({}, user="other") as proxy:
            seen = await self.see(scheme, proxy.authority)
        seen.names_first(
            "proxy",
            "proxy-wants-credentials",
            "write user and password into the proxy's URL "
            f"({scheme.upper()}_PROXY=http://user:password@{proxy.authority})",
        )
        assert PASSWORD not in repr(seen.findings)

    async def test_lets_through(self, scheme: str, authority: CertificateAuthority) -> None:
        context = authority.server_context("s3.example") if scheme == "https" else None
        async with (
            TinyS3().serve(context) as store,
            HttpProxy({"s3": ("127.0.0.1", store.port)}, user="user", password=PASSWORD) as proxy,
        ):
            place = f"http://user:{PASSWORD}@{proxy.authority}"
            environ = {f"{scheme.upper()}_PROXY": place, "AWS_CA_BUNDLE": str(authority.path)}
            seen = await look(f"{scheme}://s3.example", environ=environ)
        assert seen.faults.keys() <= {"certificate-ending"}
        assert seen.of("proxy")[0].found == f"http://{proxy.authority} ({scheme.upper()}_PROXY)"
        assert PASSWORD not in repr(seen.findings)

    async def test_does_not_get_through(self, scheme: str) -> None:
        async with HttpProxy({}) as proxy:
            seen = await self.see(scheme, proxy.authority)
        assert seen.first[:2] == ("proxy", "proxy-cannot-reach")
        assert seen.first[2].startswith(f"look why the proxy {proxy.authority} does not reach s3.example")

    async def test_is_none(self, scheme: str) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await reader.read(1000)
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            seen = await self.see(scheme, place)
        seen.names_first(
            "proxy",
            "no-proxy",
            f"correct {scheme.upper()}_PROXY: what answers at {place} is no HTTP proxy",
        )

    async def test_says_nothing(self, scheme: str) -> None:
        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
            place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            seen = await self.see(scheme, place)
        seen.names_first(
            "proxy",
            "proxy-silent",
            f"look whether the proxy {place} runs and serves this machine, or correct {scheme.upper()}_PROXY",
        )

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            ("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!", "proxy-refused"),
            ("HTTP/1.1 502 No\r\nContent-Length: 3\r\n\r\nno!", "proxy-cannot-reach"),
            ("HTTP/1.1 403 No\r\n\r\nno!", "proxy-refused"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "no-proxy"),
        ],
    )
    async def test_keeps_the_connection_open(self, scheme: str, answer: str, fault: str) -> None:
        clock = SystemClock()
        began_s = clock.monotonic_s()
        async with answering(answer) as place:
            seen = await self.see(scheme, place)
        assert seen.first[:2] == ("proxy", fault)
        if answer != "HTTP/1.1 403 No\r\n\r\nno!":
            assert clock.monotonic_s() - began_s < 2.9, "the end is known, and not waited for"

    async def test_name_of_the_proxy_is_not_found(self, scheme: str) -> None:
        seen = await self.see(scheme, "no-such-proxy.invalid:3128")
        check, fault, cure = seen.first
        assert (check, fault) == ("dns", "name-not-found")
        assert cure.startswith(f"check the spelling of {scheme.upper()}_PROXY")


@asynccontextmanager
async def answering(answer: str) -> AsyncIterator[str]:
    """What answers each request so, and never closes a connection by itself; yields its host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer.encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_proxy_that_lets_through_and_keeps_the_connection_open() -> None:
    page = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"
    async with answering(page) as place:
        seen = await look("http://s3.example", environ={"HTTP_PROXY": f"http://{place}"})
    assert seen.verdict("proxy") is Verdict.OK
    assert seen.first[:2] == ("store", "not-s3")


class TestStore:
    @pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 503])
    async def test_web_server(self, status: int) -> None:
        async def page(request: web.Request) -> web.Response:
            return web.Response(status=status, text="<html>Welcome</html>", content_type="text/html")

        async with served(page) as port:
            seen = await look(f"http://127.0.0.1:{port}")
        seen.names_first(
            "store",
            "not-s3",
            "write the store's own S3 endpoint into s3-endpoint; "
            f"http://127.0.0.1:{port} is a web server or something else, or a gateway whose store is down",
        )
        assert seen.verdict("bucket") is Verdict.NOT_REACHED

    @pytest.mark.parametrize("read_only", [False, True])
    async def test_what_says_yes_to_everything(self, read_only: bool) -> None:
        async def nod(request: web.Request) -> web.Response:
            headers = {"ETag": '"abc"', "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
            text = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
            return web.Response(text=text, headers=headers, content_type="application/xml")

        async with served(nod) as port:
            seen = await look(f"http://127.0.0.1:{port}", read_only=read_only)
        assert [found.fault for found in seen.of("get")] == ["read-failed"]
        assert seen.faults["read-failed"].startswith("check s3-endpoint, and what stands between")
        if not read_only:
            assert seen.of("get")[0].found.startswith(r"b'\n' was written, and b'<ListBucketResult>")

    async def test_same_place_is_not_asked_twice(self) -> None:
        """At an IP address the bucket is in the path, whatever is set."""
        store = TinyS3(lambda request: refusal(403, "AccessDenied") if len(store.asked) == 1 else None)
        async with store.serve():
            seen = await look(store.endpoint)
        assert seen.first[0] == "list", "it would have been told that the other place answers"

    async def test_long_code_is_cut(self) -> None:
        async with TinyS3(lambda request: refusal(400, "A" * 3000)).serve() as store:
            seen = await look(store.endpoint)
        assert seen.first[1] == "refused-otherwise"
        assert len(seen.first[2]) < 220

    async def test_unknown_access_key(self, seaweedfs: Any) -> None:
        seen = await look(seaweedfs.endpoint, KEYS, ("s3-bucket-name", seaweedfs.new_bucket()))
        seen.names_first(
            "store",
            "unknown-access-key",
            f"set credentials-access-key-id (or what settings gives) to a key of this store: {SHOWN} is none",
        )

    async def test_wrong_secret(self, seaweedfs: Any) -> None:
        keys = Credentials(seaweedfs.access_key_id, Secret(SECRET))
        seen = await look(seaweedfs.endpoint, keys, ("s3-bucket-name", seaweedfs.new_bucket()))
        assert seen.first[:2] == ("store", "wrong-secret")
        assert seen.first[2].startswith("set the secret that was issued with access key id 'AK")
        assert seen.first[2].endswith("(it comes from settings)")

    @pytest.mark.parametrize(
        ("status", "code", "fault", "cure"),
        [
            (
                400,
                "ExpiredToken",
                "token-expired",
                "fetch new temporary credentials, or use a credentials-type",
            ),
            (400, "InvalidToken", "wrong-token", "set credentials-session-token to the one issued with"),
            (403, "InvalidSecurity", "credentials-refused", "ask the owner of the account"),
            (503, "SlowDown", "throttled", "try again later"),
            (500, "InternalError", "store-fault", "look at the store's own log"),
            (400, "OddError", "refused-otherwise", "look up 'OddError' in the store's documentation"),
        ],
    )
    async def test_refusal(self, status: int, code: str, fault: str, cure: str) -> None:
        keys = Credentials(KEYS.access_key_id, KEYS.secret_access_key, Secret(TOKEN))
        async with TinyS3(lambda request: refusal(status, code)).serve() as store:
            seen = await look(store.endpoint, keys)
        assert seen.first[:2] == ("store", fault)
        assert seen.first[2].startswith(cure)
        assert TOKEN not in repr(seen.findings)

    async def test_silence(self) -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            seen = await look(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        seen.names_first(
            "store",
            "no-answer",
            "look at the store, and at what stands between",
        )

    async def test_bucket_before_the_host_where_the_store_looks_in_the_path(self, seaweedfs: Any) -> None:
        host, port = seaweedfs.endpoint.removeprefix("http://").split(":")
        async with HttpProxy({r"s3\.example(:80)?$": (host, int(port))}) as proxy:
            seen = await look(
                "http://s3.example",
                seaweedfs.credentials,
                ("s3-bucket-name", seaweedfs.new_bucket()),
                ("s3-path-style-access", "false"),
                environ={"HTTP_PROXY": f"http://{proxy.authority}"},
            )
        seen.names_first("store", "needs-path-style", "write s3-path-style-access:true")

    async def test_bucket_before_a_host_that_no_name_server_knows(self, seaweedfs: Any) -> None:
        endpoint = seaweedfs.endpoint.replace("127.0.0.1", "localhost")
        name = seaweedfs.new_bucket()
        settings = ("s3-bucket-name", name), ("s3-path-style-access", "false")
        seen = await look(endpoint, seaweedfs.credentials, *settings)
        # Where a name server knows all below localhost, SeaweedFS itself tells.
        assert seen.first[1] in ("bucket-in-name-not-found", "needs-path-style")
        assert seen.first[2].startswith("write s3-path-style-access:true")

    async def test_bucket_in_the_path_where_the_store_looks_before_the_host(self) -> None:
        async with (
            TinyS3(style="host").serve() as store,
            HttpProxy({r"s3\.example(:80)?$": ("127.0.0.1", store.port)}) as proxy,
        ):
            seen = await look("http://s3.example", environ={"HTTP_PROXY": f"http://{proxy.authority}"})
        seen.names_first("store", "needs-virtual-host", "write s3-path-style-access:false")


class TestClock:
    @pytest.mark.parametrize(
        ("skew_s", "shown"), [(-8, " s behind"), (7200, "2.0 h ahead of"), (-600, "10 min behind")]
    )
    async def test_skew(self, seaweedfs: Any, skew_s: float, shown: str) -> None:
        seen = await look(
            seaweedfs.endpoint,
            seaweedfs.credentials,
            ("s3-bucket-name", seaweedfs.new_bucket()),
            clock=SkewedClock(skew_s),
        )
        assert seen.faults == {
            "clock-skewed": "set this machine's clock (NTP), or the store's: HiveMQ nodes and other programs "
            "do not correct it"
        }
        assert seen.of("clock")[0].found.endswith(f"{shown} the store's")

    async def test_store_that_refuses_any_time(self) -> None:
        async with TinyS3(lambda request: refusal(403, "RequestTimeTooSkewed")).serve() as store:
            seen = await look(store.endpoint)
        seen.names_first(
            "clock",
            "clock-refused",
            "set this machine's clock (NTP), or the store's",
        )


class TestRegion:
    async def test_bucket_that_was_found_elsewhere(self) -> None:
        regional = RegionalS3("mesh", "eu-west-1", KEYS, serves="eu-west-1")
        async with regional.serve():
            seen = await look(f"http://127.0.0.1:{regional.port}", read_only=True)
        seen.names_first(
            "region",
            "region-followed",
            "write s3-endpoint-region:eu-west-1: every start asks in the wrong region first",
        )

    async def test_bucket_elsewhere_that_cannot_be_followed(self) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            return refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1")

        async with TinyS3(refuse).serve() as store:
            seen = await look(store.endpoint)
        seen.names_first("region", "wrong-region", "write s3-endpoint-region:eu-west-1")

    async def test_region_that_is_refused_without_the_right_one(self) -> None:
        async with TinyS3(lambda request: refusal(400, "AuthorizationHeaderMalformed")).serve() as store:
            seen = await look(store.endpoint)
        seen.names_first(
            "region",
            "unknown-region",
            "set s3-bucket-region (s3-endpoint-region where that is set) to the region of the bucket",
        )


class TestPermissions:
    async def test_bucket_that_is_missing(self, seaweedfs: Any) -> None:
        seen = await look(seaweedfs.endpoint, seaweedfs.credentials, MISSING)
        seen.names_first(
            "bucket",
            "bucket-missing",
            "create bucket 'no-such-bucket', or correct s3-bucket-name",
        )

    @pytest.mark.parametrize("read_only", [False, True])
    async def test_bucket_that_is_missing_or_denied(self, iam_store: Any, read_only: bool) -> None:
        other = await iam_store.new_bucket()
        user = await iam_store.new_user(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": f"arn:aws:s3:::{other}/*"}],
            }
        )
        seen = await look(iam_store.endpoint, await iam_store.issue(user), MISSING, read_only=read_only)
        seen.names_first(
            "bucket",
            "bucket-missing-or-denied",
            "either create bucket 'no-such-bucket' (or correct s3-bucket-name), or allow s3:ListBucket, "
            "s3:GetObject, s3:PutObject and s3:DeleteObject on it: ask its owner which",
        )
        assert {found.verdict for found in seen.of("get") + seen.of("files")} == {Verdict.NOT_REACHED}

    async def test_missing_bucket_behind_403_is_told_at_aws(self, authority: CertificateAuthority) -> None:
        def refuse(request: web.Request) -> web.Response:
            if "Authorization" in request.headers:
                return refusal(403, "AccessDenied", "Access Denied")
            return refusal(404, "NoSuchBucket")

        async with aws(authority, TinyS3(refuse, style="host")) as environ:
            seen = await look(None, environ=environ)
        assert seen.faults.keys() == {"certificate-ending", "bucket-missing"}

    async def test_bucket_that_exists_behind_403_is_told_at_aws(
        self, authority: CertificateAuthority
    ) -> None:
        store = TinyS3(lambda request: refusal(403, "AccessDenied", "Access Denied"), style="host")
        async with aws(authority, store) as environ:
            seen = await look(None, environ=environ)
        assert seen.faults.keys() == {"certificate-ending", "list-denied", "put-denied", "delete-denied"}
        assert seen.faults["list-denied"] == "allow s3:ListBucket on arn:aws:s3:::mesh to these credentials"
        assert seen.verdict("get") is Verdict.NOT_REACHED, "403 may stand for what is missing"

    @pytest.mark.parametrize(
        ("verb", "action", "resource"),
        [
            ("List", "s3:ListBucket", ""),
            ("Get", "s3:GetObject", f"/{PREFIX}*"),
            ("Put", "s3:PutObject", f"/{PREFIX}*"),
            ("Delete", "s3:DeleteObject", f"/{PREFIX}*"),
        ],
    )
    async def test_each_that_is_missing(self, iam_store: Any, verb: str, action: str, resource: str) -> None:
        name = await iam_store.new_bucket()
        seen = await look_as(iam_store, *(each for each in _ACTIONS if each != verb), name=name)
        assert list(seen.faults) == [f"{verb.lower()}-denied"]
        assert seen.faults[f"{verb.lower()}-denied"] == (
            f"allow {action} on arn:aws:s3:::{name}{resource} to these credentials"
        )
        assert seen.verdict("bucket") is Verdict.OK
        assert await keys_in(iam_store, name) == set()

    async def test_explicit_deny(self) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            if request.method != "PUT":
                return None
            who = "arn:aws:sts::123456789012:assumed-role/a-role-with-a-long-name/i-0123456789abcdef0"
            message = (
                f"User: {who} is not authorized to perform: s3:PutObject on resource: "
                f'"arn:aws:s3:::mesh/{PREFIX}x" with an explicit deny in a resource-based policy'
            )
            return refusal(403, "AccessDenied", message)

        async with TinyS3(refuse).serve() as store:
            seen = await look(store.endpoint)
        seen.names_first(
            "put",
            "explicit-deny",
            "remove the Deny of s3:PutObject from the resource-based policy: an Allow elsewhere does not "
            "help",
        )

    async def test_explicit_deny_of_everything_tells_that_there_is_a_bucket(self) -> None:
        message = (
            "User: x is not authorized to perform: s3:ListBucket with an explicit deny in a bucket policy"
        )
        async with TinyS3(lambda request: refusal(403, "AccessDenied", message)).serve() as store:
            seen = await look(store.endpoint)
        assert seen.verdict("bucket") is Verdict.OK
        assert seen.first[:2] == ("list", "explicit-deny")

    @pytest.mark.parametrize(
        ("action", "why", "fault", "cure"),
        [
            (
                "s3:PutObjectTagging",
                "because no identity-based policy allows the s3:PutObjectTagging action",
                "put-denied",
                f"allow s3:PutObjectTagging on arn:aws:s3:::mesh/{PREFIX}* to these credentials",
            ),
            (
                "s3:PutObjectAcl",
                "with an explicit deny in an identity-based policy",
                "explicit-deny",
                "remove the Deny of s3:PutObjectAcl from the identity-based policy: ",
            ),
            (
                "kms:GenerateDataKey",
                "with an explicit deny in a resource-based policy",
                "explicit-deny",
                "remove the Deny of kms:GenerateDataKey from the resource-based policy: ",
            ),
            (
                "s3:ListBucket",
                "because no identity-based policy allows the s3:ListBucket action",
                "put-denied",
                "allow s3:ListBucket on arn:aws:s3:::mesh to these credentials",
            ),
        ],
    )
    async def test_action_that_is_not_that_of_the_verb(
        self, action: str, why: str, fault: str, cure: str
    ) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            user = "arn:aws:iam::1:user/kms:Decrypt"
            message = f"User: {user} is not authorized to perform: {action} on resource: x {why}"
            return refusal(403, "AccessDenied", message) if request.method == "PUT" else None

        async with TinyS3(refuse).serve() as store:
            seen = await look(store.endpoint)
        assert seen.first[:2] == ("put", fault)
        assert seen.first[2].startswith(cure)

    async def test_kms_key_that_may_not_be_used(self) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            message = "User: arn:aws:iam::1:user/a is not authorized to perform: kms:GenerateDataKey"
            return refusal(403, "AccessDenied", message) if request.method == "PUT" else None

        async with TinyS3(refuse).serve() as store:
            seen = await look(store.endpoint)
        seen.names_first(
            "put",
            "key-denied",
            "allow kms:GenerateDataKey on the KMS key to these credentials, in its key policy or by IAM",
        )

    async def test_read_only_writes_nothing_and_says_so(self) -> None:
        async with TinyS3().serve() as store:
            seen = await look(store.endpoint, read_only=True)
        assert {request.split()[0] for request in store.asked} == {"GET"}
        assert seen.faults == {}
        for check in ("put", "delete", "conditions", "metadata", "encryption"):
            assert seen.of(check) == [
                Finding(check, Verdict.NOT_TRIED, "--read-only writes nothing"),
            ]
        assert seen.verdict("get") is Verdict.OK

    async def test_read_only_names_what_may_not_be_read(self, iam_store: Any) -> None:
        name = await iam_store.new_bucket()
        await put(iam_store, name, {"n1": node_file("n1", "10.0.0.2", 7800)})
        seen = await look_as(iam_store, "List", name=name, read_only=True)
        assert list(seen.faults) == ["get-denied"]

    async def test_probe_that_cannot_be_taken_away_is_named(self) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            is_last = request.method == "DELETE" and any("PUT" in asked for asked in store.asked)
            return refusal(403, "AccessDenied") if is_last else None

        store = TinyS3(refuse)
        async with store.serve():
            seen = await look(store.endpoint)
        (key,) = store.objects
        assert seen.faults["probe-left"] == f"delete {key!r} by hand; no node counts it"

    async def test_probe_that_was_left_behind_is_taken_away(self) -> None:
        store = TinyS3()
        old = f"{PREFIX}s3discovery-probe-0123456789abcdef"
        store.objects = {old: (b"\n", {}), f"{PREFIX}s3discovery-probe-mine": (b"\n", {})}
        async with store.serve():
            await look(store.endpoint)
        assert set(store.objects) == {f"{PREFIX}s3discovery-probe-mine"}

    async def test_ctrl_c_takes_the_probe_away(self) -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.method == "PUT" and not reached.is_set():
                reached.set()
                await go_on.wait()
            return await store._answer(request)

        store = TinyS3()
        async with served(answer) as port:
            process = await start(*texts(f"http://127.0.0.1:{port}", KEYS, {}))
            async with asyncio.timeout(LIMIT_S):
                await reached.wait()
                process.send_signal(signal.SIGINT)
                go_on.set()
                _, err = await process.communicate()
        assert process.returncode == 1
        assert b"Aborted" in err
        assert any("PUT" in asked for asked in store.asked)
        assert store.objects == {}

    async def test_second_ctrl_c_names_the_probe_that_may_be_left(self) -> None:
        reached, deleting = asyncio.Event(), asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.method == "DELETE" and store.objects:
                deleting.set()
                await asyncio.sleep(LIMIT_S)
            if request.method == "PUT":
                reached.set()
            return await store._answer(request)

        store = TinyS3()
        async with served(answer) as port:
            process = await start(*texts(f"http://127.0.0.1:{port}", KEYS, {}))
            async with asyncio.timeout(LIMIT_S):
                await reached.wait()
                process.send_signal(signal.SIGINT)
                await deleting.wait()
                process.send_signal(signal.SIGINT)
                _, err = await process.communicate()
        assert process.returncode == 1
        (key,) = store.objects
        assert f"key={key!r}" in err.decode()


class TestStoreThatDoesLess:
    @pytest.mark.parametrize("prefix", ["/a/", "a\\b/", "a//b/"])
    async def test_keys_that_are_changed(self, seaweedfs: Any, prefix: str) -> None:
        settings = ("s3-bucket-name", seaweedfs.new_bucket()), ("file-prefix", prefix)
        seen = await look(seaweedfs.endpoint, seaweedfs.credentials, *settings)
        seen.names_first(
            "listed",
            "keys-changed",
            "set a file-prefix without a leading or doubled '/' and without '\\': the store changes such "
            "keys",
        )
        assert await keys_in(seaweedfs, settings[0][1]) == set()

    async def test_keys_that_were_changed_before(self) -> None:
        store = TinyS3(lambda request: changed if request.query else None)
        row = "<Key>a/n1</Key><LastModified>2026-01-02T03:04:05Z</LastModified><Size>1</Size>"
        changed = web.Response(text=f"<ListBucketResult><Contents>{row}</Contents></ListBucketResult>")
        async with store.serve():
            seen = await look(store.endpoint, KEYS, ("file-prefix", "/a/"), read_only=True)
        assert seen.first[:2] == ("list", "keys-changed")
        assert seen.verdict("bucket") is Verdict.OK

    @pytest.mark.parametrize("prefix", ["a/../b/", "./a/"])
    async def test_dots_between_slashes(self, seaweedfs: Any, prefix: str) -> None:
        settings = ("s3-bucket-name", seaweedfs.new_bucket()), ("file-prefix", prefix)
        seen = await look(seaweedfs.endpoint, seaweedfs.credentials, *settings)
        cure = "choose a file-prefix without '.' or '..' between its slashes"
        assert seen.faults == {"delete-failed": cure, "write-failed": cure, "read-failed": cure}

    async def test_listing_that_is_behind(self) -> None:
        class Behind(TinyS3):
            def _listing(self, prefix: str) -> str:
                return super()._listing("no such prefix")

        async with Behind().serve() as store:
            seen = await look(store.endpoint)
        seen.names_first(
            "listed",
            "list-stale",
            "use a store, or a release of it, whose listings show every write at once: nodes find each other "
            "by them",
        )

    async def test_listing_with_another_etag(self) -> None:
        class Wrong(TinyS3):
            def _listing(self, prefix: str) -> str:
                return super()._listing(prefix).replace("<ETag>0", "<ETag>1")

        async with Wrong().serve() as store:
            seen = await look(store.endpoint)
        assert list(seen.faults) == ["list-stale"]

    async def test_customer_key_that_is_refused(
        self, tmp_path: Path, authority: CertificateAuthority
    ) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            name = "x-amz-server-side-encryption-customer-algorithm"
            is_asked = request.method == "PUT" and name in request.headers
            return refusal(400, "InvalidArgument") if is_asked else None

        path = tmp_path / "key"
        path.write_bytes(b"k" * 32)
        async with TinyS3(refuse).serve(authority.server_context("127.0.0.1")) as store:
            seen = await look(
                f"https://127.0.0.1:{store.port}",
                KEYS,
                ("sse-customer-key-file", str(path)),
                environ={"AWS_CA_BUNDLE": str(authority.path)},
            )
        assert seen.faults["encryption-refused"] == (
            "correct sse-customer-key-file, or let the store know this encryption"
        )
        assert seen.verdict("get") is Verdict.OK
        assert store.objects == {}

    async def test_conditions_that_are_ignored(self, moto_server: Any) -> None:
        name = moto_server.new_bucket()
        async with without(moto_server.endpoint, "if-match", "if-none-match") as endpoint:
            seen = await look(endpoint, KEYS, ("s3-bucket-name", name))
        assert list(seen.faults) == ["conditions-ignored"]
        assert seen.faults["conditions-ignored"].startswith(
            "use a release of the store that honours If-Match and If-None-Match, or live with it: of several"
        )
        found = seen.of("conditions")[0]
        assert found.verdict is Verdict.WARNING
        assert found.found == "not honoured: conditional_create, conditional_write, conditional_delete"
        assert await keys_in(moto_server, name) == set()

    async def test_conditions_that_are_refused(self) -> None:
        def refuse(request: web.Request) -> web.Response | None:
            return refusal(412, "PreconditionFailed") if "If-Match" in request.headers else None

        async with TinyS3(refuse).serve() as store:
            seen = await look(store.endpoint)
        assert seen.faults == {
            "conditions-refused": "use a release of the store that honours If-Match and If-None-Match, or "
            "live with it: nodes write without"
        }

    async def test_metadata_that_is_lost(self, moto_server: Any) -> None:
        async with without(moto_server.endpoint, "x-amz-meta-") as endpoint:
            seen = await look(endpoint, KEYS, ("s3-bucket-name", moto_server.new_bucket()))
        assert list(seen.faults) == ["metadata-lost"]
        assert seen.faults["metadata-lost"].startswith(
            "let the store and what stands between keep x-amz-meta-*"
        )

    async def test_encryption_that_is_refused(self, seaweedfs: Any) -> None:
        seen = await look(
            seaweedfs.endpoint,
            seaweedfs.credentials,
            ("s3-bucket-name", seaweedfs.new_bucket()),
            ("server-side-encryption", "aws:kms"),
            ("kms-key-id", "12345678-1234-1234-1234-123456789012"),
        )
        assert seen.first[:2] == ("encryption", "encryption-refused")
        assert seen.first[2] == (
            "correct server-side-encryption and kms-key-id, or let the store know this encryption"
        )
        assert seen.verdict("put") is Verdict.NOT_REACHED

    async def test_encryption_that_is_accepted(self, moto_server: Any) -> None:
        name = moto_server.new_bucket()
        settings = ("s3-bucket-name", name), ("server-side-encryption", "AES256")
        seen = await look(moto_server.endpoint, KEYS, *settings)
        assert seen.of("encryption")[0].found == "AES256 accepted"


class TestNeighbours:
    async def test_files_and_peers(self, seaweedfs: Any) -> None:
        name = seaweedfs.new_bucket()
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        closed = free_port()
        with full_queue() as silent:
            async with server:
                port = server.sockets[0].getsockname()[1]
                files = {
                    "open": node_file("open", "127.0.0.1", port),
                    "twin": node_file("twin", "127.0.0.1", port),
                    "closed": node_file("closed", "127.0.0.1", closed),
                    "silent": node_file("silent", "127.0.0.1", silent),
                    "nameless": node_file("nameless", "no-such-host.invalid", 7800),
                    "garbage": b"<b>\x1b[31mnot a node file",
                }
                await put(seaweedfs, name, files)
                await put(seaweedfs, name, {"own": node_file("own", "10.0.0.9", 7800)})
                seen = await look(seaweedfs.endpoint, seaweedfs.credentials, ("s3-bucket-name", name))
        assert seen.faults.keys() == {"files-unreadable", "address-twice", "id-taken", "peers-unreachable"}
        assert seen.of("files")[0].found == "6 members, 0 expired"
        assert f"'127.0.0.1:{port}' is that of 'open', 'twin'" in seen.of("files")[2].found
        (peers,) = seen.of("peers")
        assert peers.found.startswith("2 of 5 peers reachable, in ")
        assert f"'closed' at '127.0.0.1:{closed}' (ECONNREFUSED: " in peers.found
        assert f"'silent' at '127.0.0.1:{silent}' (no answer within 1 s)" in peers.found
        assert "'nameless' at 'no-such-host.invalid:7800' (" in peers.found
        assert peers.cure is not None
        assert peers.cure.startswith("let TCP from this machine through to them")

    async def test_unchanged_files_are_read_once(self) -> None:
        store = TinyS3()
        store.objects = {f"{PREFIX}n1": (node_file("n1", "10.0.0.2", 7800), {})}
        async with store.serve():
            await look(store.endpoint)
        assert store.asked.count(f"GET /mesh/{PREFIX}n1") == 1

    async def test_expired_files_and_one_process_with_two(self, seaweedfs: Any) -> None:
        name = seaweedfs.new_bucket()
        incarnation = f"{10**12}-{'0' * 16}"
        files = {each: node_file(each, "10.0.0.2", 7800) for each in ("a", "b")}
        await put(seaweedfs, name, files, **{"s3discovery-incarnation": incarnation})
        settings = ("s3-bucket-name", name), ("external-address", "10.0.0.2")
        seen = await look(seaweedfs.endpoint, seaweedfs.credentials, *settings)
        assert seen.faults.keys() == {"address-taken", "address-twice", "incarnation-twice"}
        assert "if 'a', 'b' is not this node itself" in seen.faults["address-taken"]
        short = ("file-expiration", "1s"), ("update-interval", "100ms")
        async with asyncio.timeout(LIMIT_S):
            while seen.faults:
                seen = await look(
                    seaweedfs.endpoint, seaweedfs.credentials, *settings, *short, read_only=True
                )
        assert seen.of("files")[0].found.startswith(f"0 members, 2 expired ('{PREFIX}a', '{PREFIX}b'; ")

    @pytest.mark.parametrize(
        ("settings", "fault", "cure"),
        [
            (
                {"external-address": "127.0.0.1"},
                "loopback-address",
                "set external-address to an address that",
            ),
            (
                {"external-address": "172.17.0.3"},
                "unreachable-kind",
                "set external-address to an address that",
            ),
            (
                {"external-address": "no-such-host.invalid"},
                "own-name-not-found",
                "let the name servers of all nodes answer for 'no-such-host.invalid'",
            ),
        ],
    )
    async def test_own_address(self, settings: dict[str, str], fault: str, cure: str) -> None:
        # Nothing else need work for that.
        seen = await look(f"http://127.0.0.1:{free_port()}", KEYS, *settings.items())
        (found,) = seen.of("address")
        assert found.fault == fault
        assert (found.cure or "").startswith(cure)

    async def test_private_among_public(self, moto_server: Any) -> None:
        name = moto_server.new_bucket()
        await put(moto_server, name, {"far": node_file("far", "1.1.1.1", 1)})
        seen = await look(moto_server.endpoint, KEYS, ("s3-bucket-name", name))
        assert seen.faults["private-and-public"] == (
            "use addresses of one network for all nodes: set external-address here or there"
        )


async def test_no_output_holds_a_secret(authority: CertificateAuthority) -> None:
    keys = Credentials(KEYS.access_key_id, Secret(SECRET), Secret(TOKEN))

    def echo(request: web.Request) -> web.Response:
        return refusal(403, "AccessDenied", "no")

    async with TinyS3(echo).serve() as store, HttpProxy({r"s3\.example": ("127.0.0.1", store.port)}) as proxy:
        environ = {"HTTP_PROXY": f"http://user:{PASSWORD}@{proxy.authority}"}
        for flags in (("--log-level", "debug"), ("--format", "json", "--log-level", "debug")):
            code, out, err = await command(
                *texts("http://s3.example", keys, {}), flags=flags, environ=environ
            )
            assert code == 1
            assert "bucket-missing-or-denied" in out or "cure: either create bucket 'mesh'" in out
            for marked in (SECRET, TOKEN, PASSWORD):
                assert marked not in out + err
