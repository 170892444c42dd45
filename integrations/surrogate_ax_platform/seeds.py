"""Where the stored seeds of an experiment are kept, so that another process finds them without being handed tensors.

A snapshot NAME.json has a folder NAME-seeds beside it. A client without snapshot and database keeps them in memory;
with Ax's SQL storage `seeds=` names a folder, which the experiment remembers.
"""

from __future__ import annotations

from pathlib import Path

from ax.api.client import Client
from ax.core.experiment import Experiment

from surrogate_ax.latents.seed_store import FolderSeedStore, MemorySeedStore, SeedStore, seed_store

Seeds = SeedStore | Path | str | None  # a store, or a folder
ADVICE = "pass snapshot=, or seeds=, a folder"
FOLDER = "surrogate:seeds"  # property of the experiment
KEPT = "_surrogate_seeds"  # its attribute in memory, never stored


def client_seeds(client: Client, seeds: Seeds = None, *, snapshot: Path | str | None = None) -> SeedStore | None:
    """The store of a client's seeds; None where there is no place for them.

    Args:
        client: with an experiment.
        seeds: a store or a folder, in place of the experiment's own.
        snapshot: the client's file.
    """
    if seeds is not None:
        return seed_store(seeds)
    if snapshot is not None:
        return FolderSeedStore(beside(snapshot))
    if FOLDER not in client._experiment._properties and client._storage_config is not None:
        return None
    return experiment_seeds(client._experiment)


def experiment_seeds(experiment: Experiment) -> SeedStore:
    """The folder that an experiment remembers, or its own memory."""
    if (folder := experiment._properties.get(FOLDER)) is not None:
        return FolderSeedStore(folder)
    kept: MemorySeedStore = vars(experiment).setdefault(KEPT, MemorySeedStore())
    return kept


def save_seeds(client: Client, snapshot: Path | str) -> None:
    """Put the seeds that a client keeps in memory beside its snapshot, which would forget them."""
    kept: MemorySeedStore | None = vars(client._experiment).get(KEPT)
    if kept is not None and len(kept):
        FolderSeedStore(beside(snapshot)).add(kept)


def remember_seeds(client: Client, store: SeedStore | None) -> None:
    """Note the folder of a client's seeds in its experiment."""
    if isinstance(store, FolderSeedStore):
        client._experiment._properties[FOLDER] = str(store.folder.resolve())


def beside(snapshot: Path | str) -> Path:
    """The folder of the seeds of a snapshot."""
    path = Path(snapshot)
    return path.with_name(f"{path.stem}-seeds")
