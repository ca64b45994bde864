"""How soon a late node is in: from its exec until messages flow both ways with every other node.

Three amqtt nodes that poll once a minute, a fourth that is started: what makes the others look is its knock,
not their poll. Clients of aiomqtt at each node; the fourth's connects as soon as it is served. Each run has a
cluster of its own.
"""

import asyncio
import statistics
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from bench.report import Figure, Part, progress, show_figures
from bench.store import BUCKET, settings_of
from s3discovery.clock import SystemClock
from s3discovery.demo import child
from s3discovery.demo.brokers.amqtt import AmqttNodes
from s3discovery.demo.client import connected, receive
from s3discovery.demo.node import Node
from s3discovery.demo.seaweedfs import SeaweedFS

RUNS, QUICK_RUNS = 5, 3
WANTED_S = 2.0
FIRST, LATE = (1, 2, 3), 4
_LIMIT_S = 60.0

_clock = SystemClock()


def measure(*, quick: bool) -> Part:
    """Measure and print."""
    runs = QUICK_RUNS if quick else RUNS
    print(f"join: a fourth amqtt node beside three, poll-interval 60 s; median of {runs}\n")
    taken_s = asyncio.run(_measure(runs))
    median_s = statistics.median(taken_s)
    figure = Figure(
        "process start to messages both ways with all",
        median_s,
        "s",
        f"< {WANTED_S:g}",
        median_s < WANTED_S,
        f"min {min(taken_s):.2f}, max {max(taken_s):.2f}",
    )
    show_figures([figure])
    return Part("join", [figure], {"join_s": taken_s})


async def _measure(runs: int) -> list[float]:
    async with SeaweedFS() as store:
        await store.create_bucket(BUCKET)
        taken_s = []
        for number in range(runs):
            progress(f"join {number + 1} of {runs}")
            async with asyncio.timeout(_LIMIT_S):
                taken_s.append(await _join_once(store, f"join-{number}/"))
        progress("")
        return taken_s


async def _join_once(store: SeaweedFS, prefix: str) -> float:
    """Let three nodes become a cluster, start the fourth, and return how long it took to be in."""
    with tempfile.TemporaryDirectory(prefix="s3discovery-bench-") as name:
        folder = Path(name)
        file = folder / "s3discovery.properties"
        texts = settings_of(store, prefix, poll_interval="60s", bind_address=child.HOST)
        file.write_text("".join(f"{key}={text}\n" for key, text in texts.items()))
        brokers = AmqttNodes(folder)
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(Node(number, brokers.launch(number), folder, file))
                for number in FIRST
            ]
            ids = {node.cluster_id for node in nodes}
            await asyncio.gather(*(node.wait_until(lambda seen: seen == ids) for node in nodes))
            clients = [await stack.enter_async_context(connected(node)) for node in nodes]
            for client in clients:
                await client.subscribe("in", qos=1)
            began_s = _clock.monotonic_s()
            late = await stack.enter_async_context(Node(LATE, brokers.launch(LATE), folder, file))
            newcomer = await stack.enter_async_context(connected(late))
            await newcomer.subscribe("out", qos=1)
            await newcomer.publish("in", b"hello", qos=1)
            await asyncio.gather(*(receive(client, b"hello") for client in clients))
            for node, client in zip(nodes, clients, strict=True):
                await client.publish("out", node.cluster_id.encode(), qos=1)
            await receive(newcomer, *(node.cluster_id.encode() for node in nodes))
            return _clock.monotonic_s() - began_s
