"""Which class fills which seam: the one place where settings become a bucket, a broker and a node.

Used by every way in: the command line, the amqtt plugin, and `discover` for scripts. What not every
way needs is imported where it is used.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s3discovery import sources
from s3discovery.agent import Agent, Parts
from s3discovery.brokers import Broker, BrokerFactory
from s3discovery.clock import Clock, SystemClock
from s3discovery.config import Settings, Value, parse, unknown_keys
from s3discovery.discovery import Discovery
from s3discovery.errors import Problem, SettingsError
from s3discovery.node import Member
from s3discovery.own_address import find_own_address
from s3discovery.s3 import S3Bucket

log = logging.getLogger(__name__)

DEFAULT_FILE = Path("s3discovery.properties")
_BROKERS = "s3discovery.brokers"  # entry-point group
_ID_BYTES = 6


@dataclass(frozen=True, slots=True)
class Origins:
    """Where this process takes its settings from.

    `file` None: the environment and `options` (texts `key=value`) alone."""

    file: Path | None = DEFAULT_FILE
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def values(self) -> dict[str, Value]:
        """Return every key that is set anywhere; raises SettingsError if the file cannot be read."""
        return sources.gather(file=self.file, environ=self.environ, options=self.options)

    def read(self) -> Settings:
        """Return the settings; unknown keys are logged. Raises SettingsError with all problems."""
        values = self.values()
        for key, nearest in unknown_keys(values):
            hint = f", is {nearest} meant?" if nearest else ""
            log.warning("unknown key ignored key=%r origin=%s%s", key, values[key].origin, hint)
        return parse(values)

    def mark(self) -> object:
        """Return what changes when the file does."""
        if self.file is None:
            return None
        try:
            found = self.file.stat()
        except OSError as error:
            return type(error)
        return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the bucket showed; `now_s` is S3's time then, `problems` are skipped files by key."""

    members: tuple[Member, ...]
    now_s: float | None
    problems: Mapping[str, str]


def open_bucket(settings: Settings, environ: Mapping[str, str], clock: Clock | None = None) -> S3Bucket:
    """Return the bucket that the settings name, not entered yet; raises SettingsError."""
    from s3discovery.credentials import provider_for

    return S3Bucket.from_settings(settings, provider_for(settings, environ), clock)


def make_broker(settings: Settings, cluster_id: str, look_now: Callable[[], None]) -> Broker | None:
    """Return the broker that the settings name, not entered yet; None for `broker:none`.

    Raises SettingsError for a name that nothing installed provides."""
    if settings.broker == "none":
        return None
    from importlib.metadata import entry_points

    known = {point.name: point for point in entry_points(group=_BROKERS)}
    if settings.broker not in known:
        cure = f"nothing installed drives such a broker; write one of none, {', '.join(sorted(known))}"
        raise SettingsError([Problem("broker", settings.broker, cure)])
    factory: BrokerFactory = known[settings.broker].load()
    return factory(settings, cluster_id, look_now)


def make_cluster_id() -> str:
    """Return a new id for a node that was given none: a fresh one every start."""
    return f"n{secrets.token_hex(_ID_BYTES)}"


def make_agent(
    origins: Origins,
    clock: Clock | None = None,
    broker: Callable[[Settings, str, Callable[[], None]], Broker | None] = make_broker,
) -> Agent:
    """Return the agent of this process; `broker` makes its broker where the settings do not say."""
    clock = clock or SystemClock()
    return Agent(
        Parts(
            read_settings=origins.read,
            settings_mark=origins.mark,
            open_bucket=lambda settings: open_bucket(settings, origins.environ, clock),
            make_broker=broker,
            find_address=lambda settings, port: find_own_address(settings, origins.environ, port=port),
            make_cluster_id=make_cluster_id,
            clock=clock,
        )
    )


async def look(settings: Settings, environ: Mapping[str, str] = os.environ) -> Look:
    """Look at the bucket once, writing nothing; raises DiscoveryError if that fails."""
    async with open_bucket(settings, environ) as bucket, Discovery(settings, bucket) as discovery:
        if discovery.status.error is not None:
            raise discovery.status.error
        members = tuple(sorted(discovery.members, key=lambda member: member.cluster_id))
        return Look(members, discovery.now_s, discovery.status.problems)


def discover(file: str | Path | None = DEFAULT_FILE, **options: str) -> list[Member]:
    """Return the members of the cluster, sorted by id: one look, for scripts, nothing written.

    `options` are settings by key, `-` written as `_`, and win over the file (None: no file):
    `discover(None, s3_bucket_name="hivemq", s3_bucket_region="us-east-1", ...)`.
    Raises SettingsError for wrong settings, another DiscoveryError if the bucket cannot be listed."""
    texts = tuple(f"{key.replace('_', '-')}={text}" for key, text in options.items())
    settings = Origins(Path(file) if file is not None else None, texts).read()
    return list(asyncio.run(look(settings)).members)
