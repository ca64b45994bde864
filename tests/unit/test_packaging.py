"""What is committed and what is shipped: no trace of a machine, every dependency pinned, types included."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

# Written so that no pattern matches itself.
MACHINE_TRACES = {
    "a package registry": r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|(?:deb|security)[.]debian[.]org",
    "a package index": r"/simple[/](?!\w)",
    "an index option": r"--(?:extra-)?index[-]url|--find[-]links|--trusted[-]host",
    "a home or work folder": r"(?<![\w./~-])/(?:root|work|home/\w+|Users/\w+)[/]\w",
    "a lock file": r"\b(?:uv|poetry|pdm|Pipfile)[.]lock\b|\bpylock[.]toml\b",
}
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.+!-]+)(?: ; .+)?")


def list_committed_files() -> list[Path]:
    """All files that are, or with the next commit could be, in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def find_traces(text: str) -> list[str]:
    return [
        f"{what}: {found}" for what, pattern in MACHINE_TRACES.items() for found in re.findall(pattern, text)
    ]


def read_pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    matches = [PIN.fullmatch(line) for line in lines]
    assert None not in matches, [line for line in lines if not PIN.fullmatch(line)]
    return {match["name"]: match["version"] for match in matches if match is not None}


@pytest.mark.parametrize(
    "text",
    [
        "see https://pypi" + ".org/p/x",
        "-f https://host/simple" + "/ x",
        "--index" + "-url=x",
        "open('/root" + "/x')",
        "/home" + "/ann/src",
        "uv" + ".lock",
    ],
)
def test_a_trace_of_a_machine_is_found(text: str) -> None:
    assert len(find_traces(text)) == 1


@pytest.mark.parametrize(
    "text", ["/opt/hivemq/conf", "https://host.example/work/x", "${HOME}/.aws", "a simple/plain"]
)
def test_ordinary_text_holds_no_trace(text: str) -> None:
    assert find_traces(text) == []


def test_no_committed_file_holds_a_trace_of_a_machine() -> None:
    files = list_committed_files()
    assert ROOT / "pyproject.toml" in files
    traces = {
        str(path.relative_to(ROOT)): found
        for path in files
        if (found := find_traces(f"{path.name}\n{path.read_text(errors='replace')}"))
    }
    assert traces == {}


def test_every_dependency_is_pinned_to_a_version_that_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    pins = read_pins()
    unfit = [
        str(requirement)
        for requirement in map(Requirement, wanted)
        if requirement.name != project["project"]["name"]
        and not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]
    assert unfit == [], "run `make constraints`"


def test_the_wheel_ships_types_licence_and_command(tmp_path: Path) -> None:
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith("/entry_points.txt"))
        assert "s3discovery = s3discovery.cli:main" in archive.read(metadata).decode()
    assert "s3discovery/py.typed" in names
    page = {path.name for path in (ROOT / "src/s3discovery/http/page").iterdir() if path.suffix != ".py"}
    assert {f"s3discovery/http/page/{name}" for name in page - {"__pycache__"}} <= set(names)
    assert {"index.html", "style.css", "main.js"} <= page
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"s3discovery"}
