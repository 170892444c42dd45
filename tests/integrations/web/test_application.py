"""The checks that every page has, the files that it shares, and the browser that the tests click with."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from surrogate_ax.errors import ArgumentError
from surrogate_ax_web import Preview, application, preview_routes, templates
from surrogate_ax_web.previews import kind_of_file, mime_of
from surrogate_ax_web.serving import listening

if TYPE_CHECKING:
    from playwright.sync_api import Page

Client = Callable[[Starlette], TestClient]
PNG = b"\x89PNG\r\n\x1a\n"


def page(request: Request) -> Response:
    return templates.TemplateResponse(request, "base.html")


def change(request: Request) -> Response:
    return PlainTextResponse("changed")


def find(number: int) -> Preview | None:
    return Preview('a"b/ö.png', PNG) if number == 3 else None


@pytest.fixture
def app() -> Starlette:
    return application([Route("/", page), Route("/change", change, methods=["POST"]), *preview_routes(find)])


def test_a_page_comes_with_its_style_and_a_policy(app: Starlette, client: Client) -> None:
    answer = client(app).get("/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    style = client(app).get("/static/style.css")
    assert "prefers-color-scheme: dark" in style.text
    assert style.headers["Content-Type"].startswith("text/css")


def test_nothing_outside_the_static_folder_is_served(app: Starlette, client: Client) -> None:
    for path in ("/static/../application.py", "/static/%2e%2e/application.py", "/static//etc/passwd"):
        assert client(app).get(path).status_code == 404


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "", "localhost.", "[::1]"])
def test_another_host_name_is_refused(app: Starlette, client: Client, host: str) -> None:
    assert client(app).get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "origin", ["http://example.com", "http://127.0.0.1:8080", "https://127.0.0.1:8765", "null", ""]
)
def test_another_site_may_not_change_anything(app: Starlette, client: Client, origin: str) -> None:
    assert client(app).post("/change").text == "changed"
    refused = client(app).post("/change", headers={"Origin": origin})
    assert refused.status_code == 403
    assert "Content-Security-Policy" in refused.headers


def test_a_preview_is_served_as_what_it_is(app: Starlette, client: Client) -> None:
    answer = client(app).get("/previews/3")
    assert (answer.content, answer.headers["Content-Type"]) == (PNG, "image/png")
    assert answer.headers["Content-Disposition"] == 'inline; filename="?.png"'
    assert client(app).get("/previews/4").status_code == 404
    assert client(app).get("/previews/x").status_code == 404


@pytest.mark.parametrize(
    ("name", "kind"), [("a.PNG", "image"), ("a.webp", "image"), ("a.mp4", "video"), ("a.wav", "audio"),
                       ("a.pdb", "structure"), ("a.cif", "structure"), ("a.html", "file"), ("a", "file")]
)  # fmt: skip
def test_a_preview_knows_its_kind(name: str, kind: str) -> None:
    assert kind_of_file(name) == kind


def test_what_is_of_no_known_kind_is_never_shown_as_a_page() -> None:
    assert mime_of("a.html") == "application/octet-stream"


def test_templates_escape(tmp_path: Path) -> None:
    assert templates.env.from_string("{{ name }}").render(name="<script>&'\"") == "&lt;script&gt;&amp;&#39;&#34;"


def test_a_taken_port_is_refused() -> None:
    with listening(0) as taken:
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ArgumentError, match=f"{port} is taken"):
            listening(port)


def test_a_server_answers_this_machine_only(app: Starlette, served: Callable[[Starlette], str]) -> None:
    address = served(app)
    assert address.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b"400" in connection.makefile("rb").readline()


def test_a_browser_shows_a_page_in_light_and_in_dark(
    app: Starlette, served: Callable[[Starlette], str], browser_page: Page
) -> None:
    browser_page.goto(served(app))
    shade = "getComputedStyle(document.body).backgroundColor"
    browser_page.emulate_media(color_scheme="light")
    assert browser_page.evaluate(shade) == "rgb(255, 255, 255)"
    browser_page.emulate_media(color_scheme="dark")
    assert browser_page.evaluate(shade) == "rgb(16, 19, 23)"
    browser_page.keyboard.press("Tab")
    assert browser_page.evaluate("document.activeElement.textContent") == "Skip to the content"
