"""A member leaves for good: it says so in the claim, or removes that if nobody else stays.

Both replace just what was read, so of members that leave at once the last to write knows of all others. Only
a member may remove the claim: a node that waits for the cluster's members is as alone as the last of them.
"""

from dataclasses import replace

from s3discovery.brokers import Engine, Roster
from s3discovery.errors import BrokerError
from s3discovery.formation.claim_object import ClaimObject
from s3discovery.formation.outlook import Outlook
from s3discovery.formation.seed import LEAVERS_LIMIT, Claim, Stage

_MOVES = 8 + LEAVERS_LIMIT  # each of those who leave at once may write before this one does


async def take_leave(found: ClaimObject, engine: Engine, outlook: Outlook, *, is_member: bool) -> str:
    """Make the claim what it has to be before the engine leaves; return why it stays, empty if it should.

    Raises BucketError, CodecError, or BrokerError if the node must not leave now."""
    for _ in range(_MOVES):
        claim, etag = await found.read()
        if claim is None:
            return ""
        is_own = claim.stage is Stage.FORMED or claim.owner.cluster_id == outlook.me.cluster_id
        if not (is_member and is_own):
            return "" if outlook.formed else "this node does not belong to its cluster"
        stays = await _others_stay(claim, engine, outlook)
        if stays is False:
            _await_joiners(claim, outlook)
            if await found.remove(etag):
                return ""
        elif outlook.me in claim.leavers:
            return "" if stays else "it is not known whether this was the last member"
        else:
            await found.write(_with_me(claim, outlook), etag)
    raise BrokerError(f"the object {found.key!r} is changed by others all the time; leave again")


async def _others_stay(claim: Claim, engine: Engine, outlook: Outlook) -> bool | None:
    """Tell whether there are members besides this node and those that leave; None if that cannot be told."""
    me, leavers = outlook.me, set(claim.leavers)
    living = outlook.living - leavers - {me}
    # Who said so and is gone, but counts for the broker still, was refused or did not get that far.
    leaving = {leaver.cluster_id for leaver in leavers & outlook.living} - {
        each.cluster_id for each in living
    }
    try:
        if isinstance(engine, Roster):
            if await engine.members() - {me.cluster_id} - leaving:
                return True
            # A broker that was reset from outside counts nobody either, but its peers say they are formed.
            return None if set(outlook.formed) - leavers else False
        seen, down = await engine.cluster(), await engine.down()
    except BrokerError:
        return None
    if ((seen or frozenset()) | down) - leaving:
        return True
    # Seeing nobody proves little by itself: members that are cut off are seen by nobody either.
    return None if seen is None or living else False


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
