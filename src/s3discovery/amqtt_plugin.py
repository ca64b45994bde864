"""The plugin for anyone's own amqtt broker: discovery and clustering inside the broker's process.

In the broker's configuration:

    plugins:
      amqtt.plugins.authentication.AnonymousAuthPlugin:
        allow_anonymous: true
      s3discovery.amqtt_plugin.S3DiscoveryPlugin:
        properties: /etc/s3discovery.properties

A `plugins:` section replaces amqtt's defaults: without an authentication plugin nobody gets in.

`broker:amqtt` goes without saying here. Wrong settings keep the broker from starting; a store that
cannot be reached does not, since the broker serves its own clients meanwhile.
"""

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from amqtt.broker import BrokerContext

from s3discovery import wiring
from s3discovery.brokers import BrokerFactory, Surroundings
from s3discovery.brokers.amqtt import AmqttBroker
from s3discovery.brokers.amqtt_server import ClusterPlugin
from s3discovery.errors import DiscoveryError

log = logging.getLogger(__name__)

_START_LIMIT_S = 10.0  # amqtt opens its listeners at once, or not at all


class S3DiscoveryPlugin(ClusterPlugin):
    """Makes the amqtt broker that loads it a node of the cluster."""

    @dataclass
    class Config:
        """What stands below the plugin's name in amqtt's configuration."""

        properties: str = str(wiring.DEFAULT_FILE)

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self._origins = wiring.Origins(Path(self.config.properties), ("broker=amqtt",))
        self._task: asyncio.Task[None] | None = None
        self._give_up: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        try:
            self._origins.read()
        except DiscoveryError as error:
            # amqtt tells its user only that the plugin failed, not why.
            log.error("settings are wrong, the broker does not start error=%s", error)
            raise

    async def on_broker_pre_start(self) -> None:
        """Become a node before clients are served: what they publish shall reach the peers.

        Lasts until the first attempt to register and to list has been made."""
        joined = asyncio.Event()

        def attach(surroundings: Surroundings) -> AmqttBroker:
            broker = AmqttBroker.attach(surroundings, self)
            broker.joined = joined
            return broker

        self._task = asyncio.create_task(self._be_a_node(attach), name="s3discovery")
        self._task.add_done_callback(_report)
        waiter = asyncio.create_task(joined.wait())
        await asyncio.wait({self._task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        # A broker that cannot open its own listeners says so to nobody; it must not stay a member.
        self._give_up = asyncio.get_running_loop().call_later(_START_LIMIT_S, self._leave_unserved)

    async def _be_a_node(self, attach: BrokerFactory) -> None:
        await wiring.make_agent(self._origins, broker=attach).run()

    def _leave_unserved(self) -> None:
        log.error("the broker serves nobody after %g s, leaving the cluster", _START_LIMIT_S)
        if self._task is not None:
            self._task.cancel()

    async def on_broker_post_start(self) -> None:
        """The broker serves clients: stay a node, until it is asked to end."""
        if self._give_up is not None:
            self._give_up.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._leave_before(number)

    def _leave_before(self, number: signal.Signals) -> None:
        """Have a signal that nobody handles take effect only once the own file is gone.

        amqtt knows no SIGTERM, and its Ctrl-C may hit a task of ours as well as its own loop."""
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
            return
        loop = asyncio.get_running_loop()

        def leave() -> None:
            loop.remove_signal_handler(number)
            self._leaving = loop.create_task(self.close(), name="s3discovery leaves")
            self._leaving.add_done_callback(lambda _: signal.raise_signal(number))

        with suppress(RuntimeError, ValueError):  # not in the main thread: signals are not ours
            loop.add_signal_handler(number, leave)

    async def on_broker_pre_shutdown(self) -> None:
        """Leave the cluster while the broker still delivers."""
        await self.close()

    async def close(self) -> None:
        """Leave the cluster, if that has not been done."""
        if self._give_up is not None:
            self._give_up.cancel()
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})


def _report(task: asyncio.Task[None]) -> None:
    """Tell why the node ended although nobody asked it to; the broker goes on by itself."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, DiscoveryError):
        log.error("not clustered, the broker serves its own clients only error=%s", error)
    else:
        log.error("not clustered because of a bug in s3discovery", exc_info=error)
