"""The page about stores: every block of settings on it is right, and names what the code names."""

import re
from pathlib import Path

import pytest

from s3discovery.capabilities import Capabilities
from s3discovery.s3.location import locate
from s3discovery.settings.config import parse, unknown_keys
from s3discovery.settings.keys.ownership import OWNERSHIP
from s3discovery.settings.sources import load_properties

PAGE = (Path(__file__).parents[2] / "docs" / "s3-compatible-stores.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```properties\n(.*?)```", PAGE, re.DOTALL)
STORES = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)[2:-1]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[2][:40])
def test_settings_on_the_page_are_right(block: str) -> None:
    values = load_properties(block.encode())
    assert unknown_keys(values) == ()
    settings = parse(values)
    found = locate(settings.bucket_name, settings.signing_region, settings.endpoint, settings.path_style)
    assert found.object_url("k").startswith("http")


def test_every_store_has_its_block() -> None:
    assert len(STORES) >= 12
    assert len(BLOCKS) == len(STORES) + 1, "one more shows encryption and ownership"
    for store in STORES:
        section = PAGE.partition(f"\n## {store}\n")[2].partition("\n## ")[0]
        assert section.count("```properties") == 1
        assert re.search(r"[Rr]un by our tests|run by hand|[Nn]ot run", section), f"{store}: how is it known?"
        assert re.search(rf"^\| {store.split()[0]}", PAGE, re.MULTILINE), f"{store} is not in the table"


def test_what_the_code_names_is_explained() -> None:
    for name in [*Capabilities.__slots__, *(key.name for key in OWNERSHIP)]:
        assert f"`{name}`" in PAGE
