"""The core's Gaussian process, which sees cosines only, against BoTorch's on the latents themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement, _log_ei_helper
from botorch.models import SingleTaskGP
from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean

from surrogate_ax.policies.gaussian_process import SLOPE, Kernel, Posterior, fit, log_improvement, unit

N, D, M = 40, 96, 12  # told rows, entries of a latent, points


def _botorch(x: np.ndarray, y: np.ndarray, posterior: Posterior) -> SingleTaskGP:
    """The same process over unit latents (n, D): exp((cos - 1) / l²) is the RBF kernel of their distance."""
    kernel, scale = posterior.kernel, posterior.scale
    covariance = posterior.factor @ posterior.factor.T
    noise = scale * float(np.mean(np.diag(covariance) - np.diag(kernel(posterior.gram))))
    linear, smooth = LinearKernel(), ScaleKernel(RBFKernel())
    model = SingleTaskGP(
        torch.from_numpy(x),
        torch.from_numpy(y[:, None]),
        likelihood=GaussianLikelihood(),
        covar_module=linear + smooth,
        mean_module=ConstantMean(),
        outcome_transform=None,
    ).double()
    linear.variance = scale * kernel.share * SLOPE + 1e-12  # a positive number, though its share may be 0
    smooth.outputscale, smooth.base_kernel.lengthscale = scale * (1 - kernel.share) + 1e-12, kernel.length
    model.likelihood.noise, model.mean_module.constant = noise, torch.tensor(posterior.centre)
    model.eval()
    return model


@pytest.mark.parametrize("score", ["linear", "near a point", "noise"])
def test_moments_and_improvement_are_botorchs(score: str) -> None:
    random = np.random.default_rng(3)
    x = unit(random.standard_normal((N, D)), np.eye(D))
    x[N // 2 :] = unit(0.8 * x[: N // 2] + 0.6 * x[N // 2 :], np.eye(D))  # cosines that tell something
    y = {
        "linear": x[:, 0] * np.sqrt(D),
        "near a point": np.exp(4 * (x @ x[0] - 1)),
        "noise": random.standard_normal(N),
    }[score]
    y = (y - y.mean()) / y.std()
    gram = x @ x.T
    posterior = fit(gram, y)
    model = _botorch(x, y, posterior)
    c = unit(random.standard_normal((M, N)), gram)
    at = torch.from_numpy(c @ x).requires_grad_()

    told = model.posterior(at)
    mean, sd = posterior.at(c)
    np.testing.assert_allclose(mean, told.mean[:, 0].detach().numpy(), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(sd, told.variance[:, 0].detach().sqrt().numpy(), rtol=1e-6)

    for best in (float(y.max()), float((mean - 5 * sd).max()), float(y.max()) + 40 * float(y.std())):
        expected = LogExpectedImprovement(model, best_f=best)(at[:, None])
        value, gradient = posterior.improvement(c, best)
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-6, atol=1e-6)
        (slope,) = torch.autograd.grad(expected.sum(), at)
        points = at.detach().numpy()
        ours, theirs = (  # along the sphere: the RBF kernel of distances goes on off it in another way
            part - (part * points).sum(axis=1, keepdims=True) * points for part in (gradient @ x, slope.numpy())
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("z", [-1e7, -1e3, -301.0, -299.0, -30.0, -1.0, -1e-3, 0.0, 0.5, 7.0, 26.4])
def test_log_improvement_keeps_its_digits(z: float) -> None:
    mean, sd = torch.tensor([3 + 0.7 * z]).double().requires_grad_(), torch.tensor([0.7]).double().requires_grad_()
    theirs = _log_ei_helper((mean - 3) / sd) + sd.log()
    slopes = torch.autograd.grad(theirs.sum(), (mean, sd))
    ours = log_improvement(mean.detach().numpy(), sd.detach().numpy(), 3.0)
    expected = [theirs.detach(), *slopes]
    np.testing.assert_allclose(ours, np.array([part.numpy() for part in expected]), rtol=1e-6, atol=1e-12)


def test_moves_end_where_a_gain_is_sure() -> None:
    value, by_mean, by_deviation = log_improvement(np.array([26.0, 27.0, 34.0, 34.9, 35.1, 36.0]), np.ones(6), 0.0)
    assert (np.diff(value) > 0).tolist() == [True, True, True, False, False]
    assert (by_mean > 0).tolist() == (by_deviation > 0).tolist() == [True] + [False] * 5


def test_the_kernel_is_a_sum_of_a_linear_and_an_rbf_kernel() -> None:
    x = torch.from_numpy(unit(np.random.default_rng(0).standard_normal((5, 7)), np.eye(7)))
    linear, smooth = LinearKernel().double(), RBFKernel().double()
    linear.variance, smooth.lengthscale = SLOPE, 0.7
    expected = 0.3 * linear(x).to_dense() + 0.7 * smooth(x).to_dense()
    np.testing.assert_allclose(Kernel(0.3, 0.7)((x @ x.T).numpy()), expected.detach().numpy(), atol=1e-7)
