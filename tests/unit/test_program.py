"""Running other programs: what they read, and why one cannot be started."""

import os
import tempfile
from pathlib import Path

import pytest

from s3discovery.errors import BrokerError
from s3discovery.program import run_program


async def test_a_program_reads_its_input_however_it_likes() -> None:
    text = "ü" * 200_000
    for vector in (("cat",), ("cat", "/dev/stdin")):
        assert (
            await run_program(vector, environ=os.environ, limit_s=30, text=text[:100_000]) == text[:100_000]
        )
    assert await run_program(("wc", "-c"), environ=os.environ, limit_s=30, text=text) == "400000\n"


async def test_a_folder_for_temporary_files_is_not_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert await run_program(("cat",), environ=os.environ, limit_s=30, text="x") == "x"


async def test_what_the_system_refuses_is_an_error_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(BrokerError, match=r"cannot be started: Too many open files$"):
        await run_program(("cat",), environ=os.environ, limit_s=30)


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(
        BrokerError, match=r"\['/nowhere'\] cannot be started: .*; write the path of a program"
    ):
        await run_program(("/nowhere",), environ=os.environ, limit_s=30)


@pytest.mark.parametrize(
    ("vector", "variables", "what"),
    [
        (("true",), {"S3DISCOVERY_PEERS": "x" * 131_072}, "variable S3DISCOVERY_PEERS has 131090 bytes"),
        (("true", "x" * 131_072), {}, "argument 1 has 131072 bytes"),
    ],
)
async def test_members_that_do_not_fit_are_never_left_out(
    vector: tuple[str, ...], variables: dict[str, str], what: str
) -> None:
    with pytest.raises(BrokerError, match=f"{what}.*file-prefix$") as caught:
        await run_program(vector, environ=os.environ | variables, limit_s=30)
    assert len(str(caught.value)) < 500
