"""SQLite opened for studies that go on for long and that others look at; and storages that fail, in plain words."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from surrogate_ax.errors import ArgumentError, StorageError
from surrogate_ax_optuna.lease import GRACE, INTERVAL
from surrogate_ax_optuna.mounts import refuse_network
from surrogate_ax_optuna.sqlite_storage import SqliteStorage, WritingAhead, failures, is_tested, transaction

WAIT = 60.0  # seconds for another writer to finish
TRIES = 10  # to open a database in which other processes are making the same tables


def sqlite(path: Path | str, *, heartbeat: int | None = INTERVAL, **engine: Any) -> RDBStorage:
    """An SQLite storage with a write-ahead log and heartbeats.

    Readers (a dashboard) do not block the writer. What was told survives a crash of the process; a power cut can take
    the last moments. A folder that several machines share over a network is refused: a write-ahead log needs one
    machine.
    Trials of a process that was killed are known by their missing heartbeat, and `optimize` runs them again.

    Args:
        path: the database file; made if missing, with its folder.
        heartbeat: seconds between the heartbeats of running trials; after six without one a process counts as killed.
            None for studies that are asked and told by hand, for which Optuna cannot beat.
        **engine: further keyword arguments of SQLAlchemy's `create_engine`.

    Returns:
        A storage for `optuna.create_study(storage=...)`.

    Raises:
        ArgumentError: the path is a folder, a database in memory, on a network's file system, or not a database that
            can be written.
    """
    check_file(path)
    path = Path(path)
    refuse_network(path)
    if path.is_dir():
        raise ArgumentError(f"path: expected a database file, got the folder {path}. Name a file in it, as study.db.")
    connect = {"timeout": WAIT, "factory": WritingAhead, **engine.pop("connect_args", {})}
    options = {"connect_args": connect, **engine}
    try:
        address = _address(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        storage: RDBStorage = _open(address, options)
        with transaction(storage.engine, "BEGIN IMMEDIATE"):
            pass  # a file that can only be read is found out now, not at the first trial
        if not is_tested(storage):
            storage = RDBStorage(address, options)
        storage.heartbeat_interval = heartbeat  # a constructor that is given it warns of an experiment
        storage.grace_period = None if heartbeat is None else heartbeat * GRACE // INTERVAL
        return storage
    except failures(OSError) as error:
        raise ArgumentError(
            f"path: expected a database that can be written, or a place for a new one, got {path} "
            f"({_reason(error)}). Check the path and its permissions."
        ) from error


def check_file(name: Path | str) -> None:
    """Refuse what SQLite takes for a database in memory, or for something else than a path: nothing would be kept.

    Args:
        name: of a database file, as the user wrote it.

    Raises:
        ArgumentError: no name, ":memory:", a URI or a URL.
    """
    given = str(name)
    if not given.strip() or given == "." or ":memory:" in given or given.startswith("file:") or "://" in given:
        raise ArgumentError(
            f"path: expected a database file, got {given!r}, which is none, so that nothing would be kept. Name "
            "a file, as study.db; a study in memory is optuna.create_study() without a storage."
        )
    if "\0" in given:
        raise ArgumentError(f"path: no file has a name with a zero byte, got {given!r}.")


def _address(path: Path) -> str:
    """The URL of a file, for Optuna, which makes another URL of it and fills in templates.

    Raises:
        ArgumentError: SQLAlchemy would open another file.
    """
    from sqlalchemy.engine import URL, make_url

    address = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    if make_url(address).database != str(path):  # before 2.1, names were not quoted
        raise ArgumentError(f"path: this SQLAlchemy cannot open {str(path)!r}. Use 2.1, or a name without ? and %.")
    return address.replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Say plainly that a storage used inside has failed.

    Raises:
        StorageError: in place of what its database, its server or Optuna raise.
    """
    try:
        yield
    except failures(*_server_failures()) as error:
        raise StorageError(
            f"storage: the study's storage failed ({_reason(error)}). What was told is kept. Make room, or look after "
            "its file or server, then run again: the study goes on from there."
        ) from error


def warn_of_journal(storage: BaseStorage) -> None:
    """Warn of a journal file, which one torn line makes unreadable for ever.

    Args:
        storage: of a study.
    """
    if isinstance(storage, JournalStorage) and isinstance(storage._backend, JournalFileBackend):
        warnings.warn(
            "storage: a journal file that is torn, by a crash or a full disk, can never be read again by Optuna. "
            "surrogate_ax_optuna.sqlite('study.db') is as simple and survives both.",
            stacklevel=3,
        )


def _server_failures() -> tuple[type[Exception], ...]:
    """What a gRPC proxy raises, if its library was imported."""
    grpc = sys.modules.get("grpc")
    return () if grpc is None else (grpc.RpcError,)


def _reason(error: BaseException) -> str:
    """What a database said, without the statement that it refused."""
    inner = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    details = getattr(inner, "details", None)  # of gRPC
    return str(details() if callable(details) else getattr(inner, "orig", inner)).strip()


def _open(address: str, options: dict[str, Any], attempts: int = TRIES) -> SqliteStorage:
    """The storage, also if other processes are making the same tables right now, which Optuna does not expect."""
    try:
        return SqliteStorage(address, options)
    except failures() as error:
        if attempts == 1 or not any(sign in str(error) for sign in ("already exists", "is locked", "UNIQUE")):
            raise
    time.sleep(0.1)
    return _open(address, options, attempts - 1)
