"""The pruner that compares the trials of a round."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.trial import TrialState

from surrogate_ax import Metric, Objective
from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna import CohortPruner, SurrogateSampler, create_study, read_record, suggest_latents
from surrogate_ax_optuna.attributes import ROUND_ATTR, attributes, set_attribute
from tests.contracts.euler_flow import EulerFlow


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("share", "kept"), [(0.25, 2), (0.5, 4), (1.0, 8), (0.01, 1)])
def test_the_best_share_of_a_round_goes_on(direction, share, kept):
    study = optuna.create_study(direction=direction, pruner=CohortPruner(share))
    trials = [study.ask() for _ in range(10)]
    for i, trial in enumerate(trials):
        set_attribute(trial, ROUND_ATTR, int(i >= 8))
        trial.report(float(i % 8), 3)
    sign = 1 if direction == "maximize" else -1
    on = [i for i in range(8) if not trials[i].should_prune()]
    best = sorted(range(8), key=lambda i: -sign * i)[:kept]
    assert set(on) == set(best)


def test_nan_goes_last_and_a_trial_that_reported_nothing_goes_on():
    study = optuna.create_study(direction="maximize", pruner=CohortPruner(0.5))
    trials = [study.ask() for _ in range(3)]
    trials[0].report(math.nan, 1)
    trials[1].report(-5.0, 1)
    assert [trial.should_prune() for trial in trials] == [True, False, False]


def test_a_share_outside_is_refused():
    with pytest.raises(ArgumentError, match=r"keep_fraction: expected a share in \(0, 1\], got 0"):
        CohortPruner(0)


def test_a_loop_by_hand_stops_what_is_hopeless():
    flow = EulerFlow(8, 48)
    objective = Objective(Metric("bright"), score=lambda x, _: x[:, 0].double().numpy())
    study = create_study(objective, sampler=SurrogateSampler(32), pruner=CohortPruner(0.25))
    for _ in range(4):
        trials = [study.ask() for _ in range(8)]
        states = [flow.start(suggest_latents(trial, flow.prior), [{}]) for trial in trials]
        states = [flow.advance(state, 3) for state in states]
        for trial, state in zip(trials, states, strict=True):
            trial.report(float(flow.estimate(state)[0, 0]), 3)
        for trial, state in zip(trials, states, strict=True):
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, float(flow.finish(state).outputs[0, 0]))
    states = [trial.state.name for trial in study.trials]
    assert states.count("PRUNED") > states.count("COMPLETE") >= 4
    history = read_record(study).history
    stopped = [i for i, trial in enumerate(study.trials) if trial.state == TrialState.PRUNED]
    assert [history.estimates["bright"][i] for i in stopped] == [
        study.trials[i].intermediate_values[3] for i in stopped
    ]
    assert attributes(study.trials[-1])[ROUND_ATTR] > 0


def test_an_estimate_at_step_0_counts():
    flow = EulerFlow(8, 48)
    study = create_study(Objective(Metric("bright"), score=lambda x, _: x[:, 0].double().numpy()))
    trial = study.ask()
    suggest_latents(trial, flow.prior)
    trial.report(1.5, 0)
    study.tell(trial, state=TrialState.PRUNED)
    assert read_record(study).history.estimates["bright"].tolist() == [1.5]
