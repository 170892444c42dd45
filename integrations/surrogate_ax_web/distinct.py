"""The best outputs of a study that do not look alike, as far as their files tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surrogate_ax.analysis.distinct import looks_of_files
from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.arrays import Array
from surrogate_ax.errors import UnsupportedError
from surrogate_ax.policies.history import History
from surrogate_ax.report.shown_study import ShownStudy, ShownTrial, StudySource


class Compared:
    """The best outputs of a study that do not look alike, as its search goes on; each output is looked at once.

    Args:
        source: gives the files.
        items: how many outputs, at most.
    """

    def __init__(self, source: StudySource, items: int) -> None:
        self.items = items
        self._source = source
        self._looks: dict[int, Array] = {}  # by the numbers of trials

    def best(self, study: ShownStudy, *, new: int | None = None) -> tuple[list[int], bool]:
        """Places of the best trials, best first, and whether they were told apart by how they look.

        Args:
            study: at this moment.
            new: outputs that are looked at for the first time, at most about so many; fewer may be found then.
        """
        if not study.ranking:
            return [], False
        places = sorted(study.ranking)
        trials = [study.trials[place] for place in places]
        terms = [trial.recipe.terms if trial.recipe is not None else () for trial in trials]
        values = {name: column[places] for name, column in study.values.items()}
        ended = History(study.objective, terms, values, np.zeros(len(places), dtype=np.int64))
        most = None if new is None else len(self._looks) + new

        def seen(rows: Sequence[int]) -> Array:
            return self._seen([trials[row] for row in rows])

        try:
            return [places[row] for row in choose(ended, None, k=self.items, seen=seen, most=most)], True
        except UnsupportedError:  # no files, or of kinds that are not compared
            return study.ranking[: self.items], False

    def _seen(self, trials: Sequence[ShownTrial]) -> Array:
        """Features (n, F) of outputs."""
        fresh = [trial for trial in trials if trial.number not in self._looks]
        if fresh:
            files = [self._source.preview(trial.number) if trial.file else None for trial in fresh]
            self._looks |= zip((trial.number for trial in fresh), looks_of_files(files), strict=True)
        return np.stack([self._looks[trial.number] for trial in trials])
