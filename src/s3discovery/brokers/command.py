"""Any broker, through commands of its own: they are run whenever the members have changed.

A command gets the members as placeholders, variables and JSON. It is run until it succeeds, never twice at a
time, and always for the newest members: what changed while it ran is the next run's. With `command-join` the
broker is one whose cluster lasts; then formation says when this node joins whom.
"""

import asyncio
import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from s3discovery.brokers import Broker, Surroundings
from s3discovery.errors import BrokerError
from s3discovery.node import NO_METADATA, Address, Member
from s3discovery.presentation import (
    Roster,
    document,
    environment,
    make_roster,
    of_one,
    show_member,
    turnover,
    values,
)
from s3discovery.program import run_program, without_secrets
from s3discovery.settings.vectors import Commands, fill

log = logging.getLogger(__name__)

# A command may cost a second of the processor (those of Erlang do), and is asked while somebody is missing.
_ASK_EVERY_S = 5.0
_DOWN = "down"


@dataclass(frozen=True, slots=True)
class Nodes:
    """What `command-cluster` said: ids of nodes that the broker sees, and of those that it does not."""

    up: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()


def read_nodes(text: str) -> Nodes:
    """Read what `command-cluster` printed; raises BrokerError if it is none of the forms."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise BrokerError(f"command-cluster printed no JSON ({error}): {text[:200]!r}") from error
        parts = found if isinstance(found, dict) else {"up": found}
        return Nodes(_ids(parts.get("up", [])), _ids(parts.get(_DOWN, [])))
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(words) > 2 or words[1:] not in ([], [_DOWN]) for words in lines):
        raise BrokerError(f"command-cluster must print one id a line, and down behind it: {text[:200]!r}")
    down = frozenset(words[0] for words in lines if len(words) == 2)
    return Nodes(frozenset(words[0] for words in lines) - down, down)


def _ids(found: object) -> frozenset[str]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise BrokerError("command-cluster must print lists of ids as JSON")
    return frozenset(found)


class CommandBroker:
    """A broker that knows its peers by what `command` tells it; it may be our child."""

    port = None
    metadata: Mapping[str, str] = NO_METADATA

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._settings = surroundings.settings
        self.cluster_id: str | None = None
        self.skipped: frozenset[str] = frozenset()
        self._told: Roster | None = None
        self._told_at_s = -math.inf
        self._nodes: Nodes | None = None
        self._asked_at_s = -math.inf

    async def apply(self, peers: frozenset[Member]) -> None:
        await self._start()
        roster = self._roster(peers)
        if self._settings.command is None or (roster == self._told and not self._is_overdue(roster)):
            self._told = roster
            return
        await self._run(self._settings.command, roster)
        self._told, self._told_at_s = roster, _now_s()
        self._asked_at_s = -math.inf

    async def cluster(self) -> frozenset[str] | None:
        if self._settings.command_cluster is None:
            return None
        if self._nodes is None or _now_s() - self._asked_at_s >= self._interval_s(_ASK_EVERY_S):
            await self._ask()
        nodes, told = self._nodes or Nodes(), self._told
        return nodes.up & {peer.id for peer in told.peers} if told is not None else frozenset()

    async def leave(self) -> None:
        """Take this node out of its broker's cluster; raises BrokerError."""
        if self._settings.command_leave is not None:
            await self._run(self._settings.command_leave, self._known())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    async def _start(self) -> None:
        """Start the broker if it is our child: commands speak to a broker that runs."""
        child = self._surroundings.child
        if child is not None and not child.was_started:
            await child.start()

    def _roster(self, peers: Iterable[Member]) -> Roster:
        """Return who can be shown, and remember who cannot; each of them is logged once."""
        roster = make_roster(self._own(), peers)
        for cluster_id, why in roster.refused:
            if cluster_id not in self.skipped:
                log.warning("member skipped cluster_id=%r reason=%s", cluster_id, why)
        self.skipped = frozenset(cluster_id for cluster_id, _ in roster.refused)
        return roster

    def _known(self) -> Roster:
        return self._told or make_roster(self._own(), ())

    def _own(self) -> Member:
        found = self._surroundings.own()
        if found is not None:
            return found
        # Not yet registered: whoever asks now is told what the settings say.
        settings = self._settings
        host = settings.external_address or settings.bind_address or "localhost"
        address = Address(host, settings.external_port or settings.bind_port or 1)
        return Member(self._surroundings.cluster_id, address)

    def _is_overdue(self, roster: Roster) -> bool:
        """Tell whether the broker lacks somebody although it was told, and long enough ago."""
        if self._nodes is None or _now_s() - self._told_at_s < self._interval_s():
            return False
        return not self._nodes.up >= {peer.id for peer in roster.peers}

    def _interval_s(self, limit_s: float = math.inf) -> float:
        return min(self._settings.poll_interval_s, limit_s)

    async def _ask(self) -> Nodes:
        commands = self._settings.command_cluster
        if commands is None:
            return Nodes()
        self._nodes = None
        self._nodes = read_nodes(await self._run(commands, self._known(), is_question=True))
        self._asked_at_s = _now_s()
        return self._nodes

    async def _run(
        self,
        commands: Commands,
        roster: Roster,
        more: Mapping[str, str] = NO_METADATA,
        *,
        is_question: bool = False,
    ) -> str:
        """Run commands one after the other; return what all printed. The first that fails is the last."""
        change = turnover(self._told, roster)
        found: dict[str, Any] = {**values(roster, change), **more}
        environ = without_secrets(self._surroundings.environ) | environment(found)
        text = json.dumps(document(roster, change))
        limit_s = self._settings.command_timeout_s
        printed = [
            await run_program(
                fill(vector, found), environ=environ, limit_s=limit_s, text=text, is_question=is_question
            )
            for vector in commands
        ]
        return "\n".join(printed)


class CommandEngine(CommandBroker):
    """A broker whose cluster lasts: `command-join` joins it, `command-cluster` says who belongs to it."""

    async def is_blank(self) -> bool:
        await self._start()
        nodes = await self._ask()
        own = self._known().own.id
        if own not in nodes.up:
            # Nor is it blank: a command that fails must never pass for a broker that is alone.
            raise BrokerError(
                f"command-cluster does not name this node, {own!r}, among {sorted(nodes.up)!r}; write as "
                "cluster-id what the broker calls itself"
            )
        return not (nodes.up | nodes.down) - {own}

    async def found(self) -> None:
        """Do nothing: a node alone is a cluster that others can join."""
        await self._start()

    async def join(self, peer: Member) -> None:
        await self._start()
        said = await self._run(
            self._settings.command_join or (), self._known(), of_one("join", show_member(peer))
        )
        # Its code proves little: some print that they failed, and end with 0.
        if peer.cluster_id not in (await self._ask()).up:
            raise BrokerError(f"command-join left this node without {peer.cluster_id!r}; it said {said!r}")

    async def members(self) -> frozenset[str]:
        """Return all that command-cluster names; raises BrokerError if this node is not among them."""
        await self._start()
        nodes, own = await self._ask(), self._known().own.id
        if own not in nodes.up:
            raise BrokerError(f"command-cluster does not name this node, {own!r}")
        return nodes.up | nodes.down

    async def leave(self) -> None:
        if self._settings.command_leave is None:
            if others := await self.members() - {self._known().own.id}:
                raise BrokerError(
                    f"this node cannot leave its cluster with {sorted(others)!r}: set command-leave to the "
                    "command that takes it out"
                )
            return
        said = await self._run(self._settings.command_leave, self._known())
        try:
            nodes, own = await self._ask(), self._known().own.id
        except BrokerError as error:
            # There are brokers that stop once they have left.
            log.warning("it cannot be seen whether the broker has left its cluster error=%s", error)
            return
        named = nodes.up | nodes.down
        # As for joining, its code proves little. Who has left may be unknown to the others that were asked.
        if own in named and named - {own}:
            raise BrokerError(
                f"command-leave left this node in its cluster, with {sorted(named - {own})!r}; "
                f"it said {said!r}"
            )

    async def down(self) -> frozenset[str]:
        return (self._nodes or await self._ask()).down

    async def forget(self, cluster_id: str) -> None:
        if self._settings.command_forget is None:
            raise BrokerError(f"node {cluster_id!r} cannot be forgotten: set command-forget")
        if cluster_id in (await self._ask()).down:
            gone = show_member(Member(cluster_id, Address("localhost", 1)))
            await self._run(self._settings.command_forget, self._known(), {"forget_id": gone.id})


def command_broker(surroundings: Surroundings) -> Broker:
    """Return the broker that the settings describe: one whose cluster lasts if they say how to join it."""
    kind = CommandBroker if surroundings.settings.command_join is None else CommandEngine
    return kind(surroundings)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
