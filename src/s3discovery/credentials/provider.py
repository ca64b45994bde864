"""What a source of credentials is, and the credentials it gives."""

from dataclasses import dataclass, field
from typing import Protocol

from s3discovery.errors import CredentialsError
from s3discovery.settings import kinds
from s3discovery.settings.config import Secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request is signed with; the secrets never show.

    `expires_s` is when they end, as Unix seconds by their issuer's clock; None: never, as far as is
    known. `source` says to people where they come from."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None
    expires_s: float | None = None
    source: str = field(default="", compare=False)

    @property
    def is_anonymous(self) -> bool:
        """Whether requests go unsigned."""
        return not self.access_key_id


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


ANONYMOUS = Credentials("", Secret(""), source="anonymous")


def make_credentials(
    source: str,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None = None,
    expires_s: float | None = None,
) -> Credentials:
    """Return credentials that fit into a request's headers; raises CredentialsError where they do not."""
    parts = {
        "access key id": access_key_id,
        "secret access key": secret_access_key,
        "session token": session_token,
    }
    for name, text in parts.items():
        if text is None:
            continue
        try:
            kinds.read_printable(text)
        except kinds.WrongTextError:
            cure = "it must be printable ASCII without spaces, as it was issued"
            raise CredentialsError(f"{source}: the {name} is not one; {cure}") from None
    token = Secret(session_token) if session_token is not None else None
    return Credentials(access_key_id, Secret(secret_access_key), token, expires_s, source)
