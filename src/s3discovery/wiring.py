"""Which class fills which seam: the one place where settings become a bucket, a broker and a node.

Used by every way in: the command line, the amqtt plugin, and `discover` for scripts. What not every
way needs is imported where it is used.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from s3discovery import control
from s3discovery.agent import Agent, Parts
from s3discovery.brokers import Broker, BrokerFactory, Surroundings
from s3discovery.child import Child
from s3discovery.clock import Clock, SystemClock
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, DiscoveryError, Problem, SettingsError
from s3discovery.node import Member
from s3discovery.outputs import Outputs
from s3discovery.own_address import find_own_address
from s3discovery.running import Running
from s3discovery.s3 import S3Bucket
from s3discovery.settings import sources
from s3discovery.settings.config import KEYS, Settings, Value, parse, unknown_keys
from s3discovery.settings.telling import tell_durations
from s3discovery.systemd import Systemd, telling
from s3discovery.traffic import Traffic

if TYPE_CHECKING:
    from s3discovery.credentials import CredentialsProvider

# Commands tell what is remarked on settings where they tell nothing else.
remarks_log = logging.getLogger("s3discovery.settings")

DEFAULT_FILE = Path("s3discovery.properties")
_BROKERS = "s3discovery.brokers"  # entry-point group
_NO_BROKER = "none"
_ID_BYTES = 6
_WITHOUT_FILE = "settings (without a file: name one with -c, or write one by `s3discovery init`)"


@dataclass(frozen=True, slots=True, repr=False)
class Origins:
    """Where this process takes its settings and credentials from. Without repr: all of it holds secrets.

    `file` None: the environment and `options` (texts `key=value`) alone. `java_properties` are texts
    `name=value`, for credentials that HiveMQ would take from Java's system properties."""

    file: Path | None = DEFAULT_FILE
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    java_properties: tuple[str, ...] = ()
    traffic: Traffic = field(default_factory=Traffic, compare=False, repr=False)

    def values(self) -> dict[str, Value]:
        """Return every key that is set anywhere; raises SettingsError if the file cannot be read."""
        return sources.gather(file=self.file, environ=self.environ, options=self.options)

    def read(self, *, as_node: bool = False, serves: bool = False) -> Settings:
        """Return the settings; unknown keys are logged. Raises SettingsError with all problems.

        `as_node`: the broker must be installed; `serves`: what DNS needs. Who only looks needs neither."""
        values = self.values()
        for key, nearest in unknown_keys(values):
            hint = f", is {nearest} meant?" if nearest else ""
            remarks_log.warning("unknown key ignored key=%r origin=%s%s", key, values[key].origin, hint)
        for key, remark in sources.remarks(values):
            remarks_log.warning("%s %s", key, remark)
        settings, problems = None, list[Problem]()
        try:
            settings = parse(values)
        except SettingsError as error:
            problems.extend(error.problems)
        if serves and settings is not None:
            problems.extend(_check_servers(settings))
        if as_node and "broker" not in {problem.key for problem in problems}:
            problems.extend(_check_broker(values.get("broker")))
        if settings is not None:
            problems.extend(self._check_credentials(settings))
            problems.extend(found for found in self._check_bucket(settings) if found not in problems)
        if settings is None or problems:
            knows_none = self.file is None and not any(key.required and key.name in values for key in KEYS)
            raise SettingsError(problems, _WITHOUT_FILE if knows_none else "settings")
        return settings

    def open_bucket(self, settings: Settings, clock: Clock | None = None) -> S3Bucket:
        """Return the bucket that the settings name, not entered yet; raises SettingsError."""
        clock = clock or SystemClock()
        return S3Bucket.from_settings(
            settings, self.provider(settings, clock), clock, self.environ, self.traffic
        )

    def mark(self) -> object:
        """Return what changes when the file does."""
        if self.file is None:
            return None
        try:
            found = self.file.stat()
        except OSError as error:
            return type(error)
        return found.st_mtime_ns, found.st_size, found.st_ino

    def provider(self, settings: Settings, clock: Clock) -> "CredentialsProvider":
        """Return where the credentials of the settings come from; raises SettingsError."""
        from s3discovery.credentials import provider_for

        return provider_for(settings, self.environ, java_arguments=self.java_properties, clock=clock)

    def _check_credentials(self, settings: Settings) -> Iterator[Problem]:
        """Yield why there can be no credentials of the configured type; nobody is asked for any."""
        try:
            self.provider(settings, SystemClock())
        except SettingsError as error:
            yield from error.problems

    def _check_bucket(self, settings: Settings) -> Iterator[Problem]:
        """Yield why there can be no such bucket, or no way to it; nobody is asked for it."""
        from s3discovery.credentials import ANONYMOUS, FixedCredentials

        try:
            S3Bucket.from_settings(settings, FixedCredentials(ANONYMOUS), environ=self.environ)
        except SettingsError as error:
            yield from error.problems


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the bucket showed.

    `now_s` is S3's time then, `problems` are skipped files by key; `failure` is why some file could not be
    read, None if the members are all there are."""

    members: tuple[Member, ...]
    now_s: float | None
    problems: Mapping[str, str]
    failure: DiscoveryError | None = None


def _check_broker(named: Value | None) -> Iterator[Problem]:
    """Yield why the broker is not to be had here; nothing is made or started."""
    if named is None:
        return
    try:
        _find_broker(named.text)
    except SettingsError as error:
        for problem in error.problems:
            yield replace(problem, cure=f"{problem.cure} (set in {named.origin})")


def _check_servers(settings: Settings) -> Iterator[Problem]:
    """Yield which servers cannot be started here; it is told before anything is registered."""
    from importlib.util import find_spec

    if settings.dns_listen is not None and find_spec("dns") is None:
        cure = "needs a package that is missing (dnspython); run pip install 's3discovery[dns]'"
        yield Problem("dns-listen", settings.dns_listen, cure)


def make_broker(surroundings: Surroundings) -> Broker | None:
    """Return the broker that the settings name, not entered yet; None for `broker:none`.

    Raises SettingsError for a name that nothing installed provides."""
    factory = _find_broker(surroundings.settings.broker)
    return None if factory is None else factory(surroundings)


def _find_broker(name: str) -> BrokerFactory | None:
    """Return what makes the broker `name`, None for none; raises SettingsError if nothing installed does."""
    if name == _NO_BROKER:
        return None
    from importlib.metadata import entry_points

    known = {point.name: point for point in entry_points(group=_BROKERS)}
    if name not in known:
        known_names = ", ".join([_NO_BROKER, *sorted(known)])
        cure = f"nothing installed drives such a broker; write one of {known_names}"
        raise SettingsError([Problem("broker", name, cure)])
    try:
        factory: BrokerFactory = known[name].load()
    except (BrokerError, ImportError, AttributeError) as error:
        raise SettingsError([Problem("broker", name, f"cannot be loaded: {error}")]) from error
    return factory


def make_cluster_id() -> str:
    """Return a new id for a node that was given none: a fresh one every start."""
    return f"n{secrets.token_hex(_ID_BYTES)}"


def make_agent(
    origins: Origins,
    clock: Clock | None = None,
    broker: BrokerFactory | None = None,
    child: Child | None = None,
    systemd: Systemd | None = None,
) -> Agent:
    """Return the agent of this process; `broker` makes its broker instead of what the settings name.

    `child` is a program to stand in front of; `systemd` is told how the node is."""
    clock, systemd = clock or SystemClock(), systemd or Systemd({})
    return Agent(
        Parts(
            read_settings=partial(origins.read, as_node=broker is None, serves=True),
            settings_mark=origins.mark,
            open_bucket=lambda settings: origins.open_bucket(settings, clock),
            make_broker=broker or make_broker,
            find_address=lambda settings, port: find_own_address(settings, origins.environ, port=port),
            make_cluster_id=make_cluster_id,
            clock=clock,
            environ=origins.environ,
            child=child,
            make_outputs=_make_outputs,
            listen=control.listening,
            serve=partial(_serving, origins.traffic, systemd),
            reloading=systemd.reloading,
            reloaded=systemd.reloaded,
        )
    )


@asynccontextmanager
async def observing(origins: Origins, systemd: Systemd | None = None) -> AsyncIterator[Running]:
    """Tell others who the members are, writing nothing, while entered; raises DiscoveryError."""
    settings, clock = origins.read(serves=True), SystemClock()
    tell_durations(settings)
    async with (
        origins.open_bucket(settings, clock) as bucket,
        Discovery(settings, bucket, clock=clock) as discovery,
    ):
        running = Running(settings, discovery, clock, lambda: None)
        async with _serving(origins.traffic, systemd or Systemd({}), running):
            yield running


@asynccontextmanager
async def _serving(traffic: Traffic, systemd: Systemd, running: Running) -> AsyncIterator[None]:
    """Tell others who the members are, in the ways that the settings ask for, and systemd how the node is."""
    async with AsyncExitStack() as servers:
        listen = running.settings.dns_listen
        if listen is not None:
            from s3discovery import dns

            await servers.enter_async_context(dns.serving(listen, running))
        if running.settings.http_port is not None:
            from s3discovery import http
            from s3discovery.metrics import Metrics

            metrics = Metrics(running, traffic)
            await servers.enter_async_context(
                http.serving(running.settings.http_port, running, metrics.render)
            )
        await servers.enter_async_context(telling(systemd, running))
        yield


def _make_outputs(settings: Settings, environ: Mapping[str, str], child: Child | None) -> Outputs | None:
    if settings.output_file is None and settings.output_folder is None:
        return None
    from s3discovery.outputs.choice import make_outputs

    return make_outputs(settings, environ, child)


async def look(origins: Origins, settings: Settings | None = None) -> Look:
    """Look at the bucket once, writing nothing; raises DiscoveryError if that fails."""
    settings = settings or origins.read()
    async with origins.open_bucket(settings) as bucket, Discovery(settings, bucket) as discovery:
        if discovery.status.error is not None:
            raise discovery.status.error
        members = tuple(sorted(discovery.members, key=lambda member: member.cluster_id))
        status = discovery.status
        return Look(members, discovery.now_s, status.problems, status.read_error)


def discover(file: str | Path | None = DEFAULT_FILE, **options: str) -> list[Member]:
    """Return the members of the cluster, sorted by id: one look, for scripts, nothing written.

    `options` are settings by key, `-` written as `_`, and win over the file (None: no file):
    `discover(None, s3_bucket_name="hivemq", s3_bucket_region="us-east-1", ...)`.
    Raises SettingsError for wrong settings, another DiscoveryError if the bucket cannot be listed or a file
    in it cannot be read."""
    texts = tuple(f"{key.replace('_', '-')}={text}" for key, text in options.items())
    seen = asyncio.run(look(Origins(Path(file) if file is not None else None, texts)))
    if seen.failure is not None:
        raise seen.failure
    return list(seen.members)
