"""Metrics as Prometheus reads them: every one documented, every value true."""

from contextlib import AsyncExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from s3discovery import codec
from s3discovery.clock import SystemClock
from s3discovery.discovery import Discovery
from s3discovery.errors import UnreachableError
from s3discovery.membership import METADATA_PREFIX
from s3discovery.metrics import DESCRIPTIONS, Metrics
from s3discovery.node import Address, Member, NodeFile
from s3discovery.running import ClusterState, Running, Sight
from s3discovery.testing import Cable, FakeClock, MemoryBucket, make_settings
from s3discovery.topology import STATE
from s3discovery.traffic import Traffic


def read(metrics: Metrics) -> dict[str, float]:
    """Return every sample by name and labels, as Prometheus' own parser reads them."""
    content_type, body = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        f"{sample.name}{sorted(sample.labels.items())}".replace("[]", ""): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def names(metrics: Metrics) -> dict[str, str]:
    """Return our own families by name, with their help."""
    families = text_string_to_metric_families(metrics.render()[1].decode())
    return {
        family.name: family.documentation
        for family in families
        if not family.name.startswith(("python_", "process_"))
    }


@pytest.fixture
def traffic() -> Traffic:
    traffic = Traffic()
    traffic.note("list", "200", 0.02, sent_bytes=0, received_bytes=500)
    traffic.note("list", "lost", 20.0, sent_bytes=0, received_bytes=0)
    traffic.note("put", "200", 0.005, sent_bytes=80, received_bytes=0)
    return traffic


async def test_every_metric_is_documented_and_true(traffic: Traffic) -> None:
    clock, bucket = FakeClock(), MemoryBucket(FakeClock())
    cable = Cable(bucket)
    settings = make_settings(s3_endpoint="http://store")
    await bucket.put("nodes/a", codec.encode(NodeFile("1", 1, "a", Address("10.0.0.1", 7800)), "1"))
    await bucket.put("nodes/x", b"garbage")
    own = Member("own", Address("10.0.0.9", 7800), {"curve": "key"})
    async with Discovery(settings, cable, own, clock=clock) as discovery:
        await clock.settle()
        state = ClusterState("formed 2/2", is_whole=True, is_ready=True)
        running = Running(
            settings, discovery, clock, lambda: state, None, lambda: Sight(2, 1), lambda: {"sent": 7}
        )
        metrics = Metrics(running, traffic)
        found = read(metrics)
        assert found["s3discovery_store_requests_total[('outcome', '200'), ('verb', 'list')]"] == 1
        assert found["s3discovery_store_requests_total[('outcome', 'lost'), ('verb', 'list')]"] == 1
        assert found["s3discovery_store_request_seconds_count[('verb', 'list')]"] == 2
        assert found["s3discovery_store_request_seconds_sum[('verb', 'list')]"] == pytest.approx(20.02)
        assert found["s3discovery_store_request_seconds_bucket[('le', '0.025'), ('verb', 'list')]"] == 1
        assert found["s3discovery_store_request_seconds_bucket[('le', '0.005'), ('verb', 'put')]"] == 1
        assert found["s3discovery_store_bytes_total[('direction', 'received')]"] == 500
        assert found["s3discovery_store_bytes_total[('direction', 'sent')]"] == 80
        assert found["s3discovery_members[('state', 'alive')]"] == 2
        assert found["s3discovery_members[('state', 'unreadable')]"] == 1
        assert found["s3discovery_registered"] == 1
        assert found["s3discovery_store_up"] == 1
        assert found["s3discovery_polls_total[('result', 'ok')]"] == 1
        assert found["s3discovery_refreshes_total[('result', 'ok')]"] >= 1
        assert found["s3discovery_member_changes_total[('kind', 'joined')]"] == 1
        assert found["s3discovery_cluster_seen"] == 2
        assert found["s3discovery_cluster_missing"] == 1
        assert found["s3discovery_cluster_groups"] == 1
        assert found["s3discovery_mesh_messages_total[('fate', 'sent')]"] == 7
        assert found["com_hivemq_extensions_cluster_discovery_s3_resolved_addresses"] == 2
        assert found["com_hivemq_extensions_cluster_discovery_s3_query_success_count"] == 1
        cable.cut = UnreachableError("cut")
        await clock.advance(12)
        found = read(metrics)
        assert found["s3discovery_store_up"] == 0
        assert found["s3discovery_polls_total[('result', 'failed')]"] >= 1
        assert found["s3discovery_listing_age_seconds"] == pytest.approx(12, abs=3)
        undocumented = names(metrics).keys() - DESCRIPTIONS.keys()
        assert not undocumented
        missing = DESCRIPTIONS.keys() - names(metrics).keys()
        assert missing <= {"s3discovery_credentials_remaining_seconds"}
        assert names(metrics)["s3discovery_store_up"] == DESCRIPTIONS["s3discovery_store_up"]


async def test_an_observer_has_metrics_too() -> None:
    clock = SystemClock()
    async with Discovery(make_settings(), MemoryBucket(FakeClock()), clock=clock) as discovery:
        found = read(Metrics(Running(make_settings(), discovery, clock, lambda: None), Traffic()))
        assert found["s3discovery_registered"] == 0
        # Nobody is there who could be a part of it.
        assert not {"s3discovery_cluster_whole", "s3discovery_cluster_groups"} & found.keys()
        assert "s3discovery_cluster_seen" not in found


class Lent(MemoryBucket):
    """A bucket whose credentials end."""

    credentials_expire_s: float | None = None


async def test_credentials_end_by_the_clock_of_the_store_and_the_skew_has_its_sign() -> None:
    clock = FakeClock()
    bucket = Lent(clock)
    bucket.credentials_expire_s = clock.wall_s() + 3600
    wrong = clock.seen_from(skew_s=7200.0)
    async with Discovery(make_settings(), bucket, clock=wrong) as discovery:
        await clock.settle()
        found = read(Metrics(Running(make_settings(), discovery, wrong, lambda: None), Traffic()))
        assert found["s3discovery_credentials_remaining_seconds"] == pytest.approx(3600, abs=2)
        assert found["s3discovery_clock_skew_seconds"] == pytest.approx(7200, abs=2)


async def test_members_by_state_and_by_age() -> None:
    clock = FakeClock()
    bucket = MemoryBucket(clock)
    for name, age_s, metadata in (
        ("a", 10.0, {METADATA_PREFIX + STATE: "formed"}),
        ("b", 40.0, {METADATA_PREFIX + STATE: "blank"}),
        ("dead", 500.0, {}),
    ):
        body = codec.encode(NodeFile("1", 1, name, Address("10.0.0.1", 7800)), "1")
        bucket.plant(f"nodes/{name}", body, metadata, age_s=age_s)
    async with Discovery(make_settings(), bucket, clock=clock) as discovery:
        await clock.settle()
        running = Running(make_settings(), discovery, clock, lambda: None)
        found = read(Metrics(running, Traffic()))
        states = ("alive", "waiting", "expired")
        assert [found[f"s3discovery_members[('state', '{state}')]"] for state in states] == [2, 1, 1]
        assert found["s3discovery_cluster_whole"] == 0
        assert found["s3discovery_oldest_file_age_seconds"] == pytest.approx(40, abs=2)


async def test_a_rival_and_a_whole_cluster() -> None:
    clock = FakeClock()
    bucket = MemoryBucket(clock)
    settings = make_settings()
    curve = {"curve": "key"}
    async with (
        Discovery(settings, bucket, Member("own", Address("10.0.0.9", 7800), curve), clock=clock) as first,
        AsyncExitStack() as later,
    ):
        metrics = Metrics(Running(settings, first, clock, lambda: None), Traffic())
        found = read(metrics)
        assert (found["s3discovery_rival"], found["s3discovery_cluster_whole"]) == (0, 1)
        await clock.advance(1)
        rival = Member("own", Address("10.0.0.8", 7800), curve)
        await later.enter_async_context(Discovery(settings, bucket, rival, clock=clock))
        await clock.advance(30)
        assert read(metrics)["s3discovery_rival"] == 1
