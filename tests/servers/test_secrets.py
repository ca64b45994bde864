"""No secret in any output: every command in every trouble, as real processes with everything they may say.

A secret here is a text with a mark in it. The mark is letters and digits alone, so it is the same in a URL,
in a repr, in JSON and in a properties file; base64 and hexadecimal hide it, and are looked for as well.
"""

import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from s3discovery import codec
from s3discovery.agent import Agent, Parts
from s3discovery.brokers import Surroundings
from s3discovery.child import Child
from s3discovery.cli import main
from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials, EnvironmentCredentials, FixedCredentials, provider_for
from s3discovery.credentials.choice import Place as CredentialsPlace
from s3discovery.credentials.renewal import Issued
from s3discovery.demo.child import choose_ports
from s3discovery.demo.seaweedfs import Identity
from s3discovery.discovery import Discovery
from s3discovery.network.proxies import find_proxy
from s3discovery.node import Address, Member, NodeFile
from s3discovery.own_address import find_own_address
from s3discovery.s3 import S3Bucket
from s3discovery.s3.ownership import CustomerKey
from s3discovery.settings.config import Secret, Settings, Value, describe
from s3discovery.settings.keys.credentials import CREDENTIALS_TYPES
from s3discovery.testing import make_settings
from s3discovery.testing.stores import Store, way_to
from s3discovery.wiring import Origins

COMMAND = Path(sys.executable).with_name("s3discovery")
MARK = "Sn33kyM4rk7Q"
LIMIT_S = 40.0  # for what takes a second on an idle machine, and the demo ten
AT_ONCE = 4
# Commands that run until they are told to end, and what they have said once they met their trouble.
_RUNNING_ON = ("run", "watch", "observe")
_SETTLED = re.compile(r"poll failed|registered key|member joined|first attempt failed|could not be written")
# Commands without the options that all others share.
_SPECIAL: dict[str, Sequence[str]] = {
    "init": ("--no-input", "-c", "written.properties"),
    "completion": ("bash",),
    "demo": ("--help",),  # takes no settings, and its own secrets are random; run by the soak test below
}
_MORE: Mapping[str, Sequence[str]] = {"watch": ("--interval", "300ms"), "run": ("--events",)}
# Those that ask the store, in three ways: all others ask as one of them does.
_ASKING = ("run", "members", "doctor")


def secret(name: str) -> str:
    """Return a secret of a kind, with characters that are written otherwise in URLs, JSON and reprs."""
    return f"{name}{MARK}+/=%\\\"'&<{{}}"


def leaks(text: str) -> list[str]:
    """Return the places of `text` that show the mark, in whatever form."""
    forms = [re.escape(MARK), MARK.encode().hex()]
    for shift in range(3):
        # Of each alignment, what does not depend on the neighbours.
        coded = base64.b64encode(b"\0" * shift + MARK.encode()).decode()
        forms.append(re.escape(coded[(shift * 8 + 5) // 6 : (shift + len(MARK)) * 8 // 6]))
    found = re.compile("|".join(forms), re.IGNORECASE)
    return [text[max(0, hit.start() - 60) : hit.end() + 20] for hit in found.finditer(text)]


@pytest.mark.parametrize(
    "shown",
    [
        MARK,
        repr(secret("a")),
        json.dumps(secret("a")),
        MARK.lower(),
        MARK.encode().hex(),
        *(base64.b64encode(b"user:"[:cut] + MARK.encode() + b"?tail").decode() for cut in range(4)),
    ],
)
def test_the_mark_is_found_in_every_form(shown: str) -> None:
    assert leaks(f"some text {shown} and more")
    assert not leaks("some text without")


class Services:
    """Everybody a node asks, giving away what it should not: a store that repeats requests in its refusals,
    metadata and container services whose answers are broken, STS that is none, a proxy that refuses."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.asked.add(path)
        if path == "/container":
            return web.Response(status=500, text=secret("container"))
        if path == "/broken-container":
            keys = f'"AccessKeyId": "AK", "SecretAccessKey": "{MARK}\\n", "Token": "{MARK}"'
            return web.Response(text=f"{{{keys}, broken")
        if path == "/latest/api/token":
            return web.Response(text="metadata-token")
        if path.endswith("/security-credentials/"):
            return web.Response(text="role")
        if path.endswith("/security-credentials/role"):
            return web.json_response(
                {"Code": "Success", "AccessKeyId": "AK", "SecretAccessKey": [secret("imds")]}
            )
        if path == "/sts/":
            return web.Response(status=400, text=f"<html>{await request.text()} {secret('sts')}</html>")
        if request.raw_path.startswith("http"):  # as a proxy is asked
            return web.Response(status=407, text=secret("proxy"))
        return self._refusal(request)

    def _refusal(self, request: web.Request) -> web.Response:
        """Refuse as S3 refuses a wrong signature: with the headers it was sent."""
        said = "\n".join(f"{name.lower()}:{value}" for name, value in request.headers.items())
        text = "".join(
            f"<{name}>{web_escape(value)}</{name}>"
            for name, value in {
                "Code": "SignatureDoesNotMatch",
                "Message": "The request signature we calculated does not match",
                "CanonicalRequest": said,
                "StringToSign": said,
            }.items()
        )
        return web.Response(status=403, text=f"<Error>{text}</Error>", content_type="application/xml")


def web_escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    found = Services()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Trouble:
    """What is wrong, how it comes about, and what shows that it did.

    `texts` change the settings (None removes one), `said` is a pattern that the output of `commands`
    (of the first of them, at least) matches."""

    name: str
    said: str
    texts: Mapping[str, str | None] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    file: str | None = None
    commands: Sequence[str] = _ASKING


class Room:
    """A folder with secrets in all of its files, and a way to run commands in it."""

    def __init__(self, folder: Path, server: Store, services: Services) -> None:
        self.folder = folder
        self.server = server
        self.services = services
        self.bucket = server.new_bucket()
        self._slots = asyncio.Semaphore(AT_ONCE)
        for name in ("secret", "token", "customer-key", "web-token"):
            (folder / name).write_text(f"{secret(name)}\nin two lines\n")
        (folder / "malformed").write_text(f"[default\naws_secret_access_key={secret('file')}\n")
        (folder / "credentials").write_text(f"[other]\naws_secret_access_key={secret('file')}\n")
        program = folder / "issue"
        program.write_text(f"#!/bin/sh\necho '{MARK}'; echo 'failed: {MARK}' >&2; exit 3\n")
        program.chmod(0o755)
        (folder / "config").write_text(f"[default]\ncredential_process={program} --password {MARK}\n")

    @property
    def settings(self) -> dict[str, str]:
        """Settings that work."""
        return {
            **way_to(self.bucket, self.server.endpoint, self.server.credentials),
            "file-prefix": "nodes/",
            "file-expiration": "60s",
            "update-interval": "20s",
            "poll-interval": "300ms",
            "bind-address": "10.0.0.1",
        }

    def as_admin(self) -> S3Bucket:
        texts = {key.replace("-", "_"): text for key, text in self.settings.items()}
        return S3Bucket.from_settings(make_settings(**texts), FixedCredentials(self.server.credentials))

    def environ(self, trouble: Trouble) -> dict[str, str]:
        """Return marked secrets in every variable that has any, and what the trouble changes."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        marked = {
            "HOME": str(self.folder),
            "AWS_SECRET_ACCESS_KEY": secret("env"),
            "AWS_SESSION_TOKEN": secret("env-token"),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": secret("container-token"),
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.folder / "web-token"),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/mqtt",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
            "AWS_CONFIG_FILE": str(self.folder / "config"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.services.url,
            "AWS_ENDPOINT_URL_STS": f"{self.services.url}/sts/",
            "JAVA_OPTS": f"-Daws.secretKey={MARK} -Daws.sessionToken={MARK}",
        }
        return kept | marked | dict(trouble.environ)

    def arguments(self, name: str, trouble: Trouble) -> list[str]:
        """Return how `name` is called in this trouble; fails for a command that nobody says how to call."""
        command = main.commands[name]
        known = {option.name for option in command.params}
        texts = {key: text for key, text in (self.settings | dict(trouble.texts)).items() if text is not None}
        options = [word for key, text in texts.items() for word in ("-o", f"{key}={text}")]
        if name in _SPECIAL:
            return [name, *_SPECIAL[name], *(options if "options" in known else ())]
        assert {"file", "options", "java_properties", "log_level"} <= known, (
            f"say in _SPECIAL how to call {name}"
        )
        words = [name, "--log-level", "debug", "-D", f"aws.secretKey={secret('java')}", *trouble.arguments]
        if trouble.file is not None:
            file = self.folder / "some.properties"
            file.write_text(trouble.file)
            words += ["-c", str(file)]
        return [*words, *options, *_MORE.get(name, ())]

    async def output(self, name: str, trouble: Trouble) -> str:
        """Run a command in a trouble; return all it says. One that does not end by itself is told to."""
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                COMMAND,
                *self.arguments(name, trouble),
                cwd=self.folder,
                env=self.environ(trouble),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                async with asyncio.timeout(LIMIT_S):
                    said = await self._listen(process, ends=name not in _RUNNING_ON)
                    await process.wait()
            except TimeoutError:
                raise AssertionError(
                    f"{name} in {trouble.name!r} did not end; if it is not to, add it to _RUNNING_ON"
                ) from None
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return said

    async def _listen(self, process: asyncio.subprocess.Process, *, ends: bool) -> str:
        """Return all it says; tell it to end once it has said enough, unless it ends by itself."""
        assert process.stdout is not None
        said, told = "", ends
        while data := await process.stdout.read(65536):
            said += data.decode(errors="replace")
            if not told and _SETTLED.search(said):
                told = True
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
        return said

    async def try_all(self, troubles: Sequence[Trouble]) -> None:
        """Run every command of every trouble; nothing said may show the mark, and the trouble must show."""
        pairs = [
            (name, trouble) for trouble in troubles for name in trouble.commands if name in main.commands
        ]
        outputs = await asyncio.gather(*(self.output(name, trouble) for name, trouble in pairs))
        for (name, trouble), said in zip(pairs, outputs, strict=True):
            where = f"{name} in {trouble.name!r}"
            assert leaks(said) == [], where
            assert "Traceback" not in said, f"{where}: {said}"
        for trouble in troubles:
            together = "".join(said for (_, of), said in zip(pairs, outputs, strict=True) if of is trouble)
            assert re.search(trouble.said, together), f"{trouble.name!r} did not come about: {together}"


@pytest.fixture
def room(tmp_path: Path, seaweedfs: Store, services: Services) -> Room:
    return Room(tmp_path, seaweedfs, services)


ALL = tuple(main.commands)


async def test_when_all_is_well(room: Room) -> None:
    async with room.as_admin() as bucket:
        written = NodeFile("1", int(SystemClock().wall_s() * 1000), "other", Address("10.0.0.2", 7800))
        await bucket.put("nodes/other", codec.encode(written, "1"))
    await room.try_all([Trouble("nothing wrong", "registered key", commands=ALL)])


async def test_wrong_settings(room: Room) -> None:
    bad = {
        "credentials-secret-access-key": f"{secret('a')} with a space",
        "credentials-session-token": f"{secret('b')}\x07",
        "credentials-secret-access-key-file": str(room.folder / "secret"),
        "s3-endpoint": f"http://user:{MARK}@127.0.0.1:9000",
    }
    await room.try_all(
        [
            Trouble(
                "secrets that are none",
                "problems in the settings",
                bad,
                arguments=(
                    "-o",
                    secret("no-equals").replace("=", ""),
                    "-o",
                    f"credentials-secret={secret('c')}",
                ),
                commands=[name for name in ALL if name != "demo"],
            ),
            Trouble(
                "a malformed file",
                "malformed",
                file=f"credentials-secret-access-key:{MARK}\\u12zz{MARK}\n",
                commands=("run",),
            ),
            Trouble(
                "an unknown key",
                "unknown key",
                {"credentials-secret-acces-key": secret("typo")},
                commands=("config",),
            ),
        ]
    )


async def test_secrets_in_files(room: Room) -> None:
    in_files: dict[str, str | None] = {
        "credentials-secret-access-key": None,
        "credentials-secret-access-key-file": str(room.folder / "secret"),
    }
    token = {"credentials-session-token-file": str(room.folder / "token")}
    await room.try_all(
        [
            Trouble(
                "a secret of two lines",
                "secret access key is not one",
                in_files,
                commands=("members",),
            ),
            Trouble(
                "a token of two lines",
                "session token is not one",
                {"credentials-type": "temporary_session", **token},
                commands=("members",),
            ),
            Trouble(
                "a credentials file that is none",
                "credentials",
                {"credentials-type": "user_credentials_file"},
                {"AWS_SHARED_CREDENTIALS_FILE": str(room.folder / "malformed")},
                commands=("run",),
            ),
            Trouble(
                "a customer key that is none",
                "sse-customer-key-file",
                {"sse-customer-key-file": str(room.folder / "customer-key")},
                commands=("members", "doctor"),
            ),
        ]
    )


async def test_a_store_that_refuses_or_is_away(room: Room) -> None:
    port = choose_ports(["nobody"])["nobody"]
    wrong = {"credentials-secret-access-key": secret("wrong").replace("\\", "")}
    session = {"credentials-type": "temporary_session", "credentials-session-token": secret("session")}
    proxy = room.services.url.replace("http://", f"http://user:{MARK}@")
    away = f"http://user:{MARK}@127.0.0.1:{port}"
    # A name that is no loopback address: those go past proxies.
    outside = {"s3-endpoint": "http://s3.example:9000"}
    await room.try_all(
        [
            Trouble("a wrong secret", "does not belong|SignatureDoesNotMatch", wrong, commands=("members",)),
            Trouble(
                "a store that repeats what it is sent",
                "SignatureDoesNotMatch",
                {**wrong, **session, "s3-endpoint": room.services.url},
            ),
            Trouble("nobody there", "refused", {**wrong, "s3-endpoint": f"http://127.0.0.1:{port}"}),
            Trouble(
                "a proxy that refuses",
                "407",
                {**wrong, **outside},
                {"HTTP_PROXY": proxy, "http_proxy": proxy},
            ),
            Trouble(
                "a proxy that is away",
                "refused",
                {**wrong, **outside},
                {"HTTP_PROXY": away, "http_proxy": away},
            ),
        ]
    )


async def test_sources_that_fail(room: Room) -> None:
    def of(kind: str, said: str, **environ: str) -> Trouble:
        commands = ("members", "doctor") if kind in ("process", "default") else ("members",)
        return Trouble(kind, said, {"credentials-type": kind}, environ, commands=commands)

    url = room.services.url
    by_container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/container"}
    await room.try_all(
        [
            of("process", "process"),
            of("instance_profile_credentials", "instance|metadata"),
            of("container", "HTTP 500", **by_container),
            of("container", "container", AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/broken-container"),
            of("web_identity", "STS"),
            of("default", "no source gave any|mend one of them|SignatureDoesNotMatch|rejected|token"),
            of("environment_variables", "AWS_ACCESS_KEY_ID is not set"),
            of("java_system_properties", "java|Java"),
        ]
    )
    assert {"/container", "/broken-container", "/latest/api/token", "/sts/"} <= room.services.asked


@pytest.mark.soak
async def test_the_demo(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SPECIAL, "demo", ())
    await room.try_all([Trouble("secrets around the demo", "steps held", commands=("demo",))])


def marked_settings(folder: Path) -> Settings:
    return make_settings(
        credentials_type="temporary_session",
        credentials_access_key_id="AK",
        credentials_secret_access_key=secret("a"),
        credentials_session_token=secret("b"),
        credentials_role_arn="arn:aws:iam::123456789012:role/mqtt",
        control_socket=str(folder / "socket"),
    )


async def test_reprs_and_texts_of_values(tmp_path: Path) -> None:
    settings, clock = marked_settings(tmp_path), SystemClock()
    environ = {"AWS_SECRET_ACCESS_KEY": secret("env"), "AWS_ACCESS_KEY_ID": "AK"}
    java = (f"aws.secretKey={MARK}",)
    keys = Credentials("AK", Secret(secret("a")), Secret(secret("b")), source="test")
    bucket = S3Bucket.from_settings(settings, FixedCredentials(keys))
    origins = Origins(None, (f"credentials-secret-access-key={MARK}",), environ, java)
    values: list[object] = [
        settings,
        describe(settings, {"credentials-secret-access-key": Value(secret("a"), "file")}),
        Value(secret("a"), "file"),
        Secret(secret("a")),
        keys,
        Issued(keys),
        FixedCredentials(keys),
        EnvironmentCredentials(environ),
        CredentialsPlace(settings, environ, java, clock),
        CustomerKey.of(MARK.encode().ljust(32)),
        find_proxy("http://s3.example", {"http_proxy": f"http://user:{MARK}@127.0.0.1:3128"}),
        Identity("somebody", ("Read",), keys),
        bucket,
        Discovery(settings, bucket, Member("a", Address("10.0.0.1", 1))),
        origins,
        Child(("program", "--password", "x"), environ),
        *(provider_for(changed(settings, kind), environ, java_arguments=java) for kind in CREDENTIALS_TYPES),
    ]
    for value in (*values, *parts_with(origins, settings)):
        for shown in (repr(value), str(value), f"{value}", f"{[value]}"):
            assert leaks(shown) == [], type(value)


def changed(settings: Settings, kind: str) -> Settings:
    return replace(settings, credentials_type=kind)


def parts_with(origins: Origins, settings: Settings) -> list[object]:
    """Return what carries the environment from the command line to a broker."""
    parts = Parts(
        read_settings=partial(origins.read, as_node=True),
        settings_mark=origins.mark,
        open_bucket=origins.open_bucket,
        make_broker=lambda surroundings: None,
        find_address=lambda settings, port: find_own_address(settings, origins.environ, port=port),
        make_cluster_id=lambda: "a",
        clock=SystemClock(),
        environ=origins.environ,
    )
    return [parts, Agent(parts), Surroundings(settings, "a", environ=origins.environ)]
