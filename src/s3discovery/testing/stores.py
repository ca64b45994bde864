"""Stores that tests run on, and the settings that lead to them."""

from typing import Protocol

from s3discovery.credentials import Credentials


class Store(Protocol):
    """A running S3 server; `credentials` may do everything."""

    endpoint: str
    credentials: Credentials

    def new_bucket(self) -> str:
        """Make an empty bucket; return its name."""


def way_to(bucket: str, endpoint: str, credentials: Credentials) -> dict[str, str]:
    """Return the texts of the settings that lead to a bucket."""
    return {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": bucket,
        "s3-endpoint": endpoint,
        "credentials-type": "access_key",
        "credentials-access-key-id": credentials.access_key_id,
        "credentials-secret-access-key": credentials.secret_access_key.reveal(),
    }
