"""What systemd is told, as far as no socket is needed."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from s3discovery.discovery import Status
from s3discovery.errors import UnreachableError
from s3discovery.node import Address, Member
from s3discovery.running import ClusterState, Running
from s3discovery.systemd import Pulse, Systemd, is_up, status
from s3discovery.testing import FakeClock, make_settings

OWN = Member("own", Address("10.0.0.9", 7800))


@dataclass
class Found:
    """What discovery knows, as these tests need it."""

    status: Status = field(default_factory=lambda: Status(registered=True, listed_s=1.0))
    members: frozenset[Member] = frozenset({OWN})
    own: Member | None = OWN


def running(found: Found, state: str | None = None) -> Running:
    told = None if state is None else ClusterState(state)
    return Running(make_settings(), cast("Any", found), FakeClock(), lambda: told)


def test_up_is_registered_and_listed() -> None:
    assert is_up(running(Found()))
    assert not is_up(running(Found(Status(registered=True))))
    assert not is_up(running(Found(Status(listed_s=1.0))))
    assert is_up(running(Found(Status(listed_s=1.0), own=None))), "an observer has nothing to register"


def test_the_status_says_what_people_want_to_know() -> None:
    down = UnreachableError("no way to the store")
    assert status(running(Found(Status()))) == "waiting for the store"
    assert status(running(Found(Status(error=down)))) == "waiting for the store; store: no way to the store"
    assert status(running(Found())) == "1 member, none tells of its broker"
    assert (
        status(running(Found(), "incomplete 1/2, waiting for 'b'"))
        == "1 members, incomplete 1/2, waiting for 'b'"
    )
    lost = replace(Found().status, registered=False, write_error=down)
    assert (
        status(running(Found(lost)))
        == "not registered, 1 member, none tells of its broker; store: no way to the store"
    )
    assert len(status(running(Found(Status(error=UnreachableError("x" * 5000)))))) == 300


def test_the_pulse_stops_with_the_polls() -> None:
    pulse = Pulse(0.0)
    pulse.note(1, 10.0)
    pulse.note(1, 400.0)
    assert pulse.beats(10 + 60 + 360, poll_interval_s=60)
    assert not pulse.beats(10 + 60 + 361, poll_interval_s=60)
    pulse.note(2, 500.0)
    assert pulse.beats(600, poll_interval_s=60)


@pytest.mark.parametrize(
    ("environ", "pid", "watchdog_s"),
    [
        ({}, 7, None),
        ({"WATCHDOG_USEC": "3000000"}, 7, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 7, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, 7, None),
        ({"WATCHDOG_USEC": "0"}, 7, None),
        ({"WATCHDOG_USEC": "soon"}, 7, None),
        ({"WATCHDOG_USEC": "-1"}, 7, None),
    ],
)
def test_whose_watchdog_it_is(environ: dict[str, str], pid: int, watchdog_s: float | None) -> None:
    assert Systemd(environ, pid=pid).watchdog_s == watchdog_s


@pytest.mark.parametrize(
    ("socket", "listens"),
    [("", False), ("relative", False), ("vsock:2:1", False), ("/run/x", True), ("@name", True)],
)
def test_who_is_told(socket: str, listens: bool) -> None:
    assert Systemd({"NOTIFY_SOCKET": socket}).listens is listens
