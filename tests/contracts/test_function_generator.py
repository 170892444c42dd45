"""A plain function keeps the contract of generators, and the contract notices one that does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator, Gaussian
from tests.contracts.generator_contract import Case, GeneratorContract, draw


def squares(z: torch.Tensor) -> torch.Tensor:
    return z.float().square().cumsum(1)


def scaled(z: dict[str, torch.Tensor], conditions: Any) -> np.ndarray:
    scale = torch.tensor([condition.get("scale", 1.0) for condition in conditions])
    return (scale[:, None] * (z["a"].float().flatten(1)[:, :2] + z["b"].float())).numpy()


class TestFunction(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(FunctionGenerator(squares, (5,)), unknown={"scale": 2.0})


class TestConditionalFunctionOfTwoParts(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        generator = FunctionGenerator(scaled, Gaussian({"a": (3, 2), "b": (2,)}), conditional=True)
        return Case(generator, conditions=({"scale": 2.0}, {"scale": 3.0}))


CONTRACT = GeneratorContract()
CALLS = itertools.count()


def noisy(z: torch.Tensor) -> torch.Tensor:
    return z + 1e-7 * (next(CALLS) + 1)


def mixed(z: torch.Tensor) -> torch.Tensor:
    return z + z.mean(0)


def swapped(z: torch.Tensor) -> torch.Tensor:
    return z.flip(0)


def constant(z: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(z)


def greedy(z: torch.Tensor) -> torch.Tensor:
    return z.mul_(2.0)


@pytest.mark.parametrize(
    ("function", "test"),
    [
        (noisy, CONTRACT.test_the_same_latents_give_the_same_outputs),
        (mixed, CONTRACT.test_n_at_once_equal_one_at_a_time),
        (swapped, CONTRACT.test_n_at_once_equal_one_at_a_time),
        (swapped, CONTRACT.test_outputs_follow_their_latents),
    ],
)
def test_the_contract_notices(function: Callable[..., Any], test: Callable[..., None]) -> None:
    case = Case(FunctionGenerator(function, (5,)))
    z = draw(case.generator)
    with pytest.raises(AssertionError):
        test(case, z, case.generator.generate(z, [{}] * 3))


def test_the_contract_notices_outputs_that_do_not_depend_on_the_latents() -> None:
    case = Case(FunctionGenerator(constant, (5,)))
    with pytest.raises(AssertionError):
        CONTRACT.test_different_latents_give_different_outputs(
            case, case.generator.generate(draw(case.generator), [{}] * 3)
        )


def test_the_contract_notices_changed_input() -> None:
    case = Case(FunctionGenerator(greedy, (5,)))
    with pytest.raises(AssertionError):
        CONTRACT.test_the_input_is_not_changed(case, draw(case.generator))
