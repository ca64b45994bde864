"""Every credentials-type against decoys in all the others, on services that really answer and a store that
really refuses. Everything is on loopback; whoever might ask elsewhere is pointed here."""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import traceback
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web

from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, CredentialsProvider, FixedCredentials, provider_for
from s3discovery.credentials.container import ContainerRole
from s3discovery.credentials.instance import InstanceProfile
from s3discovery.credentials.sts import AssumedRole, Role, TokenService
from s3discovery.demo.child import choose_ports
from s3discovery.demo.seaweedfs import Identity, SeaweedError, SeaweedFS, find_weed, new_credentials
from s3discovery.errors import AccessDeniedError, BucketError, CredentialsError
from s3discovery.s3 import S3Bucket
from s3discovery.settings.config import Secret, Settings
from s3discovery.testing import make_settings

MARK = "M4RKED"
ROLE_ARN = "arn:aws:iam::123456789012:role/mqtt"
IMDS_TOKEN = "imds-token"
CONTAINER_TOKEN = "container-token"
WEB_TOKEN = "web-token"
SSO_TOKEN = "sso-token"
SOURCES = (
    "settings",
    "environment",
    "java",
    "file",
    "instance",
    "web_identity",
    "container",
    "process",
    "role",
    "sso",
)
# Which source each type takes; temporary_session and anonymous have tests of their own.
TYPES = {
    "access_key": "settings",
    "environment_variables": "environment",
    "java_system_properties": "java",
    "user_credentials_file": "file",
    "instance_profile_credentials": "instance",
    "web_identity": "web_identity",
    "container": "container",
    "process": "process",
    "assume_role": "role",
    "sso": "sso",
    "default": "environment",
}


def in_an_hour(seconds: float = 3600.0) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"


def printed(keys: Credentials, **more: object) -> dict[str, object]:
    """Return credentials as AWS's services print them; without a token, which SeaweedFS would refuse."""
    shown: dict[str, object] = {
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key.reveal(),
        "Expiration": in_an_hour(),
    }
    return shown | more


@dataclass
class Services:
    """Fakes of EC2's metadata, the container endpoint, STS and SSO in one server, and what they were asked.

    `imds` is how the metadata service behaves: v2, v1, hop (the PUT is not answered, and there is no
    version 1), hop-v1, slow, no-role, failed, broken."""

    keys: Mapping[str, Credentials]
    imds: str = "v2"
    container_status: int = 200
    asked: list[str] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)
    url: str = ""
    life_s: float = 3600.0
    instance_keys: list[Credentials] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        roles = "/latest/meta-data/iam/security-credentials/"
        return [
            web.put("/latest/api/token", self.imds_token),
            web.get(roles, self.imds_role),
            web.get(roles + "{role}", self.imds_keys),
            web.get("/container", self.container),
            web.post("/", self.sts),
            web.get("/federation/credentials", self.sso),
        ]

    async def imds_token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        assert request.headers["X-aws-ec2-metadata-token-ttl-seconds"].isdigit()
        if self.imds in ("hop", "hop-v1", "slow"):
            await asyncio.sleep(30)
        if self.imds == "v1":
            raise web.HTTPNotFound
        if self.imds == "broken":
            raise web.HTTPInternalServerError
        return web.Response(text=IMDS_TOKEN)

    async def _imds_admits(self, request: web.Request) -> None:
        if self.imds == "slow":
            await asyncio.sleep(30)
        if (
            self.imds not in ("v1", "hop-v1")
            and request.headers.get("X-aws-ec2-metadata-token") != IMDS_TOKEN
        ):
            raise web.HTTPUnauthorized

    async def imds_role(self, request: web.Request) -> web.Response:
        self.asked.append("role")
        await self._imds_admits(request)
        if self.imds == "no-role":
            raise web.HTTPNotFound
        return web.Response(text="mqtt-role\n")

    async def imds_keys(self, request: web.Request) -> web.Response:
        self.asked.append("keys")
        await self._imds_admits(request)
        assert request.match_info["role"] == "mqtt-role"
        if self.imds == "failed":
            return web.json_response({"Code": "AssumeRoleUnauthorizedAccess", "SecretAccessKey": MARK})
        keys = self.instance_keys.pop(0) if len(self.instance_keys) > 1 else self.keys["instance"]
        return web.json_response(printed(keys, Code="Success", Expiration=in_an_hour(self.life_s)))

    async def container(self, request: web.Request) -> web.Response:
        self.asked.append("container")
        if self.container_status != 200:
            return web.Response(status=self.container_status, text=MARK)
        if request.headers.get("Authorization") != CONTAINER_TOKEN:
            raise web.HTTPForbidden
        return web.json_response(printed(self.keys["container"]))

    async def sts(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["RoleArn"] == ROLE_ARN
        self.asked.append(str(form["Action"]))
        if form["Action"] == "AssumeRoleWithWebIdentity":
            assert "Authorization" not in request.headers
            if form["WebIdentityToken"] != WEB_TOKEN:
                return sts_error("InvalidIdentityToken")
            return sts_answer(self.keys["web_identity"])
        authorization = request.headers["Authorization"]
        self.signed_by.append(authorization.partition("Credential=")[2].partition("/")[0])
        if form.get("ExternalId") != "external-7":
            return sts_error("AccessDenied")
        return sts_answer(self.keys["role"])

    async def sso(self, request: web.Request) -> web.Response:
        self.asked.append("sso")
        assert request.headers["x-amz-sso_bearer_token"] == SSO_TOKEN
        keys = self.keys["sso"]
        return web.json_response(
            {
                "roleCredentials": {
                    "accessKeyId": keys.access_key_id,
                    "secretAccessKey": keys.secret_access_key.reveal(),
                    "sessionToken": "",
                    "expiration": int((datetime.now(UTC).timestamp() + 3600) * 1000),
                }
            }
        )


def sts_answer(keys: Credentials) -> web.Response:
    shown = "".join(f"<{name}>{text}</{name}>" for name, text in printed(keys).items())
    space = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
    return web.Response(
        text=f"<R {space}><AssumeRoleResult><Credentials>{shown}</Credentials></AssumeRoleResult></R>"
    )


def sts_error(code: str) -> web.Response:
    space = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
    text = f"<ErrorResponse {space}><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return web.Response(status=403, text=text)


@asynccontextmanager
async def serving(services: Services) -> AsyncIterator[Services]:
    app = web.Application()
    app.add_routes(services.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        port = choose_ports(["services"])["services"]
        await web.TCPSite(runner, "127.0.0.1", port).start()
        services.url = f"http://127.0.0.1:{port}"
        yield services
    finally:
        await runner.cleanup()


def plant(folder: Path, services: Services) -> dict[str, str]:
    """Put keys into every source there is; return the environment that leads to them."""
    keys = services.keys
    program = folder / "issue"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(printed(keys['process'], Version=1))}\nEND\n")
    program.chmod(0o755)
    (folder / "config").write_text(
        f"[default]\nregion=us-east-1\ncredential_process={program}\n"
        "sso_start_url=https://sso.example/start\nsso_region=us-east-1\nsso_account_id=123456789012\n"
        "sso_role_name=mqtt\n"
    )
    (folder / "credentials").write_text(
        f"[default]\naws_access_key_id={keys['file'].access_key_id}\n"
        f"aws_secret_access_key={keys['file'].secret_access_key.reveal()}\n"
    )
    (folder / "web-token").write_text(WEB_TOKEN + "\n")
    cache = folder / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    return {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": keys["environment"].access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys["environment"].secret_access_key.reveal(),
        "HIVEMQ_OPTS": (
            f"-Xmx1g '-Daws.accessKeyId={keys['java'].access_key_id}' "
            f'-Daws.secretKey="{keys["java"].secret_access_key.reveal()}"'
        ),
        "AWS_CREDENTIAL_PROFILE_FILE": str(folder / "credentials"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url + "/",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": services.url + "/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN,
        "AWS_ENDPOINT_URL_STS": services.url,
        "AWS_ENDPOINT_URL_SSO": services.url,
        "AWS_ROLE_ARN": ROLE_ARN,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "web-token"),
    }


def settings_for(kind: str, keys: Mapping[str, Credentials], **values: str) -> Settings:
    return make_settings(
        **{
            "credentials_type": kind,
            "credentials_access_key_id": keys["settings"].access_key_id,
            "credentials_secret_access_key": keys["settings"].secret_access_key.reveal(),
            "credentials_session_token": "token-of-the-settings",
            "credentials_role_arn": ROLE_ARN,
            "credentials_external_id": "external-7",
            "credentials_source": "container",
        }
        | values
    )


KEYS = {source: replace(new_credentials(), access_key_id=f"AK{source.upper()}") for source in SOURCES}


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with serving(Services(KEYS)) as running:
        yield running


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process's own environment without any trace of AWS: the SDK reads it."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    return monkeypatch


def adopt(environ: Mapping[str, str], own: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        own.setenv(name, value)


# --- each type alone


@pytest.mark.parametrize(("kind", "source"), TYPES.items())
async def test_each_type_takes_its_own_source_alone(
    kind: str, source: str, services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    environ = plant_all(tmp_path, services, own_environment)
    found = await provider_for(settings_for(kind, KEYS), environ).credentials()
    assert found.access_key_id == KEYS[source].access_key_id
    assert found.secret_access_key == KEYS[source].secret_access_key
    assert found.source


def plant_all(folder: Path, services: Services, own: pytest.MonkeyPatch) -> dict[str, str]:
    environ = plant(folder, services)
    adopt(environ, own)
    # botocore takes it from HOME when it is imported, which is before this test.
    cache = str(folder / ".aws" / "sso" / "cache")
    own.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", cache)
    cache_sso_token(folder)
    return environ


def cache_sso_token(folder: Path) -> None:
    """Write the token as `aws sso login` does: by the SHA-1 of the start URL."""
    name = hashlib.sha1(b"https://sso.example/start", usedforsecurity=False).hexdigest()
    token = {
        "startUrl": "https://sso.example/start",
        "region": "us-east-1",
        "accessToken": SSO_TOKEN,
        "expiresAt": in_an_hour(),
    }
    (folder / ".aws" / "sso" / "cache" / f"{name}.json").write_text(json.dumps(token))


ASKED = {
    "instance": ["token", "role", "keys"],
    "container": ["container"],
    "web_identity": ["AssumeRoleWithWebIdentity"],
    "role": ["container", "AssumeRole"],
    "sso": ["sso"],
}


@pytest.mark.parametrize(("kind", "source"), TYPES.items())
async def test_no_type_asks_what_is_not_its_own(
    kind: str, source: str, services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    environ = plant_all(tmp_path, services, own_environment)
    provider = provider_for(settings_for(kind, KEYS), environ)
    await provider.credentials()
    await provider.credentials()
    assert services.asked == ASKED.get(source, [])


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in ("access_key", "default")])
async def test_a_source_without_keys_is_an_error_whatever_the_others_have(
    kind: str, services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    environ = plant_all(tmp_path, services, own_environment)
    services.imds, services.container_status = "no-role", 404
    (tmp_path / "credentials").write_text("[other]\n")
    (tmp_path / "config").write_text("[default]\nregion=us-east-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "HIVEMQ_OPTS", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        kept = {"environment_variables": "AWS_ACCESS_KEY_ID", "java_system_properties": "HIVEMQ_OPTS"}
        if kept.get(kind, "AWS_WEB_IDENTITY_TOKEN_FILE") == name:
            del environ[name]
    with pytest.raises(CredentialsError) as caught:
        await provider_for(settings_for(kind, KEYS), environ).credentials()
    assert len(str(caught.value)) > 30
    for keys in KEYS.values():
        assert keys.secret_access_key.reveal() not in shown(caught.value)


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


DEFAULT_ORDER = ["environment", "java", "file", "instance", "process"]


@pytest.mark.parametrize("first", range(len(DEFAULT_ORDER)))
async def test_default_in_the_documented_order(
    first: int, services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    """Then the SDK's other sources, of which the profile's program stands here for all."""
    environ = plant_all(tmp_path, services, own_environment)
    (tmp_path / "config").write_text(f"[default]\ncredential_process={tmp_path / 'issue'}\n")
    for name in ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):  # these come before in the SDK's chain
        del environ[name]
        own_environment.delenv(name)
    gone = DEFAULT_ORDER[:first]
    if "environment" in gone:
        del environ["AWS_ACCESS_KEY_ID"]
        # Left in this process's own: the SDK must not be asked for what is ours.
    if "java" in gone:
        del environ["HIVEMQ_OPTS"]
    if "file" in gone:
        (tmp_path / "credentials").write_text("[other]\n")
    if "instance" in gone:
        services.imds = "no-role"
    found = await provider_for(settings_for("default", KEYS), environ).credentials()
    assert found.access_key_id == KEYS[DEFAULT_ORDER[first]].access_key_id


async def test_default_that_finds_nothing_says_what_each_source_said(
    services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    own_environment.setenv("HOME", str(tmp_path))
    own_environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    services.imds = "no-role"
    environ = {"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url}
    with pytest.raises(CredentialsError) as caught:
        await provider_for(settings_for("default", KEYS), environ).credentials()
    for told in (
        "AWS_ACCESS_KEY_ID is not set",
        "aws.accessKeyId is not set",
        "does not exist",
        "has no role",
        "the AWS SDK's other sources: nothing found",
    ):
        assert told in str(caught.value)


async def test_what_a_program_of_the_sdks_chain_says_does_not_show(
    tmp_path: Path, own_environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {
        "HOME": str(tmp_path),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1",
    }
    adopt(environ, own_environment)
    (tmp_path / "config").write_text(f"[default]\ncredential_process=sh -c 'echo {MARK} >&2; exit 1'\n")
    with pytest.raises(CredentialsError, match="SDK's other sources: CredentialRetrievalError") as caught:
        await provider_for(settings_for("default", KEYS), environ).credentials()
    assert MARK not in shown(caught.value)
    assert MARK not in caplog.text


# --- a store that refuses everybody else


class Background:
    """An event loop in a thread, so that one server serves many tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="store")
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


GENERATIONS = [replace(new_credentials(), access_key_id=f"AKGENERATION{number}") for number in range(8)]


@pytest.fixture(scope="module")
def store() -> Iterator[SeaweedFS]:
    """SeaweedFS in which every source's identity may use one bucket of its own, and no other."""
    try:
        find_weed()
    except SeaweedError as error:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"REQUIRE_SERVERS=1, but {error}")
        pytest.skip(str(error))

    def only(bucket: str) -> tuple[str, ...]:
        return tuple(f"{action}:{bucket}" for action in ("Read", "Write", "List"))

    identities = [Identity(source, only(bucket_of(source)), keys) for source, keys in KEYS.items()]
    identities.append(Identity("anonymous", only(bucket_of("anonymous"))))
    identities += [
        Identity(keys.access_key_id, only("generations"), keys) for number, keys in enumerate(GENERATIONS)
    ]
    loop = Background()
    try:
        server = SeaweedFS(identities)
        loop.run(server.__aenter__())
        try:
            for bucket in [*map(bucket_of, SOURCES), bucket_of("anonymous"), "generations"]:
                loop.run(server.create_bucket(bucket))
            yield server
        finally:
            loop.run(server.__aexit__(None, None, None))
    finally:
        loop.close()


def bucket_of(source: str) -> str:
    return f"of-{source.replace('_', '-')}"


async def use(endpoint: str, bucket: str, provider: CredentialsProvider) -> None:
    """Write, list, read and delete; raises what the store refuses with."""
    async with S3Bucket(name=bucket, region="us-east-1", endpoint=endpoint, credentials=provider) as opened:
        await opened.put("nodes/n1", b"1", {"a": "b"})
        assert [entry.key for entry in (await opened.list("nodes/")).entries] == ["nodes/n1"]
        assert (await opened.get("nodes/n1", limit=10)).body == b"1"
        await opened.delete("nodes/n1")


@pytest.mark.parametrize(("kind", "source"), TYPES.items())
async def test_each_type_is_let_in_by_the_store_as_its_own_source(
    kind: str, source: str, store: SeaweedFS, services: Services, tmp_path: Path,
    own_environment: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    environ = plant_all(tmp_path, services, own_environment)
    provider = provider_for(settings_for(kind, KEYS), environ)
    await use(store.endpoint, bucket_of(source), provider)
    other = next(each for each in SOURCES if each != source)
    with pytest.raises(AccessDeniedError):
        await use(store.endpoint, bucket_of(other), provider)


async def test_anonymous_requests_are_not_signed(
    store: SeaweedFS, services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    environ = plant_all(tmp_path, services, own_environment)
    provider = provider_for(settings_for("anonymous", KEYS), environ)
    await use(store.endpoint, bucket_of("anonymous"), provider)
    with pytest.raises(AccessDeniedError):
        await use(store.endpoint, bucket_of("environment"), provider)


async def test_secrets_in_mounted_files(store: SeaweedFS, tmp_path: Path) -> None:
    keys = KEYS["settings"]
    (tmp_path / "secret").write_text(keys.secret_access_key.reveal() + "\n")
    settings = make_settings(
        credentials_type="access_key",
        credentials_access_key_id=keys.access_key_id,
        credentials_secret_access_key_file=str(tmp_path / "secret"),
    )
    await use(store.endpoint, bucket_of("settings"), provider_for(settings, {}))


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no JVM")
async def test_the_properties_of_a_running_jvm(store: SeaweedFS, tmp_path: Path) -> None:
    keys = KEYS["java"]
    port = choose_ports(["registry"])["registry"]
    # A program that every JVM brings along, and that runs until it is ended.
    jvm = subprocess.Popen(
        [
            "java",
            "-Xmx32m",
            f"-Daws.accessKeyId={keys.access_key_id}",
            f"-Daws.secretKey={keys.secret_access_key.reveal()}",
            "-m",
            "java.rmi/sun.rmi.registry.RegistryImpl",
            str(port),
            "-Daws.accessKeyId=OF-THE-PROGRAM",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await until_answers(port)  # its launcher may execute itself once more, and has no command line then
        settings = make_settings(credentials_type="java_system_properties", java_pid=str(jvm.pid))
        provider = provider_for(settings, {"JAVA_OPTS": "-Daws.accessKeyId=X -Daws.secretKey=X"})
        await use(store.endpoint, bucket_of("java"), provider)
    finally:
        jvm.kill()
        jvm.wait()
    await use(store.endpoint, bucket_of("java"), provider)  # the JVM may end before we do


async def until_answers(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


async def test_three_generations_while_the_store_is_polled(store: SeaweedFS) -> None:
    """Each generation is somebody else in the store; the service is out of order now and then."""
    services = Services({"instance": GENERATIONS[-1]}, life_s=9.0, instance_keys=[*GENERATIONS])
    async with serving(services):
        settings = make_settings(credentials_type="instance_profile_credentials")
        provider = provider_for(settings, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url})
        clock, seen = SystemClock(), list[str]()
        async with S3Bucket(
            name="generations", region="us-east-1", endpoint=store.endpoint, credentials=provider
        ) as bucket:
            end_s = clock.monotonic_s() + 60
            while len(set(seen)) < 3:
                assert clock.monotonic_s() < end_s
                keys = await provider.credentials()
                assert keys.expires_s is not None
                assert keys.expires_s > clock.wall_s()
                # One renewal in two fails at first: there is life left for another.
                services.imds = "broken" if len(services.asked) % 4 == 3 else "v2"
                await bucket.list("nodes/")
                seen.append(keys.access_key_id)
                await asyncio.sleep(0.05)
    generations = list(dict.fromkeys(seen))
    assert generations == [keys.access_key_id for keys in GENERATIONS[: len(generations)]]
    assert services.asked.count("token") > services.asked.count("keys"), "the outage was real"


# --- the metadata service of EC2


LIMIT_S = 0.3


@pytest.mark.parametrize(
    ("imds", "version_1", "variable", "expected"),
    [
        ("v2", None, "", None),
        ("v2", False, "true", None),
        ("v1", None, "", None),
        ("v1", True, "true", None),
        ("v1", None, "true", r"gives no token \(HTTP 404\), and version 1 is forbidden"),
        ("v1", False, "", r"gives no token .* write credentials-metadata-v1:true"),
        ("hop", None, "", r"answers, but not to the PUT for a token; raise the instance's hop limit"),
        ("hop-v1", None, "", None),
        ("hop-v1", False, "", r"not to the PUT for a token, and version 1 is forbidden; raise .*hop limit"),
        ("slow", None, "", r"it is slow, it did not answer within 0.3 s"),
        ("no-role", None, "", r"has no role; attach an instance profile"),
        ("failed", None, "", r"role 'mqtt-role' cannot be used \('AssumeRoleUnauthorizedAccess'\)"),
        ("broken", None, "", r"gave no token \(HTTP 500\)"),
    ],
)
async def test_the_metadata_service(
    imds: str, version_1: bool | None, variable: str, expected: str | None, services: Services
) -> None:
    services.imds = imds
    environ = {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url,
        "AWS_EC2_METADATA_V1_DISABLED": variable,
    }
    profile = InstanceProfile(environ, version_1, limit_s=LIMIT_S)
    if expected is None:
        issued = await profile.issue()
        assert issued.credentials.access_key_id == "AKINSTANCE"
        assert issued.credentials.expires_s is not None
        assert issued.now_s is not None
        return
    with pytest.raises(CredentialsError, match=expected) as caught:
        await profile.issue()
    assert services.url.removeprefix("http://") in str(caught.value)
    assert MARK not in shown(caught.value)


async def test_version_1_by_the_setting(services: Services) -> None:
    services.imds = "v1"
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url, "AWS_EC2_METADATA_V1_DISABLED": "true"}
    kind = "instance_profile_credentials"
    with pytest.raises(CredentialsError, match="version 1 is forbidden"):
        await provider_for(make_settings(credentials_type=kind), environ).credentials()
    allowed = make_settings(credentials_type=kind, credentials_metadata_v1="true")
    assert (await provider_for(allowed, environ).credentials()).access_key_id == "AKINSTANCE"


async def test_a_machine_without_a_metadata_service() -> None:
    port = choose_ports(["nobody"])["nobody"]
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}"}
    with pytest.raises(CredentialsError, match=r"cannot be reached: .*is this an EC2 instance"):
        await InstanceProfile(environ, None).issue()
    with pytest.raises(CredentialsError, match="AWS_EC2_METADATA_DISABLED is true"):
        await InstanceProfile(environ | {"AWS_EC2_METADATA_DISABLED": "True"}, None).issue()


# --- containers


async def test_ecs_names_a_path_alone(services: Services) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/decoy",
    }
    issued = await ContainerRole(environ, ecs_url=services.url).issue()
    assert issued.credentials.access_key_id == "AKCONTAINER"


async def test_eks_rotates_the_token_in_a_file(services: Services, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    role = ContainerRole(
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{services.url}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "decoy",
        }
    )
    with pytest.raises(CredentialsError, match=r"refused \(HTTP 403\)"):
        await role.issue()
    token.write_text(CONTAINER_TOKEN + "\n")
    assert (await role.issue()).credentials.access_key_id == "AKCONTAINER"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor"),
        ("http://10.0.0.1/x", r"names '10.0.0.1' by http; the secret would travel in the open"),
        ("http://169.254.169.254/x", "travel in the open"),
        ("ftp://127.0.0.1/x", "by ftp"),
        ("http://[::1/x", "is no URL"),
    ],
)
async def test_a_container_endpoint_that_is_none(uri: str, message: str) -> None:
    with pytest.raises(CredentialsError, match=message):
        await ContainerRole({"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}).issue()


# --- STS


async def test_who_asks_for_a_role_is_the_source_that_is_set(
    services: Services, tmp_path: Path, own_environment: pytest.MonkeyPatch
) -> None:
    environ = plant_all(tmp_path, services, own_environment)
    for source, asker in (("access_key", "settings"), ("process", "process"), ("default", "environment")):
        settings = settings_for("assume_role", KEYS, credentials_source=source)
        await provider_for(settings, environ).credentials()
        assert services.signed_by[-1] == KEYS[asker].access_key_id


async def test_what_sts_refuses_says_why(services: Services, tmp_path: Path) -> None:
    environ = {"AWS_ENDPOINT_URL_STS": services.url, "AWS_ROLE_ARN": ROLE_ARN,
               "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}  # fmt: skip
    stranger = settings_for(
        "assume_role", KEYS, credentials_external_id="x7", credentials_source="access_key"
    )
    with pytest.raises(CredentialsError, match=r"refused \(HTTP 403 'AccessDenied' 'no'\); .*external id"):
        await provider_for(stranger, environ).credentials()
    kind = "web_identity"
    with pytest.raises(CredentialsError, match=r"AWS_WEB_IDENTITY_TOKEN_FILE .* does not exist"):
        await provider_for(make_settings(credentials_type=kind), environ).credentials()
    (tmp_path / "token").write_text(MARK)
    with pytest.raises(CredentialsError, match=r"'InvalidIdentityToken'.*identity provider") as caught:
        await provider_for(make_settings(credentials_type=kind), environ).credentials()
    assert MARK not in shown(caught.value)
    environ["AWS_ENDPOINT_URL_STS"] = "http://127.0.0.1:1"
    with pytest.raises(CredentialsError, match=r"STS at 127.0.0.1:1 cannot be reached.*AWS_ENDPOINT_URL_STS"):
        await provider_for(make_settings(credentials_type=kind), environ).credentials()


def test_sts_is_that_of_the_region_and_its_partition() -> None:
    clock = SystemClock()
    for region, host in (
        ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
    ):
        assert TokenService({}, region, clock)._url == f"https://{host}/"
        assert TokenService({"AWS_REGION": region}, "us-east-1", clock)._url == f"https://{host}/"


@dataclass
class Moto:
    """moto as a process of its own; once `strict`, it checks signatures and policies as AWS does."""

    url: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id="ROOT", aws_secret_access_key="ROOT",
        )  # fmt: skip

    def be_strict(self, strict: bool) -> None:
        body = b"0" if strict else b"inf"
        request = urllib.request.Request(  # noqa: S310 - http on loopback
            f"{self.url}/moto-api/reset-auth",
            data=body,
            method="POST",
            headers={"Content-Type": "text/plain"},
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass


@contextmanager
def run_moto() -> Iterator[Moto]:
    port = choose_ports(["moto"])["moto"]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        clock, pause = SystemClock(), threading.Event()
        end_s = clock.monotonic_s() + 30
        while clock.monotonic_s() < end_s and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5):
                    break
            except OSError:
                pause.wait(0.05)
        else:
            pytest.fail("moto did not start")
        yield Moto(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    """moto with a bucket, a user who may take a role and nothing else, and the role, which may use S3."""
    with run_moto() as running:
        running.client("s3").create_bucket(Bucket="mesh")
        iam = running.client("iam")

        def policy(action: str, **more: object) -> str:
            statement = {"Effect": "Allow", "Action": action} | more
            return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

        iam.create_user(UserName="asker")
        iam.put_user_policy(
            UserName="asker", PolicyName="p", PolicyDocument=policy("sts:AssumeRole", Resource="*")
        )
        trust = policy("sts:AssumeRole", Principal={"AWS": "*"})
        iam.create_role(RoleName="mqtt", AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName="mqtt", PolicyName="p", PolicyDocument=policy("s3:*", Resource="*"))
        yield running


@pytest.fixture
def asker(moto: Moto) -> Iterator[dict[str, str]]:
    """The environment of the user who may take the role."""
    moto.be_strict(False)
    issued = moto.client("iam").create_access_key(UserName="asker")["AccessKey"]
    yield {
        "AWS_ACCESS_KEY_ID": issued["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": issued["SecretAccessKey"],
        "AWS_ENDPOINT_URL_STS": moto.url,
    }
    moto.be_strict(False)
    moto.client("iam").delete_access_key(UserName="asker", AccessKeyId=issued["AccessKeyId"])


def assuming(**values: str) -> Settings:
    return make_settings(
        credentials_type="assume_role",
        credentials_role_arn=ROLE_ARN,
        credentials_source="environment_variables",
        **values,
    )


async def test_assume_role_by_a_real_sts(moto: Moto, asker: dict[str, str]) -> None:
    moto.be_strict(True)
    provider = provider_for(assuming(), asker)
    await use(moto.url, "mesh", provider)
    found = await provider.credentials()
    assert found.session_token
    assert found.expires_s == pytest.approx(SystemClock().wall_s() + 3600, abs=60)
    by_itself = provider_for(make_settings(credentials_type="environment_variables"), asker)
    with pytest.raises(AccessDeniedError):
        await use(moto.url, "mesh", by_itself)
    with pytest.raises(BucketError):  # so the token was looked at
        await use(moto.url, "mesh", FixedCredentials(replace(found, secret_access_key=Secret("x"))))
    wrong = asker | {"AWS_SECRET_ACCESS_KEY": MARK}
    with pytest.raises(CredentialsError, match=r"'SignatureDoesNotMatch'.*credentials-source") as caught:
        await provider_for(assuming(), wrong).credentials()
    assert MARK not in shown(caught.value)


async def test_a_web_identity_by_a_real_sts(moto: Moto, asker: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(WEB_TOKEN)
    environ = asker | {"AWS_ROLE_ARN": ROLE_ARN, "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    provider = provider_for(make_settings(credentials_type="web_identity"), environ)
    # moto wants even this request signed once it is strict; so it is made before.
    found = await provider.credentials()
    moto.be_strict(True)
    await use(moto.url, "mesh", provider)
    assert found.session_token


async def test_a_temporary_session_of_a_real_sts(moto: Moto, asker: dict[str, str]) -> None:
    issued = moto.client("sts").assume_role(RoleArn=ROLE_ARN, RoleSessionName="x7")["Credentials"]
    moto.be_strict(True)
    settings = make_settings(
        credentials_type="temporary_session",
        credentials_access_key_id=issued["AccessKeyId"],
        credentials_secret_access_key=issued["SecretAccessKey"],
        credentials_session_token=issued["SessionToken"],
    )
    await use(moto.url, "mesh", provider_for(settings, asker))


class WrongClock(SystemClock):
    """A machine whose wall clock is hours behind."""

    def wall_s(self) -> float:
        return super().wall_s() - 5 * 3600


async def test_a_wrong_clock_is_corrected_by_sts_own() -> None:
    """A service that checks the time of the signature, as AWS's does and moto does not."""
    times: list[str] = []

    async def sts(request: web.Request) -> web.Response:
        times.append(request.headers["X-Amz-Date"])
        signed = datetime.strptime(times[-1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((datetime.now(UTC) - signed).total_seconds()) > 300:
            return sts_error("SignatureDoesNotMatch")
        return sts_answer(KEYS["role"])

    app = web.Application()
    app.add_routes([web.post("/", sts)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        port = choose_ports(["sts"])["sts"]
        await web.TCPSite(runner, "127.0.0.1", port).start()
        service = TokenService(
            {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}"}, "us-east-1", WrongClock()
        )
        issued = await AssumedRole(Role(ROLE_ARN), FixedCredentials(KEYS["settings"]), service).issue()
    finally:
        await runner.cleanup()
    assert issued.credentials.access_key_id == "AKROLE"
    assert len(times) == 2


# --- what never shows


@pytest.mark.parametrize("kind", [*TYPES, "temporary_session"])
async def test_no_secret_in_any_error_or_log(
    kind: str, tmp_path: Path, own_environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every source holds marked secrets; each type is used with them, then with every source spoiled."""
    caplog.set_level(logging.DEBUG, logger="s3discovery")
    marked = {source: Credentials(f"AK{source}", Secret(f"{MARK}{source}")) for source in SOURCES}
    async with serving(Services(marked)) as services:
        environ = plant_all(tmp_path, services, own_environment)
        provider = provider_for(settings_for(kind, marked), environ)
        caplog.clear()
        seen = repr(await provider.credentials()) + repr(provider)
        for spoiled in ("config", "credentials"):
            (tmp_path / spoiled).write_text(f"[default]\nx=1\n{MARK} without a meaning\n")
        services.imds, services.container_status = "failed", 500
        spoil = {"AWS_SECRET_ACCESS_KEY": f"{MARK}\n x", "HIVEMQ_OPTS": f"'{MARK}"}
        adopt({"AWS_SECRET_ACCESS_KEY": f"{MARK} x"}, own_environment)
        settings = settings_for(kind, marked, credentials_external_id="other")
        (tmp_path / "web-token").write_text(f"{MARK}-token")
        try:
            seen += repr(await provider_for(settings, environ | spoil).credentials())
        except CredentialsError as error:  # most of them; which is not what is looked at here
            seen += shown(error)
    assert MARK not in seen
    assert MARK not in caplog.text
