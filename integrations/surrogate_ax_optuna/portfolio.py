"""The best few outputs of a study that differ, remade from their recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial

from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.execution.records import refuse_old_seeds
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.record import read_record
from surrogate_ax_optuna.seeds import Seeds, study_seeds


@dataclass(frozen=True)
class Pick:
    """One chosen trial.

    Args:
        trial: as the study has it.
        recipe: what remakes `output`, overrides included.
        output: remade from the recipe.
    """

    trial: FrozenTrial
    recipe: Recipe
    output: Any


def portfolio(
    study: optuna.Study,
    generator: Generator,
    *,
    k: int = 6,
    max_cosine: float = 0.9,
    objective: Objective | None = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
    **overrides: Any,
) -> list[Pick]:
    """The best k trials whose latents differ pairwise, remade in one generator call.

    Args:
        study: a study of `optimize`, or of trials with `suggest_latents` and `record`.
        generator: the one that it was made with.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents, in (0, 1].
        objective: ranks what was measured; left out, the one that `optimize` has recorded.
        seeds: where stored seeds are kept, if not where the study keeps them.
        device: where latents are made.
        **overrides: call arguments to change, such as `num_inference_steps=50`; recorded in the recipes.

    Returns:
        Picks, best first; fewer than k when no more differ enough.

    Raises:
        MismatchError: the study has no record of its metrics, or was made with another generator.
        ArgumentError: k or the limit out of range, or no successful trial.
        SeedError: a stored seed is not where it should be.
    """
    record = read_record(study, objective, seeds=seeds)
    refuse_old_seeds(record.trials)
    chosen = [record.trials[row] for row in choose(record.history, generator.prior, k=k, max_cosine=max_cosine)]
    trials = study.get_trials(deepcopy=False)
    recipes = [trial.recipe for trial in chosen]
    outputs, recipes = render(recipes, generator, seeds=study_seeds(study, seeds), device=device, **overrides)
    return [Pick(*row) for row in zip((trials[trial.number] for trial in chosen), recipes, outputs, strict=True)]
