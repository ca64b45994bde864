"""Where settings come from, and which class fills which seam."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from s3discovery import wiring
from s3discovery.brokers import Surroundings
from s3discovery.brokers.amqtt import AmqttBroker
from s3discovery.credentials import CredentialsProvider
from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import Settings
from s3discovery.testing import make_settings
from s3discovery.wiring import Origins

TEXT = """\
s3-bucket-region=us-east-1
s3-bucket-name=bucket
file-prefix=file/
file-expiration=360
update-interval=180
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s3discovery.properties"
    path.write_text(TEXT)
    return path


@pytest.fixture
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> SettingsError:
    """As if the type of credentials were none that this version can do."""
    error = SettingsError([Problem("credentials-type", "default", "not available")])

    def refuse(settings: Settings, environ: Mapping[str, str], **options: object) -> CredentialsProvider:
        raise error

    monkeypatch.setattr("s3discovery.credentials.provider_for", refuse)
    return error


class TestOrigins:
    def test_an_option_wins_over_the_environment_and_that_over_the_file(self, file: Path) -> None:
        environ = {"S3DISCOVERY_FILE_PREFIX": "environ/", "S3DISCOVERY_POLL_INTERVAL": "7s"}
        assert Origins(file, (), {}).read().file_prefix == "file/"
        assert Origins(file, (), environ).read().file_prefix == "environ/"
        settings = Origins(file, ("file-prefix=option/",), environ).read()
        assert (settings.file_prefix, settings.poll_interval_s) == ("option/", 7)

    def test_no_file_is_needed(self) -> None:
        options = tuple(TEXT.splitlines())
        assert Origins(None, options, {}).read().bucket_name == "bucket"

    def test_all_problems_come_at_once(self, file: Path) -> None:
        file.write_text(TEXT + "poll-interval=often\nbind-port=x\n")
        with pytest.raises(SettingsError) as caught:
            Origins(file, (), {}).read()
        assert [problem.key for problem in caught.value.problems] == ["poll-interval", "bind-port"]

    def test_an_unknown_key_is_told_with_the_nearest(
        self, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        Origins(file, ("pol-interval=5s", "zzz=secret-text"), {}).read()
        assert (
            "unknown key ignored key='pol-interval' origin=option -o, is poll-interval meant?" in caplog.text
        )
        assert "key='zzz'" in caplog.text
        assert "secret-text" not in caplog.text

    def test_a_broker_that_is_not_installed_and_credentials_come_at_once(
        self, file: Path, without_credentials: SettingsError
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            Origins(file, ("broker=rabbitmx",), {}).read(as_node=True)
        assert [problem.key for problem in caught.value.problems] == ["broker", "credentials-type"]

    def test_a_broker_that_is_not_installed_comes_with_all_other_problems(self, file: Path) -> None:
        with pytest.raises(SettingsError) as caught:
            Origins(file, ("broker=rabbitmx", "poll-interval=often"), {}).read(as_node=True)
        polls, broker = caught.value.problems
        assert polls.key == "poll-interval"
        assert str(broker).startswith(
            "broker='rabbitmx': nothing installed drives such a broker; write one of none, amqtt, "
        )
        assert str(broker).endswith(" (set in option -o)")

    def test_a_broker_that_is_no_name_is_one_problem(self, file: Path) -> None:
        with pytest.raises(SettingsError) as caught:
            Origins(file, ("broker=Rabbit MX",), {}).read(as_node=True)
        assert [problem.key for problem in caught.value.problems] == ["broker"]

    def test_who_only_looks_needs_no_broker(self, file: Path) -> None:
        assert Origins(file, ("broker=rabbitmx",), {}).read().broker == "rabbitmx"

    def test_a_broker_that_cannot_be_loaded_says_why(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "s3discovery.brokers.amqtt")
        monkeypatch.setitem(sys.modules, "amqtt.session", None)  # as if it were not installed
        with pytest.raises(SettingsError, match=r"broker='amqtt': .* pip install 's3discovery\[amqtt\]'"):
            Origins(file, ("broker=amqtt",), {}).read(as_node=True)

    def test_the_mark_changes_with_the_file(self, file: Path) -> None:
        origins = Origins(file, (), {})
        marks = [origins.mark(), origins.mark()]
        file.write_text(TEXT + "poll-interval=5s\n")
        marks.append(origins.mark())
        other = file.with_suffix(".new")
        other.write_text(TEXT + "poll-interval=6s\n")  # as long as before, put in its place as editors do
        os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        other.replace(file)
        marks.append(origins.mark())
        file.unlink()
        marks.extend([origins.mark(), origins.mark()])
        assert marks[0] == marks[1]
        assert len(set(map(repr, marks))) == 4
        assert marks[4] == marks[5]

    def test_without_a_file_the_mark_never_changes(self) -> None:
        assert Origins(None, (), {}).mark() == Origins(None, ("a=b",), {}).mark()


class TestAgent:
    async def test_it_wants_the_broker_that_the_settings_name(self, file: Path) -> None:
        agent = wiring.make_agent(Origins(file, ("broker=rabbitmx", "poll-interval=often"), {}))
        with pytest.raises(SettingsError) as caught:
            await agent.run()
        assert [problem.key for problem in caught.value.problems] == ["poll-interval", "broker"]


class TestBroker:
    def look_now(self) -> None:
        raise AssertionError("nothing was met")

    def make(self, settings: Settings) -> object:
        return wiring.make_broker(Surroundings(settings, "a", self.look_now))

    def test_none_is_none(self) -> None:
        assert self.make(make_settings()) is None

    def test_amqtt_is_ours(self) -> None:
        assert isinstance(self.make(make_settings(broker="amqtt")), AmqttBroker)

    def test_an_unknown_one_is_a_wrong_setting_that_names_those_there_are(self) -> None:
        with pytest.raises(SettingsError, match=r"broker='rabbitmx': .* none, .*amqtt"):
            self.make(make_settings(broker="rabbitmx"))


class TestBucket:
    def test_is_where_the_settings_say(self) -> None:
        settings = make_settings(
            s3_endpoint="http://127.0.0.1:9000",
            credentials_type="access_key",
            credentials_access_key_id="AK",
            credentials_secret_access_key="secret",
        )
        location = Origins(None, environ={}).open_bucket(settings).location
        assert (location.bucket, location.endpoint) == ("bucket", "http://127.0.0.1:9000")

    def test_a_place_or_a_proxy_that_contradicts_is_a_wrong_setting(self) -> None:
        options = [*TEXT.split(), "credentials-type=anonymous", "s3-endpoint=h", "s3-fips=true"]
        with pytest.raises(SettingsError, match="s3-fips='true': leave out either this or s3-endpoint"):
            Origins(None, tuple(options), environ={}).read()
        with pytest.raises(SettingsError, match="HTTPS_PROXY"):
            Origins(None, tuple(options[:-1]), environ={"HTTPS_PROXY": "socks5://p"}).read()

    def test_a_type_of_credentials_that_is_not_there_is_a_wrong_setting(self) -> None:
        with pytest.raises(SettingsError, match="credentials-"):
            Origins(None, environ={}).open_bucket(make_settings(credentials_type="temporary_session"))


def test_generated_ids_differ_and_fit_everywhere() -> None:
    ids = {wiring.make_cluster_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(cluster_id.isalnum() and cluster_id.isascii() for cluster_id in ids)
    one = ids.pop()
    assert make_settings(cluster_id=one).cluster_id == one


def test_discover_takes_options_by_name_and_reports_wrong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("S3")]:
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError) as caught:
        wiring.discover(None, s3_bucket_name="bucket", poll_interval="often")
    keys = [problem.key for problem in caught.value.problems]
    assert "poll-interval" in keys
    assert "s3-bucket-region" in keys
    assert "s3-bucket-name" not in keys


def test_discover_wants_the_file_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.properties.*does not exist"):
        wiring.discover(tmp_path / "missing.properties")


def test_nothing_is_logged_for_settings_that_are_right(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    Origins(file, (), {}).read()
    assert caplog.records == []


def test_a_file_of_hivemq_4_works_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = (
        "s3-bucket-region:us-east-1",
        "s3-bucket-name:bucket",
        "file-expiration:0x20",
        "update-interval:010",
        "credentials-type:default",
        "s3-endpoint:s3.amazonaws.com",
        "s3-endpoint-region:eu-central-1",
    )
    file = tmp_path / "config.properties"
    file.write_text("\n".join(lines))
    settings = Origins(file, (), {}).read()
    assert (settings.file_prefix, settings.file_version) == ("", "4")
    assert (settings.file_expiration_s, settings.update_interval_s) == (32, 8)
    assert (settings.endpoint, settings.signing_region) == (None, "us-east-1"), "AWS, whatever else is said"
    (record,) = caplog.records
    assert "every object of the bucket" in record.getMessage()


def test_what_may_be_meant_in_seconds_and_is_read_in_minutes_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mine.properties"
    file.write_text(
        "s3-bucket-region:us-east-1\ns3-bucket-name:bucket\nfile-prefix:nodes/\n"
        "file-expiration:360\nupdate-interval:180\ns3-endpoint-region:eu-central-1\n"
    )
    assert Origins(file, (), {}).read().file_expiration_s == 360 * 60
    assert "write compatibility:hivemq-4" in caplog.text
    caplog.clear()
    assert Origins(file, ("compatibility=hivemq-4",), {}).read().file_expiration_s == 360
    assert caplog.records == []


def test_a_variable_that_is_nowhere_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "config.properties"
    file.write_text(
        "s3-bucket-region:us-east-1\ns3-bucket-name:bucket\nfile-prefix:${stage}nodes/\n"
        "file-expiration:360\nupdate-interval:180\n"
    )
    assert Origins(file, (), {}).read().file_prefix == "nodes/"
    assert "stage is a variable" in caplog.text


def test_what_dns_needs_is_missed_before_anything_is_registered(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = Origins(file, ("dns-listen=127.0.0.1:5353",), {})
    assert origins.read(serves=True).dns_listen == "127.0.0.1:5353"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"dns-listen.*pip install 's3discovery\[dns\]'"):
        origins.read(serves=True)
    origins.read()


def test_who_has_no_file_is_told_how_to_get_one(file: Path) -> None:
    with pytest.raises(SettingsError, match="name one with -c, or write one by `s3discovery init`"):
        Origins(None, (), {}).read()
    with pytest.raises(SettingsError, match="problem in the settings:"):
        Origins(file, ("poll-interval=x",), {}).read()
