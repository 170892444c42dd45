"""The best few outputs that differ, remade from a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.samplers import CmaEsSampler

from surrogate_ax import Choice, Evaluator, Metric, Objective, SurrogateSpace, render
from surrogate_ax.errors import ArgumentError, MismatchError, SeedError
from surrogate_ax.latents.bank import Bank
from surrogate_ax_optuna import Pick, optimize, portfolio, record, sqlite, suggest_latents
from surrogate_ax_optuna.record import read_record
from surrogate_ax_optuna.trials import read_recipe


def _search(study: optuna.Study, generator: Any, objective: Objective, **options: Any) -> None:
    optimize(
        study, generator, objective, **{"total_trials": 48, "batch_size": 12, "rng": 0, "progress": False} | options
    )


def _cosines(generator: Any, recipes: list[Any]) -> np.ndarray:
    """Between the latents of recipes over draws, which count as orthogonal."""
    bank = Bank(generator.prior, list(dict.fromkeys(seed for recipe in recipes for seed, _ in recipe.terms)))
    rows = bank.rows([recipe.terms for recipe in recipes]).toarray()
    return rows @ rows.T


def _greedy(study: optuna.Study, generator: Any, k: int, limit: float, *, sign: int) -> list[int]:
    order = sorted(study.trials, key=lambda trial: sign * trial.value)
    cosine = _cosines(generator, [read_recipe(trial) for trial in study.trials])
    chosen: list[int] = []
    for trial in order:
        if len(chosen) < k and all(cosine[trial.number, other] <= limit for other in chosen):
            chosen.append(trial.number)
    return chosen


@pytest.mark.parametrize("limit", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_picks_are_the_best_that_differ(make_study, make_generator, limit, direction):
    objective = Objective(Metric("first", direction), score=lambda outputs, _: outputs[:, 0])
    study = make_study(CmaEsSampler(seed=0), direction=direction)
    generator = make_generator()
    _search(study, generator, objective)
    picks = portfolio(study, generator, k=5, max_cosine=limit, min_distance=0)
    sign = -1 if direction == "maximize" else 1
    assert [pick.trial.number for pick in picks] == _greedy(study, generator, 5, limit, sign=sign)
    assert picks[0].trial.value == study.best_value
    between = _cosines(generator, [pick.recipe for pick in picks])[np.triu_indices(len(picks), 1)]
    assert (between <= limit).all()


def test_outputs_are_remade_in_one_call(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    _search(study, generator, objective)
    generator.sizes.clear()
    picks = portfolio(study, generator, min_distance=0)
    assert generator.sizes == [6]
    for pick in picks:
        assert isinstance(pick, Pick)
        assert pick.output[0].item() == pytest.approx(pick.trial.value, abs=1e-5)
        assert pick.recipe.terms == read_recipe(pick.trial).terms
        assert pick.recipe.batch == 6
        assert pick.recipe.overrides is None
        torch.testing.assert_close(render(pick.recipe, generator)[0][0], pick.output)


def test_overrides_reach_the_generator_and_the_recipes(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator(conditional=True)
    _search(study, generator, objective, conditions={"prompt": Choice(["a", "b"])})
    generator.function.conditions.clear()
    picks = portfolio(study, generator, k=3, min_distance=0, num_inference_steps=50, prompt="c")
    assert generator.function.conditions == [{"prompt": "c", "num_inference_steps": 50}] * 3
    for pick in picks:
        assert pick.recipe.condition == {"prompt": pick.trial.params["prompt"]}
        assert pick.recipe.overrides == {"num_inference_steps": 50, "prompt": "c"}


def test_fewer_are_given_when_no_more_differ(make_study, make_generator, objective):
    study = make_study()
    generator = make_generator()
    _search(study, generator, objective, total_trials=6, batch_size=6)
    assert len(portfolio(study, generator, k=100, max_cosine=1.0, min_distance=0)) == 6
    space = SurrogateSpace.sample(generator.prior, seeds=2, rng=0)
    study = make_study()
    _search(study, generator, objective, space=space, total_trials=12)
    assert len(portfolio(study, generator, k=100, max_cosine=0.1)) <= 2  # all lies between two seeds


def test_failed_trials_are_never_picked(make_study, make_generator):
    objective = Objective(Metric("a"), score=lambda outputs, _: np.where(outputs[:, 0] > 0, np.inf, outputs[:, 0]))
    study = make_study()
    generator = make_generator()
    _search(study, generator, objective)
    succeeded = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert 0 < len(succeeded) < 48
    picks = portfolio(study, generator, k=48, max_cosine=1.0, min_distance=0)
    assert {pick.trial.number for pick in picks} == {trial.number for trial in succeeded}
    assert picks[0].trial.value == max(trial.value for trial in succeeded)


def test_feasible_trials_come_first(make_study, make_generator):
    metrics = [Metric("a"), Metric("b", "minimize"), Metric("c", "at_most", 0.0)]
    objective = Objective(*metrics, score=lambda outputs, _: dict(zip("abc", outputs[:, :3].T, strict=True)))
    study = make_study(directions=["maximize", "minimize"])
    generator = make_generator()
    _search(study, generator, objective)
    picks = portfolio(study, generator, k=48, max_cosine=1.0, min_distance=0)
    feasible = [pick.trial.constraints["c"] <= 0 for pick in picks]
    assert feasible == sorted(feasible, reverse=True)
    assert 0 < sum(feasible) < len(feasible)
    front = {trial.number for trial in study.best_trials}
    assert {pick.trial.number for pick in picks[: len(front)]} == front


def test_stored_seeds_are_remade_from_where_the_study_keeps_them(make_study, make_generator, objective, tmp_path):
    generator = make_generator()
    drawn = SurrogateSpace.sample(generator.prior, seeds=4, rng=1)
    space = SurrogateSpace.from_latents(generator.prior, drawn.bank.latents(np.eye(4)), rng=0)
    study = make_study(storage=sqlite(tmp_path / "study.db"))
    _search(study, generator, objective, space=space, total_trials=10, batch_size=10)
    picks = portfolio(study, generator, k=3, max_cosine=0.95, min_distance=0)
    assert picks[0].trial.value == study.best_value
    for pick in picks:
        assert pick.output[0].item() == pytest.approx(pick.trial.value, abs=1e-5)
    latents = torch.nn.functional.normalize(torch.stack([pick.output for pick in picks]).double(), dim=1)
    assert ((latents @ latents.T).triu(1) <= 0.95 + 1e-6).all()
    (tmp_path / "study-seeds").rename(tmp_path / "moved")
    with pytest.raises(SeedError, match=r"study-seeds"):
        portfolio(study, generator)
    again = portfolio(study, generator, k=3, max_cosine=0.95, min_distance=0, seeds=tmp_path / "moved")
    assert [pick.trial.number for pick in again] == [pick.trial.number for pick in picks]


def test_a_define_by_run_study_needs_its_objective(make_study, make_generator, objective):
    generator = make_generator()
    space = SurrogateSpace.sample(generator.prior, seeds=4, rng=0)
    evaluate = Evaluator(generator, objective)
    study = make_study()
    study.optimize(lambda trial: record(trial, evaluate(suggest_latents(trial, space))), n_trials=8)
    with pytest.raises(MismatchError, match=r"no record of its metrics.*pass `objective`"):
        portfolio(study, generator)
    picks = portfolio(study, generator, k=3, max_cosine=1.0, min_distance=0, objective=objective)
    assert [pick.trial.value for pick in picks] == sorted((trial.value for trial in study.trials), reverse=True)[:3]
    assert [pick.output[0].item() for pick in picks] == pytest.approx([pick.trial.value for pick in picks], abs=1e-5)


def test_another_objective_ranks_by_what_was_measured(make_study, make_generator):
    def score(outputs: torch.Tensor, conditions: object) -> dict[str, Any]:
        return {"a": outputs[:, 0], "seen": outputs[:, 1]}

    study = make_study()
    generator = make_generator()
    _search(study, generator, Objective(Metric("a"), Metric("seen", "track"), score=score))
    by_seen = Objective(Metric("seen", "minimize"), score=score)
    (pick,) = portfolio(study, generator, k=1, objective=by_seen)
    outputs, _ = render([read_recipe(trial) for trial in study.trials], generator)
    assert pick.trial.number == int(outputs[:, 1].argmin())


def test_another_objective_ranks_a_define_by_run_study_too(make_study, make_generator):
    def score(outputs: torch.Tensor, conditions: object) -> dict[str, Any]:
        return {"a": outputs[:, 0], "seen": outputs[:, 1]}

    generator, study = make_generator(), make_study()
    space = SurrogateSpace.sample(generator.prior, seeds=4, rng=0)
    evaluate = Evaluator(generator, Objective(Metric("a"), Metric("seen", "track"), score=score))
    study.optimize(lambda trial: record(trial, evaluate(suggest_latents(trial, space))), n_trials=8)
    both = Objective(Metric("a", "minimize"), Metric("seen", "minimize"), score=score)
    for objective in (Objective(Metric("seen", "minimize"), score=score), both):
        found = read_record(study, objective)
        outputs, _ = render([read_recipe(trial) for trial in study.trials], generator)
        np.testing.assert_allclose(found.history.values["seen"], outputs[:, 1], rtol=1e-5)


def test_another_generator_is_refused(make_study, make_generator, objective):
    study = make_study()
    _search(study, make_generator(), objective, total_trials=4)
    with pytest.raises(MismatchError, match="revision: 1 -> 2"):
        portfolio(study, make_generator(revision="2"))


def test_a_study_of_something_else_is_refused(make_study, make_generator):
    study = make_study()
    study.tell(study.ask(), 1.0)
    with pytest.raises(MismatchError, match="no record of its metrics"):
        portfolio(study, make_generator())


@pytest.mark.parametrize("options", [{"k": 0}, {"max_cosine": 0.0}, {"max_cosine": 1.5}])
def test_numbers_out_of_range_are_refused(make_study, make_generator, objective, options):
    study = make_study()
    _search(study, make_generator(), objective, total_trials=4)
    with pytest.raises(ArgumentError, match="portfolio: expected k >= 1 and max_cosine in"):
        portfolio(study, make_generator(), **options)


def test_a_study_without_a_success_has_no_portfolio(make_study, make_generator, objective):
    study = make_study()
    _search(study, make_generator(), objective, timeout=0.0)
    with pytest.raises(ArgumentError, match="no trial of the study has succeeded"):
        portfolio(study, make_generator())
