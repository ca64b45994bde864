"""The demo: a real S3 server, real brokers and a real MQTT client, every step verified and timed."""

import asyncio
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from s3discovery import wiring
from s3discovery.demo import child
from s3discovery.demo.brokers import BROKERS
from s3discovery.demo.client import connected, receive
from s3discovery.demo.launch import BrokerNodes
from s3discovery.demo.node import Node
from s3discovery.demo.seaweedfs import SeaweedFS
from s3discovery.demo.view import LiveView, PlainView, Step, choose_view
from s3discovery.errors import DiscoveryError
from s3discovery.node import Member
from s3discovery.screens import duration
from s3discovery.topology import topology

BUCKET = "hivemq"
PREFIX = "hivemq/cluster/nodes/"
POLL_S, UPDATE_S, EXPIRATION_S = 1, 1, 5
_LOOK_EVERY_S = 0.2
_TOPIC = "demo/greeting"


class StepError(DiscoveryError):
    """A step of the demo did not hold."""


async def run_demo(*, nodes: int = 3, keep: bool = False, broker: str = "amqtt") -> bool:
    """Run the demo with a broker of `BROKERS`; tell whether every step held.

    With `keep`, wait for Ctrl-C before cleaning up."""
    with tempfile.TemporaryDirectory(prefix="s3discovery-demo-", ignore_cleanup_errors=True) as folder:
        async with AsyncExitStack() as stack:
            demo = _Demo(Path(folder), stack, choose_view(), BROKERS[broker](Path(folder)))
            return await demo.run(nodes, keep=keep)


class _Demo:
    def __init__(
        self, folder: Path, stack: AsyncExitStack, view: PlainView | LiveView, broker: BrokerNodes
    ) -> None:
        self._folder = folder
        self._stack = stack
        self._view = view
        self._broker = broker
        self._steps: list[Step] = []
        self._nodes: list[Node] = []
        self._ages: dict[str, str] = {}
        self._properties = folder / "s3discovery.properties"
        self._origins: wiring.Origins | None = None

    async def run(self, count: int, *, keep: bool) -> bool:
        with self._view:
            try:
                await self._play(count)
            except StepError:
                held = False
            else:
                held = True
        if not held:
            for node in self._nodes:
                self._view.say(f"--- the end of the log of {node.cluster_id}\n{node.log_tail}")
            return False
        total_s = sum(step.took_s or 0.0 for step in self._steps)
        self._view.say(f"all {len(self._steps)} steps held, {total_s:.1f} s")
        if keep:
            await self._keep()
        return True

    async def _play(self, count: int) -> None:
        async with self._step("a real S3 server runs, with an empty bucket") as step:
            weed = await self._stack.enter_async_context(SeaweedFS())
            await weed.create_bucket(BUCKET)
            self._write_properties(weed)
            step.detail = f"SeaweedFS at {weed.endpoint}"
        watcher = asyncio.create_task(self._watch_bucket(), name="bucket")
        self._stack.callback(watcher.cancel)

        await self._broker.prepare(self._stack)
        async with self._step(
            f"{count} nodes start, each {self._broker.what}, and each puts its file into the bucket"
        ):
            await self._start(*range(1, count + 1))
            first = {node.cluster_id for node in self._nodes}
            await self._until_bucket_holds(first)
        async with self._step(f"{count} members, seen by every node"):
            await self._until_seen(self._nodes, lambda members: members == first)
        await self._confirm_one_cluster()
        one = self._nodes[0].cluster_id
        async with self._step(f"a message published at {one} arrives at every other node") as step:
            step.detail = await self._pass_on(self._nodes[0], self._nodes[1:])

        async with self._step(f"n{count + 1} joins later, and is seen by every node"):
            await self._start(count + 1)
            late = self._nodes[-1].cluster_id
            await self._until_seen(self._nodes, lambda members: late in members)
        await self._confirm_one_cluster()
        async with self._step(f"the next message arrives at {late}, and one from {late} everywhere") as step:
            there = await self._pass_on(self._nodes[0], [self._nodes[-1]])
            back = await self._pass_on(self._nodes[-1], self._nodes[:-1])
            step.detail = f"{there}, {back}"

        killed = self._nodes[1]
        async with self._step(
            f"{killed.cluster_id} is killed (SIGKILL), and gone from the others after expiry"
        ):
            await self._kill(killed)
            await self._until_seen(self._running, lambda members: killed.cluster_id not in members)
        if self._broker.is_engine:
            await self._return(killed)
        left = self._nodes[0]
        async with self._step(f"{left.cluster_id} is stopped politely, and gone at once"):
            await self._stop(left)
            await self._until_seen(self._running, lambda members: left.cluster_id not in members)
        staying = {node.cluster_id for node in self._running}
        async with self._step("what is left is a whole cluster") as step:
            await self._until_bucket_holds(staying)
            await self._until_seen(self._running, lambda members: members == staying)
            step.detail = await self._pass_on(self._running[-1], self._running[:-1])

    async def _confirm_one_cluster(self) -> None:
        """Wait until the brokers report one whole cluster, where they have one of their own."""
        if not self._broker.is_engine:
            return
        async with self._step(f"one cluster of {len(self._running)}, by the brokers' own word") as step:
            while True:
                for node in self._running:
                    node.check_running()
                members = await self._look()
                told = [member for member in members if member.report.is_formed]
                found = topology(members)
                if len(told) == len(self._running) and found.is_whole:
                    step.detail = str(found)
                    return
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _return(self, killed: Node) -> None:
        """Start a killed node again: its data are still there, and so is its place in the cluster."""
        async with self._step(f"{killed.cluster_id} is started again, and takes its place by itself") as step:
            await self._stack.enter_async_context(killed)
            await self._until_seen(self._running, lambda members: killed.cluster_id in members)
            step.detail = await self._pass_on(self._nodes[0], [killed])

    @property
    def _running(self) -> list[Node]:
        return [node for node in self._nodes if node.is_running]

    @asynccontextmanager
    async def _step(self, title: str) -> AsyncIterator[Step]:
        """Time what happens inside, and show it; a fault or a time-out ends the demo."""
        step = Step(title, time.monotonic())
        self._steps.append(step)
        self._show()
        try:
            async with asyncio.timeout(self._broker.step_limit_s):
                yield step
        except TimeoutError:
            step.fault = f"not within {self._broker.step_limit_s:.0f} s"
        except DiscoveryError as error:
            step.fault = str(error)
        step.took_s = time.monotonic() - step.began_s
        self._show()
        if step.fault:
            raise StepError(step.fault)

    def _show(self) -> None:
        self._view.show(self._steps, self._nodes, self._ages)

    def _write_properties(self, weed: SeaweedFS) -> None:
        lines = {
            "s3-bucket-region": "us-east-1",
            "s3-bucket-name": BUCKET,
            "file-prefix": PREFIX,
            "file-expiration": f"{EXPIRATION_S}s",
            "update-interval": f"{UPDATE_S}s",
            "poll-interval": f"{POLL_S}s",
            "credentials-type": "access_key",
            "credentials-access-key-id": weed.access_key_id,
            "credentials-secret-access-key": weed.secret_access_key,
            "s3-endpoint": weed.endpoint,
            "bind-address": child.HOST,
            "stable-margin": "1s",
        }
        self._properties.write_text("".join(f"{key}:{value}\n" for key, value in lines.items()))
        self._properties.chmod(0o600)
        self._origins = wiring.Origins(self._properties, environ={})

    async def _start(self, *numbers: int) -> None:
        started = [
            Node(number, self._broker.launch(number), self._folder, self._properties) for number in numbers
        ]
        self._nodes = sorted([*self._nodes, *started], key=lambda node: node.number)
        # A group waits for all of them even when it is cancelled: none may start behind its back.
        async with asyncio.TaskGroup() as tasks:
            for node in started:
                tasks.create_task(self._stack.enter_async_context(node))
        self._show()

    async def _kill(self, node: Node) -> None:
        if node.process is not None:
            await child.kill(node.process)

    async def _stop(self, node: Node) -> None:
        if node.process is not None:
            node.process.send_signal(signal.SIGTERM)
            if code := await node.process.wait():
                raise StepError(f"{node.cluster_id} ended with exit code {code}")

    async def _until_seen(self, nodes: Iterable[Node], holds: Callable[[set[str]], bool]) -> None:
        """Wait until every node says that it sees what it should."""
        await asyncio.gather(*(node.wait_until(holds) for node in nodes))

    async def _until_bucket_holds(self, cluster_ids: set[str]) -> None:
        """Wait until the bucket holds the files of just these nodes."""
        while set(self._ages) != cluster_ids:
            for node in self._nodes:
                if node.cluster_id in cluster_ids:
                    node.check_running()
            await self._look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _watch_bucket(self) -> None:
        """Keep what is shown of the bucket up to date."""
        while True:
            await asyncio.sleep(1)
            with suppress(DiscoveryError):  # for show alone: a step that needs the bucket looks itself
                await self._look()
            if isinstance(self._view, LiveView):
                self._show()

    async def _look(self) -> tuple[Member, ...]:
        if self._origins is None:
            return ()
        seen = await wiring.look(self._origins)
        self._ages = {
            member.cluster_id: duration(max(0.0, (seen.now_s or member.modified_s) - member.modified_s))
            for member in seen.members
        }
        return seen.members

    async def _pass_on(self, source: Node, targets: list[Node]) -> str:
        """Publish at one node with a real client, and wait for the message at the others."""
        text = f"hello from {source.cluster_id} {secrets.token_hex(4)}"
        async with AsyncExitStack() as clients:
            listeners = [await clients.enter_async_context(connected(node)) for node in targets]
            for listener in listeners:
                await listener.subscribe(_TOPIC, qos=1)
            publisher = await clients.enter_async_context(connected(source))
            began_s = time.monotonic()
            await publisher.publish(_TOPIC, text, qos=1)
            await asyncio.gather(*(receive(listener, text.encode()) for listener in listeners))
            took_ms = (time.monotonic() - began_s) * 1000
        return f"{source.cluster_id} to {', '.join(node.cluster_id for node in targets)} in {took_ms:.0f} ms"

    async def _keep(self) -> None:
        """Print how to look around, and wait for Ctrl-C."""
        self._view.say("left running; press Ctrl-C to end and remove it all")
        for node in self._running:
            self._view.say(f"  {node.cluster_id}: MQTT at {child.HOST}:{node.mqtt_port}")
        command, file = _own_command(), shlex.quote(str(self._properties))
        self._view.say(f"  who is there:  {command} members -c {file}")
        self._view.say(f"  and live:      {command} watch -c {file}")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


def _own_command() -> str:
    """Return how the user can call s3discovery: by its name only where that finds this one."""
    beside = Path(sys.executable).with_name("s3discovery")
    found = shutil.which("s3discovery")
    if found is not None and Path(found) == beside:
        return "s3discovery"
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m s3discovery"
