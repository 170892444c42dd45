"""A generator whose rows depend on each other is warned of by its name, once; whatever else it does is left to it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from surrogate_ax import Evaluator, FunctionGenerator, Gaussian, Generated, Metric, MultiCondition, Objective
from surrogate_ax.generation.row_check import wants_check
from tests.contracts.euler_flow import EulerFlow

OBJECTIVE = Objective(Metric("first"), score=lambda outputs, _: [0.0] * len(outputs))
Z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def normed(z):
    return (z - z.mean(dim=0)) / (z.std(dim=0) + 1)


def training(z):
    return torch.nn.BatchNorm1d(6, affine=False)(z)


def padded(z):
    return [x[: int((z[:, 0] > 0).sum())].numpy() for x in z]


def drawn(z):
    return z + torch.randn_like(z)


def by_the_last(z):
    return torch.cumsum(z.flip(0), 0).flip(0).half()


class Own:
    """Outputs of a function; attributes replace those of the class."""

    prior = Gaussian((6,))
    fingerprint = {"weights": "1"}  # noqa: RUF012

    def __init__(self, function, **attributes):
        self.function = function
        vars(self).update(attributes)

    def generate(self, z, conditions):
        return Generated(self.function(z["latents"]), np.ones(len(conditions)), 0.1)


def warned(generator, caplog, batches=2):
    caplog.clear()
    evaluate = Evaluator(generator, OBJECTIVE)
    for _ in range(batches):
        assert evaluate({"latents": Z}).reasons == {}
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("function", [normed, padded, drawn, by_the_last])
def test_rows_that_depend_on_each_other_are_named_once(function, caplog):
    (said,) = warned(FunctionGenerator(function, (6,)), caplog)
    assert said.startswith(f"{function.__module__}.{function.__name__}: a latent gave another output alone than in a")
    (said,) = warned(Own(function), caplog)
    assert said.startswith("Own: a latent gave another output alone than in a batch of 4, by ")
    (said,) = warned(MultiCondition(Own(function), [{"prompt": "a"}, {"prompt": "b"}]), caplog)
    assert said.startswith("MultiCondition: ")
    assert warned(FunctionGenerator(function, (6,), check_rows=False), caplog) == []
    assert warned(Own(function, check_rows=False), caplog) == []


@pytest.mark.parametrize(
    "function",
    [
        torch.tanh,
        lambda z: torch.nn.functional.interpolate(z[:, None], size=60, mode="linear").bfloat16(),
        lambda z: [x.numpy() for x in z],
        lambda z: [f"{x[0]:.3f}" for x in z],  # no numbers
        lambda z: [{"image": x} for x in z],
        training,  # fails for a row alone, which the search never asks for
    ],
)
def test_what_works_row_by_row_and_what_cannot_be_compared_is_searched_in_silence(function, caplog):
    assert warned(FunctionGenerator(function, (6,)), caplog) == []


def test_it_is_one_row_more_in_the_first_batch_of_several_and_draws_are_the_users(caplog):
    sizes = []

    def counted(z):
        sizes.append(len(z))
        noise = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        seen.append(noise)
        return z

    def seeded():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        seen.clear()

    seen = []
    for check in (True, False):
        seeded()
        evaluate = Evaluator(FunctionGenerator(counted, (6,), check_rows=check), OBJECTIVE)
        evaluate({"latents": Z[:1]})
        evaluate({"latents": Z})
        evaluate({"latents": Z})
        if check:
            checked, seen = [*seen[:2], *seen[3:]], []
    assert sizes == [1, 4, 1, 4, 1, 4, 4]
    assert checked == seen


def test_what_looks_itself_is_not_looked_at():
    assert wants_check(FunctionGenerator(torch.tanh, (6,)))
    assert wants_check(Own(torch.tanh))
    assert not wants_check(EulerFlow(4, 2))
    assert not wants_check(MultiCondition(FunctionGenerator(torch.tanh, (6,), check_rows=False), [{}]))
