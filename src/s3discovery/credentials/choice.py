"""From `credentials-type` to its provider: one function a type, and no I/O before the first question.

Each source is imported by the function that makes it: a start should not pay for those it does not use.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from s3discovery.clock import Clock, SystemClock
from s3discovery.credentials.provider import ANONYMOUS, CredentialsProvider, FixedCredentials
from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import Secret, Settings


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """What a source may look at. Without repr: environment and arguments hold secrets."""

    settings: Settings
    environ: Mapping[str, str]
    java_arguments: Sequence[str]
    clock: Clock

    @property
    def profile(self) -> str:
        from s3discovery.credentials import profiles

        return profiles.profile_name(self.settings.profile, self.environ)


def provider_for(
    settings: Settings,
    environ: Mapping[str, str] = os.environ,
    *,
    java_arguments: Sequence[str] = (),
    clock: Clock | None = None,
) -> CredentialsProvider:
    """Return the provider that `credentials-type` names; no I/O yet. Raises SettingsError.

    `java_arguments` are `-Dname=value` of our own command line; they win over Java's variables."""
    place = Place(settings, environ, java_arguments, clock or SystemClock())
    return _MAKERS[settings.credentials_type](place)


def _access_key(place: Place) -> CredentialsProvider:
    return _configured(place.settings, with_token=False)


def _temporary_session(place: Place) -> CredentialsProvider:
    return _configured(place.settings, with_token=True)


def _configured(settings: Settings, *, with_token: bool) -> CredentialsProvider:
    from s3discovery.credentials.configured import ConfiguredCredentials

    # `config.parse` has refused what is missing; these are for settings made otherwise.
    if not settings.access_key_id:
        raise _missing(settings, "credentials-access-key-id")
    secret = _secret(settings.secret_access_key, settings.secret_access_key_file)
    if secret is None:
        raise _missing(settings, "credentials-secret-access-key")
    token = _secret(settings.session_token, settings.session_token_file) if with_token else None
    if with_token and token is None:
        raise _missing(settings, "credentials-session-token")
    return ConfiguredCredentials(settings.access_key_id, secret, token)


def _secret(text: Secret | None, path: str | None) -> Secret | Path | None:
    return Path(path) if path else (text or None)


def _missing(settings: Settings, key: str) -> SettingsError:
    return SettingsError(
        [Problem(key, None, f"set it, as credentials-type:{settings.credentials_type} needs it")]
    )


def _environment(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.environment import EnvironmentCredentials

    return EnvironmentCredentials(place.environ)


def _java(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.java_properties import JavaCredentials

    return JavaCredentials(place.java_arguments, place.environ, place.settings.java_pid)


def _file(place: Place) -> CredentialsProvider:
    from s3discovery.credentials import profiles

    return profiles.FileCredentials(profiles.credentials_path(place.environ), place.profile)


def _instance(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.instance import SOURCE, InstanceProfile
    from s3discovery.credentials.renewal import RenewedCredentials

    service = InstanceProfile(place.environ, place.settings.metadata_v1)
    return RenewedCredentials(service.issue, place.clock, SOURCE)


def _default(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.default import DefaultCredentials
    from s3discovery.credentials.renewal import RenewedCredentials
    from s3discovery.credentials.sdk import SdkChain

    named = place.settings.profile
    others = RenewedCredentials(SdkChain(named).issue, place.clock, SdkChain.SOURCE)
    return DefaultCredentials((_environment(place), _java(place), _file(place), _instance(place), others))


def _container(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.container import SOURCE, ContainerRole
    from s3discovery.credentials.renewal import RenewedCredentials

    return RenewedCredentials(ContainerRole(place.environ).issue, place.clock, SOURCE)


def _process(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.process import RUN_LIMIT_S, CredentialProcess
    from s3discovery.credentials.renewal import RenewedCredentials

    program = CredentialProcess(place.environ, place.profile)
    source = f"process of profile {place.profile!r}"
    return RenewedCredentials(program.issue, place.clock, source, limit_s=RUN_LIMIT_S)


def _sso(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.renewal import RenewedCredentials
    from s3discovery.credentials.sdk import SingleSignOn

    session = SingleSignOn(place.profile)
    return RenewedCredentials(session.issue, place.clock, f"SSO of profile {place.profile!r}")


def _web_identity(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.renewal import RenewedCredentials
    from s3discovery.credentials.sts import TokenService, WebIdentity

    settings = place.settings
    identity = WebIdentity(
        place.environ,
        TokenService(place.environ, settings.bucket_region, place.clock),
        settings.role_arn,
        settings.session_name,
    )
    return RenewedCredentials(identity.issue, place.clock, WebIdentity.SOURCE)


def _assume_role(place: Place) -> CredentialsProvider:
    from s3discovery.credentials.renewal import RenewedCredentials
    from s3discovery.credentials.sts import SESSION_NAME, AssumedRole, Role, TokenService

    settings = place.settings
    if not settings.role_arn:
        raise _missing(settings, "credentials-role-arn")
    role = Role(settings.role_arn, settings.session_name or SESSION_NAME, settings.external_id)
    assumed = AssumedRole(
        role,
        _MAKERS[settings.credentials_source](place),
        TokenService(place.environ, settings.bucket_region, place.clock),
    )
    return RenewedCredentials(assumed.issue, place.clock, f"role {role.arn}")


def _anonymous(place: Place) -> CredentialsProvider:
    return FixedCredentials(ANONYMOUS)


_MAKERS: Mapping[str, Callable[[Place], CredentialsProvider]] = MappingProxyType(
    {
        "default": _default,
        "environment_variables": _environment,
        "java_system_properties": _java,
        "user_credentials_file": _file,
        "instance_profile_credentials": _instance,
        "access_key": _access_key,
        "temporary_session": _temporary_session,
        "web_identity": _web_identity,
        "container": _container,
        "process": _process,
        "assume_role": _assume_role,
        "sso": _sso,
        "anonymous": _anonymous,
    }
)
