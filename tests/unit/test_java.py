import os
from pathlib import Path

import pytest

from s3discovery.errors import SettingsError
from s3discovery.settings.java import java_system_properties, properties_of_jvm


def test_java_system_properties() -> None:
    environ = {
        "JAVA_TOOL_OPTIONS": "-Da=tool -Db=tool -Dc=tool -Dd=tool",
        "JDK_JAVA_OPTIONS": "-Db=jdk -Dc=jdk -Dd=jdk -Xmx1g",
        "HIVEMQ_OPTS": '-server "-Di=hive mq" -Dd=hivemq',
        "JAVA_OPTS": "-Dc=opts -Dd=opts '-De=two words' -Df=\"x=y\" -cp -notD -Dg",
        "HOME": "/",
    }
    assert java_system_properties(["-Dd=line", "h=line"], environ) == {
        "a": "tool",
        "b": "jdk",
        "c": "opts",
        "d": "line",
        "e": "two words",
        "f": "x=y",
        "g": "",
        "h": "line",
        "i": "hive mq",
    }
    assert java_system_properties([], {}) == {}


def test_an_open_quote_is_reported_without_its_text() -> None:
    environ = {"JAVA_OPTS": "-Daws.secretKey='MARKED", "JDK_JAVA_OPTIONS": '"'}
    with pytest.raises(SettingsError, match=r"JAVA_OPTS.*quote") as caught:
        java_system_properties([], environ)
    assert {problem.key for problem in caught.value.problems} == set(environ)
    assert "MARKED" not in str(caught.value)


def test_hivemqs_own_variable_wins_over_javas() -> None:
    assert java_system_properties([], {"HIVEMQ_OPTS": "-Da=hivemq", "JAVA_OPTS": "-Da=opts"}) == {
        "a": "hivemq"
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["java", "-Da=1", "-Db=two words", "Main"], {"a": "1", "b": "two words"}),
        (["java", "-Da=1", "-jar", "x.jar", "-Db=of the program"], {"a": "1"}),
        (["java", "-cp", "a.jar", "-Da=1", "-m", "x/y", "-Db=2"], {"a": "1"}),
        (["java", "--add-opens", "a/b=c", "--add-opens=a/b=c", "-Xmx1g", "-Da=1=2"], {"a": "1=2"}),
        (["java", "-Da=1", "--module=x/y", "-Db=of the program"], {"a": "1"}),
        (["-Da=0", "-Da=1", "-Da=2"], {"a": "2"}),
        (["java"], {}),
        ([], {}),
    ],
)
def test_properties_of_a_jvm_are_those_before_its_program(
    words: list[str], expected: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    assert properties_of_jvm(7, tmp_path) == expected


def test_a_process_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        properties_of_jvm(7, tmp_path)


def test_a_real_process_is_looked_at() -> None:
    assert isinstance(properties_of_jvm(os.getpid()), dict)
