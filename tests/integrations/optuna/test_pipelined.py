"""Scores that come in while the next batch is generated, in Optuna studies."""

from __future__ import annotations

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.samplers import CmaEsSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace, draws, o3
from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna import SurrogateSampler, optimize, sqlite
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, PROPOSAL_ATTR, attributes, study_attributes
from tests.contracts.euler_flow import EulerFlow
from tests.integrations.optuna.conftest import first_entry

D = 32
SPACE = SurrogateSpace.sample(Gaussian((D,)), seeds=4, rng=0)
OBJECTIVE = Objective(Metric("first"), score=first_entry)


@pytest.fixture
def database(tmp_path):
    storage = sqlite(tmp_path / "study.db")
    yield storage
    storage.engine.dispose()


def search(study, generator, *, overlap=True, total=24, batch=4, **options):
    options = {"rng": 0, "progress": False} | ({} if "policy" in options else {"space": SPACE}) | options
    optimize(study, generator, OBJECTIVE, total_trials=total, batch_size=batch, overlap=overlap, **options)


def values(study):
    return [trial.value for trial in study.trials]


@pytest.mark.parametrize("sampler", [RandomSampler, QMCSampler])
@pytest.mark.filterwarnings("ignore:QMCSampler is experimental")
def test_samplers_that_do_not_learn_come_to_the_same(make_study, make_generator, sampler, database):
    late = make_study(sampler(seed=0), storage=database)
    direct = make_study(sampler(seed=0))
    for study, overlap in ((late, True), (direct, False)):
        search(study, make_generator(), overlap=overlap, total=23)
    assert values(late) == pytest.approx(values(direct), abs=1e-12)
    assert len(late.trials) == 23


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: TPESampler(seed=0, n_startup_trials=4),
        lambda: CmaEsSampler(seed=0),
        lambda: NSGAIISampler(seed=0, population_size=6),
    ],
    ids=["TPE", "CMA-ES", "NSGA-II"],
)
def test_samplers_that_learn_repeat_themselves(make_study, make_generator, sampler):
    studies = [make_study(sampler()) for _ in range(2)]
    for study in studies:
        search(study, make_generator(), total=40)
    assert values(studies[0]) == values(studies[1])
    assert {trial.state for trial in studies[0].trials} == {TrialState.COMPLETE}


def test_cma_es_learns_though_its_generations_close_late(make_study, make_generator):
    study = make_study(CmaEsSampler(seed=0, popsize=12))
    search(study, make_generator(), total=300)
    box = [trial.value for trial in study.trials if PROPOSAL_ATTR not in attributes(trial)]
    assert sum(box[-60:]) / 60 > sum(box[:24]) / 24 + 0.5


def test_exact_rows_run_once(make_study, make_generator):
    study = make_study()
    search(study, make_generator(), batch=2, total=12)
    rows = [attributes(trial).get(PROPOSAL_ATTR) for trial in study.trials]
    assert rows == [0, 1, 2, 3] + [None] * 8


@pytest.mark.parametrize("sampler", [SurrogateSampler(), TPESampler(seed=0)], ids=["planned", "in boxes"])
def test_a_search_closes_its_rounds(make_study, make_generator, sampler):
    study, generator = make_study(sampler), make_generator()
    search(study, generator, space=None, total=48, batch=4)
    rounds = [attributes(trial)["surrogate:round"] for trial in study.trials]
    assert len(rounds) == 48
    assert rounds == sorted(rounds)
    assert len(set(rounds)) > 3


def test_callbacks_come_in_order_and_what_was_begun_is_finished(make_study, make_generator, tmp_path):
    pictures = []

    def stop_after_ten(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        pictures.append((trial.number, PREVIEW_ATTR in attributes(trial)))
        if len(pictures) == 10:
            study.stop()

    study, store = make_study(), FileSystemArtifactStore(str(tmp_path))
    generator = make_generator(prior=(8, 8))
    space = SurrogateSpace.sample(generator.prior, seeds=4, rng=0)
    search(study, generator, space=space, callbacks=[stop_after_ten], previews=store)
    assert pictures == [(number, True) for number in range(16)]  # the batch in which it was said, and the one begun


def test_what_was_running_is_given_back_and_run_again(make_study, make_generator, database):
    def watch(z):
        if len(generator.sizes) == 3:
            raise KeyboardInterrupt

    study, generator = make_study(storage=database), make_generator(watch=watch)
    policy = o3(Gaussian((D,)), 12, seeds=4)
    with pytest.raises(KeyboardInterrupt):
        search(study, generator, policy=policy)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE"] * 4 + ["FAIL"] * 8
    search(study, make_generator(), policy=policy)
    assert sum(trial.state == TrialState.COMPLETE for trial in study.trials) == 24
    assert not study.get_trials(states=(TrialState.RUNNING,))


def test_checkpoints_are_refused_beside_it_before_anything_is_written(make_study):
    study, flow = make_study(), EulerFlow()
    with pytest.raises(ArgumentError, match=r"overlap, checkpoints: expected one of them, .* checkpoints = \(3,\)"):
        search(study, flow, policy=draws(flow.prior, 24, axes=3), checkpoints=(3,))
    assert study_attributes(study) == {}
