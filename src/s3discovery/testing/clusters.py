"""What all clusters of real agents in tests have in common: a store, and quick settings."""

from pathlib import Path
from typing import Protocol

EXPIRY_S = 5.0
PREFIX = "hivemq/cluster/nodes/"


class Store(Protocol):
    """A running S3 server."""

    endpoint: str
    access_key_id: str
    secret_access_key: str

    def new_bucket(self) -> str:
        """Make an empty bucket; return its name."""


def write_settings(file: Path, store: Store, endpoint: str, **settings: str) -> None:
    """Write the settings of a new cluster, quicker than anybody would have them.

    `settings` are texts by key, `-` written as `_`."""
    values = {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": store.new_bucket(),
        "file-prefix": PREFIX,
        "file-expiration": f"{EXPIRY_S:g}s",
        "update-interval": "1s",
        "poll-interval": "1s",
        "stable-margin": "1s",
        "credentials-type": "access_key",
        "credentials-access-key-id": store.access_key_id,
        "credentials-secret-access-key": store.secret_access_key,
        "s3-endpoint": endpoint,
    } | {key.replace("_", "-"): text for key, text in settings.items()}
    file.write_text("".join(f"{key}:{text}\n" for key, text in values.items()))
