"""What a person likes, as BoTorch's own preference model on the coefficients of latents.

`PairwiseGP` is a Gaussian process of utility that is told which of two items is liked better, and approximated by
Laplace's method. With `CoefficientKernel` it knows trials of every round by their latents, and acquisition functions,
as the expected utility of the best option (EUBO), look for points of the present box. Its likelihood is the logistic
one of Bradley and Terry, as in the core's `policies.preference`: of pairs and under one kernel both find the same
utilities, and only the kernels differ. A choice among several is told as a comparison with each of the others, which
BoTorch takes for independent: it is surer of them than the core is.

Reference: W. Chu and Z. Ghahramani, Preference learning with Gaussian processes, ICML 2005; Z. Lin et al., Preference
exploration for efficient Bayesian optimization with multiple outcomes, AISTATS 2022 (EUBO).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models.likelihoods.pairwise import PairwiseLogitLikelihood
from botorch.models.pairwise_gp import PairwiseGP, PairwiseLaplaceMarginalLogLikelihood
from gpytorch.constraints import Interval
from gpytorch.kernels import ScaleKernel
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.preference import Preference
from surrogate_ax_botorch.kernel import CoefficientKernel
from surrogate_ax_botorch.placed_trials import placed_trials

SCALE, SPREAD = 4.0, 1.0  # variance of utility: its median under the prior, and the sd of its logarithm
POSSIBLE = (5e-3, 2e2)  # its limits


def liking_model(
    space: SurrogateSpace,
    terms: Sequence[Terms],
    preferences: Sequence[Preference],
    *,
    tensors: Mapping[str, Tensor] | None = None,
    fit: bool = True,
) -> PairwiseGP:
    """A preference model of trials of any round, to be asked about points of a box.

    Its points are rows (..., K) of u0 to u{K-2} and a last column, which is 0 for points of the box:
    `optimize_acqf(..., fixed_features={K - 1: 0.0})`. `space.terms(u)` and `space.latents(u)` make them items. The
    trials themselves are `model.datapoints`, with the utilities `model.utility`.

    Args:
        space: the present box.
        terms: coefficient rows of the n items that were shown, whichever box or draw they came from.
        preferences: between them, by their places in `terms`.
        tensors: inner rows (D,) of stored seeds that the space's bank does not know, by SHA-256.
        fit: whether lengthscales and scale are fitted, as BoTorch does it; else they stay at the modes of their priors.

    Raises:
        ArgumentError: no preference, or places that are not in `terms`.
    """
    n = len(terms)
    if not preferences:
        raise ArgumentError("preferences: expected at least one, got none. Ask which of two items is liked better.")
    for each in preferences:
        if not each.losers or not all(0 <= row < n for row in each.rows) or each.winner in each.losers:
            raise ArgumentError(f"preferences: expected a winner and others among {n} rows, got {each}.")
    geometry, rows = placed_trials(space, terms, tensors)
    kernel = ScaleKernel(
        CoefficientKernel(geometry, box=range(space.axes - 1), round=space.axes - 1),
        outputscale_prior=LogNormalPrior(math.log(SCALE), SPREAD),  # else answers without a slip make it grow for ever
        outputscale_constraint=Interval(*POSSIBLE, initial_value=SCALE),
    )
    model = PairwiseGP(
        torch.tensor(rows, dtype=torch.float64),
        torch.tensor([[each.winner, loser] for each in preferences for loser in each.losers]),
        likelihood=PairwiseLogitLikelihood(),
        covar_module=kernel.double(),
        consolidate_atol=0.0,  # made-up coordinates may be near each other
    )
    if fit:
        fit_gpytorch_mll(PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model))
    return model.eval()
