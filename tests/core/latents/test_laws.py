"""Laws of parts: round trips, what they keep, and statistical checks that seeded mutants fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import Product, Rotations, ZeroCentre
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.laws import Elementwise, Law, Normal
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw

LOGISTIC = (lambda z: 1 / (1 + np.exp(-z)), lambda p: np.log(p / (1 - p)))
LAWS = {
    "normal": Normal((2, 3), mean=1.0, std=2.0),
    "exponential": Elementwise((5,), scipy.stats.expon()),
    "uniform": Elementwise((2, 2), scipy.stats.uniform(-1, 2)),
    "gamma": Elementwise((4,), scipy.stats.gamma(2.5)),
    "pair": Elementwise((3,), LOGISTIC, name="logistic"),
    "rotations": Rotations(4),
    "points": ZeroCentre(6, std=0.7),
}
HAAR_MEAN = math.degrees(math.pi / 2 + 2 / math.pi)  # 126.5°, mean rotation angle under the Haar law


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(params=LAWS)
def law(request):
    return LAWS[request.param]


@given(st.sampled_from(sorted(LAWS)), st.integers(0, 4), st.integers(0, 99), st.sampled_from(["float32", "float64"]))
def test_outer_values_come_back_in_their_dtype(name, n, seed, dtype):
    law, dtype = LAWS[name], getattr(torch, dtype)
    xi = normal(n, law.dim, seed=seed, dtype=dtype)
    z = law.from_inner(xi)
    assert (z.shape, z.dtype) == ((n, *law.shape), dtype)
    back = law.to_inner(z, rng=seed)
    assert (back.shape, back.dtype) == ((n, law.dim), dtype)
    close = {"rtol": 2e-4, "atol": 2e-4} if dtype == torch.float32 else {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(law.from_inner(back), z, **close)
    if name != "rotations":  # of which radius and sign are open
        torch.testing.assert_close(back, xi, **close)


def test_a_law_keeps_the_device_and_is_one(law):
    assert isinstance(law, Law)
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        z = law.from_inner(normal(2, law.dim).to(device))
        assert z.device.type == device
        assert law.to_inner(z, rng=0).device.type == device


def test_inputs_are_left_as_they_are(law):
    xi = normal(2, law.dim)
    given_xi, z = xi.clone(), law.from_inner(xi)
    given_z = z.clone()
    law.to_inner(z, rng=0)
    assert torch.equal(xi, given_xi)
    assert torch.equal(z, given_z)


def combinations(law, n=4000, k=8):
    """Outer values of unit-norm combinations of k seeds that went out and came back, as stored seeds do."""
    seeds = law.to_inner(law.from_inner(normal(k * n // 8, law.dim, seed=3)), rng=0).reshape(-1, k, law.dim)
    w = torch.nn.functional.normalize(normal(len(seeds), k, seed=4).abs(), dim=1)
    return law.from_inner((w[:, :, None] * seeds).sum(1)).double()


def angles(r):
    return torch.rad2deg(torch.arccos(((r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)))


class Hemisphere(Rotations):
    """Mutant: every sign that brings the quaternion's real part above 0."""

    def to_inner(self, z, *, rng):
        xi = super().to_inner(z, rng=rng).reshape(z.shape[0], -1, 4)
        return (xi * torch.where(xi[..., :1] < 0, -1.0, 1.0)).flatten(1)


class NotCentred(ZeroCentre):
    """Mutant: the mean is left in."""

    def from_inner(self, xi):
        z = super().from_inner(xi)
        return z + z[:, :1] / self.shape[0]


class Lopsided(ZeroCentre):
    """Mutant: the centre is taken from one point alone, so points are not as far apart in every direction."""

    def from_inner(self, xi):
        inner = xi.reshape(xi.shape[0], -1, self.shape[1])
        return torch.cat([-inner.sum(1, keepdim=True), inner], dim=1) * self.std


class FixedRadius(Rotations):
    """Mutant: every radius is 2, so that combinations are no longer normal."""

    def to_inner(self, z, *, rng):
        xi = super().to_inner(z, rng=rng).reshape(z.shape[0], -1, 4)
        return (2 * torch.nn.functional.normalize(xi, dim=-1)).flatten(1)


class Float32(Elementwise):
    """Mutant: Φ in float32."""

    def _forth(self, xi):
        p = torch.special.ndtr(torch.from_numpy(xi).float()).double().numpy()
        return np.asarray(self._lower[1](p))

    _back = Elementwise._back


def check_haar(law):
    turned = angles(combinations(law))
    assert abs(float(turned.mean()) - HAAR_MEAN) < 1.5
    radians = torch.deg2rad(turned).flatten().numpy()
    assert scipy.stats.kstest(radians, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3


def check_centre(law):
    w = torch.nn.functional.normalize(normal(4000, 8).abs(), dim=1)
    z = law.from_inner(torch.einsum("nk,nkd->nd", w, normal(4000, 8, law.dim, seed=1))).double()
    assert float(z.mean(dim=1).abs().max()) < 1e-6
    assert float((z.square().mean() / law.std**2).sqrt()) == pytest.approx(math.sqrt(1 - 1 / law.shape[0]), rel=0.02)


def check_tails(law):
    z = law.from_inner(torch.tensor([[-7.0, -5.6, 0.0, 5.6, 7.0]], dtype=torch.float64))
    exact = [scipy.stats.norm.cdf(-7), scipy.stats.norm.cdf(-5.6), math.log(2)]
    exact += [-scipy.stats.norm.logsf(5.6), -scipy.stats.norm.logsf(7)]
    np.testing.assert_allclose(z[0].numpy(), exact, rtol=1e-6)


def test_combined_rotations_stay_uniform_and_a_hemisphere_does_not():
    check_haar(Rotations(2))
    with pytest.raises(AssertionError):
        check_haar(Hemisphere(2))


def test_combined_points_stay_centred_and_an_uncentred_mean_is_seen():
    check_centre(ZeroCentre(6, std=0.7))
    with pytest.raises(AssertionError):
        check_centre(NotCentred(6, std=0.7))


def test_tails_are_exact_and_float32_is_seen():
    check_tails(Elementwise((5,), scipy.stats.expon()))
    with pytest.raises(AssertionError):
        check_tails(Float32((5,), scipy.stats.expon()))


@pytest.mark.parametrize("name", ["exponential", "uniform", "gamma"])
def test_combined_entries_keep_their_law(name):
    cdf, _ = LAWS[name]._lower
    z = combinations(LAWS[name]).flatten().numpy()
    assert scipy.stats.kstest(z, cdf).pvalue > 1e-3
    assert scipy.stats.kstest(0.9 * z, cdf).pvalue < 1e-3  # the test can fail


def check_directions(law):
    z = law.from_inner(normal(20000, 12, dtype=torch.float64))[..., 0]
    centring = torch.eye(5, dtype=torch.float64) - 1 / 5
    torch.testing.assert_close(torch.cov(z.T), centring, rtol=0, atol=0.03)


def test_points_are_as_far_apart_in_every_direction_and_a_lopsided_centre_is_seen():
    check_directions(ZeroCentre(5))
    with pytest.raises(AssertionError):
        check_directions(Lopsided(5))


def test_what_a_float32_rounds_to_an_end_of_the_support_is_taken():
    law = LAWS["uniform"]
    z = torch.tensor([[[1.0, -1.0], [0.0, 0.5]]])
    xi = law.to_inner(z, rng=0)
    assert torch.isfinite(xi).all()
    torch.testing.assert_close(law.from_inner(xi), z, rtol=0, atol=2e-7)
    with pytest.raises(ArgumentError, match=r"inside the support of elementwise\(uniform.*got 1\.5"):
        law.to_inner(torch.full((1, 2, 2), 1.5), rng=0)


def test_open_radius_and_sign_are_fixed_by_the_item_and_rng():
    law = Rotations(50)
    r = law.from_inner(normal(3, law.dim))
    xi = law.to_inner(r, rng=1)
    assert torch.equal(law.to_inner(r[[2, 0]], rng=1), xi[[2, 0]])  # not by its place in a batch
    assert not torch.allclose(law.to_inner(r, rng=2), xi)


def check_fills(law):
    r = Rotations(50).from_inner(normal(3, 200))
    xi = law.to_inner(r, rng=1).reshape(-1, 4)
    assert 50 < int((xi[:, 0] > 0).sum()) < 100  # of 150
    assert scipy.stats.kstest(xi.norm(dim=1), scipy.stats.chi(4).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mutant", [FixedRadius, Hemisphere])
def test_radius_and_sign_have_their_law_and_fixed_ones_are_seen(mutant):
    check_fills(Rotations(50))
    with pytest.raises(AssertionError):
        check_fills(mutant(50))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_come_back(axis):
    r = -torch.eye(3, dtype=torch.float64)
    r[axis, axis] = 1
    law = Rotations(1)
    torch.testing.assert_close(law.from_inner(law.to_inner(r.reshape(1, 1, 3, 3), rng=0))[0, 0], r)


def test_a_product_gives_every_part_its_rule_and_one_weight():
    laws = {"translations": ZeroCentre(3), "rotations": Rotations(3), "steps": Normal((4, 2))}
    prior = Product(laws)
    assert isinstance(prior, Prior)
    assert (prior.dim, prior.shapes["rotations"]) == (6 + 12 + 8, (3, 3, 3))
    xi = normal(2, prior.dim)
    z = prior.from_inner(xi)
    torch.testing.assert_close(z["rotations"], laws["rotations"].from_inner(xi[:, 6:18]))
    torch.testing.assert_close(prior.from_inner(prior.to_inner(z, rng=0))["rotations"], z["rotations"])
    latents = Bank(prior, [Draw(1, 0), Draw(1, 1)]).latents(np.array([[0.6, 0.8]]))
    inner = Bank(prior, [Draw(1, 0), Draw(1, 1)]).inner(np.eye(2))
    mixed = prior.from_inner(0.6 * inner[:1] + 0.8 * inner[1:])
    for name in laws:
        torch.testing.assert_close(latents[name], mixed[name], rtol=1e-4, atol=1e-5)


def test_fingerprints_tell_laws_apart():
    laws = [*LAWS.values(), Elementwise((5,), scipy.stats.expon(0, 2)), Rotations(3), ZeroCentre(6)]
    assert len({Product({"z": law}).fingerprint for law in laws}) == len(laws)
    same = [Product({"z": Elementwise((5,), scipy.stats.expon(scale=2))}).fingerprint for _ in range(2)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Elementwise((2,), "normal"), "expected a frozen law of scipy.stats, or a pair"),
        (lambda: Elementwise((2,), LOGISTIC), "name: give a pair"),
        (lambda: Elementwise((2,), scipy.stats.poisson(3)), "expected a continuous law"),
        (lambda: Elementwise((0,), scipy.stats.norm()), "shape: expected"),
        (lambda: Rotations(0), "shape: expected"),
        (lambda: ZeroCentre(1), "at least 2"),
        (lambda: ZeroCentre(4, std=0), "positive deviation"),
        (lambda: Normal((2,), mean=math.nan), "finite mean"),
        (lambda: Product({}), "got none"),
        (lambda: Product({"a": 1}), r"got \{'a': 'int'\}"),
        (lambda: Rotations(1).to_inner(torch.zeros(1, 1, 3, 3), rng=0), "expected rotation matrices"),
        (lambda: Rotations(1).to_inner(-torch.eye(3)[None, None], rng=0), "reflection"),
        (lambda: ZeroCentre(2).to_inner(torch.ones(1, 2, 3), rng=0), "centre of mass 0, got 1"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
