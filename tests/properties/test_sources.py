import re
import string
from decimal import Decimal

import javaproperties
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3discovery.errors import SettingsError
from s3discovery.settings import durations
from s3discovery.settings.config import KEYS, Value, describe, parse
from s3discovery.settings.java import java_system_properties
from s3discovery.settings.kinds import MASK
from s3discovery.settings.sources import gather, load_properties

BASE = {
    "s3-bucket-region": "us-east-1",
    "s3-bucket-name": "hivemq",
    "file-prefix": "p/",
    "file-expiration": "6h",
    "update-interval": "3h",
}
WORD = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=12)
ANY_TEXT = st.text(max_size=40)
DURATION_S = st.integers(100, 10**11).map(lambda ms: ms / 1000)


@given(st.dictionaries(ANY_TEXT, ANY_TEXT))
def test_what_java_writes_is_read_back(properties: dict[str, str]) -> None:
    assert load_properties(javaproperties.dumps(properties).encode("latin-1")) == properties


@given(st.binary(max_size=200))
def test_any_bytes_are_a_dictionary_or_our_error(data: bytes) -> None:
    try:
        found = load_properties(data)
    except SettingsError as error:
        assert "\\u" in str(error)  # noqa: PT017 - either outcome is right
        line = re.search(r"line (\d+)", str(error))
        assert line is not None
        assert 1 <= int(line[1]) <= len(re.split(rb"\r\n?|\n", data))
    else:
        assert all(isinstance(text, str) for pair in found.items() for text in pair)


@given(
    st.sampled_from([key.name for key in KEYS]),
    st.one_of(ANY_TEXT, st.from_regex(r"[+-]?[0-9]{1,12}(\.[0-9])?(ms|s|m|h|d| )?", fullmatch=True)),
    st.sampled_from(["hivemq-3", "hivemq-4"]),
)
def test_any_text_is_a_setting_or_our_error(name: str, text: str, compatibility: str) -> None:
    values = BASE | {"compatibility": compatibility} | {name: text}
    try:
        settings = parse(values)
    except SettingsError as error:
        assert "\n" not in str(error.problems[0])  # noqa: PT017 - either outcome is right
        return
    shown = {row.name: row.text for row in describe(settings, values)}
    masked = {key: values[key] for key, found in shown.items() if found is not None and MASK in found}
    again = {key: found for key, found in shown.items() if found is not None}
    assert parse(again | masked) == settings


@given(DURATION_S)
def test_a_shown_duration_is_read_back(seconds: float) -> None:
    if seconds < durations.DURATION_LIMIT_S:
        assert durations.read_minutes(durations.show_duration(seconds)) == seconds


@given(st.integers(1, 10_000), st.sampled_from([("ms", "0.001"), ("s", "1"), ("m", "60"), ("h", "3600")]))
def test_a_unit_wins(number: int, unit: tuple[str, str]) -> None:
    name, length = unit
    seconds = float(number * Decimal(length))
    if seconds >= durations.SHORTEST_S:
        assert (
            durations.read_minutes(f"{number}{name}") == durations.read_seconds(f"{number}{name}") == seconds
        )
    assert durations.read_minutes(str(number)) == 60 * durations.read_seconds(str(number))


@given(st.dictionaries(WORD, ANY_TEXT), st.dictionaries(WORD.map(str.upper), ANY_TEXT))
def test_options_win_over_the_environment(options: dict[str, str], environ: dict[str, str]) -> None:
    prefixed = {f"S3DISCOVERY_{name}": text for name, text in environ.items()}
    values = gather(file=None, environ=prefixed, options=[f"{name}={text}" for name, text in options.items()])
    for name, text in options.items():
        assert values[name] == Value(text, "option -o")
    assert {value.origin for name, value in values.items() if name not in options} <= {
        f"variable {name}" for name in prefixed
    }


@given(st.dictionaries(WORD, st.text(string.printable, max_size=20)))
def test_java_system_properties_survive_a_shell(properties: dict[str, str]) -> None:
    quoted = " ".join(f"-D{name}='{text.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'"
                      for name, text in properties.items())  # fmt: skip
    assert java_system_properties([], {"JAVA_OPTS": quoted}) == properties
    assert java_system_properties([f"-D{name}={text}" for name, text in properties.items()], {}) == properties


@given(st.text("-D='\"\\ ab", max_size=30))
def test_any_java_options_are_properties_or_our_error(text: str) -> None:
    try:
        java_system_properties([text], {"JAVA_OPTS": text})
    except SettingsError as error:
        assert "JAVA_OPTS" in str(error)  # noqa: PT017 - either outcome is right


def test_the_base_is_right() -> None:
    with pytest.raises(SettingsError):
        parse(BASE | {"broker": "?"})
    assert parse(BASE).file_expiration_s == 21600
