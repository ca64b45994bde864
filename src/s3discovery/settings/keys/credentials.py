"""Where credentials come from."""

from collections.abc import Mapping

from s3discovery.settings import kinds
from s3discovery.settings.keys.key import Key

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

# Of an access key id: enough to tell one's keys apart. A secret that stands in its place by mistake (which
# mostly has small letters or signs) shows less.
_SHOWN, _SHOWN_OF_A_SECRET = 4, 2


def show_access_key_id(text: str) -> str:
    """Return an access key id as it is shown."""
    looks_secret = any(char.islower() or char in "/+-_" for char in text)
    return f"{text[: _SHOWN_OF_A_SECRET if looks_secret else _SHOWN]}***"


# What a type cannot do without, by its name.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "access_key": ("credentials-access-key-id", "credentials-secret-access-key"),
    "temporary_session": (
        "credentials-access-key-id",
        "credentials-secret-access-key",
        "credentials-session-token",
    ),
    "assume_role": ("credentials-role-arn",),
}

CREDENTIALS: tuple[Key, ...] = (
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
        show=show_access_key_id,
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
)
