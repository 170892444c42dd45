"""`optimize(batch_size="auto")`: the size that is measured gives the study that it gives when it is named."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from optuna.samplers import TPESampler
from torch import Tensor

from surrogate_ax import Objective, Recipe
from surrogate_ax.errors import GenerationError
from surrogate_ax.execution import batch_size
from surrogate_ax_optuna import create_study, optimize, read_record
from surrogate_ax_optuna.attributes import RECIPE_ATTR, STUDY_ATTR, attributes, study_attributes
from tests.integrations.optuna.conftest import IdentityGenerator

FOUND = [1, 2, 4, 8, 16]  # sizes of the calls that find 8


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., IdentityGenerator]:
    """Makes generators with room for so many outputs, whose calls take two seconds of a simulated clock."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def make(room: int = 8) -> IdentityGenerator:
        def watch(z: Tensor) -> None:
            clock.now += 2
            if len(z) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return IdentityGenerator(watch=watch)

    return make


def _told(study: optuna.Study) -> list[tuple[Any, ...]]:
    recipes = [Recipe.from_json(attributes(trial)[RECIPE_ATTR]) for trial in study.trials]
    pairs = zip(study.trials, recipes, strict=True)
    return [(trial.values, trial.params, recipe.terms, recipe.batch) for trial, recipe in pairs]


@pytest.mark.parametrize("sampler", [None, "tpe"])
def test_the_study_is_that_of_the_size_that_was_found(crowded: Any, objective: Objective, sampler: str | None) -> None:
    studies = []
    for given in ("auto", 8):
        study = create_study(objective, sampler=TPESampler(seed=1) if sampler else None)
        generator = crowded()
        optimize(study, generator, objective, total_trials=48, batch_size=given, rng=0, progress=False)
        assert generator.sizes[: len(FOUND)] == FOUND if given == "auto" else generator.sizes[0] == 8
        studies.append(study)
    assert _told(studies[0]) == _told(studies[1])
    assert max(recipe[3] for recipe in _told(studies[0])) == 8
    assert read_record(studies[0]).batch_size == 8
    assert read_record(studies[1]).batch_size is None


def test_a_run_that_goes_on_takes_the_size_over(crowded: Any, objective: Objective) -> None:
    study = create_study(objective)
    optimize(study, crowded(4), objective, total_trials=24, batch_size="auto", rng=0, progress=False)
    generator = crowded(16)
    optimize(study, generator, objective, total_trials=48, batch_size="auto", rng=0, progress=False)
    assert set(generator.sizes) == {4}
    assert read_record(study).batch_size == 4


def test_the_cost_is_said(
    crowded: Any, objective: Objective, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    study = create_study(objective, study_name="measured")
    with caplog.at_level("INFO", logger="surrogate_ax"):
        optimize(study, crowded(), objective, total_trials=48, batch_size="auto", rng=0)
    said = "study 'measured', batches of 8: measured on 15 plain draws (4 calls, 8.0 s), which gave these outputs"
    assert said in capsys.readouterr().err
    assert any(said in message for message in caplog.messages)


def test_nothing_is_written_where_nothing_can_be_measured(crowded: Any, objective: Objective) -> None:
    study = create_study(objective)
    with pytest.raises(GenerationError, match="no room in memory for a single output"):
        optimize(study, crowded(0), objective, total_trials=8, batch_size="auto", rng=0, progress=False)
    assert study.trials == []
    assert STUDY_ATTR not in study_attributes(study)
