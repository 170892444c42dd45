"""Earlier searches on Optuna: learnt from, recorded, gone on with elsewhere, and refused where they mislead."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import optuna
import pytest
import torch

from surrogate_ax import Metric, Objective, Range, SurrogateSpace, draws
from surrogate_ax.errors import ArgumentError, MismatchError, SeedError
from surrogate_ax_optuna import (
    MovingBoxSampler,
    SurrogateSampler,
    create_study,
    optimize,
    portfolio,
    read_record,
    sqlite,
    trial_function,
)
from surrogate_ax_optuna.attributes import RECIPE_ATTR, WARM_ATTR, attributes, study_attributes
from tests.integrations.optuna.conftest import IdentityGenerator, first_entry

GAIN = Objective(Metric("gain"), score=first_entry)
LOSS = Objective(Metric("loss", "minimize"), score=lambda outputs, conditions: -first_entry(outputs))


def searched(total: int = 32, objective: Objective = GAIN, **options: Any) -> optuna.Study:
    study = create_study(objective)
    generator = options.pop("generator", None) or IdentityGenerator()
    optimize(
        study, generator, objective, **{"rng": 1, "total_trials": total, "batch_size": 8, "progress": False} | options
    )
    return study


def recipes(study: optuna.Study) -> list[Any]:
    return [attributes(trial)[RECIPE_ATTR]["terms"] for trial in study.get_trials(deepcopy=False)]


def values(study: optuna.Study) -> list[float]:
    return [trial.values[0] for trial in study.get_trials(deepcopy=False)]


def test_the_best_of_another_metric_and_direction_are_evaluated_first() -> None:
    old = searched()
    best = [attributes(old.trials[i])[RECIPE_ATTR]["terms"] for i in [old.best_trial.number]]
    new = searched(16, LOSS, rng=2, warm=[old])
    assert recipes(new)[0] == best[0]
    assert new.trials[0].value == pytest.approx(-old.best_value)
    cold = searched(16, LOSS, rng=2)
    assert new.best_value < cold.best_value


def test_a_study_goes_on_without_the_earlier_ones(tmp_path: Any) -> None:
    old = searched()
    whole = searched(28, LOSS, rng=2, warm=[old, read_record(old)])
    study = create_study(LOSS, storage=sqlite(tmp_path / "a.db"), study_name="a")
    left = [2]

    def stop(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"total_trials": 28, "batch_size": 8, "progress": False}
    with contextlib.suppress(KeyboardInterrupt):
        optimize(study, IdentityGenerator(), LOSS, rng=2, warm=[old, read_record(old)], callbacks=[stop], **options)
    assert len([t for t in study.trials if t.state.is_finished() and t.values]) < 28
    again = create_study(LOSS, storage=sqlite(tmp_path / "a.db"), study_name="a")
    optimize(again, IdentityGenerator(), LOSS, **options)
    told = [t.values[0] for t in again.trials if t.values]
    assert sorted(told)[:20] == pytest.approx(sorted(values(whole))[:20], abs=1e-6)
    known = study_attributes(again)
    assert known[WARM_ATTR] == [f"study {old.study_name!r}", "record 2"]
    assert set(json.loads(json.dumps(known[f"{WARM_ATTR}:0"]))) == {"name", "seeds", "rows", "scores", "conditions"}


def test_a_loop_by_hand_is_the_same_search() -> None:
    old = searched()
    sampler = SurrogateSampler(n_trials=24, seed=2, warm=[old])
    study = create_study(LOSS, sampler=sampler)
    study.optimize(trial_function(IdentityGenerator(), LOSS), n_trials=24)
    assert values(study) == pytest.approx(values(searched(24, LOSS, rng=2, warm=[old])), abs=1e-5)
    given = create_study(LOSS, sampler=SurrogateSampler(warm=[old]))
    optimize(given, IdentityGenerator(), LOSS, rng=2, total_trials=24, batch_size=8, progress=False)
    assert values(given) == pytest.approx(values(study), abs=1e-5)


@pytest.mark.parametrize("way", ["several metrics", "bounds", "conditions", "boxes", "workers"])
def test_it_goes_with(way: str) -> None:
    old, options, objective = searched(), dict[str, Any](rng=2), LOSS
    study = None
    if way == "several metrics":
        objective = Objective(Metric("a"), Metric("b"), score=lambda x, _: {"a": first_entry(x), "b": first_entry(x)})
    if way == "bounds":
        metrics = Metric("a"), Metric("b", "at_most", 0.5)
        objective = Objective(*metrics, score=lambda x, _: {"a": first_entry(x), "b": -first_entry(x)})
    if way == "conditions":
        options |= {"conditions": {"scale": Range(1.0, 2.0)}, "generator": IdentityGenerator(conditional=True)}
    if way == "workers":
        options["workers"] = 2
    if way == "boxes":
        study = create_study(objective, sampler=MovingBoxSampler(optuna.samplers.RandomSampler(seed=0)))
    generator = options.pop("generator", None) or IdentityGenerator()
    if way == "conditions":
        old = create_study(GAIN)
        optimize(old, generator, GAIN, rng=1, total_trials=24, progress=False)
    study = study or create_study(objective)
    optimize(study, generator, objective, total_trials=32, batch_size=8, progress=False, warm=[old], **options)
    assert len(study.trials) == 32
    best = attributes(old.best_trial)[RECIPE_ATTR]["terms"]
    assert best in recipes(study)[:16]


def test_what_cannot_be_learnt_from_is_refused_before_anything_is_made() -> None:
    old, generator = searched(), IdentityGenerator()

    def refused(kind: type[Exception], match: str, warm: Any = None, **options: Any) -> None:
        study = create_study(LOSS)
        with pytest.raises(kind, match=match):
            optimize(
                study,
                generator,
                LOSS,
                total_trials=8,
                progress=False,
                **{"warm": [old] if warm is None else warm, **options},
            )
        assert not study.trials
        assert not study_attributes(study).keys() & {WARM_ATTR, f"{WARM_ATTR}:0"}

    other = searched(8, generator=IdentityGenerator(prior=(31,)))
    refused(MismatchError, r"latents mean something else \(prior: .* -> .*leave this search out", [other])
    refused(ArgumentError, "at least 4 trials with a result, record 1 has 3", [read_record(searched(3))])
    refused(ArgumentError, "expected a list of Optuna studies", old)
    refused(ArgumentError, "number 2 is 'old.db'", [old, "old.db"])
    refused(MismatchError, "no record of its metrics", [create_study(GAIN)])
    refused(ArgumentError, "leave space and policy out", policy=draws(generator.prior, 8, axes=4))
    assert not generator.sizes


def test_a_study_that_is_begun_keeps_its_earlier_searches() -> None:
    old, cold = searched(), searched(8)
    with pytest.raises(MismatchError, match=r"was begun without any, got .*leave `warm` out"):
        optimize(cold, IdentityGenerator(), GAIN, total_trials=12, progress=False, warm=[old])
    warm = searched(8, LOSS, rng=2, warm=[old])
    optimize(warm, IdentityGenerator(), LOSS, total_trials=12, progress=False, warm=[old])
    assert len(warm.trials) == 12
    with pytest.raises(MismatchError, match="begun with"):
        optimize(warm, IdentityGenerator(), LOSS, total_trials=16, progress=False, warm=[cold])


def test_stored_seeds_are_taken_along_and_missed_where_their_store_is_gone(tmp_path: Any) -> None:
    generator = IdentityGenerator()
    given = torch.randn(4, *next(iter(generator.prior.shapes.values())), generator=torch.Generator().manual_seed(0))
    space = SurrogateSpace.from_latents(generator.prior, given, rng=0)
    old = create_study(GAIN, sampler=optuna.samplers.RandomSampler(seed=0))
    optimize(old, generator, GAIN, rng=0, total_trials=12, space=space, progress=False)
    new = create_study(LOSS, storage=sqlite(tmp_path / "new.db"), study_name="new")
    optimize(new, generator, LOSS, rng=0, total_trials=20, batch_size=8, progress=False, warm=[old])
    assert len(list((tmp_path / "new-seeds").iterdir())) == 4
    assert new.best_value <= -old.best_value + 1e-5
    vars(old._storage).pop("_surrogate_seeds")
    with pytest.raises(SeedError, match=r"has 4 stored seeds.*read_record"):
        optimize(create_study(LOSS), generator, LOSS, total_trials=8, progress=False, warm=[old])


def test_the_best_that_is_reported_is_that_of_which_most_is_expected() -> None:
    state = torch.Generator().manual_seed(0)

    def noisy(outputs: Any, conditions: Any) -> Any:
        return first_entry(outputs) + torch.randn(len(outputs), generator=state).numpy()

    objective = Objective(Metric("gain", noise=1.0), score=noisy)
    study = searched(60, objective)
    record = read_record(study)
    expected = record.history.expected["gain"]
    assert record.history.order[0] == expected.argmax()
    assert expected.max() < study.best_value - 0.2  # the host's own best is the luckiest
    (best,) = portfolio(study, IdentityGenerator(), k=1)
    assert best.number == record.trials[int(expected.argmax())].number
    assert len([t for t in recipes(study) if len(t) == 1]) == 30
    with pytest.raises(MismatchError, match="metrics"):
        optimize(study, IdentityGenerator(), GAIN, total_trials=64, progress=False)
