"""What HTTP tells, without a socket: the journal's numbers, targets, readiness, and the token's file."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s3discovery.discovery import Discovery
from s3discovery.errors import SettingsError, UnreachableError
from s3discovery.http import openapi
from s3discovery.http.page import assembled
from s3discovery.http.targets import targets
from s3discovery.http.token import TokenFile
from s3discovery.node import Address, Member, Report
from s3discovery.observation.documents import is_ready, member_document, members_document, status_document
from s3discovery.observation.journal import KEPT, KINDS, Journal
from s3discovery.observation.moment import Moment
from s3discovery.running import ClusterState
from s3discovery.testing import FakeClock, MemoryBucket, make_settings

PORT = 7800


async def moment_of(**settings: str) -> Moment:
    clock = FakeClock()
    own = Member("own", Address("10.0.0.9", PORT))
    async with Discovery(make_settings(**settings), MemoryBucket(clock), own, clock=clock) as discovery:
        return Moment.of(discovery, clock)


def offered(hosts: dict[str, str], own: str | None = None) -> list[str]:
    members = [Member(cluster_id, Address(host, PORT)) for cluster_id, host in hosts.items()]
    found = targets(members, next((member for member in members if member.cluster_id == own), None))
    return [group["labels"]["__meta_s3discovery_cluster_id"] for group in found]


class TestJournal:
    async def noted(self, count: int) -> Journal:
        """A journal of so many events."""
        journal, moment = Journal(), await moment_of()
        for turn in range(count):  # one joined, all others moved
            other = Member("a", Address("10.0.0.1", PORT + turn % 2))
            assert journal.note(replace(moment, members=frozenset({other})), 0.0)
        assert journal.last == count
        return journal

    async def test_a_reader_is_given_what_came_after(self) -> None:
        journal = await self.noted(3)

        def after(number: int) -> list[int] | None:
            events = journal.since(number)
            return None if events is None else [event.number for event in events]

        assert after(0) == [1, 2, 3]
        assert after(2) == [3]
        assert after(3) == []
        assert after(4) is None
        assert after(-1) is None
        assert [event.number for event in journal.recent(2)] == [2, 3]

    async def test_what_is_forgotten_is_not_passed_over(self) -> None:
        journal = await self.noted(KEPT + 2)  # 1 and 2 are forgotten
        assert journal.since(1) is None
        events = journal.since(2)
        assert events is not None
        assert (len(events), events[0].number) == (KEPT, 3)

    async def told(self, **changes: Any) -> list[tuple[str, dict[str, Any]]]:
        """What a change of the status is told as."""
        journal, moment = Journal(), await moment_of()
        journal.note(moment, 0.0)
        seen = journal.last
        journal.note(replace(moment, status=replace(moment.status, **changes)), 0.0)
        return [(event.kind, event.data) for event in journal.since(seen) or ()]

    async def test_a_rival_and_a_lost_registration_are_told(self) -> None:
        rival = Member("own", Address("10.0.0.7", PORT))
        assert ("rival", {"address": "10.0.0.7:7800"}) in await self.told(rival=rival)
        assert ("registered", {"registered": False}) in await self.told(registered=False)

    def test_before_the_first_event_there_is_nothing_to_miss(self) -> None:
        assert Journal().since(0) == ()
        assert Journal().since(1) is None


class TestTargets:
    def test_nobody_is_sent_to_his_own_machine(self) -> None:
        hosts = {
            "any-4": "0.0.0.0",
            "any-6": "::",
            "group": "224.0.0.1",
            "link-4": "169.254.169.254",
            "link-6": "fe80::1",
            "link-clothed": "::ffff:169.254.169.254",
            "loop-4": "127.0.0.1",
            "loop-6": "::1",
            "loop-clothed": "::ffff:127.0.0.1",
            "loop-name": "LocalHost.",
            "loop-name-below": "x.localhost",
            "name": "node-1.example.com",
            "name-numbered": "10.0.0.example",
            "number": "2130706433",
            "number-dot": "2852039166.",
            "number-hex": "0x7f.1",
            "number-hex-last": "127.0x1",
            "number-short": "127.1",
            "private": "10.0.0.1",
            "private-6": "2001:db8::1",
            "reserved": "240.0.0.1",
            "this-network": "0.1.2.3",
        }
        others = ["name", "name-numbered", "private", "private-6"]
        assert offered(hosts) == others
        assert offered(hosts, own="private") == others
        loops = ["loop-4", "loop-6", "loop-clothed", "loop-name", "loop-name-below"]
        for own in loops:
            assert offered(hosts, own) == [*loops, *others]

    def test_an_observer_is_on_the_machine_that_all_nodes_are_on(self) -> None:
        local = {"a": "127.0.0.1", "b": "localhost", "c": "::1"}
        assert offered(local) == ["a", "b", "c"]
        assert offered(local | {"d": "10.0.0.1"}) == ["d"]
        assert offered(local | {"d": "169.254.1.1"}) == []
        assert offered(local | {"d": "10.0.0.1"}, own="d") == ["d"]

    def test_another_port_may_be_asked_for(self) -> None:
        member = Member("a", Address("2001:db8::1", PORT))
        assert targets([member], None, 9119)[0]["targets"] == ["[2001:db8::1]:9119"]
        assert targets([member], None)[0]["targets"] == ["[2001:db8::1]:7800"]


class TestMembers:
    async def test_whom_the_own_broker_does_not_see_is_told_at_once(self) -> None:
        moment = await moment_of()
        other = Member("a", Address("10.0.0.1", PORT), report=Report(missing=frozenset({"b"})))
        state = ClusterState("incomplete 1/2, waiting for 'a'", missing=frozenset({"a"}))
        moment = replace(moment, members=moment.members | {other}, cluster_state=state)
        told = {row["cluster_id"]: row["misses"] for row in members_document(moment)["members"]}
        assert told == {"a": ["b"], "own": ["a"]}


class TestDescription:
    async def test_nothing_is_told_that_is_not_described(self) -> None:
        """The schemas let new fields come; here none may be forgotten."""
        moment = await moment_of()
        other = Member("a", Address("10.0.0.1", PORT))
        moment = replace(
            moment,
            members=moment.members | {other},
            status=replace(moment.status, problems={"nodes/x": "garbage"}, rival=other),
        )
        schemas = openapi.document(with_metrics=True)["components"]["schemas"]
        assert list(undescribed(members_document(moment), schemas["Members"], schemas)) == []
        assert list(undescribed(status_document(moment), schemas["Status"], schemas)) == []
        member = {"at": 0.0, **member_document(other, moment)}
        assert list(undescribed(member, openapi.EVENTS["joined"], schemas)) == []
        assert list(undescribed(member | {"more": 1}, openapi.EVENTS["joined"], schemas)) == ["more"]

    async def test_every_event_is_described(self) -> None:
        assert openapi.EVENTS.keys() == {"snapshot", *KINDS}
        journal, moment = Journal(), await moment_of()
        journal.note(moment, 0.0)
        other = Member("a", Address("10.0.0.1", PORT), report=Report(is_formed=True))
        bad = replace(
            moment.status,
            error=UnreachableError("cut"),
            registered=False,
            rival=other,
            problems={"nodes/x": "garbage"},
            skew_s=900.0,
        )
        moved = replace(other, address=Address("10.0.0.2", PORT))
        for members, status in (({other}, bad), ({moved}, moment.status)):
            journal.note(replace(moment, members=frozenset(members), status=status), 0.0)
        events = journal.recent(KEPT)
        assert {event.kind for event in events} == set(KINDS)
        for event in events:
            schema = openapi.EVENTS[event.kind]
            assert list(undescribed({"at": 0.0, **event.data}, schema, {})) == [], event.kind
            assert {"at", *event.data} == set(schema["required"])

    def test_new_fields_may_come(self) -> None:
        assert "'additionalProperties': False" not in str(openapi.document(with_metrics=True))


def undescribed(told: Any, schema: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of `told` that `schema` does not name."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if isinstance(told, list):
        for each in told:
            yield from undescribed(each, schema["items"], schemas)
    if isinstance(told, dict):
        for name, field in told.items():
            if name not in schema["properties"]:
                yield name
            else:
                yield from undescribed(field, schema["properties"][name], schemas)


class TestReadiness:
    @pytest.mark.parametrize(("expiration", "limit_s"), [("60s", 60.0), ("0", 50.0)])
    async def test_an_old_listing_ends_it(self, expiration: str, limit_s: float) -> None:
        interval = "0" if expiration == "0" else "20s"
        seen = await moment_of(file_expiration=expiration, update_interval=interval, poll_interval="5s")
        status = replace(seen.status, registered=True, error=UnreachableError("cut"), listed_s=100.0)
        seen = replace(seen, status=status)
        assert is_ready(replace(seen, monotonic_s=100.0 + limit_s), is_node=True)[0]
        ready, reason = is_ready(replace(seen, monotonic_s=101.0 + limit_s), is_node=True)
        assert not ready
        assert reason == f"no complete listing for {limit_s + 1:.0f} s"


class TestTokenFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "token"
        path.write_text("first\n")
        return path

    def test_a_new_one_is_taken_up(self, path: Path) -> None:
        token = TokenFile(path)
        assert token() == "first"
        path.write_text("other\n")
        os.utime(path, ns=(1, 1))
        assert token() == "other"
        # As Kubernetes does it: another file in its place.
        path.with_name("next").write_text("third\n")
        path.with_name("next").rename(path)
        assert token() == "third"

    @pytest.mark.parametrize(
        "content", [None, b"", b" \n", b"\xff\xfe", b"\xef\xbb\xbfa", b"a\nb\n", b"a\x00"]
    )
    def test_the_last_one_holds_while_there_is_none(
        self, path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        token = TokenFile(path)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert [token() for _ in range(3)] == ["first"] * 3
        assert len(caplog.records) == 1
        assert "the last token holds" in caplog.text
        path.write_text("second-one\n")
        assert token() == "second-one"
        assert "first" not in caplog.text
        assert "second-one" not in caplog.text

    def test_there_must_be_one_at_first(self, path: Path) -> None:
        path.write_text("\n")
        with pytest.raises(SettingsError, match="is empty"):
            TokenFile(path)
        path.unlink()
        with pytest.raises(SettingsError, match="FileNotFoundError"):
            TokenFile(path)


@pytest.mark.parametrize(
    "directive",
    ["default-src 'none'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"],
)
def test_the_page_is_locked_up(directive: str) -> None:
    assert directive in assembled().policy.split("; ")
