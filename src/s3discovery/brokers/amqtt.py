"""amqtt, clustered: the broker runs in this process, its messages travel over the mesh.

amqtt delivers a message with the QoS of each subscription, whatever it was published with, unless it
is told one QoS for all. `delivery_qos` makes the best of that for messages that come from peers.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Self

from s3discovery.brokers import Surroundings
from s3discovery.errors import BrokerError
from s3discovery.node import Member

try:
    from amqtt.session import Session

    from s3discovery.brokers.amqtt_server import AmqttServer, ClusterPlugin
    from s3discovery.mesh import Mesh, MeshCounts, Message
except ImportError as error:
    raise BrokerError(
        f"broker:amqtt needs a package that is missing ({error.name}); run pip install 's3discovery[amqtt]'"
    ) from error

Subscriptions = Mapping[str, list[tuple[Session, int]]]


class AmqttBroker:
    """An amqtt broker in this process, clustered with its peers.

    Enter and leave it in the same task. Entering raises BrokerError for an address in use or a
    configuration that amqtt refuses."""

    cluster_id = None  # peers know a node of the mesh by its key, which outlives a changed id

    def __init__(self, surroundings: Surroundings, plugin: ClusterPlugin | None = None) -> None:
        """Make a broker of our own, or, with `plugin`, join the one that it is loaded in."""
        settings = surroundings.settings
        self.joined = asyncio.Event()  # set once the first peers are applied
        self._server = AmqttServer(settings) if plugin is None else None
        self._plugin = plugin
        self._mesh = Mesh(settings.bind_address, settings.bind_port, self._deliver, surroundings.look_now)

    @classmethod
    def attach(cls, surroundings: Surroundings, plugin: ClusterPlugin) -> Self:
        """Make the broker of an amqtt that somebody else runs and that has loaded `plugin`.

        Such a broker is neither started nor stopped; only its messages are shared."""
        return cls(surroundings, plugin)

    @property
    def listener(self) -> str:
        """host:port where MQTT clients connect; empty where the settings do not say."""
        return self._server.listener if self._server is not None else ""

    @property
    def port(self) -> int:
        """The port the mesh listens at, once entered."""
        return self._mesh.port

    @property
    def metadata(self) -> Mapping[str, str]:
        """The public key of this run."""
        return self._mesh.metadata

    @property
    def counts(self) -> MeshCounts:
        """What became of the messages so far, once entered."""
        return self._mesh.counts

    def messages(self) -> Mapping[str, int]:
        """Return `counts` by name."""
        return asdict(self._mesh.counts)

    @property
    def skipped(self) -> frozenset[str]:
        """Members without a key of the mesh (HiveMQ nodes, say), or with an address that none can dial."""
        return self._mesh.skipped

    async def apply(self, peers: frozenset[Member]) -> None:
        """Make the links equal `peers`; a member that cannot be a peer is skipped and logged.

        Clients are served only from the first time on: what they publish shall reach the peers."""
        self._mesh.apply(peers)
        if self._server is not None and not self._server.is_running:
            await self._server.start(self._mesh.publish)
            self._plugin = self._server.plugin
        self.joined.set()

    async def cluster(self) -> frozenset[str]:
        """Return the ids of the peers that have confirmed something within the last seconds."""
        return self._mesh.established()

    async def __aenter__(self) -> Self:
        if self._server is not None:
            await self._server.check()
        await self._mesh.__aenter__()
        if self._plugin is not None:
            self._plugin.is_leaving = False
            self._plugin.forward = self._mesh.publish
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What has been confirmed to the peers must have reached a broker that still delivers.
        self._mesh.stop_listening()
        try:
            if self._plugin is not None:
                self._plugin.is_leaving = True
            if self._server is not None:
                await self._server.stop()
        finally:
            if self._plugin is not None:
                self._plugin.forward = None
            await self._mesh.__aexit__(exc_type, exc, traceback)

    async def _deliver(self, message: Message) -> None:
        if self._plugin is not None:
            context = self._plugin.context
            qos = delivery_qos(message.qos, message.topic, context.subscriptions)
            await context.broadcast_message(message.topic, message.payload, qos)


def delivery_qos(published: int, topic: str, subscriptions: Subscriptions) -> int | None:
    """Return the QoS to have amqtt deliver with; None is each subscription's own.

    A subscriber should get the lower of published and subscribed QoS. Where QoS 0 and QoS 2
    subscriptions both match a message of QoS 1, amqtt cannot do both, and the QoS 2 one gets QoS 2."""
    if published == 0:
        return 0
    if published == 2 or all(qos < 2 for found in subscriptions.values() for _, qos in found):
        return None
    lowest = min(
        (qos for name, found in subscriptions.items() if matches(topic, name) for _, qos in found),
        default=0,
    )
    return 1 if lowest else None


def matches(topic: str, name: str) -> bool:
    """Tell whether the topic filter `name` matches `topic` (MQTT 3.1.1, section 4.7)."""
    if "#" not in name and "+" not in name:
        return topic == name
    if topic.startswith("$") and name.startswith(("#", "+")):
        return False
    levels, wanted = topic.split("/"), name.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(levels) == len(wanted)
