"""The pages about HiveMQ: the originals' own files work unchanged, and every key of them is in the table."""

import re
from pathlib import Path

import pytest

from s3discovery.s3.location import locate
from s3discovery.settings.config import parse, unknown_keys
from s3discovery.settings.keys.hivemq import HIVEMQ
from s3discovery.settings.sources import gather, load_properties

DOCS = Path(__file__).parents[2] / "docs"
MIGRATION = (DOCS / "migrate-from-hivemq-plugin.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to" / "hivemq.md").read_text(encoding="utf-8")

# What the plugin ships (s3discovery.properties), and all the keys that its code asks for.
PLUGIN = {
    "credentials-type": "default",
    "s3-bucket-region": "us-east-1",
    "s3-bucket-name": "hivemq",
    "file-prefix": "hivemq/cluster/nodes/",
    "file-expiration": "360",
    "update-interval": "180",
}
OF_PLUGIN = {
    *PLUGIN,
    "credentials-access-key-id",
    "credentials-secret-access-key",
    "credentials-session-token",
    "s3-endpoint",
    "s3-path-style-access",
}
# The same of the extension (conf/config.properties).
EXTENSION = PLUGIN | {"s3-endpoint": "s3.amazonaws.com"}
OF_EXTENSION = OF_PLUGIN | {"s3-endpoint-region"}


def written(values: dict[str, str], path: Path) -> Path:
    """Write a file as the originals do: a comment before each line, a colon after each key."""
    lines = [f"#\n# {key}, explained\n#\n{key}:{text}\n" for key, text in values.items()]
    path.write_text("\n".join(lines), encoding="latin-1")
    return path


@pytest.mark.parametrize(
    ("values", "name", "unit_s", "version"),
    [(PLUGIN, "s3discovery.properties", 60, "1"), (EXTENSION, "config.properties", 1, "4")],
    ids=["plugin", "extension"],
)
def test_a_file_as_shipped_works_unchanged(
    tmp_path: Path, values: dict[str, str], name: str, unit_s: int, version: str
) -> None:
    found = gather(file=written(values, tmp_path / name), environ={})
    assert unknown_keys(found) == ()
    settings = parse(found)
    assert (settings.bucket_region, settings.bucket_name) == ("us-east-1", "hivemq")
    assert settings.file_prefix == "hivemq/cluster/nodes/"
    assert (settings.file_expiration_s, settings.update_interval_s) == (360 * unit_s, 180 * unit_s)
    assert (settings.credentials_type, settings.file_version) == ("default", version)
    place = locate(settings.bucket_name, settings.signing_region, settings.endpoint, settings.path_style)
    assert place.object_url("k").startswith("https://")
    assert "amazonaws.com" in place.object_url("k")


def test_the_keys_that_are_shipped_as_comments_work_as_well(tmp_path: Path) -> None:
    values = EXTENSION | {
        "credentials-type": "temporary_session",
        "credentials-access-key-id": "AKIDEXAMPLE",
        "credentials-secret-access-key": "secret",
        "credentials-session-token": "token",
        "s3-endpoint": "http://localhost:9000",
        "s3-endpoint-region": "eu-central-1",
        "s3-path-style-access": "true",
    }
    assert set(values) == OF_EXTENSION
    found = gather(file=written(values, tmp_path / "config.properties"), environ={})
    assert unknown_keys(found) == ()
    settings = parse(found)
    assert settings.path_style is True
    assert settings.signing_region == "eu-central-1"
    assert settings.session_token is not None
    assert settings.session_token.reveal() == "token"


def test_every_key_of_the_originals_is_in_the_table() -> None:
    table = MIGRATION.partition("## Every property, old and new")[2].partition("What is different")[0]
    rows = {
        cells[1].strip().strip("`"): [cell.strip() for cell in cells[2:5]]
        for line in table.splitlines()
        if line.startswith("| `") and len(cells := line.split("|")) == 6
    }
    assert set(rows) == OF_EXTENSION
    for key, cells in rows.items():
        assert all(cells), f"{key} has an empty cell"
        assert (cells[0] == "unknown") == (key not in OF_PLUGIN)


@pytest.mark.parametrize("block", re.findall(r"```properties\n(.*?)```", HOW_TO, re.DOTALL))
def test_settings_on_the_page_are_right(block: str) -> None:
    values = load_properties(block.encode())
    if "discoveryAddress" in values:  # of HiveMQ's extension
        assert values["dnsServerAddress"] == "127.0.0.1:5353"
        return
    assert unknown_keys(values) == ()
    settings = parse(values)
    assert settings.broker == "hivemq"
    assert f"HIVEMQ_DNS_SERVER_ADDRESS={settings.dns_listen}\n" in HOW_TO
    assert f"HIVEMQ_DNS_DISCOVERY_ADDRESS={settings.dns_name}\n" in HOW_TO


def test_what_the_code_knows_is_explained() -> None:
    for name in [*(key.name for key in HIVEMQ), "HIVEMQ_CONFIG_FOLDER", "HIVEMQ_HOME", "external-port"]:
        assert f"`{name}`" in HOW_TO
