"""One small HTTP question to a source of credentials, and the ways in which it stays unanswered."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from s3discovery.errors import DiscoveryError
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
) -> Answer:
    """Return the answer to one request, redirects not followed; raises NoAnswerError."""
    import aiohttp

    limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=connect_limit_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False
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
    except aiohttp.ConnectionTimeoutError as error:
        raise AbsentError(f"cannot be reached: no connection within {connect_limit_s:g} s") from error
    except TimeoutError as error:
        raise SlowError(f"did not answer within {limit_s:g} s") from error
    except aiohttp.ClientConnectorError as error:
        raise AbsentError(f"cannot be reached: {error.os_error.strerror or error.os_error}") from error
    except aiohttp.InvalidURL as error:  # without the cause: it shows the URL, and a password in it
        raise NoAnswerError(f"gave no HTTP answer ({type(error).__name__})") from None
    except (aiohttp.ClientError, ValueError) as error:  # ValueError: what no header or URL can hold
        raise NoAnswerError(f"gave no HTTP answer ({type(error).__name__})") from error


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
