"""`edit` picks the method, keeps what it promises about scores, and refuses what it cannot do."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator, Recipe
from surrogate_ax.editing import Edit, FlowOpt, Inpaint, edit, remake
from surrogate_ax.errors import ArgumentError, MismatchError, ShapeError, UnsupportedError
from surrogate_ax.latents import FolderSeedStore
from tests.core.editing.flows import Flow, Whole, draw

SOURCE, TARGET = {"shift": 0.0}, {"shift": 0.4}
LADDER = ({"scale": 1.0}, {"scale": 1.3}, {"scale": 1.6})


def item(flow: Flow) -> np.ndarray:
    return np.asarray(flow.generate(draw(flow, 1, 5), [SOURCE]).outputs[0])


def run(flow: Any = None, **options: Any) -> Any:
    flow = flow or Flow()
    source = item(Flow())
    return edit(flow, source, SOURCE, TARGET, **{"rng": 0, "ladder": LADDER, "draws": 4, **options})


def mean(outputs: Any, conditions: Any) -> np.ndarray:
    return np.asarray(outputs).mean(axis=1)


def test_steps_give_the_straight_path_and_the_best_draw_comes_first() -> None:
    found = run(score=mean, reached=-9.0)
    assert isinstance(found.edit, Edit)
    assert found.edit.path == "straight"
    assert found.distances.tolist() == sorted(found.distances.tolist())  # the target is there in all of them
    np.testing.assert_allclose(found.scores, mean(np.stack(found.outputs), None))
    assert found.reached is True
    assert found.condition == {"shift": 0.4, "scale": 1.0}
    assert found.reconstruction <= 1e-6
    assert found.nfe == 4 * 10


def test_guidance_is_raised_until_the_target_is_there() -> None:
    first = float(run(score=mean, reached=-9.0).scores.max())
    found = run(score=mean, reached=first + 1e-3)
    assert found.condition["scale"] > 1.0
    assert found.nfe in (2 * 40, 3 * 40)
    never = run(score=mean, reached=1e3)
    assert never.reached is False
    assert never.condition["scale"] == 1.6
    assert "not there" in never.notes[-1]


def test_without_a_score_the_first_rung_is_taken_and_said() -> None:
    found = run()
    assert np.isnan(found.scores).all()
    assert found.reached is None
    assert any("without a score" in note and "1.0" in note for note in found.notes)
    assert found.nfe == 40


@pytest.mark.parametrize("method", ["straight", "inpaint", "flowopt"])
def test_recipes_remake_the_edits(method: str, tmp_path: Path) -> None:
    flow: Any = Whole(Flow()) if method == "flowopt" else Flow()
    mask = np.array([True] * 5 + [False] * 7) if method == "inpaint" else None
    found = run(flow, score=mean, reached=-9.0, mask=mask, ladder=({},))
    FolderSeedStore(tmp_path).add(found.seeds)
    recipes = [Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) for recipe in found.recipes]
    again, _ = remake(recipes, flow, seeds=tmp_path)
    np.testing.assert_allclose(np.asarray(again), np.stack(found.outputs), atol=1e-6)
    with pytest.raises(MismatchError, match="flow"):
        remake(recipes, Whole(Flow(7)) if method == "flowopt" else Flow(7), seeds=tmp_path)
    other = Recipe(recipes[0].terms, {}, {"flow": "6"}, 1)
    with pytest.raises(ArgumentError, match="expected one of an edit"):
        remake(other, flow, seeds=tmp_path)


def test_a_mask_gives_inpainting() -> None:
    region = np.array([True] * 5 + [False] * 7)
    found = run(mask=region)
    assert isinstance(found.edit, Inpaint)
    np.testing.assert_allclose(np.stack(found.outputs)[:, 5:], np.tile(item(Flow())[5:], (4, 1)), atol=1e-6)


def test_without_steps_flowopt_is_stopped_early() -> None:
    found = run(Whole(Flow()), score=mean, reached=-9.0, ladder=({},))
    assert isinstance(found.edit, FlowOpt)
    far = np.abs(np.asarray(Flow().generate(draw(Flow(), 4, 3), [TARGET] * 4).outputs) - item(Flow())).mean()
    assert np.abs(np.stack(found.outputs) - item(Flow())).mean() < far


def test_a_budget_is_searched_by_what_is_given() -> None:
    asked: list[Any] = []

    def search(made_by: Any, objective: Any, budget: int, rng: int) -> Any:
        from surrogate_ax.latents.seeds import Draw

        asked.append((budget, rng))
        z = made_by.prior.from_inner(torch.zeros(1, made_by.prior.dim))
        values = objective.measure(made_by.generate(z, [{}]).outputs, [{}])
        assert list(values) == ["score less distance"]
        return [((Draw(1, 2), 1.0),), ((Draw(1, 3), 1.0),)]

    found = run(score=mean, reached=-9.0, budget=20, search=search)
    assert asked == [(20, 0)]
    assert len(found.outputs) == 4  # of the four draws and the two that were searched
    assert found.distances.tolist() == sorted(found.distances.tolist())
    assert found.nfe == 40 + 10 + 20
    drawn = run(score=mean, reached=-9.0)
    assert (found.distances <= drawn.distances).all()
    assert any("the best of 20 edits of a search is worth" in note for note in found.notes)


def test_a_score_alone_moves_residuals_near_the_items_own() -> None:
    flow = Flow()
    source = item(flow)
    found = edit(flow, source, SOURCE, rng=0, draws=6, score=mean, reached=9.0, weight=0.1, ladder=LADDER)
    assert isinstance(found.edit, Edit)
    assert found.edit.path == "inverted"
    assert found.condition == SOURCE  # a ladder of the target's call arguments would take it from its residual
    assert found.scores[0] > source.mean()
    far = np.asarray(Flow().generate(draw(Flow(), 6, 3), [SOURCE] * 6).outputs) - source
    assert found.distances.mean() < 0.8 * np.sqrt(np.square(far).mean(axis=1)).mean()
    again, _ = remake(found.recipes, flow, seeds=found.seeds)
    np.testing.assert_allclose(np.asarray(again), np.stack(found.outputs), atol=1e-6)
    assert found.nfe > 6 * flow.steps  # the inversion as well
    with pytest.raises(ArgumentError, match="a score steers alone only where the generator stops"):
        edit(Whole(Flow()), source, SOURCE, rng=0, score=mean)


def test_a_bad_reconstruction_is_reported_before_any_edit() -> None:
    class Lossy(Flow):
        def decode(self, z: Any) -> np.ndarray:
            return 0.2 * super().decode(z)

    with pytest.warns(UserWarning, match="reconstructs it to .* RMS only"):
        found = run(Lossy())
    assert found.reconstruction > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()


def test_bad_requests_are_refused() -> None:
    flow, source = Flow(), item(Flow())
    with pytest.raises(UnsupportedError, match="Encodable"):
        edit(FunctionGenerator(lambda z: z, (12,)), source, SOURCE, TARGET, rng=0)
    with pytest.raises(ArgumentError, match="or a score that steers alone"):
        edit(flow, source, SOURCE, rng=0)
    with pytest.raises(ArgumentError, match="budget: a search needs"):
        run(budget=10)
    with pytest.raises(ArgumentError, match="draws"):
        run(draws=0)
    with pytest.raises(ArgumentError, match="ladder"):
        run(ladder=())
    with pytest.raises(ShapeError, match="score: expected n = 4"):
        run(score=lambda outputs, conditions: np.zeros(3))
    assert not flow.sizes
