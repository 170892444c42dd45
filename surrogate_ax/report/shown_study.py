"""A study as pages show it, whichever host keeps it.

A host reads its trials as `ShownTrial`s, with the small files of their outputs; everything that a page says of them is
worked out here and beside it, once for all hosts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import scipy  # loads its submodules when they are first used
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seeds import Draw, Seed
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.policies.history import History
from surrogate_ax.scoring.objective import Objective

State = Literal["done", "stopped", "failed", "running"]


class Figure(NamedTuple):
    """A plot, as Plotly draws it.

    Args:
        title: above it.
        note: below the title, in small print.
        drawing: {"data": [...], "layout": {...}}, JSON-able.
    """

    title: str
    note: str
    drawing: Mapping[str, Any]


@dataclass(frozen=True)
class ShownTrial:
    """One trial.

    Args:
        number: the host's.
        state: how it stands; one that was stopped at a checkpoint has estimates for values.
        round: number of its round.
        values: of the metrics that it has.
        recipe: what remakes its output; None where it is not known.
        file: name of the file of its output, empty where none was kept.
        nfe: network function evaluations spent.
        seconds: of evaluation.
        ended: seconds since 1970, None while it runs or where the host does not say.
        reason: why it failed.
    """

    number: int
    state: State
    round: int
    values: Mapping[str, float]
    recipe: Recipe | None
    file: str = ""
    nfe: float = 0.0
    seconds: float = 0.0
    ended: float | None = None
    reason: str = ""

    @property
    def seed(self) -> Seed | None:
        """The seed that its output is made of alone; None where it combines several."""
        return self.recipe.terms[0][0] if self.recipe is not None and len(self.recipe.terms) == 1 else None

    @property
    def plain(self) -> bool:
        """Whether it is a plain draw from the prior."""
        return isinstance(self.seed, Draw)


@dataclass(frozen=True)
class ShownStudy:
    """A study at one moment.

    Args:
        name: its name.
        host: what keeps it, "Optuna" or "Ax".
        objective: ranks its trials.
        trials: n, in the order in which they were asked.
        history: what policies see of the ended ones.
        search: what the search has recorded of itself when it began (generator, plan, searched conditions).
        seeds: inner rows (D,) of stored seeds, by SHA-256.
        numbers: of the trials of the history's rows, which says what is expected of them where scores vary.
    """

    name: str
    host: str
    objective: Objective
    trials: Sequence[ShownTrial]
    history: History
    search: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Tensor] | None = None
    numbers: Sequence[int] = ()

    @cached_property
    def values(self) -> dict[str, Array]:
        """Values (n,) of every metric, NaN where a trial has no result; an estimate is none."""
        done = [trial.values if trial.state == "done" else {} for trial in self.trials]
        return {
            metric.name: np.array([values.get(metric.name, np.nan) for values in done], dtype=np.float64)
            for metric in self.objective.metrics
        }

    @cached_property
    def ranking(self) -> list[int]:
        """Places in `trials` of those with a result, best first."""
        if not self.trials:
            return []
        finite = np.isfinite(self.objective.losses(self.values)).all(axis=1)
        return [int(i) for i in self.objective.rank(self.expected) if finite[i]]

    @cached_property
    def expected(self) -> Mapping[str, Array]:
        """Values (n,) that are expected of the trials where scores vary, else those that were measured."""
        if not self.history.expected:
            return self.values
        places = {trial.number: i for i, trial in enumerate(self.trials)}
        known = {name: column.copy() for name, column in self.values.items()}
        for row, number in enumerate(self.numbers):
            for name, column in known.items():
                column[places[number]] = self.history.expected[name][row]
        return known

    @cached_property
    def alone(self) -> dict[Seed, int]:
        """Numbers of the trials that show one seed each."""
        return {trial.seed: trial.number for trial in reversed(self.trials) if trial.seed is not None}

    @cached_property
    def trials_by_number(self) -> dict[int, ShownTrial]:
        """The trials by the host's numbers."""
        return {trial.number: trial for trial in self.trials}

    def nearest(self, place: int, count: int) -> list[tuple[int, float]]:
        """The trials before one that its latent is most like: their places and cosines, of rows over unit seeds.

        Args:
            place: in `trials`.
            count: how many, at most.
        """
        rows = self._rows
        if rows[[place]].nnz < 2:
            return []
        cosines = (rows[:place] @ rows[[place]].T).toarray().ravel()
        return [(int(i), float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[:count] if cosines[i] > 0]

    @cached_property
    def _rows(self) -> scipy.sparse.csr_array:
        """Coefficient rows (n, M) over all seeds that trials name; zeros for a trial without a recipe."""
        terms = [trial.recipe.terms if trial.recipe is not None else () for trial in self.trials]
        number: dict[Seed, int] = {}
        columns = [number.setdefault(seed, len(number)) for row in terms for seed, _ in row]
        weights = [weight for row in terms for _, weight in row]
        starts = np.cumsum([0, *map(len, terms)])
        return scipy.sparse.csr_array((weights, columns, starts), shape=(len(terms), len(number)), dtype=np.float64)


class StudySource(Protocol):
    """A study that pages read again and again while its search runs."""

    def state(self) -> str:
        """A text that changes whenever something was asked or told; cheap."""

    def read(self) -> ShownStudy:
        """The study as it is now."""

    def preview(self, number: int) -> Preview | None:
        """The file of a trial's output, by the trial's number; None where none was kept, or it is gone.

        Args:
            number: of the trial.
        """

    def figures(self) -> Sequence[Figure]:
        """Plots of the host's own library, if it has some."""
