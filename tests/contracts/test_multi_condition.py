"""One latent under several conditions is a generator like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator, Gaussian, Generated, MultiCondition
from surrogate_ax.errors import ArgumentError
from tests.contracts.generator_contract import Case, GeneratorContract, draw


def scaled(z: torch.Tensor, conditions: Any) -> torch.Tensor:
    scale = torch.tensor([condition["scale"] for condition in conditions])
    shift = torch.tensor([condition.get("shift", 0.0) for condition in conditions])
    return z.float() * scale[:, None] + shift[:, None]


def beneath(kind: Any = lambda outputs: outputs) -> FunctionGenerator:
    return FunctionGenerator(lambda z, c: kind(scaled(z, c)), (4,), conditional=True, nfe=3.0, rate=8.0)


EACH = [{"scale": 1.0}, {"scale": 2.0}]


class TestUnderEach(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        return Case(
            MultiCondition(beneath(), EACH), conditions=({"shift": 1.0}, {"shift": 2.0}), unknown={"scale": 3.0}
        )


@pytest.mark.parametrize("kind", [lambda x: x, lambda x: x.numpy(), list], ids=["tensor", "array", "list"])
def test_outputs_of_a_latent_come_together(kind: Any) -> None:
    generator = MultiCondition(beneath(kind), EACH)
    z = draw(generator)
    made = generator.generate(z, [{}] * 3)
    expected = torch.stack([z["latents"], 2 * z["latents"]], dim=1)
    np.testing.assert_array_equal(np.array([[np.asarray(x) for x in item] for item in made.outputs]), expected)
    assert type(made.outputs) is type(kind(z["latents"]))
    np.testing.assert_array_equal(made.nfe, [6.0] * 3)
    assert generator.rate == 8.0


class Withholding:
    """Fails the third of its items."""

    prior = Gaussian((4,))
    fingerprint = {"prior": prior.fingerprint}  # noqa: RUF012

    def generate(self, z: Any, conditions: Any) -> Generated:
        rows = z["latents"]
        kept = [i for i in range(len(rows)) if i != 2]
        return Generated(rows[kept], np.ones(len(rows)), 0.1, {2: "withheld"} if len(rows) > 2 else {})


def test_an_item_of_which_one_fails_has_failed() -> None:
    generator = MultiCondition(Withholding(), EACH)
    z = draw(generator)
    made = generator.generate(z, [{}] * 3)
    assert made.failed == {1: "under {'scale': 1.0}: withheld"}
    np.testing.assert_array_equal(made.outputs[:, 0], z["latents"][[0, 2]])
    np.testing.assert_array_equal(made.outputs[:, 1], z["latents"][[0, 2]])
    np.testing.assert_array_equal(made.nfe, [2.0] * 3)
    assert generator.rate is None


def test_its_conditions_are_part_of_the_fingerprint() -> None:
    prints = [MultiCondition(beneath(), each).fingerprint for each in (EACH, EACH[::-1], EACH[:1])]
    assert len({tuple(sorted(one.items())) for one in prints}) == 3


@pytest.mark.parametrize(
    ("generator", "conditions", "message"),
    [
        (len, EACH, "generator: expected a Generator, got builtin_function_or_method"),
        (beneath(), [], r"conditions: expected at least one mapping .* got \[\]"),
        (beneath(), ["a cat"], "conditions: expected at least one mapping"),
        (beneath(), [{"image": object()}], "conditions: expected texts, numbers and booleans; Object of type object"),
    ],
)
def test_bad_input_is_refused(generator: Any, conditions: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        MultiCondition(generator, conditions)
