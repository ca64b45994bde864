"""The plugin for anyone's own amqtt broker: discovery and clustering inside the broker's process.

In the broker's configuration:

    plugins:
      s3discovery.amqtt_plugin.S3DiscoveryPlugin:
        properties: /etc/s3discovery.properties

`broker:amqtt` goes without saying here. Wrong settings keep the broker from starting; a store that
cannot be reached does not, since the broker serves its own clients meanwhile.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from amqtt.broker import BrokerContext

from s3discovery import wiring
from s3discovery.brokers.amqtt import AmqttBroker, ClusterPlugin
from s3discovery.errors import DiscoveryError

log = logging.getLogger(__name__)


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
        try:
            self._origins.read()
        except DiscoveryError as error:
            # amqtt tells its user only that the plugin failed, not why.
            log.error("settings are wrong, the broker does not start error=%s", error)
            raise

    async def on_broker_post_start(self) -> None:
        """Become a node; amqtt goes on once the first attempt to register has been made."""
        agent = wiring.make_agent(
            self._origins,
            broker=lambda settings, cluster_id, look_now: AmqttBroker.attach(
                settings, cluster_id, look_now, self
            ),
        )
        started = asyncio.Event()
        self._task = asyncio.create_task(
            agent.run(lambda _discovery, _broker: started.set()), name="s3discovery"
        )
        waiter = asyncio.create_task(started.wait())
        await asyncio.wait({self._task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        self._task.add_done_callback(_report)

    async def on_broker_pre_shutdown(self) -> None:
        """Leave the cluster while the broker still delivers."""
        await self.close()

    async def close(self) -> None:
        """Leave the cluster, if that has not been done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None


def _report(task: asyncio.Task[None]) -> None:
    """Tell why the node ended although nobody asked it to; the broker goes on by itself."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, DiscoveryError):
        log.error("not clustered, the broker serves its own clients only error=%s", error)
    else:
        log.error("not clustered because of a bug in s3discovery", exc_info=error)
