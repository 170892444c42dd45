"""The radius of latents: a stored seed keeps its own, rows over draws have a draw's, others lie between."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import Gaussian, SurrogateSpace
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Angular, KnotheRosenblatt
from surrogate_ax.latents.seed_rows import SeedRows
from surrogate_ax.latents.seeds import Draw, Stored, inner_row, row_sha256

D = 48
PRIOR = Gaussian((D,))

entropies = st.integers(0, 2**32 - 1)
radii = st.floats(0.5, 2.0)


def rows(m: int, rho: list[float], entropy: int = 0, shared: float = 0.3) -> torch.Tensor:
    """m correlated rows with |ξ|²/D = ρ²."""
    rng = np.random.default_rng(entropy)
    x = rng.normal(size=(m, D)) + shared * rng.normal(size=D)
    x *= np.array(rho)[:, None] * np.sqrt(D) / np.linalg.norm(x, axis=1, keepdims=True)
    return torch.from_numpy(x).float()


@st.composite
def stored_banks(draw, least=1):
    """A bank of stored seeds with radii of their own, their radii, and coefficient rows over them."""
    rho = draw(st.lists(radii, min_size=least, max_size=5))
    entropy = draw(entropies)
    c = np.random.default_rng([entropy, 1]).normal(size=(draw(st.integers(1, 4)), len(rho)))
    return Bank(PRIOR, list(rows(len(rho), rho, entropy))), np.array(rho), c


# --- the formula


@given(stored_banks())
def test_the_norm_is_that_of_the_formula(made):
    bank, rho, c = made
    norm2 = bank.inner(c).double().square().mean(dim=1).numpy()
    np.testing.assert_allclose(norm2, (c**2 @ rho**2) / (c**2).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(bank.radius(c) ** 2, norm2, rtol=1e-4)


@given(stored_banks())
def test_the_direction_combines_unit_seeds(made):
    bank, rho, c = made
    x = torch.stack(list(bank.tensors.values())).double().numpy() / rho[:, None]
    expected = c @ x
    expected /= np.linalg.norm(expected, axis=1, keepdims=True) / np.sqrt(D)
    np.testing.assert_allclose(bank.directions(c).numpy(), expected, rtol=0, atol=2e-4)
    np.testing.assert_allclose(bank.inner(c).numpy(), expected * bank.radius(c)[:, None], rtol=0, atol=5e-4)


@given(stored_banks(), st.floats(1e-6, 1e6))
def test_the_length_of_a_row_changes_no_latent(made, scale):
    bank, _, c = made
    torch.testing.assert_close(bank.inner(scale * c), bank.inner(c), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bank.radius(scale * c), bank.radius(c), rtol=1e-12)


@given(stored_banks(least=2))
def test_a_radius_lies_between_those_of_its_seeds(made):
    bank, rho, c = made
    radius = bank.radius(c)
    assert (radius >= rho.min() * (1 - 1e-6)).all()
    assert (radius <= rho.max() * (1 + 1e-6)).all()


@given(stored_banks(least=2))
def test_normalised_rows_and_their_gram_matrix_are_cosines(made):
    bank, rho, c = made
    m = len(rho)
    np.testing.assert_array_equal(np.diag(bank.gram(np.eye(m))), np.ones(m))
    unit = bank.normalise(c)
    xi = torch.nn.functional.normalize(bank.inner(c).double(), dim=1)
    np.testing.assert_allclose(bank.gram(unit), (xi @ xi.T).numpy(), rtol=0, atol=2e-4)


def test_the_radius_changes_gradually_between_two_items():
    (a, b) = rows(2, [1.2, 0.8], shared=0)
    space = SurrogateSpace.from_latents(PRIOR, torch.stack([a, b]), rng=0)
    u = np.linspace(0, 1, 65)[:, None]
    radius = space.bank.radius(space.coefficients(u))
    assert radius[0] == pytest.approx(1.2, abs=1e-3)
    assert radius[-1] == pytest.approx(0.8, abs=1e-3)
    assert (np.diff(radius) < 0).all()
    assert np.abs(np.diff(radius)).max() < 0.01


# --- a stored seed alone


@given(radii, entropies)
def test_a_stored_seed_alone_is_remade_bit_for_bit(rho, entropy):
    x = rows(3, [rho, 1.0, 1.7], entropy)
    x[0, :2] = torch.tensor([-0.0, 0.0])
    bank = Bank(PRIOR, list(x)).extend([Draw(1, k) for k in range(3)])
    for c in (np.eye(6), 0.37 * np.eye(6), np.eye(6)[:1]):
        made = bank.inner(c)[: min(3, len(c))]
        assert [row_sha256(row) for row in made] == [row_sha256(row) for row in x[: len(made)]]
    assert row_sha256(bank.latents_of([((bank.seeds[0], 1.0),)])["latents"][0]) == row_sha256(x[0])
    torch.testing.assert_close(bank.inner(-np.eye(6))[:3], -x, rtol=0, atol=0)


def test_a_stored_seed_alone_is_remade_bit_for_bit_among_chunks_of_other_seeds(monkeypatch):
    x = rows(5, [1.2, 0.7, 1.0, 1.5, 0.9])
    monkeypatch.setattr("surrogate_ax.latents.bank.STACK_BYTES", 4 * D * 2)
    c = np.vstack([np.eye(5), np.ones((1, 5))])
    torch.testing.assert_close(Bank(PRIOR, list(x)).inner(c)[:5], x, rtol=0, atol=0)


def test_a_product_that_rounds_does_not_reach_a_seed_alone(monkeypatch):
    x = rows(2, [1.2, 0.8])
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: product(a, b).bfloat16().float())  # as TF32 does
    made = Bank(PRIOR, list(x)).inner([[2.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(made[0], x[0], rtol=0, atol=0)
    assert (made[1] == made[1].bfloat16().float()).all()


# --- draws


def old_inner(seeds: list[Draw], c: np.ndarray) -> torch.Tensor:
    """What a bank of draws made before stored seeds had radii: Σ c ξ / |c|, in its operations and their order."""
    norm = np.sqrt(np.bincount(np.repeat(np.arange(len(c)), c.shape[1]), (c**2).ravel()))
    norm[np.abs(norm - 1) < 1e-12] = 1
    x = torch.stack([torch.from_numpy(inner_row(seed, D)) for seed in seeds])
    return torch.from_numpy(c / norm[:, None]).float() @ x


@given(entropies, st.integers(1, 6), st.integers(1, 4))
def test_rows_over_draws_are_what_they_were_bit_for_bit(entropy, m, n):
    seeds = [Draw(entropy, k) for k in range(m)]
    c = np.random.default_rng(entropy).normal(size=(n, m)) + 10
    bank = Bank(PRIOR, seeds)
    torch.testing.assert_close(bank.inner(c), old_inner(seeds, c), rtol=0, atol=0)
    torch.testing.assert_close(bank.directions(c), bank.inner(c), rtol=0, atol=0)
    np.testing.assert_array_equal(bank.radius(c), np.ones(n))
    np.testing.assert_array_equal(bank.gram(c), c @ c.T)


def test_a_draw_beside_a_stored_seed_counts_as_one_of_radius_one():
    (x,) = rows(1, [1.3])
    draw = torch.from_numpy(inner_row(Draw(1, 0), D))
    bank = Bank(PRIOR, [x, Draw(1, 0)])
    cosine = float(x.double() @ draw.double()) / (D * 1.3)
    np.testing.assert_allclose(bank.gram(np.eye(2)), [[1, cosine], [cosine, 1]], atol=1e-6)
    c = np.array([[0.6, 0.8]])
    direction = (0.6 * x / 1.3 + 0.8 * draw) / (1 + 2 * 0.48 * cosine) ** 0.5
    radius = (0.36 * 1.3**2 + 0.64) ** 0.5
    torch.testing.assert_close(bank.inner(c)[0], direction * radius, rtol=0, atol=1e-5)


# --- spaces


@pytest.mark.parametrize("chart", [KnotheRosenblatt(), Angular()], ids=lambda chart: chart.name)
def test_points_between_items_of_any_radius_are_located(chart):
    items = rows(4, [0.8, 1.0, 1.2, 1.5], shared=0)
    space = SurrogateSpace.from_latents(PRIOR, items, rng=0, repair=True, chart=chart)
    u = np.random.default_rng(0).uniform(0.1, 0.9, size=(6, 3))
    found, residual = space.locate(space.latents(u))
    np.testing.assert_allclose(found, u, rtol=0, atol=1e-4)
    assert residual.max() < 1e-4


def test_given_latents_are_the_corners_of_their_box():
    items = rows(3, [0.8, 1.2, 1.5], shared=0)
    space = SurrogateSpace.from_latents(PRIOR, items, rng=0)
    torch.testing.assert_close(space.bank.inner(space.frame), items, rtol=0, atol=0)


# --- measured once, read once


class Counting(dict):
    """Tensors that count how often each is read."""

    def __init__(self, items):
        super().__init__({row_sha256(row): row for row in items})
        self.read: list[str] = []

    def __getitem__(self, name):
        self.read.append(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("small", [0, 4096])
def test_a_seed_is_read_once_and_only_when_it_is_needed(monkeypatch, small):
    monkeypatch.setattr("surrogate_ax.latents.seed_rows.SMALL", small)
    tensors = Counting(rows(6, [1.2] * 6))
    names = list(tensors)
    bank = Bank(PRIOR, [Stored(name) for name in names], tensors=tensors)
    grown = bank.extend([Draw(0, 0), Stored(names[0])])
    assert tensors.read == []
    c = np.eye(7)[[0, 2]] + np.eye(7)[[2, 6]]
    grown.terms(c), grown.gram(c), grown.radius(c), grown.latents(c), grown.latents(c[:1])
    assert tensors.read == [names[0], names[2]]


def test_what_was_measured_is_not_measured_again(monkeypatch):
    measured = []
    original = SeedRows._gram_and_radii
    monkeypatch.setattr(
        SeedRows, "_gram_and_radii", lambda self, seeds: measured.append(seeds) or original(self, seeds)
    )
    space = SurrogateSpace.from_latents(PRIOR, rows(4, [0.8, 1.0, 1.2, 1.5], shared=0), rng=0)
    for k in range(5):
        space.latents(np.random.default_rng(k).uniform(size=(3, 3)))
    assert measured == [space.bank.seeds]


def test_measuring_in_slices_changes_nothing(monkeypatch):
    bank = Bank(PRIOR, [*rows(3, [0.8, 1.0, 1.4]), Draw(0, 0)])
    whole = bank.gram(np.eye(4))
    monkeypatch.setattr("surrogate_ax.latents.seed_rows.AT_ONCE", 4 * 5)
    again = Bank(PRIOR, bank.seeds, tensors=bank.tensors)
    np.testing.assert_allclose(again.gram(np.eye(4)), whole, rtol=0, atol=1e-14)


def test_tensors_of_a_bank_are_those_of_its_seeds():
    x = rows(3, [1.0] * 3)
    tensors = {row_sha256(row): row for row in x}
    bank = Bank(PRIOR, [Stored(row_sha256(x[1])), Draw(0, 0)], tensors=tensors)
    assert list(bank.tensors) == [row_sha256(x[1])]
    assert row_sha256(x[0]) not in bank.tensors
    with pytest.raises(KeyError):
        bank.tensors[row_sha256(x[0])]
    assert len(bank.extend(list(x)).tensors) == 3
    assert len(bank.tensors) == 1


def test_terms_over_seeds_that_the_bank_lacks_make_their_latents():
    x = rows(2, [1.2, 0.9])
    bank = Bank(PRIOR, [Draw(0, 0)], tensors={row_sha256(row): row for row in x})
    terms = [((Draw(0, 0), 1.0),), ((Stored(row_sha256(x[1])), 0.6), (Draw(4, 1), 0.8))]
    z = bank.latents_of(terms)["latents"]
    assert len(bank.seeds) == 1
    wide = Bank(PRIOR, [Draw(0, 0), x[1], Draw(4, 1)])
    torch.testing.assert_close(z, wide.latents([[1, 0, 0], [0, 0.6, 0.8]])["latents"], rtol=0, atol=1e-6)
    assert bank.latents_of([])["latents"].shape == (0, D)
