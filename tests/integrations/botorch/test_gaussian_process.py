"""The core's Gaussian process, which sees cosines only, against BoTorch's on the latents themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.models import SingleTaskGP
from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean

from surrogate_ax.policies.gaussian_process import SLOPE, Kernel, Posterior, fit, unit

N, D, M = 40, 96, 12  # told rows, entries of a latent, points


def _botorch(x: np.ndarray, y: np.ndarray, posterior: Posterior) -> SingleTaskGP:
    """The same process over unit latents (n, D): exp((cos - 1) / l²) is the RBF kernel of their distance."""
    kernel, scale = posterior.kernel, posterior.scale
    covariance = np.linalg.inv(posterior.inverse)
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

    expected = LogExpectedImprovement(model, best_f=float(y.max()))(at[:, None])
    value, gradient = posterior.improvement(c, float(y.max()))
    constant = np.log(2 * np.pi) / 2  # of the normal density, which ours leaves out
    np.testing.assert_allclose(value - constant, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    (slope,) = torch.autograd.grad(expected.sum(), at)
    ours, theirs, points = gradient @ x, slope.numpy(), at.detach().numpy()
    along = [part - (part * points).sum(axis=1, keepdims=True) * points for part in (ours, theirs)]  # on the sphere
    directions = [
        part / np.linalg.norm(part, axis=1, keepdims=True) for part in along
    ]  # a move has a length of its own
    np.testing.assert_allclose(directions[0], directions[1], atol=1e-6)


def test_the_kernel_is_a_sum_of_a_linear_and_an_rbf_kernel() -> None:
    x = torch.from_numpy(unit(np.random.default_rng(0).standard_normal((5, 7)), np.eye(7)))
    linear, smooth = LinearKernel().double(), RBFKernel().double()
    linear.variance, smooth.lengthscale = SLOPE, 0.7
    expected = 0.3 * linear(x).to_dense() + 0.7 * smooth(x).to_dense()
    np.testing.assert_allclose(Kernel(0.3, 0.7)((x @ x.T).numpy()), expected.detach().numpy(), atol=1e-7)
