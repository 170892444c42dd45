"""Running a page on this machine, for this machine only: it has no login."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from surrogate_ax.errors import ArgumentError

HOST = "127.0.0.1"
"""Where pages are served: this machine only."""


def serve(app: ASGIApp, port: int, *, say: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        app: of `application`.
        port: on 127.0.0.1; 0 takes a free one.
        say: called with the address once it answers.

    Raises:
        ArgumentError: a taken port.
        KeyboardInterrupt: by the user.
    """
    with listening(port) as bound:
        say(f"http://{HOST}:{bound.getsockname()[1]}")
        server(app).run(sockets=[bound])


def server(app: ASGIApp) -> uvicorn.Server:
    """A server for an application, without sockets yet."""
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, ws="none", lifespan="off", server_header=False
    )
    return uvicorn.Server(settings)


def listening(port: int) -> socket.socket:
    """A socket on 127.0.0.1, which takes connections already.

    Args:
        port: 0 takes a free one.

    Raises:
        ArgumentError: a taken port.
    """
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ArgumentError(f"--port: {port} is taken on {HOST}. Choose another, or 0 for any that is free.") from error
    return bound
