"""Optuna's gRPC proxy before a database on this machine, for workers on others: one process writes the file."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from optuna.storages import get_storage

from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax_cli.storages import check_tables
from surrogate_ax_optuna import sqlite


def serve(file: Path, host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve until interrupted.

    Args:
        file: the database; made if it is not there.
        host: address to listen on.
        port: there.
        ready: called when it listens.

    Raises:
        ArgumentError: an address that is taken or none of this machine's, or no database of Optuna's.
        MissingExtraError: gRPC is not installed.
    """
    try:
        from optuna.storages._grpc.server import make_server

        storage = get_storage(sqlite(_checked(file)))
        _check_free(host, port)
        server = make_server(storage, host, port)
    except ImportError as error:
        raise MissingExtraError("The proxy needs: pip install 'surrogate-ax[grpc]'.") from error
    server.start()
    ready()
    try:
        server.wait_for_termination()
    finally:
        server.stop(grace=1.0).wait()


def _checked(file: Path) -> Path:
    """A database of Optuna's, or a name for a new one."""
    if file.is_file() and file.stat().st_size:
        check_tables(file)
    return file


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ArgumentError(
                f"--host, --port: cannot listen on {host}:{port} ({error.strerror or error}). Choose another port, or "
                "an address of this machine."
            ) from error
