"""What the SDK raises or never answers, without a socket; each in a process of its own environment."""

import asyncio
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from s3discovery.credentials.issued import read_object
from s3discovery.credentials.sdk import SdkChain, SingleSignOn
from s3discovery.errors import CredentialsError

MARK = "M4RKED"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.mark.parametrize("command", [f"echo {MARK}", f"echo '{MARK}", f"echo {{{MARK}"])
async def test_a_program_that_prints_no_json(command: str, home: Path) -> None:
    (home / "config").write_text(f"[default]\ncredential_process = {command}\n")
    with pytest.raises(CredentialsError, match=r"^the AWS SDK's other sources: \w+Error; write ") as caught:
        await SdkChain(None).issue()
    assert MARK not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["nothing but text\n", f"[default\n{MARK}"])
async def test_a_file_that_cannot_be_parsed_is_to_be_mended(text: str, home: Path) -> None:
    (home / "config").write_text(text)
    with pytest.raises(
        CredentialsError, match=r"Unable to parse config file: .*config; mend that file"
    ) as caught:
        await SingleSignOn("default").issue()
    assert MARK not in "".join(traceback.format_exception(caught.value))


async def test_a_profile_that_is_not_there_is_to_be_written(home: Path) -> None:
    (home / "config").write_text("[default]\n")
    with pytest.raises(CredentialsError, match=r"\(far\) could not be found; write that profile"):
        await SingleSignOn("far").issue()


async def test_an_endpoint_that_the_sdk_does_not_take(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://keys.example/")
    with pytest.raises(CredentialsError, match=r"^the AWS SDK's other sources: ValueError; "):
        await SdkChain(None).issue()


async def test_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first who asked has stopped waiting."""
    chain, gate, loads = SdkChain(None), threading.Event(), []

    def load() -> Any:
        loads.append(threading.current_thread())
        gate.wait(30)

    monkeypatch.setattr(chain._reading, "_load", load)
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await chain.issue()
        assert len(loads) == 1
        assert loads[0].daemon
    finally:
        gate.set()
    with pytest.raises(CredentialsError, match="nothing found"):
        await chain.issue()


def test_a_program_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = sleep 40\n")
    script = (
        "import asyncio\n"
        "from s3discovery.credentials.sdk import SdkChain\n"
        "async def main():\n"
        "    try:\n"
        "        await asyncio.wait_for(SdkChain(None).issue(), 2)\n"
        "    except TimeoutError:\n"
        "        print('given up', flush=True)\n"
        "asyncio.run(main())\n"
    )
    with (tmp_path / "out").open("wb") as out:  # no pipe: the program would hold it open
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(tmp_path) | {"PATH": os.environ.get("PATH", "")},
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=25,
            check=False,
        )
    assert (done.returncode, (tmp_path / "out").read_text()) == (0, "given up\n")


def test_deeply_nested_json() -> None:
    with pytest.raises(CredentialsError, match="no JSON object"):
        read_object('{"a":' + "[" * 200_000, "source")
