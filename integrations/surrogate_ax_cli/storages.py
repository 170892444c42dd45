"""The Optuna storage that a sweep names, and its folder of pictures.

| `storage:` | what is opened |
|---|---|
| left out | `NAME.db` beside the sweep file NAME.yaml: SQLite with a write-ahead log |
| a file | the same; a journal file where it ends in .log |
| `sqlite:///FILE` | as a file |
| `grpc://HOST:PORT` | Optuna's gRPC proxy, as `surrogate-ax serve` runs it |
| `redis://...` | Optuna's journal in Redis |
| another URL | Optuna's RDBStorage |

Calls of the proxy and of RDBStorage wait for a server that is away.

What keeps nothing (`:memory:`, `sqlite://`) is refused. URLs are read and shown by SQLAlchemy; of what may be secret in
one, nothing is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

from surrogate_ax.errors import ArgumentError, SurrogateError
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_cli.urls import check_url, secrets_of, show_url, sqlite_file
from surrogate_ax_optuna import sqlite
from surrogate_ax_optuna.patient import proxy_storage, server_storage
from surrogate_ax_optuna.storage import check_file

JOURNAL = ".log"
GRPC_READY_S = 5.0  # seconds that a gRPC proxy may take to answer


def storage_file(sweep: SweepFile) -> Path | None:
    """The file that a sweep's studies are in, None where they are elsewhere.

    Raises:
        ArgumentError: a storage that would keep nothing, or no name of a file.
    """
    if sweep.backend == "ax":  # `storage` is Ax's snapshot; what the dashboard shows is beside it
        return snapshot_file(sweep).with_suffix(".db")
    if sweep.storage is None:
        return sweep.path.with_suffix(".db")
    try:
        if "://" in sweep.storage:
            check_url(sweep.storage)
            name = sqlite_file(sweep.storage)
        else:
            name = sweep.storage
        return None if name is None else sweep.path.parent / _file_name(name)
    except ArgumentError as error:
        raise sweep.error("storage", str(error)) from None


def snapshot_file(sweep: SweepFile) -> Path:
    """The JSON file that keeps an Ax client.

    Raises:
        ArgumentError: a URL, a folder, or a name that the study for the dashboard has beside it.
    """
    if sweep.storage is None:
        return sweep.path.with_suffix(".json")
    if "://" in sweep.storage:
        raise sweep.error("storage", f"expected a file for Ax's snapshot, got {show_url(sweep.storage)}.")
    try:
        file = sweep.path.parent / _file_name(sweep.storage)
    except ArgumentError as error:
        raise sweep.error("storage", str(error)) from None
    if file.is_dir():
        raise sweep.error("storage", f"expected a file for Ax's snapshot, got the folder {file}. Name a file in it.")
    if file.suffix == ".db":
        raise sweep.error("storage", f"{file} is to be the study for the dashboard. Name the snapshot NAME.json.")
    return file


def _file_name(name: str) -> str:
    """The name of a file, refused if it is none."""
    check_file(name)
    if name.endswith(("/", "/.", "..")):
        raise ArgumentError(f"expected a file, got the folder {name!r}. Name a file in it.")
    return name


def previews_folder(sweep: SweepFile) -> Path:
    """The folder of pictures: beside the studies' file, so that sweeps that share the file share the folder."""
    beside = storage_file(sweep) or sweep.path
    return beside.with_name(f"{beside.stem}-previews")


def find_previews(sweep: SweepFile) -> FileSystemArtifactStore | None:
    """The pictures that are there already, None where there is no folder; writes nothing."""
    folder = previews_folder(sweep)
    return FileSystemArtifactStore(folder) if folder.is_dir() else None


def make_previews(sweep: SweepFile) -> FileSystemArtifactStore | None:
    """Where pictures are to go, the folder made if it is not there; None where the sweep keeps none."""
    if sweep.previews:
        previews_folder(sweep).mkdir(parents=True, exist_ok=True)
    return find_previews(sweep) if sweep.previews else None


def display_name(sweep: SweepFile) -> str:
    """The storage as a user would write it, without a password."""
    if sweep.storage is not None and "://" in sweep.storage and not sweep.storage.startswith("sqlite"):
        return show_url(sweep.storage)
    return str(storage_file(sweep))


def kept_in(sweep: SweepFile) -> str:
    """What holds the trials, as other commands take it: Ax's snapshot rather than the copy beside it."""
    return str(snapshot_file(sweep)) if sweep.backend == "ax" else display_name(sweep)


def is_journal(sweep: SweepFile) -> bool:
    """Whether studies are kept in a journal file."""
    file = storage_file(sweep)
    return file is not None and file.suffix == JOURNAL


def find_storage(sweep: SweepFile) -> BaseStorage | None:
    """The storage if it is there already, None if there is none yet; writes nothing.

    Raises:
        ArgumentError: it cannot be reached, or is of something else.
    """
    file = storage_file(sweep)
    if file is None:
        with _storage_errors(sweep):
            return connect(str(sweep.storage)) if _has_studies(str(sweep.storage)) else None
    if file.is_dir():
        raise sweep.error("storage", f"expected a file, got the folder {file}.")
    return make_storage(sweep) if _exists(file) else None


def make_storage(sweep: SweepFile) -> BaseStorage:
    """The storage, made if it is not there.

    Raises:
        ArgumentError: it cannot be reached or made, or is of something else.
    """
    file = storage_file(sweep)
    if file is None:
        with _storage_errors(sweep):
            return connect(str(sweep.storage))
    with _storage_errors(sweep):
        if not is_journal(sweep):
            if _exists(file):
                check_tables(file)
            return sqlite(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(file)))


def load_study(sweep: SweepFile, storage: BaseStorage) -> optuna.Study | None:
    """The sweep's study, None where the storage has none of that name."""
    with _storage_errors(sweep):
        if sweep.name not in optuna.get_all_study_names(storage):
            return None
        return optuna.load_study(study_name=sweep.name, storage=storage)


def _exists(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def connect(url: str) -> BaseStorage:
    """The storage of a URL."""
    if url.startswith("grpc://"):
        parts = urlsplit(url)
        return proxy_storage(parts.hostname or "localhost", parts.port or 13000, ready=GRPC_READY_S)
    if url.startswith(("redis://", "rediss://")):
        return JournalStorage(JournalRedisBackend(url))
    return server_storage(url)


def _has_studies(url: str) -> bool:
    """Whether a storage may hold studies: a database without Optuna's tables, which opening it would make, has none."""
    if url.startswith(("grpc://", "redis://", "rediss://")):
        return True
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    try:
        return sqlalchemy.inspect(engine).has_table("studies")
    finally:
        engine.dispose()


def check_tables(file: Path) -> None:
    """Refuse a file that is no database of Optuna's, before its tables are added to it.

    Raises:
        ArgumentError: it cannot be read, or is of something else.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise ArgumentError(f"{file} cannot be read as an SQLite database ({error}).") from error
    if tables and "studies" not in tables:
        raise ArgumentError(f"{file} is a database of something else; its tables are {sorted(tables)[:5]}.")


def explain(error: Exception, storage: str) -> str:
    """What a database, driver or network said, on one line and without the secrets of a URL.

    Args:
        error: what was raised.
        storage: a file or a URL.
    """
    if isinstance(error, ImportError):
        reason: Any = f"{error}; install the database's driver"
    else:
        reason = getattr(error.__cause__ or error, "orig", None) or error
    text = " ".join(str(reason).split())
    for secret in secrets_of(storage):
        text = text.replace(secret, "***")
    return f"{type(error).__name__}: {text}"


@contextmanager
def _storage_errors(sweep: SweepFile) -> Iterator[None]:
    """Turn what databases, drivers and networks raise into one line about `storage:`."""
    try:
        yield
    except SurrogateError as error:
        raise sweep.error("storage", str(error)) from error
    except Exception as error:
        why = explain(error, sweep.storage or "")
        raise sweep.error("storage", f"{display_name(sweep)} cannot be opened ({why}).") from error


@contextmanager
def reading(sweep: SweepFile) -> Iterator[None]:
    """Turn what a damaged storage makes its readers raise into one line about `storage:`; nothing else may run inside.

    Raises:
        ArgumentError: what is stored cannot be read.
    """
    try:
        yield
    except SurrogateError:
        raise
    except Exception as error:
        why = explain(error, sweep.storage or "")
        advice = "It may be damaged: put a copy in its place, or begin anew under another `storage:`."
        raise sweep.error("storage", f"{display_name(sweep)} cannot be read ({why}). {advice}") from error
