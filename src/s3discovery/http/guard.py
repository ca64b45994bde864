"""Who may ask what: a token where one is set, no foreign pages, no foreign host names.

A web page of anybody's can make a browser ask 127.0.0.1, directly or by a name that leads there; so requests
that name another origin, or a host that is no address and none of ours, are turned away.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# The page itself holds nothing that is secret; what it shows it asks for with the token.
_PAGE_PATHS = frozenset({"/"})
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)


def refusal(status: int, error: str) -> web.Response:
    """Return an error as every error is told: a JSON object with `error`."""
    return web.json_response({"error": error}, status=status, headers=dict(HEADERS))


def guard(
    token: Callable[[], str | None], own_hosts: frozenset[str]
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return the middleware; `token` gives the text that is asked for, None if none is."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            if (refused := _is_foreign(request, own_hosts)) is not None:
                return refusal(403, refused)
            wanted = token()
            if wanted is not None and request.path not in _PAGE_PATHS and not _brings(request, wanted):
                answer = refusal(401, "a token is needed: Authorization: Bearer <http-token>")
                answer.headers["WWW-Authenticate"] = "Bearer"
                return answer
        try:
            response = await handler(request)
        except web.HTTPException as error:
            refused_so = refusal(error.status, error.reason)
            if "Allow" in error.headers:
                refused_so.headers["Allow"] = error.headers["Allow"]
            return refused_so
        if not response.prepared:
            for name, text in HEADERS.items():
                response.headers.setdefault(name, text)
        return response

    return middleware


def _brings(request: web.Request, wanted: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), wanted.encode())


def _is_foreign(request: web.Request, own_hosts: frozenset[str]) -> str | None:
    """Return why the request cannot be from a page of ours or a program, or None."""
    host = _host_of(f"//{request.headers.get('Host', '')}")
    if host is None or not (_is_ip(host) or host in own_hosts):
        return "this host name is not ours; ask by address, or as localhost"
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        return "requests of other sites' pages are not answered"
    return None


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
