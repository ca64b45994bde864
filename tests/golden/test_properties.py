"""What the original Java classes made of settings, replayed; where we differ on purpose, the case is named.

A case fails if it is neither equal nor listed, and if it is listed but equal."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from s3discovery.errors import SettingsError
from s3discovery.settings.config import Settings, parse
from s3discovery.settings.hivemq_4 import expand
from s3discovery.settings.sources import load_properties

GOLDEN = json.loads(Path(__file__).with_name("properties.json").read_text(encoding="utf-8"))
REFUSED = "refused"

LOADS = {case["name"]: case for case in GOLDEN["properties_load"]}
CONFIGURATIONS = {case["name"]: case for case in GOLDEN["v3_configuration"]}
SCALARS = {case["value"]: case for case in GOLDEN["scalars"]}

# What each of the original's configurations lacks, since its authors left out what was not looked at.
COMPLETION = {"file-prefix": "", "file-expiration": "0", "update-interval": "0"}
SILENT_ZERO = "the original makes 0 of it, which switches expiry or refresh off; ours is a problem"
BOTH_OR_NEITHER = "expiry without refresh kills the living, refresh without expiry keeps the dead"
REGION_LIST = "the original knows a region by a list of 2016; we check the form alone"
REGION_FORM = "the original reads it as no region and fails later; ours is a problem at once"
NOT_TRUE = "the original takes all but true for false; ours is a problem"
NO_TYPE = "the original reads it as no type and fails later; ours is a problem at once"
NO_KEYS = "the original fails later without its credentials; ours is a problem at once"
DIFFERENT_CONFIGURATIONS = {
    "empty": "without region and bucket the original fails later; ours is a problem at once",
    "file-expiration='5'": BOTH_OR_NEITHER,
    "file-expiration='-5'": SILENT_ZERO,
    "file-expiration='5 '": SILENT_ZERO,
    "file-expiration='5L'": SILENT_ZERO,
    "file-expiration=''": SILENT_ZERO,
    "file-expiration='x'": SILENT_ZERO,
    "file-expiration='9223372036854775807'": "two hundred million times the age of the universe is a slip",
    "file-expiration='0x10'": SILENT_ZERO,
    "file-expiration='010'": BOTH_OR_NEITHER,
    "update-interval='+5'": BOTH_OR_NEITHER,
    "update-interval='x'": SILENT_ZERO,
    "path-style='true '": NOT_TRUE,
    "path-style='yes'": NOT_TRUE,
    "region='US_EAST_1'": REGION_FORM,
    "region='us_east_1'": REGION_FORM,
    "region=''": REGION_FORM,
    "region='ap-southeast-4'": REGION_LIST,
    "credentials-type='Default'": NO_TYPE,
    "credentials-type='access_key'": NO_KEYS,
    "credentials-type='temporary_session'": NO_KEYS,
    "credentials-type=''": NO_TYPE,
    "credentials-type='default '": NO_TYPE,
    "empty bucket": "no bucket has an empty name; the original fails later",
}

LONG_NEGATIVE = "no duration is negative; the original takes it for 0"
DIFFERENT_LONGS = {"-5": LONG_NEGATIVE, "-9223372036854775808": LONG_NEGATIVE}
DIFFERENT_OWNER_LONGS = {
    "-0x10": LONG_NEGATIVE,
    "-5": LONG_NEGATIVE,
    "-9223372036854775808": LONG_NEGATIVE,
}
DIFFERENT_BOOLEANS = dict.fromkeys(
    [value for value, case in SCALARS.items() if value.lower() not in ("false", "")], NOT_TRUE
)
DIFFERENT_OWNER_BOOLEANS = {"": "an empty text is no setting; HiveMQ 3 agrees"}
DIFFERENT_TYPES = {"access_key": NO_KEYS}


def compare(name: str, *, ours: object, theirs: object, different: dict[str, str]) -> None:
    if name in different:
        assert different[name]
        assert ours != theirs, f"{name!r} is listed as different and is equal"
    else:
        assert ours == theirs


def parsed(values: dict[str, str]) -> Settings | None:
    try:
        return parse(values)
    except SettingsError:
        return None


def setting(name: str, text: str, attribute: str, **others: str) -> object:
    """Return what one text means as the setting `name`, among others that are right."""
    base = {"s3-bucket-region": "us-east-1", "s3-bucket-name": "bkt", **COMPLETION}
    base |= {key.replace("_", "-"): value for key, value in others.items()}
    settings = parsed(base | {name: text})
    return REFUSED if settings is None else getattr(settings, attribute)


def answer(golden: object) -> object:
    return REFUSED if isinstance(golden, dict) else golden


@pytest.mark.parametrize("name", LOADS)
def test_properties_are_read_as_java_reads_them(name: str) -> None:
    case = LOADS[name]
    try:
        ours: object = load_properties(base64.b64decode(case["text_base64"]))
    except SettingsError:
        ours = None
    assert ours == case["dict"]
    assert (ours is None) == ("throws" in case)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_mean_what_the_original_says(name: str) -> None:
    case = CONFIGURATIONS[name]
    values = load_properties(base64.b64decode(case["text_base64"]))
    expected: dict[str, Any] = dict(case["result"])
    if expected["bucket"] == "b":  # S3's own limit: a name has three characters
        expected["bucket"] = values["s3-bucket-name"] = "bbb"
    settings = parsed(COMPLETION | values)
    ours = None if settings is None else as_the_original(settings)
    compare(name, ours=ours, theirs=expected, different=DIFFERENT_CONFIGURATIONS)


def as_the_original(settings: Settings) -> dict[str, object]:
    return {
        "access_key": settings.access_key_id,
        "auth": settings.credentials_type,
        "bucket": settings.bucket_name,
        # Ours has no default endpoint: the one of AWS depends on the region, which the original overlooks.
        "endpoint": settings.endpoint or "s3.amazonaws.com",
        "expiration_minutes": settings.file_expiration_s / 60,
        "path_style": bool(settings.path_style),
        "prefix": settings.file_prefix,
        "region": settings.bucket_region,
        "secret": settings.secret_access_key and settings.secret_access_key.reveal(),
        "token": settings.session_token and settings.session_token.reveal(),
        "update_interval_minutes": settings.update_interval_s / 60,
    }


@pytest.mark.parametrize("name", ["base", "empty"])
def test_what_the_original_does_without_is_required(name: str) -> None:
    values = load_properties(base64.b64decode(CONFIGURATIONS[name]["text_base64"]))
    with pytest.raises(SettingsError) as caught:
        parse(values)
    missing = ["s3-bucket-region"] if name == "empty" else []
    expected = [*missing, "s3-bucket-name", "file-prefix", "file-expiration", "update-interval"]
    assert [problem.key for problem in caught.value.problems] == expected


@pytest.mark.parametrize("text", SCALARS)
def test_longs_are_minutes(text: str) -> None:
    ours = setting("update-interval", text, "update_interval_s", file_expiration="1d" if text != "0" else "0")
    minutes = ours / 60 if isinstance(ours, float) else ours
    compare(text, ours=minutes, theirs=answer(SCALARS[text]["Long.parseLong"]), different=DIFFERENT_LONGS)


@pytest.mark.parametrize("text", SCALARS)
def test_longs_of_hivemq_4_are_seconds(text: str) -> None:
    expiration = "1d" if text != "0" else "0"
    ours = setting(
        "update-interval", text, "update_interval_s", file_expiration=expiration, compatibility="hivemq-4"
    )
    compare(text, ours=ours, theirs=answer(SCALARS[text]["owner_Long"]), different=DIFFERENT_OWNER_LONGS)


@pytest.mark.parametrize("text", SCALARS)
def test_ports_are_integers(text: str) -> None:
    different = {
        "0": "only amqtt can take any free port",
        "-5": "no port is negative",
        "": "unset, not wrong: there is no external-port",
    }
    ours = setting("external-port", text, "external_port")
    compare(text, ours=ours, theirs=answer(SCALARS[text]["Integer.parseInt"]), different=different)


@pytest.mark.parametrize("text", SCALARS)
def test_booleans(text: str) -> None:
    flag = setting("s3-path-style-access", text, "path_style")
    ours = flag if flag == REFUSED else bool(flag)
    compare(text, ours=ours, theirs=SCALARS[text]["Boolean.parseBoolean"], different=DIFFERENT_BOOLEANS)
    theirs = answer(SCALARS[text]["owner_Boolean"])
    compare(text, ours=ours, theirs=theirs, different=DIFFERENT_OWNER_BOOLEANS)


@pytest.mark.parametrize("text", SCALARS)
def test_types_of_credentials(text: str) -> None:
    kind = setting("credentials-type", text, "credentials_type")
    ours = kind if kind == REFUSED else str(kind).upper()
    theirs = answer(SCALARS[text]["AuthenticationType.fromName"])
    compare(text, ours=ours, theirs=theirs, different=DIFFERENT_TYPES)


@pytest.mark.parametrize("text", SCALARS)
def test_texts_of_hivemq_4_are_expanded(text: str) -> None:
    assert expand(text, {"s3-bucket-name": "bkt", "file-prefix": text})[0] == SCALARS[text]["owner_String"]


def test_every_listed_difference_is_a_golden_case() -> None:
    assert set(DIFFERENT_CONFIGURATIONS) <= set(CONFIGURATIONS)
    for different in (
        DIFFERENT_LONGS,
        DIFFERENT_OWNER_LONGS,
        DIFFERENT_BOOLEANS,
        DIFFERENT_OWNER_BOOLEANS,
        DIFFERENT_TYPES,
    ):
        assert set(different) <= set(SCALARS)
