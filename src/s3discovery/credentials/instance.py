"""credentials-type:instance_profile_credentials: the role of an EC2 instance, from its metadata service.

Version 2 wants a token first, by PUT. The answer to that PUT travels no further than the instance's hop
limit: in a container it may get lost on the way, while everything else is answered. That is told apart from
a service that is slow, from one that has no version 2, and from a machine that has no such service.
"""

from collections.abc import Mapping

from s3discovery.credentials import http
from s3discovery.credentials.issued import read_issued, read_object
from s3discovery.credentials.renewal import Issued
from s3discovery.errors import CredentialsError

SOURCE = "instance profile"
IPV4_URL = "http://169.254.169.254"
IPV6_URL = "http://[fd00:ec2::254]"
ASK_LIMIT_S = 2.0
_TOKEN_LIFE_S = 300  # it is asked for with every renewal, and used at once
_NO_VERSION_2 = (403, 404, 405)  # statuses by which a service says that it has no such PUT
_RAISE_HOP_LIMIT = (
    "raise the instance's hop limit: aws ec2 modify-instance-metadata-options "
    "--http-put-response-hop-limit 2 --instance-id ..."
)
_ROLES = "/latest/meta-data/iam/security-credentials/"


class InstanceProfile:
    """The metadata service that `environ` names; `version_1` None: allowed unless the variable forbids it."""

    def __init__(
        self, environ: Mapping[str, str], version_1: bool | None, *, limit_s: float = ASK_LIMIT_S
    ) -> None:
        self._base = _base(environ)
        self._disabled = environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        forbidden = environ.get("AWS_EC2_METADATA_V1_DISABLED", "").lower() == "true"
        self._version_1 = not forbidden if version_1 is None else version_1
        self._limit_s = limit_s

    async def issue(self) -> Issued:
        """Return the credentials of the instance's role; raises CredentialsError."""
        if self._disabled:
            raise self._failed("AWS_EC2_METADATA_DISABLED is true; unset it, or choose another type")
        headers = await self._token()
        named = await self._get(_ROLES, headers)
        role = (named.text.strip().splitlines() or [""])[0].strip()
        if named.status == 404 or (named.status == 200 and not role):
            raise self._failed("this instance has no role; attach an instance profile to it")
        self._require_ok(named)
        answer = await self._get(_ROLES + role, headers)
        self._require_ok(answer)
        found = read_object(answer.text, SOURCE)
        if found.get("Code", "Success") != "Success":
            raise self._failed(
                f"role {role!r} cannot be used ({str(found['Code'])[:80]!r}); look at its trust"
            )
        return read_issued(found, SOURCE, answer.now_s)

    async def _token(self) -> Mapping[str, str]:
        """Return the headers to ask with: none by version 1, where that is allowed."""
        try:
            answer = await http.ask(
                "PUT",
                f"{self._base}/latest/api/token",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFE_S)},
                limit_s=self._limit_s,
            )
        except http.SlowError as error:
            return await self._without_token(error)
        except http.NoAnswerError as error:
            raise self._failed(f"{error}; is this an EC2 instance, and may this process reach it?") from error
        if answer.status == 200 and answer.text.strip():
            return {"X-aws-ec2-metadata-token": answer.text.strip()}
        if answer.status in _NO_VERSION_2:
            return self._fall_back(f"it gives no token (HTTP {answer.status})", "allow its version 2")
        raise self._failed(f"it gave no token (HTTP {answer.status}); look at the instance")

    async def _without_token(self, error: http.SlowError) -> Mapping[str, str]:
        """Find out why there was no token: is the service slow, or is only that answer lost?"""
        try:
            answer = await http.ask("GET", f"{self._base}{_ROLES}", limit_s=self._limit_s)
        except http.NoAnswerError:
            raise self._failed(f"it is slow, it {error}; look at the instance") from error
        if answer.status == 401:
            raise self._failed(f"it answers, but not to the PUT for a token; {_RAISE_HOP_LIMIT}") from error
        return self._fall_back("it answers, but not to the PUT for a token", _RAISE_HOP_LIMIT)

    def _fall_back(self, why: str, cure: str) -> Mapping[str, str]:
        if self._version_1:
            return {}
        raise self._failed(
            f"{why}, and version 1 is forbidden; {cure}, or write credentials-metadata-v1:true"
        )

    async def _get(self, path: str, headers: Mapping[str, str]) -> http.Answer:
        try:
            return await http.ask("GET", f"{self._base}{path}", headers=headers, limit_s=self._limit_s)
        except http.SlowError as error:
            raise self._failed(f"it is slow, it {error}; look at the instance") from error
        except http.NoAnswerError as error:
            raise self._failed(f"it {error}; look at the instance") from error

    def _require_ok(self, answer: http.Answer) -> None:
        if answer.status == 401:
            raise self._failed("it wants a token (HTTP 401), and gave none; allow its version 2")
        if answer.status != 200:
            raise self._failed(f"it refused (HTTP {answer.status}); look at the instance")

    def _failed(self, what: str) -> CredentialsError:
        return CredentialsError(f"{SOURCE}: the metadata service at {http.shown_place(self._base)}: {what}")


def _base(environ: Mapping[str, str]) -> str:
    if given := environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").strip():
        return given.rstrip("/")
    mode = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").strip().lower()
    return IPV6_URL if mode == "ipv6" else IPV4_URL
