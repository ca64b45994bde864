"""The tutorial, run as it stands, in a network of its own: its ports are fixed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
LIMIT_S = 100.0


def test_every_command_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)(
            "iproute2 is not installed"
        )
    script = tmp_path / "tutorial.sh"
    script.write_text("\n".join(["ip link set lo up", "set -e -o pipefail", *blocks, "echo all is done"]))
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {"PATH": programs, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    with (tmp_path / "said").open("wb") as said:
        # A process namespace besides: whatever is left of a tutorial that failed ends with it.
        process = subprocess.Popen(
            ["unshare", *root, "--net", "--pid", "--fork", "--kill-child", "bash", str(script)],
            cwd=tmp_path,
            env=environ,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        code = process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    shown = (tmp_path / "said").read_text()
    assert code == 0, shown[-3000:]
    assert "formed 3/3" in shown
    assert "hello" in shown
    assert shown.endswith("all is done\n")
    assert not (tmp_path / "tutorial").exists()
