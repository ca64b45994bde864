"""What cluster there is, from what every node reports; whatever the reports are."""

from dataclasses import replace

import pytest

from s3discovery.node import NO_REPORT, Address, Member, Report
from s3discovery.topology import (
    MISSING,
    STATE,
    Topology,
    decode_report,
    encode_report,
    spelled_out,
    standings,
    topology,
    without_report,
)

ADDRESS = Address("h.example", 7800)


def member(name: str, is_formed: bool | None = True, *missing: str) -> Member:
    return Member(name, ADDRESS, report=Report(is_formed, frozenset(missing)))


class TestReport:
    @pytest.mark.parametrize(
        "report",
        [
            NO_REPORT,
            Report(True),
            Report(False),
            Report(None, frozenset({"a"})),
            Report(True, frozenset({"rabbit@a", "b,c", "ü %2C"})),
        ],
    )
    def test_what_was_written_is_read(self, report: Report) -> None:
        assert decode_report(encode_report(report, "x")) == report

    def test_nothing_is_written_for_nothing(self) -> None:
        assert encode_report(NO_REPORT, "x") == {}

    def test_it_fits_into_metadata(self) -> None:
        for missing in ([f"node-{number:04d}" for number in range(1000)], ["a", "b" * 999, "ü" * 500, "z"]):
            written = encode_report(Report(True, frozenset(missing)), "x")
            assert len(written[MISSING]) <= 1001
            assert decode_report(written).digests

    @pytest.mark.parametrize(
        ("count", "parts", "form"),
        [
            (60, 2, "ip-10-0-17-{}.eu-central-1.compute.internal"),
            *((500, parts, "n{}") for parts in (2, 3, 7)),
        ],
    )
    def test_parts_that_do_not_see_one_another_are_found_whatever_their_names(
        self, count: int, parts: int, form: str
    ) -> None:
        names = [form.format(number) for number in range(count)]
        members: dict[str, Member] = {}
        for part in range(parts):
            own = names[part::parts]
            for name in own:
                report = decode_report(encode_report(Report(None, frozenset(names).difference(own)), name))
                assert report.digests
                members[name] = Member(name, ADDRESS, report=report)
        observer = members.pop(names[0])
        told = spelled_out(members, names[0])
        assert all(not member.report.digests for member in told.values())
        assert any(names[0] in member.report.missing for member in told.values())
        missing = frozenset(names).difference(names[0::parts])
        found = topology([replace(observer, report=Report(None, missing)), *told.values()])
        assert {frozenset(group) for group in found.groups} == {
            frozenset(names[part::parts]) for part in range(parts)
        }
        assert found.gaps == ()

    def test_digests_of_nobody_say_nothing(self) -> None:
        report = decode_report({MISSING: "#AAAA,BB", STATE: "formed"})
        assert report.digests == {"AAAA"}
        assert spelled_out({"a": Member("a", ADDRESS, report=report)}, None)["a"].report == Report(True)

    @pytest.mark.parametrize(
        "metadata",
        [
            {STATE: "FORMED"},
            {STATE: ""},
            {STATE: "formed,blank"},
            {MISSING: ""},
            {MISSING: ",,,"},
            {MISSING: "%00%0a,%ff"},
            {MISSING: "%"},
        ],
    )
    def test_what_is_not_understood_counts_as_not_said(self, metadata: dict[str, str]) -> None:
        report = decode_report(metadata)
        assert report.is_formed is None
        assert not any(char in name for name in report.missing for char in "\x00\n")

    def test_it_is_no_other_metadata(self) -> None:
        metadata = {STATE: "formed", MISSING: "a", "curve": "key"}
        assert without_report(metadata) == {"curve": "key"}


class TestTopology:
    def test_nobody(self) -> None:
        assert topology([]) == Topology()
        assert topology([]).is_whole

    def test_whole(self) -> None:
        whole = topology([member("c"), member("a"), member("b")])
        assert whole.groups == (("a", "b", "c"),)
        assert whole.is_whole
        assert not whole.is_split
        assert str(whole) == "formed 3/3"

    def test_brokers_without_a_state(self) -> None:
        amqtt = [replace(member(name, None), metadata={"curve": "key"}) for name in ("a", "b")]
        assert str(topology(amqtt)) == "formed 2/2"
        assert topology(amqtt).is_whole

    def test_where_no_broker_can_tell_nothing_is_claimed(self) -> None:
        silent = [replace(member(name, None), metadata={"incarnation": "1"}) for name in ("a", "b")]
        found = topology(silent)
        assert str(found) == "2 members, none tells of its broker"
        assert not found.is_whole
        assert not found.is_split

    def test_nobody_waits_for_one_that_cannot_tell_beside_brokers_that_can(self) -> None:
        telling = [replace(member(name, None), metadata={"curve": "key"}) for name in ("a", "b")]
        found = topology([*telling, member("c", None)])
        assert found.strangers == ("c",)
        assert found.groups == (("a", "b"),)
        assert found.is_told
        assert found.is_whole
        assert not found.waiting
        assert str(found) == "formed 2/2; c beside, telling nothing"
        assert standings(found) == {"a": "in the cluster", "b": "in the cluster", "c": "tells nothing"}

    def test_one_that_cannot_tell_joins_no_parts(self) -> None:
        apart = {"a": "c", "b": "c", "c": "ab"}
        halves = [
            replace(member(name, None, *missing), metadata={"curve": "key"})
            for name, missing in apart.items()
        ]
        formed = [member(name, True, *missing) for name, missing in apart.items()]
        for telling in (halves, formed):
            found = topology([*telling, member("hivemq", None)])
            assert found.groups == (("a", "b"), ("c",))
            assert found.strangers == ("hivemq",)

    def test_one_report_does_not_decide_for_those_who_are_silent(self) -> None:
        """Brokers without metadata: nothing is claimed of them, until one of them misses another."""
        silent = [member(name, None) for name in "bcd"]
        found = topology([member("a", None, "b"), *silent])
        assert found.groups == (("a", "b", "c", "d"),)
        assert found.gaps == (("a", "b"),)
        assert found.waiting == ()

    def test_waiting(self) -> None:
        waiting = topology([member("a"), member("b"), member("c", False)])
        assert waiting.waiting == ("c",)
        assert not waiting.is_whole
        assert str(waiting) == "waiting for c (2/3)"

    def test_all_waiting(self) -> None:
        assert str(topology([member("a", False), member("b", False)])) == "waiting for a, b (0/2)"

    def test_split(self) -> None:
        split = topology(
            [member("a", True, "c"), member("b", True, "c"), member("c", True, "a", "b"), member("d", False)]
        )
        assert split.is_split
        assert not split.is_whole
        assert split.groups == (("a", "b"), ("c",))
        assert str(split) == "split: a,b | c"

    def test_one_side_telling_is_enough(self) -> None:
        assert topology([member("a", True, "b"), member("b")]).is_split

    def test_a_gap_is_no_split(self) -> None:
        gap = topology([member("a", True, "b"), member("b", True, "a"), member("c")])
        assert not gap.is_split
        assert gap.gaps == (("a", "b"), ("b", "a"))
        assert str(gap) == "incomplete: a does not see b, b does not see a"

    def test_a_few_are_named_and_the_others_counted(self) -> None:
        names = [f"n{number}" for number in range(8)]
        gaps = topology([member("a", True, *names), *(member(name, True) for name in (*names, "z"))])
        assert len(str(gaps)) < 200
        gaps = Topology((("a", *names),), (), tuple(("a", name) for name in names))
        assert str(gaps).endswith("a does not see n4, 3 more")
        assert str(Topology((("a",),), tuple(names))) == "waiting for n0, n1, n2, n3, n4, 3 more (1/9)"
        assert str(Topology((("a",),), tuple(names[:5]))) == "waiting for n0, n1, n2, n3, n4 (1/6)"
        split = Topology((tuple(names), *((f"m{number}",) for number in range(6))))
        assert str(split) == "split: n0,n1,n2,n3,n4,3 more | m0 | m1 | m2 | m3 | 2 more"

    def test_a_peer_that_tells_nothing_and_is_seen_by_nobody_is_waited_for(self) -> None:
        silent = topology([member("a", True, "x"), member("b", True, "x"), member("x", None)])
        assert not silent.is_split
        assert silent.waiting == ("x",)

    def test_who_is_missed_and_no_member_makes_no_difference(self) -> None:
        assert topology([member("a", True, "gone", "a"), member("b")]).is_whole

    def test_two_nodes_that_have_each_lost_the_other(self) -> None:
        assert str(topology([member("a", True, "b"), member("b", True, "a")])) == "split: a | b"

    def test_hostile_names_break_no_line(self) -> None:
        hostile = decode_report({STATE: "formed", MISSING: "%0a%1b[2J"})
        shown = str(topology([Member("a", ADDRESS, report=hostile), member("b")]))
        assert "\n" not in shown
        assert "\x1b" not in shown
