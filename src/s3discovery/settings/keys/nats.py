"""NATS: where its server is reached, the file of its routes, and who we are to it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

_REPLICAS_LIMIT = 5  # NATS keeps no more copies of a stream
_LOGINS = ("nats-cluster", "nats-system", "nats-app", "nats-mqtt")


def _url(*schemes: str) -> Callable[[str], str]:
    """Return a reader of `scheme://host:port` with one of these schemes."""
    cure = f"write {schemes[0]}://host:port" + "".join(f" or {each}://host:port" for each in schemes[1:])

    def read(text: str) -> str:
        scheme, mark, place = text.partition("://")
        if not mark or scheme not in schemes:
            raise kinds.WrongTextError(cure)
        if "@" in place:
            raise kinds.WrongTextError("leave out user and password; they have keys of their own")
        hosts.read_listener(place)
        return text

    return read


def _read_replicas(text: str) -> int:
    count = kinds.read_count(text)
    if count > _REPLICAS_LIMIT:
        raise kinds.WrongTextError(f"write a whole number from 1 to {_REPLICAS_LIMIT}, such as 3")
    return count


NATS: tuple[Key, ...] = (
    Key(
        "nats-routes-file",
        "nats_routes_file",
        kinds.read_path,
        "The file of routes that is written for nats-server, and that the cluster block of its configuration "
        "includes; needed with broker:nats.",
        "/etc/nats/routes.conf",
    ),
    Key(
        "nats-pid-file",
        "nats_pid_file",
        kinds.read_path,
        "The pid_file of nats-server, by which it is told to read its routes again; not needed where "
        "s3discovery starts it.",
        "/run/nats/nats.pid",
    ),
    Key(
        "nats-jetstream",
        "nats_jetstream",
        kinds.read_flag,
        "Whether nats-server has JetStream, which MQTT needs.",
        "false",
        default="true",
        show=kinds.show_flag,
    ),
    Key(
        "nats-store-dir",
        "nats_store_dir",
        kinds.read_path,
        "The store_dir of JetStream; needed where s3discovery starts nats-server with JetStream.",
        "/var/lib/nats",
    ),
    Key(
        "nats-replicas",
        "nats_replicas",
        _read_replicas,
        "How many nodes keep a copy of the MQTT streams, as soon as there are so many; 1 to 5.",
        "5",
        default="3",
    ),
    Key(
        "nats-monitor-url",
        "nats_monitor_url",
        _url("http", "https"),
        "Where nats-server is monitored (http or https in its configuration).",
        "http://127.0.0.1:8222",
        default="http://127.0.0.1:8222",
    ),
    Key(
        "nats-url",
        "nats_url",
        _url("nats", "tls"),
        "Where NATS clients connect; what nats-server says if not set.",
        "tls://node-1.example.com:4222",
    ),
    Key(
        "nats-mqtt-url",
        "nats_mqtt_url",
        _url("mqtt", "mqtts"),
        "Where MQTT clients connect, tried before a node counts as ready; what nats-server says if not set.",
        "mqtts://node-1.example.com:8883",
    ),
    Key(
        "nats-cluster-user",
        "nats_cluster_user",
        kinds.read_printable,
        "User of the routes, as in authorization of the cluster block.",
        "route",
    ),
    Key(
        "nats-cluster-password",
        "nats_cluster_password",
        kinds.read_secret,
        "Password of nats-cluster-user.",
        "<your-password>",
        secret=True,
    ),
    Key(
        "nats-system-user",
        "nats_system_user",
        kinds.read_printable,
        "User of the system account, needed to remove dead nodes and to leave.",
        "sys",
    ),
    Key(
        "nats-system-password",
        "nats_system_password",
        kinds.read_secret,
        "Password of nats-system-user.",
        "<your-password>",
        secret=True,
    ),
    Key(
        "nats-app-user",
        "nats_app_user",
        kinds.read_printable,
        "User of the account that MQTT clients use, for copies of its streams; anonymous if not set.",
        "app",
    ),
    Key(
        "nats-app-password",
        "nats_app_password",
        kinds.read_secret,
        "Password of nats-app-user.",
        "<your-password>",
        secret=True,
    ),
    Key(
        "nats-mqtt-user",
        "nats_mqtt_user",
        kinds.read_printable,
        "User with which MQTT is tried; nats-app-user if not set.",
        "probe",
    ),
    Key(
        "nats-mqtt-password",
        "nats_mqtt_password",
        kinds.read_secret,
        "Password of nats-mqtt-user.",
        "<your-password>",
        secret=True,
    ),
    Key(
        "nats-tls-ca",
        "nats_tls_ca",
        kinds.read_path,
        "File of the certificates (PEM) that sign those of nats-server; the machine's if not set.",
        "/etc/nats/ca.pem",
    ),
)


def nats_clashes(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between these keys, as (key, cure); `found` is values by attribute."""
    # What is not among `found` was written wrong, and has been reported already.
    if found.get("broker") == "nats" and found.get("nats_routes_file", "") is None:
        yield "nats-routes-file", "write the path of the file that the cluster block of nats.conf includes"
    for login in _LOGINS:
        attribute = login.replace("-", "_")
        user, password = found.get(f"{attribute}_user", ""), found.get(f"{attribute}_password", "")
        if user is None and password:
            yield f"{login}-user", f"write whose password {login}-password is"
        elif user and password is None:
            yield f"{login}-password", f"write the password of {login}-user"
