"""Where the stored seeds of a study are kept, so that another process finds them without being handed tensors.

| storage | seeds |
|---|---|
| an SQLite file NAME.db | in the folder NAME-seeds beside it |
| in memory | in memory, as long as the storage |
| elsewhere | where `seeds=` says: a folder, which the study remembers, or an artifact store, which it does not |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage, RDBStorage

from surrogate_ax.latents.seed_store import FolderSeedStore, MemorySeedStore, SeedStore
from surrogate_ax_optuna.attributes import SEEDS_ATTR, set_study_attribute, study_attributes
from surrogate_ax_optuna.seed_artifacts import ArtifactSeedStore

Seeds = SeedStore | Path | str | Any  # a store, a folder, or one of Optuna's artifact stores
ADVICE = "pass seeds=, a folder or an Optuna artifact store that every worker can reach"


def study_seeds(study: optuna.Study, seeds: Seeds = None) -> SeedStore | None:
    """The store of a study's seeds; None where the storage has no place of its own for them, and none is given.

    Args:
        study: any.
        seeds: a store, a folder, or an Optuna artifact store, in place of the study's own.
    """
    if seeds is not None:
        return _given(seeds)
    if (folder := study_attributes(study).get(SEEDS_ATTR)) is not None:
        return FolderSeedStore(folder)
    storage: Any = getattr(study._storage, "_backend", study._storage)  # below the cache that studies put before it
    if isinstance(storage, InMemoryStorage):
        kept: MemorySeedStore = vars(storage).setdefault("_surrogate_seeds", MemorySeedStore())
        return kept
    file = _sqlite_file(storage)
    return None if file is None else FolderSeedStore(file.with_name(f"{_stem(file)}-seeds"))


def _sqlite_file(storage: Any) -> Path | None:
    """The database file of a storage on SQLite."""
    if not isinstance(storage, RDBStorage) or not storage.url.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url  # where it is used: a study in memory can do without its 16 MB

    database = make_url(storage.url).database or ""
    path = database.removeprefix("file:").partition("?")[0] if database.startswith("file:") else database
    return Path(path) if path and ":memory:" not in path else None


def _stem(file: Path) -> str:
    """The name of a database file, without an ending that says no more than that it is one."""
    return file.stem if file.suffix in (".db", ".sqlite", ".sqlite3") else file.name


def remember_seeds(study: optuna.Study, seeds: Seeds) -> None:
    """Note the folder of a study's seeds in it, where the user has named one."""
    store = None if seeds is None else _given(seeds)
    if isinstance(store, FolderSeedStore):
        set_study_attribute(study, SEEDS_ATTR, str(store.folder.resolve()))


def _given(seeds: Seeds) -> SeedStore:
    if isinstance(seeds, SeedStore):
        return seeds
    return FolderSeedStore(seeds) if isinstance(seeds, str | Path) else ArtifactSeedStore(seeds)
