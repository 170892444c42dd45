"""The contract of steppable generators notices every fault that it is there for, on a generator with a known answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Gaussian, Generated
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import check_conditions
from surrogate_ax.latents.priors import check_latents
from tests.contracts.generator_contract import Case, GeneratorContract, draw
from tests.contracts.steppable_contract import SteppableContract


@dataclass(frozen=True)
class State:
    step: int
    latents: torch.Tensor
    clean: torch.Tensor | None
    spent: np.ndarray


class Halving:
    """Every step goes half the way to an estimate, the sine of where it stands; the last one all of it."""

    prior = Gaussian((4,))
    fingerprint = {"pipeline": "Halving", "prior": prior.fingerprint}  # noqa: RUF012
    steps = 4

    def generate(self, z: Any, conditions: Sequence[Any]) -> Generated:
        return self.finish(self.start(z, conditions))

    def start(self, z: Any, conditions: Sequence[Any], *, step: int = 0) -> State:
        z = check_latents(z, self.prior)
        n = check_conditions(z, conditions)
        if any(conditions):
            raise ArgumentError("conditions: takes none.")
        if not 0 <= step < self.steps:
            raise ArgumentError(f"step: expected 0 to {self.steps - 1}, got {step}.")
        return State(step, z["latents"].float(), None, np.zeros(n))

    def advance(self, state: State, to: int) -> State:
        if not state.step <= to <= self.steps:
            raise ArgumentError(f"to: expected {state.step} to {self.steps}, a step that is not behind, got {to}.")
        while state.step < to:
            clean = state.latents.sin()
            share = 0.5 if state.step < self.steps - 1 else 1.0
            x = torch.lerp(state.latents, clean, share)
            state = State(state.step + 1, x, clean, state.spent + 1)
        return state

    def select(self, states: Sequence[State], rows: Sequence[tuple[int, int]]) -> State:
        bad = [row for row in rows if not 0 <= row[1] < len(states[row[0]].latents)]
        if bad:
            raise ArgumentError(f"rows: {bad[0]} does not exist.")
        if len({states[s].step for s, _ in rows}) > 1:
            raise ArgumentError("states: expected rows at one step.")
        parts = [states[s] for s, _ in rows]
        latents = torch.stack([states[s].latents[r] for s, r in rows])
        clean = None if parts[0].clean is None else torch.stack([states[s].clean[r] for s, r in rows])  # type: ignore[index]
        return State(parts[0].step, latents, clean, np.array([states[s].spent[r] for s, r in rows]))

    def latents(self, state: State) -> dict[str, torch.Tensor]:
        return {"latents": state.latents.clone()}

    def estimate(self, state: State) -> np.ndarray:
        if state.clean is None:
            raise ArgumentError("state: no step was run yet.")
        return state.clean.numpy()

    def nfe(self, state: State) -> np.ndarray:
        return state.spent.copy()

    def finish(self, state: State) -> Generated:
        end = self.advance(state, self.steps)
        return Generated(end.latents.numpy(), end.spent, 1e-3)


class Swapped(Halving):
    def select(self, states: Sequence[State], rows: Sequence[tuple[int, int]]) -> State:
        return super().select(states, rows[::-1])


class Forgetful(Halving):
    """Loses a step when rows are chosen."""

    def select(self, states: Sequence[State], rows: Sequence[tuple[int, int]]) -> State:
        chosen = super().select(states, rows)
        return replace(chosen, latents=0.9 * chosen.latents)


class Free(Halving):
    """Charges nothing for what was run before rows were chosen."""

    def select(self, states: Sequence[State], rows: Sequence[tuple[int, int]]) -> State:
        return replace(super().select(states, rows), spent=np.zeros(len(rows)))


class Greedy(Halving):
    """Changes the state that it is given."""

    def finish(self, state: State) -> Generated:
        generated = super().finish(state)
        state.latents.mul_(0.5)
        return generated


class Blurred(Halving):
    """Its last estimate is not its output."""

    def estimate(self, state: State) -> np.ndarray:
        return 0.9 * super().estimate(state)


class Frozen(Halving):
    """Shows the rows as they came in."""

    def start(self, z: Any, conditions: Sequence[Any], *, step: int = 0) -> State:
        self.first = z
        return super().start(z, conditions, step=step)

    def latents(self, state: State) -> dict[str, torch.Tensor]:
        return dict(self.first)


class Repeating(Halving):
    """Runs the steps before a stop again, and charges for them."""

    def advance(self, state: State, to: int) -> State:
        again = state.step if to > state.step else 0
        done = super().advance(state, to)
        return replace(done, spent=done.spent + again)


class TestHalving(GeneratorContract, SteppableContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(Halving())


CONTRACT = SteppableContract()


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Swapped, CONTRACT.test_survivors_equal_the_uninterrupted_batch),
        (Swapped, CONTRACT.test_rows_of_several_states_merge),
        (Forgetful, CONTRACT.test_survivors_equal_the_uninterrupted_batch),
        (Forgetful, CONTRACT.test_rows_of_several_states_merge),
        (Free, CONTRACT.test_survivors_equal_the_uninterrupted_batch),
        (Repeating, CONTRACT.test_survivors_equal_the_uninterrupted_batch),
        (Repeating, CONTRACT.test_rows_of_several_states_merge),
        (Blurred, CONTRACT.test_estimates_approach_the_output_and_end_in_it),
    ],
)
def test_the_contract_notices(kind: type[Halving], test: Any) -> None:
    generator = kind()
    z, none = draw(generator), [{}] * 3
    with pytest.raises(AssertionError):
        test(Case(generator), z, none, generator.generate(z, none))


def test_the_contract_notices_latents_of_another_step() -> None:
    generator = Frozen()
    with pytest.raises(AssertionError):
        CONTRACT.test_latents_are_those_of_the_prior_and_enter_where_they_left(
            Case(generator), draw(generator), [{}] * 3
        )


def test_the_contract_notices_a_changed_state() -> None:
    generator = Greedy()
    with pytest.raises(AssertionError):
        CONTRACT.test_a_state_is_a_value(Case(generator), draw(generator), [{}] * 3)
