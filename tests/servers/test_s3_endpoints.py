"""Every way to an endpoint, for real: IPv6, proxies, certificates, and a bucket in another region."""

import asyncio
import logging
import socket
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, FixedCredentials
from s3discovery.credentials.sts import AssumedRole, Role, TokenService
from s3discovery.errors import (
    AccessDeniedError,
    CredentialsError,
    CredentialsRejectedError,
    ProxyError,
    SettingsError,
    StoreFaultError,
    UnreachableError,
    WrongRegionError,
)
from s3discovery.s3 import S3Bucket
from s3discovery.settings.config import Secret
from s3discovery.testing.endpoints import CertificateAuthority, HttpProxy, RegionalS3, forwarded

KEYS = Credentials("AKTEST", Secret("do-not-show-me"))
PASSWORD = "hidden/p@ss"
AWS_NAMES = tuple(
    name
    for region in ("us-east-1", "eu-west-1", "ap-south-2")
    for name in (f"s3.{region}.amazonaws.com", f"*.s3.{region}.amazonaws.com")
)


class Trusted:
    """A CA of its own, and what to set so that it is trusted."""

    def __init__(self, folder: Path) -> None:
        self.authority = CertificateAuthority(folder)
        self.environ = {"AWS_CA_BUNDLE": str(self.authority.path)}


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Trusted:
    return Trusted(tmp_path_factory.mktemp("ca"))


def bucket_at(endpoint: str | None, environ: dict[str, str] | None = None, **options: Any) -> S3Bucket:
    given: dict[str, Any] = {
        "name": "mesh",
        "region": "us-east-1",
        "endpoint": endpoint,
        "credentials": FixedCredentials(KEYS),
        "jitter": lambda: 0.0,
        "environ": environ or {},
    }
    return S3Bucket(**given | options)


@asynccontextmanager
async def aws(
    trusted: Trusted, region: str, *, way: str = "redirect"
) -> AsyncIterator[tuple[RegionalS3, dict[str, str]]]:
    """All of AWS's regions behind a proxy, with the bucket "mesh" in `region`."""
    async with AsyncExitStack() as stack:
        store = RegionalS3("mesh", region, KEYS, way=way)
        await stack.enter_async_context(store.serve(trusted.authority.server_context(*AWS_NAMES)))
        routes = {r"\.amazonaws\.com:443$": ("127.0.0.1", store.port)}
        proxy = await stack.enter_async_context(HttpProxy(routes))
        yield store, {**trusted.environ, "HTTPS_PROXY": f"http://{proxy.authority}"}


def shown(error: BaseException) -> str:
    """Return all that anybody could print of an error."""
    texts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        texts.append(repr(seen))
        texts.append(repr(vars(seen)))
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


class TestIpv6:
    async def test_signed_requests_to_a_literal_address(self, seaweedfs: Any) -> None:
        parts = urlsplit(seaweedfs.endpoint)
        async with forwarded("::1", (parts.hostname or "", parts.port or 0)) as port:
            credentials = FixedCredentials(seaweedfs.credentials)
            options = {"name": seaweedfs.new_bucket(), "credentials": credentials}
            async with bucket_at(f"http://[::1]:{port}", **options) as bucket:
                await bucket.put("n1", b"x")
                assert [entry.key for entry in (await bucket.list("")).entries] == ["n1"]
                await bucket.delete("n1")
            wrong = Credentials(seaweedfs.access_key_id, Secret("wrong"))
            async with bucket_at(
                f"http://[::1]:{port}", **options | {"credentials": FixedCredentials(wrong)}
            ) as bucket:
                with pytest.raises(CredentialsRejectedError):
                    await bucket.list("")

    async def test_by_tls(self, trusted: Trusted) -> None:
        store = RegionalS3("mesh", "us-east-1", KEYS)
        context = trusted.authority.server_context("::1")
        async with (
            store.serve(context),
            forwarded("::1", ("127.0.0.1", store.port)) as port,
            bucket_at(f"https://[::1]:{port}", trusted.environ) as bucket,
        ):
            assert (await bucket.list("")).entries == ()


class TestRegions:
    @pytest.mark.parametrize("way", ["redirect", "temporary", "constraint"])
    @pytest.mark.parametrize("home", ["eu-west-1", "us-east-1"])
    async def test_bucket_in_another_region_is_found_and_kept_to(
        self, trusted: Trusted, caplog: pytest.LogCaptureFixture, way: str, home: str
    ) -> None:
        configured = "ap-south-2"
        async with (
            aws(trusted, home, way=way) as (store, environ),
            bucket_at(None, environ, region=configured) as bucket,
        ):
            assert bucket.found_region is None
            assert (await bucket.put("n1", b"x", {"k": "v"})).etag == "e1"
            assert bucket.found_region == bucket.location.region == home
            for _ in range(3):
                await bucket.list("")
            await bucket.delete("n1")
        there = f"mesh.s3.{home}.amazonaws.com"
        assert [host for host, _, _ in store.requests] == [
            f"mesh.s3.{configured}.amazonaws.com",
            *[there] * 5,
        ]
        assert [scope for _, scope, _ in store.requests] == [configured, *[home] * 5]
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert f"write s3-bucket-region:{home}" in warnings[0]

    async def test_calls_at_the_same_time_find_it_together(
        self, trusted: Trusted, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with aws(trusted, "eu-west-1") as (_, environ), bucket_at(None, environ) as bucket:
            await asyncio.gather(*(bucket.put(f"n{number}", b"x") for number in range(40)))
            assert bucket.found_region == "eu-west-1"
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1

    async def test_right_region_is_not_found_anew(self, trusted: Trusted) -> None:
        async with aws(trusted, "us-east-1") as (store, environ), bucket_at(None, environ) as bucket:
            await bucket.list("")
            assert bucket.found_region is None
        assert len(store.requests) == 1

    async def test_host_of_aws_written_as_endpoint_changes_with_the_region(
        self, trusted: Trusted, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with (
            aws(trusted, "eu-west-1") as (store, environ),
            bucket_at("https://s3.us-east-1.amazonaws.com", environ) as bucket,
        ):
            await bucket.list("")
        assert store.requests[-1] == ("mesh.s3.eu-west-1.amazonaws.com", "eu-west-1", 200)
        assert (
            "s3-endpoint-region:eu-west-1 and s3-endpoint:https://s3.eu-west-1.amazonaws.com" in caplog.text
        )

    async def test_endpoint_of_ones_own_is_signed_for_its_region(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = RegionalS3("mesh", "garage", KEYS, serves="garage")
        async with store.serve(), bucket_at(f"http://127.0.0.1:{store.port}") as bucket:
            await bucket.put("n1", b"x")
            await bucket.list("")
            assert bucket.found_region == "garage"
        assert [request[1:] for request in store.requests] == [
            ("us-east-1", 400),
            ("garage", 200),
            ("garage", 200),
        ]
        assert "write s3-endpoint-region:garage" in caplog.text

    @pytest.mark.parametrize("region", ["Not a region", "x" * 100, "a/b", "ä"])
    async def test_garbage_leads_nowhere(self, region: str) -> None:
        store = RegionalS3("mesh", region, KEYS, serves=region)
        async with store.serve(), bucket_at(f"http://127.0.0.1:{store.port}") as bucket:
            with pytest.raises(WrongRegionError, match="can be none") as caught:
                await bucket.list("")
        assert caught.value.region is None
        assert len(store.requests) == 1

    @pytest.mark.parametrize("region", ["cn-north-1", "garage", "evil.example.com"])
    async def test_aws_never_leads_to_another_partition_or_host(self, trusted: Trusted, region: str) -> None:
        async with aws(trusted, region) as (store, environ), bucket_at(None, environ) as bucket:
            with pytest.raises(WrongRegionError):
                await bucket.list("")
            assert bucket.found_region is None
        assert [host for host, _, _ in store.requests] == ["mesh.s3.us-east-1.amazonaws.com"]

    async def test_region_that_does_not_help_is_given_up(self, trusted: Trusted) -> None:
        # "eu-west-9" has no host: the certificate is not for it, and nothing is kept.
        async with aws(trusted, "eu-west-9") as (store, environ), bucket_at(None, environ) as bucket:
            with pytest.raises(WrongRegionError, match="s3-bucket-region:eu-west-9") as caught:
                await bucket.list("")
            assert "the certificate is not for the name mesh.s3.eu-west-9" in str(caught.value.__cause__)
            assert "s3-path-style-access" not in str(caught.value.__cause__), "AWS has every bucket's name"
            assert bucket.found_region is None
            assert bucket.location.region == "us-east-1"
        assert len(store.requests) == 1


class TestProxy:
    @asynccontextmanager
    async def store_behind(self, trusted: Trusted, **options: Any) -> AsyncIterator[HttpProxy]:
        store = RegionalS3("mesh", "us-east-1", KEYS)
        async with (
            store.serve(trusted.authority.server_context(*AWS_NAMES)),
            HttpProxy({"amazonaws": ("127.0.0.1", store.port)}, **options) as proxy,
        ):
            yield proxy

    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    async def test_https_goes_by_connect(self, trusted: Trusted, variable: str) -> None:
        async with self.store_behind(trusted, user="john", password=PASSWORD) as proxy:
            url = f"http://john:hidden%2Fp%40ss@{proxy.authority}"
            async with bucket_at(None, {**trusted.environ, variable: url}) as bucket:
                await bucket.list("")
                await bucket.put("n1", b"x")
        assert set(proxy.requests) == {"CONNECT mesh.s3.us-east-1.amazonaws.com:443 HTTP/1.1"}

    async def test_http_goes_through_whole(self, seaweedfs: Any) -> None:
        parts = urlsplit(seaweedfs.endpoint)
        target = (parts.hostname or "", parts.port or 0)
        async with HttpProxy({"store.test": target}, user="john", password=PASSWORD) as proxy:
            environ = {"HTTP_PROXY": f"http://john:hidden%2Fp%40ss@{proxy.authority}"}
            options = {
                "name": seaweedfs.new_bucket(),
                "credentials": FixedCredentials(seaweedfs.credentials),
            }
            async with bucket_at("http://store.test:8333", environ, **options) as bucket:
                await bucket.put("n1", b"x")
                assert [entry.key for entry in (await bucket.list("")).entries] == ["n1"]
            # What the store itself refuses is not the proxy's fault.
            options["credentials"] = FixedCredentials(seaweedfs.lister)
            async with bucket_at("http://store.test:8333", environ, **options) as bucket:
                with pytest.raises(AccessDeniedError):
                    await bucket.put("n1", b"x")
        assert len(proxy.requests) == 3

    @pytest.mark.parametrize("key", ["//a/../b /+%", "ü~?#&=\\", "no-utf8-\udcff"])
    async def test_keys_pass_byte_for_byte(self, key: str) -> None:
        store = RegionalS3("mesh", "us-east-1", KEYS)  # which checks signatures over the path as it came
        async with (
            store.serve(),
            HttpProxy({"store.test": ("127.0.0.1", store.port)}) as proxy,
            bucket_at("http://store.test", {"HTTP_PROXY": proxy.authority}) as bucket,
        ):
            await bucket.put(key, b"x", {"k": "v"})
            await bucket.list(key)

    async def test_proxy_that_stays_silent_is_named(self) -> None:
        never = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await never.wait()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with bucket_at(None, {"HTTPS_PROXY": url}, call_limit_s=0.2) as bucket:
                with pytest.raises(UnreachableError, match=rf"within 0.2 s.*through the proxy {url}"):
                    await bucket.list("")
            never.set()

    @pytest.mark.parametrize("endpoint", [None, "http://s3.amazonaws.com"], ids=["https", "http"])
    @pytest.mark.parametrize(
        ("options", "user", "cure"),
        [
            ({"user": "john", "password": "other"}, "john:hidden%2Fp%40ss@", "does not accept the user"),
            ({"user": "john", "password": "other"}, "", "write user and password into ALL_PROXY"),
            ({"refused": "amazonaws"}, "john:hidden%2Fp%40ss@", "refuses to go on to mesh.*NO_PROXY"),
            ({}, "john:hidden%2Fp%40ss@", "could not reach mesh"),
        ],
        ids=["wrong password", "no password", "403", "502"],
    )
    async def test_refusal_is_the_proxys_own(
        self, trusted: Trusted, endpoint: str | None, options: dict[str, str], user: str, cure: str
    ) -> None:
        routes = {} if not options else {"amazonaws": ("127.0.0.1", 9)}
        async with HttpProxy(routes, **options) as proxy:
            environ = {**trusted.environ, "ALL_PROXY": f"http://{user}{proxy.authority}"}
            async with bucket_at(endpoint, environ) as bucket:
                with pytest.raises(ProxyError, match=rf"{proxy.authority} \(ALL_PROXY\) .*{cure}") as caught:
                    await bucket.list("")
        assert len(proxy.requests) == (1 if options else 4), "only what may pass is tried again"
        for secret in ("p@ss", "%40ss", "am9obj"):
            assert secret not in shown(caught.value)

    async def test_proxy_that_is_not_there(self) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            proxy = f"http://john:hidden@127.0.0.1:{held.getsockname()[1]}"
            async with bucket_at(None, {"HTTPS_PROXY": proxy}) as bucket:
                with pytest.raises(
                    ProxyError, match=r"ECONNREFUSED.*correct HTTPS_PROXY, or put mesh"
                ) as caught:
                    await bucket.list("")
        assert "hidden" not in shown(caught.value)

    async def test_proxy_whose_name_is_not_found(self) -> None:
        async with bucket_at(None, {"HTTPS_PROXY": "http://no-such-proxy.invalid:3128"}) as bucket:
            with pytest.raises(ProxyError, match=r"no-such-proxy\.invalid:3128 .*DNS: .*correct HTTPS_PROXY"):
                await bucket.list("")

    async def test_answer_that_is_no_http_shows_no_secret(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            writer.close()

        keys = Credentials("AKTEST", Secret("do-not-show-me"), Secret("hidden-token"))
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            proxy = f"john:hidden@127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with bucket_at(
                "http://store.test", {"HTTP_PROXY": proxy}, credentials=FixedCredentials(keys)
            ) as bucket:
                with pytest.raises(StoreFaultError, match="no HTTP") as caught:
                    await bucket.list("")
        for secret in ("hidden", "am9obj"):
            assert secret not in shown(caught.value)

    async def test_proxy_that_speaks_tls_itself(self, trusted: Trusted) -> None:
        async with self.store_behind(trusted) as proxy:
            context = trusted.authority.server_context("127.0.0.1")
            async with tls_before(context, proxy.authority) as authority:
                environ = {**trusted.environ, "HTTPS_PROXY": f"https://{authority}"}
                async with bucket_at(None, environ) as bucket:
                    await bucket.list("")
        assert proxy.requests[0].startswith("CONNECT mesh.s3.us-east-1.amazonaws.com:443")

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
    async def test_this_machine_is_never_behind_a_proxy(self, host: str) -> None:
        store = RegionalS3("mesh", "us-east-1", KEYS)
        async with store.serve(), forwarded("::1", ("127.0.0.1", store.port)) as port:
            endpoint = f"http://{host}:{port if host == '[::1]' else store.port}"
            async with bucket_at(endpoint, {"ALL_PROXY": "http://127.0.0.1:9"}) as bucket:
                await bucket.list("")

    def test_proxy_that_is_none_is_a_wrong_setting(self) -> None:
        with pytest.raises(SettingsError, match="HTTPS_PROXY") as caught:
            bucket_at(None, {"HTTPS_PROXY": "http://john:hidden@:x"})
        assert "hidden" not in str(caught.value)


@asynccontextmanager
async def tls_before(context: ssl.SSLContext, authority: str) -> AsyncIterator[str]:
    """Take TLS off before a server of plain text; yields host and port."""
    host, _, port = authority.partition(":")
    async with forwarded("127.0.0.1", (host, int(port)), context) as own:
        yield f"127.0.0.1:{own}"


class TestCertificates:
    @asynccontextmanager
    async def store(self, context: ssl.SSLContext) -> AsyncIterator[str]:
        store = RegionalS3("mesh", "us-east-1", KEYS)
        async with store.serve(context):
            yield f"https://localhost:{store.port}"

    @pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
    async def test_ca_that_a_variable_names_is_trusted(self, trusted: Trusted, variable: str) -> None:
        environ = {variable: str(trusted.authority.path)}
        context = trusted.authority.server_context("localhost")
        async with self.store(context) as endpoint, bucket_at(endpoint, environ) as bucket:
            await bucket.list("")

    async def test_aws_ca_bundle_wins(self, trusted: Trusted, tmp_path: Path) -> None:
        other = str(CertificateAuthority(tmp_path, "other").path)
        mine = str(trusted.authority.path)
        async with self.store(trusted.authority.server_context("localhost")) as endpoint:
            async with bucket_at(
                endpoint, {"AWS_CA_BUNDLE": mine, "REQUESTS_CA_BUNDLE": other, "SSL_CERT_FILE": other}
            ) as bucket:
                await bucket.list("")
            async with bucket_at(endpoint, {"AWS_CA_BUNDLE": other, "SSL_CERT_FILE": mine}) as bucket:
                with pytest.raises(UnreachableError, match="AWS_CA_BUNDLE"):
                    await bucket.list("")

    @pytest.mark.parametrize(
        ("names", "options", "cure"),
        [
            (["localhost"], {"ends_in_days": -1}, "has expired .*renew it"),
            (["localhost"], {"begins_in_days": 1}, "is not valid yet .*set this machine's clock"),
            (["elsewhere.example.com"], {}, "not for the name localhost .*write s3-endpoint with a name"),
        ],
        ids=["expired", "not yet", "other name"],
    )
    async def test_each_fault_has_its_own_cure(
        self, trusted: Trusted, names: list[str], options: dict[str, float], cure: str
    ) -> None:
        context = trusted.authority.server_context(*names, **options)
        async with self.store(context) as endpoint, bucket_at(endpoint, trusted.environ) as bucket:
            with pytest.raises(UnreachableError, match=rf"TLS: the certificate .*{cure}"):
                await bucket.list("")

    @pytest.mark.parametrize("environ", [{}, {"SSL_CERT_FILE": ""}])
    async def test_ca_that_nobody_knows(self, trusted: Trusted, environ: dict[str, str]) -> None:
        context = trusted.authority.server_context("localhost")
        async with self.store(context) as endpoint, bucket_at(endpoint, environ) as bucket:
            with pytest.raises(UnreachableError, match=r"TLS: .* is not trusted .*AWS_CA_BUNDLE"):
                await bucket.list("")

    async def test_bucket_before_a_host_that_the_certificate_does_not_cover(self, trusted: Trusted) -> None:
        store = RegionalS3("mesh", "us-east-1", KEYS)
        async with (
            store.serve(trusted.authority.server_context("store.test")),
            HttpProxy({"store.test": ("127.0.0.1", store.port)}) as proxy,
        ):
            environ = {**trusted.environ, "HTTPS_PROXY": f"http://{proxy.authority}"}
            async with bucket_at("https://store.test", environ, path_style=False) as bucket:
                with pytest.raises(UnreachableError, match=r"mesh\.store\.test .*s3-path-style-access:true"):
                    await bucket.list("")
            async with bucket_at("https://store.test", environ) as bucket:
                await bucket.list("")

    async def test_bucket_before_a_host_that_is_not_found(self) -> None:
        async with bucket_at("http://store.invalid", path_style=False) as bucket:
            with pytest.raises(UnreachableError, match=r"mesh\.store\.invalid .*s3-path-style-access:true"):
                await bucket.list("")

    async def test_certificate_behind_a_proxy(self, trusted: Trusted) -> None:
        async with aws(trusted, "us-east-1") as (_, environ):
            del environ["AWS_CA_BUNDLE"]
            async with bucket_at(None, environ) as bucket:
                with pytest.raises(UnreachableError, match=r"TLS: .*through the proxy") as caught:
                    await bucket.list("")
        assert not isinstance(caught.value, ProxyError)

    @pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
    async def test_unreadable_ca_is_a_wrong_setting(self, variable: str) -> None:
        with pytest.raises(SettingsError, match=rf"{variable}='/no/such/ca\.pem': does not exist"):
            async with bucket_at("https://localhost:1", {variable: "/no/such/ca.pem"}):
                pass


class TestTokenService:
    """STS is reached as the store is: through the proxy, and by the CAs that variables name."""

    ANSWER = (
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKROLE</AccessKeyId>"
        "<SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>"
        "<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )

    @asynccontextmanager
    async def service(self, trusted: Trusted, **options: str) -> AsyncIterator[str]:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text=self.ANSWER)

        app = web.Application()
        app.add_routes([web.post("/", answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            context = trusted.authority.server_context("sts.eu-west-1.amazonaws.com")
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            routes = {"^sts.eu-west-1.amazonaws.com:443$": ("127.0.0.1", runner.addresses[0][1])}
            async with HttpProxy(routes, **options) as proxy:
                yield proxy.authority
        finally:
            await runner.cleanup()

    def role(self, environ: dict[str, str]) -> AssumedRole:
        service = TokenService(environ, "eu-west-1", SystemClock())
        return AssumedRole(Role("arn:aws:iam::123456789012:role/mqtt"), FixedCredentials(KEYS), service)

    async def test_role_is_taken_through_a_proxy(self, trusted: Trusted) -> None:
        async with self.service(trusted, user="john", password=PASSWORD) as proxy:
            url = f"http://john:hidden%2Fp%40ss@{proxy}"
            issued = await self.role({**trusted.environ, "HTTPS_PROXY": url}).issue()
        assert issued.credentials.access_key_id == "AKROLE"

    async def test_refusal_and_unknown_ca_are_told_apart(self, trusted: Trusted) -> None:
        async with self.service(trusted, user="john", password="other") as proxy:
            url = f"http://john:hidden@{proxy}"
            with pytest.raises(CredentialsError, match=r"through the proxy .*refused \(HTTP 407\)") as caught:
                await self.role({**trusted.environ, "HTTPS_PROXY": url}).issue()
            for secret in ("hidden", "am9obj"):
                assert secret not in shown(caught.value)
        async with self.service(trusted) as proxy:
            with pytest.raises(CredentialsError, match=r"not trusted .*AWS_CA_BUNDLE"):
                await self.role({"HTTPS_PROXY": f"http://{proxy}"}).issue()

    def test_proxy_that_is_none_is_a_wrong_setting(self) -> None:
        with pytest.raises(SettingsError, match="HTTPS_PROXY"):
            self.role({"HTTPS_PROXY": "socks5://p"})
