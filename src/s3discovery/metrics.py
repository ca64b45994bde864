"""What Prometheus reads: computed from what is known when it asks, nothing is kept up to date meanwhile.

Every metric is declared once in `DESCRIPTIONS`; the reference is generated from it, and a test compares.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from s3discovery.running import Running
from s3discovery.topology import topology
from s3discovery.traffic import BUCKETS_S, Traffic

_P = "s3discovery_"
# Names in Prometheus' form of what HiveMQ's S3 extension calls com.hivemq.extensions.cluster.discovery.s3....
_ORIGINAL = "com_hivemq_extensions_cluster_discovery_s3_"

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        f"{_P}node_info": "Labels say which node this is, and of which cluster; empty id: an observer.",
        f"{_P}store_requests": "Requests to the store, by verb and outcome: HTTP status, lost or unusable.",
        f"{_P}store_request_seconds": "How long requests to the store took, by verb.",
        f"{_P}store_bytes": "Bytes of bodies to (sent) and from (received) the store.",
        f"{_P}store_up": "1 if the last listing of the store succeeded.",
        f"{_P}polls": "Listings of the bucket, by result: ok or failed.",
        f"{_P}refreshes": "Writes of the own file, by result: ok or failed.",
        f"{_P}listing_age_seconds": "Time since the last complete listing; absent before the first.",
        f"{_P}members": "Node files by state: alive, of these waiting for a cluster; expired, unreadable.",
        f"{_P}member_changes": "Members that joined, left or moved.",
        f"{_P}oldest_file_age_seconds": "Age of the oldest file of a member.",
        f"{_P}cleared_files": "Files of dead nodes that were cleared away.",
        f"{_P}registered": "1 while the own file is in the bucket as written.",
        f"{_P}rival": "1 while another process uses the own cluster id.",
        f"{_P}clock_skew_seconds": "How far the local clock is ahead of the store's.",
        f"{_P}credentials_remaining_seconds": "How long the credentials in use last; absent if for ever.",
        f"{_P}cluster_groups": "How many clusters the members report to form: more than 1 is a split. "
        "Absent without members, and where no broker can tell.",
        f"{_P}cluster_whole": "1 if the members report to form one cluster; absent without members, and "
        "where no broker can tell.",
        f"{_P}cluster_seen": "Members that the driven broker sees, itself included; absent without one.",
        f"{_P}cluster_missing": "Members that the driven broker should see and does not.",
        f"{_P}store_capability": "1 if the store honours it, 0 if not; absent while unknown.",
        f"{_P}mesh_messages": "Messages between amqtt nodes, by what became of them.",
        f"{_ORIGINAL}query_success_count": "As HiveMQ's S3 extension counts: listings that succeeded.",
        f"{_ORIGINAL}query_failed_count": "As HiveMQ's S3 extension counts: listings that failed.",
        f"{_ORIGINAL}resolved_addresses": "As HiveMQ's S3 extension counts: members, the own one included.",
    }
)


class Metrics(Collector):
    """The metrics of one running node or observer."""

    def __init__(self, running: Running, traffic: Traffic) -> None:
        self._running = running
        self._traffic = traffic
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)

    def render(self) -> tuple[str, bytes]:
        """Return the content type, and what Prometheus reads."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Say nothing: what there is changes with what is known."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has a value now."""
        yield from self._of_requests()
        yield from self._of_discovery()
        yield from self._of_members()
        yield from self._of_cluster()

    def _of_requests(self) -> Iterator[Metric]:
        traffic = self._traffic
        requests = _counter("store_requests", "verb", "outcome")
        for (verb, outcome), count in sorted(traffic.requests.items()):
            requests.add_metric([verb, outcome], count)
        yield requests
        name = f"{_P}store_request_seconds"
        times = HistogramMetricFamily(name, DESCRIPTIONS[name], labels=["verb"])
        for verb, each in sorted(traffic.times.items()):
            total, buckets = 0, []
            for limit_s, count in zip((*map(str, BUCKETS_S), "+Inf"), each.counts, strict=True):
                total += count
                buckets.append((limit_s, float(total)))
            times.add_metric([verb], buckets, each.sum_s)
        yield times
        sizes = _counter("store_bytes", "direction")
        sizes.add_metric(["sent"], traffic.sent_bytes)
        sizes.add_metric(["received"], traffic.received_bytes)
        yield sizes

    def _of_discovery(self) -> Iterator[Metric]:
        discovery, clock = self._running.discovery, self._running.clock
        status, counts = discovery.status, discovery.counts
        settings = discovery.settings
        info = InfoMetricFamily(f"{_P}node", DESCRIPTIONS[f"{_P}node_info"])
        own_id = discovery.own.cluster_id if discovery.own is not None else ""
        labels = {"cluster_id": own_id, "bucket": settings.bucket_name, "prefix": settings.file_prefix}
        info.add_metric([], labels)
        yield info
        for name in ("poll", "refresh"):
            metric = _counter(f"{name}s" if name == "poll" else "refreshes", "result")
            metric.add_metric(["ok"], counts.get(name, 0))
            metric.add_metric(["failed"], counts.get(f"{name}_failed", 0))
            yield metric
        cleared = _counter("cleared_files")
        cleared.add_metric([], counts.get("cleared", 0))
        yield cleared
        yield _gauge("store_up", float(status.error is None and status.listed_s is not None))
        yield _gauge("registered", float(status.registered))
        yield _gauge("rival", float(status.rival is not None))
        if status.listed_s is not None:
            yield _gauge("listing_age_seconds", clock.monotonic_s() - status.listed_s)
        if status.skew_s is not None:
            yield _gauge("clock_skew_seconds", status.skew_s)
        if status.credentials_until_s is not None:
            yield _gauge("credentials_remaining_seconds", status.credentials_until_s - self._now_s())
        original = {
            "query_success_count": counts.get("poll", 0),
            "query_failed_count": counts.get("poll_failed", 0),
        }
        for name, count in original.items():
            yield GaugeMetricFamily(_ORIGINAL + name, DESCRIPTIONS[_ORIGINAL + name], value=count)
        name = f"{_ORIGINAL}resolved_addresses"
        yield GaugeMetricFamily(name, DESCRIPTIONS[name], value=len(discovery.members))
        capabilities = GaugeMetricFamily(
            f"{_P}store_capability", DESCRIPTIONS[f"{_P}store_capability"], labels=["capability"]
        )
        for name in ("conditional_create", "conditional_write", "conditional_delete", "metadata"):
            if (honoured := getattr(status.capabilities, name)) is not None:
                capabilities.add_metric([name], float(honoured))
        yield capabilities

    def _now_s(self) -> float:
        """Return the time by the store's clock, by which credentials end; ours while that is unknown."""
        discovery = self._running.discovery
        if discovery.now_s is not None:
            return discovery.now_s
        return self._running.clock.wall_s() - (discovery.status.skew_s or 0.0)

    def _of_members(self) -> Iterator[Metric]:
        discovery = self._running.discovery
        members = discovery.members
        states = {
            "alive": len(members),
            "waiting": sum(member.report.is_formed is False for member in members),
            "expired": len(discovery.expired),
            "unreadable": len(discovery.status.problems),
        }
        metric = GaugeMetricFamily(f"{_P}members", DESCRIPTIONS[f"{_P}members"], labels=["state"])
        for state, count in states.items():
            metric.add_metric([state], count)
        yield metric
        changes = _counter("member_changes", "kind")
        for kind in ("joined", "left", "moved"):
            changes.add_metric([kind], discovery.counts.get(kind, 0))
        yield changes
        now_s = discovery.now_s
        written_s = [member.modified_s for member in members if member.modified_s]
        if now_s is not None and written_s:
            yield _gauge("oldest_file_age_seconds", max(0.0, now_s - min(written_s)))

    def _of_cluster(self) -> Iterator[Metric]:
        members = self._running.discovery.members
        found = topology(members)
        if members and found.is_told:
            yield _gauge("cluster_groups", len(found.groups))
            yield _gauge("cluster_whole", float(found.is_whole))
        if (sight := self._running.sight()) is not None:
            yield _gauge("cluster_seen", sight.seen)
            yield _gauge("cluster_missing", sight.missing)
        messages = _counter("mesh_messages", "fate")
        for fate, count in self._running.messages().items():
            messages.add_metric([fate], count)
        yield messages


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(_P + name, DESCRIPTIONS[_P + name], value=value)


def _counter(name: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_P + name, DESCRIPTIONS[_P + name], labels=list(labels))
