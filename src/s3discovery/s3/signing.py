"""Signature version 4 by botocore's own signer; imported with the first request, as it is slow to load.

The signer reads the machine's clock; here the time is handed in, since the machine's may be wrong by
hours. Tests hold the outcome against requests that botocore's own client prepares.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth
from botocore.awsrequest import AWSRequest

from s3discovery.credentials import Credentials


class _Keys(NamedTuple):
    """What the signer reads of botocore's own credentials, whose module would cost 15 ms more to load."""

    access_key: str
    secret_key: str
    token: str | None


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """S3SigV4Auth at a time of the caller's: its add_auth, without the clock and the debug log."""

    def sign(self, request: AWSRequest, at_s: float) -> None:
        request.context["timestamp"] = datetime.fromtimestamp(at_s, UTC).strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def sign(
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    at_s: float,
) -> dict[str, str]:
    """Return `headers` with those of the signature; `at_s` is Unix seconds by the store's clock."""
    token = credentials.session_token
    keys = _Keys(
        credentials.access_key_id,
        credentials.secret_access_key.reveal(),
        token.reveal() if token is not None else None,
    )
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    _Signer(keys, "s3", region).sign(request, at_s)
    return dict(request.headers.items())
