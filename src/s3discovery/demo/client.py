"""A real MQTT client of a node, as soon as the node serves any."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from s3discovery.demo import child
from s3discovery.demo.node import Node
from s3discovery.errors import DiscoveryError

try:
    import aiomqtt
except ImportError as error:
    raise DiscoveryError(
        f"the demo needs a package that is missing ({error.name}); run pip install 's3discovery[demo]'"
    ) from error

_TRY_EVERY_S = 0.02
_ANSWER_LIMIT_S = 30.0


class ClientError(DiscoveryError):
    """A node does not answer its MQTT client, or refuses it."""


@asynccontextmanager
async def connected(node: Node) -> AsyncIterator[aiomqtt.Client]:
    """Connect a client to `node`; the caller sets the deadline.

    Tries until it is taken: a node is a member before it serves clients. Raises NodeEndedError if the node
    has ended, ClientError for whatever the client fails with inside."""
    client = await _connect(node)
    try:
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)
    except aiomqtt.MqttError as error:
        raise ClientError(f"an MQTT client failed: {error}") from error


async def receive(client: aiomqtt.Client, *payloads: bytes) -> None:
    """Return once `client` has received all of `payloads`, in any order; the caller sets the deadline."""
    missing = set(payloads)
    async for message in client.messages:
        if isinstance(message.payload, bytes):
            missing.discard(message.payload)
        if not missing:
            return


async def _connect(node: Node) -> aiomqtt.Client:
    while True:
        client = aiomqtt.Client(child.HOST, node.mqtt_port, timeout=_ANSWER_LIMIT_S)
        try:
            return await client.__aenter__()
        except aiomqtt.MqttError:
            node.check_running()
            await asyncio.sleep(_TRY_EVERY_S)
