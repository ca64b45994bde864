"""What AWS's SDK alone knows: credentials-type:sso, and the end of `default`.

It reads this process's own environment and files; botocore's session is loaded with the first use, and runs
in a thread since it blocks. A daemon thread: asyncio's own would hold up the end of the process while a
program that the SDK has started hangs.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
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
        cure = "write ~/.aws/credentials, give this machine a role, or choose another credentials-type"
        self._reading = _Reading(self._load, self.SOURCE, cure)

    async def issue(self) -> Issued:
        """Return what the chain finds; raises CredentialsError."""
        return await self._reading.issue()

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
        cure = f"run aws sso login --profile {profile}, or set credentials-profile"
        self._reading = _Reading(self._load, f"SSO of profile {profile!r}", cure)

    async def issue(self) -> Issued:
        """Return the credentials of the profile's role; raises CredentialsError."""
        return await self._reading.issue()

    def _load(self) -> Any:
        resolver = _session(self._profile).get_component("credential_provider")
        found = next(each for each in resolver.providers if each.METHOD == "sso")
        return found.load()


class _Reading:
    """Reads in a daemon thread, one at a time: who asks while one hangs waits for that one."""

    def __init__(self, load: Callable[[], Any], source: str, cure: str) -> None:
        self._load = load
        self._source = source
        self._cure = cure
        self._answer: Future[Issued] | None = None

    async def issue(self) -> Issued:
        if self._answer is None or self._answer.done():
            self._answer = self._begin()
        return await asyncio.wrap_future(self._answer)

    def _begin(self) -> "Future[Issued]":
        answer: Future[Issued] = Future()
        answer.set_running_or_notify_cancel()  # from now on nobody who stops waiting can cancel it

        def work() -> None:
            try:
                found = _read(self._load, self._source, self._cure)
            except CredentialsError as error:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        try:
            threading.Thread(target=work, name="SDK credentials", daemon=True).start()
        except RuntimeError as error:  # as many threads as the machine allows
            answer.set_exception(CredentialsError(f"{self._source}: {error}; raise the limit of threads"))
        return answer


def _session(profile: str | None) -> Any:
    from botocore.session import Session

    # Its debugging lines and the tracebacks beside its warnings hold requests and answers whole: tokens and
    # keys. What failed is in our own error; whoever wants more sets the level of this logger.
    logger = logging.getLogger("botocore")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    return Session(profile=profile)


def _read(load: Callable[[], Any], source: str, cure: str) -> Issued:
    try:
        found = load()
        frozen = None if found is None else found.get_frozen_credentials()
        # Credentials that do not end have no such attribute; botocore shows the moment nowhere else.
        moment = getattr(found, "_expiry_time", None)
        expires_s = None if moment is None else moment.timestamp()
    except Exception as error:  # noqa: BLE001 - botocore lets through whatever json, shlex and others raise
        # Without the cause: it may hold a line of a file, or what a program said.
        raise CredentialsError(f"{source}: {_explain(error)}; {_cure(error) or cure}") from None
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise CredentialsError(f"{source}: nothing found; {cure}")
    token = frozen.token or None
    return Issued(make_credentials(source, frozen.access_key, frozen.secret_key, token, expires_s))


def _cure(error: Exception) -> str | None:
    """Return what to do where it is the files of the profile that are wrong, not what they name."""
    from botocore import exceptions

    if isinstance(error, exceptions.ConfigParseError):
        return "mend that file: a section such as [default], then a name=value in each line"
    if isinstance(error, exceptions.ProfileNotFound):
        return "write that profile, or set credentials-profile to another"
    return None


def _explain(error: Exception) -> str:
    """Return what `error` says if it is of a kind that quotes neither files nor programs, else its kind."""
    from botocore import exceptions

    harmless = (
        exceptions.ClientError,
        exceptions.ConfigParseError,
        exceptions.HTTPClientError,
        exceptions.InvalidConfigError,
        exceptions.ProfileNotFound,
        exceptions.SSOError,
        exceptions.SSOTokenLoadError,
        exceptions.TokenRetrievalError,
    )
    return str(error) if isinstance(error, harmless) else type(error).__name__
