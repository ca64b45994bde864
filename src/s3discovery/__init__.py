"""MQTT brokers find each other through an S3 bucket and form a cluster."""

from s3discovery.discovery import Discovery, Status
from s3discovery.errors import DiscoveryError
from s3discovery.membership import Change
from s3discovery.node import Address, Member, NodeFile
from s3discovery.settings.config import Settings
from s3discovery.wiring import discover

__all__ = [
    "Address",
    "Change",
    "Discovery",
    "DiscoveryError",
    "Member",
    "NodeFile",
    "Settings",
    "Status",
    "discover",
]
