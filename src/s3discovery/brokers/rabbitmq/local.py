"""This host's RabbitMQ node: started if it is ours to start, waited for, taken from one cluster to another.

A node joins with stop_app, join_cluster, start_app. There is no reset of its own before: join_cluster resets
the node itself, and only once the cluster that it is to join has answered; a join that fails costs no data.
In front, a blank node is told at its start whom to join, and does so before it serves any client.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from s3discovery.brokers.rabbitmq import epmd, faults
from s3discovery.brokers.rabbitmq.ctl import START_LIMIT_S, CtlError, Rabbitmqctl
from s3discovery.brokers.rabbitmq.home import Home
from s3discovery.brokers.rabbitmq.names import Variables, host_of, is_long, is_node_name
from s3discovery.brokers.rabbitmq.status import Survey
from s3discovery.child import Child
from s3discovery.errors import BrokerError
from s3discovery.settings.config import Settings

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.1
_MOMENT_S: Final = 1.0
_ASKED_AT_MOST: Final = 3  # former peers, whether they know this node still


class LocalNode:
    """The node `name`. `child` is the program that starts it, None beside a node that others start.

    Raises BrokerError, when made, if the name cannot be known; every method does if RabbitMQ refuses."""

    def __init__(
        self, settings: Settings, variables: Variables, ctl: Rabbitmqctl, child: Child | None
    ) -> None:
        self.name = variables.node_name(settings.rabbitmq_node_name)
        self.port = variables.distribution_port()
        self.was_blank = False  # had no data when it was started
        self.is_settled = False  # its application has been seen running
        self.is_joining = False  # its application is stopped by us
        self._ctl = ctl
        self._child = child
        self._may_reset = settings.allow_reset
        self._variables = variables
        self._home = Home(variables, self.name)
        self._is_known = False  # its former peers have not forgotten it, as far as they can be asked
        self._survey: Survey | None = None
        self._asked_s = 0.0
        self._environ: dict[str, str] = {}
        if settings.rabbitmq_node_name:
            self._environ["RABBITMQ_NODENAME"] = self.name
            self._environ["RABBITMQ_USE_LONGNAME"] = "true" if is_long(self.name) else "false"

    @property
    def is_startable(self) -> bool:
        """Whether it is ours to start, and does not run."""
        return self._child is not None and self._child.pid is None

    @property
    def last_words(self) -> BrokerError | None:
        """Why it has ended before it was up, if that is known."""
        has_ended = self.is_startable and self._child is not None and self._child.was_started
        return self._forgotten() if has_ended and not self.is_settled and self._home.was_forgotten() else None

    async def starts_blank(self) -> bool:
        """Tell whether the node has no past here that it goes on with as it starts.

        Former peers are asked whether they know it still: it would start, and end, if they do not. With
        allow-reset its data is then set aside; without, that is an error."""
        if self._home.is_blank():
            return True
        if self._is_known:
            return False
        if await self._knows_me(sorted(self._home.members())[:_ASKED_AT_MOST]) is not False:
            self._is_known = True
            return False
        if not self._may_reset:
            raise self._forgotten()
        aside = str(self._home.set_aside())
        log.warning("rabbitmq was forgotten by its cluster, starting anew node=%r data=%r", self.name, aside)
        return True

    async def up(self, join: str | None = None, *, fresh: bool = True) -> Survey:
        """Have the node run, and return how it is; one that starts blank joins `join` as it does.

        A member that starts waits for its peers, for minutes if need be, and so does this. Not `fresh`: an
        answer a moment old will do."""
        now_s = asyncio.get_running_loop().time()
        if not fresh and self._survey is not None and now_s < self._asked_s + _MOMENT_S:
            return self._survey
        if self.is_startable:
            await self._start(join)
        await self._await_registration()
        survey = await self._await_boot()
        if survey.is_stopped:
            if self.is_settled and not self.is_joining:
                raise BrokerError(
                    f"RabbitMQ on {self.name!r} was stopped; run rabbitmqctl start_app when it may go on "
                    "(what cluster_partition_handling = pause_minority has paused goes on by itself)"
                )
            log.info("rabbitmq application is stopped, starting it node=%r", self.name)
            await self._start_app()
            survey = await self._ctl.survey(self.name)
        if survey.node != self.name:
            raise BrokerError(
                f"the node here calls itself {survey.node!r}, not {self.name!r}; correct rabbitmq-node-name"
            )
        self.is_settled = True
        self._survey, self._asked_s = survey, asyncio.get_running_loop().time()
        return survey

    async def check_reach(self, name: str) -> None:
        """Raise BrokerError unless `name` is registered at its host and can be dialled; costs no CPU."""
        short, host = name.partition("@")[0], host_of(name)
        ports = await epmd.registered(host, self._variables.epmd_port())
        if short not in ports:
            raise BrokerError(f"RabbitMQ node {name!r} does not run now: epmd of {host!r} does not know it")
        await epmd.check_open(host, ports[short])

    async def join(self, name: str, *, leaves_another: bool) -> None:
        """Become a member of the cluster of `name`; if that is refused, the node runs on as it was."""
        log.info("rabbitmq joins peer=%r node=%r", name, self.name)
        self.is_joining = True
        self._survey = None
        await self._ctl.tell(self.name, "stop_app")
        try:
            if leaves_another:
                await self._ctl.tell(self.name, "reset")
            await self._join_cluster(name)
        finally:
            # Cancelled, it stays as it is: the next start of the agent goes on from there.
            if not _is_cancelled():
                await self._start_app()
                self.is_joining = False

    async def leave(self) -> None:
        """Reset the node: it is stopped and blank then, and its cluster does not count it any more."""
        survey = await self._ctl.survey(self.name)
        self._survey = None
        if not survey.is_stopped:
            await self._ctl.tell(self.name, "stop_app")
        await self._ctl.tell(self.name, "reset")
        if self._child is not None:
            # Else the peer that it was told at its start would be joined again by the next start_app.
            await self._ctl.tell(self.name, "eval", "application:unset_env(rabbit, cluster_nodes).")
        self.is_settled = False
        log.info("rabbitmq has left its cluster node=%r; rabbitmqctl start_app starts it alone", self.name)

    async def _start(self, join: str | None) -> None:
        if self._child is None:
            return
        environ = dict(self._environ)
        self.was_blank = await self.starts_blank()
        if self.was_blank and join is not None:
            await self.check_reach(join)
            # RabbitMQ's own discovery, with a list of one; what it does not do, `join` does afterwards.
            told = (
                f"{self._variables.get('SERVER_START_ARGS') or ''} -rabbit cluster_nodes {{['{join}'],disc}}"
            )
            environ["RABBITMQ_SERVER_START_ARGS"] = told.strip()
        elif others := self._home.members():
            log.info("rabbitmq was in a cluster, and waits for it members=%s", listed(others))
        await self._child.start((), environ)

    async def _await_registration(self) -> None:
        """Wait until epmd knows the node; beside a broker it is there, or does not run."""
        name, host = self.name.split("@")
        while True:
            reason = None
            try:
                if name in await epmd.registered(host, self._variables.epmd_port()):
                    return
            except BrokerError as error:
                reason = error
            if self._child is None:
                if self._home.was_forgotten():
                    raise self._forgotten()
                raise reason or BrokerError(f"no RabbitMQ node {self.name!r} runs here; start it")
            self._check_child()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _await_boot(self) -> Survey:
        survey = await self._ctl.survey(self.name)
        is_told = False
        while not survey.is_running and not survey.is_stopped:
            if survey.others and not is_told:
                log.info("rabbitmq starts node=%r waits_for=%s", self.name, listed(survey.others))
                is_told = True
            self._check_child()
            survey = await self._ctl.survey(self.name)
        return survey

    def _check_child(self) -> None:
        if self.is_startable:
            raise BrokerError(f"RabbitMQ ended as it started; its log {str(self._home.log)!r} says why")

    async def _start_app(self) -> None:
        await self._ctl.tell(self.name, "start_app", limit_s=START_LIMIT_S)

    async def _join_cluster(self, name: str) -> None:
        try:
            await self._ctl.tell(self.name, "join_cluster", name)
        except CtlError as error:
            quarrel = faults.dissent(error.said)
            if error.fault.name != faults.DISAGREES or quarrel is None or quarrel[1] != self.name:
                raise
            # This node was a member once and has lost its data: the cluster must forget that one first.
            log.warning("rabbitmq was a member before it lost its data, joining anew node=%r", self.name)
            await self._ctl.tell(name, "forget_cluster_node", self.name)
            await self._ctl.tell(self.name, "join_cluster", name)

    async def _knows_me(self, others: Iterable[str]) -> bool | None:
        """Tell whether a former peer counts this node as a member; None if none of them answers."""
        answer = None
        for other in filter(is_node_name, others):
            try:
                await self.check_reach(other)
                status = await self._ctl.cluster_status(other)
            except BrokerError as error:
                log.debug("former peer does not answer node=%r error=%s", other, error)
                continue
            if self.name in status.members:
                return True
            answer = False
        return answer

    def _forgotten(self) -> BrokerError:
        return BrokerError(
            f"the cluster of {self.name!r} has forgotten it, so it cannot start with its old data; move "
            f"{str(self._home.data)!r} away and start it again, and it joins anew (in front of it, "
            "allow-reset:true does that)"
        )


def listed(names: Iterable[str]) -> str:
    """Return names for a log."""
    return ",".join(repr(name) for name in sorted(names))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
