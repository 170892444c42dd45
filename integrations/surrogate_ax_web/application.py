"""What every page shares: templates, static files, and the checks that keep other sites out.

A page is served to this machine only, but any site that its browser visits may send requests to 127.0.0.1. So a request
has to name this machine as its host (else a site could rebind its own name to 127.0.0.1 and read the answers), and one
that changes something has to come from a page of ours. Answers allow scripts and styles of ours alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(__file__).with_name("static")
HOSTS = ("127.0.0.1", "localhost")
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    # Plotly styles its plots from its script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

templates = Jinja2Templates(
    env=jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
)
"""The templates of the pages."""


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """An application with the routes of a page, its static files under `/static`.

    Args:
        routes: of the page; a template that extends `base.html` is rendered by `templates.TemplateResponse`.
    """
    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=STATIC), name="static")],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False), Middleware(OwnPages)],
    )


class OwnPages:
    """Refuses requests of other sites that would change something, and sends `HEADERS` with every answer.

    Args:
        app: what answers the others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        sent = Headers(scope=scope)
        own = sent.get("origin") == f"{scope['scheme']}://{sent.get('host')}"  # every browser names it with a POST
        if scope["method"] in SAFE or own:
            await self._app(scope, receive, send_with_headers)
        else:
            refused = PlainTextResponse("Only pages of this server may change something.", status_code=403)
            await refused(scope, receive, send_with_headers)
