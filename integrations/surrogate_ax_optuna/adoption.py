"""Trials that `optimize` did not make: what they evaluated, where that can be told from their parameters.

A trial that a user added or told lies in the box, where the box is fixed for the study and the trial has its
coordinates. Others, without a recipe and without a box that their coordinates are of, stay in the study, and the search
neither counts them nor learns from them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names
from surrogate_ax.policies.history import Round
from surrogate_ax_optuna.attributes import RECIPE_ATTR, attributes

_logger = logging.getLogger(f"surrogate_ax.{__name__}")


class Adoption:
    """What the trials of a study that have no recipe have evaluated.

    Args:
        study: of the trials.
        space: the box, where it is fixed.
        conditions: searched call arguments by name.
        generator: its fingerprint.
        entropy: of the trials' draws.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SurrogateSpace | None,
        conditions: Mapping[str, Any],
        generator: Mapping[str, Any],
        entropy: int,
    ) -> None:
        self._study, self._round = study, None if space is None else Round(space, 0, 1)
        self._conditions, self._generator, self._entropy = conditions, generator, entropy
        self._said = 0

    def recipe(self, trial: FrozenTrial) -> Recipe | None:
        """What a trial has evaluated; None where nobody can tell."""
        if self._round is None or not self._lies_in_the_box(trial):
            return None
        terms = self._round.point(trial.params, Draw(self._entropy, trial.number))
        condition = {name: trial.params[name] for name in self._conditions}
        return Recipe(terms, condition, self._generator, 1)

    def counts(self, trial: FrozenTrial) -> bool:
        """Whether a trial that ended is one of the search."""
        return RECIPE_ATTR in attributes(trial) or self._lies_in_the_box(trial)

    def say(self, passed_over: Sequence[int]) -> None:
        """Name the trials that the search passes over, each once."""
        if len(passed_over) > self._said:
            self._said = len(passed_over)
            _logger.warning(
                "study %r: trials %s were not made by this search and lie in no box of it, so it neither counts them "
                "nor learns from them. They stay in the study. `suggest_latents` gives a trial of yours its place.",
                self._study.study_name,
                ", ".join(map(str, passed_over)),
            )

    def _lies_in_the_box(self, trial: FrozenTrial) -> bool:
        if self._round is None or any(name not in trial.params for name in self._conditions):
            return False
        names = coordinate_names(self._round.space.axes)
        return all(0 <= trial.params.get(name, math.nan) <= 1 for name in names)
