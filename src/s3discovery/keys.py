"""The table of settings: every key once.

Parsing, reference, suggestions, masking and the `config` command all follow from `KEYS`. A key added
here, with its attribute in `config.Settings`, is documented, checked and shown.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from s3discovery import kinds

CREDENTIALS_TYPES = (
    "default",
    "environment_variables",
    "java_system_properties",
    "user_credentials_file",
    "instance_profile_credentials",
    "access_key",
    "temporary_session",
    "web_identity",
    "container",
    "process",
    "assume_role",
    "sso",
    "anonymous",
)
# Types that ask for a role by credentials of their own; they cannot be asked for by themselves.
ROLE_SOURCES = tuple(kind for kind in CREDENTIALS_TYPES if kind not in ("assume_role", "anonymous"))
HIVEMQ_3 = "hivemq-3"
HIVEMQ_4 = "hivemq-4"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: how it is written, read, shown and explained.

    `default` is written as a user would; with neither default nor `required`, unset is None, and an
    empty text is unset. `read_4` reads it under compatibility:hivemq-4, where that differs."""

    name: str
    attribute: str
    read: Callable[[str], Any]
    help: str
    example: str
    default: str | None = None
    required: bool = False
    secret: bool = False
    show: Callable[[Any], str] = str
    read_4: Callable[[str], Any] | None = None

    def reader(self, compatibility: str) -> Callable[[str], Any]:
        """Return what reads this key under `compatibility`."""
        return self.read_4 if self.read_4 is not None and compatibility == HIVEMQ_4 else self.read


KEYS: tuple[Key, ...] = (
    Key(
        "s3-bucket-region",
        "bucket_region",
        kinds.read_region,
        "Region the bucket is in.",
        "us-east-1",
        required=True,
    ),
    Key(
        "s3-bucket-name",
        "bucket_name",
        kinds.read_bucket_name,
        "Name of the bucket.",
        "hivemq",
        required=True,
    ),
    Key(
        "file-prefix",
        "file_prefix",
        kinds.read_prefix,
        "What the key of every node file begins with; may be empty. Also read from S3_FILE_PREFIX.",
        "hivemq/cluster/nodes/",
        required=True,
    ),
    Key(
        "file-expiration",
        "file_expiration_s",
        kinds.read_minutes,
        "Age at which a node file stands for a dead node. A bare number is minutes (hivemq-4: seconds); "
        "0 with update-interval 0 switches expiry off.",
        "360",
        required=True,
        show=kinds.show_duration,
        read_4=kinds.read_seconds,
    ),
    Key(
        "update-interval",
        "update_interval_s",
        kinds.read_minutes,
        "How often the own file is refreshed; must be shorter than file-expiration. A bare number is "
        "minutes (hivemq-4: seconds).",
        "180",
        required=True,
        show=kinds.show_duration,
        read_4=kinds.read_seconds,
    ),
    Key(
        "poll-interval",
        "poll_interval_s",
        kinds.read_poll_interval,
        "How often the bucket is listed, 100ms to 1d. A bare number is seconds.",
        "10s",
        default="60s",
        show=kinds.show_duration,
    ),
    Key(
        "compatibility",
        "compatibility",
        kinds.one_of(HIVEMQ_3, HIVEMQ_4),
        "hivemq-3 (node files of version 1, bare numbers are minutes) or hivemq-4 (version 4, seconds). "
        "Both versions are always read.",
        HIVEMQ_4,
        default=HIVEMQ_3,
    ),
    Key(
        "credentials-type",
        "credentials_type",
        kinds.one_of(*CREDENTIALS_TYPES),
        "Where credentials come from, that source alone: default (environment, Java system properties, "
        "credentials file, instance profile, then the AWS SDK's other sources), environment_variables, "
        "java_system_properties, user_credentials_file, instance_profile_credentials, access_key, "
        "temporary_session, web_identity, container, process, assume_role, sso or anonymous.",
        "access_key",
        default="default",
    ),
    Key(
        "credentials-access-key-id",
        "access_key_id",
        kinds.read_printable,
        "Access key id, for credentials-type access_key and temporary_session.",
        "AKIAIOSFODNN7EXAMPLE",
    ),
    Key(
        "credentials-secret-access-key",
        "secret_access_key",
        kinds.read_secret,
        "Secret access key, for credentials-type access_key and temporary_session.",
        "<your-secret-access-key>",
        secret=True,
    ),
    Key(
        "credentials-session-token",
        "session_token",
        kinds.read_secret,
        "Session token, for credentials-type temporary_session.",
        "<your-session-token>",
        secret=True,
    ),
    Key(
        "credentials-secret-access-key-file",
        "secret_access_key_file",
        kinds.read_path,
        "File that holds the secret access key, instead of credentials-secret-access-key; read again when it "
        "changes.",
        "/run/secrets/s3-secret-access-key",
    ),
    Key(
        "credentials-session-token-file",
        "session_token_file",
        kinds.read_path,
        "File that holds the session token, instead of credentials-session-token; read again when it "
        "changes.",
        "/run/secrets/s3-session-token",
    ),
    Key(
        "credentials-profile",
        "profile",
        kinds.read_profile,
        "Profile of the AWS files, for credentials-type user_credentials_file, process, sso and default; "
        "AWS_PROFILE if not set.",
        "production",
    ),
    Key(
        "credentials-role-arn",
        "role_arn",
        kinds.read_role_arn,
        "Role to take, for credentials-type assume_role; for web_identity AWS_ROLE_ARN if not set.",
        "arn:aws:iam::123456789012:role/mqtt",
    ),
    Key(
        "credentials-external-id",
        "external_id",
        kinds.read_external_id,
        "External id that the role's trust policy asks for, with credentials-type assume_role.",
        "mqtt-cluster-7",
    ),
    Key(
        "credentials-session-name",
        "session_name",
        kinds.read_session_name,
        "Name of the role's session, seen in AWS's audit log; s3discovery if not set.",
        "mqtt-node-1",
    ),
    Key(
        "credentials-source",
        "credentials_source",
        kinds.one_of(*ROLE_SOURCES),
        "Where the credentials come from that ask for the role of credentials-type assume_role: a "
        "credentials-type other than assume_role and anonymous.",
        "instance_profile_credentials",
        default="default",
    ),
    Key(
        "credentials-metadata-v1",
        "metadata_v1",
        kinds.read_flag,
        "Whether an EC2 instance without version 2 of the metadata service is asked by version 1; if not "
        "set, unless AWS_EC2_METADATA_V1_DISABLED is true.",
        "false",
        show=kinds.show_flag,
    ),
    Key(
        "java-pid",
        "java_pid",
        kinds.read_process_id,
        "Running JVM whose command line has the -Daws... of credentials-type java_system_properties.",
        "4711",
    ),
    Key(
        "s3-endpoint",
        "endpoint",
        kinds.read_endpoint,
        "Address of an S3-compatible store; AWS in the bucket's region if not set.",
        "http://localhost:9000",
    ),
    Key(
        "s3-endpoint-region",
        "endpoint_region",
        kinds.read_region,
        "Region that requests to s3-endpoint are signed for; s3-bucket-region if not set.",
        "us-east-1",
    ),
    Key(
        "s3-path-style-access",
        "path_style",
        kinds.read_flag,
        "true puts the bucket into the path, false into the host name; chosen by itself if not set.",
        "true",
        show=kinds.show_flag,
    ),
    Key(
        "cluster-id",
        "cluster_id",
        kinds.read_cluster_id,
        "Id of this node, unique in the cluster; the key of its file is file-prefix + cluster-id. "
        "Generated if not set.",
        "node-1",
    ),
    Key(
        "bind-address",
        "bind_address",
        kinds.read_host,
        "Address the cluster transport listens at; peers dial it unless external-address is set.",
        "10.0.0.5",
    ),
    Key(
        "bind-port",
        "bind_port",
        kinds.read_bind_port,
        "Port the cluster transport listens at; 0 (any free port) only with broker:amqtt.",
        "7800",
        default="7800",
    ),
    Key(
        "external-address",
        "external_address",
        kinds.read_dialled_host,
        "Address that peers dial, where it is not bind-address; found out if neither is set.",
        "node-1.example.com",
    ),
    Key(
        "external-port",
        "external_port",
        kinds.read_port,
        "Port that peers dial; bind-port if not set.",
        "17800",
    ),
    Key(
        "broker",
        "broker",
        kinds.read_name,
        "Broker that is made to cluster: none (discovery alone), amqtt, or one from an installed plugin.",
        "amqtt",
        default="none",
    ),
    Key(
        "amqtt-listen",
        "amqtt_listen",
        kinds.read_listener,
        "host:port where MQTT clients connect, with broker:amqtt.",
        "0.0.0.0:1883",
        default="127.0.0.1:1883",
    ),
    Key(
        "amqtt-config",
        "amqtt_config",
        kinds.read_path,
        "An amqtt configuration file (YAML), used instead of amqtt-listen.",
        "/etc/amqtt.yaml",
    ),
)
BY_NAME = {key.name: key for key in KEYS}


def nearest_key(name: str) -> str | None:
    """Return the key that `name` was most likely meant to be, or None."""
    near = difflib.get_close_matches(name.lower().replace("_", "-"), BY_NAME, n=1)
    return near[0] if near else None
