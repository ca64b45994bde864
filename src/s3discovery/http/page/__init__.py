"""The page for people: one self-contained document, live by the stream of events."""

from functools import cache
from importlib.resources import files

from aiohttp import web


async def show(request: web.Request) -> web.Response:
    """Answer with the page; what it shows it asks for itself."""
    return web.Response(text=_text(), content_type="text/html", headers=_headers())


@cache
def _text() -> str:
    return files(__package__).joinpath("index.html").read_text(encoding="utf-8")


def _headers() -> dict[str, str]:
    return {"Content-Security-Policy": "default-src 'none'"}
