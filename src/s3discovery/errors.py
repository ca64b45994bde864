"""Every error of s3discovery; catch `DiscoveryError` to catch them all::

    DiscoveryError
    ├── AddressError                  a host or port that no peer could dial
    ├── CodecError                    bytes that are not a node file, or a node that cannot be written as one
    ├── SettingsError                 wrong settings, all problems at once
    ├── CredentialsError              no credentials from the configured source
    ├── BrokerError                   the broker refused its peers, or does not answer
    │   └── WrongTemplateError        a template of an output is wrong, whoever the members are
    ├── ServerError                   a server of ours, such as DNS, cannot listen
    ├── ControlError                  a running node that cannot be reached from its own machine
    └── BucketError                   the store refused, or could not be asked
        ├── ObjectMissingError        no such key
        ├── ObjectTooLargeError       larger than the reader was willing to take
        ├── PreconditionError         If-Match or If-None-Match did not hold
        ├── ConditionUnsupportedError the store does not know the condition
        ├── BucketMissingError        no such bucket
        ├── AccessDeniedError         known, but not permitted
        ├── CredentialsRejectedError  unknown key, wrong secret, expired token
        ├── WrongRegionError          the bucket is in another region
        ├── ClockSkewError            the store refuses the local clock
        ├── ThrottledError            asked too often
        ├── StoreFaultError           the store failed (5xx), or answered what is not S3
        │   ├── KeyChangedError       it lists other keys than were written
        │   └── ForeignAnswerError    what answered is no S3 at all: a web page, a gateway
        └── UnreachableError          no answer: DNS, TCP, TLS, time-out
            └── ProxyError            the proxy on the way refused, or is not there

A message says what, with which value, and what to do. Third-party errors are translated where they
are met, with `from` kept (dropped where they could show a secret). Loops catch `DiscoveryError`; anything
else is a bug and ends the process, but for a source of credentials: its bug is a failed renewal.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class DiscoveryError(Exception):
    """Root of all errors that s3discovery raises on purpose."""


class AddressError(DiscoveryError):
    """A host or port that no peer could dial."""


class CodecError(DiscoveryError):
    """Bytes that are not a node file, or a node that cannot be written as one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong setting: its key, the value as written (masked if secret), and what to write instead."""

    key: str
    value: str | None
    cure: str

    def __str__(self) -> str:
        return f"{self.key}: {self.cure}" if self.value is None else f"{self.key}={self.value!r}: {self.cure}"


class SettingsError(DiscoveryError):
    """Wrong settings; `problems` holds all of them, `origin` says where they were written."""

    def __init__(self, problems: Sequence[Problem], origin: str = "settings") -> None:
        self.problems, self.origin = tuple(problems), origin
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the {origin}:{lines}")


class CredentialsError(DiscoveryError):
    """The configured credentials-type gave no credentials."""


class BrokerError(DiscoveryError):
    """The broker refused its peers, or does not answer."""


class WrongTemplateError(BrokerError):
    """A template of an output is wrong: no later try will go better."""


class ServerError(DiscoveryError):
    """A server of ours cannot listen where it should."""


class ControlError(DiscoveryError):
    """A running node cannot be reached from its own machine."""


class BucketError(DiscoveryError):
    """The store refused a request, or could not be asked.

    `status` is the HTTP status, `code` S3's error code and `server_time_s` the store's Date header as
    Unix seconds; each is None where there was none. `said` is S3's own message, which is anybody's text."""

    said = ""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        server_time_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.server_time_s = server_time_s


class ObjectMissingError(BucketError):
    """There is no object of that key."""


class ObjectTooLargeError(BucketError):
    """The object is larger than the reader was willing to take."""


class PreconditionError(BucketError):
    """If-Match or If-None-Match did not hold: somebody else wrote or deleted the object."""


class ConditionUnsupportedError(BucketError):
    """The store does not know the condition that was asked for."""


class BucketMissingError(BucketError):
    """The configured bucket does not exist."""


class AccessDeniedError(BucketError):
    """The credentials are known, but not permitted to do this."""


class CredentialsRejectedError(BucketError):
    """The store does not accept the credentials: unknown key, wrong secret, or expired token."""


class WrongRegionError(BucketError):
    """The bucket is in another region; `region` names it where the store did."""

    def __init__(
        self,
        message: str,
        *,
        region: str | None,
        status: int | None = None,
        code: str | None = None,
        server_time_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, server_time_s=server_time_s)
        self.region = region


class ClockSkewError(BucketError):
    """The store refuses requests because the local clock is too far from its own."""


class ThrottledError(BucketError):
    """The store asks for fewer requests; `retry_after_s` is for how long, if it said."""

    retry_after_s: float | None = None


class StoreFaultError(BucketError):
    """The store failed (5xx), or its answer is not S3's."""


class KeyChangedError(StoreFaultError):
    """The store does not keep keys as they are written."""


class ForeignAnswerError(StoreFaultError):
    """What answered is no S3: a web server, a login page, a firewall, a gateway before the store."""


class UnreachableError(BucketError):
    """The store gave no answer: name not found, connection refused, TLS, or time-out."""


class ProxyError(UnreachableError):
    """The proxy that the environment names refused to go on to the store, or could not be reached itself."""
