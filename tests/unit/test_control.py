"""The control socket: who can reach it, and what it does not take away."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3discovery.control import ask_to_leave, listening
from s3discovery.errors import ControlError
from s3discovery.settings.config import Settings
from s3discovery.testing import make_settings


class Left:
    """Counts the wishes to leave."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


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
    async with listening(settings, Left()):
        assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert mode_of(path) is None


async def test_a_folder_of_somebody_else_is_not_used(
    settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    owner = path.parent.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    async with listening(settings, Left()):
        assert "belongs to somebody else" in caplog.text
        assert mode_of(path) is None


async def test_a_node_that_lives_keeps_its_socket(
    settings: Settings, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Left(), Left()
    async with listening(settings, first):
        async with listening(settings, second):
            assert "another node listens there" in caplog.text
            await ask_to_leave(path)
        await ask_to_leave(path)
    assert (first.count, second.count) == (2, 0)


async def test_what_an_ended_node_left_is_in_nobodys_way(settings: Settings, path: Path) -> None:
    async with listening(settings, Left()):
        move(path, path.with_name("kept"))
    move(path.with_name("kept"), path)  # as after a kill: there, and nobody listens
    with pytest.raises(ControlError, match="nobody listens"):
        await ask_to_leave(path)
    left = Left()
    async with listening(settings, left):
        await ask_to_leave(path)
    assert left.count == 1
