"""What is shipped to deploy with: linted by each format's own tools, and true to the code."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3discovery.discovery import Discovery
from s3discovery.metrics import DESCRIPTIONS, Metrics
from s3discovery.running import Running
from s3discovery.settings.config import parse
from s3discovery.settings.keys import BY_NAME
from s3discovery.settings.sources import load_properties
from s3discovery.testing import FakeClock, MemoryBucket, make_settings
from s3discovery.traffic import Traffic

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CONTAINERFILES = sorted((DEPLOY / "container").glob("Containerfile*"))
UNITS = ("s3discovery.service", "s3discovery-broker@.service")
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
# Those of prometheus_client's own collectors that we use.
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
FOR_SETTINGS = "S3DISCOVERY_"


def tool(name: str) -> str:
    """Return the program; without it the test is skipped, or fails where servers are promised."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)(f"{name} is not installed")
    return found


def run(*command: str | Path, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


class TestPrometheus:
    def test_the_rules_are_valid_and_alert_as_promised(self) -> None:
        promtool = tool("promtool")
        for arguments in (("check", "rules", "alerts.yml"), ("test", "rules", "tests.yml")):
            done = run(promtool, *arguments, cwd=ALERTS.parent)
            assert done.returncode == 0, done.stdout + done.stderr

    def test_every_alert_is_tested_both_ways_and_has_its_place_in_the_runbook(self) -> None:
        rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
        tests = yaml.safe_load((ALERTS.parent / "tests.yml").read_text())["tests"]
        expected = {
            bool(test.get("exp_alerts")): set[str]() for each in tests for test in each["alert_rule_test"]
        }
        for each in tests:
            for test in each["alert_rule_test"]:
                expected[bool(test.get("exp_alerts"))].add(test["alertname"])
        names = {rule["alert"] for rule in rules}
        assert expected == {True: names, False: names}
        for rule in rules:
            page, _, anchor = rule["annotations"]["runbook"].partition("#")
            headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
            assert anchor in {heading.lower() for heading in headings}, rule["alert"]

    @pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=lambda path: path.name)
    def test_only_metrics_that_there_are(self, path: Path) -> None:
        found = set(
            re.findall(r"\b(?:s3discovery|process|com_hivemq)_[a-z0-9_]+", "\n".join(expressions(path)))
        )
        assert len(found) > 5
        assert found <= samples() | PROCESS

    def test_the_dashboard_can_be_parsed_by_prometheus(self, tmp_path: Path) -> None:
        promtool = tool("promtool")
        rules = [
            {"record": f"x:{number}", "expr": text.replace("$__rate_interval", "5m")}
            for number, text in enumerate(expressions(DASHBOARD))
            if not text.startswith("label_values")
        ]
        file = tmp_path / "rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        done = run(promtool, "check", "rules", file)
        assert done.returncode == 0, done.stderr

    def test_the_panels_stand_beside_one_another(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells


def expressions(path: Path) -> Iterator[str]:
    """Yield every PromQL expression of rules or of a dashboard."""
    if path == ALERTS:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])
        return
    dashboard = json.loads(path.read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (note["expr"] for note in dashboard["annotations"]["list"])
    queries = (variable["query"] for variable in dashboard["templating"]["list"])
    yield from (query["query"] for query in queries if isinstance(query, dict))


def samples() -> set[str]:
    """Return the names under which our metrics are seen in Prometheus."""
    clock, settings = FakeClock(), make_settings()
    discovery = Discovery(settings, MemoryBucket(clock), clock=clock)
    running = Running(settings, discovery, clock, lambda: None, messages=lambda: {"dropped": 1})
    kinds = {family.name: family.type for family in Metrics(running, Traffic()).collect()}
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
    found = {name + end for name, kind in kinds.items() for end in ends.get(kind, ("",))}
    # What has no value yet is a gauge.
    return found | (DESCRIPTIONS.keys() - kinds.keys())


class TestSystemd:
    @pytest.fixture
    def units(self, tmp_path: Path) -> Path:
        """The units, with a program that is there on this machine in the place of ours."""
        for name in UNITS:
            text = (DEPLOY / "systemd" / name).read_text()
            assert "/opt/s3discovery/bin/s3discovery run " in text
            made = name.replace("@.", "@nats.")
            (tmp_path / made).write_text(text.replace("/opt/s3discovery/bin/s3discovery", "/bin/true"))
        return tmp_path

    def test_they_are_valid(self, units: Path) -> None:
        analyze = tool("systemd-analyze")
        done = run(analyze, "verify", "--man=no", *sorted(units.iterdir()))
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def test_what_the_kernel_ends_for_want_of_memory_ends_alone(self, units: Path) -> None:
        for unit in units.iterdir():
            assert "\nOOMPolicy=continue\n" in unit.read_text(), unit.name

    def test_their_exposure_is_what_the_page_says(self, units: Path) -> None:
        analyze = tool("systemd-analyze")
        page = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
        for name in UNITS:
            told = re.search(rf"`{re.escape(name)}` \| ([0-9.]+)", page)
            assert told is not None, f"docs/how-to/systemd.md does not tell the exposure of {name}"
            unit = units / name.replace("@.", "@nats.")
            threshold = str(round(float(told[1]) * 10))
            done = run(analyze, "security", "--offline=true", f"--threshold={threshold}", unit)
            assert done.returncode == 0, done.stdout[-300:]
            overall = re.search(r"Overall exposure level .*: ([0-9.]+)", done.stdout)
            assert overall is not None
            assert float(overall[1]) <= float(told[1])


class TestManual:
    def test_the_page_is_good_roff_and_shipped(self) -> None:
        page = ROOT / "man" / "s3discovery.1"
        done = run(tool("groff"), "-man", "-ww", "-z", "-Tutf8", page)
        assert (done.returncode, done.stderr) == (0, "")
        shown = run(tool("groff"), "-man", "-Tascii", "-P-c", page).stdout
        for words in ("s3discovery run [OPTIONS] [-- PROGRAM", "log-format", "EXIT STATUS"):
            assert words in re.sub(".\b", "", shown)
        shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
        assert shipped["wheel"]["shared-data"] == {"man/s3discovery.1": "share/man/man1/s3discovery.1"}


class TestContainer:
    @pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.name)
    def test_the_linter_is_content(self, path: Path) -> None:
        done = run(tool("hadolint"), path)
        assert done.returncode == 0, done.stdout

    def test_what_is_copied_is_there_and_reaches_the_build(self) -> None:
        text = (DEPLOY / "container" / "Containerfile").read_text()
        copied = {
            name
            for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
            for name in line.split()[:-1]
        }
        let_in = {
            line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
        }
        assert copied == let_in
        assert all((ROOT / name).exists() for name in copied)

    def test_its_variables_are_settings_and_its_user_is_nobody(self) -> None:
        text = (DEPLOY / "container" / "Containerfile").read_text()
        assert settings_named(text) >= {"log-format", "http-port"}
        assert re.search(r"^USER [1-9][0-9]+:[1-9][0-9]+$", text, re.MULTILINE)


class TestKubernetes:
    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
    def test_it_has_kubernetes_own_form(self, path: Path) -> None:
        import kubernetes_validate

        for document in yaml.safe_load_all(path.read_text()):
            kubernetes_validate.validate(document, "1.29", strict=True)

    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
    def test_its_variables_are_settings(self, path: Path) -> None:
        settings_named(path.read_text())

    def test_the_settings_are_valid(self) -> None:
        documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "common.yaml").read_text()))
        maps = [document for document in documents if document["kind"] == "ConfigMap"]
        settings = parse(load_properties(maps[0]["data"]["s3discovery.properties"].encode()))
        assert settings.http_port == 9119

    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
    def test_no_container_of_ours_may_more_than_it_needs(self, path: Path) -> None:
        for container in containers(path):
            if not container["image"].startswith("s3discovery"):
                continue
            may = container["securityContext"]
            assert may["readOnlyRootFilesystem"] is True
            assert may["allowPrivilegeEscalation"] is False
            assert may["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert container["livenessProbe"]

    def test_hivemq_has_its_dns_extension_and_peers_the_port_that_it_listens_at(self) -> None:
        path = DEPLOY / "kubernetes" / "hivemq-sidecar.yaml"
        of = {container["name"]: container for container in containers(path)}
        hivemq, ours = (
            {variable["name"]: variable.get("value") for variable in of[name]["env"]}
            for name in ("hivemq", "s3discovery")
        )
        # Other tags of the image are without the extension, and know none of these variables.
        assert of["hivemq"]["image"].startswith("hivemq/hivemq4:dns-")
        assert hivemq["HIVEMQ_CLUSTER_TRANSPORT_TYPE"] in ("TCP", "UDP")
        assert hivemq["HIVEMQ_CLUSTER_PORT"] == ours["S3DISCOVERY_BIND_PORT"]
        assert hivemq["HIVEMQ_DNS_SERVER_ADDRESS"] == ours["S3DISCOVERY_DNS_LISTEN"]
        # The image writes its configuration at each start.
        assert not any("config.xml" in mount["mountPath"] for mount in of["hivemq"]["volumeMounts"])

    def test_every_name_that_is_used_is_there(self) -> None:
        common = {
            (document["kind"], document["metadata"]["name"])
            for document in yaml.safe_load_all((DEPLOY / "kubernetes" / "common.yaml").read_text())
        }
        for path in MANIFESTS:
            text = path.read_text()
            for spec in pods(path):
                assert ("ServiceAccount", spec["serviceAccountName"]) in common
                volumes = {volume["name"] for volume in spec["volumes"]}
                claims = {"data"} if "volumeClaimTemplates" in text else set()
                for container in (*spec["containers"], *spec.get("initContainers", ())):
                    mounted = {mount["name"] for mount in container["volumeMounts"]}
                    assert mounted <= volumes | claims
                    ports = {port["name"] for port in container["ports"]}
                    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                        asked = container.get(kind, {}).get("httpGet", {}).get("port")
                        assert asked is None or asked in ports


def pods(path: Path) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield document["spec"]["template"]["spec"]


def containers(path: Path) -> Iterator[dict[str, Any]]:
    for spec in pods(path):
        yield from (*spec["containers"], *spec.get("initContainers", ()))


def settings_named(text: str) -> set[str]:
    """Return the settings that variables in `text` set; every one must be a key."""
    named = {
        name.lower().replace("_", "-") for name in re.findall(rf"{FOR_SETTINGS}([A-Z][A-Z0-9_]+)\b", text)
    }
    assert named <= set(BY_NAME)
    return named
