"""What no answer means: from aiohttp's errors to UnreachableError, with the part that failed and its cure.

On the way through a proxy, the proxy's faults are told from the store's (ProxyError).
"""

import errno
import ssl
from urllib.parse import urlsplit

import aiohttp

from s3discovery.errors import ProxyError, UnreachableError
from s3discovery.network.proxies import Proxy
from s3discovery.s3.refusals import Question
from s3discovery.s3.wire import Answer, parse_refusal

# Raised by aiohttp for a connection that could not be made, broke, or stayed silent.
LOST = (aiohttp.ClientError, TimeoutError)


# OpenSSL's verify codes (x509_vfy.h).
_EXPIRED, _NOT_YET_VALID, _OTHER_NAMES = 10, 9, (62, 63, 64)
_PROXY_STATUSES = (403, 407, 502, 503, 504)  # by which a proxy refuses, or fails


def is_lasting(error: BaseException) -> bool:
    """Tell whether asking again is of no use: neither a certificate nor a proxy's rule changes in seconds."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status < 500
    return isinstance(error, aiohttp.ClientConnectorCertificateError)


def is_of_proxy(answer: Answer) -> bool:
    """Tell whether an answer that came through a proxy is the proxy's own: no S3 gives such a one."""
    if answer.status == 407:
        return True
    return (
        answer.status in _PROXY_STATUSES
        and "x-amz-request-id" not in answer.headers
        and not parse_refusal(answer.body).code
    )


def explain(
    question: Question, error: BaseException, *, limit_s: float, proxy: Proxy | None = None
) -> UnreachableError:
    """Return the error that `error`, one of LOST, stands for; `limit_s` is the deadline of the call."""
    if proxy is not None and (found := _proxy_cause(question, error, proxy)) is not None:
        return found
    through = "" if proxy is None else f" (through the proxy {proxy})"
    return UnreachableError(f"{question} got no answer: {_cause(question, error, limit_s)}{through}")


def explain_proxy(question: Question, status: int, proxy: Proxy) -> ProxyError:
    """Return the error for a proxy that answered `status` instead of going on to the store."""
    host = urlsplit(question.location.root).hostname
    if status == 407 and proxy.authorization is None:
        why = (
            f"wants to know who asks: write user and password into {proxy.variable}, http://user:password@..."
        )
    elif status == 407:
        why = f"does not accept the user and password that are in {proxy.variable}; correct them"
    elif status < 500:
        why = f"refuses to go on to {host}; have it allowed there, or put {host} into NO_PROXY"
    else:
        why = f"could not reach {host}; look at the proxy and s3-endpoint, or put {host} into NO_PROXY"
    found = ProxyError(f"{question} got no answer: the proxy {proxy} {why} (HTTP {status})")
    found.status = status
    return found


def _proxy_cause(question: Question, error: BaseException, proxy: Proxy) -> ProxyError | None:
    """Return the error if it was the proxy that failed, None if it was what lies behind."""
    host = urlsplit(question.location.root).hostname
    match error:
        case aiohttp.ClientHttpProxyError():
            return explain_proxy(question, error.status, proxy)
        case aiohttp.ClientConnectorDNSError():  # the store's name is looked up by the proxy
            what = f"DNS: no address for it ({_reason(error)})"
        case aiohttp.ClientProxyConnectionError():
            what = f"TCP: no connection ({_reason(error)})"
        case aiohttp.ConnectionTimeoutError():
            what = f"no connection to it, or through it to {host}, in time"
        case aiohttp.ClientConnectorError() if error.host == urlsplit(proxy.url).hostname:
            what = f"TLS failed with it ({_reason(error)})"
        case _:
            return None
    return ProxyError(
        f"{question} got no answer: the proxy {proxy} cannot be used: {what}; "
        f"correct {proxy.variable}, or put {host} into NO_PROXY"
    )


def _cause(question: Question, error: BaseException, limit_s: float) -> str:
    host = question.location.endpoint
    match error:
        case aiohttp.ClientConnectorDNSError():
            return (
                f"DNS: no address for {urlsplit(question.location.root).hostname} of {host} "
                f"({_reason(error)}); check s3-endpoint, s3-bucket-region{_or_path_style(question)}"
            )
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: {_certificate_cause(question, error.certificate_error)}"
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


def _certificate_cause(question: Question, error: Exception) -> str:
    """Return what is wrong with the store's certificate, and the cure."""
    host, said = urlsplit(question.location.root).hostname, str(error)
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else None
    if code == _EXPIRED:
        return f"the certificate of {host} has expired ({said!r}); renew it, and check this machine's clock"
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet ({said!r}); set this machine's clock"
    if code in _OTHER_NAMES:
        return (
            f"the certificate is not for the name {host} ({said!r}); "
            f"write s3-endpoint with a name that it is for{_or_path_style(question)}"
        )
    return (
        f"the certificate of {host} is not trusted ({said!r}); "
        "name the file of the CA that signed it in AWS_CA_BUNDLE (or SSL_CERT_FILE)"
    )


def _or_path_style(question: Question) -> str:
    place = question.location
    if place.is_aws or place.is_path_style:
        return ""
    return ", or s3-path-style-access:true, as the bucket's name stands before the host's"


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
