"""The page on amqtt is true: its settings are taken, and its plugins exist."""

import re
from importlib import import_module
from pathlib import Path

import yaml

from s3discovery.settings import sources
from s3discovery.settings.config import parse, unknown_keys

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "amqtt.md"


def block(kind: str) -> str:
    found = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_its_settings_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "s3discovery.properties"
    file.write_text(block("properties"))
    values = sources.gather(file=file, environ={}, options=())
    assert unknown_keys(values) == ()
    settings = parse(values)
    assert (settings.broker, settings.bind_port, settings.amqtt_listen) == ("amqtt", 7800, "0.0.0.0:1883")


def test_its_plugins_exist() -> None:
    plugins = yaml.safe_load(block("yaml"))["plugins"]
    for name in plugins:
        module, _, kind = name.rpartition(".")
        assert hasattr(import_module(module), kind), name
