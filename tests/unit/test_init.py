"""`s3discovery init`: what it writes is read back as the same settings, and nothing is lost on the way."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from s3discovery.cli import main
from s3discovery.settings import sources
from s3discovery.settings.config import parse
from s3discovery.settings.keys import KEYS
from s3discovery.settings.kinds import Secret, WrongTextError, read_prefix
from s3discovery.settings.properties_file import write_properties

GOOD = {
    "s3-bucket-region": "us-east-1",
    "s3-bucket-name": "mesh",
    "file-prefix": "nodes/",
    "file-expiration": "6h",
    "update-interval": "3h",
}
WRITTEN = GOOD | {"compatibility": "hivemq-3"}
SECRET = "sEcReT-0123456789"
FILE = Path("s3discovery.properties")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith(("S3", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def call(*arguments: str, answers: str | None = None, **more: str) -> Result:
    options = {name.replace("_", "-"): text for name, text in more.items()}
    words = [word for name, text in options.items() for word in ("-o", f"{name}={text}")]
    return CliRunner().invoke(main, ["init", *words, *arguments], input=answers, catch_exceptions=False)


def given_all(**more: str) -> dict[str, str]:
    return {name.replace("-", "_"): text for name, text in GOOD.items()} | more


def written(path: Path = FILE) -> dict[str, str]:
    return sources.read_properties(path)


def mode(path: Path = FILE) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFile:
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
    @example(" leading and trailing ")
    @example("  ")
    @example(" ")
    @example("\\")
    @example("a\\\\:=#!b\\u0041")
    @example(":x")
    @example("=x")
    @example("#x")
    @example("ünïcödé ☃ 🎉")
    @example("")
    def test_is_read_back_as_it_was_meant(self, prefix: str) -> None:
        try:
            read_prefix(prefix)
        except WrongTextError:
            return
        values = GOOD | {"file-prefix": prefix}
        text = write_properties(values)
        found = sources.load_properties(text.encode("ascii"))
        assert found == values
        assert parse(found) == parse(values)
        assert not [line for line in text.splitlines() if line != line.rstrip()], "an editor would remove it"

    def test_mentions_every_key_once_with_its_help(self) -> None:
        text = write_properties(GOOD)
        lines = text.splitlines()
        for key in KEYS:
            entries = [line for line in lines if line.lstrip("#").startswith(f"{key.name}:")]
            assert len(entries) == 1, key.name
            assert entries[0].startswith("#") == (key.name not in GOOD)
            first = key.help.split()[:4]
            assert f"# {' '.join(first)}" in text
        assert max(len(line) for line in lines if line.startswith("# ")) <= 100

    def test_commented_lines_hold_when_the_mark_is_removed(self) -> None:
        bare = [line.removeprefix("#") for line in write_properties(GOOD).splitlines()]
        entries = [line for line in bare if line and not line.startswith(" ")]
        found = sources.load_properties("\n".join(entries).encode("ascii"))
        for key in KEYS:
            if key.name in GOOD:
                continue
            assert found[key.name] == (key.example if key.default is None else key.default)
            if not key.secret:  # the example of a secret is none
                key.read(found[key.name])

    def test_what_is_set_stands_before_what_is_not(self) -> None:
        lines = write_properties(GOOD).splitlines()
        first_unset = next(place for place, line in enumerate(lines) if line.startswith("#poll-interval"))
        assert all(lines.index(f"{name}:{text}") < first_unset for name, text in GOOD.items())


class TestFromOptions:
    def test_asks_nothing_where_all_is_given(self) -> None:
        result = call(**given_all(broker="amqtt"))
        assert result.exit_code == 0, result.output
        assert written() == WRITTEN | {"broker": "amqtt"}
        assert result.stdout.splitlines() == [f"wrote {FILE}", "next: s3discovery doctor"]

    def test_names_the_file_in_the_next_step(self) -> None:
        result = call("-c", "other.properties", **given_all())
        assert "next: s3discovery doctor -c other.properties" in result.stdout
        assert written(Path("other.properties")) == WRITTEN

    def test_next_step_can_be_copied(self) -> None:
        result = call("-c", "a b.properties", **given_all())
        assert "next: s3discovery doctor -c 'a b.properties'\n" in result.stdout

    def test_force_writes_through_a_link(self) -> None:
        real = Path("real.properties")
        real.write_text("old")
        FILE.symlink_to(real)
        assert call("--force", **given_all()).exit_code == 0
        assert FILE.is_symlink()
        assert written(real) == WRITTEN

    def test_no_input_tells_all_that_is_missing(self) -> None:
        result = call("--no-input", s3_bucket_name="mesh")
        assert result.exit_code == 2
        for name in ("s3-bucket-region", "file-prefix", "file-expiration", "update-interval"):
            assert f"{name}: is missing" in result.stderr
        assert not FILE.exists()

    def test_an_unknown_key_is_refused_with_the_nearest(self) -> None:
        result = call(**given_all(pol_interval=SECRET))
        assert result.exit_code == 2
        assert "poll-interval" in result.stderr
        assert SECRET not in result.output
        assert not FILE.exists()

    def test_the_environment_is_not_written_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("S3DISCOVERY_CREDENTIALS_SECRET_ACCESS_KEY", SECRET)
        assert call(**given_all()).exit_code == 0
        assert SECRET not in FILE.read_text()

    def test_starts_from_a_file_of_the_original(self) -> None:
        original = Path("hivemq.properties")
        original.write_text("credentials-type:default\ns3-bucket-region:eu-west-1\ns3-bucket-name:old\n")
        with original.open("a") as file:
            file.write(f"file-prefix:hivemq/\nfile-expiration:360\nupdate-interval:180\nodd-key:{SECRET}\n")
        result = call("--from", str(original), s3_bucket_name="new")
        assert result.exit_code == 0, result.output
        assert "left out: unknown key 'odd-key'" in result.stderr
        assert written()["s3-bucket-name"] == "new"
        assert written()["file-prefix"] == "hivemq/"
        assert parse(written()).file_expiration_s == 360 * 60
        assert SECRET not in FILE.read_text() + result.output

    def test_which_hivemq_it_fits_is_written_as_given(self) -> None:
        assert call(**given_all(compatibility="hivemq-4")).exit_code == 0
        assert written() == GOOD | {"compatibility": "hivemq-4"}

    def test_starts_from_a_file_of_hivemq_4_with_its_seconds_and_its_empty_prefix(self) -> None:
        original = Path("config.properties")
        original.write_text("s3-bucket-region:eu-west-1\ns3-bucket-name:old\ncredentials-type:default\n")
        with original.open("a") as file:
            file.write("file-expiration:360\nupdate-interval:180\n")
        result = call("--no-input", "--from", str(original))
        assert result.exit_code == 0, result.output
        assert "file-prefix is empty, so every object of the bucket is looked at" in result.stderr
        assert (written()["compatibility"], written()["file-prefix"]) == ("hivemq-4", "")
        assert parse(written()).file_expiration_s == 360


class TestPlaceOfTheFile:
    def test_never_overwrites_unless_forced(self) -> None:
        FILE.write_text("mine")
        result = call(**given_all())
        assert result.exit_code == 1
        assert "--force" in result.stderr
        assert FILE.read_text() == "mine"
        assert call("--force", **given_all()).exit_code == 0
        assert written() == WRITTEN

    def test_asks_nothing_before_it_says_so(self) -> None:
        FILE.write_text("mine")
        assert "s3-bucket-name" not in call(answers="x\n").output

    def test_a_link_that_leads_nowhere_is_a_file_too(self) -> None:
        FILE.symlink_to("elsewhere")
        assert call(**given_all()).exit_code == 1
        assert FILE.is_symlink()

    def test_a_secret_is_for_its_owner_alone(self) -> None:
        old = os.umask(0o022)
        try:
            secret = {"credentials_access_key_id": "AKID", "credentials_secret_access_key": SECRET}
            assert call(**given_all(credentials_type="access_key", **secret)).exit_code == 0
            assert mode() == 0o600
            assert call("--force", **given_all()).exit_code == 0
            assert mode() == 0o644
            FILE.chmod(0o644)
            arguments = given_all(credentials_type="access_key", **secret)
            assert call("--force", **arguments).exit_code == 0
            assert mode() == 0o600
        finally:
            os.umask(old)

    def test_a_folder_that_is_not_there_is_told(self) -> None:
        result = call("-c", "nowhere/a.properties", **given_all())
        assert result.exit_code == 1
        assert "cannot be written (No such file or directory)" in result.stderr

    def test_a_write_that_fails_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        result = call(**given_all())
        assert result.exit_code == 1
        assert "No space left" in result.stderr
        assert list(Path().iterdir()) == []

    def test_a_write_that_fails_leaves_the_file_it_was_to_replace(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FILE.write_text("mine")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        assert call("--force", **given_all()).exit_code == 1
        assert FILE.read_text() == "mine"
        assert list(Path().iterdir()) == [FILE]


class TestAsking:
    def test_enter_takes_what_is_proposed(self) -> None:
        # Bucket, then Enter for region, endpoint, prefix, expiration, interval, type and broker.
        result = call(answers="mesh\n" + "\n" * 7)
        assert result.exit_code == 0, result.output
        found = parse(written())
        assert found.bucket_name == "mesh"
        assert found.endpoint is None
        assert (found.file_expiration_s, found.update_interval_s) == (900, 300)
        assert "s3-endpoint" not in written()

    def test_a_wrong_answer_is_asked_again_with_the_cure(self) -> None:
        result = call(answers="no good\nmesh\n" + "\n" * 7)
        assert result.exit_code == 0, result.output
        assert "lower-case letters" in result.output
        assert written()["s3-bucket-name"] == "mesh"

    def test_what_is_given_is_not_asked(self) -> None:
        result = call(answers="\n" * 4, **{**given_all(), "s3_bucket_region": "us_east_1"})
        # What was given wrong comes first, with the reason; after it what is missing to a choice.
        assert result.output.startswith("s3-bucket-region='us_east_1'")
        assert "[hivemq/cluster/nodes/]" not in result.output
        assert written() == WRITTEN | {"credentials-type": "default", "broker": "none"}

    def test_a_secret_is_asked_for_without_echo(self) -> None:
        answers = "mesh\n" + "\n" * 5 + f"access_key\n\nAKID\n{SECRET}\n"
        result = call(answers=answers)
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output
        assert parse(written()).secret_access_key == Secret(SECRET)
        assert mode() == 0o600

    def test_a_secret_cannot_be_left_out(self) -> None:
        answers = "mesh\n" + "\n" * 5 + f"access_key\n\n\nAKID\n\n{SECRET}\n"
        result = call(answers=answers)
        assert result.exit_code == 0, result.output
        assert written()["credentials-access-key-id"] == "AKID"
        assert written()["credentials-secret-access-key"] == SECRET

    def test_settings_that_contradict_are_asked_for_again(self) -> None:
        answers = "mesh\n\n\n\n1h\n2h\n\n\n30m\n"
        result = call(answers=answers)
        assert result.exit_code == 0, result.output
        assert "or live nodes expire" in result.output
        assert written()["update-interval"] == "30m"

    def test_an_end_of_input_writes_nothing(self) -> None:
        result = call(answers="mesh\n")
        assert result.exit_code == 1
        assert "Aborted" in result.output
        assert not FILE.exists()


def test_it_ends_with_a_command_that_there_is() -> None:
    assert "doctor" in main.commands
