"""amqtt in this process: its configuration, its start and end, and the ear inside it."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from amqtt import errors as amqtt_errors
from amqtt.broker import Broker as Amqtt
from amqtt.broker import BrokerContext
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType, default_broker_plugins
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.plugins.base import BasePlugin
from amqtt.session import ApplicationMessage, Session
from dacite import DaciteError

from s3discovery.errors import AddressError, BrokerError
from s3discovery.mesh import Message
from s3discovery.network.names import Names
from s3discovery.node import Address
from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)

_MQTT_PORT: Final = 1883  # where a listener names none
_STOP_LIMIT_S: Final = 3.0
_POLITE: Final = "s3discovery.polite"  # session attribute: the client has said goodbye
_OWN_PLUGIN: Final = f"{__name__}.ClusterPlugin"
_ANONYMOUS: Final = "amqtt.plugins.authentication.AnonymousAuthPlugin"
# What amqtt raises for a configuration that it cannot use; it translates none of it.
_CONFIG_ERRORS = (
    amqtt_errors.BrokerError,
    amqtt_errors.PluginError,
    amqtt_errors.PluginLoadError,
    DaciteError,
    AttributeError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)


class ClusterPlugin(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt ships no types
    """The ear inside an amqtt broker: hands on every message that a client publishes, and wills.

    `forward` is called for each; it must not wait. None while there is no mesh."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.forward: Callable[[Message], None] | None = None
        self.is_leaving = False  # the broker itself ends its clients: their wills are its own affair

    async def on_broker_message_broadcast(self, *, client_id: str, message: ApplicationMessage) -> None:
        """Hand on a message that was accepted; amqtt runs these in the order of publishing."""
        if self.forward is not None:
            packet = message.publish_packet
            is_retained = packet is not None and packet.retain_flag
            self.forward(Message(message.topic, bytes(message.data), message.qos or 0, is_retained))

    async def on_mqtt_packet_received(self, *, packet: object, session: Session | None = None) -> None:
        """Note who says goodbye: amqtt's disconnect event does not tell."""
        if isinstance(packet, DisconnectPacket) and session is not None:
            session.attributes[_POLITE] = True

    async def on_broker_client_connected(self, *, client_id: str, client_session: Session) -> None:
        """Forget the goodbye of an earlier connection of the same session."""
        client_session.attributes.pop(_POLITE, None)

    async def on_broker_client_disconnected(self, *, client_id: str, client_session: Session) -> None:
        """Hand on the will of a client that vanished; amqtt itself publishes it to this node only."""
        session = client_session
        if self.forward is None or self.is_leaving or not session.will_flag or not session.will_topic:
            return
        if not session.attributes.get(_POLITE):
            payload = bytes(session.will_message or b"")
            self.forward(
                Message(session.will_topic, payload, session.will_qos or 0, bool(session.will_retain))
            )


class AmqttServer:
    """An amqtt broker of our own, as the settings describe it.

    `listener` is host:port where MQTT clients connect, once checked; empty with amqtt-config."""

    def __init__(self, settings: Settings) -> None:
        self.listener = ""
        self.plugin: ClusterPlugin | None = None  # once started
        self._settings = settings
        self._config: dict[str, Any] = {}
        self._amqtt: Amqtt | None = None

    @property
    def is_running(self) -> bool:
        return self._amqtt is not None

    async def check(self) -> None:
        """Raise BrokerError for a configuration that amqtt refuses or an address that is in use."""
        self._config = self._read()
        await _check_listeners(self._config)
        _make(self._config)

    async def start(self, forward: Callable[[Message], None]) -> None:
        """Serve clients; `forward` gets every message from the first on. Raises BrokerError."""
        amqtt, plugin = _make(self._config)
        plugin.forward = forward
        try:
            await amqtt.start()
        except amqtt_errors.BrokerError as error:
            raise BrokerError(f"amqtt does not start: {error}") from error
        self._amqtt, self.plugin = amqtt, plugin
        log.info("amqtt.serving listeners=%s", ",".join(_binds(self._config)))

    async def stop(self) -> None:
        """End it, if it runs; its clients are cut off."""
        amqtt, self._amqtt = self._amqtt, None
        if amqtt is None:
            return
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await amqtt.shutdown()
        except TimeoutError:
            log.warning("amqtt.stop_timeout limit_s=%s", _STOP_LIMIT_S)

    def _read(self) -> dict[str, Any]:
        path = self._settings.amqtt_config
        if path is None:
            host, _, port = self._settings.amqtt_listen.rpartition(":")
            host = host.removeprefix("[").removesuffix("]")  # amqtt takes IPv6 addresses without
            self.listener = f"{host}:{int(port) or _free_port(host)}"
            listeners = {"default": {"type": "tcp", "bind": self.listener}}
            return {"listeners": listeners, "plugins": {_ANONYMOUS: {}, _OWN_PLUGIN: {}}}
        config = _read_yaml(path)
        config["plugins"] = _with_own_plugin(config, path)
        return config


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerError(f"amqtt-config {path!r} cannot be read: {error}; correct the path") from error
    except yaml.YAMLError as error:
        raise BrokerError(f"amqtt-config {path!r} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise BrokerError(f"amqtt-config {path!r} holds no settings; write listeners: and plugins: sections")
    return config


def _with_own_plugin(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the plugins of `config` with ours among them."""
    plugins = config.get("plugins")
    if plugins is None and ("auth" in config or "topic-check" in config):
        raise BrokerError(
            f"amqtt-config {path!r} has an auth: or topic-check: section, which amqtt gave up; "
            "name the plugins in a plugins: section instead"
        )
    if plugins is None:
        plugins = default_broker_plugins()
    if isinstance(plugins, list):
        entries = [{entry: {}} if isinstance(entry, str) else entry for entry in plugins]
        if not all(isinstance(entry, dict) for entry in entries):
            raise BrokerError(f"amqtt-config {path!r}: plugins: is neither a map nor a list of names")
        plugins = {name: options for entry in entries for name, options in entry.items()}
    if not isinstance(plugins, dict):
        raise BrokerError(f"amqtt-config {path!r}: plugins: is neither a map nor a list of names")
    return {name: options or {} for name, options in plugins.items()} | {_OWN_PLUGIN: {}}


def _make(config: dict[str, Any]) -> tuple[Amqtt, ClusterPlugin]:
    for name, level in (("amqtt", logging.INFO), ("transitions", logging.WARNING)):
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(level)  # their DEBUG is several lines for each message
    try:
        amqtt = Amqtt(BrokerConfig.from_dict(config))
    except _CONFIG_ERRORS as error:
        reason = error.__cause__ or error
        raise BrokerError(f"amqtt refuses its configuration: {error} ({reason})") from error
    found = [plugin for plugin in amqtt.plugins_manager.plugins if isinstance(plugin, ClusterPlugin)]
    if len(found) != 1:
        raise BrokerError(
            f"amqtt-config names {type(found[0]).__name__} among its plugins; "
            "remove it there, as broker:amqtt clusters by itself"
        )
    return amqtt, found[0]


def _binds(config: dict[str, Any]) -> list[str]:
    """Return where clients connect, as the configuration says it."""
    listeners: Iterable[ListenerConfig] = BrokerConfig.from_dict(dict(config)).listeners.values()
    return [str(listener.bind) for listener in listeners if listener.bind]


async def _check_listeners(config: dict[str, Any]) -> None:
    """Raise BrokerError if a listener of `config` cannot be bound.

    amqtt would find out by itself, but logs a traceback then."""
    try:
        listeners: Iterable[ListenerConfig] = BrokerConfig.from_dict(dict(config)).listeners.values()
    except _CONFIG_ERRORS as error:
        raise BrokerError(f"amqtt refuses its configuration: {error}") from error
    for listener in listeners:
        if listener.bind and listener.type != ListenerType.EXTERNAL:
            await _check_bind(str(listener.bind))


def _every_interface() -> list[str]:
    """Return the wildcard addresses of the families that this machine has."""
    found = socket.getaddrinfo(None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [str(address[0]) for *_, address in found]


async def _check_bind(bind: str) -> None:
    host, _, port = bind.rpartition(":")
    cure = "stop what holds it, or set another amqtt-listen (or bind: in amqtt-config)"
    try:
        number = int(port or _MQTT_PORT)
        Address(host or "localhost", number or _MQTT_PORT)  # 0 is any free port
        for address in await Names().find(host) if host else _every_interface():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, number))
                probe.listen(1)
    except (AddressError, ValueError) as error:
        raise BrokerError(f"amqtt cannot listen at {bind!r}: {error}; write host:port") from error
    except OSError as error:
        raise BrokerError(f"amqtt cannot listen at {bind!r}: {error.strerror}; {cure}") from error


def _free_port(host: str) -> int:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise BrokerError(f"amqtt cannot listen at {host!r}: {error}; set another amqtt-listen") from error
