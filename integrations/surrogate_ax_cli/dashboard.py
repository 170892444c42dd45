"""Optuna's dashboard for a sweep, with every output's picture; served to this machine only, since it has no login."""

from __future__ import annotations

import socket
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage

from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax_cli import storages
from surrogate_ax_cli.sweep_file import SweepFile

HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are of no interest."""


def serve(sweep: SweepFile, port: int, *, say: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        sweep: whose study is shown; other studies in its storage are listed as well.
        port: on 127.0.0.1; 0 takes a free one.
        say: called with the address.

    Raises:
        ArgumentError: a taken port, or no study yet.
        MissingExtraError: optuna-dashboard is not installed.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingExtraError("The dashboard needs: pip install 'surrogate-ax[dashboard]'.") from error
    storage, study = _study(sweep)
    if not _is_free(port):
        raise ArgumentError(f"--port: {port} is taken on {HOST}. Choose another, or 0 for any that is free.")
    with make_server(
        HOST, port, wsgi(storage, artifact_store=storages.find_previews(sweep)), _Server, _Quiet
    ) as server:
        say(f"http://{HOST}:{server.server_port}/dashboard/studies/{study} shows {sweep.name!r}; Ctrl-C ends it")
        server.serve_forever()


def _study(sweep: SweepFile) -> tuple[BaseStorage, int]:
    storage = storages.find_storage(sweep)
    study = None if storage is None else storages.load_study(sweep, storage)
    if storage is None or study is None:
        where = f"{storages.display_name(sweep)} has no study {sweep.name!r} yet"
        raise sweep.error("storage", f"{where}. Start it with `surrogate-ax sweep {sweep.path}`.")
    return storage, study._study_id


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
