"""s3discovery as a service: its log."""

from s3discovery.settings import kinds
from s3discovery.settings.keys.key import Key

SERVICE: tuple[Key, ...] = (
    Key(
        "log-format",
        "log_format",
        kinds.one_of("console", "json"),
        "How `run` and `observe` log: console (lines for people), or json (one object a line).",
        "json",
        default="console",
    ),
)
