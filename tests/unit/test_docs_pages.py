"""Pages that tell what it costs and how it is installed: their figures and commands hold."""

import os
import re
from pathlib import Path

import pytest
import yaml

from s3discovery.http.targets import targets
from s3discovery.node import Address, Member
from s3discovery.schedule import regular_delay_s
from s3discovery.settings.config import parse
from s3discovery.settings.keys import KEYS
from s3discovery.settings.sources import load_properties
from s3discovery.testing import make_settings

ROOT = Path(__file__).parents[2]
COSTS = (ROOT / "docs" / "costs-and-capacity.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "how-to").glob("*.md")])
MONTH_S = 30 * 86_400
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}
# poll-interval, update-interval and file-expiration, in seconds.
DURATIONS = {
    "Quick": (10.0, 20.0, 70.0),
    "Calm": (30.0, 300.0, 900.0),
    "The original's": (60.0, 3 * 3600.0, 6 * 3600.0),
}


def number(cell: str) -> float:
    """Read 1.5 k, 13,132 or $0.69."""
    digits, _, unit = cell.strip().lstrip("$").replace(",", "").partition(" ")
    return float(digits) * UNITS.get(unit, 1.0)


@pytest.mark.parametrize("name", DURATIONS)
def test_the_table_says_what_the_formula_says(name: str) -> None:
    poll_s, update_s, _ = DURATIONS[name]
    mean = regular_delay_s(1.0, 0.5)  # of the dice
    section = COSTS.partition(f"### {name}\n")[2]
    rows = [line.strip("|").split("|") for line in section.splitlines() if re.match(r"\| \d", line)][:5]
    assert [int(row[0]) for row in rows] == [3, 10, 50, 200, 500]
    for cells in rows:
        nodes = int(cells[0])
        lists, puts = nodes / (poll_s * mean), nodes / (update_s * mean)
        gets = nodes * (nodes - 1) / (max(poll_s, update_s) * mean)
        dollars = MONTH_S / 1000 * (0.005 * (lists + puts) + 0.0004 * gets)
        wanted = [lists, puts, gets, *(rate * MONTH_S for rate in (lists, puts, gets)), dollars]
        assert [number(cell) for cell in cells[1:]] == pytest.approx(wanted, rel=0.06)


def test_the_durations_of_the_page_hold_together() -> None:
    assert [line.count("|") for line in COSTS.splitlines() if line.startswith("| quick |")] == [6]
    for poll_s, update_s, expiration_s in DURATIONS.values():
        texts = {"poll_interval": poll_s, "update_interval": update_s, "file_expiration": expiration_s}
        settings = make_settings(**{name: f"{value:g}s" for name, value in texts.items()})
        assert settings.poll_interval_s <= (settings.file_expiration_s - settings.update_interval_s) / 2
        assert settings.file_expiration_s > settings.update_interval_s


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_is_installed_from_a_clone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"pip install .*s3discovery\[?", text), "there is no such package in an index yet"
    if re.search(r"pip install '?\.", text):
        assert "s3discovery is not in a package index yet: run this in a clone of its repository." in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nobody_is_shown_a_duration_without_its_unit(page: Path) -> None:
    """A bare number is minutes in one file and seconds in the other; those of the originals are told of."""
    text = page.read_text(encoding="utf-8")
    names = "|".join(key.name for key in KEYS if key.name in {"file-expiration", "update-interval"})
    bare = re.findall(rf"^\s*(?:{names})[:=](?!0$)\d+$", text, re.MULTILINE)
    assert bare == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_who_uses_mosquittos_clients_is_told_their_package(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if "mosquitto_sub" in text:
        assert "mosquitto-clients" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_unit_lets_a_node_leave(page: Path) -> None:
    """`leave` ends a node with 0: a unit that starts it again whatever it ends with undoes that."""
    assert "Restart=always" not in page.read_text(encoding="utf-8")


def test_the_examples_of_durations_have_units() -> None:
    named = {key.name: key.example for key in KEYS if key.name in {"file-expiration", "update-interval"}}
    settings = parse({"s3-bucket-region": "us-east-1", "s3-bucket-name": "mesh", "file-prefix": "n/"} | named)
    assert (settings.file_expiration_s, settings.update_interval_s) == (900, 300)


def test_prometheus_brings_the_token_in_both_places() -> None:
    """Prometheus 2.42 sends a bare token to where it looks for nodes, unless the type is written."""
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (job,) = yaml.safe_load(config)["scrape_configs"]
    (search,) = job["http_sd_configs"]
    assert job["authorization"] == search["authorization"]
    assert job["authorization"]["type"] == "Bearer"
    (block,) = re.findall(r"^```properties\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    texts = load_properties(block.encode())
    settings = make_settings(**{name.replace("-", "_"): text for name, text in texts.items()})
    assert settings.http_token_file is not None
    assert search["url"].endswith(f":{settings.http_port}/prometheus-sd?port={settings.http_port}")
    (relabelling,) = job["relabel_configs"]
    (group,) = targets([Member("n1", Address("10.0.0.1", 7800))], None)
    assert relabelling["source_labels"] == list(group["labels"])


def test_the_configuration_of_nats_fits_its_manifest() -> None:
    folder = ROOT / "deploy" / "kubernetes"
    conf = (folder / "nats.conf").read_text(encoding="utf-8")
    documents = yaml.safe_load_all((folder / "nats.yaml").read_text(encoding="utf-8"))
    (nodes,) = [document for document in documents if document["kind"] == "StatefulSet"]
    (container,) = nodes["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    (include,) = re.findall(r'include "(.+)"', conf)
    at = Path(container["args"][-1]).parent
    # nats-server takes an absolute path from that folder, too.
    assert os.path.normpath(f"{at}/{include}") == values["S3DISCOVERY_NATS_ROUTES_FILE"]
    assert f'store_dir: "{values["S3DISCOVERY_NATS_STORE_DIR"]}"' in conf
    for who in ("SYSTEM", "APP"):
        assert f"user: {values[f'S3DISCOVERY_NATS_{who}_USER']}," in conf
    for port in container["ports"]:
        if port["name"] != "http":
            assert f"0.0.0.0:{port['containerPort']}" in conf
