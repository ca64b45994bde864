"""Credentials: from `credentials-type` to a provider that is asked before every request.

Adding a type is one function in `_MAKERS`. A source that gives nothing raises CredentialsError,
naming itself and the cure; no source is ever replaced by another in silence.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from s3discovery.config import Secret, Settings
from s3discovery.errors import CredentialsError, Problem, SettingsError

if TYPE_CHECKING:
    from botocore.credentials import Credentials as AwsCredentials


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request is signed with; the secrets never show."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None


class CredentialsProvider(Protocol):
    """A source of credentials."""

    async def credentials(self) -> Credentials:
        """Return the credentials of now; cheap when nothing has changed.

        Raises CredentialsError, naming the source and the cure."""


class FixedCredentials:
    """Credentials that never change."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def credentials(self) -> Credentials:
        return self._credentials


class EnvironmentCredentials:
    """The environment variables of AWS's SDKs, and nothing else; read anew each time."""

    # In the order in which Java's SDK looks for them.
    _ACCESS_KEY_ID = ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY")
    _SECRET_ACCESS_KEY = ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
    _SESSION_TOKEN = ("AWS_SESSION_TOKEN",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def credentials(self) -> Credentials:
        token = self._find(self._SESSION_TOKEN)
        return Credentials(
            self._require(self._ACCESS_KEY_ID),
            Secret(self._require(self._SECRET_ACCESS_KEY)),
            Secret(token) if token else None,
        )

    def _require(self, names: tuple[str, ...]) -> str:
        value = self._find(names)
        if not value:
            raise CredentialsError(
                f"credentials-type:environment_variables, but {names[0]} is not set; "
                "set it, or choose another type"
            )
        return value

    def _find(self, names: tuple[str, ...]) -> str:
        return next((value for name in names if (value := self._environ.get(name, "").strip())), "")


class SdkCredentials:
    """The AWS SDK's own chain: environment, profile files, web identity, container, instance.

    It reads this process's environment and files, and refreshes what expires; botocore is loaded with
    the first use, and runs in a thread since it blocks."""

    def __init__(self) -> None:
        self._found: AwsCredentials | None = None
        self._lock = asyncio.Lock()

    async def credentials(self) -> Credentials:
        async with self._lock:  # one look at a time: a refresh asks a server
            if self._found is None or _is_stale(self._found):
                return await asyncio.to_thread(self._read)
            return self._read()

    def _read(self) -> Credentials:
        # Loaded here: 10 MiB and 80 ms that the other types need not pay.
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.session import Session

        try:
            if self._found is None:
                self._found = Session().get_credentials()
            frozen = None if self._found is None else self._found.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError) as error:
            raise CredentialsError(f"credentials-type:default, and AWS's chain failed: {error}") from error
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise CredentialsError(
                "credentials-type:default, but AWS's chain found none; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, give this machine a role, "
                "or choose another type"
            )
        token = Secret(frozen.token) if frozen.token else None
        return Credentials(frozen.access_key, Secret(frozen.secret_key), token)


def _is_stale(found: "AwsCredentials") -> bool:
    """Tell whether reading `found` would fetch new ones; permanent keys have no such question."""
    refresh_needed = getattr(found, "refresh_needed", None)
    return refresh_needed is not None and bool(refresh_needed())


_Maker = Callable[[Settings, Mapping[str, str]], CredentialsProvider]


def _access_key(settings: Settings, environ: Mapping[str, str]) -> CredentialsProvider:
    return FixedCredentials(_configured(settings))


def _temporary_session(settings: Settings, environ: Mapping[str, str]) -> CredentialsProvider:
    configured = _configured(settings)
    if not settings.session_token:
        raise _missing(settings, "credentials-session-token")
    return FixedCredentials(
        Credentials(configured.access_key_id, configured.secret_access_key, settings.session_token)
    )


def _environment(settings: Settings, environ: Mapping[str, str]) -> CredentialsProvider:
    return EnvironmentCredentials(environ)


def _default(settings: Settings, environ: Mapping[str, str]) -> CredentialsProvider:
    return SdkCredentials()


_MAKERS: Mapping[str, _Maker] = MappingProxyType(
    {
        "default": _default,
        "environment_variables": _environment,
        "access_key": _access_key,
        "temporary_session": _temporary_session,
    }
)


def provider_for(settings: Settings, environ: Mapping[str, str]) -> CredentialsProvider:
    """Return the provider that `credentials-type` names; no I/O yet. Raises SettingsError."""
    maker = _MAKERS.get(settings.credentials_type)
    if maker is None:
        cure = f"not available in this version; write one of {', '.join(_MAKERS)}"
        raise SettingsError([Problem("credentials-type", settings.credentials_type, cure)])
    return maker(settings, environ)


def _configured(settings: Settings) -> Credentials:
    if not settings.access_key_id:
        raise _missing(settings, "credentials-access-key-id")
    if not settings.secret_access_key:
        raise _missing(settings, "credentials-secret-access-key")
    return Credentials(settings.access_key_id, settings.secret_access_key)


def _missing(settings: Settings, key: str) -> SettingsError:
    return SettingsError(
        [Problem(key, None, f"set it, as credentials-type:{settings.credentials_type} needs it")]
    )
