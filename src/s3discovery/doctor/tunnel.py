"""A proxy on the way: whether it lets through, asked as an HTTP client asks it."""

import asyncio
import re
import socket
from urllib.parse import urlsplit

from s3discovery.errors import DiscoveryError
from s3discovery.network.proxies import Proxy

_ANSWER_LIMIT_S = 3.0
_ANSWER_LIMIT_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: ([^\r\n]*))?\r?\n")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,9})(?=[ \t]*(?:\r\n|$))")
_CANNOT_REACH = frozenset({500, 502, 503, 504})


class RefusedError(DiscoveryError):
    """The proxy does not let through; `fault` names why."""

    def __init__(self, fault: str, said: str) -> None:
        super().__init__(said)
        self.fault = fault


async def open_tunnel(connection: socket.socket, proxy: Proxy, place: str) -> None:
    """Have the proxy connect `connection` to `place`; raises RefusedError, or OSError, with it closed."""
    head = await _ask(connection, f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n", proxy)
    try:
        status, said = _status(head)
        if not 200 <= status < 300:
            raise RefusedError(_fault_of(status), said)
    except RefusedError:
        connection.close()
        raise


async def ask_plainly(connection: socket.socket, proxy: Proxy, endpoint: str) -> None:
    """Ask through the proxy for the endpoint itself, unsigned, and close; raises RefusedError, or OSError.

    A refusal is the proxy's own if it is none of S3's, which is a document of its own."""
    host = urlsplit(endpoint).netloc
    answer = await _ask(
        connection, f"GET {endpoint}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", proxy, whole=True
    )
    connection.close()
    status, said = _status(answer)
    is_of_s3 = b"<Error>" in answer
    if status == 407 or (status >= 400 and not is_of_s3 and status != 404):
        raise RefusedError(_fault_of(status), said)


async def _ask(connection: socket.socket, head: str, proxy: Proxy, *, whole: bool = False) -> bytes:
    """Return what is answered: the head, and with `whole` the body as far as it comes.

    Not all proxies close the connection, asked for or not, and not all say how long the body is."""
    if proxy.authorization is not None:
        head += f"Proxy-Authorization: {proxy.authorization.reveal()}\r\n"
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await loop.sock_sendall(connection, f"{head}\r\n".encode())
            while not _is_complete(answer, whole=whole) and len(answer) < _ANSWER_LIMIT_BYTES:
                more = await loop.sock_recv(connection, 4096)
                if not more:
                    break
                answer += more
    except TimeoutError:
        if b"\n" in answer:  # enough to judge by
            return answer
        connection.close()
        raise RefusedError("proxy-silent", f"no answer within {_ANSWER_LIMIT_S:g} s") from None
    except BaseException:
        connection.close()
        raise
    return answer


def _is_complete(answer: bytes, *, whole: bool) -> bool:
    """Tell whether nothing more need be waited for: the answer is there, or is none of HTTP's."""
    if b"\n" in answer and _STATUS_LINE.match(answer) is None:
        return True
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or not whole:
        return bool(end)
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def _status(head: bytes) -> tuple[int, str]:
    found = _STATUS_LINE.match(head)
    if found is None:
        raise RefusedError("no-proxy", f"it answered {head[:60]!r}")
    text = (found[2] or b"").decode("latin-1")[:80]
    return int(found[1]), f"HTTP {int(found[1])} {text!r}"


def _fault_of(status: int) -> str:
    if status == 407:
        return "proxy-wants-credentials"
    return "proxy-cannot-reach" if status in _CANNOT_REACH else "proxy-refused"
