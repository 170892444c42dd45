"""Optuna's own tools on studies of a search: plots, importances, terminator, copies, and other storages."""

from __future__ import annotations

import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from surrogate_ax import Choice, FunctionGenerator, Metric, Objective, Range, SurrogateSpace
from surrogate_ax_optuna import SurrogateSampler, create_study, optimize, read_record, trial_function

GENERATOR = FunctionGenerator(lambda z: z.tanh(), (6, 8))


def score(outputs, conditions):
    gain = [condition.get("gain", 1.0) for condition in conditions]
    return [float(x[:3].mean() - x[3:].mean()) * g for x, g in zip(outputs, gain, strict=True)]


HALVES = Objective(Metric("halves"), score=score)
TWO = Objective(
    Metric("left"),
    Metric("right", "minimize"),
    score=lambda outputs, _: {"left": outputs[:, :3].mean((1, 2)), "right": outputs[:, 3:].mean((1, 2))},
)


class WithGain:
    """The generator, with a call argument that its score looks at."""

    prior, fingerprint = GENERATOR.prior, {"function": "gain"}

    def generate(self, z, conditions):
        return GENERATOR.generate(z, [{}] * len(conditions))


def run(study, objective=HALVES, generator=GENERATOR, total=24, **options):
    optimize(study, generator, objective, total_trials=total, batch_size=8, rng=0, progress=False, **options)


@pytest.fixture(scope="module")
def searched():
    study = create_study(HALVES)
    conditions = {"gain": Range(0.0, 4.0), "kind": Choice(["a", "b"])}
    run(study, generator=WithGain(), conditions=conditions, total=32)
    return study


@pytest.mark.parametrize("plot", ["optimization_history", "param_importances", "slice", "parallel_coordinate", "edf"])
def test_its_plots_are_drawn(searched, plot):
    figure = getattr(optuna.visualization, f"plot_{plot}")(searched)
    assert figure.data


def test_importances_name_the_conditions(searched):
    found = get_param_importances(searched, evaluator=PedAnovaImportanceEvaluator(), params=["gain", "kind"])
    assert found["gain"] > found["kind"]


def test_pareto_plots_and_best_trials_of_two_metrics():
    study = create_study(TWO)
    run(study, TWO)
    assert study.metric_names == ["left", "right"]
    assert study.best_trials
    assert optuna.visualization.plot_pareto_front(study).data


@pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:.*deprecated in v4.9:FutureWarning"
)
def test_the_terminator_looks_at_a_box():
    import optuna.terminator as terminators

    study = create_study(HALVES, sampler=TPESampler(seed=0))
    seen = []
    terminator = terminators.Terminator(
        improvement_evaluator=terminators.BestValueStagnationEvaluator(max_stagnation_trials=4),
        error_evaluator=terminators.StaticErrorEvaluator(0),
        min_n_trials=12,
    )

    def look(study, trial):
        seen.append(trial.number)
        if terminator.should_terminate(study):
            study.stop()

    space = SurrogateSpace.sample(GENERATOR.prior, seeds=4, rng=0)
    run(study, space=space, callbacks=[look], total=200)
    assert 12 <= len(seen) < 200


def test_a_copied_study_goes_on():
    whole = create_study(HALVES, sampler=SurrogateSampler(32))
    first = create_study(HALVES, study_name="first", sampler=SurrogateSampler(32))
    run(whole, total=32)
    run(first, total=16)
    storage = optuna.storages.InMemoryStorage()
    optuna.copy_study(from_study_name="first", from_storage=first._storage, to_storage=storage)
    copied = optuna.load_study(study_name="first", storage=storage, sampler=SurrogateSampler())
    run(copied, total=32)
    assert [trial.value for trial in copied.trials] == pytest.approx([trial.value for trial in whole.trials], abs=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_journal_is_searched_by_hand(tmp_path):
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = create_study(HALVES, storage=storage, study_name="s", sampler=SurrogateSampler(20))
    study.optimize(trial_function(GENERATOR, HALVES), n_trials=12)
    again = create_study(HALVES, storage=storage, study_name="s", sampler=SurrogateSampler(20))
    again.optimize(trial_function(GENERATOR, HALVES), n_trials=8)
    memory = create_study(HALVES, sampler=SurrogateSampler(20))
    memory.optimize(trial_function(GENERATOR, HALVES), n_trials=20)
    assert [t.value for t in again.trials] == pytest.approx([t.value for t in memory.trials], abs=1e-5)


def test_values_of_constraints_keep_their_names():
    bounded = Objective(
        Metric("left"),
        Metric("right", "at_most", 0.0),
        score=lambda outputs, _: {"left": outputs[:, :3].mean((1, 2)), "right": outputs[:, 3:].mean((1, 2))},
    )
    study = create_study(bounded)
    run(study, bounded)
    history = read_record(study).history
    best = history.order[0]
    assert history.values["right"][best] <= 0
    assert all("right" in trial.constraints for trial in study.trials)
