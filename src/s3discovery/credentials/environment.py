"""credentials-type:environment_variables: the variables of AWS's SDKs, and nothing else."""

from collections.abc import Mapping

from s3discovery.credentials.provider import Credentials, make_credentials
from s3discovery.errors import CredentialsError

_SOURCE = "environment variables"
# In the order in which Java's SDK looks for them.
_ACCESS_KEY_ID = ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY")
_SECRET_ACCESS_KEY = ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
_SESSION_TOKEN = ("AWS_SESSION_TOKEN",)


class EnvironmentCredentials:
    """The environment variables of AWS's SDKs, and nothing else; read anew each time."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def credentials(self) -> Credentials:
        return make_credentials(
            _SOURCE,
            self._require(_ACCESS_KEY_ID),
            self._require(_SECRET_ACCESS_KEY),
            self._find(_SESSION_TOKEN) or None,
        )

    def _require(self, names: tuple[str, ...]) -> str:
        value = self._find(names)
        if not value:
            raise CredentialsError(
                f"{_SOURCE}: {names[0]} is not set; set it, or choose another credentials-type"
            )
        return value

    def _find(self, names: tuple[str, ...]) -> str:
        return next((value for name in names if (value := self._environ.get(name, "").strip())), "")
