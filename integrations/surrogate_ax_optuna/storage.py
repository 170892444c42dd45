"""Opening Optuna storages: SQLite set up for studies that many look at, and others by their address.

A storage that cannot be opened is refused with one message, before anything is written.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from surrogate_ax.errors import ArgumentError, StorageError
from surrogate_ax.objective import Objective
from surrogate_ax_optuna.lease import GRACE, INTERVAL
from surrogate_ax_optuna.sqlite_storage import SqliteStorage, WritingAhead, failures, is_tested, transaction

WAIT = 60.0  # seconds for another writer to finish
CONNECT = 10.0  # seconds for a gRPC proxy to answer
JOURNALS = (".journal", ".log")  # how the name of a journal file ends
TRIES = 10  # to open a database in which other processes are making the same tables


def sqlite(path: Path | str, *, heartbeat: int | None = INTERVAL, **engine: Any) -> RDBStorage:
    """An SQLite storage with a write-ahead log and heartbeats.

    Readers (a dashboard) do not block the writer. What was told survives a crash of the process; a power cut can take
    the last moments. Not for a folder that several machines share over a network: a write-ahead log needs one machine.
    Trials of a process that was killed are known by their missing heartbeat, and `optimize` runs them again.

    Args:
        path: the database file; made if missing, with its folder.
        heartbeat: seconds between the heartbeats of running trials; after six without one a process counts as killed.
            None for studies that are asked and told by hand, for which Optuna cannot beat.
        **engine: further keyword arguments of SQLAlchemy's `create_engine`.

    Returns:
        A storage for `optuna.create_study(storage=...)`.

    Raises:
        ArgumentError: the path is a folder, or not a database that can be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ArgumentError(f"path: expected a database file, got the folder {path}. Name a file in it, as study.db.")
    connect = {"timeout": WAIT, "factory": WritingAhead, **engine.pop("connect_args", {})}
    options = {"connect_args": connect, **engine}
    address = "sqlite:///" + str(path).replace("{", "{{").replace("}", "}}")  # Optuna fills in templates
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        storage: RDBStorage = _open(address, options)
        with transaction(storage.engine, "BEGIN IMMEDIATE"):
            pass  # a file that can only be read is found out now, not at the first trial
        if not is_tested(storage):
            storage = RDBStorage(address, options)
        return _with_heartbeat(storage, heartbeat)
    except failures(OSError) as error:
        raise ArgumentError(
            f"path: expected a database that can be written, or a place for a new one, got {path} "
            f"({_reason(error)}). Check the path and its permissions."
        ) from error


def open_storage(address: Path | str) -> BaseStorage:
    """A storage by its address.

    Args:
        address: an SQLite file (`study.db`, `sqlite:///study.db`), a journal file (`study.journal`, `study.log`), a
            gRPC proxy (`grpc://localhost:13000`), or a database of SQLAlchemy's (`postgresql://...`).

    Returns:
        A storage for `optuna.create_study(storage=...)`, with heartbeats where it keeps them.

    Raises:
        ArgumentError: it cannot be reached or written, or its kind is not known.
    """
    scheme, found, rest = str(address).partition("://")
    if not found or scheme == "sqlite":
        path = Path(rest.removeprefix("/") if found else address)
        return _journal(path) if path.suffix in JOURNALS else sqlite(path)
    if scheme == "grpc":
        return _proxy(str(address))
    try:
        return _with_heartbeat(RDBStorage(str(address)), INTERVAL)
    except failures(ImportError, ValueError) as error:
        raise ArgumentError(
            f"storage: expected a file or the address of a database that can be reached, got {_shown(address)} "
            f"({_reason(error)}). Check the address, and that its server runs."
        ) from error


def open_study(
    storage: BaseStorage,
    name: str,
    objective: Objective,
    *,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
) -> optuna.Study:
    """The study of a name, to go on with, or a new one.

    Args:
        storage: where it is kept.
        name: its name.
        objective: its optimised metrics give the directions of a new study.
        sampler: proposes; Optuna's default if left out.
        pruner: stops trials at checkpoints; Optuna's default if left out.

    Raises:
        ArgumentError: there is a study of that name with other directions.
        StorageError: the storage does not answer.
    """
    wanted = [metric.goal for metric in objective.optimised]
    with reachable():
        study = optuna.create_study(
            storage=storage, study_name=name, directions=wanted, sampler=sampler, pruner=pruner, load_if_exists=True
        )
        found = [direction.name.lower() for direction in study.directions]
    if found != wanted:
        raise ArgumentError(
            f"study {name!r}: there is one of this name with directions {found}, the metrics "
            f"{[metric.name for metric in objective.optimised]} want {wanted}. Choose another name."
        )
    return study


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


def _with_heartbeat(storage: RDBStorage, interval: int | None) -> RDBStorage:
    """Set what Optuna's constructor takes as well, but with a warning of an experiment."""
    storage.heartbeat_interval = interval
    storage.grace_period = None if interval is None else interval * GRACE // INTERVAL
    return storage


def _journal(path: Path) -> JournalStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError) as error:  # Optuna reads it at once; a torn line is a ValueError
        raise ArgumentError(
            f"storage: expected a journal file that can be read and written, got {path} ({error}). Check the path and "
            "its permissions; a torn file is lost."
        ) from error


def _proxy(address: str) -> BaseStorage:
    try:
        parts = urlsplit(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = GrpcStorageProxy(host=parts.hostname or "localhost", port=parts.port or 13000)
        storage.wait_server_ready(timeout=CONNECT)
    except (ImportError, OSError, ValueError) as error:
        raise ArgumentError(
            f"storage: expected the address of Optuna's gRPC proxy, as grpc://localhost:13000, got {address} "
            f"({error}). Check that it runs, and that grpcio and protobuf are installed."
        ) from error
    return storage


def _server_failures() -> tuple[type[Exception], ...]:
    """What a gRPC proxy raises, if its library was imported."""
    grpc = sys.modules.get("grpc")
    return () if grpc is None else (grpc.RpcError,)


def _reason(error: BaseException) -> str:
    """What a database said, without the statement that it refused."""
    inner = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    details = getattr(inner, "details", None)  # of gRPC
    return str(details() if callable(details) else getattr(inner, "orig", inner)).strip()


def _shown(address: Path | str) -> str:
    """An address without its password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", str(address))


def _open(address: str, options: dict[str, Any], attempts: int = TRIES) -> SqliteStorage:
    """The storage, also if other processes are making the same tables right now, which Optuna does not expect."""
    try:
        return SqliteStorage(address, options)
    except failures() as error:
        if attempts == 1 or not any(sign in str(error) for sign in ("already exists", "is locked", "UNIQUE")):
            raise
    time.sleep(0.1)
    return _open(address, options, attempts - 1)
