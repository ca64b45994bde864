"""The control socket: who can reach it, and what it does not take away."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3discovery.control import ask_to_leave, ask_why, listening
from s3discovery.discovery import Discovery
from s3discovery.errors import BrokerError, ControlError
from s3discovery.node import Address, Member
from s3discovery.running import ClusterState, Running
from s3discovery.settings.config import Settings
from s3discovery.testing import FakeClock, MemoryBucket, make_settings


class Node:
    """What can be asked; counts the wishes to leave."""

    def __init__(self, settings: Settings) -> None:
        clock = FakeClock()
        own = Member("own", Address("10.0.0.1", 7800))
        self.discovery = Discovery(settings, MemoryBucket(clock), own, clock=clock)
        self.running = Running(settings, self.discovery, clock, lambda: self.state, self.leave)
        self.state: ClusterState | None = None
        self.refusal: BrokerError | None = None
        self.left = 0

    async def leave(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.left += 1


def mode_of(path: Path) -> int | None:
    """Return who may do what; None if it is not there."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def move(path: Path, other: Path) -> None:
    path.rename(other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s3discovery-1" / "node.sock"


@pytest.fixture
def settings(path: Path) -> Settings:
    return make_settings(control_socket=str(path))


@pytest.fixture
def everybody() -> Iterator[None]:
    """What is made may be used by all, if nobody takes care."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("everybody")
async def test_only_its_user_can_reach_it(settings: Settings, path: Path) -> None:
    async with listening(Node(settings).running):
        assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert mode_of(path) is None


async def test_a_folder_of_somebody_else_is_not_used(
    settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    owner = path.parent.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    async with listening(Node(settings).running):
        assert "belongs to somebody else" in caplog.text
        assert mode_of(path) is None


async def test_a_node_that_lives_keeps_its_socket(
    settings: Settings, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Node(settings), Node(settings)
    async with listening(first.running):
        async with listening(second.running):
            assert "another node listens there" in caplog.text
            await ask_to_leave(path)
        await ask_to_leave(path)
    assert (first.left, second.left) == (2, 0)


async def test_what_an_ended_node_left_is_in_nobodys_way(settings: Settings, path: Path) -> None:
    node = Node(settings)
    async with listening(node.running):
        move(path, path.with_name("kept"))
    move(path.with_name("kept"), path)  # as after a kill: there, and nobody listens
    with pytest.raises(ControlError, match="nobody listens"):
        await ask_to_leave(path)
    async with listening(node.running):
        await ask_to_leave(path)
    assert node.left == 1


async def test_a_broker_that_refuses_is_heard(settings: Settings, path: Path) -> None:
    node = Node(settings)
    node.refusal = BrokerError("the broker is busy")
    async with listening(node.running):
        with pytest.raises(BrokerError, match="stays in the cluster: the broker is busy"):
            await ask_to_leave(path)
    assert node.left == 0


async def test_why_it_is_not_ready_is_told(settings: Settings, path: Path) -> None:
    node = Node(settings)
    async with listening(node.running):
        assert await ask_why(path) == "not registered in the bucket"
        async with node.discovery:
            assert await ask_why(path) is None
            node.state = ClusterState("incomplete 1/2, waiting for 'b'")
            assert await ask_why(path) == "broker: incomplete 1/2, waiting for 'b'"
    assert node.left == 0
    with pytest.raises(ControlError, match="nobody listens"):
        await ask_why(path)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error": "not understood"}', "does not tell how it is: not understood"),  # of an older version
        (b"", "without an answer"),
        (b"[]", "without an answer"),
        (b"{}", "without an answer"),
    ],
)
async def test_a_node_that_cannot_tell(path: Path, answer: bytes, said: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    path.parent.mkdir()
    async with await asyncio.start_unix_server(say, path):
        with pytest.raises(ControlError, match=said):
            await ask_why(path)
