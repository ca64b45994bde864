from pathlib import Path

import pytest

from s3discovery.errors import SettingsError
from s3discovery.settings.config import Value, unknown_keys
from s3discovery.settings.sources import (
    FILE_LIMIT_BYTES,
    gather,
    load_properties,
    read_properties,
    remarks,
)


def texts(values: dict[str, Value]) -> dict[str, str]:
    return {name: value.text for name, value in values.items()}


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"a=\\u12", 1), (b"a=b\\\n c\n#x\n\nb=\\u00g0\n", 5), (b"a=1\rb=2\r\nc=\\uu0041", 3), (b"\\u00=x", 1)],
)
def test_a_malformed_escape_is_reported_with_its_line(data: bytes, line: int) -> None:
    with pytest.raises(SettingsError, match=rf"line {line}: .*four hexadecimal"):
        load_properties(data)


def test_a_malformed_escape_does_not_show_the_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        load_properties(b"credentials-secret-access-key=\\uMARKED")
    assert "MARK" not in str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "s3discovery.properties"
    file.write_bytes(b"file-prefix:a/ \nbroker = none\n")
    assert read_properties(file) == {"file-prefix": "a/ ", "broker": "none"}


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("missing", "does not exist"),
        ("folder", "is a directory"),
        ("large", "over 1048576 bytes"),
        ("bad", "line 2.*hexadecimal"),
        ("a\0b", "cannot be read"),
        ("x" * 300, "cannot be read"),
        ("locked", "may not be read"),
    ],
)
def test_an_unreadable_file_is_a_clear_error(tmp_path: Path, name: str, cure: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"#" * (FILE_LIMIT_BYTES + 1))
    (tmp_path / "bad").write_bytes(b"a=b\nb=\\u1\n")
    locked = tmp_path / "locked"
    locked.write_bytes(b"")
    locked.chmod(0)
    if name == "locked" and _may_read(locked):
        pytest.skip("this user may read everything")
    with pytest.raises(SettingsError, match=cure) as caught:
        read_properties(tmp_path / name)
    assert repr(str(tmp_path / name))[1:-1] in str(caught.value)


def _may_read(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return False
    return True


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    file = tmp_path / "full"
    file.write_bytes(b"#".ljust(FILE_LIMIT_BYTES - 4, b"#") + b"\na=b")
    assert read_properties(file) == {"a": "b"}


def test_options_win_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"broker=1\nbind-port=1\ncluster-id=1\ncredentials-type=x\n")
    environ = {"S3DISCOVERY_BROKER": "2", "S3DISCOVERY_BIND_PORT": "2", "HOME": "/"}
    values = gather(file=file, environ=environ, options=["broker=3", "amqtt-config=a=b"])
    assert values == {
        "broker": Value("3", "option -o"),
        "bind-port": Value("2", "variable S3DISCOVERY_BIND_PORT"),
        "cluster-id": Value("1", str(file)),
        "credentials-type": Value("x", str(file)),
        "amqtt-config": Value("a=b", "option -o"),
    }


def test_the_prefix_has_a_variable_of_the_original(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"file-prefix=1\n")
    assert gather(file=file, environ={"S3_FILE_PREFIX": "2"}) == {
        "file-prefix": Value("2", "variable S3_FILE_PREFIX")
    }
    both = {"S3DISCOVERY_FILE_PREFIX": "3", "S3_FILE_PREFIX": "2"}
    for environ in (both, dict(reversed(both.items()))):
        assert texts(gather(file=file, environ=environ)) == {"file-prefix": "3"}
    assert texts(gather(file=file, environ={"S3_FILE_PREFIX": ""})) == {"file-prefix": "1"}
    assert texts(gather(file=file, environ={"S3DISCOVERY_FILE_PREFIX": ""})) == {"file-prefix": ""}


def test_unknown_variables_are_kept_to_be_warned_of_but_not_those_of_kubernetes() -> None:
    environ = {
        "S3DISCOVERY_BOCKET": "x",
        "S3DISCOVERY_BND_PORT": "1",
        "S3DISCOVERY_SERVICE_HOST": "10.0.0.1",
        "S3DISCOVERY_SERVICE_PORT": "7800",
        "S3DISCOVERY_SERVICE_PORT_CLUSTER": "7800",
        "S3DISCOVERY_PORT": "tcp://10.0.0.1:7800",
        "S3DISCOVERY_PORT_7800_TCP": "tcp://10.0.0.1:7800",
        "S3DISCOVERY_PORT_7800_TCP_ADDR": "10.0.0.1",
        "S3DISCOVERY_METRICS_SERVICE_HOST": "10.0.0.1",
    }
    assert texts(gather(file=None, environ=environ)) == {"bocket": "x", "bnd-port": "1"}


def test_a_known_variable_is_kept_whatever_it_holds() -> None:
    environ = {"S3DISCOVERY_EXTERNAL_PORT": "tcp://10.0.0.1:7800"}
    assert texts(gather(file=None, environ=environ)) == {"external-port": "tcp://10.0.0.1:7800"}


def test_every_unreadable_option_and_the_file_are_reported_at_once(tmp_path: Path) -> None:
    options = ["credentials-secret-access-key:MARKED", "=x", "broker=none"]
    with pytest.raises(SettingsError, match="does not exist") as caught:
        gather(file=tmp_path / "missing", environ={}, options=options)
    assert [problem.key for problem in caught.value.problems][1:] == ["-o", "-o"]
    assert "MARKED" not in str(caught.value)


def test_values_do_not_show_their_text() -> None:
    assert "MARKED" not in repr(gather(file=None, environ={}, options=["x=MARKED"]))


# Files of HiveMQ 4's extension.


def write(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines))
    return file


def test_a_file_of_the_extension_is_known_by_its_name_or_by_what_is_beside_it(tmp_path: Path) -> None:
    conf = tmp_path / "extension" / "conf"
    named = gather(file=write(conf / "config.properties", "update-interval:180"), environ={})
    assert named["compatibility"] == Value("hivemq-4", "the name config.properties")
    assert named["file-prefix"].text == "", "the extension does without"
    link = tmp_path / "s3discovery.properties"
    link.symlink_to(conf / "config.properties")
    assert gather(file=link, environ={})["compatibility"].text == "hivemq-4", "however it is reached"
    file = write(conf / "s3discovery.properties", "update-interval:180")
    assert "compatibility" not in gather(file=file, environ={})
    for folder in (conf, conf.parent):
        descriptor = write(folder / "hivemq-extension.xml")
        assert gather(file=file, environ={})["compatibility"] == Value("hivemq-4", str(descriptor))
        beside = write(tmp_path / "mine.properties", "update-interval:180")
        assert "compatibility" not in gather(file=conf.parent / ".." / beside.name, environ={})
        linked = conf / "linked.properties"
        linked.symlink_to(beside)
        assert gather(file=linked, environ={})["compatibility"] == Value("hivemq-4", str(descriptor))
        linked.unlink()
        descriptor.unlink()
    assert gather(file=None, environ={}) == {}


def test_a_prefix_that_is_written_wrong_is_not_taken_for_none(tmp_path: Path) -> None:
    file = write(tmp_path / "config.properties", "file-prefx:nodes/")
    assert "file-prefix" not in gather(file=file, environ={})
    file = write(file)
    for given in (
        gather(file=file, environ={"S3DISCOVERY_FILE_PREFX": "nodes/"}),
        gather(file=file, environ={}, options=["file-prefx=nodes/"]),
    ):
        assert "file-prefix" not in given


def test_what_says_the_unit_counts_whatever_the_file_is_called(tmp_path: Path) -> None:
    file = write(tmp_path / "config.properties", "compatibility:hivemq-3")
    found = gather(file=file, environ={})
    assert found["compatibility"].text == "hivemq-3"
    file = write(tmp_path / "config.properties", "update-interval:180")
    for given in (
        gather(file=file, environ={"S3DISCOVERY_COMPATIBILITY": "hivemq-3"}),
        gather(file=file, environ={}, options=["compatibility=hivemq-3"]),
    ):
        assert given["compatibility"].text == "hivemq-3"


EXPANDED = ("s3-bucket-name:bkt", "stage:test-${s3-bucket-name}", "file-prefix:${stage}/${gone}nodes/")


def test_variables_are_expanded_by_the_file_itself_for_hivemq_4_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "s3discovery.properties", *EXPANDED)
    assert texts(gather(file=file, environ={}))["file-prefix"] == "${stage}/${gone}nodes/"
    values = gather(file=file, environ={}, options=["compatibility=hivemq-4"])
    assert values["file-prefix"] == Value("test-bkt/nodes/", str(file), ("stage", "s3-bucket-name", "gone"))
    assert unknown_keys(values) == ()
    assert [name for name, _ in remarks(values)] == ["gone"]
    # Ours and what was not written for HiveMQ stays as it is.
    values = gather(
        file=write(file, *EXPANDED, "command:x ${stage}"),
        environ={"S3DISCOVERY_FILE_PREFIX": "${stage}"},
        options=["compatibility=hivemq-4", "s3-endpoint=${stage}"],
    )
    assert values["file-prefix"].text == values["s3-endpoint"].text == "${stage}"
    assert values["command"].text == "x ${stage}"


@pytest.mark.parametrize(
    ("lines", "cure"),
    [
        (["file-prefix:${a}", "a:${b}", "b:x${a}"], "leads back to itself"),
        (["file-prefix:${file-prefix}"], "leads back to itself"),
        (["file-prefix:${credentials-secret-access-key}"], "is a secret"),
        (["file-prefix:${a}", "a:${credentials-secret-access-key}"], "is a secret"),
        (["file-prefix:${c}", f"c:{'${b}' * 30}", f"b:{'${a}' * 30}", f"a:{'x' * 99}"], "longer than 64 KiB"),
    ],
)
def test_variables_that_cannot_be_expanded_are_a_problem(tmp_path: Path, lines: list[str], cure: str) -> None:
    file = write(tmp_path / "config.properties", "credentials-secret-access-key:MARKED", *lines)
    with pytest.raises(SettingsError, match=cure) as caught:
        gather(file=file, environ={})
    assert [problem.key for problem in caught.value.problems] == ["file-prefix"]
    assert "MARKED" not in str(caught.value)
    # What another origin says is in force, so nothing is wrong.
    gather(file=file, environ={"S3_FILE_PREFIX": "nodes/"})


def test_every_variable_on_the_way_is_known_and_told_if_it_is_nowhere(tmp_path: Path) -> None:
    file = write(tmp_path / "config.properties", "file-prefix:${a}/${c}", "a:${b}/x", "b:y", "c:${zzz}/x")
    values = gather(file=file, environ={})
    assert values["file-prefix"].text == "y/x//x"
    assert unknown_keys(values) == ()
    assert [name for name, _ in remarks(values)] == ["zzz"]


def test_a_secret_may_be_made_of_another(tmp_path: Path) -> None:
    lines = ("key:MARKED", "credentials-secret-access-key:${key}", "credentials-session-token:${key}2")
    values = gather(file=write(tmp_path / "config.properties", *lines), environ={})
    assert values["credentials-session-token"].text == "MARKED2"


IN_TWO_UNITS = {"file-expiration": "360", "update-interval": "180"}


def looks(**named: str) -> bool:
    texts = IN_TWO_UNITS | {name.replace("_", "-"): text for name, text in named.items()}
    found = remarks({name: Value(text, "file") for name, text in texts.items()})
    return "compatibility" in [name for name, _ in found]


def test_a_guess_is_made_by_the_one_key_that_the_extension_alone_has() -> None:
    assert looks(s3_endpoint_region="eu-central-1")
    # HiveMQ 3 had these keys too.
    assert not looks(s3_endpoint="http://127.0.0.1:9000", s3_path_style_access="true")


@pytest.mark.parametrize(
    "named",
    [
        {"compatibility": "hivemq-3"},
        {"compatibility": "hivemq-4"},
        {"file_expiration": "360s", "update_interval": "3m"},
        {"file_expiration": "0", "update_interval": "0"},
        {"file_expiration": "no number", "update_interval": "-1"},
    ],
)
def test_nothing_is_guessed_where_the_unit_is_sure(named: dict[str, str]) -> None:
    assert not looks(s3_endpoint_region="eu-central-1", **named)
