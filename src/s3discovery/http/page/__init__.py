"""The page for people: one self-contained document, live by the stream of events.

It is put together from small sources once, and its policy names the hashes of its one script and one style:
nothing else runs or is loaded, whatever a bucket holds.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from aiohttp import web

# In this order they make one script.
SCRIPTS = ("text", "labels", "stream", "state", "picture", "list", "head", "events", "main")


@dataclass(frozen=True, slots=True)
class Page:
    """The document and the policy that fits it."""

    html: str
    policy: str


async def show(request: web.Request) -> web.Response:
    """Answer with the page; what it shows it asks for itself."""
    page = assembled()
    headers = {"Content-Security-Policy": page.policy}
    return web.Response(text=page.html, content_type="text/html", charset="utf-8", headers=headers)


@cache
def assembled() -> Page:
    """Return the page, put together from its sources."""
    sources = "\n".join(_source(f"{name}.js") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{sources}}})();\n'
    style = _source("style.css")
    html = _source("index.html").replace("@style@", style).replace("@script@", script)
    return Page(html, _policy(script, style))


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    directives = {
        "default-src": "'none'",
        "script-src": _hashed(script),
        "style-src": _hashed(style),
        "connect-src": "'self'",
        "img-src": "data:",  # the empty icon, so that none is asked for
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",  # text never becomes markup, not even by mistake
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
