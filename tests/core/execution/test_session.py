"""What every host's `optimize` decides: checks, plan and budget, the executor, and what a study must agree on."""

from __future__ import annotations

import pytest

from surrogate_ax import FunctionGenerator, Metric, Objective, Range, SurrogateSpace, draws, fixed
from surrogate_ax.errors import ArgumentError, MismatchError, UnsupportedError
from surrogate_ax.execution.early_stopping import EarlyStopping
from surrogate_ax.execution.executor import Synchronous
from surrogate_ax.execution.pipelined import Pipelined
from surrogate_ax.execution.session import Session
from tests.contracts.euler_flow import EulerFlow

OBJECTIVE = Objective(Metric("sum"), score=lambda outputs, conditions: outputs.sum(dim=1))
GENERATOR = FunctionGenerator(lambda z: z, (40,), revision="1")


def _session(generator=GENERATOR, objective=OBJECTIVE, **options):
    return Session(generator, objective, **{"rng": 3} | options)


def test_a_new_study_records_what_it_is_begun_with():
    session = _session(total_trials=48, conditions={"scale": Range(1, 3)})
    record = session.begin(None, study="study 'a'")
    assert record["version"] == 2
    assert record["generator"] == GENERATOR.fingerprint
    assert (record["metrics"], record["space"], record["rng"]) == ([["sum", "maximize", None]], "planned", 3)
    assert record["conditions"] == {"scale": "Range(low=1, high=3, step=None, log=False)"}
    assert record["plan"]["kind"] == "sphere"
    assert session.proposer.conditions == {"scale": Range(1, 3)}
    assert session.proposer.total_trials == 48


def test_a_study_goes_on_by_the_plan_that_it_was_begun_with():
    record = _session(total_trials=48).begin(None, study="study 'a'")
    longer = _session(total_trials=96)
    assert longer.begin(record, study="study 'a'") == record
    assert longer.proposer.plan.anneal_over == 48
    assert longer.total_trials == 96


def test_an_older_record_with_fewer_facts_goes_on():
    record = _session(total_trials=48).begin(None, study="study 'a'")
    old = {name: record[name] for name in ("generator", "plan", "metrics", "space")} | {"version": 1}
    session = _session(total_trials=48)
    assert session.begin(old, study="client: its experiment") == old | {"search": session.proposer.to_json()}


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"rng": 4}, "rng: 3 -> 4"),
        ({"objective": Objective(Metric("sum", "minimize"), score=OBJECTIVE.score)}, "metrics: .*minimize"),
        ({"policy": draws(GENERATOR.prior, 9, axes=4)}, "space: planned -> by a policy"),
        ({"conditions": {"scale": Range(1, 3)}}, "conditions: {} -> .*scale"),
        ({"generator": FunctionGenerator(lambda z: z, (40,), revision="2")}, "revision: 1 -> 2"),
    ],
)
def test_what_differs_from_the_beginning_is_named(options, change):
    record = _session(total_trials=48).begin(None, study="study 'a'")
    with pytest.raises(MismatchError, match=change):
        _session(total_trials=48, **options).begin(record, study="study 'a'")


def test_a_record_of_a_later_release_is_refused():
    record = _session(total_trials=48).begin(None, study="study 'a'")
    with pytest.raises(MismatchError, match="study 'a': made by version 9 of this record, this release reads 2"):
        _session(total_trials=48).begin(record | {"version": 9}, study="study 'a'")


def test_a_budget_is_spent_as_the_plan_says():
    flow = EulerFlow()
    session = _session(flow, budget=24)
    session.begin(None, study="study 'a'")
    assert session.total_trials > 24
    assert isinstance(session.executor(None), EarlyStopping)
    whole = _session(flow, budget=24, overlap=True)
    whole.begin(None, study="study 'a'")
    assert whole.total_trials == 24
    assert isinstance(whole.executor(None), Pipelined)


class Scheduled(EulerFlow):
    """A flow whose number of steps is a call argument."""

    schedule_arguments = frozenset({"steps"})


def test_rows_are_stopped_early_unless_the_steps_are_searched(caplog):
    session = _session(Scheduled(), budget=24, conditions={"scale": Range(1, 3)})
    session.begin(None, study="study 'a'")
    assert isinstance(session.executor(None), EarlyStopping)
    assert not caplog.messages
    searched = {"scale": Range(1, 3), "steps": Range(4, 8)}
    whole = _session(Scheduled(), budget=24, conditions=searched)
    whole.begin(None, study="study 'a'")
    assert whole.total_trials == 24
    assert isinstance(whole.executor(None), Synchronous)
    with pytest.raises(ArgumentError, match="checkpoints: steps is searched and changes the steps"):
        _session(Scheduled(), total_trials=24, checkpoints=(3,), conditions=searched)


def test_executors_follow_from_the_arguments():
    session = _session(EulerFlow(), total_trials=8)
    session.begin(None, study="study 'a'")
    assert isinstance(session.executor(None), Synchronous)
    session = _session(EulerFlow(), total_trials=8, checkpoints=(3,), keep_fraction=0.5)
    session.begin(None, study="study 'a'")
    assert isinstance(session.executor(None), EarlyStopping)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ArgumentError, "total_trials, budget: expected one of them"),
        ({"total_trials": 0}, ArgumentError, "total_trials: expected at least 1, got 0"),
        ({"total_trials": 4, "batch_size": 0}, ArgumentError, "batch_size: expected at least 1, got 0"),
        ({"budget": 4, "policy": draws(GENERATOR.prior, 9, axes=4)}, ArgumentError, "does not go with policy"),
        ({"total_trials": 4, "keep_fraction": 0.5}, ArgumentError, "keep_fraction: expected checkpoints beside it"),
        ({"total_trials": 4, "checkpoints": (3,)}, UnsupportedError, "cannot"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(options, error, message):
    with pytest.raises(error, match=message):
        _session(**options)


def test_a_space_of_another_prior_or_beside_a_policy_is_refused():
    other = SurrogateSpace.sample(FunctionGenerator(lambda z: z, (9,)).prior, seeds=3, rng=0)
    with pytest.raises(MismatchError, match="space: made under prior"):
        _session(total_trials=4, space=other)
    own = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)
    with pytest.raises(ArgumentError, match="space, policy: expected at most one"):
        _session(total_trials=4, space=own, policy=fixed(own))
    with pytest.raises(ArgumentError, match="overlap, checkpoints"):
        _session(EulerFlow(), total_trials=4, overlap=True, checkpoints=(3,))


def test_a_session_runs_on_any_host(list_host):
    host, session = list_host(OBJECTIVE), _session(total_trials=30)
    session.begin(None, study="study 'a'")
    session.run(host, progress=False)
    assert len(host.ended) == 30
    assert host.history().round.max() > 0
