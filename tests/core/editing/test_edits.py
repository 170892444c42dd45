"""Edits are generators: they keep the contract, follow their formula, and leave alone what they should."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator
from surrogate_ax.editing import Edit, Inpaint, edit_of, invert
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from tests.contracts.generator_contract import Case, GeneratorContract
from tests.core.editing.flows import Flow, Whole, draw

SOURCE, TARGET = {"shift": 0.0}, {"shift": 0.4}


def item(flow: Flow, rng: int = 5) -> dict[str, torch.Tensor]:
    end = flow.advance(flow.start(draw(flow, 1, rng), [SOURCE]), flow.steps)
    return dict(flow.latents(end))


def made(path: Any = "straight", **options: Any) -> Edit:
    flow = Flow()
    return Edit(flow, item(flow), source=SOURCE, target=TARGET, path=path, **options)


SCALES = ({"scale": 0.7}, {"scale": 1.3})


class TestStraight(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(made(), SCALES, {"sale": 1.0})


class TestInverted(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(made("inverted", start=2), SCALES, {"sale": 1.0})


class TestInpaint(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        flow = Flow()
        mask = torch.tensor([[1.0] * 5 + [0.0] * 7])
        return Case(Inpaint(flow, item(flow), mask, target=TARGET), SCALES, {"sale": 1.0})


def test_the_straight_path_is_its_formula() -> None:
    edit = made()
    flow, z = Flow(), draw(edit, 2)
    x, d = item(flow)["latents"].expand(2, -1), torch.zeros(2, 12)
    for k, s in enumerate(range(1, flow.steps)):
        sigma = 1 - s / flow.steps
        x_s = (1 - sigma) * x + sigma * z["latents"][:, k]
        a = flow.advance(flow.start({"latents": x_s + d}, [TARGET] * 2, step=s), s + 1).x
        b = flow.advance(flow.start({"latents": x_s}, [SOURCE] * 2, step=s), s + 1).x
        d = a - b
    result = edit.generate(z, [{}] * 2)
    np.testing.assert_allclose(result.outputs, (x + d).numpy(), rtol=1e-5, atol=1e-6)
    assert result.nfe.tolist() == [2 * 5, 2 * 5]
    assert np.abs(np.asarray(result.outputs) - x.numpy()).mean() > 0.1


def test_a_target_that_is_the_source_changes_nothing() -> None:
    flow = Flow()
    x = item(flow)
    edit = Edit(flow, x, source=SOURCE, target=SOURCE)
    np.testing.assert_array_equal(edit.generate(draw(edit, 2), [{}] * 2).outputs, x["latents"].expand(2, -1).numpy())


def test_the_inverted_path_swaps_the_condition_and_keeps_the_residual() -> None:
    flow = Flow()
    x = item(flow)
    residual = invert(flow, x, SOURCE)
    edit = Edit(flow, x, source=SOURCE, target=TARGET, path="inverted", start=0)
    swapped = flow.generate(residual.latents, [TARGET]).outputs
    np.testing.assert_allclose(edit.generate(residual.latents, [{}]).outputs, swapped, atol=1e-6)
    d = torch.zeros(1, 12)  # the same as differences along the path
    for s in range(flow.steps):
        x_s = residual.path[s]["latents"]
        a = flow.advance(flow.start({"latents": x_s + d}, [TARGET], step=s), s + 1).x
        d = a - flow.advance(flow.start({"latents": x_s}, [SOURCE], step=s), s + 1).x
    np.testing.assert_allclose(swapped, (x["latents"] + d).numpy(), atol=1e-4)
    back = Edit(flow, x, source=SOURCE, target=SOURCE, path="inverted", start=3)
    np.testing.assert_allclose(back.generate(residual.latents, [{}]).outputs, x["latents"].numpy(), atol=1e-5)


def test_a_share_of_noise_stands_for_residuals_near_the_items_own() -> None:
    flow = Flow()
    x = item(flow)
    own, z = invert(flow, x, SOURCE).latents, draw(flow, 3, 4)
    near = {"path": "inverted", "start": 0, "residual": own, "b": 0.6}
    edit = Edit(flow, x, source=SOURCE, target=TARGET, **near)  # type: ignore[arg-type]
    rows = {"latents": 0.8 * own["latents"] + 0.6 * z["latents"]}
    np.testing.assert_allclose(edit.generate(z, [{}] * 3).outputs, flow.generate(rows, [TARGET] * 3).outputs, atol=1e-6)
    again = edit_of(edit.fingerprint, flow, edit.seeds)
    np.testing.assert_array_equal(again.generate(z, [{}] * 3).outputs, edit.generate(z, [{}] * 3).outputs)
    assert edit.fingerprint != Edit(flow, x, source=SOURCE, target=TARGET, **{**near, "b": 0.5}).fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["straight", "inverted"])
def test_outside_a_mask_the_item_stays(path: str) -> None:
    flow = Flow()
    x = item(flow)
    mask = torch.tensor([[1.0] * 5 + [0.0] * 7])
    edit = Edit(flow, x, source=SOURCE, target=TARGET, path=path, mask=mask)  # type: ignore[arg-type]
    whole = Edit(flow, x, source=SOURCE, target=TARGET, path=path)  # type: ignore[arg-type]
    z = draw(edit, 2)
    outputs = np.asarray(edit.generate(z, [{}] * 2).outputs)
    np.testing.assert_array_equal(outputs[:, 5:], x["latents"][:, 5:].expand(2, -1).numpy())
    np.testing.assert_allclose(outputs[:, :5], np.asarray(whole.generate(z, [{}] * 2).outputs)[:, :5], atol=1e-6)
    assert edit_of(edit.fingerprint, flow, edit.seeds).fingerprint == edit.fingerprint
    assert whole.within(mask).fingerprint == edit.fingerprint


def test_inpainting_keeps_what_is_known_and_fills_the_hole_from_its_noise() -> None:
    flow = Flow()
    x = item(flow)
    mask = torch.tensor([[1.0] * 5 + [0.0] * 7])
    filled = Inpaint(flow, x, mask, target=TARGET)
    outputs = np.asarray(filled.generate(draw(filled, 3), [{}] * 3).outputs)
    np.testing.assert_array_equal(outputs[:, 5:], x["latents"].expand(3, -1).numpy()[:, 5:])
    assert np.abs(outputs[0, :5] - outputs[1, :5]).max() > 1e-2
    assert json.loads(filled.fingerprint["edit"])["path"] == "inpaint"
    with pytest.raises(ArgumentError, match="start: expected a step from 0 to 5"):
        Inpaint(flow, x, mask, target=TARGET, start=6)
    with pytest.raises(UnsupportedError, match="can stop between steps"):
        Inpaint(Whole(flow), x, mask, target=TARGET)


def test_start_and_the_sources_side_are_conditions() -> None:
    edit, late = made(), made(start=3)
    z = draw(edit, 1)
    cut = {"latents": z["latents"][:, 2:]}
    searched = edit.generate(z, [{"start": 3}])
    np.testing.assert_allclose(searched.outputs, late.generate(cut, [{}]).outputs, rtol=1e-6)
    assert searched.nfe.tolist() == [6.0]
    both = edit.generate({"latents": z["latents"].expand(3, -1, -1)}, [{}, {"start": 3}, {"source_shift": 0.2}])
    np.testing.assert_allclose(both.outputs[1], searched.outputs[0], rtol=1e-6)
    flow = Flow()
    other = Edit(flow, item(flow), source={"shift": 0.2}, target=TARGET)
    np.testing.assert_allclose(both.outputs[2], other.generate(z, [{}]).outputs[0], rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"start: expected 1, of this edit, to 5, got 0"):
        edit.generate(z, [{"start": 0}])


def test_a_fingerprint_names_the_item_and_the_edit() -> None:
    a, b = made(), made(start=2)
    assert a.fingerprint["edit"] != b.fingerprint["edit"]
    described = json.loads(a.fingerprint["edit"])
    assert described["source"] == SOURCE
    assert described["item"] in a.seeds
    flow = Flow()
    other = Edit(flow, item(flow, rng=6), source=SOURCE, target=TARGET)
    assert json.loads(other.fingerprint["edit"])["item"] != described["item"]


def test_bad_edits_are_refused() -> None:
    flow = Flow()
    x = item(flow)
    for options, message in (
        ({"path": "winding"}, "path: expected 'straight' or 'inverted'"),
        ({"start": 6}, "start: expected a step from 0 to 5"),
        ({"mask": torch.zeros(1, 12)}, "selects nothing"),
        ({"mask": torch.ones(1, 12)}, "selects everything"),
        ({"mask": torch.full((1, 12), 2.0)}, r"values in \[0, 1\]"),
        ({"path": "inverted", "b": 0.5}, "b, residual: expected both or neither"),
        ({"path": "inverted", "residual": torch.ones(1, 12)}, "b, residual: expected both or neither"),
        ({"path": "inverted", "b": 1.0, "residual": torch.ones(1, 12)}, r"b: expected a share of noise in \(0, 1\)"),
        ({"b": 0.5}, "on the inverted path, got 0.5 on 'straight'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            Edit(flow, x, source=SOURCE, target=TARGET, **options)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="expected shape"):
        Edit(flow, torch.zeros(1, 3), source=SOURCE, target=TARGET)
    with pytest.raises(UnsupportedError, match="can stop between steps"):
        Edit(FunctionGenerator(lambda z: z, (12,)), x, source=SOURCE, target=TARGET)
    unknown: Any = Whole(flow)  # steps, but does not know the noise of one
    for name in ("start", "advance", "select", "latents", "estimate", "nfe", "finish", "steps"):
        setattr(unknown, name, getattr(flow, name))
    with pytest.raises(UnsupportedError, match="a straight edit needs Noising, which Whole is not"):
        Edit(unknown, x, source=SOURCE, target=TARGET)
