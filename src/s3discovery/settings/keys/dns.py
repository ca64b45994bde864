"""The members by DNS."""

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

DNS: tuple[Key, ...] = (
    Key(
        "dns-listen",
        "dns_listen",
        hosts.read_listener,
        "host:port where the members are served by DNS (UDP and TCP); no DNS if not set.",
        "127.0.0.1:5353",
    ),
    Key(
        "dns-name",
        "dns_name",
        hosts.read_domain,
        "Name that the members are found by in DNS.",
        "mqtt.internal.",
        default="cluster.s3discovery.",
    ),
    Key(
        "dns-max-udp",
        "dns_max_udp",
        hosts.read_datagram_size,
        "Largest DNS datagram in bytes, 512 to 65507, for clients that do not say what they take (HiveMQ "
        "takes 4096); 1232 where the network loses fragments.",
        "1232",
        default="4096",
    ),
    Key(
        "dns-rate",
        "dns_rate",
        kinds.read_count,
        "How many questions a second one address may ask by UDP, and as many by TCP; who asks more by UDP is "
        "told to come by TCP. Loopback may ask as many as it likes.",
        "1000",
        default="200",
    ),
)
