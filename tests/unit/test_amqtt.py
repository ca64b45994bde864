import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest
from amqtt.session import Session

from s3discovery.brokers.amqtt import Subscriptions, delivery_qos, matches


@pytest.mark.parametrize(
    ("topic", "name", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("a/b", "a", False),
        ("a", "a/b", False),
        ("a/b", "+/b", True),
        ("a/b/c", "a/+", False),
        ("a", "+", True),
        ("/a", "+/a", True),
        ("a", "a/#", True),
        ("a/b/c", "a/#", True),
        ("b", "a/#", False),
        ("a/b", "#", True),
        ("$SYS/x", "#", False),
        ("$SYS/x", "+/x", False),
        ("$SYS/x", "$SYS/#", True),
        ("a/b", "a/+/#", True),
        ("a", "a/+", False),
    ],
)
def test_filters_match_as_mqtt_says(topic: str, name: str, expected: bool) -> None:
    assert matches(topic, name) is expected


def subscriptions(**qos: list[int]) -> Subscriptions:
    return {
        name: [(cast("Session", SimpleNamespace()), each) for each in found] for name, found in qos.items()
    }


@pytest.mark.parametrize(
    ("published", "found", "expected"),
    [
        (0, subscriptions(t=[0, 1, 2]), 0),
        (2, subscriptions(t=[0, 1, 2]), None),
        (1, subscriptions(t=[0, 1]), None),
        (1, subscriptions(t=[1, 2]), 1),
        (1, subscriptions(t=[2]), 1),
        (1, subscriptions(t=[0, 2]), None),  # one of the two must be wrong; see delivery_qos
        (1, subscriptions(t=[0], other=[2]), None),
        (1, subscriptions(other=[2]), None),
    ],
)
def test_the_qos_is_the_lower_of_published_and_subscribed(
    published: int, found: Subscriptions, expected: int | None
) -> None:
    assert delivery_qos(published, "t", found) == expected


@pytest.mark.parametrize("package", ["amqtt", "zmq"])
def test_a_missing_package_is_an_error_with_a_cure(package: str) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from s3discovery.errors import BrokerError\n"
        "try: import s3discovery.brokers.amqtt\n"
        "except BrokerError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"missing ({package}" in done.stdout
    assert "pip install 's3discovery[amqtt]'" in done.stdout
