"""What is wrong, from what is known: each case by itself, the worst first, nothing where nothing is."""

from dataclasses import replace

import pytest

from s3discovery.capabilities import OF_AWS
from s3discovery.discovery import Status
from s3discovery.errors import AccessDeniedError, UnreachableError
from s3discovery.node import Address, Member, Report
from s3discovery.observation.journal import KINDS, Journal
from s3discovery.observation.moment import Moment
from s3discovery.observation.troubles import BAD, NOTE, WARNING, Trouble, length, troubles
from s3discovery.running import ClusterState

NOW_S = 1_800_000_000.0


def member(name: str, *, age_s: float = 0.0, report: Report | None = None) -> Member:
    found = Member(name, Address("10.0.0.1", 7800), {"curve": "k"}, modified_s=NOW_S - age_s)
    return found if report is None else replace(found, report=report)


CALM = Moment(
    members=frozenset({member("a"), member("b")}),
    own=member("a"),
    status=Status(registered=True, listed_s=100.0, capabilities=OF_AWS),
    now_s=NOW_S,
    monotonic_s=101.0,
    expiration_s=60.0,
    update_interval_s=20.0,
    poll_interval_s=2.0,
    cluster_state=ClusterState("formed 2/2", is_whole=True, is_ready=True),
    bucket="bucket",
    prefix="nodes/",
)


def with_status(**changes: object) -> Moment:
    return replace(CALM, status=replace(CALM.status, **changes))  # type: ignore[arg-type] # fields of any type


def with_members(*members: Member) -> Moment:
    return replace(CALM, members=frozenset(members))


def only(moment: Moment) -> Trouble:
    (found,) = troubles(moment)
    assert found.title
    assert found.effect.endswith(".")
    assert found.cure.endswith(".")
    return found


def test_nothing_is_wrong_where_nothing_is() -> None:
    assert troubles(CALM) == ()
    assert troubles(replace(CALM, cluster_state=None, own=None)) == ()


@pytest.mark.parametrize(
    ("moment", "kind", "severity", "words"),
    [
        (with_status(error=UnreachableError("no route")), "store", BAD, "for 1 s: no route"),
        (with_status(error=UnreachableError("x"), listed_s=None), "store", BAD, "since the start: x"),
        (with_status(listed_s=None), "start", NOTE, "not been listed yet"),
        (with_status(listing_s=1.6), "slow", WARNING, "a listing takes 1.6 s"),
        (with_status(listing_s=0.1, asked_s=CALM.monotonic_s - 3), "slow", WARNING, "a listing takes 3.0 s"),
        (with_status(asked_s=0.0, listed_s=None), "slow", WARNING, "a listing takes"),
        (with_status(write_error=AccessDeniedError("no s3:PutObject")), "write", BAD, "no s3:PutObject"),
        (with_status(read_error=AccessDeniedError("no s3:GetObject")), "read", WARNING, "no s3:GetObject"),
        (with_status(rival=member("a")), "rival", BAD, "10.0.0.1:7800 uses the cluster id a"),
        (
            with_status(problems={"nodes/x": "is empty"}),
            "files",
            WARNING,
            "1 file cannot be used: nodes/x (is",
        ),
        (with_status(skew_s=7200.0), "clock", WARNING, "2 h 0 min ahead of"),
        (with_status(skew_s=-90.0), "clock", WARNING, "90 s behind"),
        (with_status(credentials_until_s=NOW_S + 200), "credentials", WARNING, "end in 3 min"),
        (with_status(credentials_until_s=NOW_S - 1), "credentials", BAD, "have ended"),
        (
            with_status(capabilities=replace(OF_AWS, conditional_write=False)),
            "capability-conditional_write",
            NOTE,
            "does not honour conditional write",
        ),
        (with_members(), "empty", NOTE, "Nobody is there"),
        (
            replace(CALM, cluster_state=ClusterState("incomplete 1/2, waiting for 'b'")),
            "broker",
            WARNING,
            "waiting for 'b'",
        ),
        (
            replace(CALM, cluster_state=ClusterState("incomplete 2/3, waiting for 'c'", is_ready=True)),
            "missing",
            WARNING,
            "waiting for 'c'",
        ),
        (replace(CALM, cluster_state=ClusterState()), "broker", WARNING, "not there yet"),
        (with_members(member("a"), member("b", age_s=30)), "late", WARNING, "1 node is late: b"),
        (
            with_members(member("a"), member("b", report=Report(False))),
            "waiting",
            WARNING,
            "1 node is not in the cluster yet: b",
        ),
        (
            with_members(
                *(
                    member(name, report=Report(None, frozenset({"c"} if name == "a" else ())))
                    for name in "abc"
                )
            ),
            "gaps",
            WARNING,
            "a does not see c",
        ),
        (
            with_members(
                member("a", report=Report(True, frozenset({"b"}))),
                member("b", report=Report(True, frozenset({"a"}))),
            ),
            "split",
            BAD,
            "into 2 parts, of 1 and 1 nodes",
        ),
    ],
)
def test_each_by_itself(moment: Moment, kind: str, severity: str, words: str) -> None:
    found = only(moment)
    assert (found.kind, found.severity) == (kind, severity)
    assert words in found.title


def test_a_listing_of_usual_length_is_no_trouble() -> None:
    assert troubles(with_status(listing_s=0.9)) == ()
    assert troubles(with_status(asked_s=CALM.monotonic_s - 0.9)) == ()


def test_an_outage_is_told_once_and_by_what_is_known() -> None:
    error, status = UnreachableError("no route"), CALM.status
    known = only(replace(CALM, status=replace(status, error=error, write_error=UnreachableError("no way"))))
    assert "as they were last seen, and the broker keeps its peers." in known.effect
    assert "drop this node" in known.effect
    unknown = only(
        replace(CALM, own=None, cluster_state=None, status=replace(status, error=error, listed_s=None))
    )
    assert unknown.effect == "The members are not known. Attempts go on."
    both = troubles(with_status(error=error, write_error=AccessDeniedError("no s3:PutObject")))
    assert [trouble.kind for trouble in both] == ["store", "write"]
    denied = AccessDeniedError("no s3:ListBucket")
    rights = troubles(with_status(error=denied, write_error=AccessDeniedError("no s3:PutObject")))
    assert [trouble.kind for trouble in rights] == ["store", "write"]


def test_the_worst_comes_first_and_long_lists_are_cut() -> None:
    members = [member(f"n{number}", age_s=40) for number in range(9)]
    every = troubles(
        replace(
            with_status(skew_s=99.0, rival=member("a")),
            members=frozenset(members),
            cluster_state=ClusterState(),
        )
    )
    assert [trouble.severity for trouble in every] == [BAD, WARNING, WARNING, WARNING]
    late = next(trouble for trouble in every if trouble.kind == "late")
    assert late.title == "9 nodes are late: n0, n1, n2, n3, n4 and 4 more"
    assert "The first expires in 20 s." in late.effect


def test_who_is_late_is_judged_by_the_last_listing() -> None:
    """In an outage nobody can write: who was late then is late still, and nobody else becomes it."""
    down = with_status(error=UnreachableError("x"), listed_s=101.0 - 30)
    kinds = [trouble.kind for trouble in troubles(replace(down, members=frozenset({member("b", age_s=50)})))]
    assert kinds == ["store"]
    kinds = [trouble.kind for trouble in troubles(replace(down, members=frozenset({member("b", age_s=59)})))]
    assert kinds == ["store", "late"]


@pytest.mark.parametrize(("age_s", "is_late"), [(27.9, False), (28.1, True)])
def test_who_is_late_may_have_written_since_the_last_listing_but_one(age_s: float, is_late: bool) -> None:
    """20 s of update interval, a quarter of it, and 2 s between polls; listed a second ago."""
    found = troubles(with_members(member("a"), member("b", age_s=age_s)))
    assert [trouble.kind for trouble in found] == (["late"] if is_late else [])


def test_nobody_is_late_who_need_not_write() -> None:
    late = frozenset({member("b", age_s=50)})
    assert troubles(replace(CALM, members=late, update_interval_s=0.0, expiration_s=0.0)) == ()
    assert troubles(replace(CALM, members=late, now_s=None)) == ()


def test_small_errors_of_clocks_and_credentials_that_are_renewed_are_none() -> None:
    assert troubles(with_status(skew_s=59.0, credentials_until_s=NOW_S + 301)) == ()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (6000, "1 h 40 min"), (200_000, "2 d")]
)
def test_lengths_in_words(seconds: float, text: str) -> None:
    assert length(seconds) == text


class TestJournal:
    def test_troubles_without_an_event_of_their_own_come_and_go(self) -> None:
        journal = Journal()
        journal.note(CALM, 1.0)
        journal.note(with_status(skew_s=99.0, error=UnreachableError("x")), 2.0)
        journal.note(CALM, 3.0)
        found = [(event.kind, event.data.get("kind")) for event in journal.recent(4)]
        assert found == [("store", None), ("trouble", "clock"), ("store", None), ("cured", "clock")]
        assert {kind for kind, _ in found} <= set(KINDS)

    def test_the_last_events_are_told_the_oldest_first(self) -> None:
        journal = Journal()
        journal.note(CALM, 1.0)
        assert [event.number for event in journal.recent(1)] == [2]
        assert [event.number for event in journal.recent(99)] == [1, 2]
        assert journal.recent(0) == ()
