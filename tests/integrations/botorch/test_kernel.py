"""The kernel on coefficients: charts and their gradients, distances in latent space, mixed columns, learning."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood

from surrogate_ax import Gaussian, SurrogateSpace
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Angular, Cap, KnotheRosenblatt
from surrogate_ax.latents.seeds import Draw
from surrogate_ax_botorch import Box, CoefficientKernel, Geometry, Placed, weights

PRIOR = Gaussian((24,))
CHARTS = {chart.name: chart for chart in (KnotheRosenblatt(), Angular(), Cap(0.3), Cap(1.2))}


def _box(space: SurrogateSpace) -> Box:
    return Box(space.bank.terms(space.frame), space.chart.name, space.fresh)


def _space(k: int, rng: int = 0) -> SurrogateSpace:
    return SurrogateSpace.sample(PRIOR, seeds=k, rng=rng)


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("k", [2, 3, 8, 20])
def test_weights_are_the_cores_and_their_gradient_is_finite_differences(chart, k):
    u = np.random.default_rng(k).uniform(size=(40, k - 1))
    u[0], u[1] = 0, 1
    np.testing.assert_allclose(weights(torch.tensor(u), chart), CHARTS[chart].weights(u), atol=1e-7)
    inside = torch.tensor(u[2:8] * 0.98 + 0.01, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: weights(x, chart), (inside,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("k", [2, 8, 20, 50])
def test_gradients_at_the_faces_are_bounded_and_lead_inside(k):
    faces = torch.tensor(np.random.default_rng(0).integers(0, 2, size=(200, k - 1)).astype(float), requires_grad=True)
    w = weights(faces)
    target = torch.full((k,), 1 / math.sqrt(k), dtype=torch.float64)
    (w @ target).sum().backward()
    assert torch.isfinite(faces.grad).all()
    assert faces.grad.abs().max() < 200
    first = torch.zeros((1, k - 1), dtype=torch.float64, requires_grad=True)
    (weights(first) @ target).sum().backward()
    assert float(first.grad[0, 0]) > 0


def test_an_unknown_chart_is_refused():
    with pytest.raises(ArgumentError, match="got 'spiral'"):
        weights(torch.zeros(1, 2), "spiral")


def test_feature_distances_are_those_of_latents_in_every_round():
    rng = np.random.default_rng(0)
    first = _space(4)
    bank = first.bank.extend([Draw(7, i) for i in range(3)])
    second = SurrogateSpace(bank, rng.normal(size=(4, len(bank.seeds))))
    far = Draw(8, 0)
    placed = Placed(-1, [0.1, 0.2, 0.3], ((far, 0.6), (Draw(7, 1), 0.8)))
    geometry = Geometry({0: _box(first), 1: _box(second)}, [placed], present=1)
    u = rng.uniform(size=(6, 3))
    u[5] = placed.u
    rounds = np.array([0, 0, 0, 1, 1, -1])
    phi = geometry.features(torch.tensor(u), torch.tensor(rounds)).numpy()
    terms = [*first.terms(u[:3]), *second.terms(u[3:5]), placed.terms]
    whole = bank.extend([far])
    np.testing.assert_allclose(phi @ phi.T, whole.gram(whole.rows(terms)), atol=1e-7)
    for number in (-1, 5):  # no box, and no trial's point
        assert not geometry.features(torch.tensor([[0.1, 0.2, 0.9]]), torch.tensor([number])).any()


def test_stored_seeds_are_compared_by_their_measured_gram_matrix():
    rows = torch.randn(3, 24, generator=torch.Generator().manual_seed(0))
    rows[1] = 0.5 * rows[0] + math.sqrt(0.75) * rows[1]
    bank = Bank(PRIOR, list(rows))
    space = SurrogateSpace(bank, np.eye(3))
    geometry = Geometry({0: _box(space)}, gram=lambda seeds: Bank(PRIOR, seeds, tensors=bank.tensors).gram(np.eye(3)))
    u = np.random.default_rng(0).uniform(size=(5, 2))
    phi = geometry.features(torch.tensor(u)).numpy()
    np.testing.assert_allclose(phi @ phi.T, bank.gram(bank.rows(space.terms(u))), atol=1e-7)


def test_points_of_a_round_with_fresh_draws_lie_where_their_recipes_say():
    space = SurrogateSpace(_space(3).bank, np.eye(3), fresh=0.6)
    u = [0.3, 0.7]
    (terms,) = space.terms(np.array([u]), draws=[Draw(5, 5)])
    geometry = Geometry({0: _box(space)}, [Placed(0, u, terms)])
    history, other = geometry.features(torch.tensor([u, [0.3, 0.71]], dtype=torch.float64)).unsqueeze(1)
    assert float(history[0].norm()) == pytest.approx(1)
    assert float(other.norm()) == pytest.approx(0.8)
    assert float(history[0] @ other[0]) == pytest.approx(0.64, abs=1e-3)


def test_the_kernel_is_positive_and_uses_every_column_it_is_given():
    space = _space(4)
    geometry = Geometry({0: _box(space)})
    kernel = CoefficientKernel(geometry, box=[1, 2, 4], ordered={0: (1.0, 3.0)}, categorical=[3, 5])
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(40, 6))
    x[:, 0] = rng.uniform(1, 3, size=40)
    x[:, 3], x[:, 5] = rng.integers(0, 3, size=40), rng.integers(0, 2, size=40)
    x = torch.tensor(x)
    with torch.no_grad():
        k = kernel(x).to_dense()
        assert torch.linalg.eigvalsh(k).min() > -1e-9
        np.testing.assert_allclose(k.diag(), 1)
        np.testing.assert_allclose(kernel(x, diag=True), 1)
        for column in range(6):
            moved = x.clone()
            moved[:, column] = moved[:, column].roll(1)
            changed = (kernel(x, moved).to_dense().diag() < 1 - 1e-12).numpy()
            assert (changed == (moved[:, column] != x[:, column]).numpy()).all()
    probe = x[:5].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: kernel(torch.cat([p[:, :1], p[:, 1:3], x[:5, 3:4], p[:, 4:5], x[:5, 5:]], 1), x).to_dense(), (probe,)
    )


def test_it_learns_a_linear_function_of_latents_from_two_rounds_better_than_from_one():
    rng = np.random.default_rng(1)
    direction = rng.normal(size=24) / math.sqrt(24)
    first, bank = _space(4), _space(4).bank.extend([Draw(7, i) for i in range(2)])
    frame = rng.normal(size=(4, 6))
    second = SurrogateSpace(bank, frame)
    u = rng.uniform(size=(60, 3))
    rounds = np.repeat([0, 1, 1], [20, 6, 34])
    xi = np.vstack([first.bank.inner(first.coefficients(u[:20])), second.bank.inner(second.coefficients(u[20:]))])
    y = xi @ direction
    geometry = Geometry({0: _box(first), 1: _box(second)}, present=1)

    def error(rows: slice) -> float:
        x = torch.tensor(np.column_stack([u, rounds]))
        history = torch.tensor(y[rows, None])
        kernel = CoefficientKernel(copy.deepcopy(geometry), box=[0, 1, 2], round=3)
        model = SingleTaskGP(x[rows], history, covar_module=kernel, outcome_transform=Standardize(1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            mean = model.posterior(x[26:]).mean[:, 0].numpy()
        return float(np.square(mean - y[26:]).mean() / y[26:].var())

    assert error(slice(0, 26)) < 0.6 * error(slice(20, 26))
    assert error(slice(0, 26)) < 0.2
