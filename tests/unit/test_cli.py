"""The command line as far as no server is needed: help, usage, settings, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from s3discovery.cli import main

COMMANDS = (
    "run",
    "doctor",
    "members",
    "watch",
    "config",
    "demo",
    "policy",
    "init",
    "status",
    "leave",
    "observe",
    "completion",
)
GOOD = (
    "s3-bucket-region=us-east-1",
    "s3-bucket-name=bucket",
    "file-prefix=nodes/",
    "file-expiration=360",
    "update-interval=180",
)
HIVEMQ = """<hivemq><cluster><enabled>true</enabled><transport><tcp><bind-address>{}</bind-address>
<bind-port>7800</bind-port></tcp></transport><discovery><{}/></discovery></cluster></hivemq>"""
SECRET, TOKEN = "sEcReT-0123456789", "tOkEn-0123456789"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="s3discovery", catch_exceptions=False)


def options(*texts: str) -> list[str]:
    return [word for text in texts for word in ("-o", text)]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside: neither variables nor a file in the folder."""
    for name in [name for name in os.environ if name.startswith(("S3", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class TestHelp:
    def test_lists_every_command(self) -> None:
        result = call("--help")
        assert result.exit_code == 0
        assert set(COMMANDS) == set(main.commands)
        for command in COMMANDS:
            assert f"  {command} " in result.output

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("flag", ["-h", "--help"])
    def test_of_a_command_has_an_example_that_stands_alone(self, command: str, flag: str) -> None:
        result = call(command, flag)
        assert result.exit_code == 0
        lines = result.output.splitlines()
        example = lines[lines.index("  Example:") + 1]
        assert example.startswith(f"    s3discovery {command}")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_examples_are_valid_usage(self, command: str) -> None:
        lines = call(command, "--help").output.splitlines()
        words = lines[lines.index("  Example:") + 1].split()
        # Parsed only: nothing is run.
        main.commands[command].make_context(command, words[2:])

    def test_version(self) -> None:
        assert call("--version").output.startswith("s3discovery, version ")


class TestUsage:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_an_unknown_option_is_named(self, command: str) -> None:
        result = call(command, "--nonsense")
        assert result.exit_code == 2
        assert "--nonsense" in result.output
        assert "Usage: " in result.output

    @pytest.mark.parametrize("command", sorted({*COMMANDS} - {"run", "completion"}))
    def test_an_argument_too_many_is_named(self, command: str) -> None:
        result = call(command, "nonsense")
        assert result.exit_code == 2
        assert "nonsense" in result.output

    def test_an_unknown_command_is_named(self) -> None:
        result = call("membres")
        assert result.exit_code == 2
        assert "membres" in result.output

    @pytest.mark.parametrize("command", ["members", "watch", "config"])
    def test_an_unknown_format_is_told_with_those_there_are(self, command: str) -> None:
        result = call(command, "--format", "xml")
        assert result.exit_code == 2
        assert "'table', 'json'" in result.output

    @pytest.mark.parametrize("command", ["run", "members", "watch", "config"])
    def test_an_unknown_log_level_is_told(self, command: str) -> None:
        result = call(command, "--log-level", "loud")
        assert result.exit_code == 2
        assert "'debug', 'info', 'warning', 'error'" in result.output

    @pytest.mark.parametrize("nodes", ["2", "11", "x"])
    def test_a_demo_has_3_to_10_nodes(self, nodes: str) -> None:
        result = call("demo", "--nodes", nodes)
        assert result.exit_code == 2
        assert "--nodes" in result.output


class TestWrongSettings:
    @pytest.mark.parametrize("command", ["run", "members", "watch", "config"])
    def test_all_problems_are_told_and_the_exit_code_is_2(self, command: str) -> None:
        wrong = ("poll-interval=often", "bind-port=70000", "file-expiration=1m", "update-interval=2m")
        arguments = [text for text in (*GOOD, *wrong) if not text.startswith("s3-bucket-name")]
        if command == "watch":
            # Its own --interval takes the place of poll-interval.
            arguments = [*arguments, "poll-interval=1s"]
        result = call(command, *options(*arguments), *(["--interval", "often"] if command == "watch" else []))
        assert result.exit_code == 2
        assert "4 problems in the settings:" in result.output
        interval = "--interval" if command == "watch" else "poll-interval"
        for key in ("s3-bucket-name", "update-interval", interval, "bind-port"):
            assert f"\n  - {key}" in result.output
        assert "Traceback" not in result.output

    @pytest.mark.parametrize("command", ["run", "members", "watch", "config"])
    def test_no_settings_at_all_name_every_required_key(self, command: str) -> None:
        result = call(command)
        assert result.exit_code == 2
        for text in GOOD:
            assert f"{text.partition('=')[0]}: is missing" in result.output

    @pytest.mark.parametrize("command", ["run", "members", "watch", "config"])
    def test_an_option_that_is_no_setting_is_told_without_its_text(self, command: str) -> None:
        result = call(command, "-o", SECRET)
        assert result.exit_code == 2
        assert "-o: write key=value" in result.output
        assert SECRET not in result.output

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (None, "does not exist"),
            (Path.mkdir, "is a directory"),
            (lambda path: path.write_bytes(b"a=\\u12zz\n"), "malformed \\u"),
            (lambda path: path.write_bytes(bytes(2 * 2**20)), "is over 1048576 bytes"),
        ],
        ids=["missing", "folder", "malformed", "too large"],
    )
    def test_a_file_that_cannot_be_read_is_named_with_the_reason(
        self, tmp_path: Path, make: object, said: str
    ) -> None:
        path = tmp_path / "named.properties"
        if callable(make):
            make(path)
        result = call("config", "-c", str(path))
        assert result.exit_code == 2
        assert "named.properties" in result.output
        assert said in result.output

    def test_a_secret_in_a_wrong_setting_is_masked(self) -> None:
        text = f"credentials-secret-access-key={SECRET}\x07"
        result = call("config", *options(*GOOD, "credentials-type=access_key", text))
        assert result.exit_code == 2
        assert SECRET not in result.output
        assert "credentials-secret-access-key='***'" in result.output


class TestConfig:
    secret = (
        "credentials-type=temporary_session",
        "credentials-access-key-id=AKID",
        f"credentials-secret-access-key={SECRET}",
        f"credentials-session-token={TOKEN}",
    )

    def test_json_has_every_key_with_value_and_origin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("S3DISCOVERY_POLL_INTERVAL", "7s")
        result = call("config", "--format", "json", *options(*GOOD, *self.secret))
        assert result.exit_code == 0
        shown = json.loads(result.stdout)
        assert shown["file-prefix"] == {"value": "nodes/", "origin": "option -o"}
        assert shown["file-expiration"]["value"] == "6h"
        assert shown["poll-interval"] == {"value": "7s", "origin": "variable S3DISCOVERY_POLL_INTERVAL"}
        assert shown["broker"] == {"value": "none", "origin": "default"}
        assert shown["cluster-id"] == {"value": None, "origin": "default"}
        assert SECRET not in result.output
        assert TOKEN not in result.output

    def test_table_masks_secrets(self) -> None:
        result = call("config", *options(*GOOD, *self.secret))
        assert result.exit_code == 0
        rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
        assert rows["credentials-access-key-id"] == ["AKID***", "option", "-o"]
        assert rows["credentials-secret-access-key"] == ["***", "option", "-o"]
        assert rows["credentials-session-token"] == ["***", "option", "-o"]
        assert rows["poll-interval"] == ["1m", "default"]
        assert SECRET not in result.output
        assert TOKEN not in result.output

    def test_takes_the_file_in_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "s3discovery.properties").write_text("\n".join(GOOD))
        result = call("config", "--format", "json")
        assert json.loads(result.stdout)["file-prefix"]["origin"] == "s3discovery.properties"

    def test_a_file_that_is_named_wins_over_the_one_in_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "s3discovery.properties").write_text("\n".join(GOOD))
        other = tmp_path / "other.properties"
        other.write_text("\n".join(GOOD).replace("nodes/", "other/"))
        result = call("config", "--format", "json", "-c", str(other))
        assert json.loads(result.stdout)["file-prefix"] == {"value": "other/", "origin": str(other)}


class TestWatch:
    @pytest.mark.parametrize("interval", ["0", "-0", "1ms", "50ms", "-5", "2d", "88888d"])
    def test_an_interval_it_cannot_keep_is_refused(self, interval: str) -> None:
        result = call("watch", *options(*GOOD), f"--interval={interval}")
        assert result.exit_code == 2
        assert result.output == (
            f"Error: 1 problem in the options:\n  - --interval={interval!r}: write a duration from 100ms to "
            "1d, such as 60s\n"
        )

    def test_an_interval_that_is_none_is_refused(self) -> None:
        result = call("watch", *options(*GOOD), "--interval", "soon")
        assert (result.exit_code, result.output.count("\n")) == (2, 2)
        assert "  - --interval='soon': write a number with a unit" in result.output


class TestHivemq:
    """What is wrong in config.xml cannot be mended by another start: the service is not to try."""

    def run(self, text: str, tmp_path: Path) -> Result:
        path = tmp_path / "config.xml"
        if text:
            path.write_text(text)
        beside = ("broker=hivemq", "dns-listen=127.0.0.1:5353", f"hivemq-config={path}")
        return call("run", *options(*GOOD, *beside))

    @pytest.mark.parametrize(
        ("text", "cure"),
        [
            (HIVEMQ.format("${ENV:HM_ADDR}", "extension"), "that variable is not set here: give s3discovery"),
            (HIVEMQ.format("10.0.0.5", "static"), "write <discovery><extension/></discovery>"),
        ],
    )
    def test_a_wrong_config_xml_ends_as_wrong_settings_do(self, text: str, cure: str, tmp_path: Path) -> None:
        result = self.run(text, tmp_path)
        assert result.exit_code == 2
        assert result.output.startswith("Error: 1 problem in the configuration of HiveMQ:\n  - '")
        assert cure in result.output

    def test_one_that_is_not_there_may_be_in_a_moment(self, tmp_path: Path) -> None:
        result = self.run("", tmp_path)
        assert result.exit_code == 1
        assert "cannot be read: No such file or directory; write its path to hivemq-config" in result.output


@pytest.mark.parametrize("command", ["run", "config"])
def test_a_broker_that_is_not_installed_is_told_with_all_other_problems(command: str) -> None:
    result = call(command, *options(*GOOD, "broker=nonsense", "bind-address=10.0.0.1", "poll-interval=often"))
    assert result.exit_code == 2
    assert "2 problems in the settings:\n  - poll-interval='often'" in result.output
    assert "\n  - broker='nonsense': nothing installed drives such a broker" in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_output_that_cannot_be_written_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "S3DISCOVERY_FILE_PREFIX": "ünï/"}
    options = [
        "s3-bucket-region=us-east-1",
        "s3-bucket-name=hivemq",
        "file-expiration=6h",
        "update-interval=3h",
    ]
    command = [sys.executable, "-m", "s3discovery", "config", *(f"-o{option}" for option in options)]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command, env=environ, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == 1
    assert b"cannot be written: No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr
    shown = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert rb"\xfcn\xef/" in shown.stdout
