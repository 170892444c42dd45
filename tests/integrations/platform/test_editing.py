"""Residual-space evolution under Ax: as a policy of rounds, and as a box that Ax's own model searches."""

from __future__ import annotations

import pytest
import torch

from surrogate_ax import Gaussian
from surrogate_ax.editing import pollinate, residual_bank, residual_space
from surrogate_ax_platform import load_client, optimize, read_record

D = 32
Z = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
Z[0] *= 1.18  # an inversion's radius


def bank():
    return residual_bank(Gaussian((D,)), Z[:1], Z[1:])


def test_pollination_is_a_policy_for_ax_too(make_client, make_generator, objective, tmp_path):
    options = {"policy": pollinate(bank(), axes=4, size=8), "batch_size": 8, "rng": 0}
    optimize(
        make_client(model=None), make_generator(), objective, total_trials=16, snapshot=tmp_path / "a.json", **options
    )
    client = load_client(tmp_path / "a.json")
    optimize(client, make_generator(), objective, total_trials=32, **options)
    history = read_record(client).history
    (values,) = history.values.values()
    assert values[0] == pytest.approx(float(Z[0, 0]), abs=1e-5)  # the item itself, first
    assert history.round.tolist() == [i // 8 for i in range(32)]
    assert values[24:].mean() > values[:8].mean()


def test_axs_model_searches_the_box_around_an_item(make_client, make_generator, objective):
    client = make_client(model="ax")
    space = residual_space(bank(), axes=4, theta=0.8, rng=0)
    optimize(client, make_generator(), objective, space=space, total_trials=12, batch_size=4, rng=0)
    history = read_record(client).history
    (values,) = history.values.values()
    assert values[0] == pytest.approx(float(Z[0, 0]), abs=1e-5)  # the box's seeds first, the item before the others
    assert values[4:].max() > values[0]
    made = space.bank.latents_of(history.terms[4:])["latents"]
    assert torch.nn.functional.cosine_similarity(made, Z[:1]).min() > 0.6  # cos 0.8 less what seeds overlap
