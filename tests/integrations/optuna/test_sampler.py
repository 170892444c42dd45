"""RoundSampler: known parameters from the first batch, one round's trials only. Optuna's own suites run next door."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna.attributes import PROPOSAL_ATTR, ROUND_ATTR, attributes
from surrogate_ax_optuna.sampler import RoundSampler, for_batches

# Optuna marks QMCSampler, NSGAIIISampler, PartialFixedSampler and BoTorchSampler's options as experimental.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE: dict[str, BaseDistribution] = {f"u{i}": FloatDistribution(0, 1) for i in range(3)}
BATCH = 6
Score = Callable[[Trial], float]


def near(target: float) -> Score:
    """Score by the squared distance from a point on the diagonal, lower is better."""
    return lambda trial: sum((trial.params[name] - target) ** 2 for name in SPACE)


NEAR_08 = near(0.8)


def run_round(
    study: Study,
    inner: BaseSampler,
    round: int,
    *,
    batches: int = 3,
    batch_size: int = BATCH,
    score: Score = NEAR_08,
    space: dict[str, BaseDistribution] = SPACE,
) -> list[list[Trial]]:
    """Ask and tell whole batches of one round."""
    study.sampler = RoundSampler(inner, space, round)
    asked = []
    for _ in range(batches):
        batch = [study.ask(space) for _ in range(batch_size)]
        for trial in batch:
            study.tell(trial, score(trial))
        asked.append(batch)
    return asked


def points(batches: Sequence[Sequence[Trial]]) -> np.ndarray:
    return np.array([[trial.params[name] for name in sorted(trial.params)] for batch in batches for trial in batch])


def cma_es() -> BaseSampler:
    return for_batches(CmaEsSampler(seed=1), BATCH)


def tpe() -> BaseSampler:
    return TPESampler(seed=1, n_startup_trials=BATCH)


def independent_tpe() -> BaseSampler:
    return TPESampler(seed=1, n_startup_trials=BATCH, multivariate=False)


def gp() -> BaseSampler:
    return GPSampler(seed=1, n_startup_trials=BATCH)


def nsga_ii() -> BaseSampler:
    return NSGAIISampler(seed=1, population_size=BATCH)


def nsga_iii() -> BaseSampler:
    return NSGAIIISampler(seed=1, population_size=BATCH)


def qmc() -> BaseSampler:
    return QMCSampler(seed=1, scramble=True)


MODEL_BASED = [cma_es, tpe, independent_tpe, gp, nsga_ii, nsga_iii]


# What is relative, and when


@pytest.mark.parametrize(("make", "startup"), [(cma_es, 0), (qmc, 0), (tpe, 1), (gp, 1), (nsga_ii, 1), (nsga_iii, 1)])
def test_relative_in_rounds_1_and_2(make: Callable[[], BaseSampler], startup: int) -> None:
    study = optuna.create_study()
    inner = make()
    for round in (1, 2):
        for number, batch in enumerate(run_round(study, inner, round, batches=2)):
            relative = [set(trial.relative_params) for trial in batch]
            if number < startup:
                assert relative == [set()] * BATCH
            elif make in (nsga_ii, nsga_iii):  # they leave out what mutates
                assert set().union(*relative) == set(SPACE)
            else:
                assert relative == [set(SPACE)] * BATCH


def test_tpe_that_is_not_multivariate_models_each_parameter_from_its_round() -> None:
    study = optuna.create_study()
    run_round(study, independent_tpe(), 1, batches=6, score=near(0.1))
    batches = run_round(study, independent_tpe(), 2, batches=6, score=near(0.9))
    assert all(trial.relative_params == {} for batch in batches for trial in batch)
    assert points(batches[3:]).mean() > 0.7


def test_each_sampler_takes_the_parameters_that_it_can() -> None:
    space = SPACE | {
        "steps": IntDistribution(1, 8),
        "prompt": CategoricalDistribution(["a", "b"]),
        "single": FloatDistribution(2, 2),
    }
    numerical = set(SPACE) | {"steps"}
    partly = PartialFixedSampler({"u0": 0.25}, cma_es())
    for inner, expected in [
        (cma_es(), numerical),
        (tpe(), numerical | {"prompt"}),
        (TPESampler(seed=1, n_startup_trials=BATCH, multivariate=True, group=True), numerical | {"prompt"}),
        (gp(), numerical | {"prompt"}),
        (qmc(), set(space)),
        (RandomSampler(seed=1), set()),
        (partly, numerical - {"u0"}),
    ]:
        last = run_round(optuna.create_study(), inner, 1, batches=2, space=space)[-1][-1]
        assert set(last.relative_params) == expected, inner
        assert set(last.params) == set(space)
        if inner is partly:
            assert last.params["u0"] == 0.25


def test_known_parameters_hold_whatever_the_sampler_saw_before() -> None:
    inner = for_batches(CmaEsSampler(seed=1), BATCH)
    run_round(optuna.create_study(), inner, 1)
    fewer: dict[str, BaseDistribution] = {"u0": FloatDistribution(0, 1), "u1": FloatDistribution(0, 2)}
    batches = run_round(optuna.create_study(), inner, 1, space=fewer, score=lambda t: t.params["u1"])
    assert all(set(trial.relative_params) == set(fewer) for batch in batches for trial in batch)


def test_gp_without_startup_waits_for_a_completed_trial_of_its_round() -> None:
    study = optuna.create_study()
    inner = GPSampler(seed=1, n_startup_trials=0)
    for round in (1, 2):
        first, second = run_round(study, inner, round, batches=2, batch_size=2)
        assert [trial.relative_params for trial in first] == [{}, {}]
        assert all(set(trial.relative_params) == set(SPACE) for trial in second)


def test_several_objectives() -> None:
    for inner in (nsga_ii(), nsga_iii(), tpe(), gp()):
        study = optuna.create_study(directions=["minimize", "maximize"])
        for round in (1, 2):
            study.sampler = RoundSampler(inner, SPACE, round)
            for _ in range(BATCH + 2):
                trial = study.ask(SPACE)
                study.tell(trial, [trial.params["u0"], trial.params["u1"]])
        assert len(study.best_trials) > 0


# What is seen


@pytest.mark.parametrize("make", [*MODEL_BASED, qmc])
@pytest.mark.parametrize("hidden", ["other round", "exact"])
def test_proposals_do_not_depend_on_hidden_trials(make: Callable[[], BaseSampler], hidden: str) -> None:
    def proposals(target: float) -> np.ndarray:
        study = optuna.create_study()
        for i in range(2 * BATCH):
            attrs = {ROUND_ATTR: 1} if hidden == "other round" else {ROUND_ATTR: 2, PROPOSAL_ATTR: 0}
            value = (i / BATCH - target) ** 2
            params = dict.fromkeys(SPACE, 0.05 * i * target)
            study.add_trial(optuna.create_trial(params=params, distributions=SPACE, value=value, user_attrs=attrs))
        return points(run_round(study, make(), 2, batches=2 if make is gp else 3))  # GP: seconds

    np.testing.assert_array_equal(proposals(0.1), proposals(1.0))


def test_the_same_trials_do_matter_to_a_bare_sampler() -> None:
    def proposals(target: float) -> np.ndarray:
        study = optuna.create_study(sampler=tpe())
        for i in range(2 * BATCH):
            params = dict.fromkeys(SPACE, 0.05 * i * target)
            study.add_trial(optuna.create_trial(params=params, distributions=SPACE, value=float(i)))
        return points([[study.ask(SPACE) for _ in range(BATCH)]])

    assert not np.array_equal(proposals(0.1), proposals(1.0))


def test_gp_brings_no_kernel_from_earlier_use() -> None:
    def proposals(relevant: str) -> np.ndarray:
        inner = GPSampler(seed=1, n_startup_trials=4)
        bare = optuna.create_study(sampler=inner)
        for _ in range(5):
            trial = bare.ask(SPACE)
            bare.tell(trial, trial.params[relevant])
        inner._rng.rng.seed(7)
        return points(run_round(optuna.create_study(), inner, 1, batches=5, batch_size=1, score=near(0.5)))

    np.testing.assert_array_equal(proposals("u0"), proposals("u2"))


def test_cma_es_starts_anew_in_round_2() -> None:
    study = optuna.create_study()
    inner = cma_es()
    generations = []
    for round, target in ((1, 0.95), (2, 0.3)):
        batches = run_round(study, inner, round, batches=8, score=near(target))
        generations.append([[system_attrs(study, t)["cma:generation"] for t in batch] for batch in batches])
        assert np.abs(points(batches[:1]).mean() - 0.5) < 0.15  # x0 is the centre, sigma0 a sixth
        assert np.abs(points(batches[-2:]).mean() - target) < 0.15
        assert not any(key.startswith("cma:optimizer") for t in batches[0] for key in system_attrs(study, t))
    # A generation closes with every batch: none of its trials is wasted.
    assert generations == [[[number] * BATCH for number in range(8)]] * 2


def test_population_and_qmc_sequence_belong_to_the_round() -> None:
    study = optuna.create_study()
    inner = nsga_ii()
    run_round(study, inner, 1, batches=5, score=near(0.1))
    third = run_round(study, inner, 2, batches=3, score=near(0.9))[-1]
    parents = study._storage.get_study_system_attrs(study._study_id)
    ids = parents["surrogate:round:2:NSGAIISampler:parent:1"]
    assert {attributes(study._storage.get_trial(i))[ROUND_ATTR] for i in ids} == {2}
    assert any(trial.relative_params for trial in third)

    study = optuna.create_study()
    first, second = (points(run_round(study, qmc(), round)) for round in (1, 2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == len(first)


def test_samplers_that_go_past_the_study_see_the_round_too() -> None:
    space: dict[str, BaseDistribution] = {"steps": IntDistribution(0, 3)}
    study = optuna.create_study()
    for round in (1, 2):
        study.sampler = RoundSampler(BruteForceSampler(seed=1), space, round)
        study.optimize(lambda trial: trial.suggest_int("steps", 0, 3), n_trials=20)
        values = [t.params["steps"] for t in study.trials if attributes(t)[ROUND_ATTR] == round]
        assert sorted(values) == [0, 1, 2, 3]  # each once, and the study is stopped then


class _Spy(BaseSampler):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.study: Study | None = None
        self.reseeded = False

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> float:
        self.study = study
        self.seen = [
            [t.number for t in trials]
            for trials in (
                study.trials,
                study.get_trials(deepcopy=False),
                study._get_trials(deepcopy=False, use_cache=True),
                study._storage.get_all_trials(study._study_id, deepcopy=False),
            )
        ]
        return 0.5

    def reseed_rng(self) -> None:
        self.reseeded = True


def add(study: Study, value: float, **user_attrs: Any) -> None:
    study.add_trial(
        optuna.create_trial(params=dict.fromkeys(SPACE, 0.5), distributions=SPACE, value=value, user_attrs=user_attrs)
    )


def test_view_shows_the_round_and_the_trial_in_hand() -> None:
    study = optuna.create_study(direction="maximize")
    study.set_metric_names(["beauty"])
    study.set_user_attr("owner", "me")
    add(study, 9.0)
    add(study, 8.0, **{ROUND_ATTR: 1})
    add(study, 7.0, **{ROUND_ATTR: 2, PROPOSAL_ATTR: 0})
    add(study, 6.0, **{ROUND_ATTR: 2})
    spy = _Spy()
    study.sampler = RoundSampler(spy, SPACE, 2)
    study.ask(SPACE)
    assert spy.seen == [[3, 4]] * 4

    view = spy.study
    assert view is not None
    assert view.best_value == 6.0
    assert view.directions == study.directions
    assert view.metric_names == ["beauty"]
    assert view.user_attrs == {"owner": "me"}
    assert view.study_name == study.study_name
    assert isinstance(view.get_trials()[0], FrozenTrial)
    assert [t.number for t in view.get_trials(states=(TrialState.COMPLETE,))] == [3]


def test_running_trials_of_the_round_are_seen() -> None:
    study = optuna.create_study()
    spy = _Spy()
    study.sampler = RoundSampler(spy, SPACE, 1)
    study.ask(SPACE)
    study.sampler = RoundSampler(spy, SPACE, 2)
    for _ in range(2):
        study.ask(SPACE)
    assert spy.seen == [[1, 2]] * 4


def test_brackets_of_hyperband_stay_filtered() -> None:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    study = optuna.create_study(pruner=pruner)
    spy = _Spy()
    study.sampler = RoundSampler(spy, SPACE, 1)
    for _ in range(12):
        trial = study.ask(SPACE)
        trial.report(0.0, 1)
        trial.should_prune()  # Hyperband makes its brackets here
        study.tell(trial, 0.0)
    last = study.ask(SPACE)
    bracket = [
        t.number
        for t in study.trials
        if pruner._get_bracket_id(study, t) == pruner._get_bracket_id(study, study.trials[last.number])
    ]
    assert len(bracket) < len(study.trials)
    assert spy.seen[:2] == [bracket, bracket]


# The same proposals as the bare sampler


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomSampler(seed=3),
        lambda: CmaEsSampler(seed=3),
        lambda: TPESampler(seed=3, n_startup_trials=4),
        lambda: TPESampler(seed=3, n_startup_trials=4, multivariate=False),
        lambda: GPSampler(seed=3, n_startup_trials=4),
        lambda: NSGAIISampler(seed=3, population_size=4),
        lambda: NSGAIIISampler(seed=3, population_size=4),
    ],
    ids=["random", "cma_es", "tpe", "independent_tpe", "gp", "nsga_ii", "nsga_iii"],
)
def test_same_proposals_as_bare(make: Callable[[], BaseSampler], batch_size: int) -> None:
    def proposals(sampler: BaseSampler) -> np.ndarray:
        study = optuna.create_study(sampler=sampler)
        batches = []
        for _ in range(8 // batch_size):
            batches.append([study.ask(SPACE) for _ in range(batch_size)])
            for trial in batches[-1]:
                study.tell(trial, near(0.8)(trial))
        return points(batches)

    np.testing.assert_array_equal(proposals(RoundSampler(make(), SPACE, 1)), proposals(make()))


# What is written


def system_attrs(study: Study, trial: Trial) -> dict[str, Any]:
    return study._storage.get_trial_system_attrs(trial._trial_id)


def test_round_is_written_before_anything_is_sampled() -> None:
    class Failing(RandomSampler):
        def sample_relative(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            raise RuntimeError("lost")

    study = optuna.create_study(sampler=RoundSampler(Failing(), SPACE, 4))
    with pytest.raises(RuntimeError, match="lost"):
        study.ask(SPACE)
    assert attributes(study.trials[0]) == {ROUND_ATTR: 4}


def test_trial_knows_its_round_and_keeps_the_one_it_has() -> None:
    spy = _Spy()
    study = optuna.create_study(sampler=RoundSampler(spy, SPACE, 4))
    assert attributes(study.ask(SPACE)) == {ROUND_ATTR: 4}
    study.enqueue_trial({"u0": 0.25}, user_attrs={ROUND_ATTR: 3})
    trial = study.ask(SPACE)
    assert attributes(trial)[ROUND_ATTR] == attributes(study.trials[1])[ROUND_ATTR] == 3
    assert trial.params == {"u0": 0.25, "u1": 0.5, "u2": 0.5}
    assert spy.seen == [[0, 1]] * 4  # some samplers look for the trial in hand


def test_relational_storage(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    for round in (1, 2):
        for batch in run_round(study, cma_es(), round, batches=2):
            assert all(set(trial.relative_params) == set(SPACE) for trial in batch)
    assert [attributes(t)[ROUND_ATTR] for t in study.trials] == [1] * 2 * BATCH + [2] * 2 * BATCH


def test_reseeding_and_name_reach_the_inner_sampler() -> None:
    spy = _Spy()
    sampler = RoundSampler(spy, SPACE, 2)
    sampler.reseed_rng()
    assert spy.reseeded
    assert str(sampler) == "RoundSampler(_Spy, round=2)"


# Samplers for batches


@pytest.mark.parametrize(("batch_size", "popsize"), [(1, None), (2, 4), (3, 6), (4, 4), (16, 16)])
def test_cma_es_population_is_the_batch(batch_size: int, popsize: int | None) -> None:
    sampler = CmaEsSampler(seed=1, use_separable_cma=True)
    before = dict(vars(sampler))
    changed = for_batches(sampler, batch_size)
    assert changed is not sampler
    assert vars(changed) == before | {
        "_popsize": popsize,
        "_n_startup_trials": 0,
        "_consider_pruned_trials": True,
    }
    assert vars(sampler) == before


def test_settings_of_the_user_are_kept() -> None:
    changed = for_batches(CmaEsSampler(popsize=5, n_startup_trials=7), 16)
    assert isinstance(changed, CmaEsSampler)
    assert (changed._popsize, changed._n_startup_trials) == (5, 7)


def test_samplers_that_need_nothing_are_returned_as_they_are() -> None:
    for sampler in (RandomSampler(), TPESampler(), GPSampler(), NSGAIISampler(), QMCSampler()):
        assert for_batches(sampler, 8) is sampler


def test_base_of_a_partly_fixed_sampler_is_changed_in_a_copy() -> None:
    base = CmaEsSampler()
    sampler = PartialFixedSampler({"u0": 0.5}, base)
    changed = for_batches(sampler, 8)
    assert isinstance(changed, PartialFixedSampler)
    assert (vars(changed._base_sampler)["_popsize"], changed._fixed_params) == (8, {"u0": 0.5})
    assert sampler._base_sampler is base
    assert base._popsize is None


def test_a_wrapped_copy_goes_on_with_the_random_stream_of_the_user() -> None:
    sampler = CmaEsSampler(seed=1)
    first, second = (points(run_round(optuna.create_study(), for_batches(sampler, 4), 1, batches=1)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 1, but 0 was given"):
        for_batches(CmaEsSampler(), 0)


# BoTorch


def botorch(n_startup_trials: int = 10) -> BaseSampler:
    with warnings.catch_warnings():
        # linear_operator, below BoTorch, still uses torch.jit.script when imported.
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        from optuna_integration import BoTorchSampler
    sampler: BaseSampler = BoTorchSampler(seed=1, n_startup_trials=n_startup_trials)
    return sampler


def test_botorch_takes_running_trials_into_account_in_a_copy() -> None:
    sampler = botorch()
    changed = for_batches(sampler, 4)
    assert vars(changed) == vars(sampler) | {"_consider_running_trials": True}
    assert vars(sampler)["_consider_running_trials"] is False


# BoTorchSampler's default for running trials, which BoTorch itself advises against.
@pytest.mark.filterwarnings("ignore:qExpectedImprovement has known numerical issues")
def test_botorch_batch() -> None:
    study = optuna.create_study()
    # A first batch above n_startup_trials: running trials count, so the model would be fitted to nothing.
    inner = for_batches(botorch(n_startup_trials=2), 3)
    for round in (1, 2):
        first, second = run_round(study, inner, round, batches=2, batch_size=3)
        assert all(trial.relative_params == {} for trial in first)
        assert all(set(trial.relative_params) == set(SPACE) for trial in second)
        proposed = points([second])
        distances = np.linalg.norm(proposed[:, None] - proposed[None], axis=-1)[np.triu_indices(3, 1)]
        assert distances.min() > 1e-3  # bare, without running trials, the same point three times
