"""A client as one JSON file, written whole or not at all, with the file before it kept."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ax.api.client import Client
from ax.api.configs import StorageConfig
from ax.core.data import Data, DataRow
from ax.exceptions.core import AxError
from ax.storage.json_store.registry import CORE_ENCODER_REGISTRY

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax_platform.record_checks import check_records
from surrogate_ax_platform.seeds import beside, remember_seeds, save_seeds


def save_client(client: Client, path: Path | str) -> None:
    """Write a client's snapshot; a crash leaves the old file, and the one before it stays as `NAME.previous`.

    Args:
        client: with an experiment.
        path: the JSON file; stored seeds that the client keeps in memory are written into a folder beside it.

    Raises:
        ArgumentError: the file cannot be written.
        MismatchError: the file holds another experiment, or one with more trials.
    """
    path = Path(path)
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_seeds(client, path)
        with _tables_of_told_trials_kept():
            client.save_to_json_file(str(new))
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            older = path.with_name(path.name + ".older")
            shutil.copyfile(path, older)
            os.replace(older, previous(path))
        os.replace(new, path)
    except OSError as error:
        raise ArgumentError(f"snapshot: {path} cannot be written ({error}). Check the folder.") from error


@contextmanager
def _tables_of_told_trials_kept() -> Iterator[None]:
    """Ax makes and sorts the table of every trial again at each save, which takes longer than all the rest of it."""
    encode = CORE_ENCODER_REGISTRY[Data]
    CORE_ENCODER_REGISTRY[Data] = _data_to_dict
    try:
        yield
    finally:
        CORE_ENCODER_REGISTRY[Data] = encode


def _data_to_dict(data: Data) -> dict[str, Any]:
    """What Ax's encoder of data gives."""
    rows = (
        tuple((name, math.nan if value != value else value) for name, value in vars(row).items())
        for row in data._data_rows
    )
    return {"df": {"__type": "DataFrame", "value": _table(*rows)}, "__type": "Data"}


@lru_cache(maxsize=16_384)
def _table(*rows: tuple[tuple[str, Any], ...]) -> str:
    """The table of these rows as JSON. There is one NaN, so that rows with it are found again."""
    return str(Data([DataRow(**dict(row)) for row in rows]).full_df.to_json())


def load_client(path: Path | str, *, storage_config: StorageConfig | None = None) -> Client:
    """The client of a snapshot.

    Args:
        path: what `save_client` wrote.
        storage_config: a database to keep it in from now on.

    Raises:
        ArgumentError: the file is missing, cut short, or no snapshot; the copy before it is named if there is one.
        MismatchError: what the search has recorded in it was altered.
    """
    path = Path(path)
    import surrogate_ax_platform.strategy  # noqa: F401  # makes its classes known to Ax's decoder

    try:
        client = Client.load_from_json_file(str(path), storage_config=storage_config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, AxError) as error:
        before = previous(path)
        advice = f"The one before it is {before}." if before.exists() else "There is none before it."
        raise ArgumentError(
            f"path: expected a snapshot of `save_client`, got {path} ({type(error).__name__}: {error}). {advice}"
        ) from error
    check_records(client._experiment)
    if beside(path).is_dir():  # it may have been moved with its file
        remember_seeds(client, FolderSeedStore(beside(path)))
    return client


def previous(path: Path) -> Path:
    """Where the snapshot before the present one is kept."""
    return path.with_name(path.name + ".previous")


def check_snapshot(client: Client, path: Path | str) -> None:
    """Refuse to write over a snapshot that this client did not come from.

    Raises:
        MismatchError: the file holds another experiment, or trials that the client lacks.
        ArgumentError: the file is no snapshot.
    """
    if not Path(path).exists():
        return
    kept, given = load_client(path)._experiment, client._experiment
    if kept.name != given.name or not set(kept.trials) <= set(given.trials):
        raise MismatchError(
            f"snapshot: {path} holds experiment {kept.name!r} with {len(kept.trials)} trials, the client given is "
            f"{given.name!r} with {len(given.trials)}. Go on with `load_client(path)`, or name another file."
        )
