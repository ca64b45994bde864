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
_ONE_SCHEDULER = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
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
        write_cookie(self._home)
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
        ports, environ = prepare_node(name, self._folder / f"rabbitmq-{number}", self._home, self._epmd_port)
        options = {"broker": "rabbitmq", "rabbitmq-ctl": str(self._bin / "rabbitmqctl")}
        return Launch(name, ports["mqtt"], options, (str(self._bin / "rabbitmq-server"),), environ)


def write_cookie(home: Path, cookie: str | None = None) -> None:
    """Write an Erlang cookie, a new one if none is given."""
    file = home / ".erlang.cookie"
    file.unlink(missing_ok=True)
    file.write_text(cookie or secrets.token_hex(10).upper())
    file.chmod(0o400)


def prepare_node(
    name: str, folder: Path, home: Path, epmd_port: int, host: str = child.HOST
) -> tuple[dict[str, int], dict[str, str]]:
    """Write what a node's programs read; return its ports and their environment. `host` is an IPv4 address.

    Nothing is shared with a RabbitMQ of the machine. The ports are `amqp`, `mqtt` and `distribution`."""
    folder.mkdir(exist_ok=True)
    ports = child.choose_ports(["amqp", "mqtt", "distribution"])
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = {host}:{ports['amqp']}\n"
        f"mqtt.listeners.tcp.1 = {host}:{ports['mqtt']}\n"
        "mqtt.allow_anonymous = true\nloopback_users = none\n"
    )
    (folder / "plugins").write_text("[rabbitmq_mqtt].")
    erlang = f"-kernel inet_dist_use_interface {{{host.replace('.', ',')}}} {_ONE_SCHEDULER}"
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_FLAGS": "-start_epmd false",  # one that they start would outlive them
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_USE_LONGNAME": "true" if "." in name else "false",
        "RABBITMQ_NODE_PORT": str(ports["amqp"]),
        "RABBITMQ_DIST_PORT": str(ports["distribution"]),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CTL_DIST_PORT_MIN": "0",
        "RABBITMQ_CTL_DIST_PORT_MAX": "0",
        "RABBITMQ_CTL_ERL_ARGS": erlang,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        # The server replaces its script then, and is the one process that signals go to.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    return ports, environ
