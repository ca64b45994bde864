"""credentials-type:container: the role of an ECS task or, by EKS Pod Identity, of a pod."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from s3discovery.credentials import http
from s3discovery.credentials.files import WatchedFile
from s3discovery.credentials.issued import read_issued, read_object
from s3discovery.credentials.renewal import Issued
from s3discovery.errors import CredentialsError
from s3discovery.ip import ip_of

SOURCE = "container"
ECS_URL = "http://169.254.170.2"
_RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105
# Where plain HTTP is safe: ECS's agent, and EKS's by IPv4 and IPv6. Source: AWS's SDK reference guide.
_LINK_LOCAL = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
_ASK_LIMIT_S = 3.0


class ContainerRole:
    """The endpoint that the container's own variables name; `ecs_url` is where a relative one begins."""

    def __init__(self, environ: Mapping[str, str], *, ecs_url: str = ECS_URL) -> None:
        self._environ = environ
        self._ecs_url = ecs_url

    async def issue(self) -> Issued:
        """Return the credentials of the container's role; raises CredentialsError."""
        url = self._url()
        headers = {"Accept": "application/json"}
        if token := self._token():
            headers["Authorization"] = token
        where = f"{SOURCE}: the endpoint at {http.shown_place(url)}"
        try:
            answer = await http.ask("GET", url, headers=headers, limit_s=_ASK_LIMIT_S)
        except http.NoAnswerError as error:
            raise CredentialsError(f"{where} {error}; look why it does not answer") from error
        if answer.status != 200:
            raise CredentialsError(
                f"{where} refused (HTTP {answer.status}); look at the role of this task or pod"
            )
        return read_issued(read_object(answer.text, SOURCE), SOURCE, answer.now_s)

    def _url(self) -> str:
        if relative := self._environ.get(_RELATIVE, "").strip():
            return f"{self._ecs_url}/{relative.lstrip('/')}"
        full = self._environ.get(_FULL, "").strip()
        if not full:
            raise CredentialsError(
                f"{SOURCE}: neither {_RELATIVE} nor {_FULL} is set; give the task or pod a role, or choose "
                "another credentials-type"
            )
        try:
            parts = urlsplit(full)
            host = parts.hostname or ""
        except ValueError:
            raise CredentialsError(f"{SOURCE}: {_FULL} is no URL; set it to what ECS or EKS gave") from None
        if parts.scheme == "https" or (parts.scheme == "http" and _may_be_plain(host)):
            return full
        raise CredentialsError(
            f"{SOURCE}: {_FULL} names {host!r} by {parts.scheme or 'no scheme'}; the secret would travel in "
            "the open, use https, or an address of this machine, of ECS or of EKS"
        )

    def _token(self) -> str:
        """Return what the endpoint is to be shown; the file's is read anew, since it is rotated."""
        if path := self._environ.get(_TOKEN_FILE, "").strip():
            token = WatchedFile(Path(path), _TOKEN_FILE).read().strip()
        else:
            token = self._environ.get(_TOKEN, "").strip()
        if not token.isprintable():
            raise CredentialsError(f"{SOURCE}: its authorization token holds a line break; write one line")
        return token


def _may_be_plain(host: str) -> bool:
    ip = ip_of(host)
    if ip is None:
        return host == "localhost"
    return ip.is_loopback or str(ip) in _LINK_LOCAL
