"""What an examination finds, names and shows, as far as no server is needed."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s3discovery.bucket import Bucket, Entry, Listing, Stored, Written
from s3discovery.credentials import Credentials
from s3discovery.discovery import Discovery
from s3discovery.doctor import Finding, Verdict, as_json, exit_code, worst
from s3discovery.doctor.configuration import examine_configuration
from s3discovery.doctor.diagnosis import Asked, diagnose, explain_denial, split_cure
from s3discovery.doctor.examination import _Protocol
from s3discovery.doctor.faults import FAULTS, report
from s3discovery.doctor.finding import CHECKS, not_reached, not_tried, ok
from s3discovery.doctor.identity import judge_keys, shorten
from s3discovery.doctor.neighbours import judge_address, judge_files, read_files
from s3discovery.doctor.permissions import Permissions
from s3discovery.doctor.probe import Probe
from s3discovery.doctor.show import Table
from s3discovery.errors import (
    AccessDeniedError,
    AddressError,
    BucketError,
    CredentialsError,
    ProxyError,
    StoreFaultError,
    UnreachableError,
    WrongRegionError,
)
from s3discovery.membership import is_probe
from s3discovery.node import Address, Member
from s3discovery.own_address import Located
from s3discovery.s3.location import locate
from s3discovery.settings.config import Secret
from s3discovery.testing import FakeClock, MemoryBucket, make_settings
from s3discovery.wiring import Origins

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "doctor.md"
ASKED = Asked(locate("mesh", "us-east-1"), "'AKID...3456'", "settings")
WARNING = report("unknown-key", "x", cure="y")
FAULT = report("not-s3", "x", place="y")
PREFIX = "nodes/"


class TestFinding:
    @pytest.mark.parametrize(
        ("findings", "verdict", "code", "strict"),
        [
            ((), Verdict.OK, 0, 0),
            ((ok("dns", "x"), not_tried("put"), not_reached("get", "put")), Verdict.OK, 0, 0),
            ((ok("dns", "x"), WARNING), Verdict.WARNING, 0, 1),
            ((WARNING, FAULT), Verdict.FAULT, 1, 1),
            ((FAULT, report("wrong-setting", "x", cure="y")), Verdict.FAULT, 2, 2),
        ],
    )
    def test_exit_code_is_that_of_the_worst(
        self, findings: tuple[Finding, ...], verdict: Verdict, code: int, strict: int
    ) -> None:
        assert worst(findings) is verdict
        assert exit_code(findings, strict=False) == code
        assert exit_code(findings, strict=True) == strict

    def test_json_shape(self) -> None:
        assert json.loads(json.dumps(as_json([ok("dns", "x"), WARNING], strict=True))) == {
            "version": 1,
            "verdict": "warning",
            "exit_code": 1,
            "findings": [
                {"check": "dns", "verdict": "ok", "found": "x", "fault": None, "cure": None},
                {
                    "check": "configuration",
                    "verdict": "warning",
                    "found": "x",
                    "fault": "unknown-key",
                    "cure": "y",
                },
            ],
        }


class TestPage:
    """docs/how-to/doctor.md is true."""

    def test_has_every_fault_with_its_cure(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        for fault in FAULTS.values():
            cure = re.sub(r"\{(\w+)\}", r"<\1>", fault.cure).replace("|", "\\|")
            told = "as told with it" if fault.cure == "{cure}" else f"`{cure}`"
            assert f"| `{fault.name}` | {fault.meaning} | {told} |" in page

    def test_has_no_other(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        assert set(re.findall(r"^\| `([a-z][a-z0-9-]+)` \|", page, re.MULTILINE)) == set(FAULTS) | set(CHECKS)

    def test_has_every_check(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        for check, meaning in CHECKS.items():
            assert f"| `{check}` | {meaning} |" in page

    def test_every_fault_is_tested(self) -> None:
        texts = "".join(
            (ROOT / "tests" / place).read_text(encoding="utf-8")
            for place in ("servers/test_doctor.py", "unit/test_doctor.py")
        )
        assert [name for name in FAULTS if f'"{name}"' not in texts] == []


def test_every_fault_belongs_to_a_check() -> None:
    assert {fault.check for fault in FAULTS.values()} <= set(CHECKS)


def test_long_values_are_cut_in_a_cure() -> None:
    assert len(report("wrong-setting", "x", cure="y" * 5000).cure or "") < 1000


@pytest.mark.parametrize(
    ("access_key_id", "shown"),
    [
        ("AKIAIOSFODNN7EXAMPLE", "AKIA...MPLE"),
        ("SHORT", "SHOR***"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJ***"),
        ("SHORT-ACCESS", "SH***"),
        ("ab", "ab***"),
    ],
)
def test_access_key_ids_are_shortened(access_key_id: str, shown: str) -> None:
    assert shorten(access_key_id) == shown


def with_message(error: BucketError, message: str) -> BucketError:
    error.said = message
    return error


@pytest.mark.parametrize(
    ("key_id", "secret", "are_swapped"),
    [
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AKIAIOSFODNN7EXAMPLE", True),
        ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", False),
        ("admin", "ABCDEFGHIJKLMNOPQRST", False),
        ("minioadmin", "minioadmin", False),
        ("A" * 20, "B" * 16, False),
        ("", "", False),
    ],
)
def test_keys_that_look_swapped(key_id: str, secret: str, are_swapped: bool) -> None:
    found = judge_keys(ok("credentials", "x"), Credentials(key_id, Secret(secret), source="settings"))
    assert [each.fault for each in found] == ([None, "keys-swapped"] if are_swapped else [None])
    assert secret == "" or secret not in repr(found)


@pytest.mark.parametrize(
    ("text", "found", "cure"),
    [
        ("settings: no secret; write one", "settings: no secret", "write one"),
        ("STS said 'a; b'; look there", "STS said 'a; b'", "look there"),
        ("none; mend one:\n  - a; b\n  - c", "none", "mend one:\n  - a; b\n  - c"),
        ("odd", "odd", "look at what credentials-type names"),
    ],
)
def test_an_error_is_what_is_wrong_and_what_to_do(text: str, found: str, cure: str) -> None:
    assert split_cure(CredentialsError(text)) == (found, cure)


def test_what_has_been_told_is_not_added_to() -> None:
    """It would be in the document for programs, and in no line for people."""
    told: list[Finding] = []
    protocol = _Protocol(told.append)
    protocol.note([ok("configuration", "x")])
    with pytest.raises(RuntimeError, match="configuration"):
        protocol.note([WARNING])
    assert told == list(protocol.findings)


class TestDiagnosis:
    @pytest.mark.parametrize(
        ("error", "fault"),
        [
            (ProxyError("the proxy ... correct HTTPS_PROXY"), "proxy-unusable"),
            (UnreachableError("time-out"), "no-answer"),
            (StoreFaultError("x", status=403, code="SecondLevelDomainForbidden"), "needs-virtual-host"),
            (WrongRegionError("x", region=None), "unknown-region"),
            (WrongRegionError("x", region="eu-west-1"), "wrong-region"),
        ],
    )
    def test_by_error(self, error: BucketError, fault: str) -> None:
        assert diagnose(error, ASKED).fault == fault

    def test_region_at_aws_is_that_of_the_bucket(self) -> None:
        found = diagnose(WrongRegionError("x", region="eu-west-1"), ASKED)
        assert found.cure == "write s3-bucket-region:eu-west-1"

    @pytest.mark.parametrize(
        ("message", "policy"),
        [
            ("no: with an explicit deny in an identity-based policy", "identity-based policy"),
            ("no: with an explicit deny in a service control policy: arn", "service control policy"),
            ("explicit deny", "policy that holds it"),
        ],
    )
    def test_policy_of_an_explicit_deny_is_named(self, message: str, policy: str) -> None:
        error = with_message(AccessDeniedError("x", status=403), message)
        assert isinstance(error, AccessDeniedError)
        found = explain_denial(error, "get", ASKED, PREFIX)
        assert (found.check, found.fault) == ("get", "explicit-deny")
        assert (
            found.cure
            == f"remove the Deny of s3:GetObject from the {policy}: an Allow elsewhere does not help"
        )

    def test_texts_of_the_store_are_escaped_and_cut(self) -> None:
        error = with_message(StoreFaultError("x", status=500, code="A\x1b"), "\x1b[31m\n" + "m" * 5000)
        found = diagnose(error, ASKED).found
        assert "\x1b" not in found
        assert "\n" not in found
        assert len(found) < 600


class TestTable:
    def test_a_line_a_check_with_the_cure_below(self, capsys: pytest.CaptureFixture[str]) -> None:
        table = Table()
        table.add(ok("dns", "[bold]x[/] " + "y" * 300))
        table.add(WARNING)
        table.end([WARNING, FAULT, FAULT])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"dns            ok           [bold]x[/] {'y' * 300}"
        assert lines[1:] == [
            "configuration  warning      x",
            "                            cure: y",
            "2 faults, 1 warning",
        ]

    def test_no_control_character_passes(self, capsys: pytest.CaptureFixture[str]) -> None:
        Table().add(Finding("dns", Verdict.OK, "a\x1b[31mb\u2028c\nd"))
        assert capsys.readouterr().out == "dns            ok           a [31mb c d\n"


class Denying:
    """A bucket whose every answer to some verbs is an error."""

    def __init__(self, bucket: MemoryBucket, **errors: Exception) -> None:
        self._bucket = bucket
        self._errors = errors

    def __getattr__(self, verb: str) -> Any:
        async def fail(*arguments: Any, **conditions: Any) -> None:
            raise self._errors[verb]

        return fail if verb in self._errors else getattr(self._bucket, verb)


async def permissions_of(bucket: Bucket, clock: FakeClock) -> dict[str, str | None]:
    permissions = Permissions(bucket, ASKED, PREFIX)
    await permissions.use(Listing((), clock.wall_s()))
    return {check: found.fault for check, found in permissions.findings.items()}


class TestPermissions:
    @pytest.mark.parametrize(
        ("verb", "fault"), [("put", "write-failed"), ("get", "read-failed"), ("delete", "delete-failed")]
    )
    @pytest.mark.parametrize(
        "error", [StoreFaultError("odd", status=400, code="Odd"), CredentialsError("renewal failed")]
    )
    async def test_other_failures_are_named(self, verb: str, fault: str, error: Exception) -> None:
        clock = FakeClock()
        bucket = MemoryBucket(clock)
        found = await permissions_of(Denying(bucket, **{verb: error}), clock)
        assert found[verb] == fault
        assert set(found.values()) <= {fault, None}
        if verb != "delete":
            assert bucket.keys == set()

    async def test_a_healthy_store_has_no_fault(self) -> None:
        clock = FakeClock()
        bucket = MemoryBucket(clock)
        assert set((await permissions_of(bucket, clock)).values()) == {None}
        assert bucket.keys == set()

    async def test_what_cannot_be_deleted_is_not_written(self) -> None:
        clock = FakeClock()
        bucket = MemoryBucket(clock)
        found = await permissions_of(Denying(bucket, delete=AccessDeniedError("no", status=403)), clock)
        assert found["delete"] == "delete-denied"
        assert found["put"] is None
        assert bucket.keys == set()
        assert bucket.requests["put"] == 1

    @pytest.mark.parametrize(("age_s", "is_left"), [(300.0, True), (700.0, False)])
    async def test_sweep_takes_what_was_killed_and_leaves_what_runs(
        self, age_s: float, is_left: bool
    ) -> None:
        bucket = MemoryBucket(FakeClock())
        key = f"{PREFIX}s3discovery-probe-{'1' * 16}"
        bucket.plant(key, b"\n", age_s=age_s)
        await Permissions(bucket, ASKED, PREFIX).sweep(await bucket.list(PREFIX))
        assert (key in bucket.keys) is is_left

    async def test_body_that_comes_back_otherwise(self) -> None:
        bucket = MemoryBucket(FakeClock())

        class Garbling(Denying):
            @staticmethod
            async def get(key: str, *, limit: int) -> Stored:
                return replace(await bucket.get(key, limit=limit), body=b"<html>")

        found = await permissions_of(Garbling(bucket), FakeClock())
        assert found["get"] == "read-failed"
        assert set(found.values()) == {"read-failed", None}

    async def test_what_cannot_be_listed_is_not_looked_for(self) -> None:
        bucket = MemoryBucket(FakeClock())
        permissions = Permissions(bucket, ASKED, PREFIX)
        await permissions.use(None)
        assert permissions.findings["listed"] == not_reached("listed", "list")
        assert bucket.requests["list"] == 0


class TestProbe:
    async def test_a_put_that_may_have_been_carried_out_is_undone(self) -> None:
        bucket = MemoryBucket(FakeClock())

        class Failing(Denying):
            @staticmethod
            async def put(*arguments: Any, **conditions: Any) -> Written:
                await bucket.put(*arguments, **conditions)
                raise StoreFaultError("odd", status=503)

        async with Probe(Failing(bucket), PREFIX) as probe:
            with pytest.raises(StoreFaultError):
                await probe.put()
            assert bucket.keys == {probe.key}
        assert bucket.keys == set()

    async def test_cancelled_twice_says_what_may_be_left(self, caplog: pytest.LogCaptureFixture) -> None:
        bucket = MemoryBucket(FakeClock())
        written, deleting = asyncio.Event(), asyncio.Event()

        class Hanging(Denying):
            @staticmethod
            async def delete(key: str, *, if_match: str | None = None) -> bool:
                deleting.set()
                await asyncio.Event().wait()
                return True

        async def use() -> None:
            async with Probe(Hanging(bucket), PREFIX) as probe:
                await probe.put()
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(use())
        await written.wait()
        task.cancel()
        await deleting.wait()
        assert caplog.text == ""
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (key,) = bucket.keys
        assert f"key={key!r}" in caplog.text

    async def test_a_put_under_way_is_waited_for_and_undone(self) -> None:
        bucket = MemoryBucket(FakeClock())
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any, **conditions: Any) -> Written:
            begun.set()
            await go_on.wait()
            return await bucket.put(*arguments, **conditions)

        class Slow(Denying):
            put = staticmethod(slow)

        async def use() -> None:
            async with Probe(Slow(bucket), PREFIX) as probe:
                await probe.put()

        task = asyncio.create_task(use())
        await begun.wait()
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bucket.requests["put"] == 1
        assert bucket.keys == set()

    async def test_a_probe_that_was_never_written_is_no_failure(self) -> None:
        refused = AccessDeniedError("no", status=403)
        async with Probe(Denying(MemoryBucket(FakeClock()), put=refused, delete=refused), PREFIX) as probe:
            with pytest.raises(AccessDeniedError):
                await probe.put()
        assert probe.failure is None

    @pytest.mark.parametrize(
        ("key", "is_one"),
        [
            ("nodes/s3discovery-probe-0123456789abcdef", True),
            ("nodes/s3discovery-probe-0123456789abcdef0", False),
            ("nodes/s3discovery-probe-0123456789ABCDEF", False),
            ("nodes/s3discovery-probe-", False),
            ("other/s3discovery-probe-0123456789abcdef", False),
        ],
    )
    def test_its_key_is_no_nodes(self, key: str, is_one: bool) -> None:
        assert is_probe(key, "nodes/") is is_one

    async def test_nodes_pass_over_it(self) -> None:
        clock = FakeClock()
        bucket = MemoryBucket(clock)
        async with Probe(bucket, PREFIX) as probe:
            await probe.put()
            assert bucket.keys == {probe.key}
            assert is_probe(probe.key, PREFIX)
            async with Discovery(make_settings(), bucket, clock=clock) as discovery:
                assert discovery.status.problems == {}
                assert bucket.requests == {"put": 1, "list": 1}, "it is not even read"


class TestNeighbours:
    async def test_files_that_may_not_be_read(self) -> None:
        clock = FakeClock()
        bucket = MemoryBucket(clock)
        bucket.plant("nodes/a", b"x")
        denying = Denying(bucket, get=AccessDeniedError("no", status=403))
        listing = Listing((Entry("nodes/a", "e", 0.0, 1),), clock.wall_s())
        files = await read_files(denying, make_settings(), listing)
        assert [found.fault for found in judge_files(files, None, "arn")] == [None, "files-denied"]

    async def test_an_id_written_by_another_process_between_two_looks(self) -> None:
        members = [Member("a", Address("10.0.0.2", 1), {"incarnation": each}) for each in ("1", "2")]
        clock = FakeClock()
        empty = await read_files(MemoryBucket(clock), make_settings(), Listing((), None))
        before, after = (
            type(empty)({"a": member}, empty.expired, empty.problems, None) for member in members
        )
        (_, found) = judge_files(before, after, "arn")
        assert found.fault == "incarnation-twice"
        assert "'a' was written by two processes" in found.found

    async def test_own_file_is_no_other(self) -> None:
        async def find(host: str) -> tuple[str, ...]:
            return (host,)

        own = Located(Address("10.0.0.2", 7800), "bind-address")
        alive = {"n1": Member("n1", own.address)}
        settings = make_settings(cluster_id="n1")
        (found,) = await judge_address(own, settings, alive, find)
        assert found == ok("address", "10.0.0.2:7800 (bind-address), private")

    @pytest.mark.parametrize(
        ("cluster_id", "ids", "faults"),
        [
            ("", ["n1"], [None]),  # it runs: its id was made at its start
            ("", ["n1", "n2"], ["address-taken"]),
            ("n3", ["n1"], ["address-taken"]),
        ],
    )
    async def test_who_is_at_the_own_address(
        self, cluster_id: str, ids: list[str], faults: list[str | None]
    ) -> None:
        async def find(host: str) -> tuple[str, ...]:
            return (host,)

        own = Located(Address("10.0.0.2", 7800), "bind-address")
        alive = {each: Member(each, own.address) for each in ids}
        found = await judge_address(own, make_settings(cluster_id=cluster_id), alive, find)
        assert [each.fault for each in found] == faults

    @pytest.mark.parametrize(
        ("own", "fault"), [(AddressError("none; set external-address"), "no-address"), (None, None)]
    )
    async def test_address_that_is_not_known(self, own: AddressError | None, fault: str | None) -> None:
        async def find(host: str) -> tuple[str, ...]:
            return (host,)

        (found,) = await judge_address(own, make_settings(), {}, find)
        assert found.fault == fault


def test_what_may_be_meant_otherwise_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text(
        "s3-bucket-region:us-east-1\ns3-bucket-name:bucket\nfile-prefix:${stagee}\nstage:prod/\n"
        "file-expiration:360\nupdate-interval:180\n"
    )
    settings, findings = examine_configuration(Origins(file, (), {}))
    assert settings is not None
    doubts = [found for found in findings if found.fault == "doubtful-setting"]
    assert [found.found.split()[0] for found in doubts] == ["file-prefix", "stagee"]
    assert all(found.verdict is Verdict.WARNING and found.cure for found in doubts)
    settings, findings = examine_configuration(Origins(file, ("file-prefix=nodes/",), {}))
    assert [found.fault for found in findings if found.fault != "unknown-key"] == []
