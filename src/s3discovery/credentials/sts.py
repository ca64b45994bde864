"""credentials-type:web_identity and assume_role: a role's credentials from the Security Token Service."""

import xml.etree.ElementTree as ET  # for its types; s3discovery.xml parses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from s3discovery.aws.regions import partition_of
from s3discovery.clock import Clock
from s3discovery.credentials import http
from s3discovery.credentials.files import WatchedFile
from s3discovery.credentials.issued import read_issued
from s3discovery.credentials.provider import Credentials, CredentialsProvider
from s3discovery.credentials.renewal import Issued
from s3discovery.errors import CredentialsError, Problem, SettingsError
from s3discovery.network.proxies import find_proxy
from s3discovery.xml import NotXmlError, parse_xml

SESSION_NAME = "s3discovery"
_ASK_LIMIT_S = 6.0
_CONNECT_LIMIT_S = 3.0
_SHOWN = 200  # characters of STS's message that an error shows
_SKEW_S = 240.0  # STS refuses from 5 minutes on
_ENDPOINTS = ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
_CURES = {
    "AccessDenied": "let the role's trust policy name who asks, external id included, and allow them "
    "sts:AssumeRole or sts:AssumeRoleWithWebIdentity",
    "ExpiredTokenException": "the web identity token has expired; look why its file is not renewed",
    "ExpiredToken": "the credentials that ask have expired; renew them",
    "InvalidIdentityToken": "register the token's issuer as an identity provider of the account",
    "IDPCommunicationError": "STS cannot reach the identity provider; look why it does not answer",
    "InvalidClientTokenId": "STS does not know the access key id; look at credentials-source",
    "SignatureDoesNotMatch": "the secret does not belong to the access key id; look at credentials-source",
    "ValidationError": "look at credentials-role-arn, credentials-external-id and credentials-session-name",
    "RegionDisabledException": "activate STS in this region, or set AWS_REGION to another",
}


@dataclass(frozen=True, slots=True)
class Role:
    """A role and how it is taken."""

    arn: str
    session_name: str = SESSION_NAME
    external_id: str | None = None


class TokenService:
    """STS of `region`, or where AWS_ENDPOINT_URL_STS says; a wrong one raises SettingsError."""

    def __init__(self, environ: Mapping[str, str], region: str, clock: Clock) -> None:
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or region
        given = next((name for name in _ENDPOINTS if environ.get(name)), None)
        if given is None:
            self._url = f"https://sts.{self._region}.{partition_of(self._region)[1]}/"
        else:
            self._url = _endpoint(given, environ[given])
        self._clock = clock
        self._environ = environ
        find_proxy(self._url, environ)  # said now if it is written wrong

    async def ask(self, form: Mapping[str, str], source: str, signer: Credentials | None = None) -> Issued:
        """Ask for credentials, signed by `signer` if there is one; raises CredentialsError."""
        body = urlencode({"Version": "2011-06-15", **form}).encode()
        at_s = self._clock.wall_s()
        answer = await self._send(body, source, signer, at_s)
        skewed = answer.now_s is not None and abs(answer.now_s - at_s) > _SKEW_S
        if signer is not None and answer.status in (400, 403) and skewed and answer.now_s is not None:
            # Signed once more by STS's own clock: this machine's may be wrong by hours.
            answer = await self._send(body, source, signer, answer.now_s)
        return _read(answer, f"{source}: STS at {http.shown_place(self._url)}", source)

    async def identify(self, signer: Credentials) -> str:
        """Return the ARN of whoever `signer` stands for, which everybody may ask; raises CredentialsError."""
        body = urlencode({"Version": "2011-06-15", "Action": "GetCallerIdentity"}).encode()
        answer = await self._send(body, "identity", signer, self._clock.wall_s())
        root, space = _parse(answer, f"identity: STS at {http.shown_place(self._url)}")
        return (root.findtext(f".//{space}Arn") or "").strip()[:_SHOWN]

    async def _send(self, body: bytes, source: str, signer: Credentials | None, at_s: float) -> http.Answer:
        headers = dict(_FORM)
        if signer is not None:
            headers = _sign(self._url, headers, body, signer, self._region, at_s)
        try:
            return await http.ask(
                "POST",
                self._url,
                headers=headers,
                body=body,
                limit_s=_ASK_LIMIT_S,
                connect_limit_s=_CONNECT_LIMIT_S,
                environ=self._environ,
            )
        except http.NoAnswerError as error:
            where = http.shown_place(self._url)
            raise CredentialsError(
                f"{source}: STS at {where} {error}; let this machine reach it, or set AWS_ENDPOINT_URL_STS"
            ) from error


class WebIdentity:
    """The role of an EKS service account: its token's file is read anew for every renewal."""

    SOURCE = "web identity"

    def __init__(
        self, environ: Mapping[str, str], service: TokenService, arn: str | None, session_name: str | None
    ) -> None:
        self._environ = environ
        self._service = service
        self._arn = arn
        self._session_name = session_name

    async def issue(self) -> Issued:
        """Return the role's credentials; raises CredentialsError."""
        arn = self._arn or self._environ.get("AWS_ROLE_ARN", "").strip()
        path = self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "").strip()
        for name, value in (("AWS_ROLE_ARN", arn), ("AWS_WEB_IDENTITY_TOKEN_FILE", path)):
            if not value:
                cure = "annotate the pod's service account with its role, or choose another credentials-type"
                raise CredentialsError(f"{self.SOURCE}: {name} is not set; {cure}")
        token = WatchedFile(Path(path), "AWS_WEB_IDENTITY_TOKEN_FILE").read().strip()
        if not token:
            raise CredentialsError(f"{self.SOURCE}: {path!r} is empty; look who should write it")
        name = self._session_name or self._environ.get("AWS_ROLE_SESSION_NAME", "").strip() or SESSION_NAME
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "RoleArn": arn,
            "RoleSessionName": name,
            "WebIdentityToken": token,
        }
        return await self._service.ask(form, self.SOURCE)


class AssumedRole:
    """A role that the credentials of another source may take."""

    def __init__(self, role: Role, asker: CredentialsProvider, service: TokenService) -> None:
        self._role = role
        self._asker = asker
        self._service = service
        self._source = f"role {role.arn}"

    async def issue(self) -> Issued:
        """Return the role's credentials; raises CredentialsError, also where the other source gives none."""
        form = {
            "Action": "AssumeRole",
            "RoleArn": self._role.arn,
            "RoleSessionName": self._role.session_name,
        }
        if self._role.external_id:
            form["ExternalId"] = self._role.external_id
        return await self._service.ask(form, self._source, await self._asker.credentials())


def _endpoint(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # what is no host, or no port
        right = False
    if not right:
        shown = None if "@" in url else url  # it may hold a password
        cure = "write a URL such as https://sts.eu-central-1.amazonaws.com, or unset it"
        raise SettingsError([Problem(name, shown, cure)], "environment")
    return url if parts.path else f"{url}/"


def _read(answer: http.Answer, where: str, source: str) -> Issued:
    root, space = _parse(answer, where)
    found = root.find(f".//{space}Credentials")
    if found is None:
        raise CredentialsError(f"{where} gave no credentials; look at AWS_ENDPOINT_URL_STS")
    return read_issued({child.tag.removeprefix(space): child.text for child in found}, source, answer.now_s)


def _parse(answer: http.Answer, where: str) -> tuple[ET.Element, str]:
    """Return the root of STS's answer and its name space; raises CredentialsError for a refusal."""
    try:
        root, space = parse_xml(answer.text.encode())
    except NotXmlError:  # without the cause: it may hold the text
        raise CredentialsError(
            f"{where} gave no answer of STS (HTTP {answer.status}); look at AWS_ENDPOINT_URL_STS"
        ) from None
    if answer.status != 200:
        code = (root.findtext(f".//{space}Code") or "").strip()[:_SHOWN]
        message = (root.findtext(f".//{space}Message") or "").strip()[:_SHOWN]
        cure = _CURES.get(code, "look it up in the documentation of STS")
        raise CredentialsError(f"{where} refused (HTTP {answer.status} {code!r} {message!r}); {cure}")
    return root, space


def _sign(
    url: str, headers: Mapping[str, str], body: bytes, signer: Credentials, region: str, at_s: float
) -> dict[str, str]:
    """Return `headers` with those of signature version 4, at a time of the caller's."""
    from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    token = signer.session_token
    keys = ReadOnlyCredentials(
        signer.access_key_id, signer.secret_access_key.reveal(), token.reveal() if token is not None else None
    )
    request = AWSRequest(method="POST", url=url, headers=dict(headers), data=body)
    auth = SigV4Auth(keys, "sts", region)
    # The steps of its add_auth, which would read the machine's clock.
    request.context["timestamp"] = datetime.fromtimestamp(at_s, UTC).strftime(SIGV4_TIMESTAMP)
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return dict(request.headers.items())
