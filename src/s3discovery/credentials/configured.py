"""credentials-type:access_key and temporary_session: what the settings hold, or the files they name."""

from pathlib import Path

from s3discovery.credentials.files import WatchedFile
from s3discovery.credentials.provider import Credentials, make_credentials
from s3discovery.errors import CredentialsError
from s3discovery.settings.config import Secret


class ConfiguredCredentials:
    """Keys of the settings; a secret is a text, or the path of a file that is read again when it changes."""

    def __init__(
        self, access_key_id: str, secret_access_key: Secret | Path, session_token: Secret | Path | None
    ) -> None:
        self._access_key_id = access_key_id
        self._secret = _watch(secret_access_key, "credentials-secret-access-key-file")
        self._token = (
            None if session_token is None else _watch(session_token, "credentials-session-token-file")
        )

    async def credentials(self) -> Credentials:
        token = None if self._token is None else _reveal(self._token)
        return make_credentials("settings", self._access_key_id, _reveal(self._secret), token)


def _watch(given: Secret | Path, what: str) -> Secret | WatchedFile:
    return WatchedFile(given, what) if isinstance(given, Path) else given


def _reveal(given: Secret | WatchedFile) -> str:
    if isinstance(given, Secret):
        return given.reveal()
    text = given.read().strip()  # editors and `echo` end a file with a line break
    if not text:
        raise CredentialsError(f"{given} is empty; write the secret into it")
    return text
