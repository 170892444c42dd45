"""The Gaussian prior: its two maps, named parts, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import Gaussian
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.latents.priors import Prior, check_latents

TWO_PARTS = Gaussian({"video": (2, 3), "audio": (4,)}, mean={"video": 1.5}, std={"audio": 0.5})


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@st.composite
def gaussians(draw):
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True))
    sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
    number = st.floats(-3, 3)
    shapes = {name: draw(sizes) for name in names}
    mean = {name: draw(number) for name in names[:2]}
    std = {name: draw(st.floats(0.1, 3)) for name in names[1:]}
    return Gaussian(shapes, mean=mean, std=std)


@given(gaussians(), st.integers(0, 4), st.sampled_from([torch.float32, torch.float64]))
def test_the_maps_are_inverse_and_keep_dtype_and_shapes(prior, n, dtype):
    xi = normal(n, prior.dim, dtype=dtype)
    z = prior.from_inner(xi)
    assert {name: tuple(part.shape) for name, part in z.items()} == {k: (n, *s) for k, s in prior.shapes.items()}
    assert all(part.dtype == dtype for part in z.values())
    back = prior.to_inner(z, rng=0)
    assert back.dtype == dtype
    torch.testing.assert_close(back, xi, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_maps_stay_on_the_device(device):
    z = TWO_PARTS.from_inner(torch.empty((2, 10), device=device))
    assert {part.device.type for part in z.values()} == {device}
    assert TWO_PARTS.to_inner(z, rng=0).device.type == device


def test_entries_have_the_mean_and_deviation_of_their_part():
    z = TWO_PARTS.from_inner(torch.tensor([[0.0] * 6 + [1.0] * 4]))
    torch.testing.assert_close(z["video"], torch.full((1, 2, 3), 1.5))
    torch.testing.assert_close(z["audio"], torch.full((1, 4), 0.5))


def test_standard_parts_are_views_of_the_inner_latents():
    xi = normal(3, 10)
    z = Gaussian({"a": (2, 3), "b": (4,)}).from_inner(xi)
    assert {part.untyped_storage().data_ptr() for part in z.values()} == {xi.untyped_storage().data_ptr()}


def check_transport(combine, oracle, mean=1.7, std=0.4):
    """`combine` of rows that are not normalised is (1 - α/√β) μ + Σ w_k z_k / √β, α = Σ w, β = Σ w²."""
    rng = np.random.default_rng(5)
    prior = Gaussian((6,), mean=mean, std=std)
    seeds = rng.normal(size=(4, 6))
    w = rng.uniform(0.5, 3, size=(5, 4))
    z = prior.from_inner(torch.from_numpy(seeds))["latents"].numpy()
    expected = oracle(w, z, np.full(6, mean))
    np.testing.assert_allclose(combine(prior, w, seeds), expected, rtol=0, atol=1e-12)


def normalised(prior, w, seeds):
    inner = w @ seeds / np.sqrt((w**2).sum(axis=1, keepdims=True))
    return prior.from_inner(torch.from_numpy(inner))["latents"].numpy()


def not_normalised(prior, w, seeds):
    return prior.from_inner(torch.from_numpy(w @ seeds))["latents"].numpy()


def on_the_outer_side(prior, w, seeds):
    z = prior.from_inner(torch.from_numpy(seeds))["latents"].numpy()
    return w @ z / np.sqrt((w**2).sum(axis=1, keepdims=True))


def swapped(prior, w, seeds):
    return normalised(prior, w[:, ::-1], seeds)


def test_combining_on_the_inner_side_is_the_transport_of_the_authors_package(lol_gaussian):
    check_transport(normalised, lol_gaussian)
    check_transport(normalised, lol_gaussian, mean=0.0, std=1.0)


@pytest.mark.parametrize("mutant", [not_normalised, on_the_outer_side, swapped])
def test_the_transport_check_sees_mutants(mutant, lol_gaussian):
    with pytest.raises(AssertionError):
        check_transport(mutant, lol_gaussian)


def test_a_bare_number_serves_every_part():
    prior = Gaussian({"a": (1,), "b": (1,)}, mean=2.0, std=3.0)
    assert prior.mean == {"a": 2.0, "b": 2.0}
    assert prior.std == {"a": 3.0, "b": 3.0}
    assert isinstance(prior, Prior)


@pytest.mark.parametrize(
    "other",
    [
        Gaussian((3, 4)),
        Gaussian({"z": (12,)}),
        Gaussian((12,), mean=0.1),
        Gaussian((12,), std=2.0),
        Gaussian({"latents": (12,), "more": (1,)}),
    ],
)
def test_the_fingerprint_tells_laws_apart(other):
    assert Gaussian((12,)).fingerprint == Gaussian((12,)).fingerprint
    assert other.fingerprint != Gaussian((12,)).fingerprint


@pytest.mark.parametrize("shapes", [{}, (), (0,), (3, -1), {"a": ()}])
def test_shapes_without_entries_are_refused(shapes):
    with pytest.raises(ArgumentError, match="shapes: expected at least one part with positive sizes, got"):
        Gaussian(shapes)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_deviations_that_are_not_positive_are_refused(std):
    with pytest.raises(ArgumentError, match=r"std: expected positive finite numbers, got .*latents"):
        Gaussian((2,), std=std)


@pytest.mark.parametrize("mean", [float("nan"), float("inf")])
def test_means_that_are_not_finite_are_refused(mean):
    with pytest.raises(ArgumentError, match=r"mean: expected finite numbers, got .*latents"):
        Gaussian((2,), mean=mean)


@pytest.mark.parametrize("z", [np.zeros((2, 3)), {"latents": np.zeros((2, 3))}], ids=["bare", "named"])
def test_arrays_are_refused_as_latents(z):
    with pytest.raises(ShapeError, match=r"latents.*: expected .*tensor.* got ndarray"):
        check_latents(z, Gaussian((3,)))


@pytest.mark.parametrize("argument", ["mean", "std"])
def test_parts_that_do_not_exist_are_refused(argument):
    with pytest.raises(ArgumentError, match=r"parts \['b'\] that shapes does not have: \['a'\]"):
        Gaussian({"a": (2,)}, **{argument: {"b": 1.0}})


@pytest.mark.parametrize("given_shape", [(2, 3), (2, 3, 5), (3, 4), (2, 12), ()])
def test_latents_of_another_shape_are_refused_with_both_shapes(given_shape):
    prior = Gaussian((3, 4))
    with pytest.raises(ShapeError) as error:
        check_latents(torch.zeros(given_shape), prior)
    assert "latents['latents']: expected shape (n, d1, d2) = (" in str(error.value)
    assert ", 3, 4)" in str(error.value)
    assert f"got {given_shape}" in str(error.value)


def test_parts_with_different_n_are_refused():
    with pytest.raises(ShapeError, match=r"z\['audio'\]: expected shape \(n, d1\) = \(2, 4\), got \(3, 4\)"):
        check_latents({"video": torch.zeros(2, 2, 3), "audio": torch.zeros(3, 4)}, TWO_PARTS, name="z")


@pytest.mark.parametrize(
    ("z", "got"),
    [
        ({"video": torch.zeros(2, 2, 3)}, r"\['video'\]"),
        (
            {"video": torch.zeros(1, 2, 3), "audio": torch.zeros(1, 4), "x": torch.zeros(1)},
            r"\['audio', 'video', 'x'\]",
        ),
        (torch.zeros(2, 10), "Tensor"),
        ([0.0], "list"),
    ],
)
def test_missing_and_unknown_parts_are_named(z, got):
    with pytest.raises(
        ShapeError, match=rf"latents: expected the named parts \['audio', 'video'\] as tensors, got {got}"
    ):
        check_latents(z, TWO_PARTS)


def test_parts_come_back_untouched_in_the_order_of_the_prior():
    z = {"audio": torch.zeros(2, 4), "video": torch.zeros(2, 2, 3)}
    checked = check_latents(z, TWO_PARTS)
    assert list(checked) == ["video", "audio"]
    assert all(checked[name] is z[name] for name in z)
