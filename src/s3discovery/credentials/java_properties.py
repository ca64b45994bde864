"""credentials-type:java_system_properties: -D of our command line and Java's variables, or of a JVM."""

from collections.abc import Callable, Mapping, Sequence

from s3discovery.credentials.provider import Credentials, make_credentials
from s3discovery.errors import CredentialsError, SettingsError
from s3discovery.settings import java

# The original's documentation has aws.secretKey, its successor's aws.secretAccessKey.
_ACCESS_KEY_ID = ("aws.accessKeyId",)
_SECRET_ACCESS_KEY = ("aws.secretKey", "aws.secretAccessKey")
_SESSION_TOKEN = ("aws.sessionToken",)


class JavaCredentials:
    """Java system properties, and nothing else: of `arguments` and `environ`, or of the JVM `pid` alone.

    Read once and kept: a command line does not change, and its JVM may end before we do."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        pid: int | None = None,
        *,
        of_jvm: Callable[[int], Mapping[str, str]] = java.properties_of_jvm,
    ) -> None:
        self._arguments = arguments
        self._environ = environ
        self._pid = pid
        self._of_jvm = of_jvm
        self._source = "Java system properties" if pid is None else f"Java system properties of process {pid}"
        self._found: Credentials | None = None

    async def credentials(self) -> Credentials:
        if self._found is None:
            properties = self._read()
            self._found = make_credentials(
                self._source,
                self._require(properties, _ACCESS_KEY_ID),
                self._require(properties, _SECRET_ACCESS_KEY),
                _find(properties, _SESSION_TOKEN) or None,
            )
        return self._found

    def _read(self) -> Mapping[str, str]:
        if self._pid is None:
            try:
                return java.java_system_properties(self._arguments, self._environ)
            except SettingsError as error:
                raise CredentialsError(f"{self._source}: {'; '.join(map(str, error.problems))}") from error
        try:
            return self._of_jvm(self._pid)
        except OSError as error:
            cure = "set java-pid to a JVM that runs here, as a user who may look at it"
            raise CredentialsError(f"{self._source}: {error.strerror or 'unreadable'}; {cure}") from error

    def _require(self, properties: Mapping[str, str], names: tuple[str, ...]) -> str:
        value = _find(properties, names)
        if not value:
            ours = f"on the command line of s3discovery, or in one of {', '.join(java.JAVA_VARIABLES)}"
            where = ours if self._pid is None else "on its command line"
            raise CredentialsError(
                f"{self._source}: {' or '.join(names)} is not set; write -D{names[0]}=... {where}, or choose "
                "another credentials-type"
            )
        return value


def _find(properties: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := properties.get(name, "").strip())), "")
