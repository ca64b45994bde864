"""Credentials: from `credentials-type` to a provider that is asked before every request.

One file a source, or a small group; `choice` has the table of types. A source that gives nothing raises
CredentialsError, naming itself and the cure; no source is ever replaced by another in silence. What
issues credentials that end (`issue`) is kept renewed by `renewal`.
"""

from s3discovery.credentials.choice import provider_for
from s3discovery.credentials.environment import EnvironmentCredentials
from s3discovery.credentials.provider import ANONYMOUS, Credentials, CredentialsProvider, FixedCredentials

__all__ = [
    "ANONYMOUS",
    "Credentials",
    "CredentialsProvider",
    "EnvironmentCredentials",
    "FixedCredentials",
    "provider_for",
]
