"""The broker, driven: every complete listing is applied, and what the broker sees is held against it.

Wish and reality are compared after every listing, and every second while they differ; the difference is
logged when it changes, and reported in the own file when it lasts.
"""

import asyncio
import logging
import math

from s3discovery.brokers import Broker, Engine, Leaver
from s3discovery.child import Child
from s3discovery.clock import Clock, sleep_unless
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError
from s3discovery.formation.departures import Departures
from s3discovery.formation.formation import Formation
from s3discovery.formation.silence import Silence
from s3discovery.node import Member, Report
from s3discovery.running import ClusterState, Sight
from s3discovery.topology import topology

log = logging.getLogger(__name__)

_CONNECT_INTERVAL_S = 1.0
_WITHOUT_POLLS = 1.5  # poll intervals: longer than from one poll to the next
# A difference shorter than this is a join on its way: not worth a write of the own file.
_REPORT_MARGIN_S = 10.0
_REFUSALS_BELIEVED = 2
_PATIENCE = 10  # refusals, one after the other, until a broker is asked less and less often
_ALARM_INTERVAL_S = 600.0  # between two warnings of a state that does not end by itself
_LISTING_LIMIT_S = 10.0  # for a listing out of turn
_GAP_SLACK_S = 10.0  # what a listing and a look at the broker may take, beyond two intervals between polls


class Driver:
    """Keeps one broker in step with discovery. `state`: what its cluster is; `sight`: whom it sees itself."""

    def __init__(
        self, discovery: Discovery, broker: Broker, clock: Clock, child: Child | None = None
    ) -> None:
        self._discovery = discovery
        self._broker = broker
        self._clock = clock
        self._child = child
        self._turn = asyncio.Lock()
        self._has_left = False
        self._formation = Formation(discovery, broker, clock) if isinstance(broker, Engine) else None
        self._departures = Departures()
        self._missed: dict[str, float] = {}  # ids that the broker does not see, and since when
        self.state = ClusterState()
        self._said = self.state
        self._said_s = 0.0
        self.sight: Sight | None = None
        self._refused = ""
        self._refusals = 0  # one after the other
        self._has_joined = False
        self._silence = Silence()
        self._forget_s = -math.inf  # when a dead node may be forgotten again
        self._warned: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Drive until cancelled; `step` by step."""
        polls = self._discovery.polls
        while True:
            settled = await self.step()
            # A broker needs a moment to connect; nobody waits for the next poll to be told that it has. And
            # while the store is down, its cluster is looked at as often as else.
            settled_s = _WITHOUT_POLLS * self._discovery.settings.poll_interval_s
            wait_s = settled_s if settled else min(settled_s, self._connect_interval_s())
            if await sleep_unless(self._clock, wait_s, self._discovery.polled(polls)):
                polls = self._discovery.polls

    def _connect_interval_s(self) -> float:
        """Return when to look again at a broker that is not there yet: later, the more it refuses."""
        return _CONNECT_INTERVAL_S * 2.0 ** min(max(0, self._refusals - _PATIENCE), 10)

    async def leave(self) -> None:
        """Take the node out of its broker's cluster, and drive it no more; raises BrokerError."""
        async with self._turn:
            if self._has_left:
                return
            if self._formation is not None:
                await self._formation.leave()
            elif isinstance(self._broker, Leaver):
                await self._broker.leave()
            self._has_left = True

    async def step(self) -> bool:
        """Make the broker's cluster what the bucket says, as far as it goes; True if nothing is missing."""
        async with self._turn:
            # Before the first listing nothing is known: to tell a broker that it is alone would be a guess.
            is_blind = self._formation is None and not self._discovery.polls
            return self._has_left or is_blind or await self._step()

    async def _step(self) -> bool:
        discovery, broker = self._discovery, self._broker
        is_settled = True
        try:
            if self._formation is not None:
                standing = await self._formation.step()
                is_settled = standing.is_settled
                if not standing.is_formed:
                    self._refusals = 0
                    self._say(ClusterState(standing.text), is_alarm=standing.is_alarm)
                    await discovery.report(Report(is_formed=False))
                    return False
            peers = discovery.peers
            self._note_silence(peers)
            await broker.apply(peers)
            if self._child is not None and discovery.polls and not self._child.was_started:
                await self._child.start()  # the broker has rendered what it needs, and left the start to us
            seen = await broker.cluster()
            if isinstance(broker, Engine):
                await self._note_departures(broker)
        except BrokerError as error:
            self._note_refusal(error)
            self._departures = Departures()  # who is down has to be known all the time
            # A broker that starts or restarts is not there yet: worth a look before the next poll.
            return self._formation is None
        self._refused, self._refusals = "", 0
        if seen is None or not discovery.polls:
            self.sight = None
            if self._formation is not None:
                await discovery.report(Report(is_formed=True))
            elif discovery.polls:
                self._say(_told_of(len(peers)))
            return is_settled
        possible = frozenset(peer.cluster_id for peer in peers) - broker.skipped
        missing = possible - seen
        if self._formation is not None and possible and missing == possible:
            self._formation.doubt()
        self.sight = Sight(len(possible) + 1 - len(missing), len(missing))
        self._say(self._state(len(possible), missing, len(peers) - len(possible)))
        await self._report_missing(missing)
        return is_settled and not missing

    def _note_refusal(self, error: BrokerError) -> None:
        """Log what is new. After two in a row what was seen is outdated; after one it may just restart."""
        if str(error) != self._refused:
            log.error("broker refused its peers, trying again at the next poll error=%s", error)
        self._refused = str(error)
        self._refusals += 1
        if self._refusals >= _REFUSALS_BELIEVED:
            self.state, self.sight = ClusterState(f"not known, as the broker refuses: {error}"), None

    def _say(self, state: ClusterState, *, is_alarm: bool = False) -> None:
        now_s = self._clock.monotonic_s()
        self.state = state
        if state == self._said and not (is_alarm and now_s - self._said_s >= _ALARM_INTERVAL_S):
            return
        level = logging.WARNING if is_alarm else logging.INFO
        log.log(logging.ERROR if state.is_split else level, "cluster %s", state.text)
        self._said, self._said_s = state, now_s

    def _state(self, peers: int, missing: frozenset[str], skipped: int) -> ClusterState:
        """Say how far the broker's cluster is what the bucket says it should be.

        `peers` are those that can be; `skipped` others can not."""
        own = self._discovery.own
        if (found := topology(self._discovery.members)).is_split:
            # The groups are sorted: of two that are alike, all nodes take the same for the larger one.
            is_larger = own is not None and own.cluster_id in found.groups[0]
            return ClusterState(str(found), is_split=True, is_ready=is_larger, missing=missing)
        there = f"{peers + 1 - len(missing)}/{peers + 1}"
        others = f" ({skipped} in the bucket skipped: no peers of this broker)" if skipped else ""
        names = ", ".join(repr(cluster_id) for cluster_id in sorted(missing))
        if not missing:
            self._has_joined = True
            return ClusterState(f"formed {there}{others}", is_whole=True, is_ready=True)
        return ClusterState(
            f"incomplete {there}{others}, waiting for {names}",
            is_ready=self._belongs(peers, missing),
            missing=missing,
        )

    def _belongs(self, peers: int, missing: frozenset[str]) -> bool:
        """Tell whether who is missing is missing for others as well: then it is not this node that lacks.

        An engine belongs once it is formed. Others do once they saw all, or some while others stay away, and
        from then on; and as long as nobody who is missing refreshes his file."""
        now_s = self._clock.monotonic_s()
        is_lasting = any(now_s - self._missed.get(name, now_s) >= _REPORT_MARGIN_S for name in missing)
        self._has_joined |= len(missing) < peers and is_lasting
        return self._formation is not None or self._has_joined or self._are_silent(missing)

    def _note_silence(self, peers: frozenset[Member]) -> None:
        """Note after each listing whether the peers have refreshed their files."""
        discovery = self._discovery
        counts, listed_s = discovery.counts, discovery.status.listed_s
        if listed_s is not None:
            self._silence = self._silence.observe(
                peers,
                polls=discovery.polls,
                listed_s=listed_s,
                failures=counts.get("poll_failed", 0) + counts.get("refresh_failed", 0),
            )

    def _are_silent(self, names: frozenset[str]) -> bool:
        """Tell whether none of these peers has refreshed his file for longer than who lives may take."""
        settings = self._discovery.settings
        return all(
            self._silence.is_long(
                name,
                file_expiration_s=settings.file_expiration_s,
                update_interval_s=settings.update_interval_s,
                poll_interval_s=settings.poll_interval_s,
            )
            for name in names
        )

    async def _report_missing(self, missing: frozenset[str]) -> None:
        now_s = self._clock.monotonic_s()
        self._missed = {name: self._missed.get(name, now_s) for name in missing}
        lasting = frozenset(
            name for name, since_s in self._missed.items() if now_s - since_s >= _REPORT_MARGIN_S
        )
        await self._discovery.report(Report(True if self._formation is not None else None, lasting))

    async def _note_departures(self, engine: Engine) -> None:
        """Forget who is gone for good if that is wanted, and warn of them if it is not."""
        settings, now_s, status = self._discovery.settings, self._clock.monotonic_s(), self._discovery.status
        if status.error is not None or status.write_error is not None:
            # Nobody could come back into the bucket either: from here on absence proves nothing.
            self._departures = Departures()
            return
        present = {member.cluster_id for member in self._discovery.members}
        self._departures = self._departures.observe(
            down=await engine.down(),
            present=present,
            now_s=now_s,
            gap_limit_s=2 * settings.poll_interval_s + _GAP_SLACK_S,
        )
        overdue = self._departures.overdue(forget_after_s=settings.forget_after_s, now_s=now_s)
        self._warned &= self._departures.since_s.keys()
        if settings.forget_dead:
            if overdue and now_s >= self._forget_s:
                # A refusal may last, and each try costs a listing.
                self._forget_s = now_s + max(settings.poll_interval_s, _LISTING_LIMIT_S)
                for name in await self._still_gone(overdue):
                    await self._forget(engine, name)
            return
        for name in overdue:
            if name not in self._warned:
                self._warned |= {name}
                log.warning(
                    "node is gone from the bucket and down for the broker, which keeps it as a member; "
                    "remove it there, or set forget-dead:true cluster_id=%r",
                    name,
                )

    async def _still_gone(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return which of `names` a listing of this moment does not show: the last one may be a poll old."""
        discovery = self._discovery
        polls = discovery.polls
        discovery.look_now()
        if not await sleep_unless(self._clock, _LISTING_LIMIT_S, discovery.polled(polls)):
            return ()
        present = {member.cluster_id for member in discovery.members}
        return tuple(name for name in names if name not in present)

    async def _forget(self, engine: Engine, name: str) -> None:
        """Have the broker forget a dead node; a refusal is told once, and it is asked again."""
        try:
            await engine.forget(name)
        except BrokerError as error:
            if name not in self._warned:
                log.error("dead node could not be forgotten, trying on cluster_id=%r error=%s", name, error)
            self._warned |= {name}
            return
        if self._formation is not None:
            self._formation.recheck()
        log.warning(
            "dead node forgotten cluster_id=%r gone_for_s=%.0f", name, self._discovery.settings.forget_after_s
        )


def _told_of(peers: int) -> ClusterState:
    """Return the state of a broker that was told of its peers and cannot say whom it sees."""
    return ClusterState(f"told of {peers} {'peer' if peers == 1 else 'peers'}", is_whole=True, is_ready=True)
