"""HiveMQ: where its own configuration is."""

from collections.abc import Iterator, Mapping
from typing import Any

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

HIVEMQ: tuple[Key, ...] = (
    Key(
        "hivemq-config",
        "hivemq_config",
        kinds.read_path,
        "HiveMQ's config.xml, with broker:hivemq. If not set: config.xml in HIVEMQ_CONFIG_FOLDER, or in conf "
        "below HIVEMQ_HOME (/opt/hivemq).",
        "/opt/hivemq/conf/config.xml",
    ),
)


def hivemq_clashes(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between these keys, as (key, cure); `found` is values by attribute."""
    # What is not among `found` was written wrong, and has been reported already.
    if found.get("broker") != "hivemq":
        return
    listen = found.get("dns_listen", "")
    if listen is None:
        cure = (
            "is missing; HiveMQ is told its peers by DNS: write for example dns-listen:127.0.0.1:5353, and "
            "start HiveMQ with HIVEMQ_DNS_SERVER_ADDRESS=127.0.0.1:5353 (or write broker:none, if another "
            "DNS serves it)"
        )
        yield "dns-listen", cure
        return
    host, _, port = listen.rpartition(":")
    if host.startswith("[") and not hosts.is_wildcard(host):
        cure = (
            "is of no use to HiveMQ, whose extension cannot be given an IPv6 address; write "
            f"dns-listen:127.0.0.1:{port}, and start HiveMQ with HIVEMQ_DNS_SERVER_ADDRESS=127.0.0.1:{port}"
        )
        yield "dns-listen", cure
