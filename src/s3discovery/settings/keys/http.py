"""The cluster over HTTP: the page, the interface for programs, metrics."""

from s3discovery.settings import hosts, kinds
from s3discovery.settings.keys.key import Key

HTTP: tuple[Key, ...] = (
    Key(
        "http-port",
        "http_port",
        hosts.read_port,
        "Port of the page, the HTTP interface and the metrics; none of them if not set.",
        "9119",
    ),
    Key(
        "http-address",
        "http_address",
        hosts.read_host,
        "Address that http-port is at; others than loopback need a token.",
        "0.0.0.0",  # noqa: S104 - an example, with a token
        default="127.0.0.1",
    ),
    Key(
        "http-token",
        "http_token",
        kinds.read_secret,
        "Token that every request but those for health must bring (Authorization: Bearer ...).",
        "<a-long-random-text>",
        secret=True,
    ),
    Key(
        "http-token-file",
        "http_token_file",
        kinds.read_path,
        "File that holds the token, instead of http-token.",
        "/run/secrets/s3discovery-http-token",
    ),
)
