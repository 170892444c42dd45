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
from optuna.storages import InMemoryStorage

from surrogate_ax.latents.seed_store import FolderSeedStore, MemorySeedStore, SeedStore
from surrogate_ax_optuna.attributes import SEEDS_ATTR
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
    if (folder := study.user_attrs.get(SEEDS_ATTR)) is not None:
        return FolderSeedStore(folder)
    storage: Any = getattr(study._storage, "_backend", study._storage)  # below the cache that studies put before it
    if isinstance(storage, InMemoryStorage):
        kept: MemorySeedStore = vars(storage).setdefault("_surrogate_seeds", MemorySeedStore())
        return kept
    file = str(getattr(storage, "url", "")).partition("sqlite:///")[2]
    return FolderSeedStore(Path(file).with_name(f"{Path(file).stem}-seeds")) if file else None


def remember_seeds(study: optuna.Study, seeds: Seeds) -> None:
    """Note the folder of a study's seeds in it, where the user has named one."""
    store = None if seeds is None else _given(seeds)
    if isinstance(store, FolderSeedStore):
        study.set_user_attr(SEEDS_ATTR, str(store.folder.resolve()))


def _given(seeds: Seeds) -> SeedStore:
    if isinstance(seeds, SeedStore):
        return seeds
    return FolderSeedStore(seeds) if isinstance(seeds, str | Path) else ArtifactSeedStore(seeds)
