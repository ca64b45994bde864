"""Real servers for tests: one of each a worker, on ports of their own, gone afterwards."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from importlib.util import find_spec
from typing import Any, TypeVar

import hypothesis
import pytest

from s3discovery.clock import SystemClock
from s3discovery.credentials import Credentials
from s3discovery.demo.child import choose_ports
from s3discovery.demo.seaweedfs import Identity, SeaweedError, SeaweedFS, find_weed
from s3discovery.s3.signing import sign
from s3discovery.settings.config import Secret
from s3discovery.testing.rabbitmq import find_rabbitmq

START_LIMIT_S = 30.0
# A busy machine is no error: what must be quick is measured by `make bench`.
hypothesis.settings.register_profile("s3discovery", deadline=None)
hypothesis.settings.load_profile("s3discovery")
# A shell that starts us in the background has SIGINT ignored, and what we start would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
T = TypeVar("T")


def skip_or_fail(reason: str) -> None:
    """Skip a test whose server is not installed; fail it where servers are promised (CI)."""
    if os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(f"REQUIRE_SERVERS=1, but {reason}")
    pytest.skip(reason)


class _LoopThread:
    """An event loop in a thread, for servers that outlive a test's own loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=4 * START_LIMIT_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SeaweedServer:
    """A running SeaweedFS. `reader` may read and list, `lister` list, nothing else."""

    def __init__(self, server: SeaweedFS, reader: Identity, lister: Identity, loop: _LoopThread) -> None:
        self._server = server
        self._loop = loop
        self._numbers = itertools.count(1)
        self.endpoint = server.endpoint
        self.access_key_id = server.access_key_id
        self.secret_access_key = server.secret_access_key
        self.credentials = server.credentials
        self.reader = reader.credentials
        self.lister = lister.credentials

    def new_bucket(self) -> str:
        """Make an empty bucket; return its name."""
        name = f"bucket-{next(self._numbers)}"
        self._loop.run(self._server.create_bucket(name))
        return name


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedServer]:
    """SeaweedFS with checked credentials and conditions; it does not keep odd keys as they are."""
    try:
        find_weed()
    except SeaweedError as error:
        skip_or_fail(str(error))
    loop = _LoopThread()
    try:
        reader, lister = Identity("reader", ("Read", "List")), Identity("lister", ("List",))
        server = SeaweedFS([reader, lister])
        loop.run(server.__aenter__())
        try:
            yield SeaweedServer(server, reader, lister, loop)
        finally:
            loop.run(server.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.fixture(scope="session")
def rabbitmq() -> None:
    """RabbitMQ is installed; every test starts nodes of its own."""
    if find_rabbitmq() is None:
        skip_or_fail("rabbitmq-server is not installed")


class MotoServer:
    """A running moto server: any keys do, all keys and conditions are kept as S3 does."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.access_key_id = "AKMOTO"
        self.secret_access_key = "moto-secret"
        self.credentials = Credentials(self.access_key_id, Secret(self.secret_access_key))
        self._numbers = itertools.count(1)

    def new_bucket(self) -> str:
        """Make an empty bucket; return its name."""
        name = f"bucket-{next(self._numbers)}"
        url = f"{self.endpoint}/{name}"
        headers = sign(
            "PUT", url, {}, b"", credentials=self.credentials, region="us-east-1", at_s=SystemClock().wall_s()
        )
        request = urllib.request.Request(url, method="PUT", headers=headers)  # noqa: S310 - http on loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        return name


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Debian's chromium, for playwright to drive; it brings no browser of its own."""
    path = shutil.which("chromium")
    if path is None:
        skip_or_fail("chromium is not installed")
    return str(path)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """A moto server as a process of its own."""
    if find_spec("moto") is None or find_spec("flask") is None:
        skip_or_fail("moto[server] is not installed")
    port = choose_ports(["moto"])["moto"]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_until_answers(endpoint, process)
        yield MotoServer(endpoint)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_answers(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + START_LIMIT_S
    pause = threading.Event()
    while clock.monotonic_s() < deadline_s:
        if process.poll() is not None:
            pytest.fail(f"moto ended at its start with exit code {process.returncode}")
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pause.wait(0.05)
    pytest.fail(f"moto did not answer within {START_LIMIT_S:g} s")
