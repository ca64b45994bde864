"""Who founds the cluster and who joins it, agreed upon in the bucket: two are never founded.

Here are the order of requests and what becomes of their errors; what follows from the claim is computed by
the pure module `founding`. What the claim says is not remembered: it is read again before anything is done.
"""

import logging
import random
import secrets
from dataclasses import dataclass, replace

from s3discovery import schedule
from s3discovery.brokers import Engine, Roster
from s3discovery.claim_object import ClaimObject
from s3discovery.clock import Clock
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, BucketError, CodecError
from s3discovery.founding import Belong, Found, Join, Situation, Wait, Write, decide, mend
from s3discovery.outlook import Outlook
from s3discovery.seed import Claim, Process, Stage

log = logging.getLogger(__name__)

# A founder alone for this long holds data that counts; its peers, if there were any, would have joined.
_ALONE_S = 60.0
# How long the others leave it to the oldest to write the claim, and to who joins first to have joined.
_PATIENCE_S = 4.0
_READ_S, _SELDOM_READ_S = (
    1.0,
    5.0,
)  # between two looks at the claim, while it is awaited and when it takes long
_JOIN_RETRY_LIMIT_S = 10.0
_DOUBT_INTERVAL_S = 10.0  # between two looks whether the broker was reset: each may start a program
_CHECK_INTERVAL_S = 3600.0  # of a claim that nothing is known to have happened to
_MOVES = 8  # of one step: more than any way from blank to member takes
_STORE = "waiting for the store"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this node belongs to a cluster, and if not, what it waits for, as people are told.

    Unless `is_settled`, `step` wants to be called again within a second or so."""

    is_formed: bool
    text: str = ""
    is_settled: bool = True


class Formation:
    """Takes an engine from blank to a member of the one cluster."""

    def __init__(self, discovery: Discovery, engine: Engine, clock: Clock) -> None:
        self._discovery = discovery
        self._engine = engine
        self._clock = clock
        self._dice = random.random()  # noqa: S311 - jitter, not a secret
        self._claim = ClaimObject(discovery)
        self._outlook = Outlook(discovery, clock, self._dice)
        self._text = _STORE
        self._is_formed = False
        self._done: str | None = None  # the founding under which this process founded or joined, and when
        self._done_s = 0.0
        self._has_joined = False
        self._is_lost = False
        self._confirmed: object = None  # the place of the claim that says so; None: not yet
        self._checked_s = 0.0
        self._vanished = 0
        self._is_doubtful = False
        self._asked_s = -_DOUBT_INTERVAL_S
        self._seen: tuple[str, float] = ("", 0.0)  # the nonce of the claim last read, and since when
        self._read_s: float | None = None
        self._failures: dict[str, int] = {}
        self._retry_s = 0.0
        self._told: set[str] = set()

    async def step(self) -> Standing:
        """Do what can be done now; raises BrokerError."""
        if self._confirmed is not None and not await self._was_reset():
            await self._check()
            return Standing(True)
        standing = await self._advance()
        if not standing.is_formed:
            self._outlook.look()
        return standing

    def doubt(self) -> None:
        """Note that the broker sees none of its peers: perhaps it was reset from outside."""
        self._is_doubtful = True

    async def leave(self) -> None:
        """Take the engine out of its cluster; the last member takes the claim away first.

        Raises BrokerError; then the engine stays where it is, and the next step mends the claim."""
        known = await self._known()
        try:
            claim, etag = await self._claim.read()
            if claim is not None and known == frozenset():
                await self._remove(claim, etag)
        except (BucketError, CodecError) as error:
            log.warning("claim stays in the bucket key=%r error=%s", self._claim.key, error)
        await self._engine.leave()
        self._forget()

    async def _remove(self, claim: Claim, etag: str | None) -> None:
        me, living = self._outlook.me, self._outlook.living
        joiners = [each for each in claim.joiners if each in living and each != me]
        if joiners and claim.stage is not Stage.FORMED:
            raise BrokerError(f"{joiners[0].cluster_id!r} is joining this node just now; leave again later")
        self._checked_s = -_CHECK_INTERVAL_S * 2
        if not await self._claim.remove(etag):
            raise BrokerError(f"the object {self._claim.key!r} has changed just now; leave again")

    def _forget(self) -> None:
        self._confirmed = self._done = None
        self._is_formed = False

    async def _known(self) -> frozenset[str] | None:
        """Return whom the broker counts as members besides this node, up or down; None if it cannot tell.

        To see nobody is no evidence of being alone, but for a broker that keeps a roster."""
        engine = self._engine
        try:
            if isinstance(engine, Roster):
                return await engine.members() - {self._outlook.me.cluster_id}
            return (await engine.cluster() or frozenset()) | await engine.down() or None
        except BrokerError:
            return None

    # A member for certain: no requests, unless something may have happened.

    async def _was_reset(self) -> bool:
        """Tell whether the broker was reset from outside; the next thing to do then is to join again."""
        now_s = self._clock.monotonic_s()
        if not self._is_doubtful or now_s - self._asked_s < _DOUBT_INTERVAL_S or not self._outlook.formed:
            return False
        self._asked_s, self._is_doubtful = now_s, False
        if not await self._engine.is_blank():
            return False
        log.warning("broker was reset from outside, joining its cluster again")
        self._forget()
        return True

    async def _check(self) -> None:
        """See that the claim is there, if something may have happened to it; whatever fails is done again."""
        now_s, vanished, place = self._clock.monotonic_s(), self._discovery.vanished, self._claim.place
        is_due = now_s - self._checked_s >= _CHECK_INTERVAL_S * (1 + self._dice)
        if self._confirmed == place and self._vanished == vanished and not is_due:
            return
        try:
            known = await self._known()
            for _ in range(_MOVES):
                claim, etag = await self._claim.read()
                decision = mend(claim, replace(self._situation(claim), known=known))
                if not isinstance(decision, Write):
                    break
                await self._claim.write(decision.claim, etag)
        except (BucketError, CodecError) as error:
            self._warn(f"claim cannot be checked: {error}")
            return
        if isinstance(decision, Wait):
            self._warn(decision.text)
        self._confirmed, self._checked_s, self._vanished = place, now_s, vanished

    # Not a member yet, or not for certain.

    async def _advance(self) -> Standing:
        """Go on as far as possible; raises BrokerError."""
        if not self._is_formed and (awaits := self._awaits()) is not None:
            return Standing(False, awaits, is_settled=False)
        try:
            return await self._move()
        except BucketError as error:
            self._text = f"{_STORE}: {error}"
        except CodecError as error:
            self._text = str(error)
            self._warn(self._text)
        return Standing(self._is_formed, self._text, is_settled=False)

    def _awaits(self) -> str | None:
        """Return why nothing can be done now; None if something can."""
        status, now_s = self._discovery.status, self._clock.monotonic_s()
        if status.rival is not None:
            return f"waiting for another process of this cluster id to end: {str(status.rival.address)!r}"
        if (error := status.error or status.write_error) is not None:
            return f"{_STORE}: {error}"
        if not self._discovery.polls or not status.registered:
            return _STORE
        if now_s < self._retry_s:
            return "waiting to try again to join"
        awaits = self._outlook.awaits()
        pause_s = _READ_S if self._outlook.is_busy and not awaits else _SELDOM_READ_S
        if self._read_s is not None and now_s < self._read_s + pause_s / 2 and not self._outlook.formed:
            return awaits or self._text
        return None

    async def _move(self) -> Standing:
        is_blank = await self._engine.is_blank()
        self._read_s = self._clock.monotonic_s()
        for _ in range(_MOVES):
            claim, etag = await self._claim.read()
            self._note(claim)
            known = None if is_blank or self._done is not None else await self._known()
            decision = decide(claim, replace(self._situation(claim), is_blank=is_blank, known=known))
            if isinstance(decision, Belong | Wait):
                return self._stand(decision)
            if isinstance(decision, Write):
                await self._claim.write(decision.claim, etag)
                continue
            await self._act(decision, claim)
            is_blank = await self._engine.is_blank()
        return Standing(self._is_formed, "waiting for others to leave the claim alone", is_settled=False)

    def _note(self, claim: Claim | None) -> None:
        """Note when the claim last changed, and whether it was taken from us."""
        nonce = claim.nonce if claim is not None else ""
        if self._seen[0] != nonce:
            self._seen = (nonce, self._clock.monotonic_s())
        if claim is not None and self._done is not None and claim.founding != self._done:
            log.error(
                "the cluster that this node %s was given up meanwhile, as its founder seemed dead owner=%r",
                "joined" if self._has_joined else "founded",
                claim.owner.cluster_id,
            )
            self._done, self._is_lost, self._is_formed = None, True, False

    def _stand(self, decision: Belong | Wait) -> Standing:
        if isinstance(decision, Wait):
            self._is_formed = False
            self._text = decision.text
            if decision.alarm:
                self._warn(decision.text)
            return Standing(False, decision.text, is_settled=False)
        self._is_formed, self._is_lost = True, False
        if decision.settled:
            self._done = None
            self._confirmed, self._checked_s = self._claim.place, self._clock.monotonic_s()
            self._vanished = self._discovery.vanished
        return Standing(True, is_settled=decision.settled)

    async def _act(self, decision: Found | Join, claim: Claim | None) -> None:
        """Have the engine found or join; raises BrokerError."""
        if isinstance(decision, Found):
            log.info("founding a cluster")
            await self._engine.found()
        else:
            await self._join(decision.peers, claim.owner if claim is not None else None)
        self._has_joined = isinstance(decision, Join)
        self._done_s = self._clock.monotonic_s()
        self._done = claim.founding if claim is not None else None

    async def _join(self, peers: tuple[Process, ...], owner: Process | None) -> None:
        """Join the peer that has refused us least often; raises BrokerError."""
        peer = min(peers, key=lambda peer: self._failures.get(peer.cluster_id, 0))
        try:
            member = await self._outlook.look_up(peer, has_reported=peer != owner)
            log.info("joining a cluster peer=%r", peer.cluster_id)
            await self._engine.join(member)
        except BrokerError:
            failures = self._failures[peer.cluster_id] = self._failures.get(peer.cluster_id, 0) + 1
            delay_s = schedule.retry_delay_s(failures, _JOIN_RETRY_LIMIT_S, self._dice)
            self._retry_s = self._clock.monotonic_s() + delay_s
            raise
        self._failures.clear()

    def _situation(self, claim: Claim | None) -> Situation:
        now_s, outlook = self._clock.monotonic_s(), self._outlook
        patience_s = _PATIENCE_S * (1 + self._dice)
        awaits = outlook.awaits()
        is_late = self._claim.is_conditional and outlook.ready_for_s > patience_s
        return Situation(
            me=outlook.me,
            is_blank=True,
            token=secrets.token_hex(8),
            key=self._claim.key,
            may_reset=self._discovery.settings.allow_reset,
            done=self._done,
            has_joined=self._has_joined,
            is_lost=self._is_lost,
            living=outlook.living,
            gone=outlook.gone(claim) if claim is not None else frozenset(),
            formed=outlook.formed,
            awaits=awaits,
            may_claim=outlook.is_first or is_late,
            is_patient=now_s - self._seen[1] > patience_s,
            is_settled=now_s - self._done_s > _ALONE_S,
        )

    def _warn(self, text: str) -> None:
        """Warn of something once."""
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)
