"""A real nats-server of a test: its configuration, its ports, and the settings of the node that it is.

Its log is a file; it ends with the test, by its process alone.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from s3discovery.demo import child
from s3discovery.demo.brokers.nats import find_nats_server
from s3discovery.demo.child import choose_ports

_PORTS = ("client", "http", "mqtt", "cluster")


def absolute(command: Sequence[str]) -> list[str]:
    """Return a command that begins with a path."""
    return [shutil.which(command[0]) or command[0], *command[1:]]


@dataclass(frozen=True, slots=True)
class Variant:
    """What one server has that others have not."""

    jetstream: bool = True
    cluster_name: str = "mesh"
    cluster_login: tuple[str, str] | None = None
    include: bool = True
    by_itself: bool = False  # started by itself, not by an agent, which would give it its name
    accounts: bool = True
    tls: Mapping[str, Path] | None = None  # cert and key, for clients, MQTT and monitoring
    more: str = ""  # of nats.conf


USUAL = Variant()


class NatsServer:
    """One server in a folder of its own; started by itself with `start`, or by an agent with `command`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        host: str = child.HOST,
        ports: Mapping[str, int] | None = None,
        variant: Variant = USUAL,
        prefix: Sequence[str] = (),
    ) -> None:
        """`prefix` stands before every command, such as `ip netns exec n1`."""
        self.prefix = tuple(prefix)
        self.name, self.host, self.folder, self.variant = name, host, folder / name, variant
        self.ports = dict(ports or choose_ports(_PORTS))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "nats.conf"
        self.routes = self.folder / "routes.conf"
        self.store = self.folder / "data"
        self.pid_file = self.folder / "nats.pid"
        self.log = self.folder / "nats.log"
        self.process: asyncio.subprocess.Process | None = None
        self.config.write_text(self._text())

    @property
    def command(self) -> list[str]:
        """What starts it."""
        program = find_nats_server()
        assert program is not None
        return [str(program), "-c", str(self.config)]

    def settings(self, **more: str) -> dict[str, str]:
        """Return the settings of its node, by key; `more` are written with `_` for `-`."""
        secure = "s" if self.variant.tls else ""
        values = {
            "broker": "nats",
            "cluster-id": self.name,
            "bind-address": self.host,
            "bind-port": str(self.ports["cluster"]),
            "nats-routes-file": str(self.routes),
            "nats-pid-file": str(self.pid_file),
            "nats-store-dir": str(self.store),
            "nats-jetstream": str(self.variant.jetstream).lower(),
            "nats-monitor-url": f"http{secure}://{self.host}:{self.ports['http']}",
        }
        if self.variant.accounts:
            values |= {"nats-system-user": "sys", "nats-system-password": "sys-secret"}
            values |= {"nats-app-user": "app", "nats-app-password": "app-secret"}
        if self.variant.cluster_login is not None:
            user, password = self.variant.cluster_login
            values |= {"nats-cluster-user": user, "nats-cluster-password": password}
        return values | {key.replace("_", "-"): text for key, text in more.items()}

    async def start(self, arguments: Sequence[str] = ()) -> None:
        """Start it by itself; it may end at once if its configuration is not what it wants."""
        with self.log.open("ab") as log:
            self.process = await child.start(
                absolute([*self.prefix, *self.command, *arguments]),
                folder=self.folder,
                environ=dict(os.environ),
                log=log,
            )

    async def kill(self) -> None:
        """End it without a word (SIGKILL)."""
        if self.process is not None:
            await child.kill(self.process)

    async def stop(self) -> None:
        """End it as a service would (SIGTERM)."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGTERM)
            await child.end(self.process)

    def _text(self) -> str:
        variant, host, ports = self.variant, self.host, self.ports
        blocks = [
            f"listen: {host}:{ports['client']}",
            f"{'https' if variant.tls else 'http'}: {host}:{ports['http']}",
            f'pid_file: "{self.pid_file}"',
            f"server_name: {self.name if variant.by_itself else '$NATS_SERVER_NAME'}",
        ]
        tls = ""
        if variant.tls:
            tls = f'\n  tls {{ cert_file: "{variant.tls["cert"]}", key_file: "{variant.tls["key"]}" }}\n'
            blocks.append(tls.strip())
        if variant.jetstream:
            blocks.append(f'jetstream {{ store_dir: "{self.store}", max_mem: 64MB, max_file: 256MB }}')
            blocks.append(f"mqtt {{ listen: {host}:{ports['mqtt']}{tls} }}")
        if variant.accounts:
            jetstream = "jetstream: enabled, " if variant.jetstream else ""
            blocks.append(
                "accounts {\n"
                "  SYS { users: [ { user: sys, password: sys-secret } ] }\n"
                f"  APP {{ {jetstream}users: [ {{ user: app, password: app-secret }} ] }}\n"
                "}\nsystem_account: SYS\nno_auth_user: app"
            )
        login = variant.cluster_login
        who = ""
        if login is not None:
            who = f'  authorization {{ user: "{login[0]}", password: "{login[1]}" }}\n'
        include = '  include "./routes.conf"\n' if variant.include else f'  routes: ["nats://{host}:1"]\n'
        listen = f"  name: {variant.cluster_name}\n  listen: {host}:{ports['cluster']}\n"
        blocks.append(f"cluster {{\n{listen}{who}{include}}}")
        return "\n".join([*blocks, variant.more]) + "\n"
