"""FlowOpt: the paper's rule, its improvements, masks, and steps that are iterates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator, Gaussian
from surrogate_ax.editing import FlowOpt, largest_step
from surrogate_ax.errors import ArgumentError, UnsupportedError
from tests.contracts.generator_contract import Case, GeneratorContract
from tests.contracts.steppable_contract import SteppableContract
from tests.core.editing.flows import Flow, Whole, draw

TARGET = {"shift": 0.3}


def item(flow: Flow, n: int = 1, rng: int = 5) -> dict[str, torch.Tensor]:
    end = flow.advance(flow.start(draw(flow, n, rng), [{}] * n), flow.steps)
    return dict(flow.latents(end))


def search(generator: Any = None, **options: Any) -> FlowOpt:
    flow = Flow()
    return FlowOpt(generator or flow, item(flow), **{"iterates": 4, "eta": 0.3, **options})


SCALES = ({"scale": 0.7}, {"scale": 1.3})


class TestContract(GeneratorContract, SteppableContract):
    @pytest.fixture(scope="class", params=["paper", "improved"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> Case:
        improved = {"depth": 3, "backtrack": True, "keep_best": True} if request.param == "improved" else {}
        return Case(search(**improved), SCALES, {"sale": 1.0})

    def test_estimates_approach_the_output_and_end_in_it(self, case: Any, z: Any, conditions: Any, whole: Any) -> None:
        """Early iterates need not be nearer to the output than later ones; the last one is the output."""
        g = case.generator
        with pytest.raises(ArgumentError, match="no step was run"):
            g.estimate(g.start(z, conditions))
        end = g.advance(g.start(z, conditions), g.steps)
        if not g._keep_best:
            np.testing.assert_allclose(g.estimate(end), whole.outputs, atol=1e-6)
        np.testing.assert_allclose(g.nfe(end), whole.nfe)


def test_with_everything_off_it_is_the_papers_rule() -> None:
    flow, z = Flow(), draw(Flow(), 2)
    y, x = item(flow)["latents"], z["latents"]
    for _ in range(4):
        f = flow.advance(flow.start({"latents": x}, [TARGET] * 2), flow.steps).x
        x, last = x - 0.3 * (f - y), f
    made = search(target=TARGET).generate(z, [{}] * 2)
    np.testing.assert_allclose(made.outputs, last.numpy(), rtol=1e-5, atol=1e-6)
    assert made.nfe.tolist() == [24.0, 24.0]


def test_improvements_invert_better_at_equal_cost_and_no_item_gets_worse() -> None:
    flow = Flow()
    y, z = item(flow, 6), draw(flow, 6, 9)
    errors = {}
    for name, options in {
        "paper": {"eta": 0.5},
        "improved": {"eta": 0.5, "depth": 5, "backtrack": True, "keep_best": True},
    }.items():
        g = FlowOpt(flow, y, iterates=25, **options)  # type: ignore[arg-type]
        state = g.advance(g.start(z, [{}] * 6), 25)
        errors[name] = state.best_error.numpy()
        assert (state.best_error <= state.first_error).all()
    assert np.median(errors["improved"]) < 0.2 * np.median(errors["paper"])


def test_black_boxes_give_the_same_as_steps() -> None:
    flow, z = Flow(), draw(Flow(), 2)
    stepped = search().generate(z, [{}] * 2)
    np.testing.assert_allclose(search(Whole(flow)).generate(z, [{}] * 2).outputs, stepped.outputs, atol=1e-6)
    plain = FunctionGenerator(lambda x: x + 0.1, (12,))
    made = FlowOpt(plain, item(flow), iterates=30, eta=0.5).generate(z, [{}] * 2)
    np.testing.assert_allclose(made.outputs, item(flow)["latents"].expand(2, -1).numpy(), atol=1e-4)
    with pytest.raises(UnsupportedError, match="neither steps nor encodes"):
        FlowOpt(FunctionGenerator(lambda x: x[:, :3], (12,)), item(flow)).generate(z, [{}] * 2)


def test_only_what_is_known_pulls_under_a_mask() -> None:
    flow, z = Flow(), draw(Flow(), 2)
    mask = torch.tensor([[1.0] * 5 + [0.0] * 7])
    end = FlowOpt(flow, item(flow), iterates=3, eta=0.3, mask=mask)
    state = end.advance(end.start(z, [{}] * 2), 3)
    moved = (state.z - z["latents"]).abs()
    assert moved[:, :5].max() == 0
    assert moved[:, 5:].min() > 0


def test_a_diverging_step_is_explained_and_the_best_iterate_returned() -> None:
    steep = FunctionGenerator(lambda x: 4 * x, Gaussian((3,)))
    y, z = {"latents": torch.zeros(1, 3)}, {"latents": torch.ones(2, 3)}
    with pytest.warns(UserWarning, match=r"error of 2 of 2 items grew.*η = 1.0 is too large.*largest_step"):
        made = FlowOpt(steep, y, iterates=8, eta=1.0).generate(z, [{}] * 2)
    np.testing.assert_allclose(made.outputs, 4 * torch.ones(2, 3))
    calm = FlowOpt(steep, y, iterates=20, eta=1.0, backtrack=True, keep_best=True).generate(z, [{}] * 2)
    assert np.abs(np.asarray(calm.outputs)).max() < 1e-3


def test_the_largest_step_of_a_linear_map_is_its_bound() -> None:
    def stretched(x: torch.Tensor) -> torch.Tensor:
        return x * torch.tensor([4.0, 1.0, 1.0])

    z = {"latents": torch.randn(40, 3, generator=torch.Generator().manual_seed(0))}
    g = FunctionGenerator(stretched, Gaussian((3,)))
    found = largest_step(g, z, [{}] * 40, rng=0, margin=1.0)
    assert 0.5 <= found <= 0.55  # 2/4, where a pair differs along the first axis
    assert largest_step(g, z, [{}] * 40, rng=0) == pytest.approx(found / 2)
    against = FunctionGenerator(lambda x: -x, Gaussian((3,)))
    with pytest.raises(UnsupportedError, match="no step size is safe"):
        largest_step(against, z, [{}] * 40, rng=0)


def test_bad_numbers_are_refused() -> None:
    for options in ({"iterates": 0}, {"eta": 0.0}, {"depth": -1}):
        with pytest.raises(ArgumentError):
            search(**options)
    with pytest.raises(UnsupportedError, match="start: only"):
        FlowOpt(Whole(Flow()), item(Flow()), start=1)
    with pytest.raises(ArgumentError, match="two rows or more"):
        largest_step(Flow(), draw(Flow(), 1), [{}], rng=0)
