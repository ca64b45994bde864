"""Who we are to nats-server."""

from dataclasses import dataclass

from s3discovery.settings.kinds import Secret


@dataclass(frozen=True, slots=True)
class Login:
    """A user and his password."""

    user: str
    password: Secret


def login(user: str | None, password: Secret | None) -> Login | None:
    """Return a login, or None if no user is set."""
    return None if user is None else Login(user, password or Secret(""))
