"""HiveMQ on this machine: where its config.xml is, and what stands for the placeholders in it.

HiveMQ asks Java's system properties first and the environment second; so do we, as far as they are
given to us: by our own environment, or by `java-pid` from the command line of the JVM.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s3discovery.brokers.hivemq.transport import Transport, WrongConfigError, read_transport
from s3discovery.errors import BrokerError, Problem, SettingsError
from s3discovery.settings.config import Settings
from s3discovery.settings.java import java_system_properties, properties_of_jvm

log = logging.getLogger(__name__)

_LIMIT_BYTES = 1024 * 1024
_HOME = "/opt/hivemq"  # of HiveMQ's own container images and init script
# Source: HiveMQ Community Edition, SystemProperties and EnvironmentVariables.
_HOME_NAMES = ("hivemq.home", "HIVEMQ_HOME")
_FOLDER_NAMES = ("hivemq.config.folder", "HIVEMQ_CONFIG_FOLDER")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where peers dial a HiveMQ; None is "not said there"."""

    host: str | None
    port: int | None


class Installation:
    """One HiveMQ, as its start script finds it. Raises BrokerError if `java-pid` cannot be looked at."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._properties = _system_properties(settings, environ)
        self.path = self._find_config()

    def whereabouts(self) -> Whereabouts:
        """Return where peers dial, as far as the settings do not say it.

        Raises BrokerError for a file that cannot be read, SettingsError for what it says."""
        settings = self._settings
        try:
            data = self._read()
        except OSError as error:
            if settings.hivemq_config is None and settings.external_address and settings.external_port:
                log.warning(
                    "hivemq not checked: its config.xml cannot be read, and the settings have the address "
                    "path=%r error=%s",
                    str(self.path),
                    error.strerror,
                )
                return Whereabouts(None, None)
            # It may be there in a moment: on a volume that is not mounted yet, or as it is being replaced.
            raise BrokerError(
                f"HiveMQ's {str(self.path)!r} cannot be read: {error.strerror}; write its path to "
                "hivemq-config, or set external-address and external-port"
            ) from error
        try:
            transport = read_transport(data, self.lookup)
            return self._of(transport)
        except WrongConfigError as error:
            raise self._wrong(f"is of no use: {error}") from error

    def lookup(self, name: str) -> str | None:
        """Return what a placeholder stands for."""
        found = self._properties.get(name)
        return self._environ.get(name) if found is None else found

    def _of(self, transport: Transport) -> Whereabouts:
        """Return what the settings leave open."""
        settings = self._settings
        has_host = settings.external_address is not None or settings.bind_address is not None
        return Whereabouts(
            None if has_host else transport.host,
            None if settings.external_port is not None else transport.port,
        )

    def _find_config(self) -> Path:
        if self._settings.hivemq_config is not None:
            return Path(self._settings.hivemq_config)
        home = Path(self._first(_HOME_NAMES) or _HOME)
        return home / (self._first(_FOLDER_NAMES) or "conf") / "config.xml"  # an absolute folder wins

    def _first(self, names: tuple[str, str]) -> str | None:
        system_property, variable = names
        return self._properties.get(system_property) or self._environ.get(variable)

    def _read(self) -> bytes:
        """Read the file; raises OSError, or SettingsError for what cannot be it."""
        with self.path.open("rb") as file:
            data = file.read(_LIMIT_BYTES + 1)
        if len(data) > _LIMIT_BYTES:
            raise self._wrong(
                f"is over {_LIMIT_BYTES} bytes; write to hivemq-config where HiveMQ's config.xml is"
            )
        return data

    def _wrong(self, cure: str) -> SettingsError:
        return SettingsError([Problem(repr(str(self.path)), None, cure)], "configuration of HiveMQ")


def _system_properties(settings: Settings, environ: Mapping[str, str]) -> Mapping[str, str]:
    if settings.java_pid is None:
        return java_system_properties((), environ)
    try:
        return properties_of_jvm(settings.java_pid)
    except OSError as error:
        raise BrokerError(
            f"java-pid {settings.java_pid} cannot be looked at: {error.strerror}; write the id of the "
            "process that HiveMQ runs in, or leave it out"
        ) from error
