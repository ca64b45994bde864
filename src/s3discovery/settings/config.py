"""Settings: what the texts of all keys mean together, or every problem they have at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from s3discovery.errors import Problem, SettingsError
from s3discovery.settings import durations, hosts, kinds
from s3discovery.settings.keys import BY_NAME, CREDENTIALS_TYPES, HIVEMQ_3, HIVEMQ_4, KEYS, Key, nearest_key
from s3discovery.settings.keys.command import Signal, Variables, command_clashes
from s3discovery.settings.keys.credentials import NEEDED
from s3discovery.settings.keys.hivemq import hivemq_clashes
from s3discovery.settings.keys.nats import nats_clashes
from s3discovery.settings.keys.ownership import clashes
from s3discovery.settings.kinds import Secret
from s3discovery.settings.vectors import Commands, Vector

__all__ = [
    "BY_NAME",
    "CREDENTIALS_TYPES",
    "KEYS",
    "Key",
    "Resolved",
    "Secret",
    "Settings",
    "Value",
    "describe",
    "nearest_key",
    "parse",
    "unknown_keys",
]

_AWS = "s3.amazonaws.com"
_KEY_LIMIT_BYTES = 1024  # S3's limit for the key of an object
_GENERATED_ID_BYTES = 64  # room for an id that is not set but generated
_SHOWN_CHARS = 120  # of a wrong value in a report
_IN_FILES = ("credentials-secret-access-key", "credentials-session-token")  # have a key `...-file`, too

StoreName = tuple[str | None, str]
"""What names a bucket, however it is reached: the endpoint, None for AWS's, and its own name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved, valid settings; None is "not set". Made by `parse`."""

    bucket_region: str
    bucket_name: str
    file_prefix: str
    file_expiration_s: float
    update_interval_s: float
    poll_interval_s: float
    compatibility: str
    credentials_type: str
    access_key_id: str | None
    secret_access_key: Secret | None
    session_token: Secret | None
    secret_access_key_file: str | None
    session_token_file: str | None
    profile: str | None
    role_arn: str | None
    external_id: str | None
    session_name: str | None
    credentials_source: str
    metadata_v1: bool | None
    java_pid: int | None
    endpoint: str | None
    endpoint_region: str | None
    path_style: bool | None
    dual_stack: bool
    fips: bool
    server_side_encryption: str | None
    kms_key_id: str | None
    bucket_key: bool | None
    sse_customer_key_file: str | None
    acl: str | None
    requester_pays: bool
    expected_bucket_owner: str | None
    object_tags: tuple[tuple[str, str], ...] | None
    cluster_id: str | None
    bind_address: str | None
    bind_port: int
    external_address: str | None
    external_port: int | None
    control_socket: str | None
    broker: str
    amqtt_listen: str
    amqtt_config: str | None
    min_cluster_size: int
    min_cluster_timeout_s: float
    stable_margin_s: float
    seed_key: str | None
    store_timeout_s: float
    allow_reset: bool
    forget_dead: bool
    forget_after_s: float
    leave_on_stop: bool
    rabbitmq_node_name: str | None
    rabbitmq_ctl: Vector
    rabbitmq_ctl_timeout_s: float
    nats_routes_file: str | None
    nats_pid_file: str | None
    nats_jetstream: bool
    nats_store_dir: str | None
    nats_replicas: int
    nats_monitor_url: str
    nats_url: str | None
    nats_mqtt_url: str | None
    nats_cluster_user: str | None
    nats_cluster_password: Secret | None
    nats_system_user: str | None
    nats_system_password: Secret | None
    nats_app_user: str | None
    nats_app_password: Secret | None
    nats_mqtt_user: str | None
    nats_mqtt_password: Secret | None
    nats_tls_ca: str | None
    hivemq_config: str | None
    command: Commands | None
    command_cluster: Commands | None
    command_join: Commands | None
    command_forget: Commands | None
    command_leave: Commands | None
    command_timeout_s: float
    output_file: str | None
    output_template: str | None
    output_variables: Variables | None
    output_block: bool
    output_reload: Commands | None
    output_signal: Signal | None
    output_folder: str | None
    dns_listen: str | None
    dns_name: str
    dns_max_udp: int
    dns_rate: int
    http_port: int | None
    http_address: str
    http_token: Secret | None
    http_token_file: str | None
    log_format: str

    @property
    def file_version(self) -> str:
        """The version of node file to write: "1" or "4"."""
        return "4" if self.compatibility == HIVEMQ_4 else "1"

    @property
    def store(self) -> StoreName:
        """The bucket's name among all stores."""
        return self.endpoint, self.bucket_name

    @property
    def signing_region(self) -> str:
        """The region that requests are signed for."""
        return self.endpoint_region or self.bucket_region


@dataclass(frozen=True, slots=True)
class Value:
    """The text of a setting and where it was written, such as a file or a variable.

    `variables` are the names that stood in it as `${name}` before they were expanded."""

    text: str
    origin: str
    variables: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the text: it may be a secret."""
        return f"Value(origin={self.origin!r})"


@dataclass(frozen=True, slots=True)
class Resolved:
    """One line of the `config` command: `text` can be read again (masked if secret), None is unset."""

    name: str
    text: str | None
    origin: str


def parse(values: Mapping[str, str | Value]) -> Settings:
    """Return the settings that `values` (key to text) mean; unknown keys are left alone.

    Raises SettingsError with all problems, in the order of `KEYS`."""
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    compatibility = _text(values.get("compatibility"))
    for key in KEYS:
        text = _text(values.get(key.name))
        if text is None and key.required:
            problems.append(
                Problem(key.name, None, f"is missing; write for example {key.name}:{key.example}")
            )
        elif (text is None or text == "") and not key.required and key.default is None:
            found[key.attribute] = None
        else:
            try:
                found[key.attribute] = key.reader(compatibility or HIVEMQ_3)(
                    text if text is not None else key.default or ""
                )
            except kinds.WrongTextError as error:
                problems.append(_problem(values, key.name, str(error)))
    if found.get("endpoint") == _AWS:
        # What the originals ship, and take for AWS in the bucket's region, whatever else is said.
        found["endpoint"] = found["endpoint_region"] = None
    problems.extend(_contradictions(values, found))
    if problems:
        order = {key.name: place for place, key in enumerate(KEYS)}
        raise SettingsError(sorted(problems, key=lambda problem: order[problem.key]))
    return Settings(**found)


def unknown_keys(values: Mapping[str, object]) -> tuple[tuple[str, str | None], ...]:
    """Return the keys of `values` that mean nothing, each with the nearest that does, or None.

    What another key refers to as `${name}` does mean something."""
    used = {name for value in values.values() if isinstance(value, Value) for name in value.variables}
    return tuple((name, nearest_key(name)) for name in values if name not in BY_NAME and name not in used)


def describe(settings: Settings, values: Mapping[str, str | Value]) -> tuple[Resolved, ...]:
    """Return every key with what it resolved to and where that was written; secrets masked.

    `values` are those that `settings` were parsed from."""

    def resolve(key: Key) -> Resolved:
        value = getattr(settings, key.attribute)
        text = None if value is None else key.show(value)
        origin = "given" if key.name in values else "default"
        return Resolved(key.name, text, _origin(values.get(key.name)) or origin)

    return tuple(resolve(key) for key in KEYS)


def _contradictions(values: Mapping[str, str | Value], found: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong between settings that are right each by itself."""
    yield from _clashing_durations(values, found)
    yield from _missing_credentials(found)
    yield from _doubled_secrets(found)
    yield from _open_http(values, found)
    yield from (_problem(values, name, cure) for name, cure in clashes(found))
    yield from (_problem(values, name, cure) for name, cure in command_clashes(found))
    yield from (_problem(values, name, cure) for name, cure in nats_clashes(found))
    yield from (_problem(values, name, cure) for name, cure in hivemq_clashes(found))
    if found.get("bind_port") == 0 and found.get("broker", "amqtt") != "amqtt":
        yield _problem(
            values, "bind-port", "write the port of the broker; only broker:amqtt can take any free one"
        )
    prefix, cluster_id = found.get("file_prefix"), found.get("cluster_id")
    if prefix is None:
        return
    id_bytes = len(cluster_id.encode()) if cluster_id else _GENERATED_ID_BYTES
    if len(prefix.encode()) + id_bytes > _KEY_LIMIT_BYTES:
        cure = f"write at most {_KEY_LIMIT_BYTES - id_bytes} bytes, as S3 keys end at {_KEY_LIMIT_BYTES}"
        yield _problem(values, "file-prefix", cure)
    if prefix and (found.get("seed_key") or "").startswith(prefix):
        cure = "write a key that does not begin with file-prefix: HiveMQ nodes read those as node files"
        yield _problem(values, "seed-key", cure)


def _clashing_durations(values: Mapping[str, str | Value], found: Mapping[str, Any]) -> Iterator[Problem]:
    if "file_expiration_s" not in found or "update_interval_s" not in found:
        return
    expiration_s, interval_s = found["file_expiration_s"], found["update_interval_s"]
    if expiration_s > 0 and interval_s == 0:
        cure = "write an interval shorter than file-expiration, or 0 for both: a file never refreshed expires"
        yield _problem(values, "update-interval", cure)
    elif expiration_s == 0 and interval_s > 0:
        cure = "write a duration longer than update-interval, or 0 for both: dead nodes would stay for ever"
        yield _problem(values, "file-expiration", cure)
    elif 0 < expiration_s <= interval_s:
        shown = durations.show_duration(expiration_s), durations.show_duration(interval_s)
        cure = f"write less than file-expiration ({shown[0]}), or live nodes expire; this is {shown[1]}"
        yield _problem(values, "update-interval", cure)


def _missing_credentials(found: Mapping[str, Any]) -> Iterator[Problem]:
    kind = found.get("credentials_type", "")
    asker = found.get("credentials_source", "") if kind == "assume_role" else ""
    for name in (*NEEDED.get(kind, ()), *NEEDED.get(asker, ())):
        # A key that is not among `found` was written wrong, and has been reported already.
        in_file = found.get(BY_NAME[f"{name}-file"].attribute) if name in _IN_FILES else None
        if found.get(BY_NAME[name].attribute, name) is None and in_file is None:
            yield Problem(name, None, f"is missing; credentials-type:{kind} needs it")


def _open_http(values: Mapping[str, str | Value], found: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield why HTTP would be open to everybody."""
    if found.get("http_token") and found.get("http_token_file"):
        yield Problem("http-token-file", None, "leave out this or http-token: only one of them can hold")
    has_token = found.get("http_token") or found.get("http_token_file")
    host = found.get("http_address")
    if host is not None and found.get("http_port") and not has_token and not hosts.is_loopback(host):
        cure = "write http-token or http-token-file too: others than this machine could ask there"
        yield _problem(values, "http-address", cure)


def _doubled_secrets(found: Mapping[str, Any]) -> Iterator[Problem]:
    for name in _IN_FILES:
        if found.get(BY_NAME[name].attribute) and found.get(BY_NAME[f"{name}-file"].attribute):
            yield Problem(f"{name}-file", None, f"leave out either this or {name}: only one of them can hold")


def _problem(values: Mapping[str, str | Value], name: str, cure: str) -> Problem:
    value = values.get(name)
    text, origin = _text(value), _origin(value)
    if text is not None and (BY_NAME[name].secret or "@" in text):  # @: a password may stand before it
        text = kinds.MASK
    elif text is not None and len(text) > _SHOWN_CHARS:
        text = f"{text[:_SHOWN_CHARS]}..."
    return Problem(name, text, f"{cure} (set in {origin})" if origin else cure)


def _text(value: str | Value | None) -> str | None:
    return value.text if isinstance(value, Value) else value


def _origin(value: str | Value | None) -> str | None:
    return value.origin if isinstance(value, Value) else None
