"""RabbitMQ nodes on loopback, with ports, folders, cookie and port mapper of their own."""

import asyncio
import os
import secrets
import shutil
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from s3discovery.demo import child
from s3discovery.demo.launch import Launch, NotInstalledError

# Debian's own programs: those in /usr/sbin are wrappers that become the user rabbitmq, with another home.
_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", os.defpath)
_EPMD_LIMIT_S = 10.0
_LOOK_EVERY_S = 0.02


class RabbitmqNodes:
    """See `BrokerNodes`."""

    what = "a RabbitMQ node"
    is_engine = True
    step_limit_s = 120.0  # Erlang takes some seconds to start, and several nodes start at once

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._epmd_port = 0
        self._bin = Path()

    async def prepare(self, stack: AsyncExitStack) -> None:
        """Find RabbitMQ, and start a port mapper of our own, which would outlive the nodes otherwise."""
        path = os.pathsep.join((*_FOLDERS, os.environ.get("PATH", "")))
        server, epmd = (shutil.which(name, path=path) for name in ("rabbitmq-server", "epmd"))
        if server is None or epmd is None:
            raise NotInstalledError(
                "the demo with RabbitMQ needs rabbitmq-server; run apt install rabbitmq-server"
            )
        self._bin = Path(server).parent
        self._home.mkdir()
        cookie = self._home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(10).upper())
        cookie.chmod(0o400)
        self._epmd_port = child.choose_ports(["epmd"])["epmd"]
        log = stack.enter_context((self._folder / "epmd.log").open("wb"))
        process = await child.start(
            (epmd, "-port", str(self._epmd_port), "-address", child.HOST),
            folder=self._folder,
            environ={"PATH": os.environ.get("PATH", os.defpath)},
            log=log,
        )
        stack.push_async_callback(child.kill, process)
        async with asyncio.timeout(_EPMD_LIMIT_S):
            while True:
                with suppress(OSError):
                    socket.create_connection((child.HOST, self._epmd_port), timeout=1).close()
                    return
                await asyncio.sleep(_LOOK_EVERY_S)

    def launch(self, number: int) -> Launch:
        """Return how node `number` is started."""
        name = f"n{number}@localhost"
        folder = self._folder / f"rabbitmq-{number}"
        folder.mkdir(exist_ok=True)
        ports = child.choose_ports(["amqp", "mqtt", "distribution"])
        config = folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.1 = {child.HOST}:{ports['amqp']}\n"
            f"mqtt.listeners.tcp.1 = {child.HOST}:{ports['mqtt']}\n"
            "mqtt.allow_anonymous = true\n"
        )
        (folder / "plugins").write_text("[rabbitmq_mqtt].")
        erlang = f"-kernel inet_dist_use_interface {{{child.HOST.replace('.', ',')}}} +S 1:1 +sbwt none"
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_PORT": str(ports["amqp"]),
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_CTL_ERL_ARGS": erlang,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
            # The server replaces its script then, and is the one process that signals go to.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        options = {"broker": "rabbitmq", "rabbitmq-ctl": str(self._bin / "rabbitmqctl")}
        return Launch(name, ports["mqtt"], options, (str(self._bin / "rabbitmq-server"),), environ)
