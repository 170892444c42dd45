"""Every moving policy through Optuna: one study, its sampler inside the rounds, and the same search after a stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.study import MaxTrialsCallback

from surrogate_ax import Gaussian, Policy, chain, draws, spherical_bo
from surrogate_ax.policies.evolution import evolve, reseed, trust_region
from surrogate_ax.policies.moving_boxes import moving_boxes
from surrogate_ax_optuna import optimize, sqlite
from surrogate_ax_optuna.attributes import ROUND_ATTR, attributes
from surrogate_ax_optuna.trials import read_recipe

TOTAL, FIRST, SIZE = 28, 8, 4
PRIOR = Gaussian((32,))
POLICIES: dict[str, Callable[[], Policy]] = {
    "sphere": lambda: spherical_bo(PRIOR, axes=4, size=SIZE),
    "sphere, half by the sampler": lambda: spherical_bo(PRIOR, axes=4, size=SIZE, sampled=2),
    "boxes": lambda: moving_boxes(PRIOR, axes=4, size=SIZE),
    "evolve": lambda: evolve(PRIOR, axes=4, size=SIZE),
    "reseed": lambda: reseed(PRIOR, axes=4, size=SIZE),
    "caps": lambda: trust_region(PRIOR, axes=4, size=SIZE),
    "one after another": lambda: chain(
        reseed(PRIOR, axes=4, size=SIZE, max_trials=16), spherical_bo(PRIOR, axes=4, size=SIZE)
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_moves_through_one_study_and_goes_on_after_a_stop(make_generator, objective, tmp_path, name):
    def run(study: optuna.Study, **options: Any) -> None:
        policy = chain(draws(PRIOR, FIRST, axes=4), POLICIES[name]())
        optimize(study, make_generator(), objective, policy=policy, total_trials=TOTAL, batch_size=4, rng=0,
                 progress=False, **options)  # fmt: skip

    def study(where: str) -> optuna.Study:
        return optuna.create_study(
            storage=sqlite(tmp_path / f"{where}.db"),
            study_name="moved",
            direction="maximize",
            sampler=TPESampler(seed=0, n_startup_trials=2),
            load_if_exists=True,
        )

    run(study("whole"))
    run(study("stopped"), callbacks=[MaxTrialsCallback(SIZE * 4, states=None)])
    assert FIRST < len(study("stopped").trials) < TOTAL
    run(study("stopped"))
    whole, stopped = study("whole").trials, study("stopped").trials
    rounds = [0] * FIRST + [1 + i // SIZE for i in range(TOTAL - FIRST)]
    assert [attributes(trial)[ROUND_ATTR] for trial in stopped] == rounds
    assert [attributes(trial)[ROUND_ATTR] for trial in whole] == rounds
    assert all(len(trial.distributions) == 3 for trial in stopped)  # the same parameters in every round
    before = [[read_recipe(trial).terms for trial in trials[: SIZE * 4]] for trials in (whole, stopped)]
    assert before[0] == before[1]
    if name in ("sphere", "evolve"):  # exact rows only; a sampler's own state is not in the storage
        assert [read_recipe(trial).terms for trial in whole] == [read_recipe(trial).terms for trial in stopped]
    assert max(trial.value for trial in stopped) >= max(trial.value for trial in stopped[:FIRST])
