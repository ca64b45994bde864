"""HiveMQ as a Broker: its own address comes from its config.xml, its peers reach it by DNS.

HiveMQ asks, we answer (`dns`); there is nothing to apply and nobody to ask what it sees. It dials every
address that DNS gives it at its own port, so nodes at another port can be no peers.
"""

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from s3discovery.brokers import Surroundings
from s3discovery.brokers.hivemq.installation import Installation
from s3discovery.node import NO_METADATA, Member
from s3discovery.settings import hosts

log = logging.getLogger(__name__)

_OF_HIVEMQ_4 = "4"  # version of its node files


class HivemqBroker:
    """A HiveMQ that runs beside us, or as our child."""

    cluster_id: str | None = None
    metadata: Mapping[str, str] = NO_METADATA

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._host: str | None = None
        self._port: int | None = None
        self._skipped: frozenset[str] = frozenset()
        self._unreadable = False

    @property
    def host(self) -> str | None:
        """What peers dial, by config.xml; None if it does not say, or the settings do."""
        return self._host

    @property
    def port(self) -> int | None:
        """The port that peers dial, by config.xml; None if the settings say it."""
        return self._port

    @property
    def skipped(self) -> frozenset[str]:
        """Members at another port than this node, or with an address that cannot be dialled."""
        return self._skipped

    async def apply(self, peers: frozenset[Member]) -> None:
        own = self._surroundings.own()
        port = self._port if own is None else own.address.port
        skipped = frozenset(
            peer.cluster_id
            for peer in peers
            if not peer.address.is_dialable or (port is not None and peer.address.port != port)
        )
        if skipped - self._skipped:
            log.warning(
                "hivemq cannot dial nodes at another port than its own, or without an address: give all "
                "nodes one port port=%s cluster_ids=%r",
                port,
                sorted(skipped),
            )
        self._skipped = skipped
        self._mind_versions(peers)

    async def cluster(self) -> frozenset[str] | None:
        """Return None: HiveMQ tells nobody whom it sees, but in its Control Center and its log."""
        return None

    def _mind_versions(self, peers: frozenset[Member]) -> None:
        """Warn once if there are HiveMQ nodes that cannot read what we write.

        HiveMQ 4 reads files of its own version alone; HiveMQ 3, as we, reads both."""
        unread = sorted(peer.cluster_id for peer in peers if peer.version == _OF_HIVEMQ_4)
        is_unreadable = bool(unread) and self._surroundings.settings.file_version != _OF_HIVEMQ_4
        if is_unreadable and not self._unreadable:
            log.warning(
                "there are node files of HiveMQ 4, whose nodes cannot read ours: set compatibility:hivemq-4, "
                "and mind that bare durations are seconds then cluster_ids=%r",
                unread,
            )
        self._unreadable = is_unreadable

    async def __aenter__(self) -> Self:
        settings, environ = self._surroundings.settings, self._surroundings.environ
        installation = Installation(settings, environ)
        found = installation.whereabouts()
        self._host, self._port = found.host, found.port
        log.info("hivemq found config=%r host=%s port=%s", str(installation.path), self._host, self._port)
        log.info(
            "hivemq asks for its peers by DNS: start it with HIVEMQ_DNS_SERVER_ADDRESS=%s "
            "HIVEMQ_DNS_DISCOVERY_ADDRESS=%s",
            _asked_at(settings.dns_listen or ""),
            settings.dns_name,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


def _asked_at(listen: str) -> str:
    """Return where HiveMQ on this machine asks: 0.0.0.0 and the like are no address to ask at."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if hosts.is_wildcard(host) else listen
