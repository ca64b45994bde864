"""Placeholders of HiveMQ's config.xml: what the expression of HiveMQ itself finds, found in linear time."""

import re

from hypothesis import given
from hypothesis import strategies as st

from s3discovery.brokers.hivemq.transport import expand

# Source: HiveMQ Community Edition, EnvVarUtil.
OF_HIVEMQ = re.compile(r"\$\{(?:ENV:)*(.*?)\}")
VALUES = {"A": "1", "B": "${A}", "": "empty", "ENV:": "two", "A${B": "inner"}
PIECES = st.sampled_from(["${", "}", "$", "{", "ENV:", "ENV", "A", "B", "\n", "\r", "x"])


@given(st.lists(PIECES, max_size=30).map("".join))
def test_as_hivemq_finds_them(text: str) -> None:
    def of_hivemq(match: re.Match[str]) -> str:
        return VALUES.get(match.group(1), match.group())

    assert expand(text, VALUES.get) == OF_HIVEMQ.sub(of_hivemq, text)
