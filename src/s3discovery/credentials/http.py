"""One small HTTP question to a source of credentials, and the ways in which it stays unanswered."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from s3discovery.errors import DiscoveryError
from s3discovery.network.proxies import Proxy, find_proxy
from s3discovery.network.trust import make_context
from s3discovery.node import NO_METADATA

CONNECT_LIMIT_S = 1.0  # these services are on the same machine, STS excepted
ANSWER_LIMIT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An HTTP answer; `now_s` is the server's time as Unix seconds, at most a second ahead.

    Without repr: the text holds secrets."""

    status: int
    text: str
    now_s: float | None


class NoAnswerError(DiscoveryError):
    """No answer; the message says why, never with the URL."""


class AbsentError(NoAnswerError):
    """Nobody is there: no connection."""


class SlowError(NoAnswerError):
    """Somebody is there, and did not answer in time."""


async def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] = NO_METADATA,
    body: bytes = b"",
    limit_s: float = 2.0,
    connect_limit_s: float = CONNECT_LIMIT_S,
    environ: Mapping[str, str] = NO_METADATA,
) -> Answer:
    """Return the answer to one request, redirects not followed; raises NoAnswerError.

    `environ` names proxies and CAs for a service beyond this machine; raises SettingsError for them."""
    import aiohttp

    limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=connect_limit_s)
    proxy, to_proxy = find_proxy(url, environ) if environ else None, dict[str, str]()
    if proxy is not None and proxy.authorization is not None:
        to_proxy = {"Proxy-Authorization": proxy.authorization.reveal()}
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method,
                url,
                headers={**headers, **to_proxy} if url.startswith("http:") else headers,
                data=body or None,
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=to_proxy or None,
                ssl=make_context(environ) or True,
            ) as response,
        ):
            text = bytearray()
            async for chunk in response.content.iter_any():
                text += chunk
                if len(text) > ANSWER_LIMIT_BYTES:
                    raise NoAnswerError(f"answered with more than {ANSWER_LIMIT_BYTES} bytes")
            return Answer(
                response.status, text.decode("utf-8", "replace"), _date_s(response.headers.get("Date"))
            )
    except (aiohttp.InvalidURL, aiohttp.ClientResponseError) as error:
        # Without the cause: it shows the URL, and a password in it, or the request with its tokens.
        unanswered = _unanswered(error, limit_s, connect_limit_s, proxy)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: what no header can hold
        raise _unanswered(error, limit_s, connect_limit_s, proxy) from error
    raise unanswered


def _unanswered(
    error: Exception, limit_s: float, connect_limit_s: float, proxy: Proxy | None
) -> NoAnswerError:
    """Return what `error` means."""
    import aiohttp

    way = "" if proxy is None else f" through the proxy {proxy}"
    match error:
        case aiohttp.ConnectionTimeoutError():
            return AbsentError(f"cannot be reached{way}: no connection within {connect_limit_s:g} s")
        case TimeoutError():
            return SlowError(f"did not answer{way} within {limit_s:g} s")
        case aiohttp.ClientHttpProxyError():
            return NoAnswerError(f"cannot be reached{way}, which refused (HTTP {error.status})")
        case aiohttp.ClientConnectorCertificateError():
            said = str(error.certificate_error)
            return NoAnswerError(f"has a certificate that is not trusted ({said!r}; AWS_CA_BUNDLE)")
        case aiohttp.ClientConnectorError():
            return AbsentError(f"cannot be reached{way}: {error.os_error.strerror or error.os_error}")
        case _:
            return NoAnswerError(f"gave no HTTP answer ({type(error).__name__})")


def shown_place(url: str) -> str:
    """Return host and port of `url`, all that an error may show: the rest of it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        return "an address that is no URL"
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def _date_s(text: str | None) -> float | None:
    """Return the end of the second that a Date header names: nothing shall seem to outlast itself."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp() + 1
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
