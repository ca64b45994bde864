"""What no answer means: from aiohttp's errors to UnreachableError, with the part that failed and its cure."""

import errno
import ssl

import aiohttp

from s3discovery.errors import UnreachableError
from s3discovery.s3.refusals import Question

# Raised by aiohttp for a connection that could not be made, broke, or stayed silent.
LOST = (aiohttp.ClientError, TimeoutError)


def is_lasting(error: BaseException) -> bool:
    """Tell whether asking again is of no use: a certificate does not change within seconds."""
    return isinstance(error, aiohttp.ClientConnectorCertificateError)


def explain(question: Question, error: BaseException, *, limit_s: float) -> UnreachableError:
    """Return the error that `error`, one of LOST, stands for; `limit_s` is the deadline of the call."""
    return UnreachableError(f"{question} got no answer: {_cause(question, error, limit_s)}")


def _cause(question: Question, error: BaseException, limit_s: float) -> str:
    host = question.location.endpoint
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"DNS: no address for {host} ({_reason(error)}); check s3-endpoint, s3-bucket-region"
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"TLS: the certificate of {host} is not trusted ({str(error.certificate_error)!r}); "
                "trust its CA (SSL_CERT_FILE), and check this machine's clock"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"TLS failed with {host} ({_reason(error)}); {_tls_cure(error)}"
        case aiohttp.ConnectionTimeoutError():
            return f"TCP or TLS: no connection to {host} in time; check s3-endpoint, firewall and route"
        case aiohttp.SocketTimeoutError():
            return f"time-out: {host} was connected and then silent; look at the store and the network"
        case aiohttp.ClientConnectorError():
            return (
                f"TCP: no connection to {host} ({_reason(error)}); check s3-endpoint and that the store runs"
            )
        case aiohttp.ClientPayloadError():
            return f"{host} broke off in the middle of its answer; look at the store and the network"
        case TimeoutError():
            return f"time-out: {host} was not done within {limit_s:g} s; look at the store and the network"
        case _:
            return f"{host} closed the connection ({_reason(error)}); look at the store and the network"


def _reason(error: BaseException) -> str:
    """Return the system's own words, without aiohttp's around them."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
        return f"{errno.errorcode.get(cause.errno, cause.errno)}: {cause.strerror}"
    return str(cause) or type(cause).__name__


def _tls_cure(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "the port seems to speak plain HTTP: write s3-endpoint with http://"
    return "check s3-endpoint and what stands between"
