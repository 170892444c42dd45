"""A generator of one's own that has only a part of what is asked for is refused where it starts, and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surrogate_ax import Evaluator, Gaussian, Generated, Metric, Objective, Steppable
from surrogate_ax.errors import ArgumentError, ShapeError
from tests.contracts.euler_flow import EulerFlow

OBJECTIVE = Objective(Metric("first"), score=lambda outputs, _: outputs[:, 0])


class Own:
    """Outputs are the latents; attributes replace those of the class."""

    prior = Gaussian((2,))
    fingerprint = {"weights": "1"}  # noqa: RUF012

    def __init__(self, returned=None, **attributes):
        self.returned = returned
        for name, value in attributes.items():
            setattr(self, name, value)

    def generate(self, z, conditions):
        n = len(conditions)
        return (
            Generated(z["latents"], np.full(n, 3.0), 0.1) if self.returned is None else self.returned(z["latents"], n)
        )


def without(*names, base=Own):
    """A class that lacks some names of another."""
    kept = {name: value for name, value in vars(base).items() if name not in (*names, "__dict__", "__weakref__")}
    return type("Lacking", (), kept)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (Own(fingerprint="v1"), "Own.fingerprint: expected texts by the name of their part.* got str 'v1'"),
        (Own(fingerprint={"weights": np.float64}), "got 'weights': type"),
        (Own(fingerprint={"weights": ("a", 1)}), r"got 'weights': tuple \('a', 1\). A study could not read it back"),
        (Own(fingerprint={1: "a"}), "got 1: str 'a'"),
        (Own(fingerprint={"loss": float("nan")}), "got 'loss': float nan"),
        (Own(prior=(8, 8)), r"Own.prior: expected a Prior, got tuple \(8, 8\). Gaussian\(shape\) is"),
        (Own(prior=Gaussian), "Own.prior: expected a Prior, got type"),
        (Own(rate="44100"), "Own.rate: expected samples or frames a second, or None, got str '44100'"),
        (Own(generate=None), r"expected prior, fingerprint and generate\(\), got Own"),
        (
            without("fingerprint")(),
            r"expected prior, fingerprint and generate\(\), got Lacking, which lacks fingerprint",
        ),
        (without("prior", "generate")(), "which lacks prior, generate"),
    ],
)
def test_what_is_of_another_kind_is_named_before_anything_runs(generator, message):
    with pytest.raises(ArgumentError, match=message):
        Evaluator(generator, OBJECTIVE)


@pytest.mark.parametrize("missing", ["advance", "select", "estimate", "nfe", "finish"])
def test_a_missing_method_of_steppable_is_named(missing):
    class Flow(without(missing, base=EulerFlow)):
        pass

    flow = Flow(4, 2)
    assert not isinstance(flow, Steppable)
    with pytest.raises(ArgumentError, match=rf"generator: Flow has .*start.* but lacks {missing}, so it could not be"):
        Evaluator(flow, OBJECTIVE)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nfe", 8, "EulerFlow.nfe: expected a method, got int 8"),
        ("steps", 0, "EulerFlow.steps: expected the number of steps of a trajectory, at least 1, got int 0"),
        ("steps", "8", "EulerFlow.steps: expected .* got str '8'"),
        ("steps", 2.5, "EulerFlow.steps: expected .* got float 2.5"),
    ],
)
def test_parts_of_steppable_of_another_kind_are_named(name, value, message):
    flow = EulerFlow(4, 2)
    setattr(flow, name, value)
    with pytest.raises(ArgumentError, match=message):
        Evaluator(flow, OBJECTIVE)


def test_what_only_shares_a_name_with_steppable_is_taken():
    Evaluator(Own(steps=20, nfe=8), OBJECTIVE)
    Evaluator(EulerFlow(4, 2), OBJECTIVE)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda z, n: z, ArgumentError, r"generate\(\) to return Generated\(outputs, nfe, seconds\), got Tensor"),
        (lambda z, n: None, ArgumentError, "got NoneType"),
        (lambda z, n: (z, n), ArgumentError, "got tuple"),
        (lambda z, n: Generated(z, 8, 0.1), ShapeError, r"nfe of shape \(n,\) = \(3,\), got \(\); np.full\(3, cost\)"),
        (lambda z, n: Generated(z[:2], np.ones(n), 0.1), ShapeError, "expected 3 outputs, .* got 2"),
        (lambda z, n: Generated(iter(z), np.ones(n), 0.1), ShapeError, "expected 3 outputs, .* got .*iterator"),
        (
            lambda z, n: Generated(z, np.ones(n), 0.1, ["bad"]),
            ArgumentError,
            r"reasons by item number, 0 to 2, got list",
        ),
        (lambda z, n: Generated(z, np.ones(n), 0.1, {3: "bad"}), ArgumentError, "reasons by item number"),
    ],
)
def test_what_generate_returns_is_checked_and_named(returned, error, message):
    with pytest.raises(error, match=message):
        Evaluator(Own(returned), OBJECTIVE)({"latents": torch.zeros(3, 2)})


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.float32])
def test_costs_of_every_kind_of_sequence_are_taken(kind):
    made = Evaluator(Own(lambda z, n: Generated(z, kind([3.0] * n), 0.1)), OBJECTIVE)({"latents": torch.zeros(2, 2)})
    assert made.nfe.dtype == np.float64
    np.testing.assert_array_equal(made.nfe, [3.0, 3.0])
