"""What the tests of pages share: a server in a thread, for a browser or a client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from surrogate_ax_web.serving import HOST, listening, server


@pytest.fixture
def client() -> Callable[[Starlette], TestClient]:
    """A client of an application that says, as a browser does, which host it means and which page it is on."""

    def make(app: Starlette) -> TestClient:
        address = f"http://{HOST}:8765"
        return TestClient(app, base_url=address, headers={"Origin": address}, raise_server_exceptions=True)

    return make


@pytest.fixture
def served() -> Iterator[Callable[[Starlette], str]]:
    """Serves an application on a free port until the test ends, and gives its address."""
    running = []

    def start(app: Starlette) -> str:
        bound, one = listening(0), server(app)
        thread = threading.Thread(target=one.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        running.append((one, thread, bound))
        return f"http://{HOST}:{bound.getsockname()[1]}"

    yield start
    for one, thread, bound in running:
        one.should_exit = True
        thread.join(10)
        bound.close()
        assert not thread.is_alive()
