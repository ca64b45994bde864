"""RabbitMQ as an Engine: beside a running node, or in front of `rabbitmq-server`."""

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Final, Self

from s3discovery.brokers import Surroundings
from s3discovery.brokers.rabbitmq import faults
from s3discovery.brokers.rabbitmq.ctl import CtlError, Rabbitmqctl
from s3discovery.brokers.rabbitmq.local import LocalNode, listed
from s3discovery.brokers.rabbitmq.names import Variables, is_long, is_node_name
from s3discovery.brokers.rabbitmq.status import ClusterStatus
from s3discovery.errors import BrokerError
from s3discovery.node import Member

log = logging.getLogger(__name__)

KIND: Final = "broker"  # of metadata
RABBITMQ: Final = "rabbitmq"
VERSION: Final = "rabbitmq-version"
# The driver asks every second while somebody is missing; each answer costs half a second of CPU.
_STATUS_LASTS_S: Final = 3.0


class RabbitBroker:
    """One RabbitMQ node, kept in its cluster. Entering it raises BrokerError without a usable rabbitmqctl."""

    def __init__(self, surroundings: Surroundings) -> None:
        settings = surroundings.settings
        self.metadata: Mapping[str, str] = MappingProxyType({KIND: RABBITMQ})
        self.skipped: frozenset[str] = frozenset()
        self._surroundings = surroundings
        self._may_reset = settings.allow_reset
        environ = surroundings.environ
        self._ctl = Rabbitmqctl(settings.rabbitmq_ctl, environ, settings.rabbitmq_ctl_timeout_s)
        self._local: LocalNode | None = None
        self._status: ClusterStatus | CtlError | None = None
        self._status_until_s = 0.0
        self._lost: frozenset[str] = frozenset()

    @property
    def cluster_id(self) -> str | None:
        """The name of the Erlang node, which is how RabbitMQ nodes know one another; once entered."""
        return self._local.name if self._local is not None else None

    @property
    def port(self) -> int | None:
        """Its distribution port, once entered."""
        return self._local.port if self._local is not None else None

    @property
    def runs(self) -> int:
        """How often rabbitmqctl was run so far: half a second of CPU each."""
        return self._ctl.runs

    async def __aenter__(self) -> Self:
        surroundings = self._surroundings
        variables = Variables(surroundings.environ)
        self._local = LocalNode(surroundings.settings, variables, self._ctl, surroundings.child)
        version = await self._ctl.version()
        self.metadata = MappingProxyType({KIND: RABBITMQ, VERSION: version})
        log.info(
            "rabbitmq node=%r version=%r distribution_port=%d", self._local.name, version, self._local.port
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if (error := self._node.last_words) is not None:
            log.error("rabbitmq did not start error=%s", error)

    async def is_blank(self) -> bool:
        """Tell whether the node runs alone and holds nothing that a fresh one has not.

        In front, one that has never run is blank without being started."""
        node = self._node
        if node.is_startable and await node.starts_blank():
            return True
        survey = await node.up(fresh=False)
        return not survey.others and (node.was_blank or not survey.data)

    async def found(self) -> None:
        """Run, and be found by others."""
        survey = await self._node.up()
        if survey.others:
            log.info("rabbitmq belongs to a cluster already members=%s", listed(survey.members))

    async def join(self, peer: Member) -> None:
        """Join the cluster of `peer`; nothing if the node is in it, an error if it is in another."""
        node, name = self._node, self._peer(peer)
        survey = await node.up(join=name)
        if name in survey.members:
            return
        if survey.others and not self._may_reset:
            raise BrokerError(
                f"{node.name!r} belongs to another cluster ({listed(survey.members)}) than {name!r}, and is "
                "not reset without being asked; set allow-reset:true, or run rabbitmqctl stop_app, reset and "
                "start_app"
            )
        if survey.data and not (node.was_blank or node.is_joining or self._may_reset):
            raise BrokerError(
                f"{node.name!r} holds data ({survey.data}) that joining {name!r} would wipe; save it and set "
                "allow-reset:true, or run rabbitmqctl stop_app, reset and start_app"
            )
        await node.check_reach(name)
        self._status = None
        try:
            await node.join(name, leaves_another=bool(survey.others))
        except CtlError as error:
            own, other = self.metadata[VERSION], peer.metadata.get(VERSION, "")
            versions = f"; here RabbitMQ {own}, there {other!r}" if own != other else ""
            raise BrokerError(f"{node.name!r} cannot join {name!r}: {error}{versions}") from error

    async def apply(self, peers: frozenset[Member]) -> None:
        """Have the node run. Its cluster is its own affair; strangers among `peers` are skipped."""
        strangers = frozenset(peer.cluster_id for peer in peers if not self._is_peer(peer))
        if fresh := strangers - self.skipped:
            log.info("members skipped, no peers of this node ids=%s", listed(fresh))
        self.skipped = strangers
        if not self._node.is_settled or self._node.is_startable:
            await self._node.up()
            self._status = None

    async def cluster(self) -> frozenset[str]:
        """Return the nodes that run in the cluster and that this one has not lost to a partition."""
        name, status = self._node.name, await self._ask_status()
        lost = status.partitions.get(name, frozenset())
        if lost - self._lost:
            log.error(
                "rabbitmq cluster has been partitioned node=%r lost=%s; with cluster_partition_handling = "
                "ignore restart the nodes of one side, the other modes heal by themselves",
                name,
                listed(lost),
            )
        elif self._lost and not lost:
            log.info("rabbitmq cluster partition healed node=%r", name)
        self._lost = lost
        return status.seen_by(name)

    async def members(self) -> frozenset[str]:
        """Return all that belong to the cluster, this node included, whether they run or not."""
        return (await self._ask_status()).members

    async def down(self) -> frozenset[str]:
        """Return the members that do not run, as far as this node can see."""
        return (await self._ask_status()).down - {self._node.name}

    async def forget(self, cluster_id: str) -> None:
        """Remove a dead node from the cluster for good."""
        if not is_node_name(cluster_id):
            raise BrokerError(f"{cluster_id!r} is no RabbitMQ node; there is nothing to forget")
        self._status = None
        try:
            await self._ctl.tell(self._node.name, "forget_cluster_node", cluster_id)
        except CtlError as error:
            if error.fault.name != faults.NO_MEMBER:
                raise

    async def leave(self) -> None:
        """Leave the cluster; the application is stopped and blank then."""
        self._status = None
        await self._node.leave()

    @property
    def _node(self) -> LocalNode:
        if self._local is None:
            raise BrokerError("the broker is not entered yet")
        return self._local

    def _is_peer(self, member: Member) -> bool:
        name, own = member.cluster_id, self._node.name
        is_node = member.metadata.get(KIND) == RABBITMQ and is_node_name(name)
        return is_node and name != own and is_long(name) == is_long(own)

    def _peer(self, member: Member) -> str:
        """Return the name of the node to join; raises BrokerError if it can be none."""
        name, own = member.cluster_id, self._node.name
        if self._is_peer(member):
            return name
        if is_node_name(name) and is_long(name) != is_long(own):
            raise BrokerError(
                f"one of {name!r} and {own!r} has a long name, the other a short one, and such nodes never "
                "meet; name all alike, with rabbitmq-node-name or with RABBITMQ_NODENAME and "
                "RABBITMQ_USE_LONGNAME"
            )
        raise BrokerError(f"{name!r} is no RabbitMQ node that {own!r} could join; remove its file, or wait")

    async def _ask_status(self) -> ClusterStatus:
        loop, node = asyncio.get_running_loop(), self._node
        if self._status is None or loop.time() >= self._status_until_s:
            try:
                self._status = await self._ctl.cluster_status(node.name)
            except CtlError as error:
                self._status = error
                # Stopped by somebody, it stays so; gone, it may come back as what it was not before.
                node.is_settled = node.is_settled and error.fault.name == faults.APP_STOPPED
            self._status_until_s = loop.time() + _STATUS_LASTS_S
        if isinstance(self._status, CtlError):
            raise self._status
        return self._status
