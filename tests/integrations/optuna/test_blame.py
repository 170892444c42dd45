"""Which trial of a batch is to blame when a process dies: from the second time on each is run alone."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState

from surrogate_ax import FunctionGenerator, Metric, Objective, SurrogateSpace
from surrogate_ax.policies.basic import fixed
from surrogate_ax_optuna import OptunaHost

GENERATOR = FunctionGenerator(lambda z: z, (4, 4))
OBJECTIVE = Objective(Metric("m"), score=lambda outputs, _: outputs.mean((1, 2)))
SPACE = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)


def asked(study, n):
    """What a new process asks."""
    host = OptunaHost(study, GENERATOR, OBJECTIVE, total_trials=12)
    return host.ask(n, fixed(SPACE)(host.history(), 12, 0))


def kill(study, candidates):
    for candidate in candidates:
        study._storage.set_trial_state_values(candidate.ticket._trial_id, TrialState.FAIL)


def test_a_trial_lost_twice_runs_alone():
    study = optuna.create_study(direction="maximize")
    first = asked(study, 4)
    kill(study, first)
    second = asked(study, 6)
    assert [candidate.terms for candidate in second[:4]] == [candidate.terms for candidate in first]
    assert len(second) == 6  # lost once: in a batch with others
    kill(study, second)
    third = asked(study, 2)
    assert [c.terms for c in third] == [c.terms for c in second[4:]]  # those lost once come first
    study.tell(third[0].ticket, 0.0)
    study.tell(third[1].ticket, 0.0)
    alone = []
    while candidates := asked(study, 6):
        if len(alone) == 4:
            break
        alone.append([candidate.terms for candidate in candidates])
        study.tell(candidates[0].ticket, 0.0)
    assert alone == [[candidate.terms] for candidate in first]
