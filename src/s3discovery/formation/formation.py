"""Who founds the cluster and who joins it, agreed upon in the bucket: two are never founded.

Here are the order of requests and what becomes of their errors; what follows from the claim is computed by
the pure module `founding`. What the claim says is not remembered: it is read again before anything is done.
"""

import logging
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace

from s3discovery import schedule
from s3discovery.brokers import Engine, Roster
from s3discovery.clock import Clock
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, BucketError, CodecError
from s3discovery.formation.claim_object import ClaimObject
from s3discovery.formation.founding import Belong, Found, Join, Situation, Wait, Write, decide, mend
from s3discovery.formation.leaving import take_leave
from s3discovery.formation.outlook import Outlook
from s3discovery.formation.seed import Claim, Process

log = logging.getLogger(__name__)

# A founder alone for this long holds data that counts; its peers, if there were any, would have joined.
_ALONE_S = 60.0
# How long the others leave it to the oldest to write the claim, and to who joins first to have joined.
_PATIENCE_S = 4.0
# Between two looks at the claim: while it is awaited, when it takes long, and when only people can help.
_READ_S, _SELDOM_READ_S, _ALARM_READ_S = 0.5, 2.5, 10.0
_RETRY_LIMIT_S = 10.0  # of founding and joining
_DOUBT_INTERVAL_S = 10.0  # between two looks whether the broker was reset: each may start a program
_CHECK_INTERVAL_S = 3600.0  # of a claim that nothing is known to have happened to
_WARN_INTERVAL_S = 600.0
_MOVES = 8  # of one step: more than any way from blank to member takes
_STORE = "waiting for the store"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this node belongs to a cluster, and if not, what it waits for, as people are told.

    Unless `is_settled`, `step` wants to be called again within a second or so. `is_alarm`: waiting alone
    does not help; `text` says what does."""

    is_formed: bool
    text: str = ""
    is_settled: bool = True
    is_alarm: bool = False


class Formation:
    """Takes an engine from blank to a member of the one cluster."""

    def __init__(self, discovery: Discovery, engine: Engine, clock: Clock) -> None:
        self._discovery = discovery
        self._engine = engine
        self._clock = clock
        self._dice = random.random()  # noqa: S311 - jitter, not a secret
        self._claim = ClaimObject(discovery)
        self._outlook = Outlook(discovery, clock, self._dice)
        self._standing = _waiting(_STORE)  # what the last look at the claim led to
        self._is_formed = False
        self._done: str | None = None  # the founding under which this process founded or joined, and when
        self._done_s = 0.0
        self._has_joined = False
        self._is_lost = False
        self._confirmed: object = None  # the place of the claim that says so; None: not yet
        self._checked_s = 0.0
        self._company: object = None  # who was in the bucket when the claim was looked at last
        self._is_doubtful = False
        self._asked_s = -_DOUBT_INTERVAL_S
        self._seen: tuple[str, float] = ("", 0.0)  # the nonce of the claim last read, and since when
        self._read_s: float | None = None
        self._formed: tuple[Process, ...] = ()  # the peers with a cluster, when the claim was read
        self._failures: dict[str, int] = {}
        self._retry_s = 0.0
        self._refusal = ""
        self._begun: str | None = None  # the founding that was logged
        self._told: dict[str, float] = {}

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

    def recheck(self) -> None:
        """Note that the broker's members have changed: the claim is looked at again."""
        self._company = None

    async def leave(self) -> None:
        """Take the engine out of its cluster, after having said so in the claim; the last removes that.

        Raises BrokerError; then the engine stays where it is, and the claim says so again."""
        self.recheck()  # by whatever step comes next
        try:
            await self._take_leave()
            await self._engine.leave()
        except BrokerError:
            # At once: whoever is stopped now must not be counted among those who have left.
            with suppress(BrokerError):
                await self.step()
            raise
        self._forget()

    async def _take_leave(self) -> None:
        """Say in the claim that this node leaves, or remove it; raises BrokerError if it must not now."""
        try:
            why = await take_leave(self._claim, self._engine, self._outlook, is_member=self._is_formed)
        except (BucketError, CodecError) as error:
            why = str(error)
        if why:
            log.warning(
                "claim stays in the bucket; delete it if no other member is left, or no new cluster is "
                "formed key=%r reason=%s",
                self._claim.key,
                why,
            )

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
        now_s, company, place = self._clock.monotonic_s(), self._seen_company(), self._claim.place
        is_due = now_s - self._checked_s >= _CHECK_INTERVAL_S * (1 + self._dice)
        if self._confirmed == place and self._company == company and not is_due:
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
        self._confirmed, self._checked_s, self._company = place, now_s, company

    def _seen_company(self) -> object:
        """Return what changes whenever somebody comes, goes or loses his file."""
        return self._discovery.vanished, self._outlook.living

    # Not a member yet, or not for certain.

    async def _advance(self) -> Standing:
        """Go on as far as possible; raises BrokerError."""
        if not self._is_formed and (awaits := self._awaits()) is not None:
            return awaits
        try:
            return await self._move()
        except BucketError as error:
            self._standing = _waiting(f"{_STORE}: {error}")
        except CodecError as error:
            self._standing = _waiting(str(error), is_alarm=True)
        return replace(self._standing, is_formed=self._is_formed)

    def _awaits(self) -> Standing | None:
        """Return why nothing can be done now; None if something can."""
        status, now_s = self._discovery.status, self._clock.monotonic_s()
        if status.rival is not None:
            rival = str(status.rival.address)
            return _waiting(f"waiting for another process of this cluster id to end: {rival!r}")
        if (error := status.error or status.write_error) is not None:
            return _waiting(f"{_STORE}: {error}")
        if not self._discovery.polls or not status.registered:
            return _waiting(_STORE)
        if now_s < self._retry_s:
            return _waiting(self._refusal)
        awaits = self._outlook.awaits()
        pause_s = _READ_S if self._outlook.is_busy and not awaits else _SELDOM_READ_S
        if self._standing.is_alarm:
            pause_s = _ALARM_READ_S
        is_news = self._outlook.formed != self._formed
        if self._read_s is not None and now_s < self._read_s + pause_s and not is_news:
            return _waiting(awaits) if awaits and not self._standing.is_alarm else self._standing
        return None

    async def _move(self) -> Standing:
        is_blank = await self._engine.is_blank()
        self._read_s, self._formed = self._clock.monotonic_s(), self._outlook.formed
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
            self._standing = _waiting(decision.text, is_alarm=decision.alarm)
            return self._standing
        self._is_formed, self._is_lost = True, False
        if decision.settled:
            self._done = None
            self._confirmed, self._checked_s = self._claim.place, self._clock.monotonic_s()
            self._company = self._seen_company()
        return Standing(True, is_settled=decision.settled)

    async def _act(self, decision: Found | Join, claim: Claim | None) -> None:
        """Have the engine found or join; raises BrokerError."""
        if isinstance(decision, Found):
            await self._found(claim)
        else:
            await self._join(decision.peers, claim.owner if claim is not None else None)
        self._has_joined = isinstance(decision, Join)
        self._done_s = self._clock.monotonic_s()
        self._done = claim.founding if claim is not None else None

    async def _found(self, claim: Claim | None) -> None:
        founding = claim.founding if claim is not None else ""
        if self._begun != founding:
            log.info("founding a cluster")
            self._begun = founding
        try:
            await self._engine.found()
        except BrokerError as error:
            self._back_off(self._outlook.me, f"waiting to try again to start the cluster: {error}")
            raise
        self._failures.clear()

    async def _join(self, peers: tuple[Process, ...], owner: Process | None) -> None:
        """Join the peer that has refused us least often; raises BrokerError."""
        peer = min(peers, key=lambda peer: self._failures.get(peer.cluster_id, 0))
        try:
            member = await self._outlook.look_up(peer, has_reported=peer != owner)
            log.info("joining a cluster peer=%r", peer.cluster_id)
            await self._engine.join(member)
        except BrokerError as error:
            self._back_off(peer, f"waiting to try again to join: {error}")
            raise
        self._failures.clear()

    def _back_off(self, process: Process, refusal: str) -> None:
        failures = self._failures[process.cluster_id] = self._failures.get(process.cluster_id, 0) + 1
        delay_s = schedule.retry_delay_s(failures, _RETRY_LIMIT_S, self._dice)
        self._retry_s, self._refusal = self._clock.monotonic_s() + delay_s, refusal

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
        """Warn of something, now and then while it lasts."""
        now_s = self._clock.monotonic_s()
        if now_s - self._told.get(text, -_WARN_INTERVAL_S) >= _WARN_INTERVAL_S:
            self._told[text] = now_s
            log.warning("%s", text)


def _waiting(text: str, *, is_alarm: bool = False) -> Standing:
    return Standing(False, text, is_settled=False, is_alarm=is_alarm)
