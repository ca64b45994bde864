"""A member leaves for good: it says so in the claim, or removes that if nobody else stays.

Both replace just what was read, so of members that leave at once the last in the claim knows of all others.
It waits until its broker counts them no more, since any of them may be refused, or killed before he has
left; nobody waits for who said it later, so no two wait for each other. Only a member may remove the
claim: a node that waits for the cluster's members is as alone as the last of them.
"""

from dataclasses import dataclass, replace

from s3discovery.brokers import Engine, Roster
from s3discovery.errors import BrokerError
from s3discovery.formation.claim_object import ClaimObject
from s3discovery.formation.outlook import Outlook
from s3discovery.formation.seed import LEAVERS_LIMIT, Claim, Stage

_MOVES = 8 + LEAVERS_LIMIT  # each of those who leave at once may write before this one does
_WAIT_LIMIT_S = 90.0  # longer than a broker in good order takes to leave: NATS's has a minute
_GONE_LIMIT_S = 15.0  # longer than what an engine knows of its members may be old


@dataclass(frozen=True, slots=True)
class _Others:
    """Who is in the cluster besides this node.

    `stay`: whether anybody does, None if that cannot be told. If nobody does, of those who said before this
    node that they leave: `leaving` are in the bucket still, and members for the broker; `gone` are so for the
    broker alone, which may learn a little later that they have left."""

    stay: bool | None
    leaving: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


async def take_leave(found: ClaimObject, engine: Engine, outlook: Outlook, *, is_member: bool) -> str:
    """Make the claim what it has to be before the engine leaves; return why it stays, empty if it should.

    Waits for those who leave already if no other stays. Raises BucketError, CodecError, or BrokerError if
    the node must not leave now."""
    moves, patience = 0, _Patience(outlook)
    while moves < _MOVES:
        claim, etag = await found.read()
        if claim is None:
            return ""
        is_own = claim.stage is Stage.FORMED or claim.owner.cluster_id == outlook.me.cluster_id
        if not (is_member and is_own):
            return "" if outlook.formed else "this node does not belong to its cluster"
        others = await _others(claim, engine, outlook)
        if others.stay is False and not others.leaving and not others.gone:
            _await_joiners(claim, outlook)
            if await found.remove(etag):
                return ""
        elif outlook.me not in claim.leavers:
            await found.write(_with_me(claim, outlook), etag)
        elif others.leaving or others.gone:
            if why := await patience.wait(others):
                return why
            continue
        else:
            return "" if others.stay else "it is not known whether this was the last member"
        moves += 1
    raise BrokerError(f"the object {found.key!r} is changed by others all the time; leave again")


async def _others(claim: Claim, engine: Engine, outlook: Outlook) -> _Others:
    """Tell who is in the cluster besides this node, as the broker and the bucket have it."""
    me, leavers = outlook.me, set(claim.leavers)
    living = outlook.living - leavers - {me}
    # Who said so and is gone, but counts for the broker still, was refused or did not get that far. Who said
    # so after this node sees to the claim himself.
    before = set(claim.leavers[: claim.leavers.index(me)] if me in leavers else claim.leavers)
    # Who is back since is another process of the same id.
    before_ids = {leaver.cluster_id for leaver in before} - {each.cluster_id for each in living}
    leaving = {leaver.cluster_id for leaver in before & outlook.living}
    try:
        if isinstance(engine, Roster):
            counted = await engine.members() - {me.cluster_id}
            # A broker that was reset from outside counts nobody either, but its peers say they are formed.
            is_known = bool(counted) or not set(outlook.formed) - leavers
        else:
            seen, down = await engine.cluster(), await engine.down()
            counted = (seen or frozenset()) | down
            # Seeing nobody proves little by itself: members that are cut off are seen by nobody either.
            is_known = seen is not None and not living
    except BrokerError:
        return _Others(stay=None)
    if counted - before_ids:
        return _Others(stay=True)
    if not is_known:
        return _Others(stay=None)
    return _Others(stay=False, leaving=frozenset(counted & leaving), gone=frozenset(counted - leaving))


class _Patience:
    """How long the last one waits for those who said before him that they leave."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._until_s = outlook.now_s + _WAIT_LIMIT_S
        self._gone_s: dict[str, float] = {}  # ids that only the broker counts still, and since when

    async def wait(self, others: _Others) -> str:
        """Let a moment pass; return why it is waited no more for who is gone, empty if it is.

        Raises BrokerError if it is waited no more for who has not left."""
        now_s = self._outlook.now_s
        if others.leaving and now_s >= self._until_s:
            raise BrokerError(
                f"waited {_WAIT_LIMIT_S:g} s for {_listed(others.leaving)} to leave before this node, the "
                "last one: leave again once that is done; whoever was killed as he left is waited for until "
                "he is started again, or his file has expired"
            )
        self._gone_s = {name: self._gone_s.get(name, now_s) for name in others.gone}
        is_over = now_s >= min(self._until_s, max(self._gone_s.values(), default=now_s) + _GONE_LIMIT_S)
        if is_over and not others.leaving:
            told = _listed(others.gone)
            return f"{told} said that they leave, are gone, and are members for the broker all the same"
        await self._outlook.pause()
        return ""


def _listed(cluster_ids: frozenset[str]) -> str:
    return ", ".join(repr(cluster_id) for cluster_id in sorted(cluster_ids))


def _await_joiners(claim: Claim, outlook: Outlook) -> None:
    """Raise BrokerError while somebody joins: he counts until he is gone for certain."""
    done = outlook.gone(claim) | {outlook.me}
    joiners = [each for each in claim.joiners if each not in done]
    if joiners and claim.stage is not Stage.FORMED:
        raise BrokerError(
            f"{joiners[0].cluster_id!r} has begun to join this node; leave when it has, or stop it first"
        )


def _with_me(claim: Claim, outlook: Outlook) -> Claim:
    """Return the claim with this node among those who leave; who left long ago makes room."""
    others = [each for each in claim.leavers if each.cluster_id != outlook.me.cluster_id]
    others.sort(key=lambda each: each in outlook.living)
    return replace(claim, leavers=(*others[-(LEAVERS_LIMIT - 1) :], outlook.me))
