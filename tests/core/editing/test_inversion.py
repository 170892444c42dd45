"""Inversion through steps: exact on a flow with a known answer, by item, within a budget, refused where wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator
from surrogate_ax.editing import invert
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from tests.core.editing.flows import Flow, Remembering, draw


def items(flow: Flow, n: int = 4, conditions: Any = None) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    z = draw(flow, n)
    end = flow.advance(flow.start(z, conditions or [{}] * n), flow.steps)
    flow.sizes.clear()
    return z, dict(flow.latents(end))


def test_what_the_flow_made_is_inverted_to_where_it_came_from() -> None:
    flow = Flow()
    z, x = items(flow)
    found = invert(flow, x, {})
    assert found.error.max() <= 1e-6
    assert found.converged.all()
    torch.testing.assert_close(found.latents["latents"], z["latents"], rtol=1e-3, atol=1e-3)
    assert len(found.path) == flow.steps + 1
    torch.testing.assert_close(found.path[-1]["latents"], x["latents"])
    for s in range(flow.steps):
        after = flow.latents(flow.advance(flow.start(found.path[s], [{}] * 4, step=s), s + 1))
        torch.testing.assert_close(after["latents"], found.path[s + 1]["latents"], rtol=1e-5, atol=1e-5)


def test_each_item_has_its_own_condition_and_stops_by_itself() -> None:
    flow = Flow()
    conditions = [{"scale": 0.5}, {"scale": 1.0}, {"shift": 0.3}, {"scale": 2.0}]
    _, x = items(flow, 4, conditions)
    found = invert(flow, x, conditions)
    steps = flow.sizes[3:]  # behind the check that the flow remembers nothing
    assert steps[0] == 4  # one call for all, of which items drop out
    assert found.error.max() <= 1e-5
    assert len(set(found.nfe.tolist())) > 1
    alone = [invert(flow, {"latents": x["latents"][[i]]}, conditions[i]) for i in range(4)]
    np.testing.assert_allclose([one.nfe[0] for one in alone], found.nfe)


@pytest.mark.parametrize("budget", [6, 20, 50])
def test_a_budget_is_kept_and_more_of_it_is_better(budget: int) -> None:
    flow = Flow()
    _, x = items(flow, 8)
    found, least = invert(flow, x, {}, budget=budget, tolerance=1e-9), invert(flow, x, {}, method="euler")
    assert found.nfe.max() <= budget
    assert np.median(found.error) < 1.01 * np.median(least.error)


def test_methods_stand_in_the_order_of_what_they_know() -> None:
    flow = Flow(steps=10)
    _, x = items(flow, 8)
    error = {
        "euler": invert(flow, x, {}, method="euler"),
        "uni-inv": invert(flow, x, {}, method="uni-inv"),
        "fixed-point": invert(flow, x, {}, method="fixed-point", budget=60, tolerance=1e-9),
        "anderson": invert(flow, x, {}, budget=60, tolerance=1e-9),
    }
    medians = [float(np.median(found.error)) for found in error.values()]
    assert medians == sorted(medians, reverse=True)
    assert error["euler"].nfe.tolist() == [10.0] * 8
    assert error["uni-inv"].nfe.tolist() == [11.0] * 8


def test_it_may_end_at_a_later_step() -> None:
    flow = Flow()
    _, x = items(flow)
    whole, late = invert(flow, x, {}), invert(flow, x, {}, start=3)
    assert late.start == 3
    assert len(late.path) == 4
    torch.testing.assert_close(late.latents["latents"], whole.path[3]["latents"], rtol=1e-4, atol=1e-4)


class Diffusing(Flow):
    """A variance-preserving process, x_s = a_s x + b_s ε, in steps of DDIM; the denoiser knows σ as well."""

    def levels(self, step: int) -> tuple[float, float]:
        angle = 0.95 * np.pi / 2 * (1 - step / self.steps)
        return float(np.cos(angle)), float(np.sin(angle))

    def noised(self, x: Any, eps: Any, step: int) -> Any:
        a, b = self.levels(step)
        return {"latents": a * x["latents"] + b * eps["latents"]}

    def advance(self, state: Any, to: int) -> Any:
        from dataclasses import replace

        for step in range(state.step, to):
            (a, b), (a2, b2) = self.levels(step), self.levels(step + 1)
            eps = 0.5 * torch.tanh(state.x)
            clean = (state.x - b * eps) / a
            state = replace(state, step=step + 1, x=a2 * clean + b2 * eps, spent=state.spent + 1)
        return state


def test_a_diffusion_is_inverted_with_the_gain_of_its_steps() -> None:
    flow = Diffusing()
    _, x = items(flow)
    found = invert(flow, x, {})
    assert found.converged.all()
    assert (found.error / np.sqrt(np.square(x["latents"].numpy()).mean(axis=1))).max() <= 1e-4


class Rounded(Flow):
    """Computes in half precision."""

    def after(self, x: torch.Tensor, state: Any) -> torch.Tensor:
        return x.to(torch.bfloat16).float()


def test_an_item_that_gains_no_more_is_left() -> None:
    flow = Rounded()
    _, x = items(flow)
    found = invert(flow, x, {}, tolerance=1e-9, iterations=10_000)
    assert found.nfe.max() < 6 * 100
    assert found.error.max() < 0.02


def test_steps_that_remember_are_refused() -> None:
    flow = Remembering()
    _, x = items(flow)
    with pytest.raises(UnsupportedError, match=r"Remembering remembers earlier steps.*first-order"):
        invert(flow, x, {})


def test_a_generator_that_knows_why_is_asked() -> None:
    class Knows(Flow):
        why_not_invertible = "Its scheduler cuts off."

    flow = Knows()
    with pytest.raises(UnsupportedError, match="invert: Its scheduler cuts off"):
        invert(flow, draw(flow), {})


def test_bad_input_is_refused_before_anything_runs() -> None:
    flow = Flow()
    x = draw(flow)
    with pytest.raises(UnsupportedError, match=r"can stop between steps.*FunctionGenerator.*FlowOpt"):
        invert(FunctionGenerator(lambda z: z, (12,)), x, {})
    with pytest.raises(ShapeError, match="expected shape"):
        invert(flow, torch.zeros(2, 5), {})
    with pytest.raises(ShapeError, match="expected one, or n = 3"):
        invert(flow, x, [{}, {}])
    with pytest.raises(ArgumentError, match="finite latents"):
        invert(flow, torch.full((1, 12), torch.nan), {})
    for options, message in (
        ({"method": "newton"}, "method: expected"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"budget": 3}, "budget: expected at least one evaluation a step, 6"),
        ({"damping": 1.5}, "damping"),
        ({"start": 6}, "start: expected a step from 0 to 5"),
        ({"iterations": 0}, "iterations"),
    ):
        with pytest.raises(ArgumentError, match=message):
            invert(flow, x, {}, **options)  # type: ignore[arg-type]
    assert not flow.sizes
