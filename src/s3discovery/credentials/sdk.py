"""What AWS's SDK alone knows: credentials-type:sso, and the end of `default`.

It reads this process's own environment and files; botocore's session is loaded with the first use, and runs
in a thread since it blocks.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from s3discovery.credentials.provider import make_credentials
from s3discovery.credentials.renewal import Issued
from s3discovery.errors import CredentialsError

# Asked by us already, in the order that the original documents.
_OURS = ("env", "shared-credentials-file", "iam-role")


class SdkChain:
    """The SDK's own chain without the sources of ours: assumed roles and web identity of profiles,
    SSO, config file, process, container."""

    SOURCE = "the AWS SDK's other sources"

    def __init__(self, profile: str | None) -> None:
        self._profile = profile

    async def issue(self) -> Issued:
        """Return what the chain finds; raises CredentialsError."""
        cure = "write ~/.aws/credentials, give this machine a role, or choose another credentials-type"
        return await asyncio.to_thread(_read, self._load, self.SOURCE, cure)

    def _load(self) -> Any:
        resolver = _session(self._profile).get_component("credential_provider")
        known = {provider.METHOD for provider in resolver.providers}
        for name in _OURS:
            if name in known:
                resolver.remove(name)
        return resolver.load_credentials()


class SingleSignOn:
    """The session that `aws sso login` made for a profile; botocore renews it while it can."""

    def __init__(self, profile: str) -> None:
        self._profile = profile

    async def issue(self) -> Issued:
        """Return the credentials of the profile's role; raises CredentialsError."""
        source = f"SSO of profile {self._profile!r}"
        cure = f"run aws sso login --profile {self._profile}, or set credentials-profile"
        return await asyncio.to_thread(_read, self._load, source, cure)

    def _load(self) -> Any:
        resolver = _session(self._profile).get_component("credential_provider")
        found = next(each for each in resolver.providers if each.METHOD == "sso")
        return found.load()


def _session(profile: str | None) -> Any:
    from botocore.session import Session

    return Session(profile=profile)


def _read(load: Callable[[], Any], source: str, cure: str) -> Issued:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = load()
        frozen = None if found is None else found.get_frozen_credentials()
    except (BotoCoreError, ClientError, OSError) as error:
        # Without the cause: it may hold a line of a file, or what a program said.
        raise CredentialsError(f"{source}: {_explain(error)}; {cure}") from None
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise CredentialsError(f"{source}: nothing found; {cure}")
    # Credentials that do not end have no such attribute; botocore shows the moment nowhere else.
    moment = getattr(found, "_expiry_time", None)
    expires_s = None if moment is None else moment.timestamp()
    token = frozen.token or None
    return Issued(make_credentials(source, frozen.access_key, frozen.secret_key, token, expires_s))


def _explain(error: Exception) -> str:
    """Return what `error` says if it is of a kind that quotes neither files nor programs, else its kind."""
    from botocore import exceptions

    harmless = (
        exceptions.ClientError,
        exceptions.HTTPClientError,
        exceptions.InvalidConfigError,
        exceptions.ProfileNotFound,
        exceptions.SSOError,
        exceptions.SSOTokenLoadError,
        exceptions.TokenRetrievalError,
    )
    return str(error) if isinstance(error, harmless) else type(error).__name__
