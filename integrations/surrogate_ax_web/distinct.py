"""The best outputs of a study that do not look alike, as far as their files tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surrogate_ax.analysis.distinct import looks_of_files
from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.arrays import Array
from surrogate_ax.errors import UnsupportedError
from surrogate_ax.policies.history import History
from surrogate_ax.report.shown_study import ShownStudy, StudySource


def distinct_best(study: ShownStudy, source: StudySource, items: int) -> tuple[list[int], bool]:
    """Places of the best trials, best first, and whether they were told apart by how they look.

    Args:
        study: at this moment.
        source: gives the files.
        items: how many, at most.
    """
    if not study.ranking:
        return [], False
    places = sorted(study.ranking)
    terms = [trial.recipe.terms if trial.recipe is not None else () for trial in map(study.trials.__getitem__, places)]
    values = {name: column[places] for name, column in study.values.items()}
    ended = History(study.objective, terms, values, np.zeros(len(places), dtype=np.int64))

    def seen(rows: Sequence[int]) -> Array:
        shown = [study.trials[places[row]] for row in rows]
        return looks_of_files([source.preview(trial.number) if trial.file else None for trial in shown])

    try:
        return [places[row] for row in choose(ended, None, k=items, seen=seen)], True
    except UnsupportedError:  # no files, or of kinds that are not compared
        return study.ranking[:items], False
