"""What a command is given, opened to be read: a sweep file, an Optuna storage or an Ax snapshot.

| STUDY | what is opened |
|---|---|
| NAME.yaml | the study, or the Ax experiment, of a sweep file |
| a database or journal file, or a URL | an Optuna study in it; `--study` says which, where there are several |
| NAME.json | the experiment of an Ax snapshot |

A study remembers the sweep file that it was begun with, so that its generator is found from the storage too. Nothing is
written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from surrogate_ax.errors import ArgumentError, SurrogateError
from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.latents.space import is_coordinate
from surrogate_ax_cli import storages
from surrogate_ax_cli.storages import JOURNAL, check_tables, connect, explain
from surrogate_ax_cli.sweep import FILE_ATTR, SWEEP_ATTR, check_sweep_record
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep
from surrogate_ax_cli.terminal import quiet_ax
from surrogate_ax_cli.urls import check_url, show_url, sqlite_file
from surrogate_ax_optuna import read_record, sqlite
from surrogate_ax_optuna.attributes import study_attributes

if TYPE_CHECKING:
    from ax.api.client import Client

EXPECTED = (
    "expected a sweep file NAME.yaml, a database or journal file or the URL of an Optuna storage, or an Ax snapshot "
    "NAME.json"
)
SWEEP_FILES = (".yaml", ".yml")
PREVIEW_FOLDERS = ("{stem}-previews", "previews")  # beside a storage: a sweep's, and the demo's
NAMED = 80  # characters of a study's name that a folder is called by


@dataclass(frozen=True)
class Searched:
    """A study, or an experiment of Ax's, as a command was given it.

    Args:
        name: its name.
        where: what keeps it, without what is secret in a URL.
        kept: an `optuna.Study`, or an Ax `Client`.
        beside: the folder of what keeps it; the current one for a server.
        sweep: the file that it was begun with, as far as it is known.
        previews: pictures of its outputs, if there is a folder of them.
    """

    name: str
    where: str
    kept: Any
    beside: Path
    sweep: SweepFile | None
    previews: FileSystemArtifactStore | None

    @property
    def home(self) -> Path:
        """The folder for what is made of it: of its name, beside it."""
        return self.beside / folder_name(self.name)

    @property
    def on_ax(self) -> bool:
        """Whether it is an experiment of Ax's."""
        return not isinstance(self.kept, optuna.Study)

    def record(self) -> SearchRecord:
        """What it holds.

        Raises:
            MismatchError: no search of ours made it.
            ArgumentError: what is stored cannot be read.
        """
        with _readable(self.where):
            if not self.on_ax:
                return read_record(self.kept)
            from surrogate_ax_platform import read_record as read_client

            return read_client(self.kept)

    def axes(self) -> int:
        """K: one more than there are coordinates."""
        if self.on_ax:
            return 1 + sum(map(is_coordinate, self.kept._experiment.search_space.parameters))
        trials = self.kept.get_trials(deepcopy=False)
        return 1 + max((sum(map(is_coordinate, trial.params)) for trial in trials), default=0)


def open_target(target: str, study: str | None = None) -> Searched:
    """Open what a command was given.

    Args:
        target: a sweep file, a storage or a snapshot, as the user wrote it.
        study: the name of a study in a storage; may be left out if it holds only one.

    Raises:
        ArgumentError: nothing of that kind is there, or it cannot be opened or read.
        MismatchError: the study was begun with another sweep file.
    """
    if "://" not in target and Path(target).suffix.lower() in SWEEP_FILES:
        return _of_sweep(read_sweep(Path(target)))
    if "://" not in target and not Path(target).is_file():
        raise ArgumentError(f"STUDY: {EXPECTED}, found no {target!r}.")
    if "://" not in target and _is_json(Path(target)):
        return _of_snapshot(Path(target), None)
    return _of_storage(target, study)


def home_of(sweep: SweepFile) -> Path:
    """The folder for what is made of a sweep, also one that has not begun."""
    file = storages.snapshot_file(sweep) if sweep.backend == "ax" else storages.storage_file(sweep)
    return (file or sweep.path).parent / folder_name(sweep.name)


def folder_name(study: str) -> str:
    """What the folder of a study is called."""
    return re.sub(r"[^\w.,+=() -]", "_", study)[:NAMED].strip(". ") or "study"


def sweep_path(target: str, study: str | None = None) -> Path:
    """The sweep file that a target is, or was begun with.

    Raises:
        ArgumentError: as `open_target`, or the file is not known.
    """
    if "://" not in target and Path(target).suffix.lower() in SWEEP_FILES:
        return Path(target)
    opened = open_target(target, study)
    if opened.sweep is None:
        raise ArgumentError(
            f"STUDY: {opened.name!r} in {opened.where} names no sweep file that is there. Give the sweep file itself; "
            "a search that Python made goes on by `optimize`."
        )
    return opened.sweep.path


def _of_sweep(sweep: SweepFile) -> Searched:
    """The study or experiment of a sweep file."""
    none = f"there are no trials of {sweep.name!r} yet. Run `surrogate-ax sweep {sweep.path}`."
    if sweep.backend == "ax":
        file = storages.snapshot_file(sweep)
        if not file.is_file():
            raise sweep.error("name", none)
        opened = _of_snapshot(file, sweep)
        recorded = opened.kept._experiment._properties.get(SWEEP_ATTR)
        check_sweep_record(sweep, recorded, f"experiment {opened.name!r} in {file}")
        return opened
    storage = storages.find_storage(sweep)
    study = None if storage is None else storages.load_study(sweep, storage)
    if study is None:
        raise sweep.error("name", none)
    where = storages.display_name(sweep)
    check_sweep_record(sweep, study.user_attrs.get(SWEEP_ATTR), f"study {study.study_name!r} in {where}")
    beside = (storages.storage_file(sweep) or sweep.path).parent
    return Searched(sweep.name, where, study, beside, sweep, storages.find_previews(sweep))


def _of_snapshot(file: Path, sweep: SweepFile | None) -> Searched:
    quiet_ax()
    from surrogate_ax_platform import load_client

    client: Client = load_client(file)
    if client._maybe_experiment is None:
        raise ArgumentError(f"STUDY: the Ax snapshot {file} holds no experiment.")
    experiment = client._experiment
    known = sweep or _begun_with(experiment._properties.get(FILE_ATTR), experiment.name)
    return Searched(experiment.name, str(file), client, file.parent, known, _previews_beside(file))


def _of_storage(target: str, name: str | None) -> Searched:
    shown = show_url(target) if "://" in target else target
    file: str | None = target
    try:
        if "://" in target:
            check_url(target)
            file = sqlite_file(target)
        with _readable(shown, target):
            opened = connect(target) if file is None else _open_file(Path(file))
            names = optuna.get_all_study_names(opened)
    except SurrogateError as error:
        raise ArgumentError(f"STUDY: {str(error).removeprefix('STUDY: ').removeprefix('path: ')}") from error
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        given = "none was named" if name is None else f"got {name!r}"
        raise ArgumentError(f"--study: expected one of {names}, {given}. Pass it as --study NAME.")
    with _readable(shown, target):
        study = optuna.load_study(study_name=name, storage=opened)
        sweep = _begun_with(study_attributes(study).get(FILE_ATTR), study.study_name)
    if file is None:
        return Searched(study.study_name, shown, study, Path(), sweep, None)
    return Searched(study.study_name, shown, study, Path(file).parent, sweep, _previews_beside(Path(file)))


def _open_file(file: Path) -> BaseStorage:
    """The storage in a file, which has to be there."""
    if not file.is_file():
        raise ArgumentError(f"{EXPECTED}, found no {str(file)!r}.")
    if file.suffix == JOURNAL:
        return JournalStorage(JournalFileBackend(str(file)))
    check_tables(file)
    return sqlite(file)


def _begun_with(path: Any, name: str) -> SweepFile | None:
    """The sweep file that a study names, if it is still there and still that study's."""
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    sweep = read_sweep(Path(path))
    return sweep if sweep.name == name else None


def _previews_beside(file: Path) -> FileSystemArtifactStore | None:
    folders = [file.with_name(pattern.format(stem=file.stem)) for pattern in PREVIEW_FOLDERS]
    return next((FileSystemArtifactStore(folder) for folder in folders if folder.is_dir()), None)


def _is_json(file: Path) -> bool:
    with file.open("rb") as opened:
        return file.suffix != JOURNAL and opened.read(64).lstrip().startswith(b"{")


@contextmanager
def _readable(where: str, target: str = "") -> Iterator[None]:
    """Turn what databases, drivers and networks raise into one line."""
    try:
        yield
    except SurrogateError:
        raise
    except Exception as error:
        why = explain(error, target)
        raise ArgumentError(
            f"STUDY: {where} cannot be read ({why}). It may be damaged or out of reach: put a copy in its place."
        ) from error
