"""Messages per second: amqtt alone, one node of ours, and across two nodes.

One publisher, one subscriber, 100-byte payloads. Each broker is a process of its own, the clients are
one more; they speak MQTT 3.1.1 over plain sockets, so that a client library is not what is measured.
The cases are run in turn, and the median of each is printed, with its ratio to amqtt alone.

    .venv/bin/python bench/messages.py [--messages N] [--repeat R]
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from amqtt.broker import Broker as Amqtt

from s3discovery.brokers import Surroundings
from s3discovery.brokers.amqtt import AmqttBroker
from s3discovery.node import Address, Member
from s3discovery.settings.config import Settings, parse

HOST = "127.0.0.1"
TOPIC = b"bench/messages"
PAYLOAD = b"x" * 100
WINDOW = 100  # QoS 1 messages that the publisher has on their way at a time
DEADLINE_S = 120
CASES = ("amqtt alone", "one node", "two nodes")
PLUGINS: Mapping[str, Mapping[str, Any]] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}}


def measure_all(messages: int, repeat: int) -> dict[tuple[str, int], float]:
    """Return the median messages per second of each case and QoS."""
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeat):
        for qos in (0, 1):
            for case in CASES:
                # QoS 1 takes about twice as long; the figure is a rate, so fewer will do.
                rate = measure(case, qos, messages if qos == 0 else messages // 2)
                rates.setdefault((case, qos), []).append(rate)
    return {key: statistics.median(found) for key, found in rates.items()}


def measure(case: str, qos: int, messages: int) -> float:
    """Start the brokers of `case`, pass `messages` through them, return messages per second."""
    with contextlib.ExitStack() as stack:
        names = {"amqtt alone": ["alone"], "one node": ["a"], "two nodes": ["a", "b"]}[case]
        nodes = [stack.enter_context(running(name)) for name in names]
        ready = [json.loads(_line(node)) for node in nodes]
        for node in nodes:
            _tell(node, ready)
        for node in nodes:
            _line(node)  # it is connected with its peers
        command = [sys.executable, __file__, "--clients", str(ready[0]["mqtt"]), str(ready[-1]["mqtt"])]
        done = subprocess.run(
            [*command, str(qos), str(messages)], capture_output=True, check=True, timeout=DEADLINE_S
        )
        return float(done.stdout)


@contextlib.contextmanager
def running(name: str) -> Iterator["subprocess.Popen[str]"]:
    """Run one broker in a process of its own; it ends when its standard input does."""
    command = [sys.executable, __file__, "--node", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _tell(process: "subprocess.Popen[str]", message: object) -> None:
    assert process.stdin is not None
    print(json.dumps(message), file=process.stdin, flush=True)


async def serve(name: str) -> None:
    """Be one broker: say where, hear of all, say when connected, and stay."""
    if name == "alone":
        port = _free_port()
        listeners = {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}}
        await Amqtt({"listeners": listeners, "plugins": dict(PLUGINS)}).start()
        print(json.dumps({"mqtt": port}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("ready", flush=True)
        await asyncio.Event().wait()
    async with AmqttBroker(Surroundings(_settings(), name)) as broker:
        mqtt = int(broker.listener.rpartition(":")[2])
        print(
            json.dumps({"id": name, "mqtt": mqtt, "mesh": broker.port, "meta": dict(broker.metadata)}),
            flush=True,
        )
        said = json.loads(await asyncio.to_thread(sys.stdin.readline))
        peers = frozenset(
            Member(node["id"], Address(HOST, node["mesh"]), node["meta"])
            for node in said
            if node["id"] != name
        )
        await broker.apply(peers)
        while len(await broker.cluster()) < len(peers):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.Event().wait()


def _settings() -> Settings:
    settings = parse(
        {
            "s3-bucket-region": "us-east-1",
            "s3-bucket-name": "bench",
            "file-prefix": "bench/",
            "file-expiration": "6m",
            "update-interval": "3m",
            "broker": "amqtt",
            "bind-address": HOST,
            "bind-port": "0",
        }
    )
    return replace(settings, amqtt_listen=f"{HOST}:0")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def run_clients(publish_port: int, subscribe_port: int, qos: int, messages: int) -> float:
    """Publish and receive `messages`; return messages per second from first sent to last received."""
    subscriber = _connect(subscribe_port, b"subscriber")
    subscriber.sendall(_packet(0x82, b"\0\1" + _text(TOPIC) + bytes([qos])))
    packets = _packets(subscriber)
    next(packets)  # SUBACK
    publisher = _connect(publish_port, b"publisher")
    begun_s = time.perf_counter()
    threading.Thread(target=_publish, args=(publisher, qos, messages), daemon=True).start()
    received = 0
    acks = b""
    for first, body, is_last in packets:
        if first >> 4 != 3:
            continue
        received += 1
        if qos:
            acks += b"\x40\x02" + body[2 + len(TOPIC) : 4 + len(TOPIC)]
            if is_last or received == messages:
                subscriber.sendall(acks)
                acks = b""
        if received == messages:
            break
    return messages / (time.perf_counter() - begun_s)


def _publish(publisher: socket.socket, qos: int, messages: int) -> None:
    if qos == 0:
        packet = _packet(0x30, _text(TOPIC) + PAYLOAD)
        for at in range(0, messages, 20):
            publisher.sendall(packet * min(20, messages - at))
        return
    window = threading.Semaphore(WINDOW)

    def count_acks() -> None:
        for _ in _packets(publisher):
            window.release()

    threading.Thread(target=count_acks, daemon=True).start()
    for number in range(messages):
        window.acquire()
        packet_id = struct.pack("!H", number % 65535 + 1)
        publisher.sendall(_packet(0x32, _text(TOPIC) + packet_id + PAYLOAD))


def _connect(port: int, client_id: bytes) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=DEADLINE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(_packet(0x10, _text(b"MQTT") + b"\x04\x02\x00\x00" + _text(client_id)))
    if connection.recv(4) != b"\x20\x02\x00\x00":
        raise SystemExit("the broker refuses the client")
    return connection


def _text(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text


def _packet(first: int, body: bytes) -> bytes:
    if len(body) > 127:
        return bytes([first, len(body) & 127 | 128, len(body) >> 7]) + body
    return bytes([first, len(body)]) + body


def _packets(connection: socket.socket) -> Iterator[tuple[int, bytes, bool]]:
    """Yield first byte and body of each packet (shorter than 16 KiB), and whether no more is at hand."""
    buffer = b""
    while data := connection.recv(65536):
        buffer += data
        at = 0
        while len(buffer) - at >= 3 or buffer[at + 1 : at + 2] == b"\0":
            is_long = buffer[at + 1] & 128
            body_at = at + (3 if is_long else 2)
            size = buffer[at + 1] & 127 | (buffer[at + 2] << 7 if is_long else 0)
            if len(buffer) < body_at + size:
                break
            yield buffer[at], buffer[body_at : body_at + size], len(buffer) == body_at + size
            at = body_at + size
        buffer = buffer[at:]


def show(rates: Mapping[tuple[str, int], float], messages: int, repeat: int) -> None:
    """Print the table."""
    print(f"messages per second, {len(PAYLOAD)} B, median of {repeat} ({messages} messages each, QoS 1 half)")
    print(f"{'':14}{'QoS 0':>9}{'ratio':>8}{'QoS 1':>9}{'ratio':>8}")
    for case in CASES:
        cells = "".join(
            f"{rates[case, qos]:9.0f}{rates[case, qos] / rates[CASES[0], qos]:8.2f}" for qos in (0, 1)
        )
        print(f"{case:14}{cells}")


def main(arguments: Sequence[str]) -> None:
    """Measure, or be one of the processes of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--node", help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.node:
        asyncio.run(serve(given.node))
    elif given.clients:
        print(run_clients(*given.clients))
    else:
        show(measure_all(given.messages, given.repeat), given.messages, given.repeat)


if __name__ == "__main__":
    main(sys.argv[1:])
