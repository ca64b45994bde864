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
from s3discovery.errors import BrokerError, Problem, SettingsError, WrongTemplateError
from s3discovery.node import Member
from s3discovery.outputs.apart import Template
from s3discovery.outputs.file import OutputFile, send_signal
from s3discovery.presentation import Roster, environment, make_roster, turnover, values
from s3discovery.program import run_program, without_secrets
from s3discovery.settings.keys.command import CHILD, RESTART, Signal, signal_number
from s3discovery.settings.vectors import Commands, fill

log = logging.getLogger(__name__)

# Templates that are rendered at the same time: more would take each other's processor, time limit and memory.
_AT_ONCE = 2
# How often an output may fail until a program is started with the file of an earlier run.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """One output as the settings describe it; `reload` and `signal` tell whoever reads the file.

    `origin` is the file of output-folder that describes it, empty if the settings do."""

    file: OutputFile
    template: Template
    reload: Commands | None = None
    signal: Signal | None = None
    origin: str = ""


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

    async def try_out(self) -> None:
        """Render every template for nodes that do not exist, which may take 10 s each, and write nothing.

        Raises SettingsError with all that are wrong, each with its line; one that could not be rendered for
        another reason is tried again with the members."""
        async with asyncio.TaskGroup() as tasks:
            trials = [tasks.create_task(output.try_out()) for output in self._outputs]
        found = [trial.result() for trial in trials]
        if problems := [problem for problem in found if problem is not None]:
            raise SettingsError(problems)

    async def run(self, discovery: Discovery) -> None:
        """Render after every complete listing, until cancelled; no output waits for another's readers."""
        async with asyncio.TaskGroup() as tasks:
            for output in self._outputs:
                tasks.create_task(self._follow(discovery, output), name=f"output {output.name}")

    async def apply(self, own: Member, peers: frozenset[Member]) -> None:
        """Make every file what the members say; what fails is logged once, and tried again next time."""
        async with asyncio.TaskGroup() as tasks:
            for output in self._outputs:
                tasks.create_task(self._apply(output, own, peers))

    async def written(self) -> None:
        """Wait until a program would find every file: rendered, or that of an earlier run if that fails."""
        await self._written.wait()

    async def _follow(self, discovery: Discovery, output: "_Output") -> None:
        polls = 0
        while True:
            await discovery.polled(polls)
            polls = discovery.polls
            if discovery.own is not None:
                await self._apply(output, discovery.own, discovery.peers)

    async def _apply(self, output: "_Output", own: Member, peers: frozenset[Member]) -> None:
        try:
            roster = make_roster(own, peers)
        except BrokerError as error:
            self._tell.once("outputs", error)
            return
        for cluster_id, why in roster.refused:
            if cluster_id not in self._refused:
                log.warning("member left out of outputs cluster_id=%r reason=%s", cluster_id, why)
        self._refused = frozenset(cluster_id for cluster_id, _ in roster.refused)
        await output.apply(roster)
        if all(each.is_ready for each in self._outputs):
            self._written.set()


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
    """One output; `is_ready` once there is a file that a program may start with."""

    def __init__(self, plan: Plan, telling: _Telling, turns: asyncio.Semaphore) -> None:
        self.name = str(plan.file.path)
        self.is_ready = False
        self._plan = plan
        self._turns = turns
        self._telling = telling
        self._before: Roster | None = None  # what the readers of the file were told last
        # The agent before this one may have ended after it wrote the file and before it told its readers.
        self._owes_reload = True
        self._is_written = False
        self._failures = 0

    async def try_out(self) -> Problem | None:
        """Return what is wrong with the template; what may pass, such as a busy machine, is logged."""
        try:
            async with self._turns:
                await self._plan.template.try_out()
        except WrongTemplateError as error:
            where = f" (set in {self._plan.origin})" if self._plan.origin else ""
            return Problem("output-template", None, f"{error}{where}")
        except BrokerError as error:
            self._telling.once(self.name, error)
        return None

    async def apply(self, roster: Roster) -> None:
        """Make the file what the members say, and tell its readers; what fails is logged once."""
        try:
            await self._write(roster)
            if self._owes_reload:
                await self._telling.reload(self._plan, self._before, roster)
        except BrokerError as error:
            self._telling.once(self.name, error)
            await self._note_failure()
            return
        self._telling.once(self.name, None)
        self._owes_reload, self._before = False, roster
        self.is_ready = True

    async def _write(self, roster: Roster) -> None:
        async with self._turns:
            content = await self._plan.template.render(roster)
        if await asyncio.to_thread(self._plan.file.replace, content):
            log.info("output written file=%s peers=%d", self.name, len(roster.peers))
            self._owes_reload = True
        self._is_written = True

    async def _note_failure(self) -> None:
        self._failures += 1
        if self.is_ready or self._is_written:
            self.is_ready = True  # who could not be told yet is told later
        elif self._failures >= _TRIES and await asyncio.to_thread(self._plan.file.is_there):
            log.warning("output stays as an earlier run left it until it can be written file=%s", self.name)
            self.is_ready = True
