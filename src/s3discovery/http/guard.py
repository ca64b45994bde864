"""Who may ask what: who brings the token where one is set, else no foreign pages, no foreign host names.

A web page of anybody's can make a browser ask 127.0.0.1, directly or by a name that leads there; so requests
that name another origin, or a host that is no address and not localhost, are turned away. No such page knows
a token: where one is set, it alone decides, whatever name a proxy or Prometheus asks by.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from aiohttp import web

from s3discovery.ip import ip_of

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# The page itself holds nothing that is secret; what it shows it asks for with the token.
_PAGE_PATHS = frozenset({"/"})
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})  # of Sec-Fetch-Site; same-site is another port, too
_SHOWN_CHARS = 200
_OWN_NAME = "localhost"  # the one name that http-address may be without a token
FAILED = "the agent failed at this; its log says how"
_FOREIGN = "requests of other sites' pages are not answered"
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


def guard(token: Callable[[], str | None]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return the middleware; `token` gives the text that is asked for, None if none is."""
    known_bugs: set[tuple[str, type[Exception]]] = set()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response: web.StreamResponse | None = _turned_away(request, token())
            if response is None:
                response = await _answered(request, handler)
        except Exception as error:
            # A bug of ours, whichever: told once, since anybody may ask again, and the node goes on.
            bug = (_route_of(request), type(error))
            if bug not in known_bugs:
                known_bugs.add(bug)
                log.exception("http failed, a bug, told once path=%r", request.path[:_SHOWN_CHARS])
            if request.writer.output_size > 0:
                raise
            return refusal(500, FAILED)
        if not response.prepared:
            for name, text in HEADERS.items():
                response.headers.setdefault(name, text)
        return response

    return middleware


def _turned_away(request: web.Request, wanted: str | None) -> web.Response | None:
    """Return the answer to who may not ask this, None for who may."""
    if request.path in OPEN_PATHS or (wanted is not None and request.path in _PAGE_PATHS):
        return None
    return refused(request, wanted)


def refused(request: web.Request, wanted: str | None) -> web.Response | None:
    """Return the answer to who may not ask for what is not open to all, None for who may.

    `wanted` is the token that is asked for, None if none is."""
    if wanted is None:
        foreign = _is_foreign(request)
        return None if foreign is None else refusal(403, foreign)
    if _brings(request, wanted):
        return None
    answer = refusal(401, "a token is needed: Authorization: Bearer <http-token>")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        refused = refusal(error.status, error.reason)
        if "Allow" in error.headers:
            refused.headers["Allow"] = error.headers["Allow"]
        return refused


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _brings(request: web.Request, wanted: str) -> bool:
    """Tell whether the request has the token `wanted`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(_raw(given.strip()), _raw(wanted))


def _raw(text: str) -> bytes:
    """Return the bytes of a header, which need not be UTF-8."""
    return text.encode("utf-8", errors="surrogateescape")


def _is_foreign(request: web.Request) -> str | None:
    """Return why the request cannot be from a page of ours or a program, or None."""
    host = _host_of(f"//{request.headers.get('Host', '')}")
    if host is None or (ip_of(host) is None and host != _OWN_NAME):
        return "this host name is not ours; ask by address, or as localhost, or set http-token"
    origin = request.headers.get("Origin")
    if origin is not None and _place_of(origin) != request.headers.get("Host", "").lower():
        return _FOREIGN
    # Not all that pages have a browser ask says its origin. A link to the page may be anywhere.
    is_link = request.path in _PAGE_PATHS and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if request.headers.get("Sec-Fetch-Site") in _FOREIGN_SITES and not is_link:
        return _FOREIGN
    return None


def _place_of(url: str) -> str | None:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return None


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
