"""amqtt brokers, clustered, with real MQTT clients."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import aiomqtt
import pytest
from amqtt.broker import Broker as Amqtt

from s3discovery.brokers import Surroundings
from s3discovery.brokers.amqtt import AmqttBroker
from s3discovery.brokers.amqtt_server import ClusterPlugin
from s3discovery.errors import BrokerError
from s3discovery.node import Address, Member
from s3discovery.settings.config import Settings, parse

HOST = "127.0.0.1"
LIMIT_S = 40
ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"
Got = tuple[str, bytes, int]


def settings(**changes: object) -> Settings:
    resolved = parse(
        {
            "s3-bucket-region": "us-east-1",
            "s3-bucket-name": "bucket",
            "file-prefix": "nodes/",
            "file-expiration": "60s",
            "update-interval": "20s",
            "broker": "amqtt",
            "bind-address": HOST,
            "bind-port": "0",
        }
    )
    return replace(resolved, amqtt_listen=f"{HOST}:0", **changes)  # type: ignore[arg-type]  # a test's own


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], object], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nothing signals most of what is waited for
            await asyncio.sleep(0.005)


def member(name: str, broker: AmqttBroker) -> Member:
    return Member(name, Address(HOST, broker.port), broker.metadata)


async def join(**brokers: AmqttBroker) -> None:
    """Make each a peer of all others."""
    members = {name: member(name, broker) for name, broker in brokers.items()}
    for name, broker in brokers.items():
        await broker.apply(frozenset(each for other, each in members.items() if other != name))
    async with asyncio.timeout(10):
        for name, broker in brokers.items():
            while await broker.cluster() != members.keys() - {name}:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster(*names: str) -> AsyncIterator[dict[str, AmqttBroker]]:
    async with AsyncExitStack() as stack:
        brokers = {
            name: await stack.enter_async_context(AmqttBroker(Surroundings(settings(), name)))
            for name in names
        }
        await join(**brokers)
        yield brokers


def port_of(broker: AmqttBroker) -> int:
    return int(broker.listener.rpartition(":")[2])


def client(broker: AmqttBroker, **options: object) -> aiomqtt.Client:
    return aiomqtt.Client(HOST, port_of(broker), **options)  # type: ignore[arg-type]  # a test's own


class Subscriber:
    """A client that gathers what it gets."""

    def __init__(self, port: int, name: str = "#", qos: int = 2) -> None:
        self._client = aiomqtt.Client(HOST, port)
        self._subscription = (name, qos)
        self.got: list[Got] = []

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        name, qos = self._subscription
        await self._client.subscribe(name, qos=qos)
        self._task = asyncio.create_task(self._gather())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    async def _gather(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self.got.append((message.topic.value, message.payload, message.qos))


async def test_a_node_of_another_broker_is_skipped() -> None:
    async with cluster("a", "b") as brokers:
        hive = Member("hive", Address("10.0.0.9", 7800))
        await brokers["a"].apply(frozenset({member("b", brokers["b"]), hive}))
        assert brokers["a"].skipped == {"hive"}
        assert await brokers["a"].cluster() == {"b"}
        await brokers["a"].apply(frozenset({member("b", brokers["b"])}))
        assert brokers["a"].skipped == frozenset()


async def test_a_message_of_each_node_reaches_every_subscriber_once() -> None:
    async with cluster("a", "b", "c") as brokers, AsyncExitStack() as stack:
        subscribers = [
            await stack.enter_async_context(Subscriber(port_of(broker)))
            for broker in brokers.values()
            for _ in range(2)
        ]
        for name, broker in brokers.items():
            async with client(broker) as publisher:
                await publisher.publish(f"from/{name}", name.encode(), qos=1)
        await until(lambda: all(len(each.got) >= 3 for each in subscribers))
        # A copy too many would come behind; a last message of each marks the end.
        for name, broker in brokers.items():
            async with client(broker) as publisher:
                await publisher.publish(f"end/{name}", b"", qos=1)
        await until(lambda: all(len(each.got) >= 6 for each in subscribers))
        expected = sorted(f"{what}/{name}" for what in ("from", "end") for name in brokers)
        for each in subscribers:
            assert sorted(topic for topic, _, _ in each.got) == expected


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_burst_arrives_in_order_with_its_qos(qos: int) -> None:
    count = 2000
    async with (
        cluster("a", "b", "c") as brokers,
        Subscriber(port_of(brokers["b"])) as at_b,
        Subscriber(port_of(brokers["c"]), "burst/+") as at_c,
        client(brokers["a"]) as publisher,
    ):
        for number in range(count):
            await publisher.publish("burst/x", str(number), qos=qos)
        await until(lambda: len(at_b.got) >= count and len(at_c.got) >= count, LIMIT_S)
        expected = [("burst/x", str(number).encode(), qos) for number in range(count)]
        assert at_b.got == expected
        assert at_c.got == expected
        counts = brokers["a"].counts
        assert (counts.sent, counts.dropped) == (2 * count, 0)
        assert brokers["b"].counts.lost == brokers["c"].counts.lost == 0


async def test_the_qos_is_never_more_than_the_subscriptions() -> None:
    async with (
        cluster("a", "b") as brokers,
        Subscriber(port_of(brokers["b"]), "t/#", qos=0) as low,
        Subscriber(port_of(brokers["b"]), "t/+", qos=1) as middle,
        client(brokers["a"]) as publisher,
    ):
        for qos in (0, 1, 2):
            await publisher.publish("t/x", str(qos), qos=qos)
        await until(lambda: len(low.got) == len(middle.got) == 3)
        assert [qos for _, _, qos in low.got] == [0, 0, 0]
        assert [qos for _, _, qos in middle.got] == [0, 1, 1]


async def test_any_payload_arrives_as_it_is() -> None:
    payloads = [bytes(range(256)), b"", os.urandom(1_000_000), "é漢".encode()]
    async with (
        cluster("a", "b") as brokers,
        Subscriber(port_of(brokers["b"])) as subscriber,
        client(brokers["a"]) as publisher,
    ):
        for payload in payloads:
            await publisher.publish("t/é", payload, qos=1)
        await until(lambda: len(subscriber.got) == len(payloads), LIMIT_S)
        assert [payload for _, payload, _ in subscriber.got] == payloads


async def test_a_node_that_joins_later_gets_the_next_message() -> None:
    async with cluster("a", "b") as brokers:
        async with AmqttBroker(Surroundings(settings(), "c")) as late:
            await join(**brokers, c=late)
            async with Subscriber(port_of(late)) as there, client(brokers["a"]) as publisher:
                await publisher.publish("t", b"hello", qos=1)
                await until(lambda: there.got)
        await join(**brokers)
        async with Subscriber(port_of(brokers["b"])) as subscriber, client(brokers["a"]) as publisher:
            await publisher.publish("t", b"without c", qos=1)
            await until(lambda: subscriber.got)


def connect_packet(client_id: bytes, topic: bytes, will: bytes, qos: int) -> bytes:
    texts = b"".join(struct.pack("!H", len(text)) + text for text in (client_id, topic, will))
    body = b"\0\4MQTT\x04" + bytes([0b110 | qos << 3]) + b"\0\0" + texts
    return bytes([0x10, len(body)]) + body


async def test_the_will_of_a_client_that_vanishes_reaches_all_nodes() -> None:
    async with (
        cluster("a", "b") as brokers,
        Subscriber(port_of(brokers["a"]), "will/#") as at_a,
        Subscriber(port_of(brokers["b"]), "will/#") as at_b,
    ):
        for name, goodbye in ((b"polite", b"\xe0\0"), (b"vanishes", b"")):
            reader, writer = await asyncio.open_connection(HOST, port_of(brokers["a"]))
            writer.write(connect_packet(name, b"will/" + name, b"gone", 1))
            assert await reader.readexactly(4) == b"\x20\x02\0\0"
            writer.write(goodbye)
            await writer.drain()
            if not goodbye:
                writer.transport.abort()
            else:
                assert await reader.read() == b""
                writer.close()
        await until(lambda: at_a.got and at_b.got)
        async with client(brokers["a"]) as publisher:
            await publisher.publish("will/end", b"", qos=1)
        await until(lambda: len(at_a.got) == len(at_b.got) == 2)
        assert at_a.got[0] == at_b.got[0] == ("will/vanishes", b"gone", 1)


async def test_topics_of_the_broker_are_not_shared() -> None:
    async with cluster("a", "b") as brokers:
        async with Subscriber(port_of(brokers["b"]), "$share-nothing/#") as subscriber:
            reader, writer = await asyncio.open_connection(HOST, port_of(brokers["a"]))
            writer.write(connect_packet(b"odd", b"$share-nothing/x", b"gone", 1))
            assert await reader.readexactly(4) == b"\x20\x02\0\0"
            writer.transport.abort()
            async with client(brokers["a"]) as publisher:
                await publisher.publish("t", b"end", qos=1)
            await until(lambda: brokers["b"].counts.received)
            assert subscriber.got == []
        assert brokers["a"].counts.sent == 1


async def test_what_to_publish_is_known_once_entered() -> None:
    for host in (HOST, None, "0.0.0.0", "::"):
        async with AmqttBroker(Surroundings(settings(bind_address=host), "a")) as broker:
            assert broker.port > 0
            assert len(bytes.fromhex(broker.metadata["curve"])) == 32
            assert await broker.cluster() == frozenset()


async def test_clients_are_served_only_once_the_first_peers_are_applied() -> None:
    async with AmqttBroker(Surroundings(settings(), "a")) as broker:
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker):
                pass
        await broker.apply(frozenset())
        await broker.apply(frozenset())
        async with client(broker) as publisher:
            await publisher.publish("t", b"x", qos=1)


@pytest.mark.parametrize(
    "plugins",
    [
        f"plugins:\n  {ANONYMOUS}:\n    allow_anonymous: true\n",
        f"plugins:\n  - {ANONYMOUS}\n",
        f"plugins:\n  - {ANONYMOUS}:\n      allow_anonymous: true\n",
    ],
    ids=["map", "list", "list of maps"],
)
async def test_amqtt_can_be_configured_as_its_own_users_do(plugins: str, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "amqtt.yaml"
    path.write_text(f"listeners:\n  default:\n    type: tcp\n    bind: {HOST}:{port}\n{plugins}")
    async with (
        AmqttBroker(Surroundings(settings(amqtt_config=str(path)), "a")) as own,
        AmqttBroker(Surroundings(settings(), "b")) as other,
    ):
        await join(a=own, b=other)
        async with Subscriber(port_of(other)) as subscriber, aiomqtt.Client(HOST, port) as publisher:
            await publisher.publish("t", b"x")
            await until(lambda: subscriber.got)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read"),
        ("", "holds no settings"),
        ("- 1", "holds no settings"),
        ("a: [", "not YAML"),
        ("listeners: 5\nplugins: {}", "refuses its configuration"),
        ("listeners: {default: {type: udp}}\nplugins: {}", "refuses its configuration"),
        ("listeners: {other: {}}\nplugins: {}", "refuses its configuration"),
        ("what: 1\nplugins: {}", "refuses its configuration"),
        ("listeners: {default: {bind: 'x:y'}}\nplugins: {}", "write host:port"),
        ("listeners: {default: {bind: '127.0.0.1:99999'}}\nplugins: {}", "write host:port"),
        ("listeners: {default: {bind: '127.0.0.1:0'}}\nplugins: {no.such.Plugin: {}}", "refuses"),
        ("plugins: 7", "neither a map nor a list"),
        ("plugins: [7]", "neither a map nor a list"),
        ("auth: {}", "plugins: section"),
    ],
)
async def test_a_wrong_configuration_is_an_error_and_no_traceback(
    text: str | None, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "amqtt.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BrokerError, match=reason):
        async with AmqttBroker(Surroundings(settings(amqtt_config=str(path)), "a")):
            pass
    assert "Traceback" not in caplog.text


async def test_a_configuration_that_clusters_already_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "from s3discovery.brokers.amqtt import ClusterPlugin\nclass Another(ClusterPlugin): pass\n"
    (tmp_path / "another_plugin.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "amqtt.yaml"
    path.write_text("listeners: {default: {bind: '127.0.0.1:0'}}\nplugins: {another_plugin.Another: {}}")
    with pytest.raises(BrokerError, match="names Another among its plugins; remove it"):
        async with AmqttBroker(Surroundings(settings(amqtt_config=str(path)), "a")):
            pass


async def test_a_listener_in_use_is_an_error_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen(1)
        listen = f"{HOST}:{taken.getsockname()[1]}"
        with pytest.raises(BrokerError, match=f"'{listen}': Address already in use; .*amqtt-listen"):
            async with AmqttBroker(Surroundings(replace(settings(), amqtt_listen=listen), "a")):
                pass
    assert "Traceback" not in caplog.text


async def test_the_mesh_port_in_use_leaves_nothing_running() -> None:
    async with AmqttBroker(Surroundings(settings(), "a")) as first:
        with pytest.raises(BrokerError, match="bind-port"):
            async with AmqttBroker(Surroundings(settings(bind_port=first.port), "b")):
                pass


async def test_a_broker_that_runs_already_is_joined_and_left_running() -> None:
    port = free_port()
    listeners = {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}}
    plugins: dict[str, object] = {ANONYMOUS: {}, "s3discovery.brokers.amqtt_server.ClusterPlugin": {}}
    amqtt = Amqtt({"listeners": listeners, "plugins": plugins})
    await amqtt.start()
    try:
        plugin = amqtt.plugins_manager.get_plugin("ClusterPlugin")
        assert isinstance(plugin, ClusterPlugin)
        async with (
            AmqttBroker.attach(Surroundings(settings(), "a"), plugin) as joined,
            AmqttBroker(Surroundings(settings(), "b")) as other,
        ):
            await join(a=joined, b=other)
            async with (
                Subscriber(port) as here,
                Subscriber(port_of(other)) as there,
                aiomqtt.Client(HOST, port) as at_a,
                client(other) as at_b,
            ):
                await at_a.publish("t", b"from a")
                await at_b.publish("t", b"from b")
                await until(lambda: len(here.got) == len(there.got) == 2)
        async with Subscriber(port) as here, aiomqtt.Client(HOST, port) as publisher:
            await publisher.publish("t", b"still there")
            await until(lambda: here.got)
    finally:
        await amqtt.shutdown()
