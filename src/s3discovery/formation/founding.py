"""Who founds, who joins and who waits: what follows from the claim and from what a node knows of itself.

The rules: only the owner of the claim founds, after having read that it is his; whoever joins before
the claim says formed has written himself into it before; the claim is taken over only when everybody whom it
names is gone, and never once it says formed. Every write replaces just what was read, so of two that
cannot both be true one is refused.
"""

from dataclasses import dataclass, replace

from s3discovery.formation.seed import JOINERS_LIMIT, Claim, Process, Stage


@dataclass(frozen=True, slots=True)
class Gathering:
    """Who is there to form a cluster, since when it is just they, and since when this is watched."""

    nodes: frozenset[Process]
    changed_s: float
    begun_s: float

    def observe(self, nodes: frozenset[Process], now_s: float) -> "Gathering":
        """Return what is known after a look at `now_s`."""
        return self if nodes == self.nodes else replace(self, nodes=nodes, changed_s=now_s)

    def awaits(self, *, size: int, timeout_s: float, margin_s: float, now_s: float) -> str:
        """Return what a node that would found has to wait for; empty if nothing.

        With fewer than `size` nodes it waits for `timeout_s` at most (0: for ever)."""
        there = len(self.nodes)
        if there < size and not 0 < timeout_s <= now_s - self.begun_s:
            more = size - there
            return f"waiting for {more} more node{'s' if more > 1 else ''} ({there}/{size}, min-cluster-size)"
        if now_s - self.changed_s < margin_s:
            return f"waiting until no node has come or gone for {margin_s:g} s (stable-margin)"
        return ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a node knows when it has read the claim.

    `is_blank`: the broker's word; `may_reset`: the node may be wiped; `done`: the founding under which this
    process founded, or joined (`has_joined`); `is_lost`: it did so under one that was taken over since;
    `known`: whom its broker counts as members, up or down, None if it cannot tell (not asked of the blank).
    `living`: the processes in the bucket, itself included; `gone`: those named in the claim that are
    certainly not; `formed`: peers that report a cluster, the likeliest first. `awaits`: what a founder
    must wait for; `may_claim`: it is its turn to write a claim; `is_patient`: the joiners named have had
    their time; `is_settled`: it founded so long ago that its data counts. `token`: names a founding that
    begins now; `key`: the claim's."""

    me: Process
    is_blank: bool
    token: str
    key: str = ""
    may_reset: bool = False
    done: str | None = None
    is_lost: bool = False
    known: frozenset[str] | None = None
    living: frozenset[Process] = frozenset()
    gone: frozenset[Process] = frozenset()
    formed: tuple[Process, ...] = ()
    awaits: str = ""
    may_claim: bool = True
    is_patient: bool = False
    is_settled: bool = False
    has_joined: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Have the broker found the cluster."""


@dataclass(frozen=True, slots=True)
class Join:
    """Have it join the cluster of one of `peers`, the first that takes it."""

    peers: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Replace the claim that was read, or the one that was not there."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in a while; `alarm` if that alone will not help."""

    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Belong:
    """The node is a member. If not `settled`, the claim may still be taken over: look at it again."""

    settled: bool = True


Decision = Found | Join | Write | Wait | Belong


def decide(claim: Claim | None, here: Situation) -> Decision:
    """Return the next thing to do for a node that does not know yet whether it belongs to the cluster."""
    return _stay(claim, here, _decide(claim, here))


def mend(claim: Claim | None, here: Situation) -> Decision:
    """Return what a node does that belongs to the cluster for certain, and finds the claim like this."""
    return _stay(claim, here, _mend(claim, here))


def _stay(claim: Claim | None, here: Situation, decision: Decision) -> Decision:
    """Have a member take back that it leaves: its broker refused, or it has come back."""
    if claim is None or not isinstance(decision, Belong):
        return decision
    others = tuple(each for each in claim.leavers if each.cluster_id != here.me.cluster_id)
    return decision if others == claim.leavers else Write(replace(claim, leavers=others))


def _decide(claim: Claim | None, here: Situation) -> Decision:
    if here.done is not None and (claim is None or claim.founding == here.done):
        return _complete(claim, here, here.done)
    if here.is_blank:
        return _enter(claim, here)
    return _keep(claim, here)


def _mend(claim: Claim | None, here: Situation) -> Decision:
    known = here.known or frozenset()
    own = Claim(here.token, here.me, Stage.ALONE if here.known == frozenset() else Stage.FORMED)
    if claim is None:
        return Write(own)
    if claim.stage is Stage.FORMED and not (known and _is_stranger(claim, here)):
        is_last = here.known == frozenset() and not here.formed and claim.owner not in here.living
        # All others have left: who is named could not be told from a stranger's founder after a restart.
        return Write(Claim(claim.founding, here.me, Stage.FORMED)) if is_last else Belong()
    if claim.stage is Stage.ALONE and claim.owner == here.me and not known:
        return Belong()
    if claim.owner.cluster_id in known | {here.me.cluster_id}:
        return Write(replace(claim, stage=Stage.FORMED))
    if claim.stage is Stage.CLAIMED or not (claim.joiners or claim.stage is Stage.FORMED):
        # Whoever came when the bucket was emptied found nobody: the older cluster stays the one.
        return Write(own)
    return Wait(
        f"another cluster was founded by {claim.owner.cluster_id!r}; stop its nodes, wipe their data, and "
        f"start them again",
        alarm=True,
    )


def _complete(claim: Claim | None, here: Situation, done: str) -> Decision:
    """This process has founded or joined, and the claim is still the one that it did so under."""
    if claim is None:
        # Somebody emptied the bucket. As it was, except that nobody knows who joins just now.
        return Write(Claim(done, here.me, Stage.FORMED if here.has_joined else Stage.FOUNDED))
    if claim.stage is Stage.FORMED:
        return Belong()
    if claim.owner != here.me:
        return Write(replace(claim, stage=Stage.FORMED))
    if claim.stage is Stage.CLAIMED:
        return Write(replace(claim, stage=Stage.FOUNDED))
    if claim.stage is Stage.FOUNDED and here.is_settled:
        # Whoever it names may join all the same: to be alone keeps others from founding, and nobody from
        # joining. So a joiner that is refused, alive or gone, does not leave the claim open to a take-over.
        return Write(replace(claim, stage=Stage.ALONE))
    return Belong(settled=claim.stage is Stage.ALONE)


def _enter(claim: Claim | None, here: Situation, *, may_found: bool = True) -> Decision:
    """A blank node: it founds or joins."""
    if claim is None:
        return Join(here.formed) if here.formed else _begin(here, may_found=may_found)
    if claim.stage is Stage.FORMED:
        return _join_formed(claim, here)
    if claim.owner.cluster_id == here.me.cluster_id:
        return _own(claim, here, may_found=may_found)
    if claim.owner in here.gone:
        return _inherit(claim, here, may_found=may_found)
    return _follow(claim, here)


def _begin(here: Situation, *, may_found: bool) -> Decision:
    """There is no claim to go by: make one."""
    if not may_found:
        return Wait("waiting for another node to start the cluster")
    if here.awaits:
        return Wait(here.awaits)
    if not here.may_claim:
        return Wait("waiting for the oldest node to start the cluster")
    return Write(Claim(here.token, here.me))


def _join_formed(claim: Claim, here: Situation) -> Decision:
    # The founder and the first to join come first: in the first minute a report can be out of date. That of
    # the founder need not be waited for: he had founded before anybody joined him.
    peers = [
        process
        for process in claim.named()
        if process in here.formed or (process == claim.owner and process in here.living)
    ]
    peers = [process for process in peers if process != here.me]
    peers += [process for process in here.formed if process not in peers]
    if peers:
        return Join(tuple(peers))
    return Wait(
        "waiting for a member of the cluster that was formed: start one; only if it is gone for good, delete "
        f"the object {here.key!r} from the bucket, and a new one is formed",
        alarm=True,
    )


def _own(claim: Claim, here: Situation, *, may_found: bool) -> Decision:
    """The claim is this node's, or was that of an earlier process of its id, which is gone with its data."""
    for joiner in claim.joiners:
        if joiner not in here.gone and joiner != here.me:
            return Wait(f"waiting for {joiner.cluster_id!r} to join, or to give it up")
    if not may_found:
        return Wait("waiting for another node to start the cluster")
    if claim.owner != here.me:
        return Write(Claim(here.token, here.me, claim.stage))
    return Found()


def _inherit(claim: Claim, here: Situation, *, may_found: bool) -> Decision:
    """The owner is gone: the claim may be taken over, unless somebody may have joined him."""
    for joiner in claim.joiners:
        if joiner not in here.gone and joiner != here.me:
            if here.me in claim.joiners:
                # This one has not joined, and can not any more: it says so, or each would wait for the other.
                return Write(replace(claim, joiners=tuple(each for each in claim.joiners if each != here.me)))
            return Wait(f"waiting for {joiner.cluster_id!r}, which was joining")
    if claim.stage is Stage.ALONE:
        return Wait(
            f"waiting for {claim.owner.cluster_id!r}, which has the cluster: start it; only if its data is "
            f"gone for good, delete the object {here.key!r} from the bucket, and a new cluster is formed",
            alarm=True,
        )
    return _begin(here, may_found=may_found)


def _follow(claim: Claim, here: Situation) -> Decision:
    """The owner lives, or may do so."""
    owner = claim.owner
    if claim.stage is Stage.CLAIMED or owner not in here.living:
        return Wait(f"waiting for the founder {owner.cluster_id!r}")
    if here.me in claim.joiners:
        return Join((owner,))
    busy = [joiner for joiner in claim.joiners if joiner not in here.gone]
    if busy and not here.is_patient:
        return Wait(f"waiting for {busy[0].cluster_id!r} to join first")
    # Joiners who are gone stay while there is room: they may have joined, and then the owner is not alone.
    # Earlier processes of this id make room: who is blank has not joined, or has lost all of it.
    joiners = [joiner for joiner in claim.joiners if joiner.cluster_id != here.me.cluster_id]
    if len(joiners) >= JOINERS_LIMIT:
        # Safe even if he lives, and was too slow to be seen. A joiner's name keeps others from taking over as
        # long as he lives; who is gone keeps nobody from it. If he comes to, he reads the claim before he
        # joins, and writes himself in again. If he is past that, and joins just now, he reads it before he
        # says that he belongs: under the same founding all is well, and under another he is a stranger, as
        # after any take-over from processes that were gone.
        silent = next((joiner for joiner in joiners if joiner in here.gone), None)
        if silent is None:
            return Wait(f"waiting for {joiners[-1].cluster_id!r} to join first")
        joiners.remove(silent)
    return Write(replace(claim, joiners=(*joiners, here.me)))


def _keep(claim: Claim | None, here: Situation) -> Decision:
    """A node with a cluster or data of its own, which this process has not made: is it the one?"""
    is_single = here.known == frozenset()
    if claim is None:
        return Write(Claim(here.token, here.me, Stage.ALONE if is_single else Stage.FORMED))
    mine = here.me.cluster_id
    if claim.stage is Stage.FORMED:
        return Belong() if not _is_stranger(claim, here) else _stray(claim, here)
    if claim.owner.cluster_id == mine and not here.is_lost:
        if claim.owner == here.me and claim.stage is Stage.CLAIMED:
            return Found()  # It failed half-way; safe to repeat.
        if claim.owner == here.me and claim.stage is Stage.ALONE:
            return Belong()
        stage = Stage.FORMED if claim.joiners or not is_single else Stage.ALONE
        return Write(replace(claim, owner=here.me, stage=stage))
    if not _is_stranger(claim, here):
        return Write(replace(claim, stage=Stage.FORMED))
    is_free = claim.stage is Stage.CLAIMED or (
        claim.stage is Stage.FOUNDED and here.gone.issuperset(claim.named())
    )
    if is_free and not here.is_lost:
        return Write(Claim(here.token, here.me, Stage.ALONE if is_single else Stage.FORMED))
    return _stray(claim, here)


def _is_stranger(claim: Claim, here: Situation) -> bool:
    """Tell whether the node's cluster is not the claim's, as far as the broker can tell."""
    claimed = {process.cluster_id for process in claim.named()}
    if here.known is not None and here.known & claimed:
        return False
    if here.is_lost:
        return True
    if claim.stage is not Stage.FORMED:
        return here.me.cluster_id not in claimed or here.known is not None
    if claim.owner.cluster_id == here.me.cluster_id or here.known is None:
        return False
    others = {process.cluster_id for process in here.formed}
    return not here.known & others if others else not here.known


def _stray(claim: Claim, here: Situation) -> Decision:
    """The node has data of another cluster: it goes in only if that may be wiped."""
    if here.may_reset:
        return _enter(claim, here, may_found=False)
    return Wait(
        f"this node has a cluster or data of its own, but the cluster is that of {claim.owner.cluster_id!r}: "
        "wipe its data or set allow-reset:true to have it join; if that cluster is gone for good, delete the "
        f"object {here.key!r} from the bucket",
        alarm=True,
    )
