"""The contract of Engine over the fake."""

import pytest

from s3discovery.brokers import Engine
from s3discovery.testing import EngineContract, FakeClusters, FakeEngine, MakeEngine, StopBroker


@pytest.fixture
def clusters() -> FakeClusters:
    return FakeClusters()


@pytest.fixture
def roomy() -> FakeClusters:
    return FakeClusters(is_roomy=True)


def stopping(clusters: FakeClusters) -> StopBroker:
    async def stop(engine: Engine) -> None:
        clusters.running.discard(engine.cluster_id or "")

    return stop


class TestFakeEngine(EngineContract):
    @pytest.fixture
    def make_engine(self, clusters: FakeClusters) -> MakeEngine:
        return lambda cluster_id: FakeEngine(clusters, cluster_id)

    @pytest.fixture
    def stop_broker(self, clusters: FakeClusters) -> StopBroker:
        return stopping(clusters)


class TestRoomyFakeEngine(EngineContract):
    @pytest.fixture
    def make_engine(self, roomy: FakeClusters) -> MakeEngine:
        return lambda cluster_id: FakeEngine(roomy, cluster_id)

    @pytest.fixture
    def stop_broker(self, roomy: FakeClusters) -> StopBroker:
        return stopping(roomy)
