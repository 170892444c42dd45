"""Residual-space evolution under Optuna: as a policy with any sampler, and as a box for multi-objective ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.samplers._ga import BaseGASampler

from surrogate_ax import FunctionGenerator, Gaussian, Metric, Objective
from surrogate_ax.editing import pollinate, residual_bank, residual_space
from surrogate_ax_optuna import optimize
from surrogate_ax_optuna.record import read_record

D = 300
Z = torch.randn(5, D, generator=torch.Generator().manual_seed(0))
GOAL = (Z[1] + Z[2]).numpy()  # two other items have what is wanted


def bank() -> Any:
    return residual_bank(Gaussian((D,)), Z[:1], Z[1:])


def measure(outputs: Any, conditions: Any) -> dict[str, np.ndarray]:
    x = np.asarray(outputs)
    return {"goal": x @ GOAL / D, "distance": np.square(x - Z[0].numpy()).mean(axis=1)}


def flow() -> FunctionGenerator:
    return FunctionGenerator(lambda z: z.numpy(), (D,))


class Halves(BaseGASampler):
    """A genetic sampler of one's own: each coordinate from one of the better half of the last generation."""

    def __init__(self, seed: int) -> None:
        super().__init__(population_size=8)
        self._random = np.random.default_rng(seed)
        self.crossed = 0

    def select_parent(self, study: optuna.Study, generation: int) -> list[optuna.trial.FrozenTrial]:
        return sorted(self.get_population(study, generation - 1), key=lambda trial: -trial.value)[:4]

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, Any]:
        return optuna.search_space.intersection_search_space(study.get_trials(deepcopy=False))

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        parents = self.get_parent_population(study, self.get_trial_generation(study, trial))
        if not parents or not search_space:
            return {}
        self.crossed += 1
        return {name: self._random.choice(parents).params[name] for name in search_space}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> float:
        return float(self._random.uniform(distribution.low, distribution.high))


def test_a_genetic_sampler_of_ones_own_crosses_points_of_the_box_around_an_item() -> None:
    sampler = Halves(0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    objective = Objective(Metric("goal"), score=lambda outputs, conditions: measure(outputs, conditions)["goal"])
    space = residual_space(bank(), axes=5, theta=0.8, rng=0)
    optimize(study, flow(), objective, rng=0, total_trials=48, batch_size=8, space=space, progress=False)
    values = read_record(study).history.values["goal"]
    assert sampler.crossed >= 16
    assert values[32:].mean() > values[:16].mean()
    assert values.max() > float(measure(Z[:1].numpy(), [{}])["goal"][0])


@pytest.mark.parametrize("sampler", ["random", "cma", "genetic", "own"])
def test_pollination_climbs_under_any_sampler(sampler: str) -> None:
    samplers: dict[str, Any] = {
        "random": optuna.samplers.RandomSampler(seed=0),
        "cma": optuna.samplers.CmaEsSampler(seed=0),
        "genetic": optuna.samplers.NSGAIISampler(seed=0, population_size=8),  # Optuna's own on BaseGASampler
        "own": Halves(0),
    }
    study = optuna.create_study(direction="maximize", sampler=samplers[sampler])
    seen = bank()
    objective = Objective(Metric("goal"), score=lambda outputs, conditions: measure(outputs, conditions)["goal"])
    optimize(
        study, flow(), objective, rng=0, total_trials=48, batch_size=12, policy=pollinate(seen, axes=4), progress=False
    )
    values = read_record(study).history.values["goal"]
    own = float(measure(Z[:1].numpy(), [{}])["goal"][0])
    assert values[0] == pytest.approx(own, abs=1e-5)  # the item itself, first
    assert values.max() > own
    assert values[36:].mean() > values[:12].mean()


def test_the_box_around_an_item_is_searched_for_two_goals() -> None:
    sampler = optuna.samplers.NSGAIISampler(seed=0, population_size=12)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    objective = Objective(Metric("goal"), Metric("distance", "minimize"), score=measure)
    space = residual_space(bank(), axes=5, theta=0.8, rng=0)
    optimize(study, flow(), objective, rng=0, total_trials=36, batch_size=12, space=space, progress=False)
    front = [trial.values for trial in study.best_trials]
    assert len(front) > 1
    assert min(distance for _, distance in front) <= 1e-9  # the item itself is on it
    assert max(goal for goal, _ in front) > float(measure(Z[:1].numpy(), [{}])["goal"][0])
