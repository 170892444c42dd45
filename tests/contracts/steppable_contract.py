"""What a generator that can stop between steps has to keep, beside the contract of generators.

Subclass it and give `case`, as for `GeneratorContract`; a generator without the ability must not look as if it had it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Generated, Steppable
from surrogate_ax.errors import ArgumentError
from tests.contracts.generator_contract import Case, N, difference, draw, numbers, rows


class SteppableContract:
    """Subclass it and give `case`; its generator takes at least three steps."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def z(cls, case: Case) -> dict[str, torch.Tensor]:
        return draw(case.generator)

    @pytest.fixture(scope="class")
    @classmethod
    def conditions(cls, case: Case) -> list[Any]:
        return [{}, *case.conditions, {}, {}][:N]

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, case: Case, z: dict[str, torch.Tensor], conditions: list[Any]) -> Generated:
        return case.generator.generate(z, conditions)

    def test_it_is_steppable(self, case: Case) -> None:
        assert isinstance(case.generator, Steppable)

    def test_survivors_equal_the_uninterrupted_batch(self, case: Case, z: Any, conditions: Any, whole: Any) -> None:
        g, keep = case.generator, [2, 0]
        early = g.advance(g.start(z, conditions), 1)
        late = g.advance(g.select([early], [(0, i) for i in keep]), g.steps - 1)
        made = g.finish(late)
        assert difference(numbers(made), numbers(whole)[keep]) <= case.tolerance
        np.testing.assert_allclose(made.nfe, whole.nfe[keep])  # in whole, with nothing run twice
        assert (g.nfe(early) < whole.nfe).all()
        assert (g.nfe(early) > 0).all()

    def test_rows_of_several_states_merge(self, case: Case, z: Any, conditions: Any, whole: Any) -> None:
        g = case.generator
        states = [g.advance(g.start(rows(z, [i]), [conditions[i]]), 2) for i in range(N)]
        merged = g.select(states, [(2, 0), (0, 0), (1, 0), (2, 0)])
        made = g.finish(merged)
        assert difference(numbers(made), numbers(whole)[[2, 0, 1, 2]]) <= case.tolerance
        np.testing.assert_allclose(made.nfe, whole.nfe[[2, 0, 1, 2]])

    def test_a_state_is_a_value(self, case: Case, z: Any, conditions: Any) -> None:
        g = case.generator
        start = g.start(z, conditions)
        early = g.advance(start, 2)
        first = numbers(g.finish(early))
        spent = g.nfe(early).copy()
        assert difference(numbers(g.finish(early)), first) == 0
        assert difference(numbers(g.finish(g.advance(start, 2))), first) == 0
        np.testing.assert_array_equal(g.nfe(early), spent)

    def test_estimates_approach_the_output_and_end_in_it(self, case: Case, z: Any, conditions: Any, whole: Any) -> None:
        g, final = case.generator, numbers(whole)
        state, errors = g.start(z, conditions), []
        with pytest.raises(ArgumentError, match="no step was run"):
            g.estimate(state)
        for to in (1, g.steps - 1, g.steps):
            state = g.advance(state, to)
            estimates = np.asarray(g.estimate(state), dtype=float)
            errors.append(np.abs(estimates - final).mean())
        assert errors[0] > 10 * case.tolerance
        assert errors[0] > errors[1]
        assert difference(estimates, final) <= case.tolerance
        np.testing.assert_allclose(g.nfe(state), whole.nfe)

    def test_latents_are_those_of_the_prior_and_enter_where_they_left(
        self, case: Case, z: Any, conditions: Any
    ) -> None:
        g = case.generator
        start = g.start(z, conditions)
        for name, part in g.latents(start).items():
            assert difference(part.cpu().numpy(), z[name].numpy()) <= case.tolerance
        for state in (g.advance(start, 1), g.advance(start, g.steps)):
            latents = g.latents(state)
            assert {name: tuple(x.shape[1:]) for name, x in latents.items()} == dict(g.prior.shapes)
            assert all(bool(torch.isfinite(x).all()) for x in latents.values())
        at = g.advance(start, 1)
        again = g.latents(g.start(g.latents(at), conditions, step=1))
        for name, part in g.latents(at).items():
            assert difference(again[name].cpu().numpy(), part.cpu().numpy()) <= case.tolerance
            assert difference(g.latents(start)[name].cpu().numpy(), part.cpu().numpy()) > case.tolerance

    def test_wrong_requests_are_refused(self, case: Case, z: Any, conditions: Any) -> None:
        g = case.generator
        start = g.start(z, conditions)
        early = g.advance(start, 1)
        for to in (0, g.steps + 1):
            with pytest.raises(ArgumentError, match=f"to: expected 1 to {g.steps}.*got {to}"):
                g.advance(early, to)
        with pytest.raises(ArgumentError, match="rows at one step"):
            g.select([start, early], [(0, 0), (1, 0)])
        with pytest.raises(ArgumentError, match=rf"rows: \(0, {N}\) does not exist"):
            g.select([start], [(0, N)])
        with pytest.raises(ArgumentError, match="step: expected 0 to"):
            g.start(z, conditions, step=g.steps)
