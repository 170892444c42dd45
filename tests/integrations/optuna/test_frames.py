"""RFdiffusion's kind of latent, translations and rotations: a search finds an answer that is known."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
import torch

from surrogate_ax import FunctionGenerator, Metric, Objective, Product, Rotations, SurrogateSpace, ZeroCentre
from surrogate_ax_optuna import optimize

RESIDUES = 12
ANSWER = np.array([[0.7, 0.35, 0.6]])  # where the frames sought are


def frames(z):
    """Residues placed by their frames: Cα, and the tips of the frame's axes, (n, residues, 4, 3)."""
    x, r = z["translations"], z["rotations"]
    return torch.cat([x[:, :, None], x[:, :, None] + r.mT], dim=2)


@pytest.mark.parametrize("parts", ["both", "rotations"])
def test_the_search_recovers_frames(parts):
    prior = Product({"translations": ZeroCentre(RESIDUES), "rotations": Rotations(RESIDUES)})
    generator = FunctionGenerator(frames, prior, revision=parts)
    space = SurrogateSpace.sample(prior, seeds=4, rng=5)
    target = frames(space.latents(ANSWER))
    inside = (lambda x: x - x[:, :, :1]) if parts == "rotations" else (lambda x: x)  # what the score looks at

    def rmsd(outputs, conditions):
        return (inside(outputs) - inside(target)).square().sum(-1).mean((1, 2)).sqrt().numpy()

    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=0))
    optimize(
        study, generator, Objective(Metric("rmsd", "minimize"), score=rmsd), space=space, total_trials=240,
        batch_size=12, rng=0,
    )  # fmt: skip
    drawn = rmsd(frames(prior.from_inner(torch.randn(240, prior.dim, generator=torch.Generator().manual_seed(0)))), [])
    assert study.best_value < 0.05 * drawn.min()
    found = [study.best_params[f"u{k}"] for k in range(3)]
    np.testing.assert_allclose(found, ANSWER[0], atol=0.1)
