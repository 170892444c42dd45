"""The box as Optuna parameters, and objective functions that define their space as they run."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from surrogate_ax import Choice, Evaluator, Metric, Objective, Range, Recipe, SurrogateSpace, render
from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna import distributions, record, suggest_latents
from surrogate_ax_optuna.attributes import REASON_ATTR, RECIPE_ATTR, RESULT_ATTR, attributes
from surrogate_ax_optuna.search_space import check_directions


@pytest.fixture
def space(make_generator):
    return SurrogateSpace.sample(make_generator().prior, seeds=4, rng=0)


def test_a_box_is_unit_coordinates_then_conditions(space):
    searched = {
        "guidance": Range(1, 7, step=0.5),
        "steps": Range(4, 12, step=2),
        "strength": Range(0.1, 0.9),
        "shift": Range(0.01, 1.0, log=True),
        "order": Range(1, 64, log=True),
        "prompt": Choice(["a", "b"]),
    }
    u = {f"u{k}": FloatDistribution(0.0, 1.0) for k in range(3)}
    expected = u | {
        "guidance": FloatDistribution(1.0, 7.0, step=0.5),
        "steps": IntDistribution(4, 12, step=2),
        "strength": FloatDistribution(0.1, 0.9),
        "shift": FloatDistribution(0.01, 1.0, log=True),
        "order": IntDistribution(1, 64, log=True),
        "prompt": CategoricalDistribution(["a", "b"]),
    }
    assert distributions(space, searched) == expected
    assert list(distributions(space, searched)) == list(expected)
    assert distributions(4) == u


@pytest.mark.parametrize("axes", [1, 0, -3])
def test_fewer_than_two_axes_make_no_box(axes):
    with pytest.raises(ArgumentError, match=rf"space: expected K of at least 2 axes, got {axes}"):
        distributions(axes)


def test_a_name_of_the_box_is_no_condition(space):
    with pytest.raises(ArgumentError, match=r"conditions\['u1'\]"):
        distributions(space, {"u1": Range(0, 1)})


def test_every_range_taken_is_one_that_optuna_keeps_whole():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        low, high = np.sort(rng.integers(-40, 40, size=2)).tolist()
        step, scale = int(rng.integers(1, 9)), rng.choice([1, 10])
        limits = (low, high, step) if scale == 1 else (low / 10, high / 10, step / 10)
        try:
            searched = Range(limits[0], limits[1], step=limits[2])
        except ArgumentError:
            refused += 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna warns when it shrinks a range to its last step
            made = distributions(2, {"x": searched})["x"]
        assert (made.low, made.high, made.step) == limits
    assert 0 < refused < 200


def test_suggested_latents_are_the_point_of_the_trial(make_study, space):
    trial = make_study().ask()
    latents = suggest_latents(trial, space)
    u = np.array([[trial.params[f"u{k}"] for k in range(3)]])
    torch.testing.assert_close(latents["latents"], space.latents(u)["latents"])
    assert trial.distributions == distributions(space)
    recipe = Recipe.from_json(attributes(trial)[RECIPE_ATTR])
    assert recipe.terms == space.terms(u)[0]


def test_a_box_with_fresh_noise_mixes_in_a_draw_of_the_trials_own(make_study, space):
    fresh, study = SurrogateSpace(space.bank, space.frame, fresh=0.5), make_study()
    latents = [suggest_latents(study.ask(), fresh)["latents"] for _ in range(2)]
    terms = [Recipe.from_json(attributes(trial)[RECIPE_ATTR]).terms for trial in study.trials]
    assert [each[-1][0].index for each in terms] == [0, 1]
    assert [each[-1][1] for each in terms] == pytest.approx([0.5, 0.5])
    bank = space.bank.extend([seed for each in terms for seed, _ in each])
    torch.testing.assert_close(torch.cat(latents), bank.latents(bank.rows(terms))["latents"])


def test_define_by_run_records_what_remakes_each_trial(make_study, make_generator, objective, space):
    generator = make_generator(conditional=True)
    evaluate = Evaluator(generator, objective)
    outputs = {}

    def trial_function(trial: optuna.Trial) -> float:
        latents = suggest_latents(trial, space)
        prompt = trial.suggest_categorical("prompt", ["a", "b"])
        evaluations = evaluate(latents, [{"prompt": prompt}])
        outputs[trial.number] = evaluations.outputs[0]
        return record(trial, evaluations)

    study = make_study()
    study.optimize(trial_function, n_trials=5)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5
    recipes = [Recipe.from_json(attributes(trial)[RECIPE_ATTR]) for trial in study.trials]
    assert [recipe.condition for recipe in recipes] == [{"prompt": trial.params["prompt"]} for trial in study.trials]
    assert all(recipe.generator == dict(generator.fingerprint) for recipe in recipes)
    remade, _ = render(recipes, generator)
    torch.testing.assert_close(remade, torch.stack([outputs[i] for i in range(5)]), atol=1e-5, rtol=0)
    for trial in study.trials:
        result = attributes(trial)[RESULT_ATTR]
        assert result["values"] == {"first": trial.value}
        assert result["nfe"] == 1.0
        assert result["seconds"] >= 0


def _study_function(make_generator, objective, space):
    evaluate = Evaluator(make_generator(), objective)
    return lambda trial: record(trial, evaluate(suggest_latents(trial, space)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails_the_trial_with_its_reason(make_study, make_generator, space, value):
    objective = Objective(Metric("beauty"), score=lambda outputs, conditions: [value])
    study = make_study()
    study.optimize(_study_function(make_generator, objective, space), n_trials=1)
    (trial,) = study.trials
    assert trial.state == TrialState.FAIL
    assert attributes(trial)[REASON_ATTR] == f"score returned beauty = {value}"
    assert RESULT_ATTR not in attributes(trial)


def test_several_objectives_a_bound_and_a_tracked_number(make_study, make_generator, space):
    metrics = [Metric("a"), Metric("size", "at_most", 0.5), Metric("b", "minimize"), Metric("seen", "track")]
    metrics.append(Metric("quality", "at_least", 3))
    numbers = {"a": [1.0], "size": [2.0], "b": [-4.0], "seen": [7.0], "quality": [5.0]}
    objective = Objective(*metrics, score=lambda outputs, conditions: numbers)
    study = make_study(directions=["maximize", "minimize"])
    study.optimize(_study_function(make_generator, objective, space), n_trials=1)
    (trial,) = study.trials
    assert trial.values == [1.0, -4.0]
    assert trial.constraints == {"size": 1.5, "quality": -2.0}  # at most 0 is feasible
    assert attributes(trial)[RESULT_ATTR]["values"] == {name: column[0] for name, column in numbers.items()}


def test_a_failed_item_of_several_objectives_gives_a_value_for_each(make_study, make_generator, space):
    score = {"a": [1.0], "b": [np.nan]}
    objective = Objective(Metric("a"), Metric("b"), score=lambda outputs, conditions: score)
    study = make_study(directions=["maximize", "maximize"])
    trial = study.ask()
    evaluations = Evaluator(make_generator(), objective)(suggest_latents(trial, space))
    returned = record(trial, evaluations)
    assert isinstance(returned, tuple)
    assert len(returned) == 2
    assert np.isnan(returned).all()
    study.optimize(_study_function(make_generator, objective, space), n_trials=1)
    assert study.trials[1].state == TrialState.FAIL
    assert attributes(study.trials[1])[REASON_ATTR] == "score returned b = nan"


def test_record_wants_one_item_of_a_trial_with_latents(make_study, make_generator, objective, space):
    evaluate = Evaluator(make_generator(), objective)
    trial = make_study().ask()
    with pytest.raises(ArgumentError, match="recipe missing"):
        record(trial, evaluate(space.latents(np.full((1, 3), 0.5))))
    suggest_latents(trial, space)
    with pytest.raises(ArgumentError, match="got 2 items, recipe present"):
        record(trial, evaluate(space.latents(np.full((2, 3), 0.5))))


def test_directions_that_disagree_are_both_named(make_study):
    objective = Objective(Metric("a"), Metric("b", "minimize"), Metric("c", "at_most", 1), score=lambda o, c: {})
    check_directions(make_study(directions=["maximize", "minimize"]), objective)
    with pytest.raises(ArgumentError) as error:
        check_directions(make_study(directions=["minimize", "minimize"]), objective)
    assert "expected directions ['maximize', 'minimize'] for the metrics (a: maximize, b: minimize)" in str(error.value)
    assert "got ['minimize', 'minimize']" in str(error.value)
    with pytest.raises(ArgumentError, match=r"got \['maximize'\]"):
        check_directions(make_study(), objective)
