"""`optimize`: every sampler, resume, refusals, failures and interruptions."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax import (
    Choice,
    FunctionGenerator,
    Gaussian,
    Metric,
    Objective,
    Range,
    Recipe,
    SurrogateSpace,
    draws,
    fixed,
    o3,
    plan,
    render,
)
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError, ScoreError, ShapeError
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.latents.charts import Angular
from surrogate_ax.latents.seeds import Draw, inner_row
from surrogate_ax.policies.basic import o3_seeds
from surrogate_ax.policies.plan import Plan
from surrogate_ax_optuna import SurrogateSampler, optimize, sqlite
from surrogate_ax_optuna.attributes import (
    PROPOSAL_ATTR,
    REASON_ATTR,
    RECIPE_ATTR,
    RESULT_ATTR,
    ROUND_ATTR,
    STUDY_ATTR,
    attributes,
    set_study_attribute,
    study_attributes,
)
from surrogate_ax_optuna.trials import ended_trials, read_recipe

D = 32
CONDITIONS = {
    "guidance": Range(1, 7, step=0.5),
    "steps": Range(4, 12, step=2),
    "shift": Range(0.01, 1.0, log=True),
    "prompt": Choice(["a", "b", "c"]),
}

# Optuna marks QMCSampler, NSGAIIISampler and options of BoTorchSampler as experimental.
experimental = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def _botorch() -> BaseSampler:
    with warnings.catch_warnings():
        # linear_operator, below BoTorch, still uses torch.jit.script when imported.
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        from optuna_integration import BoTorchSampler
    return BoTorchSampler(n_startup_trials=2, seed=0)


SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": lambda: RandomSampler(seed=0),
    "qmc": lambda: QMCSampler(seed=0),
    "cma-es": lambda: CmaEsSampler(seed=0),
    "tpe": lambda: TPESampler(seed=0, n_startup_trials=4),
    "tpe-univariate": lambda: TPESampler(seed=0, n_startup_trials=4, multivariate=False),
    "gp": lambda: GPSampler(seed=0, n_startup_trials=2),
    "nsga-ii": lambda: NSGAIISampler(seed=0, population_size=4),
    "nsga-iii": lambda: NSGAIIISampler(seed=0, population_size=4),
    "botorch": _botorch,
}


def run(study: optuna.Study, generator: Any, objective: Objective, **options: Any) -> None:
    optimize(
        study, generator, objective, **{"total_trials": 32, "batch_size": 8, "rng": 0, "progress": False} | options
    )


def _halves(total: int) -> Any:
    """Half the budget in draws, then one box for the sampler."""
    return o3(Gaussian((D,)), total // 2, seeds=o3_seeds(total))


def _space(generator: Any, *, seeds: int = 4, rng: int = 0) -> SurrogateSpace:
    return SurrogateSpace.sample(generator.prior, seeds=seeds, rng=rng)


def _remade(study: optuna.Study, generator: Any) -> torch.Tensor:
    return render([read_recipe(trial) for trial in study.trials], generator)[0]


# --- samplers -------------------------------------------------------------------------------------------------------


@experimental
# BoTorchSampler's default for running trials, which BoTorch itself advises against.
@pytest.mark.filterwarnings("ignore:qExpectedImprovement has known numerical issues")
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("conditions", [{}, CONDITIONS], ids=["box", "conditions"])
def test_every_sampler_searches_batch_by_batch(make_study, make_generator, objective, name, conditions):
    total, size = (8, 3) if name in ("gp", "botorch") else (32, 9)
    sampler = SAMPLERS[name]()
    study = make_study(sampler)
    generator = make_generator(conditional=bool(conditions))
    run(study, generator, objective, total_trials=total, batch_size=size, conditions=conditions, policy=_halves(total))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * total
    assert generator.sizes == [size, total // 2 - size] * 2  # a call a batch; the round of draws closes at half
    assert study.sampler is sampler
    if conditions:
        seen = [{name: trial.params[name] for name in conditions} for trial in study.trials]
        assert generator.function.conditions == seen
        assert all(given["guidance"] * 2 % 1 == 0 and given["steps"] % 2 == 0 for given in seen)
        assert all(isinstance(given["steps"], int) for given in seen)


@experimental
@pytest.mark.parametrize("name", ["nsga-ii", "nsga-iii", "tpe"])
def test_several_objectives_with_a_bound_and_a_tracked_number(make_study, make_generator, name):
    def score(outputs: torch.Tensor, conditions: object) -> dict[str, Any]:
        columns = dict(zip("abcd", outputs[:, :4].T, strict=True))
        return {"a": columns["a"], "low": columns["b"], "b": columns["c"], "seen": columns["d"], "high": columns["b"]}

    metrics = [Metric("a"), Metric("low", "at_most", 0.5), Metric("b", "minimize")]
    metrics += [Metric("seen", "track"), Metric("high", "at_least", -0.5)]
    study = make_study(SAMPLERS[name](), directions=["maximize", "minimize"])
    generator = make_generator()
    run(study, generator, Objective(*metrics, score=score), total_trials=16, batch_size=4)
    outputs = _remade(study, generator).double().numpy()
    for trial, output in zip(study.trials, outputs, strict=True):
        assert trial.values == pytest.approx([output[0], output[2]], abs=1e-5)
        assert trial.constraints == pytest.approx({"low": output[1] - 0.5, "high": -0.5 - output[1]}, abs=1e-5)
        assert attributes(trial)[RESULT_ATTR]["values"]["seen"] == pytest.approx(output[3], abs=1e-5)
    feasible = [trial.number for trial in study.trials if abs(outputs[trial.number, 1]) <= 0.5]
    assert {trial.number for trial in study.best_trials} <= set(feasible)


def test_samplers_heed_the_bounds(make_study, make_generator):
    def score(outputs: torch.Tensor, conditions: object) -> dict[str, Any]:
        return {"a": outputs[:, 0], "same": outputs[:, 0]}

    shares = {}
    for bounded in (True, False):
        metric = Metric("same", "at_most", 0.0) if bounded else Metric("same", "track")
        study = make_study(TPESampler(seed=0, n_startup_trials=8))
        run(study, make_generator(), Objective(Metric("a"), metric, score=score), total_trials=64)
        shares[bounded] = np.mean([trial.value <= 0.0 for trial in study.trials[40:]])
    assert shares[True] > shares[False] + 0.2


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_the_sampler_stays_what_the_user_set(make_study, make_generator, objective, error):
    def raising(z: torch.Tensor) -> None:
        assert study.sampler is sampler
        if len(study.trials) > 16:
            raise error

    sampler = CmaEsSampler(seed=0)
    study = make_study(sampler)
    with pytest.raises(type(error)):
        run(study, make_generator(watch=raising), objective, catch=())
    assert study.sampler is sampler


def test_a_sampler_that_refuses_the_study_leaves_no_trial_running(make_study, make_generator):
    objective = Objective(Metric("a"), Metric("b"), score=lambda outputs, _: {"a": outputs[:, 0], "b": outputs[:, 1]})
    study = make_study(CmaEsSampler(seed=0), directions=["maximize"] * 2)
    generator = make_generator()
    with pytest.raises(ValueError, match="multi-objective"):
        run(study, generator, objective, space=_space(generator))
    assert TrialState.RUNNING not in [trial.state for trial in study.trials]


# --- a space of one's own -------------------------------------------------------------------------------------------


def test_seeds_come_first_exactly_and_the_sampler_never_sees_them(make_study, make_generator, objective):
    class Watching(RandomSampler):
        seen: list[int]

        def sample_relative(self, study: optuna.Study, *arguments: Any) -> dict[str, Any]:
            self.seen = [trial.number for trial in study.get_trials()]
            return super().sample_relative(study, *arguments)

    sampler = Watching(seed=0)
    study = make_study(sampler)
    generator = make_generator()
    outputs: list[torch.Tensor] = []
    generator.function.watch = outputs.append
    space = _space(generator, seeds=5)
    run(study, generator, objective, space=space, total_trials=16, batch_size=8)
    torch.testing.assert_close(outputs[0][:5], space.bank.latents(np.eye(5))["latents"])
    assert [attributes(trial).get(PROPOSAL_ATTR) for trial in study.trials] == [*range(5), *[None] * 11]
    assert sampler.seen == list(range(5, 16))  # in the last ask, itself included


def test_seeds_are_not_evaluated_again_on_resume(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    space = _space(generator, seeds=5)
    run(study, generator, objective, space=space, total_trials=3, batch_size=2)
    run(study, generator, objective, space=space, total_trials=12, batch_size=8)
    assert sorted(attributes(t)[PROPOSAL_ATTR] for t in study.trials if PROPOSAL_ATTR in attributes(t)) == list(
        range(5)
    )
    assert generator.sizes == [2, 1, 8, 1]


def test_points_of_the_box_are_the_trials_parameters(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    outputs: list[torch.Tensor] = []
    generator.function.watch = outputs.append
    space = _space(generator)
    run(study, generator, objective, space=space, total_trials=12)
    u = np.array([[trial.params[f"u{k}"] for k in range(3)] for trial in study.trials[4:]])
    torch.testing.assert_close(torch.cat(outputs)[4:], space.latents(u)["latents"])


def test_stored_seeds_are_searched_and_resumed(make_study, make_generator, objective, tmp_path):
    generator = make_generator()
    latents = generator.prior.from_inner(torch.from_numpy(np.stack([inner_row(Draw(5, i), D) for i in range(4)])))
    space = SurrogateSpace.from_latents(generator.prior, latents, rng=0)
    study = make_study(storage=sqlite(tmp_path / "study.db"), study_name="stored")
    run(study, generator, objective, space=space, total_trials=6)
    space.save(tmp_path / "space")
    loaded = SurrogateSpace.load(tmp_path / "space", generator.prior)
    study = optuna.load_study(study_name="stored", storage=sqlite(tmp_path / "study.db"), sampler=RandomSampler(seed=1))
    outputs: list[torch.Tensor] = []
    generator.function.watch = outputs.append
    run(study, generator, objective, space=loaded, total_trials=10)
    remade, _ = render([read_recipe(t) for t in study.trials], make_generator(), seeds=tmp_path / "study-seeds")
    torch.testing.assert_close(remade[6:], torch.cat(outputs), atol=1e-5, rtol=0)
    torch.testing.assert_close(remade[:4], space.bank.latents(np.eye(4))["latents"])


def test_a_space_of_another_prior_is_refused(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    other = make_generator(prior=(D + 1,))
    with pytest.raises(MismatchError, match=f"space: made under prior {other.prior.fingerprint}"):
        run(study, generator, objective, space=_space(other))
    assert (study.trials, study_attributes(study), generator.sizes) == ([], {}, [])


# --- the planned budget ---------------------------------------------------------------------------------------------


def test_a_planned_budget_begins_with_draws_and_goes_on_in_rounds(make_study, make_generator, objective):
    study = make_study(SurrogateSampler())
    generator = make_generator()
    run(study, generator, objective, total_trials=40)
    planned = plan(40, dim=D)
    assert study_attributes(study)[STUDY_ATTR]["plan"] == planned.to_json()
    rounds = [attributes(trial)[ROUND_ATTR] for trial in study.trials]
    assert rounds == [0] * planned.draws + [1 + i // planned.size for i in range(40 - planned.draws)]
    recipes = [read_recipe(trial) for trial in study.trials]
    seeds = [recipe.terms[0][0] for recipe in recipes[: planned.draws]]
    assert [len(recipe.terms) for recipe in recipes[: planned.draws]] == [1] * planned.draws
    rows = torch.from_numpy(np.stack([inner_row(seed, D) for seed in seeds]))
    torch.testing.assert_close(_remade(study, generator)[: planned.draws], rows)
    values = [trial.value for trial in study.trials]
    assert np.mean(values[-8:]) > np.mean(values[: planned.draws]) + 1  # of a standard normal, along one entry


@pytest.mark.parametrize("sampler", [SurrogateSampler, RandomSampler])
def test_searched_arguments_are_planned_as_others(make_study, make_generator, objective, sampler):
    study = make_study(sampler())
    run(study, make_generator(conditional=True), objective, conditions=CONDITIONS)
    planned = plan(32, dim=D, proposes=sampler is RandomSampler)
    assert study_attributes(study)[STUDY_ATTR]["plan"] == planned.to_json()
    assert [PROPOSAL_ATTR in attributes(trial) for trial in study.trials] == [False] * planned.draws + [
        sampler is SurrogateSampler
    ] * (32 - planned.draws)
    for trial in study.trials:  # of a proposal too
        assert read_recipe(trial).condition == {name: trial.params[name] for name in CONDITIONS}


@pytest.mark.parametrize("sampler", [SurrogateSampler(), TPESampler(seed=0)], ids=["planned", "tpe"])
def test_a_search_that_was_begun_as_o3_goes_on_so(make_study, make_generator, objective, monkeypatch, caplog, sampler):
    study, generator = make_study(sampler), make_generator(conditional=True)
    with monkeypatch.context() as earlier:  # releases that had it for searched call arguments
        earlier.setattr("surrogate_ax.execution.session.plan", lambda *_, **__: Plan("o3", 16, 6, 0, 0, 0))
        run(study, generator, objective, conditions=CONDITIONS, total_trials=20)
    run(study, generator, objective, conditions=CONDITIONS)
    assert [attributes(trial)[ROUND_ATTR] for trial in study.trials] == [0] * 16 + [1] * 16
    said = "was begun in boxes for a sampler and goes on so; its SurrogateSampler draws points evenly in them"
    assert (said in caplog.text) == isinstance(sampler, SurrogateSampler)


def _bank(generator: Any, seeds: list[Any]) -> Any:
    from surrogate_ax.latents.bank import Bank

    return Bank(generator.prior, seeds)


def test_a_generation_of_cma_es_is_a_batch_from_the_first_of_the_box(make_study, make_generator, objective):
    study = make_study(CmaEsSampler(seed=0))
    run(study, make_generator(), objective, total_trials=48, policy=_halves(48))
    generations = [trial.system_attrs.get("cma:generation") for trial in study.trials]
    assert generations == [None] * 24 + [0] * 8 + [1] * 8 + [2] * 8


def test_the_sampler_is_not_asked_for_draws_and_seeds(make_study, make_generator, objective):
    class Counting(RandomSampler):
        asked: list[int]

        def sample_independent(self, study: optuna.Study, trial: FrozenTrial, *arguments: Any) -> Any:
            self.asked.append(trial.number)
            return super().sample_independent(study, trial, *arguments)

    generator = make_generator()
    for space, first in ((None, 16), (_space(generator, seeds=5), 5)):
        sampler = Counting(seed=0)
        sampler.asked = []
        run(make_study(sampler), generator, objective, space=space, policy=None if space else _halves(32))
        assert sorted(set(sampler.asked)) == list(range(first, 32))


@pytest.mark.parametrize("sampler", ["tpe", "cma-es"])
def test_the_same_seeds_give_the_same_study(make_study, make_generator, objective, sampler):
    def search(rng: int) -> optuna.Study:
        study = make_study(SAMPLERS[sampler]())
        run(study, make_generator(conditional=True), objective, rng=rng, conditions=CONDITIONS)
        return study

    first, again, other = search(0), search(0), search(1)
    for one, two in zip(first.trials, again.trials, strict=True):
        assert one.params == two.params
        assert one.values == two.values
        assert attributes(one)[RECIPE_ATTR] == attributes(two)[RECIPE_ATTR]
    kept = {read_recipe(trial).terms for trial in first.trials} & {read_recipe(trial).terms for trial in other.trials}
    assert not kept


@pytest.mark.parametrize("total", [1, 2, 3, 5])
def test_the_smallest_budgets_are_planned_too(make_study, make_generator, objective, total):
    study = make_study()
    run(study, make_generator(), objective, total_trials=total)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * total


# --- records and resume ---------------------------------------------------------------------------------------------


def test_recipes_are_there_while_the_generator_runs(make_study, make_generator, objective):
    study = make_study()
    seen: list[int] = []

    def watch(z: torch.Tensor) -> None:
        running = study.get_trials(states=(TrialState.RUNNING,))
        recipes = [Recipe.from_json(attributes(trial)[RECIPE_ATTR]) for trial in running]
        remade, _ = render(recipes, make_generator())
        torch.testing.assert_close(remade, z, atol=1e-5, rtol=0)
        seen.append(len(running))

    run(study, make_generator(watch=watch), objective, policy=_halves(32))
    assert seen == [8, 8, 8, 8]


def test_every_trial_can_be_rendered_again(make_study, make_generator, objective):
    study = make_study(TPESampler(seed=0))
    generator = make_generator()
    outputs: list[torch.Tensor] = []
    generator.function.watch = outputs.append
    run(study, generator, objective)
    made = torch.cat(outputs)
    generator.function.watch = None
    torch.testing.assert_close(_remade(study, generator), made, atol=1e-5, rtol=0)
    assert [trial.value for trial in study.trials] == pytest.approx(made[:, 0].tolist())


def _stop_at(count: int) -> Callable[[optuna.Study, FrozenTrial], None]:
    return MaxTrialsCallback(count, states=None)


@pytest.mark.parametrize(("total", "stored"), [(64, False), (20, True)], ids=["memory", "sqlite"])
def test_a_stopped_study_goes_on_to_its_total(make_study, make_generator, objective, tmp_path, total, stored):
    storage = sqlite(tmp_path / "study.db") if stored else None
    study = make_study(TPESampler(seed=0), storage=storage, study_name="resumed")
    options = {"total_trials": total, "batch_size": total // 8, "policy": _halves(total)}
    run(study, make_generator(), objective, callbacks=[_stop_at(total // 4)], **options)
    first = len(study.trials)
    assert total // 4 <= first < total // 2
    if stored:
        study = optuna.load_study(study_name="resumed", storage=sqlite(tmp_path / "study.db"))
    run(study, make_generator(), objective, callbacks=[_stop_at(3 * total // 4)], **options)
    assert total // 2 < len(study.trials) < total
    run(study, make_generator(), objective, **options)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * total
    assert [attributes(trial)[ROUND_ATTR] for trial in study.trials] == [0] * (total // 2) + [1] * (total // 2)
    recipes = [read_recipe(trial) for trial in study.trials]
    assert len({recipe.terms for recipe in recipes[: total // 2]}) == total // 2
    axes = {seed for recipe in recipes[total // 2 :] for seed, _ in recipe.terms}
    assert len(axes) == o3_seeds(total)  # one box, before the stop and after it
    run(study, make_generator(), objective, **options)
    assert len(study.trials) == total


def test_a_timeout_begins_no_further_batch(make_study, make_generator, objective, monkeypatch):
    clock = [0.0]

    def ten_seconds(z: torch.Tensor) -> None:
        clock[0] += 10

    monkeypatch.setattr("surrogate_ax.execution.loop.time", SimpleNamespace(monotonic=lambda: clock[0]))
    study = make_study()
    generator = make_generator(watch=ten_seconds)
    run(study, generator, objective, timeout=0)
    assert study.trials == []
    run(study, generator, objective, timeout=15)
    assert len(generator.sizes) == 2  # begun at 0 and 10
    run(study, generator, objective, timeout=600)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 32


@pytest.mark.parametrize("sampler", [SurrogateSampler, RandomSampler])
def test_a_larger_total_goes_on_with_the_plan_of_the_beginning(make_study, make_generator, objective, sampler):
    study = make_study(sampler())
    run(study, make_generator(), objective, total_trials=16)
    begun = study_attributes(study)[STUDY_ATTR]
    run(study, make_generator(), objective, total_trials=48)
    assert study_attributes(study)[STUDY_ATTR] == begun
    planned = plan(16, dim=D)
    rounds = [0] * planned.draws + [1 + i // planned.size for i in range(48 - planned.draws)]
    assert [attributes(trial)[ROUND_ATTR] for trial in study.trials] == rounds
    run(study, make_generator(), objective, total_trials=16)
    assert len(study.trials) == 48


def _double(outputs: torch.Tensor, conditions: object = None) -> np.ndarray:
    return 2 * outputs[:, 0].double().numpy()


RESUMED: dict[str, tuple[dict[str, Any], str]] = {
    "revision": ({"generator": {"revision": "2"}}, r"generator.*revision: 1 -> 2"),
    "prior": ({"generator": {"prior": Gaussian((D,), mean=1.0)}}, r"generator.*prior: gaussian-\w+ -> gaussian-\w+"),
    "metric": ({"objective": Objective(Metric("second"), score=_double)}, r"metrics: .*first.* -> .*second"),
    "bound": (
        {"objective": Objective(Metric("first"), Metric("low", "at_most", 1), score=_double)},
        r"metrics: .* -> .*'at_most', 1",
    ),
    "conditions": ({"conditions": {"steps": Range(1, 9)}}, r"conditions: {} -> {'steps': .*high=9"),
    "space": ({"seeds": 3}, r"space: planned -> space-\w+"),
}


@pytest.mark.parametrize("name", RESUMED)
def test_another_part_on_resume_is_refused_by_name(make_study, make_generator, objective, name):
    changed, message = RESUMED[name]
    study = make_study()
    run(study, make_generator(conditional=True), objective, total_trials=8)
    before = study.trials, study_attributes(study)
    generator = make_generator(conditional=True, **changed.get("generator", {}))
    space = _space(generator, seeds=changed["seeds"]) if "seeds" in changed else None
    with pytest.raises(MismatchError, match=message):
        run(
            study,
            generator,
            changed.get("objective", objective),
            space=space,
            conditions=changed.get("conditions"),
        )
    assert (study.trials, study_attributes(study)) == before
    assert generator.sizes == []
    run(study, make_generator(conditional=True), objective, total_trials=16)
    assert len(study.trials) == 16


def test_another_space_on_resume_is_refused(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    run(study, generator, objective, space=_space(generator), total_trials=8)
    with pytest.raises(MismatchError, match=r"space: space-\w+ -> space-\w+"):
        run(study, generator, objective, space=_space(generator, rng=1))
    with pytest.raises(MismatchError, match=r"space: space-\w+ -> planned"):
        run(study, generator, objective)
    with pytest.raises(MismatchError, match=r"space: space-\w+ -> by a policy"):
        run(study, generator, objective, policy=fixed(_space(generator)))


def test_what_a_box_is_made_of_is_named_where_it_differs(make_study, make_generator, objective):
    study, generator = make_study(), make_generator()
    run(study, generator, objective, space=_space(generator), total_trials=8)
    with pytest.raises(MismatchError, match=r"space: space-\w+ -> space-\w+; bank: bank-\w+ -> bank-\w+\. Begin"):
        run(study, generator, objective, space=_space(generator, rng=1))
    angular = dataclasses.replace(_space(generator), chart=Angular())
    with pytest.raises(
        MismatchError, match=r"space: space-\w+ -> space-\w+; chart: knothe-rosenblatt -> angular\. Begin"
    ):
        run(study, generator, objective, space=angular)


def test_another_seed_of_draws_is_refused_on_resume(make_study, make_generator, objective):
    study = make_study()
    run(study, make_generator(), objective, total_trials=8, rng=0)
    with pytest.raises(MismatchError, match="rng: 0 -> 1"):
        run(study, make_generator(), objective, rng=1)


def test_a_journal_file_is_warned_of_and_works(make_study, make_generator, objective, tmp_path):
    study = make_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log"))))
    with pytest.warns(UserWarning, match=r"journal file that is torn.*sqlite\('study\.db'\) is as simple") as caught:
        run(study, make_generator(), objective, total_trials=8)
    assert len(caught) == 1
    assert len(ended_trials(study)) == 8


def test_what_a_study_holds_is_said_above_the_bar(make_study, make_generator, objective, capsys):
    study = make_study()
    run(study, make_generator(), objective, total_trials=8, progress=True)
    assert "Found" not in capsys.readouterr().err
    run(study, make_generator(), objective, total_trials=16, progress=True)
    assert "The study goes on: 8 trials ended." in capsys.readouterr().err


@pytest.mark.parametrize("sampler", [SurrogateSampler, RandomSampler])
@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING])
def test_trials_of_something_else_stay_and_do_not_count(make_study, make_generator, objective, caplog, state, sampler):
    study = make_study(sampler())
    trial = study.ask()
    if state != TrialState.RUNNING:
        study.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state=state)
    run(study, make_generator(), objective)
    assert [trial.state for trial in study.trials] == [state] + [TrialState.COMPLETE] * 32
    assert ("trials 0 were not made by this search" in caplog.text) == (state == TrialState.COMPLETE)
    run(study, make_generator(), objective)
    assert len(study.trials) == 33


def test_a_point_that_waits_before_the_first_run_is_run_first(make_study, make_generator, objective):
    study, generator = make_study(), make_generator()
    space = _space(generator)
    study.enqueue_trial({"u0": 0.25, "u1": 0.5, "u2": 0.75})
    run(study, generator, objective, space=space, total_trials=8)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
    assert read_recipe(study.trials[0]).terms == space.terms(np.array([[0.25, 0.5, 0.75]]))[0]
    assert [attributes(trial).get(PROPOSAL_ATTR) for trial in study.trials] == [None, *range(4), *[None] * 3]


def test_a_record_of_another_version_is_refused(make_study, make_generator, objective):
    study = make_study()
    run(study, make_generator(), objective, total_trials=2)
    set_study_attribute(study, STUDY_ATTR, study_attributes(study)[STUDY_ATTR] | {"version": 99})
    with pytest.raises(MismatchError, match=r"version 99 .* this release reads 2"):
        run(study, make_generator(), objective)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_trials": 0}, "total_trials: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size.* 0"),
        ({"conditions": {"guidance": 3.0}}, r"conditions\['guidance'\]: expected Range or Choice, got 3.0"),
        ({"conditions": {"u3": Range(0, 1)}}, r"conditions\['u3'\]"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(make_study, make_generator, objective, options, message):
    study = make_study()
    generator = make_generator()
    with pytest.raises(ArgumentError, match=message):
        run(study, generator, objective, **options)
    assert (study.trials, study_attributes(study), generator.sizes) == ([], {}, [])
    run(study, generator, objective, total_trials=20)
    assert study_attributes(study)[STUDY_ATTR]["plan"] == plan(20, dim=D, proposes=True).to_json()


def test_a_latent_of_one_entry_spans_no_box(make_study, make_generator, objective):
    study = make_study()
    with pytest.raises(ArgumentError, match=r"K from 2 to D = 1"):
        run(study, make_generator(prior=(1,)), objective)
    assert study_attributes(study) == {}


def test_directions_that_disagree_are_refused(make_study, make_generator, objective):
    study = make_study(direction="minimize")
    with pytest.raises(ArgumentError, match=r"expected directions \['maximize'\] .* got \['minimize'\]"):
        run(study, make_generator(), objective)
    assert study_attributes(study) == {}


def test_space_and_policy_together_are_refused(make_study, make_generator, objective):
    generator = make_generator()
    with pytest.raises(ArgumentError, match="space, policy: expected at most one"):
        run(make_study(), generator, objective, space=_space(generator), policy=fixed(_space(generator)))


def test_a_policy_takes_the_place_of_the_plan(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    run(study, generator, objective, policy=draws(generator.prior, 16, axes=3), total_trials=40)
    assert len(study.trials) == 16  # all that it wants
    assert {name for trial in study.trials for name in trial.params} == {"u0", "u1"}
    with pytest.raises(MismatchError, match="space: by a policy -> planned"):
        run(study, generator, objective, total_trials=40)


def test_a_generator_that_is_none_is_refused(make_study, objective):
    with pytest.raises(ArgumentError, match="generator: expected prior, fingerprint and generate"):
        run(make_study(), lambda z: z, objective)


# --- failures -------------------------------------------------------------------------------------------------------


def _unlucky(z: torch.Tensor) -> None:
    if (z[:, 0] > 0.5).any():
        raise RuntimeError("too bright")


def test_an_item_that_fails_fails_alone(make_study, make_generator, objective):
    study = make_study()
    run(study, make_generator(watch=_unlucky), objective)
    outputs = _remade(study, make_generator())
    for trial, output in zip(study.trials, outputs, strict=True):
        if output[0] > 0.5:
            assert trial.state == TrialState.FAIL
            assert attributes(trial)[REASON_ATTR] == "RuntimeError: too bright"
            assert RESULT_ATTR not in attributes(trial)
        else:
            assert trial.value == pytest.approx(output[0].item(), abs=1e-6)
    states = [trial.state for trial in study.trials]
    assert 0 < states.count(TrialState.FAIL) < len(states) == 32


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails_its_trial(make_study, make_generator, value):
    def score(outputs: torch.Tensor, conditions: object) -> np.ndarray:
        return np.where(outputs[:, 1] > 0, outputs[:, 0], value)

    study = make_study()
    run(study, make_generator(), Objective(Metric("beauty"), score=score))
    outputs = _remade(study, make_generator())
    for trial, output in zip(study.trials, outputs, strict=True):
        expected = TrialState.COMPLETE if output[1] > 0 else TrialState.FAIL
        assert trial.state == expected
        if expected == TrialState.FAIL:
            assert attributes(trial)[REASON_ATTR] == f"score returned beauty = {value}"


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda outputs, _: np.zeros(len(outputs) - 1), r"expected shape \(n,\) = \(8,\) .* got \(7,\)"),
        (lambda outputs, _: {"second": np.zeros(len(outputs))}, r"exactly the declared metrics \['first'\]"),
        (lambda outputs, _: ["bad"] * len(outputs), "expected n = 8 numbers"),
    ],
    ids=["length", "undeclared", "words"],
)
def test_a_wrong_score_ends_the_search_and_costs_no_trial(make_study, make_generator, objective, score, message):
    study = make_study()
    with pytest.raises(ScoreError, match=message):
        run(study, make_generator(), Objective(Metric("first"), score=score))
    assert [attributes(trial)[REASON_ATTR] for trial in study.trials] == [INTERRUPTED] * 8
    assert ended_trials(study) == []
    run(study, make_generator(), objective)
    assert len(ended_trials(study)) == 32
    assert study.get_trials(states=(TrialState.RUNNING,)) == []


def test_a_study_is_begun_by_its_first_ended_trial(make_study, make_generator):
    study = make_study()
    generator = make_generator(conditional=True)
    wrong = Objective(Metric("first"), score=lambda outputs, _: {"second": outputs[:, 0]})
    with pytest.raises(ScoreError, match="exactly the declared metrics"):
        run(study, generator, wrong, conditions=CONDITIONS, total_trials=8)
    right = Objective(Metric("second"), score=lambda outputs, _: {"second": outputs[:, 0]})
    run(study, generator, right)
    assert len(ended_trials(study)) == 32
    assert study_attributes(study)[STUDY_ATTR]["plan"] == plan(32, dim=D, proposes=True).to_json()
    with pytest.raises(MismatchError, match="metrics"):
        run(study, generator, wrong)


def test_a_function_of_the_wrong_length_ends_the_search(make_study, objective):
    study = make_study()
    with pytest.raises(ShapeError, match="expected n = 8 outputs, one a latent, got 1"):
        run(study, FunctionGenerator(lambda z: z[:1], (D,)), objective)
    assert ended_trials(study) == []


@pytest.mark.parametrize("total", [4, 64])
def test_a_generator_that_always_fails_stops_with_the_first_reason(make_study, make_generator, objective, total):
    calls: list[int] = []

    def failing(z: torch.Tensor) -> None:
        calls.append(len(z))
        raise RuntimeError(f"failure {len(calls)}")

    study, space = make_study(), _space(make_generator())
    with pytest.raises(GenerationError, match=r"first reason: RuntimeError: failure \d"):
        run(study, make_generator(watch=failing), objective, total_trials=total, batch_size=4, space=space)
    assert len(study.trials) < 64
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
    assert ended_trials(study) == []  # the points are not to blame
    run(study, make_generator(), objective, total_trials=total, batch_size=4, space=space)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == total


def test_what_is_not_caught_comes_through(make_study, make_generator, objective):
    study = make_study()
    with pytest.raises(RuntimeError, match="too bright"):
        run(study, make_generator(watch=_unlucky), objective, catch=())
    with pytest.raises(RuntimeError, match="too bright"):
        run(study, make_generator(watch=_unlucky), objective, catch=(ValueError,))
    assert study.get_trials(states=(TrialState.RUNNING,)) == []


# --- interruptions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("own_space", [False, True], ids=["planned", "space"])
def test_an_interrupted_batch_is_given_back_and_made_up_for(make_study, make_generator, objective, error, own_space):
    study = make_study()
    calls: list[int] = []

    def interrupting(z: torch.Tensor) -> None:
        calls.append(len(z))
        if len(calls) in (1, 3):
            raise error

    generator = make_generator(watch=interrupting)
    space = _space(generator, seeds=5) if own_space else None
    for _ in range(2):
        with pytest.raises(error):
            run(study, generator, objective, space=space, policy=None if own_space else _halves(32))
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert [attributes(trial)[REASON_ATTR] for trial in failed] == [INTERRUPTED] * 16
    assert study.get_trials(states=(TrialState.RUNNING,)) == []
    run(study, generator, objective, space=space, policy=None if own_space else _halves(32))
    ended = ended_trials(study)
    assert [trial.state for trial in ended] == [TrialState.COMPLETE] * 32
    assert len(study.trials) == 48
    if own_space:
        exact = [attributes(trial)[PROPOSAL_ATTR] for trial in ended if PROPOSAL_ATTR in attributes(trial)]
        assert sorted(exact) == list(range(5))
    else:
        assert [attributes(trial)[ROUND_ATTR] for trial in ended] == [0] * 16 + [1] * 16


def test_an_interrupted_score_gives_its_batch_back(make_study, make_generator):
    def score(outputs: torch.Tensor, conditions: object) -> np.ndarray:
        raise KeyboardInterrupt

    study = make_study()
    with pytest.raises(KeyboardInterrupt):
        run(study, make_generator(), Objective(Metric("first"), score=score))
    assert ended_trials(study) == []
    assert study.get_trials(states=(TrialState.RUNNING,)) == []


# --- callbacks ------------------------------------------------------------------------------------------------------


def test_callbacks_hear_of_each_told_trial_once(make_study, make_generator, objective):
    heard: list[tuple[int, TrialState, float | None]] = []

    def callback(study: optuna.Study, trial: FrozenTrial) -> None:
        assert isinstance(trial, FrozenTrial)
        heard.append((trial.number, trial.state, trial.value if trial.state == TrialState.COMPLETE else None))

    study = make_study()
    run(study, make_generator(watch=_unlucky), objective, callbacks=[callback])
    expected = [(t.number, t.state, t.value if t.state == TrialState.COMPLETE else None) for t in study.trials]
    assert heard == expected


def test_a_callback_cannot_change_what_the_study_holds(make_study, make_generator, objective):
    def spoil(study: optuna.Study, trial: FrozenTrial) -> None:
        trial.params.clear()
        trial.system_attrs.clear()

    study = make_study()
    run(study, make_generator(), objective, callbacks=[spoil])
    assert all(trial.params and RECIPE_ATTR in attributes(trial) for trial in study.trials)


def test_max_trials_and_stop_work_in_callbacks_and_only_there(make_study, make_generator, objective):
    study = make_study()
    heard: list[int] = []
    callbacks = [MaxTrialsCallback(10), lambda study, trial: heard.append(trial.number)]
    run(study, make_generator(), objective, callbacks=callbacks, policy=_halves(32))
    assert len(study.trials) == 16  # the batch with the tenth is the last
    assert heard == list(range(16))
    with pytest.raises(RuntimeError, match="stop"):
        study.stop()
    run(study, make_generator(), objective, total_trials=24, callbacks=[], policy=_halves(32))
    assert len(study.trials) == 24  # an earlier stop is forgotten


def test_stop_is_refused_again_after_an_exception(make_study, make_generator, objective):
    def raising(study: optuna.Study, trial: FrozenTrial) -> None:
        raise LookupError("from a callback")

    study = make_study()
    with pytest.raises(LookupError, match="from a callback"):
        run(study, make_generator(), objective, callbacks=[raising])
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
    with pytest.raises(RuntimeError, match="stop"):
        study.stop()


def test_a_sampler_that_ends_the_study_ends_the_search(make_study, make_generator, objective):
    grid = {"u0": [0.1, 0.9], "u1": [0.2, 0.8]}
    study = make_study(GridSampler(grid, seed=0))
    generator = make_generator()
    run(study, generator, objective, space=_space(generator, seeds=3), batch_size=4)
    points = {(t.params["u0"], t.params["u1"]) for t in study.trials if PROPOSAL_ATTR not in attributes(t)}
    assert points == {(a, b) for a in grid["u0"] for b in grid["u1"]}
    assert len(study.trials) < 32
