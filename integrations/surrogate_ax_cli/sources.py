"""A study that a command was given, as pages read it, with the files of its outputs wherever they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from surrogate_ax.analysis.distinct import Kept
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.report.shown_study import Figure, ShownStudy, StudySource
from surrogate_ax_cli.targets import Searched, open_target
from surrogate_ax_optuna import study_source
from surrogate_ax_optuna.attributes import TICKET_ATTR, attributes


def files_source(searched: Searched) -> StudySource:
    """A study with the files that were kept of its outputs."""
    return _with_copies(searched) if searched.on_ax else study_source(searched.kept, previews=searched.previews)


def kept_of(searched: Searched) -> Kept | None:
    """Files of a study's outputs, None where there is no folder of them."""
    if searched.previews is None:
        return None
    source = files_source(searched)
    source.read()
    return source.preview


def _with_copies(searched: Searched) -> StudySource:
    """An Ax experiment; its pictures are in the study that mirrors it, where there is one beside its snapshot."""
    from surrogate_ax_platform import client_source

    source = client_source(Path(searched.where))
    database = Path(searched.where).with_suffix(".db")
    if not database.is_file():
        return source
    copy = open_target(str(database), searched.name)
    return _Illustrated(source, copy)


class _Illustrated:
    """A source whose files are those of a study that copies it.

    Args:
        source: of an Ax experiment.
        copy: the mirror of it.
    """

    def __init__(self, source: StudySource, copy: Searched) -> None:
        self._source, self._copy = source, copy
        self._pictures = study_source(copy.kept, previews=copy.previews)
        self._numbers: dict[int, int] = {}  # of the copies, by the trials' own

    def state(self) -> str:
        """As the source's."""
        return self._source.state()

    def figures(self) -> Sequence[Figure]:
        """As the source's."""
        return self._source.figures()

    def read(self) -> ShownStudy:
        """The source's study with the names of the files of its copy."""
        study, files = self._source.read(), {trial.number: trial.file for trial in self._pictures.read().trials}
        copies = self._copy.kept.get_trials(deepcopy=False)
        self._numbers = {int(attributes(copy).get(TICKET_ATTR, -1)): copy.number for copy in copies}
        shown = [
            dataclasses.replace(trial, file=files.get(self._numbers.get(trial.number, -1), trial.file))
            for trial in study.trials
        ]
        return dataclasses.replace(study, trials=shown)

    def preview(self, number: int) -> Preview | None:
        """The file of the copy of a trial."""
        copied = self._numbers.get(number)
        return self._source.preview(number) if copied is None else self._pictures.preview(copied)
