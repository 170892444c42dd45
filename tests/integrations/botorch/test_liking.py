"""What a person likes in BoTorch's words: the core's model against BoTorch's, and the model that users get."""

from __future__ import annotations

from typing import Any

import gpytorch
import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.preference import AnalyticExpectedUtilityOfBestOption, qExpectedUtilityOfBestOption
from botorch.models.likelihoods.pairwise import PairwiseLogitLikelihood
from botorch.models.pairwise_gp import PairwiseGP, PairwiseLaplaceMarginalLogLikelihood
from botorch.optim.optimize import optimize_acqf
from scipy.stats import spearmanr

from surrogate_ax import Gaussian, SurrogateSpace
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.gaussian_process import Kernel
from surrogate_ax.policies.preference import KERNELS, Preference, _covariance, _laplace, _numbered
from surrogate_ax_botorch import liking_model

PRIOR = Gaussian((24,))


class Cosines(gpytorch.kernels.Kernel):  # type: ignore[misc]
    """The core's kernel of cosines, of unit rows."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: Any) -> torch.Tensor:
        cosine = (x1 * x2).sum(-1) if diag else x1 @ x2.transpose(-1, -2)
        return torch.as_tensor(self.kernel(cosine.numpy()) / self.kernel.variance)


def people(n: int, pairs: int, *, rng: int = 0) -> tuple[np.ndarray, list[Preference]]:
    """Unit rows (n, 6), and which of two was said to be liked better; answers contradict each other."""
    draw = np.random.default_rng(rng)
    x = draw.standard_normal((n, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    said = []
    for _ in range(pairs):
        one, other = draw.choice(n - 2, size=2, replace=False)  # two of them were never shown
        won = x[one, 0] - x[other, 0] + draw.logistic() / 4 > 0
        said.append(Preference(int(one), (int(other),)) if won else Preference(int(other), (int(one),)))
    return x, said


def theirs(x: np.ndarray, said: list[Preference], kernel: Kernel, scale: float) -> PairwiseGP:
    covariance = gpytorch.kernels.ScaleKernel(Cosines(kernel)).double()
    covariance.outputscale = scale
    pairs = torch.tensor([[each.winner, loser] for each in said for loser in each.losers])
    likelihood = PairwiseLogitLikelihood()
    return PairwiseGP(torch.tensor(x), pairs, likelihood, covariance, consolidate_atol=0.0, jitter=1e-9)


def ours(x: np.ndarray, said: list[Preference], kernel: Kernel, scale: float) -> tuple[np.ndarray, float]:
    """f (n,) of every row, and the evidence."""
    covariance = _covariance(kernel, scale, x @ x.T)
    rows, choices = _numbered(said)
    weights, evidence = _laplace(covariance[np.ix_(rows, rows)], choices)
    return covariance[:, rows] @ weights, evidence


@pytest.mark.parametrize("scale", [1.0, 4.0, 64.0])
@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel.share < 1], ids=str)
def test_of_pairs_the_model_is_botorchs(kernel: Kernel, scale: float) -> None:
    """Kernel, comparisons and likelihood are the same, and the posterior has one maximum, so both find it.

    A linear kernel is left out: of more rows than dimensions it is singular, and BoTorch inverts it.
    """
    x, said = people(14, 30)
    f, evidence = ours(x, said, kernel, scale)
    model = theirs(x, said, kernel, scale)
    shown = sorted({row for each in said for row in each.rows})
    assert f[shown] == pytest.approx(model.utility.detach().numpy()[shown], abs=1e-5)
    with torch.no_grad():
        mean = model.posterior(torch.tensor(x)).mean[:, 0].numpy()
    assert f == pytest.approx(mean, abs=1e-5)  # the two that were never shown among them
    assert np.ptp(f) > 0.5
    model.train()
    mll = PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model)
    found = mll(model(model.unconsolidated_datapoints), model.train_targets)
    won = np.array([f[each.winner] - f[each.losers[0]] for each in said])
    sure = won[won > 8]  # BoTorch takes no difference for larger than 8
    cut = (np.log1p(np.exp(-sure)) - np.log1p(np.exp(-8.0))).sum()
    assert evidence + cut == pytest.approx(float(found.detach()), abs=1e-6)


def test_one_choice_among_four_is_less_than_three_pairs() -> None:
    """BoTorch has no choice among several: as pairs it counts three times, and is believed more."""
    x, kernel = np.eye(4), Kernel(0.0, 0.5)
    said = [Preference(0, (1, 2, 3))]
    f, _ = ours(x, said, kernel, 4.0)
    with torch.no_grad():
        pairs = theirs(x, said, kernel, 4.0).utility.numpy()
    assert f[0] > f[1] == pytest.approx(f[2])
    assert pairs[0] - pairs[1] > f[0] - f[1] + 0.1


def hidden(terms: list[Any]) -> np.ndarray:
    """What the person of these tests likes."""
    bank = Bank(PRIOR).extend([seed for row in terms for seed, _ in row])
    return bank.inner(bank.rows(terms)).double().numpy()[:, :3].sum(axis=1)


@pytest.fixture(scope="module")
def told() -> tuple[SurrogateSpace, list[Any], list[Preference]]:
    """Items of plain draws and of an earlier box, told in pairs; and the present box, over five of the best."""
    rng = np.random.default_rng(0)
    first = SurrogateSpace.sample(PRIOR, seeds=5, rng=1)
    terms = [*(((Draw(3, i), 1.0),) for i in range(16)), *first.terms(rng.uniform(size=(16, 4)))]
    liked = hidden(terms)
    pairs = [rng.choice(32, size=2, replace=False) for _ in range(70)]
    said = [Preference(int(a), (int(b),)) if liked[a] > liked[b] else Preference(int(b), (int(a),)) for a, b in pairs]
    bank = Bank(PRIOR).extend([seed for row in terms for seed, _ in row])
    best = [terms[i] for i in np.argsort(-liked)[[0, 2, 4, 6, 12]]]
    return SurrogateSpace(bank, bank.rows(best).toarray()), terms, said


@pytest.fixture(scope="module")
def model(told: tuple[SurrogateSpace, list[Any], list[Preference]]) -> PairwiseGP:
    return liking_model(*told)


def test_it_learns_over_rounds_and_predicts_in_the_box(told: Any, model: PairwiseGP) -> None:
    space, terms, _ = told
    assert spearmanr(model.utility.detach().numpy(), hidden(terms)).statistic > 0.9
    u = np.random.default_rng(5).uniform(size=(80, 4))
    x = torch.tensor(np.column_stack([u, np.zeros(80)]))
    with torch.no_grad():
        mean = model.posterior(x).mean[:, 0].numpy()
    assert spearmanr(mean, hidden(space.terms(u))).statistic > 0.6
    fixed = liking_model(*told, fit=False)
    scales = [float(each.covar_module.outputscale.detach()) for each in (fixed, model)]
    assert scales[0] == pytest.approx(4.0, rel=1e-3)
    assert abs(scales[1] - scales[0]) > 0.1


def test_a_point_is_known_by_its_latent_not_by_its_coordinates(told: Any) -> None:
    """An item of the present box has the utility of the trial that it repeats."""
    space, terms, said = told
    u = np.array([[0.3, 0.6, 0.2, 0.8]])
    best = int(np.argmax(hidden(terms)))
    repeated = liking_model(space, [*terms, *space.terms(u)], [*said, Preference(len(terms), (best,))], fit=False)
    with torch.no_grad():
        mean = repeated.posterior(torch.tensor(np.column_stack([u, [0.0]]))).mean
    assert float(mean) == pytest.approx(float(repeated.utility.detach()[len(terms)]), abs=1e-4)


def test_acquisitions_find_points_of_the_box_that_are_liked(told: Any, model: PairwiseGP) -> None:
    space = told[0]
    k = space.axes
    bounds = torch.tensor([[0.0] * k, [*([1.0] * (k - 1)), 0.0]], dtype=torch.float64)
    typical = hidden(space.terms(np.random.default_rng(6).uniform(size=(200, k - 1))))
    anywhere = np.random.default_rng(7).uniform(size=(200, 2, k - 1))
    for acquisition, q, share in (
        (AnalyticExpectedUtilityOfBestOption(pref_model=model), 2, 0.5),  # two to choose from: one may be a question
        (qExpectedUtilityOfBestOption(pref_model=model), 2, 0.5),
        (qLogNoisyExpectedImprovement(model, X_baseline=model.datapoints, prune_baseline=False), 1, 0.9),
    ):
        torch.manual_seed(0)
        x, value = optimize_acqf(
            acquisition,
            bounds,
            q=q,
            num_restarts=4,
            raw_samples=64,
            fixed_features={k - 1: 0.0},
            options={"maxiter": 30},
        )
        assert x.shape == (q, k)
        with torch.no_grad():
            others = acquisition(torch.tensor(np.pad(anywhere[:, :q], ((0, 0), (0, 0), (0, 1)))))
        assert float(value) >= float(others.max())
        found = hidden(space.terms(x[:, :-1].numpy()))
        assert found.max() > np.quantile(typical, share)


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        ([], "expected at least one, got none"),
        ([Preference(0, ())], "expected a winner and others among 2 rows"),
        ([Preference(0, (2,))], "expected a winner and others among 2 rows"),
        ([Preference(-1, (0,))], "expected a winner and others among 2 rows"),
        ([Preference(0, (0,))], "expected a winner and others among 2 rows"),
    ],
)
def test_preferences_that_say_nothing_are_refused(preferences: list[Preference], message: str) -> None:
    space = SurrogateSpace.sample(PRIOR, seeds=3, rng=0)
    with pytest.raises(ArgumentError, match=message):
        liking_model(space, [((Draw(1, i), 1.0),) for i in range(2)], preferences)
