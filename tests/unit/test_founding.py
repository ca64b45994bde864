"""What follows from the claim, case by case."""

from dataclasses import replace

import pytest

from s3discovery.formation.founding import (
    Belong,
    Found,
    Gathering,
    Join,
    Situation,
    Wait,
    Write,
    decide,
    mend,
)
from s3discovery.formation.seed import JOINERS_LIMIT, Claim, Process, Stage


def process(name: str, run: int = 0) -> Process:
    return Process(f"{1_800_000_000_000 + run:013d}-0123456789abcdef", name)


ME, ONE, TWO, THREE = process("me"), process("n1"), process("n2"), process("n3")
EARLIER = process("me", run=-1)
TOKEN, OLD = "0123456789abcdef", "aaaaaaaaaaaaaaaa"
BLANK = Situation(ME, is_blank=True, token=TOKEN, key="the/seed", living=frozenset({ME, ONE, TWO, THREE}))
HOLDER = replace(BLANK, is_blank=False)
CLAIMED, FOUNDED = Claim(OLD, ONE), Claim(OLD, ONE, Stage.FOUNDED)
ALONE, FORMED = Claim(OLD, ONE, Stage.ALONE), Claim(OLD, ONE, Stage.FORMED, (TWO,))
BEFORE_FORMED = [CLAIMED, FOUNDED, ALONE]


class TestGathering:
    nodes = frozenset({ME, ONE})

    def awaits(self, gathering: Gathering, now_s: float, size: int = 2, timeout_s: float = 0) -> str:
        return gathering.awaits(size=size, timeout_s=timeout_s, margin_s=5, now_s=now_s)

    def test_enough_nodes_for_long_enough(self) -> None:
        gathering = Gathering(self.nodes, 100, 100)
        assert (
            self.awaits(gathering, 104.9) == "waiting until no node has come or gone for 5 s (stable-margin)"
        )
        assert self.awaits(gathering, 105) == ""

    def test_too_few(self) -> None:
        gathering = Gathering(self.nodes, 100, 100)
        assert self.awaits(gathering, 1e9, size=3) == "waiting for 1 more node (2/3, min-cluster-size)"
        assert self.awaits(gathering, 1e9, size=5) == "waiting for 3 more nodes (2/5, min-cluster-size)"

    def test_too_few_for_too_long(self) -> None:
        gathering = Gathering(self.nodes, 100, 100)
        assert self.awaits(gathering, 159, size=3, timeout_s=60)
        assert self.awaits(gathering, 160, size=3, timeout_s=60) == ""

    def test_a_change_begins_the_margin_again_but_not_the_limit(self) -> None:
        gathering = Gathering(self.nodes, 100, 100).observe(self.nodes | {TWO}, 110)
        assert self.awaits(gathering, 114)
        assert self.awaits(gathering.observe(self.nodes | {TWO}, 114), 115) == ""
        assert gathering.begun_s == 100


class TestFormedForLong:
    """What a member for certain finds when it looks at the claim again."""

    here = replace(HOLDER, known=frozenset({"n2"}), formed=(TWO,))
    foreign = Claim(OLD, THREE, Stage.FORMED)

    def test_the_founder_may_be_gone(self) -> None:
        assert mend(FORMED, self.here) == Belong()
        assert mend(self.foreign, self.here) == Belong()

    def test_the_claim_of_another_cluster_is_left_and_told(self) -> None:
        decision = mend(self.foreign, replace(self.here, formed=(THREE,)))
        assert isinstance(decision, Wait)
        assert decision.alarm
        assert "'n3'" in decision.text

    def test_the_last_member_owns_the_claim(self) -> None:
        last = replace(self.here, known=frozenset(), formed=(), living=frozenset({ME}))
        assert mend(FORMED, last) == Write(Claim(OLD, ME, Stage.FORMED))
        assert mend(FORMED, replace(last, known=None)) == Belong()
        assert mend(FORMED, replace(last, formed=(TWO,))) == Belong()
        assert mend(FORMED, replace(last, living=frozenset({ME, ONE}))) == Belong()


class TestBlank:
    def test_it_claims_where_there_is_no_claim(self) -> None:
        assert decide(None, BLANK) == Write(Claim(TOKEN, ME, Stage.CLAIMED))

    def test_but_not_before_all_are_there(self) -> None:
        assert decide(None, replace(BLANK, awaits="waiting for more")) == Wait("waiting for more")

    def test_nor_before_its_turn(self) -> None:
        assert isinstance(decide(None, replace(BLANK, may_claim=False)), Wait)

    def test_it_joins_those_who_have_formed(self) -> None:
        assert decide(None, replace(BLANK, formed=(TWO, ONE))) == Join((TWO, ONE))

    def test_it_founds_only_what_it_owns(self) -> None:
        assert decide(Claim(OLD, ME), BLANK) == Found()
        assert decide(CLAIMED, BLANK) == Wait("waiting for the founder 'n1'")

    @pytest.mark.parametrize("claim", [FOUNDED, ALONE])
    def test_it_writes_itself_into_the_claim_before_it_joins(self, claim: Claim) -> None:
        registered = replace(claim, joiners=(ME,))
        assert decide(claim, BLANK) == Write(registered)
        assert decide(registered, BLANK) == Join((ONE,))

    def test_it_lets_another_join_first(self) -> None:
        claim = replace(FOUNDED, joiners=(TWO,))
        assert decide(claim, BLANK) == Wait("waiting for 'n2' to join first")

    def test_but_not_for_ever(self) -> None:
        claim = replace(FOUNDED, joiners=(TWO,))
        both = Write(replace(FOUNDED, joiners=(TWO, ME)))
        assert decide(claim, replace(BLANK, is_patient=True)) == both
        assert decide(claim, replace(BLANK, gone=frozenset({TWO}))) == both

    def test_the_claim_does_not_grow_for_ever(self) -> None:
        many = tuple(process(f"j{number}") for number in range(JOINERS_LIMIT))
        crowded = replace(FOUNDED, joiners=many)
        here = replace(BLANK, is_patient=True, gone=frozenset(many[:2]))
        assert decide(crowded, here) == Write(replace(crowded, joiners=(*many[1:], ME)))
        decision = decide(crowded, replace(here, gone=frozenset()))
        assert decision == Wait(f"waiting for {many[-1].cluster_id!r} to join first")

    def test_a_joiner_that_was_restarted_is_named_once(self) -> None:
        claim = replace(FOUNDED, joiners=(EARLIER, TWO))
        here = replace(BLANK, is_patient=True, gone=frozenset({EARLIER}))
        assert decide(claim, here) == Write(replace(FOUNDED, joiners=(TWO, ME)))

    @pytest.mark.parametrize("claim", [CLAIMED, FOUNDED, replace(FOUNDED, joiners=(TWO,))])
    def test_it_takes_over_from_the_dead(self, claim: Claim) -> None:
        here = replace(BLANK, gone=frozenset(claim.named()))
        assert decide(claim, here) == Write(Claim(TOKEN, ME, Stage.CLAIMED))
        assert decide(claim, replace(here, awaits="more")) == Wait("more")

    def test_not_while_somebody_may_have_joined(self) -> None:
        claim = replace(FOUNDED, joiners=(TWO, THREE))
        here = replace(BLANK, gone=frozenset({ONE, THREE}))
        assert decide(claim, here) == Wait("waiting for 'n2', which was joining")

    def test_a_joiner_whose_founder_is_gone_gives_up(self) -> None:
        claim = replace(FOUNDED, joiners=(ME, TWO))
        here = replace(BLANK, gone=frozenset({ONE}))
        assert decide(claim, here) == Write(replace(FOUNDED, joiners=(TWO,)))
        assert decide(replace(FOUNDED, joiners=(ME,)), here) == Write(Claim(TOKEN, ME))

    def test_an_owner_not_seen_yet_is_not_dead(self) -> None:
        here = replace(BLANK, living=frozenset({ME}))
        assert decide(FOUNDED, here) == Wait("waiting for the founder 'n1'")

    def test_a_founder_who_was_alone_for_long_is_waited_for(self) -> None:
        decision = decide(ALONE, replace(BLANK, gone=frozenset({ONE})))
        assert isinstance(decision, Wait)
        assert "'the/seed'" in decision.text

    @pytest.mark.parametrize("stage", [Stage.CLAIMED, Stage.FOUNDED, Stage.ALONE])
    def test_it_takes_over_from_an_earlier_run_of_itself(self, stage: Stage) -> None:
        claim = Claim(OLD, EARLIER, stage)
        assert decide(claim, replace(BLANK, gone=frozenset({EARLIER}))) == Write(Claim(TOKEN, ME, stage))

    def test_not_while_somebody_may_have_joined_that(self) -> None:
        claim = Claim(OLD, EARLIER, Stage.FOUNDED, (TWO,))
        decision = decide(claim, replace(BLANK, gone=frozenset({EARLIER})))
        assert decision == Wait("waiting for 'n2' to join, or to give it up")

    @pytest.mark.parametrize("owner", [ONE, EARLIER, ME])
    def test_once_formed_nobody_founds_again(self, owner: Process) -> None:
        here = replace(BLANK, living=frozenset({ME}), gone=frozenset({ONE, TWO, EARLIER}))
        decision = decide(replace(FORMED, owner=owner), here)
        assert isinstance(decision, Wait)
        assert "'the/seed'" in decision.text

    def test_the_founder_and_the_first_to_join_are_asked_first(self) -> None:
        assert decide(FORMED, replace(BLANK, formed=(THREE, TWO, ONE))) == Join((ONE, TWO, THREE))

    def test_of_the_founder_no_report_is_needed(self) -> None:
        assert decide(FORMED, BLANK) == Join((ONE,))


class TestDone:
    """The process has founded or joined itself."""

    founder = replace(BLANK, done=OLD)
    joiner = replace(HOLDER, done=OLD, has_joined=True)

    def test_a_founder_says_so(self) -> None:
        assert decide(Claim(OLD, ME), self.founder) == Write(Claim(OLD, ME, Stage.FOUNDED))
        assert decide(Claim(OLD, ME, Stage.FOUNDED), self.founder) == Belong(settled=False)

    def test_a_founder_alone_for_long_says_so(self) -> None:
        claim, here = Claim(OLD, ME, Stage.FOUNDED), replace(self.founder, is_settled=True)
        assert decide(claim, here) == Write(replace(claim, stage=Stage.ALONE))
        assert decide(replace(claim, stage=Stage.ALONE), here) == Belong()

    def test_a_joiner_that_is_refused_does_not_keep_it_from_saying_so(self) -> None:
        claim, here = Claim(OLD, ME, Stage.FOUNDED, (TWO,)), replace(self.founder, is_settled=True)
        for gone in (frozenset[Process](), frozenset({TWO})):
            assert decide(claim, replace(here, gone=gone)) == Write(replace(claim, stage=Stage.ALONE))

    def test_a_joiner_says_that_it_is_formed(self) -> None:
        claim = replace(FOUNDED, joiners=(ME,))
        assert decide(claim, self.joiner) == Write(replace(claim, stage=Stage.FORMED))
        assert decide(replace(claim, stage=Stage.FORMED), self.joiner) == Belong()

    def test_a_claim_that_vanished_is_written_again(self) -> None:
        assert decide(None, self.founder) == Write(Claim(OLD, ME, Stage.FOUNDED))
        assert decide(None, self.joiner) == Write(Claim(OLD, ME, Stage.FORMED))

    @pytest.mark.parametrize("claim", [CLAIMED, FOUNDED, FORMED])
    def test_a_cluster_that_was_given_up_is_none(self, claim: Claim) -> None:
        lost = replace(HOLDER, is_lost=True, known=frozenset(), formed=(ONE,))
        decision = decide(claim, lost)
        assert isinstance(decision, Wait)
        assert decision.alarm
        assert "allow-reset:true" in decision.text
        assert not isinstance(decide(claim, replace(lost, may_reset=True)), Belong | Found)

    def test_unless_it_has_nothing_to_lose(self) -> None:
        assert decide(FORMED, replace(BLANK, is_lost=True, formed=(ONE,))) == Join((ONE,))


class TestHolder:
    """The node came with a cluster or data."""

    def test_it_says_that_a_cluster_is_formed(self) -> None:
        assert decide(None, HOLDER) == Write(Claim(TOKEN, ME, Stage.FORMED))
        assert decide(None, replace(HOLDER, known=frozenset({"n1"}))) == Write(Claim(TOKEN, ME, Stage.FORMED))
        assert decide(None, replace(HOLDER, known=frozenset())) == Write(Claim(TOKEN, ME, Stage.ALONE))

    def test_it_comes_before_who_has_only_claimed(self) -> None:
        assert decide(CLAIMED, HOLDER) == Write(Claim(TOKEN, ME, Stage.FORMED))

    @pytest.mark.parametrize("claim", [FOUNDED, ALONE])
    def test_but_not_before_who_has_founded(self, claim: Claim) -> None:
        decision = decide(claim, replace(HOLDER, known=frozenset()))
        assert isinstance(decision, Wait)
        assert decision.alarm

    def test_nor_while_that_one_is_dead_and_was_alone_for_long(self) -> None:
        here = replace(HOLDER, known=frozenset(), gone=frozenset({ONE}))
        assert isinstance(decide(ALONE, here), Wait)
        assert decide(FOUNDED, here) == Write(Claim(TOKEN, ME, Stage.ALONE))

    @pytest.mark.parametrize("claim", [FOUNDED, ALONE])
    def test_a_member_of_the_founders_cluster_says_that_it_is_formed(self, claim: Claim) -> None:
        here = replace(HOLDER, known=frozenset({"n1"}))
        assert decide(claim, here) == Write(replace(claim, stage=Stage.FORMED))

    @pytest.mark.parametrize("known", [None, frozenset({"n1"})])
    def test_so_does_a_joiner_that_was_restarted(self, known: frozenset[str] | None) -> None:
        claim = replace(FOUNDED, joiners=(EARLIER,))
        assert decide(claim, replace(HOLDER, known=known)) == Write(replace(claim, stage=Stage.FORMED))

    def test_a_founder_that_was_restarted_goes_on(self) -> None:
        here = replace(HOLDER, known=frozenset())
        for stage in (Stage.CLAIMED, Stage.FOUNDED, Stage.ALONE):
            assert decide(Claim(OLD, EARLIER, stage), here) == Write(Claim(OLD, ME, Stage.ALONE))
        assert decide(Claim(OLD, ME, Stage.ALONE), here) == Belong()

    def test_one_that_failed_half_way_goes_on(self) -> None:
        assert decide(Claim(OLD, ME), HOLDER) == Found()

    @pytest.mark.parametrize("known", [None, frozenset({"n1"}), frozenset({"n3"})])
    def test_a_member_belongs(self, known: frozenset[str] | None) -> None:
        assert decide(FORMED, replace(HOLDER, known=known, formed=(THREE,))) == Belong()

    def test_the_first_to_come_back_of_all_belongs(self) -> None:
        here = replace(HOLDER, known=frozenset({"others", "that", "sleep"}))
        assert decide(FORMED, here) == Belong()

    @pytest.mark.parametrize("known", [frozenset(), frozenset({"elsewhere"})])
    def test_a_stranger_does_not(self, known: frozenset[str]) -> None:
        here = replace(HOLDER, known=known, formed=(THREE,))
        decision = decide(FORMED, here)
        assert isinstance(decision, Wait)
        assert decision.alarm
        assert decide(FORMED, replace(here, may_reset=True)) == Join((ONE, THREE))

    def test_a_stranger_never_founds(self) -> None:
        here = replace(HOLDER, known=frozenset(), may_reset=True, is_lost=True)
        for claim in (*BEFORE_FORMED, FORMED, Claim(OLD, EARLIER, Stage.FOUNDED)):
            for gone in (frozenset(), frozenset(claim.named())):
                decision = decide(claim, replace(here, gone=gone))
                assert not isinstance(decision, Found)
                assert not (isinstance(decision, Write) and decision.claim.owner == ME)


class TestMend:
    member = replace(HOLDER, known=frozenset({"n1", "n2"}))

    def test_a_claim_that_is_well_is_left_alone(self) -> None:
        assert mend(FORMED, self.member) == Belong()
        assert mend(Claim(OLD, ME, Stage.ALONE), replace(self.member, known=frozenset())) == Belong()

    def test_a_founder_that_was_joined_behind_its_back_says_that_it_is_formed(self) -> None:
        claim = Claim(OLD, ME, Stage.ALONE, (ONE,))
        assert mend(claim, self.member) == Write(replace(claim, stage=Stage.FORMED))
        assert mend(claim, replace(self.member, known=None)) == Belong()

    def test_a_member_that_stays_takes_back_that_it_leaves(self) -> None:
        claim = replace(FORMED, leavers=(TWO, EARLIER))
        stays = Write(replace(FORMED, leavers=(TWO,)))
        assert mend(claim, self.member) == decide(claim, self.member) == stays
        assert decide(claim, replace(self.member, done=OLD, has_joined=True)) == stays
        assert mend(stays.claim, self.member) == Belong()

    def test_one_that_vanished_is_written(self) -> None:
        assert mend(None, self.member) == Write(Claim(TOKEN, ME, Stage.FORMED))
        assert mend(None, replace(self.member, known=frozenset())) == Write(Claim(TOKEN, ME, Stage.ALONE))

    def test_a_members_claim_is_completed(self) -> None:
        assert mend(FOUNDED, self.member) == Write(replace(FOUNDED, stage=Stage.FORMED))

    @pytest.mark.parametrize("stage", [Stage.CLAIMED, Stage.FOUNDED])
    def test_a_strangers_is_replaced_while_nobody_has_joined(self, stage: Stage) -> None:
        assert mend(Claim(OLD, THREE, stage), self.member) == Write(Claim(TOKEN, ME, Stage.FORMED))

    def test_and_complained_of_afterwards(self) -> None:
        decision = mend(Claim(OLD, THREE, Stage.FOUNDED, (process("n4"),)), self.member)
        assert isinstance(decision, Wait)
        assert decision.alarm
