"""Checkpoints under Optuna: its own pruners decide, costs are true, and estimates are never taken for results."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.samplers import CmaEsSampler, PartialFixedSampler, TPESampler
from optuna.trial import TrialState

from surrogate_ax import Generated, Metric, Objective, SurrogateSpace, draws, fixed, o3, plan
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.policies.plan import survivors
from surrogate_ax_optuna import OptunaHost, SurrogateSampler, optimize, portfolio
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, REASON_ATTR, RESULT_ATTR, attributes, study_attributes
from surrogate_ax_optuna.pruning import checkpoint_estimates, report_to_pruner
from surrogate_ax_optuna.sampler import in_generations
from tests.contracts.euler_flow import EulerFlow

OBJECTIVE = Objective(Metric("sum"), score=lambda outputs, conditions: [float(x.sum()) for x in outputs])


def _search(study, flow, *, n=48, checkpoints=(3,), **options):
    options = {"batch_size": 8, "rng": 0, "progress": False} | options
    if not {"policy", "space"} & options.keys():
        options["policy"] = draws(flow.prior, n, axes=3)
    optimize(study, flow, OBJECTIVE, total_trials=n, checkpoints=checkpoints, **options)


def _states(study):
    return [trial.state for trial in study.trials]


@pytest.mark.parametrize(
    ("pruner", "checkpoints"),
    [
        (MedianPruner(), (3,)),
        (MedianPruner(), (2, 4, 6)),
        (PercentilePruner(25.0), (2, 5)),
        (SuccessiveHalvingPruner(min_resource=2, reduction_factor=2), (2, 4)),
        (HyperbandPruner(min_resource=2, max_resource=8, reduction_factor=2), (2, 4)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else "-".join(map(str, value)),
)
def test_optunas_own_pruners_stop_rows_and_costs_are_true(make_study, pruner, checkpoints):
    study, flow = make_study(pruner=pruner), EulerFlow()
    _search(study, flow, checkpoints=checkpoints)
    stopped = study.get_trials(states=(TrialState.PRUNED,))
    done = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(stopped) + len(done) == 48
    assert len(stopped) > 4
    assert len(done) > 4
    assert sum(attributes(trial)[RESULT_ATTR]["nfe"] for trial in study.trials) == sum(flow.sizes)
    for trial in stopped:
        result = attributes(trial)[RESULT_ATTR]
        assert result["stopped"] == result["nfe"] == max(trial.intermediate_values) in checkpoints
        assert trial.value == result["values"]["sum"] == trial.intermediate_values[result["stopped"]]
    for trial in done:
        assert attributes(trial)[RESULT_ATTR]["nfe"] == 8
        assert set(trial.intermediate_values) == set(checkpoints)


def test_survivors_fill_batches_until_nothing_more_is_asked(make_study):
    flow = EulerFlow()
    _search(make_study(), flow, n=64)
    assert sum(size < 8 for size in flow.sizes) <= 5  # one flush of the five steps behind the checkpoint


def test_estimates_are_told_beside_the_values_and_never_ranked(make_study):
    study, flow = make_study(), EulerFlow()
    _search(study, flow)
    history = OptunaHost(study, flow, OBJECTIVE).history()
    stopped = np.isfinite(history.estimates["sum"])
    assert 0 < stopped.sum() < 48
    np.testing.assert_array_equal(np.isnan(history.values["sum"]), stopped)
    behind = history.order[-stopped.sum() :]
    assert set(behind) == set(np.flatnonzero(stopped))
    assert (np.diff(history.estimates["sum"][behind]) <= 0).all()
    picks = portfolio(study, flow, k=48, max_cosine=1.0, min_distance=0)
    assert all(pick.trial.state == TrialState.COMPLETE for pick in picks)
    assert picks[0].trial.number == study.best_trial.number
    assert OptunaHost(make_study(), flow, OBJECTIVE).history().estimates == {}
    first = history.first(0, 20)
    np.testing.assert_array_equal(first.estimates["sum"], history.estimates["sum"][:20])


def test_what_stopped_trials_would_have_come_to_is_told(make_study):
    study, flow = make_study(), EulerFlow()
    _search(study, flow, checkpoints=(2, 4))
    history = OptunaHost(study, flow, OBJECTIVE).history()
    assert set(history.checkpoint_estimates) == {2, 4}
    np.testing.assert_array_equal(
        np.isfinite(history.checkpoint_estimates[4]), [4 in t.intermediate_values for t in _by_end(study)]
    )
    stopped = np.isnan(history.values["sum"])
    bank = history.bank(flow.prior)
    z = bank.latents(bank.rows(history.terms))
    truth = flow.generate(z, [{}] * 48).outputs.sum(dim=1).double().numpy()
    predicted = history.extrapolated()["sum"]
    np.testing.assert_array_equal(predicted[~stopped], history.values["sum"][~stopped])
    errors = [np.abs(x[stopped] - truth[stopped]).mean() for x in (predicted, history.estimates["sum"])]
    assert errors[0] < 0.5 * errors[1]


def _by_end(study):
    return sorted(study.trials, key=lambda trial: (trial.datetime_complete, trial.number))


@pytest.mark.parametrize("sampler", [SurrogateSampler(), TPESampler(seed=0)], ids=["planned", "in boxes"])
def test_a_search_learns_from_stopped_trials(make_study, sampler):
    study, flow = make_study(sampler), EulerFlow()
    optimize(
        study,
        flow,
        OBJECTIVE,
        total_trials=60,
        batch_size=8,
        rng=0,
        progress=False,
        checkpoints=(3,),
        keep_fraction=0.5,
    )
    history = OptunaHost(study, flow, OBJECTIVE).history()
    assert len(np.unique(history.round)) > 3
    assert np.isfinite(history.estimates["sum"]).sum() > 3
    assert history.round[history.order[0]] > 0


def test_the_search_goes_on_from_what_was_finished(make_study):
    study, flow = make_study(TPESampler(seed=0)), EulerFlow()
    _search(study, flow, n=40, policy=o3(flow.prior, 20, seeds=5))
    rounds = {attributes(trial)["surrogate:round"] for trial in study.trials}
    assert rounds == {0, 1}
    history = OptunaHost(study, flow, OBJECTIVE).history()
    half = history.first(0, 20)
    finished = {half.terms[i] for i in half.order[:5]}
    axes = {seed for trial, terms in zip(history.round, history.terms, strict=True) if trial for seed, _ in terms}
    assert axes == {seed for terms in finished for seed, _ in terms}


def test_cma_es_closes_a_generation_a_batch(make_study):
    study, flow = make_study(CmaEsSampler(seed=0)), EulerFlow()
    space = SurrogateSpace.sample(flow.prior, seeds=4, rng=0)
    _search(study, flow, n=40, policy=fixed(space, seeds_first=False))
    assert TrialState.PRUNED in _states(study)
    assert [trial.system_attrs["cma:generation"] for trial in study.trials] == [k // 8 for k in range(40)]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_only_cma_es_works_in_generations():
    assert in_generations(CmaEsSampler())
    assert in_generations(PartialFixedSampler({}, CmaEsSampler()))
    assert not in_generations(TPESampler())


class Pictures(EulerFlow):
    """The same as pictures of 4x4 pixels."""

    def estimate(self, state):
        return super().estimate(state).sigmoid().reshape(-1, 4, 4).numpy()

    def finish(self, state):
        made = super().finish(state)
        return Generated(made.outputs.sigmoid().reshape(-1, 4, 4).numpy(), made.nfe, made.seconds)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_stopped_trials_keep_the_picture_of_their_estimate(make_study, tmp_path):
    study = make_study()
    _search(study, Pictures(), n=24, previews=FileSystemArtifactStore(tmp_path))
    assert TrialState.PRUNED in _states(study)
    assert all(PREVIEW_ATTR in attributes(trial) for trial in study.trials)
    assert len(list(tmp_path.iterdir())) == 24


def test_an_interruption_gives_back_all_rows_and_the_study_goes_on(make_study):
    calls = []

    def watch(kind, x, conditions):
        calls.append(kind)
        if len(calls) == 30:
            raise KeyboardInterrupt

    study = make_study()
    with pytest.raises(KeyboardInterrupt):
        _search(study, EulerFlow(watch=watch))
    assert TrialState.RUNNING not in _states(study)
    given_back = [t for t in study.trials if attributes(t).get(REASON_ATTR) == INTERRUPTED]
    assert given_back
    ended = len(study.trials) - len(given_back)
    flow = EulerFlow()
    _search(study, flow)
    history = OptunaHost(study, flow, OBJECTIVE).history()
    assert len(history.terms) == 48
    assert len(study.trials) == 48 + len(given_back)
    assert ended < 48
    _search(study, flow)  # nothing is left to do
    assert len(study.trials) == 48 + len(given_back)


def test_a_pruner_that_stops_nothing_changes_no_value(make_study):
    plain, stepped = make_study(), make_study(pruner=NopPruner())
    _search(plain, EulerFlow(), checkpoints=())
    _search(stepped, EulerFlow(), checkpoints=(2, 5))
    by_number = [sorted((t.number, t.value) for t in study.trials) for study in (plain, stepped)]
    np.testing.assert_allclose(by_number[0], by_number[1], rtol=1e-5)


def test_constraints_and_tracked_metrics_go_along(make_study):
    metrics = (Metric("sum"), Metric("first", "at_most", 0.5), Metric("last", "track"))

    def score(outputs, conditions):
        return {"sum": outputs.sum(dim=1), "first": outputs[:, 0], "last": outputs[:, -1]}

    study, flow = make_study(TPESampler(seed=0)), EulerFlow()
    objective = Objective(*metrics, score=score)
    optimize(study, flow, objective, total_trials=40, batch_size=8, rng=0, progress=False, checkpoints=(3,))
    assert TrialState.PRUNED in _states(study)
    assert all(set(attributes(t)[RESULT_ATTR]["values"]) == {"sum", "first", "last"} for t in study.trials)


@pytest.mark.parametrize(("goal", "sign"), [("maximize", -1), ("minimize", 1)])
def test_estimates_that_break_a_bound_are_reported_behind_all_others(make_study, goal, sign):
    objective = Objective(Metric("worth", goal), Metric("size", "at_most", 1.0), score=lambda outputs, conditions: {})
    study = make_study(directions=[goal])
    trials = [study.ask() for _ in range(5)]
    values = {"worth": np.array([3.0, 1.0, 9.0]), "size": np.array([0.5, 1.5, 3.0])}
    report_to_pruner(study, trials[:3], 4, values, objective)
    reported = [trial.intermediate_values[4] for trial in study.trials[:3]]
    worst = {"maximize": 1.0, "minimize": 9.0}[goal]
    assert reported == [3.0, worst + sign * 0.5, worst + sign * 2.0]
    assert [checkpoint_estimates(trial) for trial in study.trials[:3]] == [{4: 3.0}, {4: 1.0}, {4: 9.0}]
    later = {"worth": np.array([2.0, 2.5]), "size": np.array([1.25, 0.0])}
    report_to_pruner(study, trials[3:], 4, later, objective)  # behind those of earlier batches as well
    assert study.trials[3].intermediate_values == {4: worst + sign * 0.25}
    assert study.trials[4].intermediate_values == {4: 2.5}
    report_to_pruner(study, trials[3:4], 6, {"worth": later["worth"][:1], "size": later["size"][:1]}, objective)
    assert checkpoint_estimates(study.trials[3]) == {4: 2.0, 6: 2.0}


def test_rows_that_break_a_bound_do_not_stop_those_that_keep_it(make_study):
    metrics = (Metric("sum"), Metric("first", "at_most", 0.0))  # half of the draws keep it
    objective = Objective(*metrics, score=lambda x, conditions: {"sum": x.sum(dim=1) + 9 * x[:, 0], "first": x[:, 0]})
    study, flow = make_study(pruner=PercentilePruner(50.0)), EulerFlow()
    options = {"total_trials": 64, "batch_size": 8, "rng": 0, "progress": False, "checkpoints": (4,)}
    optimize(study, flow, objective, policy=draws(flow.prior, 64, axes=3), **options)
    stopped = np.array([trial.state == TrialState.PRUNED for trial in study.trials])
    breaks = np.array([attributes(trial)[RESULT_ATTR]["values"]["first"] > 0 for trial in study.trials])
    assert stopped[breaks][8:].mean() > 0.9
    assert stopped[~breaks].mean() < 0.7
    history = OptunaHost(study, flow, objective).history()
    np.testing.assert_allclose(
        history.checkpoint_estimates[4][np.isfinite(history.estimates["sum"])],
        history.estimates["sum"][stopped[_order(study)]],
    )


def _order(study):
    return [trial.number for trial in _by_end(study)]


# --- a share of each batch goes on, and budgets in whole outputs


def test_a_share_of_each_batch_goes_on_whatever_the_pruner_would_say(make_study):
    study, flow = make_study(pruner=NopPruner()), EulerFlow()
    _search(study, flow, n=40, keep_fraction=0.25)
    for start in range(0, 40, 8):
        batch = study.trials[start : start + 8]
        estimates = np.array([trial.intermediate_values[3] for trial in batch])
        done = [i for i, trial in enumerate(batch) if trial.state == TrialState.COMPLETE]
        assert sorted(done) == sorted(np.argsort(-estimates)[:2].tolist())


@pytest.mark.parametrize(
    ("sampler", "batch_size"),
    [(SurrogateSampler(), 1), (SurrogateSampler(), 3), (SurrogateSampler(), 16), (CmaEsSampler(seed=0), 3)],
)
def test_a_budget_is_spent_in_more_trials_most_of_them_stopped(make_study, sampler, batch_size):
    study, flow = make_study(sampler), EulerFlow()
    optimize(study, flow, OBJECTIVE, budget=40, rng=0, progress=False, batch_size=batch_size)
    planned = plan(40, dim=16, steps=8)
    assert (planned.checkpoint, planned.keep_fraction) == (3, 0.25)
    assert len(study.trials) == planned.trials(40) > 60
    spent = sum(flow.sizes)
    assert 40 * 8 - 8 < spent <= 40 * 8
    states = _states(study)
    assert 0.2 < states.count(TrialState.COMPLETE) / len(states) < 0.32
    assert states.count(TrialState.PRUNED) == len(states) - states.count(TrialState.COMPLETE)
    history = OptunaHost(study, flow, OBJECTIVE).history()
    for number in range(history.last):  # whole rounds are compared, however small batches are
        finished = np.isfinite(history.values["sum"][history.round == number])
        assert finished.sum() == survivors(len(finished), 0.25)
    first, last = (history.round == 0), (history.round == history.last)
    assert history.extrapolated()["sum"][last].mean() > history.extrapolated()["sum"][first].mean()


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_small_budget_is_kept_to_in_small_batches(make_study, batch_size):
    study, flow = make_study(), EulerFlow()
    optimize(study, flow, OBJECTIVE, budget=9, rng=0, progress=False, batch_size=batch_size)
    assert len(study.trials) == plan(9, dim=16, steps=8).trials(9)
    assert 9 * 8 - 8 < sum(flow.sizes) <= 9 * 8


def test_a_budget_goes_on_as_it_was_begun(make_study):
    whole, broken, flow = make_study(SurrogateSampler()), make_study(SurrogateSampler()), EulerFlow()
    options = {"budget": 30, "rng": 3, "progress": False, "batch_size": 8}
    optimize(whole, flow, OBJECTIVE, **options)

    def stop(study, trial):
        if trial.number == 23:
            study.stop()

    optimize(broken, flow, OBJECTIVE, callbacks=[stop], **options)
    assert len(broken.trials) < len(whole.trials)
    optimize(broken, flow, OBJECTIVE, **options)
    assert _states(broken) == _states(whole)
    assert [trial.value for trial in broken.trials] == [trial.value for trial in whole.trials]
    before = sum(flow.sizes)
    optimize(broken, flow, OBJECTIVE, **options)  # nothing is left to do
    assert sum(flow.sizes) == before
    optimize(broken, flow, OBJECTIVE, **options | {"budget": 36})
    assert len(broken.trials) > len(whole.trials)


def test_several_metrics_have_their_best_rows_go_on(make_study):
    two = Objective(Metric("a"), Metric("b"), score=lambda x, conditions: {"a": x[:, 0], "b": x[:, 1]})
    study, flow = make_study(directions=["maximize", "maximize"]), EulerFlow()
    optimize(study, flow, two, total_trials=48, checkpoints=(3,), keep_fraction=0.25, rng=0, progress=False)
    history = OptunaHost(study, flow, two).history()
    stopped = np.isnan(history.values["a"])
    assert 0.6 < stopped.mean() < 0.85
    np.testing.assert_array_equal(np.isfinite(history.estimates["b"]), stopped)
    assert history.round.max() > 1
    assert {trial.state for trial in study.best_trials} == {TrialState.COMPLETE}
    whole = make_study(directions=["maximize", "maximize"])
    optimize(whole, flow, two, budget=12, rng=0, progress=False)  # a front is made of finished outputs
    assert _states(whole) == [TrialState.COMPLETE] * 12


def test_a_generator_that_cannot_stop_spends_its_budget_on_whole_outputs(make_study, make_generator):
    study, generator = make_study(), make_generator()
    optimize(study, generator, OBJECTIVE, budget=20, rng=0, progress=False)
    assert _states(study) == [TrialState.COMPLETE] * 20
    waited = make_study()
    optimize(waited, EulerFlow(), OBJECTIVE, budget=20, rng=0, progress=False, overlap=True)
    assert _states(waited) == [TrialState.COMPLETE] * 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "total_trials, budget: expected one of them, got total_trials = None and budget = None"),
        ({"total_trials": 8, "budget": 8}, "total_trials, budget: expected one of them"),
        ({"budget": 0}, "budget: expected at least 1, got 0"),
        ({"budget": 8, "checkpoints": (3,), "keep_fraction": 0.5}, "it does not go with checkpoints, keep_fraction"),
        (
            {"total_trials": 8, "checkpoints": (3,), "keep_fraction": 0.0},
            "keep_fraction: expected a share of each batch above 0",
        ),
        ({"total_trials": 8, "keep_fraction": 0.5}, "keep_fraction: expected checkpoints beside it"),
    ],
)
def test_bad_budgets_and_shares_are_refused(make_study, options, message):
    study = make_study()
    with pytest.raises(ArgumentError, match=message):
        optimize(study, EulerFlow(), OBJECTIVE, rng=0, **options)
    assert study.trials == []
    assert study_attributes(study) == {}


# --- refusals: before anything runs, and without a trace


def test_what_cannot_have_checkpoints_is_refused(make_study, make_generator):
    study = make_study()
    with pytest.raises(UnsupportedError, match="checkpoints: expected a generator that can stop between steps"):
        optimize(study, make_generator(), OBJECTIVE, total_trials=8, rng=0, checkpoints=(3,))
    with pytest.raises(ArgumentError, match="from 1 to 7, as the generator takes 8"):
        _search(study, EulerFlow(), checkpoints=(8,))
    two = Objective(Metric("a"), Metric("b"), score=lambda outputs, conditions: {})
    pareto = make_study(directions=["maximize", "maximize"])
    with pytest.raises(ArgumentError, match="pruners judge one metric, the objective optimises \\['a', 'b'\\]"):
        optimize(pareto, EulerFlow(), two, total_trials=8, rng=0, checkpoints=(3,))
    for each in (study, pareto):
        assert each.trials == []
        assert study_attributes(each) == {}
