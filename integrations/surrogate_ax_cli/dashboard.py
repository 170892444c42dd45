"""Optuna's dashboard for a sweep, with every output's picture; served to this machine only, since it has no login."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax_cli.targets import Searched, open_target
from surrogate_ax_optuna import study_source

HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are of no interest."""


def serve(searched: Searched, port: int, *, say: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        searched: the study that is shown; other studies in its storage are listed as well.
        port: on 127.0.0.1; 0 takes a free one.
        say: called with the address.

    Raises:
        ArgumentError: a taken port, or an Ax experiment without a study beside it.
        MissingExtraError: optuna-dashboard is not installed.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingExtraError("The dashboard needs: pip install 'surrogate-ax[dashboard]'.") from error
    from surrogate_ax_cli.annotated_storage import AnnotatedStorage

    shown = _copy_of(searched) if searched.on_ax else searched
    if not _is_free(port):
        raise ArgumentError(f"--port: {port} is taken on {HOST}. Choose another, or 0 for any that is free.")
    storage, study = shown.kept._storage, shown.kept._study_id
    annotated = AnnotatedStorage(storage, study, study_source(shown.kept, previews=shown.previews))
    application = wsgi(annotated, artifact_store=shown.previews)
    with make_server(HOST, port, application, _Server, _Quiet) as server:
        address = f"http://{HOST}:{server.server_port}/dashboard/studies/{study}"
        say(f"{address} shows {shown.name!r}; Ctrl-C ends it")
        server.serve_forever()


def _copy_of(searched: Searched) -> Searched:
    """The study that mirrors an Ax experiment, in the database beside its snapshot."""
    database = Path(searched.where).with_suffix(".db")
    if not database.is_file():
        raise ArgumentError(
            f"STUDY: Optuna's dashboard shows Optuna's studies, and none is beside {searched.where}. `surrogate-ax "
            "sweep` keeps one, in Python `surrogate_ax_optuna.mirror` does."
        )
    return open_target(str(database), searched.name)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
