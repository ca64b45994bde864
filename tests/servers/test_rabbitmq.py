"""The engine on a real RabbitMQ node: what it finds, what it refuses, and how it names what is wrong."""

import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest

from s3discovery.brokers import Surroundings
from s3discovery.brokers.rabbitmq import RabbitBroker
from s3discovery.child import Child
from s3discovery.errors import BrokerError
from s3discovery.node import Address, Member
from s3discovery.settings.config import parse, unknown_keys
from s3discovery.testing import make_settings
from s3discovery.testing.rabbitmq import RabbitNode, RabbitNodes, write_cookie

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("rabbitmq")]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "rabbitmq.md"


def make_broker(node: RabbitNode, child: Child | None = None, **settings: str) -> RabbitBroker:
    values = {"broker": "rabbitmq", "bind_port": "25672", "rabbitmq_ctl": node.ctl} | settings
    environ = {**node.environ, "HOME": settings.pop("home", node.environ["HOME"])}
    values.pop("home", None)
    return RabbitBroker(Surroundings(make_settings(**values), node.name, environ=environ, child=child))


def as_peer(name: str) -> Member:
    return Member(name, Address("localhost", 25672), {"broker": "rabbitmq"})


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[RabbitNodes]:
    async with RabbitNodes(tmp_path / "nodes", 2) as nodes:
        yield nodes


async def test_a_node_beside_us_from_its_start_to_its_leave(nodes: RabbitNodes) -> None:
    """One story on one node, since a start is dear."""
    node = nodes[0]
    async with make_broker(node) as broker:
        with pytest.raises(BrokerError, match=r"'rmq1@localhost' runs here; start it"):
            await broker.is_blank()
        await node.launch()
        await _until_running(broker)
        await broker.found()
        await broker.apply(frozenset({as_peer("rmq9@localhost"), as_peer("not a name")}))
        assert broker.skipped == {"not a name"}
        assert await broker.cluster() == frozenset()
        assert await broker.down() == frozenset()
        assert await broker.is_blank()
        await _costs_one_run_of_rabbitmqctl(broker)
        await _refuses_what_cannot_be(broker, node)
        await _names_a_wrong_cookie(node)
        await _sees_what_would_be_lost(broker, node)
        await _does_not_start_what_somebody_stopped(broker, node)
        await broker.leave()
        await broker.leave()
        assert "false" in await node.tell("eval", "rabbit:is_running().")
        assert await broker.is_blank()


async def _until_running(broker: RabbitBroker) -> None:
    async with asyncio.timeout(90):
        while True:
            with suppress(BrokerError):
                assert await broker.is_blank()
                return
            await asyncio.sleep(0.1)


async def _costs_one_run_of_rabbitmqctl(broker: RabbitBroker) -> None:
    """A poll in the steady state, as the driver does it."""
    before = broker.runs
    for _ in range(3):
        await broker.apply(frozenset())
        await broker.cluster()
        await broker.down()
    assert broker.runs - before <= 1


async def _refuses_what_cannot_be(broker: RabbitBroker, node: RabbitNode) -> None:
    with pytest.raises(BrokerError, match=r"'rmq9@localhost' does not run now"):
        await broker.join(as_peer("rmq9@localhost"))
    with pytest.raises(BrokerError, match=r"epmd of 'nobody' .*must resolve"):
        await broker.join(as_peer("rmq9@nobody"))
    with (
        _registered("closed", int(node.environ["ERL_EPMD_PORT"])),
        pytest.raises(BrokerError, match=r"distribution port 1 of 'localhost' is closed.*RABBITMQ_DIST_PORT"),
    ):
        await broker.join(as_peer("closed@localhost"))
    await broker.forget("rmq9@localhost")  # no member, and no error
    assert await broker.cluster() == frozenset()  # it has not been stopped by any of this


class _registered:  # noqa: N801 - reads as a verb
    """A node that epmd knows, and that takes no connections: registered for as long as this is entered."""

    def __init__(self, name: str, epmd_port: int) -> None:
        self._name = name.encode()
        self._socket = socket.create_connection(("127.0.0.1", epmd_port), timeout=5)

    def __enter__(self) -> None:
        name = struct.pack(">H", len(self._name)) + self._name
        request = struct.pack(">BHBBHH", 120, 1, 77, 0, 6, 5) + name + b"\0\0"
        self._socket.sendall(struct.pack(">H", len(request)) + request)
        assert self._socket.recv(16)[:2] in (b"v\0", b"y\0")

    def __exit__(self, *_: object) -> None:
        self._socket.close()


async def _names_a_wrong_cookie(node: RabbitNode) -> None:
    home = node.folder / "other-home"
    home.mkdir()
    write_cookie(home)
    async with make_broker(node, home=str(home)) as broker:
        with pytest.raises(BrokerError, match=r"cookies differ; put the same \.erlang\.cookie"):
            await broker.is_blank()
    shutil.rmtree(home)
    with pytest.raises(BrokerError, match=r"cannot use the Erlang cookie.*user of the broker"):
        await make_broker(node, home=str(home)).__aenter__()
    assert "erl_crash.dump" not in os.listdir()  # noqa: PTH208 - where we are


async def _sees_what_would_be_lost(broker: RabbitBroker, node: RabbitNode) -> None:
    await node.tell("add_user", "somebody", "secret")
    async with aiomqtt.Client(
        "127.0.0.1",
        node.mqtt_port,
        identifier="kept",
        clean_session=False,
        protocol=aiomqtt.ProtocolVersion.V311,
    ) as client:
        await client.subscribe("kept/#", qos=1)
        await client.publish("kept/1", b"retained", qos=1, retain=True)
    await asyncio.sleep(1.0)  # an answer of the last second would do for is_blank
    assert not await broker.is_blank()
    with pytest.raises(BrokerError, match=r"1 queues, 1 retained messages, 1 users.*allow-reset:true"):
        await broker.join(as_peer("other@localhost"))


async def _does_not_start_what_somebody_stopped(broker: RabbitBroker, node: RabbitNode) -> None:
    await node.tell("stop_app")
    await asyncio.sleep(1.0)  # as above
    with pytest.raises(BrokerError, match="start_app when it may go on"):
        await broker.is_blank()
    # A new agent cannot know who stopped it: it may have been the agent before, on its way into a cluster.
    async with make_broker(node) as again:
        assert not await again.is_blank()
    assert await broker.cluster() == frozenset()


def test_systemd_takes_the_unit_of_the_page(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("REQUIRE_SERVERS=1, but systemd-analyze is not installed")
        pytest.skip("systemd-analyze is not installed")
    units = re.findall(r"^```ini\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(units) == 1
    unit = tmp_path / "s3discovery-rabbitmq.service"
    # That the program is there is checked, too: the one that runs the tests stands in for it.
    unit.write_text(units[0].replace("/usr/local/bin/s3discovery", sys.executable))
    checked = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in checked.stderr.splitlines() if unit.name in line]
    assert (checked.returncode, said) == (0, [])


def test_the_settings_of_the_page_are_settings() -> None:
    texts = re.findall(r"^```properties\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    pairs = [line.split(":", 1) for line in texts[0].splitlines() if not line.startswith("#")]
    settings = parse(dict(pairs))
    assert settings.broker == "rabbitmq"
    assert unknown_keys(dict(pairs)) == ()
