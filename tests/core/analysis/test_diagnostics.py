"""Diagnostics: draws pass at the rates that they name, and each fault shows in its own statistic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from surrogate_ax import FunctionGenerator, Gaussian, Generated, SurrogateSpace
from surrogate_ax.analysis.diagnostics import determinism, numbers, stationarity
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Angular
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.latents.typicality import QUANTILES, bank_support, inner_shapes, support

SHAPES = {"latents": (3, 12, 12)}
D = 432


def _draws(n, seed=0):
    return torch.randn((n, D), generator=torch.Generator().manual_seed(seed))


# --- support


def test_draws_are_as_odd_as_they_should_be():
    found = support(_draws(4000), SHAPES)
    assert set(found.p) == {"norm", "mean", "marginals", "channels", "whiteness"}
    for name, p in [*found.p.items(), ("joint", found.joint)]:
        for level in (0.01, 0.1, 0.5):
            rate, error = np.mean(p < level), math.sqrt(level * (1 - level) / 4000)
            assert abs(rate - level) < 4 * error + 0.15 * level, (name, level, rate)
    assert found.outside().mean() < 0.004
    np.testing.assert_allclose(found.norm.mean(), 1, atol=0.01)
    np.testing.assert_allclose(found.quantiles.mean(axis=0)[19], 0, atol=0.01)
    assert found.channels.shape == (4000, 3)
    assert found.neighbours.shape == (4000, 2)


def test_statistics_are_those_of_the_textbook():
    found, x = support(_draws(3), SHAPES), _draws(3).double().numpy()
    images = x.reshape(3, 3, 12, 12)
    down, across = images[:, :, 1:] * images[:, :, :-1], images[..., 1:] * images[..., :-1]
    sums = np.stack([each.reshape(3, -1).sum(axis=1) / math.sqrt(3 * 11 * 12) for each in (down, across)], axis=1)
    np.testing.assert_allclose(found.neighbours, sums, atol=1e-12)
    np.testing.assert_allclose(found.quantiles, np.quantile(x, QUANTILES, axis=1).T, atol=1e-12)
    distance = np.array([stats.kstest(row, "norm").statistic for row in x])
    p = special.kolmogorov((math.sqrt(D) + 0.12 + 0.11 / math.sqrt(D)) * distance)
    np.testing.assert_allclose(found.p["marginals"], p, rtol=1e-9)


def _smooth(x):
    images = x.reshape(-1, 3, 12, 12)
    return ((images + images.roll(1, dims=3)) / math.sqrt(2)).reshape(-1, D)


def _brighter(x):
    images = x.reshape(-1, 3, 12, 12).clone()
    images[:, 1] += 0.5
    return images.reshape(-1, D)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x: 1.3 * x, "norm"),
        (lambda x: 0.8 * x, "norm"),
        (lambda x: x + 0.3, "mean"),
        (_brighter, "channels"),
        (_smooth, "whiteness"),
        (lambda x: x.sign() + 1e-3 * x, "marginals"),
    ],
)
def test_each_fault_shows_in_its_own_statistic(change, named):
    found = support(change(_draws(20)), SHAPES)
    assert found.outside().all()
    assert np.median(found.p[named]) < 1e-4
    assert min(found.p, key=lambda name: np.median(found.p[name])) in (named, "channels" if named == "mean" else named)


def test_rows_of_a_bank_are_looked_at_in_chunks(monkeypatch):
    bank = Bank(Gaussian((3, 12, 12)), [Draw(0, k) for k in range(7)])
    whole = bank_support(bank, np.eye(7))
    monkeypatch.setattr("surrogate_ax.latents.typicality._AT_ONCE", 3 * D)
    parts = bank_support(bank, np.eye(7))
    np.testing.assert_allclose(parts.joint, whole.joint, rtol=1e-6)
    np.testing.assert_allclose(parts.quantiles, whole.quantiles, atol=1e-6)
    np.testing.assert_allclose(whole.norm, support(bank.inner(np.eye(7)), SHAPES).norm)


def test_vectors_have_no_channels_and_wrong_shapes_are_refused():
    assert set(support(_draws(3)).p) == {"norm", "mean", "marginals", "whiteness"}
    with pytest.raises(ShapeError, match="expected \\(n, D\\)"):
        support(_draws(3), {"latents": (3, 3)})
    assert inner_shapes(Gaussian((3, 4))) == {"latents": (3, 4)}


# --- stationarity


def test_latents_are_as_far_apart_as_their_weights():
    space = SurrogateSpace.sample(Gaussian((4096,)), seeds=6, rng=0)
    found = stationarity(space, rng=1)
    assert found.deviation < 2 / math.sqrt(4096)
    assert np.corrcoef(found.weights, found.latents)[0, 1] > 0.99
    assert (found.step >= 0).all()


def test_the_default_chart_is_more_even_than_the_angular():
    prior = Gaussian((1024,))
    even = stationarity(SurrogateSpace.sample(prior, seeds=12, rng=0), rng=1)
    angular = stationarity(SurrogateSpace.sample(prior, seeds=12, rng=0, chart=Angular()), rng=1)
    assert 1 <= np.median(even.condition) < 30 < np.median(angular.condition)


def test_correlated_axes_show():
    space = SurrogateSpace.sample(Gaussian((1024,)), seeds=3, rng=0)
    near = SurrogateSpace(space.bank, np.array([[1, 0, 0], [1, 0.3, 0], [1, 0, 0.3]]))
    assert stationarity(near, rng=0).deviation > 0.2


# --- determinism


class _Noisy(FunctionGenerator):
    """Its outputs depend on the call and on the place in the batch."""

    def __init__(self, noise=0.0, place=0.0):
        super().__init__(lambda z: z.clone(), (8,))
        self.noise, self.place, self.calls = noise, place, 0

    def generate(self, z, conditions):
        self.calls += 1
        x = z["latents"] + self.noise * self.calls
        return Generated(x + self.place * torch.arange(len(x))[:, None], np.ones(len(x)), 0.0)


def test_determinism_tells_noise_from_places():
    z = {"latents": torch.randn((4, 8), generator=torch.Generator().manual_seed(0))}
    steady = determinism(_Noisy(), z)
    assert (steady.repeat, steady.alone, steady.order) == (0, 0, 0)
    assert determinism(_Noisy(noise=0.1), z).repeat > 0.05
    placed = determinism(_Noisy(place=0.1), z)
    assert placed.repeat == 0
    assert placed.alone > 0.05
    assert placed.order > 0.05


def test_determinism_needs_two_latents_that_succeed():
    with pytest.raises(ArgumentError, match="at least two"):
        determinism(_Noisy(), {"latents": torch.zeros(1, 8)})

    class Failing(_Noisy):
        def generate(self, z, conditions):
            return Generated([], np.ones(2), 0.0, {0: "no", 1: "no"})

    with pytest.raises(UnsupportedError, match="an item failed"):
        determinism(Failing(), {"latents": torch.zeros(2, 8)})


def test_numbers_refuses_what_is_no_number():
    assert [x.shape for x in numbers(torch.zeros(2, 3, dtype=torch.bfloat16))] == [(3,), (3,)]
    with pytest.raises(UnsupportedError, match="numbers or pictures"):
        numbers(["a protein"])
