"""Files that are rendered from the members, beside any broker and without one.

The first is rendered after the first complete listing, and then whenever the members have changed. During an
outage the last good file stays. A file is replaced whole, and only if it would become another.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from s3discovery.child import Child
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError
from s3discovery.node import Member
from s3discovery.outputs.apart import Render
from s3discovery.outputs.file import OutputFile, send_signal
from s3discovery.presentation import Roster, environment, make_roster, turnover, values
from s3discovery.program import run_program, without_secrets
from s3discovery.settings.keys.command import CHILD, RESTART, Signal, signal_number
from s3discovery.settings.vectors import Commands, fill

log = logging.getLogger(__name__)

# Templates that are rendered at the same time: more would take each other's processor and time limit.
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """One output as the settings describe it; `reload` and `signal` tell whoever reads the file."""

    file: OutputFile
    render: Render
    reload: Commands | None = None
    signal: Signal | None = None


class Outputs:
    """All outputs of a node. `run` keeps them in step with discovery."""

    def __init__(
        self,
        plans: Iterable[Plan],
        *,
        environ: Mapping[str, str],
        limit_s: float,
        child: Child | None = None,
    ) -> None:
        """Make them; `limit_s` is how long a reload command may take."""
        self._tell = _Telling(without_secrets(environ), limit_s, child)
        turns = asyncio.Semaphore(_AT_ONCE)
        self._outputs = [_Output(plan, self._tell, turns) for plan in plans]
        self._written = asyncio.Event()
        self._refused: frozenset[str] = frozenset()

    async def run(self, discovery: Discovery) -> None:
        """Render after every complete listing, until cancelled."""
        polls = 0
        while True:
            await discovery.polled(polls)
            polls = discovery.polls
            if discovery.own is not None:
                await self.apply(discovery.own, discovery.peers)

    async def apply(self, own: Member, peers: frozenset[Member]) -> None:
        """Make every file what the members say; what fails is logged once, and tried again next time."""
        try:
            roster = make_roster(own, peers)
        except BrokerError as error:
            self._tell.once("outputs", error)
            return
        for cluster_id, why in roster.refused:
            if cluster_id not in self._refused:
                log.warning("member left out of outputs cluster_id=%r reason=%s", cluster_id, why)
        self._refused = frozenset(cluster_id for cluster_id, _ in roster.refused)
        await asyncio.gather(*(output.apply(roster) for output in self._outputs))
        if all(output.is_written for output in self._outputs):
            self._written.set()

    async def written(self) -> None:
        """Wait until every file has been rendered once."""
        await self._written.wait()


class _Telling:
    """Tells those who read a file that it is new, and people what goes wrong, once each."""

    def __init__(self, environ: Mapping[str, str], limit_s: float, child: Child | None) -> None:
        self._environ = environ
        self._limit_s = limit_s
        self._child = child
        self._said: dict[str, str] = {}

    def once(self, name: str, error: BrokerError | None) -> None:
        said = str(error) if error is not None else ""
        if error is not None and self._said.get(name) != said:
            log.error("output failed, trying again at the next poll output=%s error=%s", name, error)
        self._said[name] = said

    async def reload(self, plan: Plan, before: Roster | None, roster: Roster) -> None:
        """Run the command or send the signal of a plan; raises BrokerError."""
        if plan.reload is not None:
            found = values(roster, turnover(before, roster))
            environ = {**self._environ, **environment(found)}
            for vector in plan.reload:
                await run_program(fill(vector, found), environ=environ, limit_s=self._limit_s)
        if plan.signal is None:
            return
        name, target = plan.signal
        if target != CHILD:
            send_signal(target, signal_number(name))
        elif self._child is not None and self._child.pid is not None:
            if name == RESTART:
                await self._child.restart()
            else:
                self._child.signal(signal_number(name))


class _Output:
    """One output; `is_written` once it has been rendered."""

    def __init__(self, plan: Plan, tell: _Telling, turns: asyncio.Semaphore) -> None:
        self._plan = plan
        self._turns = turns
        self._tell = tell
        self._before: Roster | None = None  # what the readers of the file were told last
        self._owes_reload = False
        self.is_written = False

    async def apply(self, roster: Roster) -> None:
        plan, name = self._plan, str(self._plan.file.path)
        try:
            async with self._turns:
                content = await plan.render(roster)
            if await asyncio.to_thread(plan.file.replace, content):
                log.info("output written file=%s peers=%d", name, len(roster.peers))
                self._owes_reload = True
            self.is_written = True
            if self._owes_reload:
                await self._tell.reload(plan, self._before, roster)
        except BrokerError as error:
            self._tell.once(name, error)
            return
        self._tell.once(name, None)
        self._owes_reload, self._before = False, roster
