"""Who is a member: the rules one by one, with times written out."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from s3discovery import codec
from s3discovery.bucket import Entry, Listing, Stored
from s3discovery.membership import (
    Change,
    Expiry,
    Reading,
    View,
    assess,
    difference,
    is_expired,
    own_metadata,
    postpone,
    read,
    reject,
    unread,
)
from s3discovery.node import Address, Member, NodeFile, Report
from s3discovery.topology import decode_report, encode_report

PREFIX = "nodes/"
OWN_KEY = "nodes/own"
EXPIRY = Expiry(file_expiration_s=60, update_interval_s=20, poll_interval_s=5)
OFF = Expiry(file_expiration_s=0, update_interval_s=0, poll_interval_s=5)
NOW_S = 1_800_000_000.0


def member(cluster_id: str, *, age_s: float = 0, etag: str = "e1", port: int = 7800) -> Member:
    return Member(cluster_id, Address(f"{cluster_id}.example", port), etag=etag, modified_s=NOW_S - age_s)


def entry(cluster_id: str, *, age_s: float = 0, etag: str = "e1", now_s: float = NOW_S) -> Entry:
    return Entry(PREFIX + cluster_id, etag, now_s - age_s, 60)


def known(*members: Member) -> dict[str, Reading]:
    return {PREFIX + each.cluster_id: Reading(each.etag, each) for each in members}


def look(
    *entries: Entry,
    readings: Mapping[str, Reading],
    previous: View | None = None,
    expiry: Expiry = EXPIRY,
    now_s: float | None = NOW_S,
    monotonic_s: float = 100.0,
    own_key: str | None = OWN_KEY,
    is_tampered: bool = False,
    is_after_failure: bool = False,
    own_incarnation: str | None = None,
) -> View:
    return assess(
        previous or View(),
        Listing(entries, now_s),
        readings,
        expiry,
        prefix=PREFIX,
        own_key=own_key,
        is_tampered=is_tampered,
        is_after_failure=is_after_failure,
        own_incarnation=own_incarnation,
        now_s=now_s,
        monotonic_s=monotonic_s,
    )


def body(cluster_id: str, version: str = "1") -> bytes:
    return codec.encode(NodeFile(version, 1, cluster_id, Address("h.example", 7800)), version)


def test_a_file_that_this_process_had_under_another_id_is_no_peer() -> None:
    mine = replace(member("old"), metadata={"incarnation": "1-a"})
    view = look(entry("old"), entry("b"), readings=known(mine, member("b")), own_incarnation="1-a")
    assert set(view.peers) == {"b"}
    assert not view.expired


class TestExpiry:
    @pytest.mark.parametrize(
        ("age_s", "expiration_s", "expired"),
        [
            (59.9, 60, False),
            (60, 60, False),
            (60.1, 60, True),
            (1e12, 0, False),
            (-5, 60, False),
            (-5, 0, False),
            (0, 60, False),
        ],
    )
    def test_the_limit_itself_is_alive_and_0_is_never(
        self, age_s: float, expiration_s: float, expired: bool
    ) -> None:
        assert is_expired(age_s=age_s, expiration_s=expiration_s) is expired

    def test_by_the_age_in_the_listing_not_by_what_was_read_then(self) -> None:
        old = member("a", age_s=1000)
        assert set(look(entry("a"), readings=known(old)).peers) == {"a"}
        assert not look(entry("a", age_s=61), readings=known(replace(old, modified_s=NOW_S))).peers

    def test_a_file_from_the_future_is_alive(self) -> None:
        assert set(look(entry("a", age_s=-7200), readings=known(member("a"))).peers) == {"a"}

    def test_without_a_time_of_the_store_nobody_expires(self) -> None:
        view = look(entry("a", age_s=1e6), readings=known(member("a")), now_s=None)
        assert set(view.peers) == {"a"}
        assert not view.expired

    def test_expiry_off(self) -> None:
        assert set(look(entry("a", age_s=1e9), readings=known(member("a")), expiry=OFF).peers) == {"a"}

    def test_the_time_in_the_body_does_not_count(self) -> None:
        lying = replace(member("a"), written_ms=1)
        assert set(look(entry("a"), readings=known(lying)).peers) == {"a"}


class TestClearing:
    def test_only_what_stayed_expired_for_as_long_as_the_living_may_take(self) -> None:
        dead, readings = entry("a", age_s=61), known(member("a"))
        view = look(dead, readings=readings, monotonic_s=100)
        assert view.expired == {dead.key: ("e1", 100)}
        # An update interval of 20 s, and twice as much for what may be in the way.
        for monotonic_s in range(100, 161, 5):
            view = look(dead, readings=readings, previous=view, monotonic_s=monotonic_s)
            assert view.ripe == ()
        assert view.expired == {dead.key: ("e1", 100)}
        assert look(dead, readings=readings, previous=view, monotonic_s=161).ripe == (dead,)

    def test_a_refresh_between_the_polls_starts_over(self) -> None:
        readings = known(member("a", etag="e2"))
        first = look(entry("a", age_s=61), readings=known(member("a")))
        again = look(entry("a", age_s=62, etag="e2"), readings=readings, previous=first, monotonic_s=500)
        assert again.ripe == ()

    def test_what_is_no_node_file_is_never_cleared(self) -> None:
        readings = {PREFIX + "a": Reading("e1", None, "is empty")}
        dead = entry("a", age_s=1e6)
        first = look(dead, readings=readings)
        assert look(dead, readings=readings, previous=first, monotonic_s=500).ripe == ()

    def test_what_was_a_node_file_and_is_none_now_is_not_cleared_either(self) -> None:
        readings = {PREFIX + "a": Reading("e2", member("a"), "is empty")}
        dead = entry("a", age_s=1e6, etag="e2")
        first = look(dead, readings=readings)
        assert first.peers == {}
        assert look(dead, readings=readings, previous=first, monotonic_s=500).ripe == ()

    def test_never_the_own_file(self) -> None:
        own, readings = entry("own", age_s=1e6), known(member("own"))
        first = look(own, readings=readings)
        second = look(own, readings=readings, previous=first, monotonic_s=500)
        assert not first.expired
        assert not second.ripe
        assert not second.peers

    def test_an_observer_sees_its_own_id_as_any_other(self) -> None:
        assert set(look(entry("own"), readings=known(member("own")), own_key=None).peers) == {"own"}


class TestUnreadable:
    def test_a_file_not_read_yet_is_told_and_hides_nobody(self) -> None:
        view = look(entry("a"), entry("b"), readings=known(member("b")))
        assert set(view.peers) == {"b"}
        assert view.problems == {PREFIX + "a": "could not be read yet"}

    def test_a_known_node_stays_while_its_entry_is_fresh(self) -> None:
        readings = {PREFIX + "a": Reading("e2", member("a"), "is empty")}
        assert set(look(entry("a", age_s=59, etag="e2"), readings=readings).peers) == {"a"}
        assert not look(entry("a", age_s=61, etag="e2"), readings=readings).peers

    def test_garbage_is_told_with_its_reason(self) -> None:
        view = look(entry("a"), readings={PREFIX + "a": Reading("e1", None, "is empty")})
        assert view.problems == {PREFIX + "a": "is empty"}
        assert view.peers == {}


class TestReports:
    def test_digests_in_reports_are_names_again_the_own_one_too(self) -> None:
        others = frozenset(f"broker-{number:03}.mqtt.example" for number in range(50))
        metadata = encode_report(Report(True, others | {"own"}), "a")
        told = replace(member("a"), report=decode_report(metadata))
        assert told.report.digests
        b = "broker-007.mqtt.example"
        peers = look(entry("a"), entry(b), readings=known(told, member(b))).peers
        assert peers["a"].report == Report(True, frozenset({b, "own"}))


class TestCarried:
    """A bucket wiped from outside empties no cluster."""

    def carry(self) -> tuple[View, dict[str, Reading]]:
        readings = known(member("a", age_s=10), member("b", age_s=50))
        before = look(entry("own"), entry("a", age_s=10), entry("b", age_s=50), readings=readings)
        assert set(before.peers) == {"a", "b"}
        return before, readings

    def after(self, previous: View, seconds: float, *entries: Entry, is_tampered: bool) -> View:
        return look(
            *entries,
            readings={},
            previous=previous,
            is_tampered=is_tampered,
            now_s=NOW_S + seconds,
            monotonic_s=100 + seconds,
        )

    def test_peers_stay_when_the_own_file_vanished_with_theirs(self) -> None:
        before, _ = self.carry()
        wiped = self.after(before, 5, is_tampered=True)
        assert set(wiped.peers) == {"a", "b"}
        assert wiped.carried == {"a", "b"}

    def test_they_stay_after_the_own_file_is_back_until_they_would_have_expired(self) -> None:
        before, _ = self.carry()
        view = self.after(before, 5, is_tampered=True)
        for seconds in range(10, 65, 5):
            view = self.after(view, seconds, entry("own", now_s=NOW_S + seconds), is_tampered=False)
            # They were 10 and 50 s old when they vanished, and 60 s is the limit.
            alive = {"a": seconds <= 50, "b": seconds <= 10}
            assert set(view.peers) == {name for name, lives in alive.items() if lives}, seconds

    def test_a_file_that_comes_back_is_no_longer_carried(self) -> None:
        before, readings = self.carry()
        wiped = self.after(before, 5, is_tampered=True)
        back = look(entry("own"), entry("a"), readings=readings, previous=wiped)
        assert back.carried == {"b"}
        gone = look(entry("own"), readings=readings, previous=back)
        assert set(gone.peers) == {"b"}

    def test_a_peer_that_leaves_alone_is_gone_at_once(self) -> None:
        before, _ = self.carry()
        left = self.after(before, 5, entry("own"), is_tampered=False)
        assert left.peers == {}

    def test_peers_stay_when_the_own_file_was_overwritten_as_theirs_vanished(self) -> None:
        before, _ = self.carry()
        assert set(self.after(before, 5, entry("own", etag="e2"), is_tampered=True).peers) == {"a", "b"}


class TestMercy:
    """After a gap the living get an update interval, and the slack of their retries, to come back."""

    # A poll interval and half of expiration - interval: what needs no mercy is up to 5 + 20 s.
    LONGEST_GAP_S = 25.0
    SLACK_S = 40.0  # two update intervals, being less than 45 s

    def gap(
        self, monotonic_gap_s: float, *, store_gap_s: float | None = None, expiry: Expiry = EXPIRY
    ) -> tuple[View, float, float]:
        """Return the view after a gap, with its store's and monotonic time; `a` was not refreshed in it."""
        readings = known(member("a"))
        before = look(entry("a"), readings=readings, expiry=expiry)
        now_s = NOW_S + (monotonic_gap_s if store_gap_s is None else store_gap_s)
        monotonic_s = 100 + monotonic_gap_s
        after = look(
            Entry(PREFIX + "a", "e1", NOW_S, 60),
            readings=readings,
            previous=before,
            expiry=expiry,
            now_s=now_s,
            monotonic_s=monotonic_s,
        )
        return after, now_s, monotonic_s

    @pytest.mark.parametrize(
        ("gap_s", "mercy"), [(5, False), (LONGEST_GAP_S, False), (LONGEST_GAP_S + 1, True), (86_400, True)]
    )
    def test_a_gap_longer_than_retries_explain_gives_mercy(self, gap_s: float, mercy: bool) -> None:
        view, _, monotonic_s = self.gap(gap_s)
        wanted = monotonic_s + EXPIRY.update_interval_s + self.SLACK_S if mercy else 0
        assert view.mercy_until_s == wanted
        assert set(view.peers) == {"a"}

    def test_a_leap_of_the_stores_clock_is_a_gap_too(self) -> None:
        view, _, monotonic_s = self.gap(5, store_gap_s=7200)
        assert view.mercy_until_s == monotonic_s + 60
        assert set(view.peers) == {"a"}

    def test_the_dead_go_when_the_mercy_is_over(self) -> None:
        view, now_s, monotonic_s = self.gap(3600)
        listed = Entry(PREFIX + "a", "e1", NOW_S, 60)
        for later_s in range(5, 75, 5):
            view = look(
                listed,
                readings=known(member("a")),
                previous=view,
                now_s=now_s + later_s,
                monotonic_s=monotonic_s + later_s,
            )
            assert set(view.peers) == ({"a"} if later_s < 60 else set()), later_s

    @pytest.mark.parametrize(("age_before_s", "is_alive"), [(60, True), (61, False)])
    def test_a_stranger_is_not_charged_for_the_gap(self, age_before_s: float, is_alive: bool) -> None:
        view, now_s, monotonic_s = self.gap(3600)
        stranger = Entry(PREFIX + "x", "e1", NOW_S - age_before_s, 60)
        readings = known(member("a"), member("x"))
        later = look(stranger, readings=readings, previous=view, now_s=now_s, monotonic_s=monotonic_s)
        assert set(later.peers) == ({"x"} if is_alive else set())
        assert set(later.expired) == (set() if is_alive else {stranger.key})

    def test_a_process_whose_first_listings_failed_is_merciful_too(self) -> None:
        begun = View(monotonic_s=100)
        files = [entry("a", age_s=3650), entry("b", age_s=3670)]
        readings = known(member("a"), member("b"))
        first = look(*files, readings=readings, previous=begun, monotonic_s=3700, is_after_failure=True)
        assert set(first.peers) == {"a"}, "a was 50 s old when the outage was met, b was 70 s"

    @pytest.mark.parametrize(("gap_s", "is_merciful"), [(20, False), (21, True)])
    def test_after_failures_the_whole_gap_counts(self, gap_s: float, is_merciful: bool) -> None:
        before = look(entry("a"), readings=known(member("a")))
        after = look(previous=before, readings={}, monotonic_s=100 + gap_s, is_after_failure=True)
        assert (after.mercy_until_s > 0) is is_merciful

    def test_the_slack_is_at_most_45_s(self) -> None:
        slow = Expiry(file_expiration_s=21_600, update_interval_s=10_800, poll_interval_s=60)
        view, _, monotonic_s = self.gap(5461, expiry=slow)
        assert view.mercy_until_s == monotonic_s + 10_800 + 45

    def test_expiry_off_needs_no_mercy(self) -> None:
        assert self.gap(86_400, expiry=OFF)[0].mercy_until_s == 0

    def test_a_first_look_needs_no_mercy(self) -> None:
        assert look(entry("a"), readings=known(member("a"))).mercy_until_s == 0


class TestReading:
    def stored(self, body: bytes, metadata: Mapping[str, str] | None = None) -> Stored:
        return Stored(body, "e9", 5.0, metadata or {})

    def test_a_node_file_is_a_member(self) -> None:
        reading = read(entry("a"), self.stored(body("a", "4"), {"s3discovery-key": "k"}), PREFIX, None)
        assert reading == Reading("e9", Member("a", Address("h.example", 7800), {"key": "k"}))
        assert reading.member is not None
        assert (reading.member.version, reading.member.etag, reading.member.modified_s) == ("4", "e9", 5.0)

    def test_another_nodes_file_under_this_key_is_a_problem(self) -> None:
        before = Reading("e1", member("a"))
        reading = read(entry("a"), self.stored(body("b")), PREFIX, before)
        assert reading == Reading("e9", before.member, "is of node 'b', which is not its key")

    @pytest.mark.parametrize("garbage", [b"", bytes(range(256)), b"OXx8fA==", body("a")[:-20]])
    def test_garbage_keeps_what_was_known(self, garbage: bytes) -> None:
        reading = read(entry("a"), self.stored(garbage), PREFIX, Reading("e1", member("a")))
        assert reading.member == member("a")
        assert reading.problem

    def test_a_rejected_file_is_read_again_only_when_it_changes(self) -> None:
        row = entry("a", etag="e5")
        reading = reject(row, "has 9999 bytes", Reading("e1", member("a")))
        assert reading == Reading("e5", member("a"), "has 9999 bytes")
        assert unread(Listing((row,), None), {row.key: reading}, None) == ()

    @pytest.mark.parametrize("before", [None, Reading("e1", member("a"))])
    def test_a_postponed_file_is_read_again_at_the_next_poll(self, before: Reading | None) -> None:
        reading = postpone("no permission", before)
        assert reading.member == (before.member if before else None)
        assert unread(Listing((entry("a"),), None), {PREFIX + "a": reading}, None) == (entry("a"),)

    def test_only_new_and_changed_files_are_read_never_the_own(self) -> None:
        listing = Listing((entry("own"), entry("new"), entry("same"), entry("changed", etag="e2")), None)
        readings = known(member("same"), member("changed"))
        assert [row.key for row in unread(listing, readings, OWN_KEY)] == ["nodes/new", "nodes/changed"]

    def test_metadata_of_others_and_values_that_could_break_a_line_are_dropped(self) -> None:
        found = own_metadata({"s3discovery-a": "1", "other": "2", "s3discovery-b": "x\ny"})
        assert found == {"a": "1"}


class TestDifference:
    def test_every_kind_in_order_of_id(self) -> None:
        before = {"gone": member("gone"), "moved": member("moved"), "same": member("same")}
        after = {"new": member("new"), "moved": member("moved", port=7801), "same": member("same", etag="e2")}
        assert difference(before, after) == (
            Change("left", member("gone")),
            Change("moved", member("moved", port=7801), member("moved")),
            Change("joined", member("new")),
        )

    def test_a_refresh_is_no_change(self) -> None:
        assert difference({"a": member("a")}, {"a": member("a", etag="e2", age_s=9)}) == ()

    def test_another_process_at_the_same_place_is_a_move(self) -> None:
        restarted = replace(member("a"), metadata={"incarnation": "2"})
        assert [change.kind for change in difference({"a": member("a")}, {"a": restarted})] == ["moved"]
