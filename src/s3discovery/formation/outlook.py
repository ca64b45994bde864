"""Who is there to form a cluster with, as far as this node can tell.

All of it comes from discovery; only a peer about to be joined is looked up once more.
"""

from s3discovery.clock import Clock
from s3discovery.codec import BODY_LIMIT
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, ObjectMissingError, ObjectTooLargeError
from s3discovery.formation.founding import Gathering
from s3discovery.formation.seed import Claim, Process
from s3discovery.membership import METADATA_PREFIX
from s3discovery.node import INCARNATION, Member, is_incarnation
from s3discovery.topology import decode_report, topology

# Looks at the bucket: often while somebody came or went a short while ago, seldom once it takes long.
_LOOK_S, _SELDOM_LOOK_S = 2.0, 10.0
_OFTEN_S = 60.0
_PAUSE_S = 1.0
_SURVEY_LIMIT_S = 10.0  # how long it is waited for what the store honours


class Outlook:
    """What one node sees. `dice` is uniform in [0, 1): nodes that start together do not look together."""

    def __init__(self, discovery: Discovery, clock: Clock, dice: float) -> None:
        self._discovery = discovery
        self._clock = clock
        self._dice = dice
        self._gathering: Gathering | None = None
        self._ready_s: float | None = None
        self._absent: dict[Process, int] = {}
        self._looked_s = -_LOOK_S

    @property
    def now_s(self) -> float:
        """Our monotonic time."""
        return self._clock.monotonic_s()

    @property
    def me(self) -> Process:
        """This process; raises BrokerError for an observer."""
        own = self._discovery.own
        if own is None:
            raise BrokerError("an observer has no broker that could be in a cluster")
        return _process(own)

    @property
    def living(self) -> frozenset[Process]:
        """All that are in the bucket, this one included."""
        return frozenset(_process(member) for member in self._discovery.members)

    @property
    def formed(self) -> tuple[Process, ...]:
        """The peers that report a cluster: those of the largest one first, of them the oldest."""
        groups = topology(self._discovery.members).groups
        rank = {name: place for place, group in enumerate(groups) for name in group}
        peers = [peer for peer in self._discovery.peers if _is_node(peer) and peer.report.is_formed]
        return tuple(
            sorted(map(_process, peers), key=lambda peer: (rank.get(peer.cluster_id, len(groups)), peer))
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the oldest of those who would form a cluster."""
        return self._gathering is None or min(self._gathering.nodes) == self.me

    @property
    def is_busy(self) -> bool:
        """Whether somebody came or went a short while ago, so that there is something to look for."""
        changed_s = self._gathering.changed_s if self._gathering is not None else 0.0
        return self._clock.monotonic_s() - changed_s < _OFTEN_S

    @property
    def ready_for_s(self) -> float:
        """For how long there has been nothing left that a founder must wait for."""
        return self._clock.monotonic_s() - self._ready_s if self._ready_s is not None else 0.0

    def awaits(self) -> str:
        """Note who is there; return what a founder must wait for, empty if nothing."""
        settings, now_s = self._discovery.settings, self._clock.monotonic_s()
        nodes = frozenset(
            _process(member)
            for member in self._discovery.members
            if _is_node(member) and member.report.is_formed is not None
        ) | {self.me}
        before = self._gathering or Gathering(nodes, now_s, now_s)
        gathering = self._gathering = before.observe(nodes, now_s)
        text = gathering.awaits(
            size=settings.min_cluster_size,
            timeout_s=settings.min_cluster_timeout_s,
            margin_s=settings.stable_margin_s,
            now_s=now_s,
        )
        is_known = self._discovery.status.capabilities.conditional_create is not None
        if not text and not is_known and now_s - gathering.begun_s < _SURVEY_LIMIT_S:
            text = "waiting until it is known what the store honours"
        if text:
            self._ready_s = None
        elif self._ready_s is None:
            self._ready_s = now_s
        return text

    def gone(self, claim: Claim) -> frozenset[Process]:
        """Return who is named in the claim and certainly runs no more.

        Earlier processes of our own id, and who is absent from a listing that began after he was read of."""
        polls, living = self._discovery.polls, self.living
        absent = [process for process in claim.named() if process not in living]
        # The listing under way when the claim was read may have begun before: the one after it counts.
        self._absent = {process: self._absent.get(process, polls) for process in absent}
        return frozenset(
            process
            for process, since in self._absent.items()
            if process.cluster_id == self.me.cluster_id or polls >= since + 2
        )

    def look(self) -> None:
        """Ask for a look at the bucket, unless there was one a short while ago."""
        now_s = self._clock.monotonic_s()
        pause_s = _LOOK_S if self.is_busy else _SELDOM_LOOK_S
        if now_s - self._looked_s >= pause_s * (1 + self._dice) / 2:
            self._looked_s = now_s
            self._discovery.look_now()

    async def pause(self) -> None:
        """Let a moment pass for others to come or go in, and have the bucket looked at."""
        self.look()
        await self._clock.sleep(_PAUSE_S)

    async def look_up(self, peer: Process, *, has_reported: bool) -> Member:
        """Return a peer that runs still: what the last poll knows of it may be out of date.

        `has_reported`: it has to say that it is in a cluster; of the founder the claim says so. Raises
        BrokerError, or BucketError."""
        key = self._discovery.settings.file_prefix + peer.cluster_id
        member = next((each for each in self._discovery.peers if _process(each) == peer), None)
        try:
            stored = await self._discovery.bucket.get(key, limit=BODY_LIMIT)
        except (ObjectMissingError, ObjectTooLargeError):
            stored = None
        if stored is None or member is None:
            raise BrokerError(f"node {peer.cluster_id!r} has left just now, looking for another to join")
        metadata = {name.removeprefix(METADATA_PREFIX): text for name, text in stored.metadata.items()}
        is_formed = decode_report(metadata).is_formed
        if metadata.get(INCARNATION) != peer.incarnation or (has_reported and not is_formed):
            raise BrokerError(f"node {peer.cluster_id!r} has left its cluster, looking for another to join")
        return member


def _process(member: Member) -> Process:
    return Process(member.metadata.get(INCARNATION, ""), member.cluster_id)


def _is_node(member: Member) -> bool:
    """Tell whether a member can take part: it has published what our nodes publish."""
    return is_incarnation(member.metadata.get(INCARNATION, ""))
