"""The bank: draws by key, stored seeds by hash, norms held, and seeds that are refused or repaired."""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from surrogate_ax import Gaussian
from surrogate_ax.errors import ArgumentError, SeedError, ShapeError
from surrogate_ax.latents import seed_rows as module
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seed_checks import check_seeds, repair_seeds
from surrogate_ax.latents.seed_rows import SeedRows
from surrogate_ax.latents.seeds import Draw, Stored, draw_entropy, inner_row

D = 64
PRIOR = Gaussian((D,))


def draws(m, entropy=1):
    return [Draw(entropy, index) for index in range(m)]


def rows_of(seeds, dim=D):
    return torch.stack([torch.from_numpy(inner_row(seed, dim)) for seed in seeds])


def correlated(k, dim, rho=0.5, entropy=9):
    """k standard normal rows with pairwise correlation rho."""
    x = rows_of(draws(k + 1, entropy), dim)
    return rho**0.5 * x[:1] + (1 - rho) ** 0.5 * x[1:]


def orthonormal(k, dim):
    """k rows with ξ_k·ξ_l / D = δ_kl, float64."""
    q, _ = torch.linalg.qr(rows_of(draws(k), dim).double().T)
    return q.T * dim**0.5


@pytest.fixture
def mixed():
    """Three draws, then three correlated stored seeds, then a draw."""
    return Bank(PRIOR, [*draws(3), *correlated(3, D), Draw(2, 5)])


# --- draws


def test_golden_values_of_a_draw():
    # Made with numpy 2.4.6: Philox(SeedSequence(1, spawn_key=(2,))), standard_normal, float32.
    golden = np.array([-0.38996154, -0.09382575, 0.915326, -1.0317627], dtype=np.float32)
    np.testing.assert_array_equal(inner_row(Draw(entropy=1, index=2), 4), golden)
    np.testing.assert_array_equal(inner_row(Draw(entropy=1, index=2), 4096)[:4], golden)


def test_golden_entropies():
    # Made with Python's hashlib: the first 48 bits of SHA-256 of "seeds:0".
    assert draw_entropy(0, "seeds") == 62168015705113
    assert len({draw_entropy(rng, purpose) for rng in range(20) for purpose in ("seeds", "trials")}) == 40
    assert all(0 <= draw_entropy(rng, "seeds") < 2**48 for rng in (-1, 0, 2**70))


def test_a_draw_is_float32_standard_normal_and_its_key_is_all_of_it():
    row = inner_row(Draw(7, 0), 20_000)
    assert row.dtype == np.float32
    assert stats.kstest(row, "norm").pvalue > 1e-3
    np.testing.assert_array_equal(row, inner_row(Draw(7, 0), 20_000))
    for other in (Draw(7, 1), Draw(8, 0)):
        assert abs(np.corrcoef(row, inner_row(other, 20_000))[0, 1]) < 5 / np.sqrt(20_000)


# --- the combination rule


def check_combination(bank, c, lol_gaussian):
    """Rows of the bank are the authors' transport of linear combinations, in float64."""
    seeds = rows_of(bank.seeds).double().numpy()
    np.testing.assert_allclose(bank.normalise(c) @ seeds, lol_gaussian(c, seeds), rtol=0, atol=1e-12)
    np.testing.assert_allclose(bank.inner(c).numpy(), lol_gaussian(c, seeds), rtol=0, atol=1e-5)


UNNORMALISED = np.random.default_rng(3).normal(size=(6, 5)) * np.array([[0.01], [0.5], [1], [2], [30], [4]])


def test_rows_agree_with_the_authors_package(lol_gaussian):
    check_combination(Bank(PRIOR, draws(5)), UNNORMALISED, lol_gaussian)


def test_the_combination_check_sees_a_norm_that_is_not_divided_out(monkeypatch, lol_gaussian):
    monkeypatch.setattr(Bank, "normalise", lambda self, c: sp.csr_array(c))
    with pytest.raises(AssertionError):
        check_combination(Bank(PRIOR, draws(5)), UNNORMALISED, lol_gaussian)


def test_the_combination_check_sees_reversed_seeds(monkeypatch, lol_gaussian):
    normalise = Bank.normalise
    monkeypatch.setattr(Bank, "normalise", lambda self, c: normalise(self, c[:, ::-1]))
    with pytest.raises(AssertionError):
        check_combination(Bank(PRIOR, draws(5)), UNNORMALISED, lol_gaussian)


def check_mean_and_deviation(bank, c, lol_gaussian):
    """Latents under μ ≠ 0 and σ ≠ 1: z = (1 - α/√β) μ + Σ c_k z_k / √β."""
    seeds = bank.prior.from_inner(rows_of(bank.seeds).double())["latents"].numpy()
    expected = lol_gaussian(c, seeds, np.full(D, bank.prior.mean["latents"]))
    np.testing.assert_allclose(bank.latents(c)["latents"].numpy(), expected, rtol=0, atol=2e-5)


def test_latents_with_a_mean_agree_with_the_authors_package(lol_gaussian):
    check_mean_and_deviation(Bank(Gaussian((D,), mean=1.3, std=0.7), draws(5)), UNNORMALISED, lol_gaussian)


def test_the_check_with_a_mean_sees_mutants(monkeypatch, lol_gaussian):
    bank = Bank(Gaussian((D,), mean=1.3, std=0.7), draws(5))
    with monkeypatch.context() as patch:
        patch.setattr(Bank, "normalise", lambda self, c: sp.csr_array(c))
        with pytest.raises(AssertionError):
            check_mean_and_deviation(bank, UNNORMALISED, lol_gaussian)
    with monkeypatch.context() as patch:
        patch.setattr(Bank, "latents", lambda self, c: {"latents": (self.inner(c) + 1.3) * 0.7})
        with pytest.raises(AssertionError):
            check_mean_and_deviation(bank, UNNORMALISED, lol_gaussian)


def test_coefficients_over_stored_seeds_are_divided_by_the_norm_of_their_direction(mixed):
    c = np.random.default_rng(0).normal(size=(5, 7))
    x = rows_of([seed for seed in mixed.seeds if isinstance(seed, Draw)]).double()
    x = torch.cat([x[:3], torch.stack(list(mixed.tensors.values())).double(), x[3:]])
    x[3:6] /= x[3:6].square().mean(dim=1, keepdim=True).sqrt()
    g = (x @ x.T / D).numpy()
    among_draws = np.ix_([0, 1, 2, 6], [0, 1, 2, 6])
    g[among_draws] = np.eye(4)
    expected = c / np.sqrt(np.einsum("nm,ml,nl->n", c, g, c))[:, None]
    np.testing.assert_allclose(mixed.normalise(c).toarray(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mixed.gram(c), c @ g @ c.T, rtol=0, atol=1e-12)


def test_combinations_of_draws_stay_standard_normal():
    dim, n = 4000, 12
    bank = Bank(Gaussian((dim,)), draws(20, entropy=4))
    xi = bank.inner(np.random.default_rng(0).normal(size=(n, 20)) * 3).numpy()
    assert np.abs((xi**2).mean(axis=1) - 1).max() < 5 * np.sqrt(2 / dim)
    assert min(stats.kstest(row, "norm").pvalue for row in xi) > 1e-3 / n


def test_cosines_of_latents_are_the_gram_matrix_of_their_rows():
    dim = 4096
    bank = Bank(Gaussian((dim,)), draws(6))
    c = bank.normalise(np.random.default_rng(0).uniform(size=(8, 6)))
    xi = torch.nn.functional.normalize(bank.inner(c), dim=1)
    assert np.abs((xi @ xi.T).numpy() - bank.gram(c)).max() < 5 / np.sqrt(dim)
    np.testing.assert_allclose(np.diag(bank.gram(c)), 1, rtol=0, atol=1e-12)


def test_draws_are_taken_as_orthonormal():
    np.testing.assert_array_equal(Bank(PRIOR, draws(4)).gram(np.eye(4)), np.eye(4))


# --- property tests

seeds = st.builds(Draw, st.integers(0, 3), st.integers(0, 3))


@st.composite
def coefficients(draw, columns=7):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    c = rng.normal(size=(draw(st.integers(1, 5)), columns)) * (rng.uniform(size=columns) < draw(st.floats(0.1, 1)))
    c[:, rng.integers(columns)] += 10  # no row without a direction
    return c


@pytest.fixture(scope="module")
def bank():
    return Bank(PRIOR, [*draws(3), *correlated(3, D), Draw(2, 5)])


@given(c=coefficients())
def test_a_batch_is_its_rows_in_any_order(bank, c):
    xi = bank.inner(c)
    assert xi.dtype == torch.float32
    order = np.random.default_rng(0).permutation(len(c))
    torch.testing.assert_close(bank.inner(c[order]), xi[torch.from_numpy(order)], rtol=0, atol=1e-5)
    alone = torch.cat([bank.inner(c[[i]]) for i in range(len(c))])
    torch.testing.assert_close(alone, xi, rtol=0, atol=1e-5)


@given(c=coefficients(), scale=st.floats(1e-3, 1e3))
def test_the_length_of_a_row_does_not_matter(bank, c, scale):
    np.testing.assert_allclose(bank.normalise(c * scale).toarray(), bank.normalise(c).toarray(), rtol=1e-12, atol=0)


@given(c=coefficients())
def test_terms_give_their_rows_back(bank, c):
    terms = bank.terms(c)
    np.testing.assert_array_equal(bank.rows(terms).toarray(), bank.normalise(c).toarray())
    assert all(coefficient != 0 for row in terms for _, coefficient in row)


@given(c=coefficients())
def test_terms_stand_in_the_order_of_the_bank_and_normalising_twice_changes_no_bit(bank, c):
    terms = bank.terms(c)
    assert [[seed for seed, _ in row] for row in terms] == [[bank.seeds[m] for m in np.flatnonzero(row)] for row in c]
    assert bank.terms(bank.rows(terms)) == terms
    np.testing.assert_array_equal(bank.normalise(bank.normalise(c)).toarray(), bank.normalise(c).toarray())


def test_rows_given_are_left_as_they_are(bank):
    c = bank.rows([((bank.seeds[4], 2.0), (bank.seeds[1], 3.0), (bank.seeds[4], 1.0))])
    before = (c.data.copy(), c.indices.copy(), c.indptr.copy())
    bank.normalise(c)
    for array, old in zip((c.data, c.indices, c.indptr), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_no_rows_have_no_terms(bank):
    assert bank.terms(np.zeros((0, 7))) == []
    assert bank.terms(bank.rows([])) == []


@given(st.lists(seeds, max_size=8, unique=True), st.lists(seeds, max_size=8))
def test_extending_keeps_columns_and_passes_over_known_seeds(first, more):
    bank = Bank(PRIOR, first)
    grown = bank.extend(more)
    assert bank.seeds == tuple(first)
    assert grown.seeds == tuple(dict.fromkeys([*first, *more]))
    wanted = [((seed, 1.0),) for seed in grown.seeds]
    np.testing.assert_array_equal(grown.rows(wanted).toarray(), np.eye(len(grown.seeds)))
    if grown.seeds:
        torch.testing.assert_close(grown.inner(np.eye(len(grown.seeds))), rows_of(grown.seeds), rtol=0, atol=0)


@given(st.lists(coefficients(), min_size=2, max_size=4))
def test_a_bank_that_was_used_gives_what_a_fresh_one_gives(steps):
    used = Bank(PRIOR, [*draws(3), *correlated(3, D), Draw(2, 5)])
    for c in steps:
        fresh = Bank(PRIOR, used.seeds, tensors=used.tensors)
        torch.testing.assert_close(used.inner(c), fresh.inner(c), rtol=0, atol=0)


# --- stacks


def test_stacks_of_a_few_seeds_give_what_one_stack_gives(monkeypatch):
    c = np.random.default_rng(0).normal(size=(3, 7))
    whole = Bank(PRIOR, draws(7)).inner(c)
    monkeypatch.setattr("surrogate_ax.latents.bank.STACK_BYTES", 4 * D * 3)
    torch.testing.assert_close(Bank(PRIOR, draws(7)).inner(c), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stack_bytes", [1, 4 * D * 3])
def test_no_stack_is_larger_than_asked_for(monkeypatch, stack_bytes):
    sizes = []
    product = SeedRows.product
    monkeypatch.setattr(SeedRows, "product", lambda self, c, seeds: sizes.append(len(seeds)) or product(self, c, seeds))
    monkeypatch.setattr("surrogate_ax.latents.bank.STACK_BYTES", stack_bytes)
    Bank(PRIOR, draws(7)).inner(np.ones((2, 7)))
    assert sum(sizes) == 7
    assert max(sizes) == max(1, stack_bytes // (4 * D))


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_a_product_by_blocks_is_that_of_a_stack(monkeypatch, block):
    c = np.random.default_rng(0).normal(size=(3, 7))
    seeds = [*draws(6), torch.linspace(-1, 2, D)]
    whole = Bank(PRIOR, seeds).inner(c)
    monkeypatch.setattr(module, "STACKED", 0)
    monkeypatch.setattr(module, "BLOCK", block)
    bank = Bank(PRIOR, seeds)
    torch.testing.assert_close(bank.inner(c), whole, rtol=0, atol=1e-5)
    assert torch.equal(bank.inner(np.eye(7)[6:])[0], seeds[6])  # a stored seed alone, to the bit
    (drawn := Bank(PRIOR, draws(7))).inner(c)
    assert drawn._rows._stack[0] == ()  # no array of them all


def test_large_rows_of_draws_are_made_once_for_all_banks_while_there_is_room(monkeypatch):
    made = []
    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(module, "_large_rows", module._KeptRows(5 * D))
    monkeypatch.setattr(module, "inner_row", lambda seed, dim: made.append(seed) or inner_row(seed, dim))
    first = draws(5)
    for _ in range(2):
        rows = Bank(PRIOR, first).inner(np.eye(5))
    assert made == first
    torch.testing.assert_close(rows[2], torch.from_numpy(inner_row(first[2], D)))
    Bank(PRIOR, draws(7)[5:]).inner(np.eye(2))  # in place of those that were used longest ago
    Bank(PRIOR, first).inner(np.eye(5)[2:])
    assert made == draws(7)
    Bank(PRIOR, first[:1]).inner(np.eye(1))
    assert made == [*draws(7), first[0]]
    assert module._large_rows._entries == 5 * D


def test_a_box_that_is_searched_is_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(module, "SMALL", 0)  # rows of few entries are kept for good
    monkeypatch.setattr(module, "_large_rows", module._KeptRows(0))
    monkeypatch.setattr(module, "inner_row", lambda seed, dim: made.append(seed) or inner_row(seed, dim))
    bank = Bank(PRIOR, draws(4))
    for _ in range(3):
        bank.inner(np.ones((2, 4)))
    grown = bank.extend([Draw(5, 0)])
    grown.inner(np.ones((1, 5)))
    assert made == [*draws(4), Draw(5, 0)]


def test_threads_may_share_a_bank():
    shared, seeds, wrong = Bank(PRIOR, draws(6)), rows_of(draws(6)), []

    def work(first):
        for k in range(first, first + 400):
            c = np.zeros((1, 6))
            c[0, [k % 6, (k + 1) % 6]] = 1
            expected = (seeds[k % 6] + seeds[(k + 1) % 6]) / 2**0.5
            if not torch.allclose(shared.inner(c)[0], expected, atol=1e-5):
                wrong.append(k)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_seeds_that_a_row_does_not_use_are_not_made(monkeypatch):
    made = []
    monkeypatch.setattr("surrogate_ax.latents.seed_rows.SMALL", 0)  # rows of few entries are kept for good
    monkeypatch.setattr(
        "surrogate_ax.latents.seed_rows.inner_row", lambda seed, dim: made.append(seed) or inner_row(seed, dim)
    )
    c = np.zeros((2, 500))
    c[:, 17] = 1
    Bank(PRIOR, draws(500)).inner(c)
    assert made == [Draw(1, 17)]


# --- seeds, stored and drawn


def test_a_tensor_is_kept_by_the_hash_of_its_float32_bytes():
    row = rows_of(draws(1))[0]
    sha256 = hashlib.sha256(row.numpy().tobytes()).hexdigest()
    for given_row in (row, row.double(), row.clone().requires_grad_()):
        bank = Bank(PRIOR, [given_row])
        assert bank.seeds == (Stored(sha256),)
        torch.testing.assert_close(bank.tensors[sha256], row, rtol=0, atol=0)
        assert not bank.tensors[sha256].requires_grad


def test_a_stored_seed_does_not_follow_the_tensor_that_it_was_made_from():
    row = rows_of(draws(1))[0]
    bank = Bank(PRIOR, [row])
    expected = row.clone()
    row.zero_()
    torch.testing.assert_close(bank.inner([[1.0]])[0], expected, rtol=0, atol=0)


def test_where_a_seed_came_from_is_no_part_of_it():
    assert Stored("a", "photo 1") == Stored("a", "photo 2")
    assert hash(Stored("a", "photo 1")) == hash(Stored("a", "photo 2"))


def test_a_bank_is_remade_from_its_seeds_and_tensors(mixed):
    again = Bank(PRIOR, mixed.seeds, tensors=mixed.tensors)
    assert again.seeds == mixed.seeds
    torch.testing.assert_close(again.inner(np.eye(7)), mixed.inner(np.eye(7)), rtol=0, atol=0)


def test_a_stored_seed_without_its_tensor_is_named():
    with pytest.raises(SeedError, match=r"seeds: there is no tensor of Stored.*as `seeds`, or its row in"):
        Bank(PRIOR, [Stored("0" * 64, "photo")])


def test_a_tensor_of_another_hash_is_refused():
    row = rows_of(draws(1))[0]
    bank = Bank(PRIOR, [Stored("0" * 64)], tensors={"0" * 64: row})
    for use in (bank.inner, bank.normalise, bank.gram):
        with pytest.raises(SeedError, match=r"seeds: the tensor of 0{12} hashes to [0-9a-f]{12}; its file was chan"):
            use([[1.0]])


def given_as_tensor(row):
    Bank(PRIOR, draws(2)).extend([row])


def given_by_hash(row):
    sha256 = hashlib.sha256(row.numpy().tobytes()).hexdigest()
    Bank(PRIOR, [Stored(sha256)], tensors={sha256: row}).inner([[1.0]])


@pytest.mark.parametrize("give", [given_as_tensor, given_by_hash])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (float("nan"), "seeds: expected finite values, got NaN or infinity in"),
        (float("inf"), "seeds: expected finite values, got NaN or infinity in"),
        (0.0, "seeds: expected a direction, got zeros only in"),
    ],
)
def test_a_row_that_is_no_seed_is_refused(give, bad, message):
    row = bad * rows_of(draws(1))[0]
    with pytest.raises(SeedError, match=message):
        give(row)


@pytest.mark.parametrize("give", [given_as_tensor, given_by_hash])
def test_a_row_of_another_shape_is_refused_with_both_shapes(give):
    with pytest.raises(ShapeError, match=r"expected an inner row \(D,\) = \(64,\), got \(8, 8\)"):
        give(torch.ones(8, 8))


def test_whole_numbers_are_no_seed():
    with pytest.raises(SeedError, match=r"seeds: expected a floating dtype, got torch\.int64"):
        Bank(PRIOR, [torch.ones(D, dtype=torch.int64)])


def test_repeated_seeds_are_counted():
    row = rows_of(draws(1))[0]
    with pytest.raises(SeedError, match="seeds: expected distinct seeds, got 2 repeated ones"):
        Bank(PRIOR, [Draw(0, 0), row, Draw(0, 0), row.clone()])


def test_terms_over_unknown_seeds_are_refused():
    with pytest.raises(SeedError, match=r"terms: Draw\(entropy=9, index=9\) is not in this bank of 2 seeds"):
        Bank(PRIOR, draws(2)).rows([((Draw(9, 9), 1.0),)])


def test_a_seed_named_twice_in_a_row_counts_twice():
    bank = Bank(PRIOR, draws(2))
    twice = bank.rows([((Draw(1, 0), 0.6), (Draw(1, 1), 0.6), (Draw(1, 0), 0.2))])
    np.testing.assert_allclose(bank.normalise(twice).toarray(), [[0.8, 0.6]], rtol=0, atol=1e-12)
    torch.testing.assert_close(bank.inner(twice), bank.inner([[0.8, 0.6]]), rtol=0, atol=1e-6)
    (terms,) = bank.terms(twice)
    assert [seed for seed, _ in terms] == draws(2)


# --- coefficient rows


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5)])
def test_rows_of_another_width_are_refused_with_both_shapes(shape):
    with pytest.raises(ShapeError) as error:
        Bank(PRIOR, draws(4)).inner(np.ones(shape))
    assert "c: expected shape (n, M) = (n, 4)" in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_coefficients_that_are_not_finite_are_refused(bad):
    with pytest.raises(ArgumentError, match="c: expected finite coefficients, got NaN or infinity"):
        Bank(PRIOR, draws(2)).inner([[1.0, bad]])


def test_a_row_without_a_direction_is_named():
    with pytest.raises(ArgumentError, match="c: row 1 makes a zero latent"):
        Bank(PRIOR, draws(2)).inner([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])


def test_no_rows_give_no_latents():
    bank = Bank(PRIOR, draws(2))
    assert bank.inner(np.zeros((0, 2))).shape == (0, D)
    assert bank.latents(bank.rows([]))["latents"].shape == (0, D)
    assert bank.gram(np.zeros((0, 2))).shape == (0, 0)


# --- devices


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_latents_are_made_on_the_device(device):
    bank = Bank(Gaussian({"a": (2, 4), "b": (3,)}), draws(3), device=device)
    for moved in (bank, bank.extend([Draw(5, 5)]).to(device), Bank(bank.prior, draws(3)).to(device)):
        z = moved.latents(np.ones((2, len(moved.seeds))))
        assert {name: (part.device.type, part.dtype) for name, part in z.items()} == {
            "a": (device, torch.float32),
            "b": (device, torch.float32),
        }
        assert z["a"].shape == (2, 2, 4)


# --- seeds that behave like draws, and those that do not


def with_norm(norm2, dim):
    """Three orthonormal rows, the last with |ξ|²/D = norm2."""
    x = orthonormal(3, dim)
    x[2] *= norm2**0.5
    return x


def with_cosine(factor, dim):
    """Three orthonormal rows, the last turned to a cosine of factor · 5/√D with the first."""
    x = orthonormal(3, dim)
    cosine = factor * 5 / dim**0.5
    x[2] = cosine * x[0] + (1 - cosine**2) ** 0.5 * x[2]
    return x


@pytest.mark.parametrize("dim", [256, 4096])
@pytest.mark.parametrize("sign", [-1, 1])
def test_cosines_just_inside_the_limit_pass(sign, dim):
    check_seeds(with_cosine(0.99 * sign, dim))


@pytest.mark.parametrize("dim", [256, 4096])
@pytest.mark.parametrize("norm2", [0.2501, 1.02, 1.39, 3.999])
def test_radii_of_latents_pass(norm2, dim):
    check_seeds(with_norm(norm2, dim))


@pytest.mark.parametrize(("norm2", "got"), [(0.249, "0.249"), (4.01, "4.01"), (0.13**2, "0.0169"), (14.6**2, "213")])
def test_a_radius_that_no_latent_has_is_refused(norm2, got):
    with pytest.raises(SeedError) as error:
        check_seeds(with_norm(norm2, 256))
    assert "seeds: expected |ξ|²/D from 0.25 to 4 (near 1 for a prior draw" in str(error.value)
    assert f"got {got} for seed 2" in str(error.value)
    assert "a scale was forgotten" in str(error.value)
    assert "repair" not in str(error.value)  # it keeps radii


def test_in_few_dimensions_the_limits_are_as_wide_as_draws_scatter():
    radii = [rows_of(draws(2, entropy), 12).square().mean(dim=1) for entropy in range(300)]
    assert torch.stack(radii).min() < 0.25  # which a plain draw may have here
    for entropy in range(300):
        check_seeds(rows_of(draws(2, entropy), 12))


@pytest.mark.parametrize("dim", [256, 4096])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_cosine_just_outside_is_refused(sign, dim):
    with pytest.raises(SeedError) as error:
        check_seeds(with_cosine(1.01 * sign, dim))
    limit = 5 / dim**0.5
    assert f"|cos| of a pair at most {limit:.3f} as for prior draws (D = {dim})" in str(error.value)
    assert f"got {1.01 * sign * limit:.3f} for seeds 0 and 2" in str(error.value)


def test_draws_pass():
    for entropy in range(10):
        check_seeds(rows_of(draws(20, entropy), 256))


@pytest.mark.parametrize(
    ("xi", "message"),
    [
        (torch.ones(4, 4, 4), "expected inner rows (K, D), got (4, 4, 4)"),
        (torch.ones(3, 64, dtype=torch.int64), "expected a floating dtype, got torch.int64"),
        (torch.ones(1, 64), "expected at least K = 2 to span a box, got 1"),
        (torch.ones(5, 4), "expected at most D = 4 seeds for latents of D entries, got K = 5"),
        (torch.tensor([[1.0, 2.0, 3.0], [0.0, float("nan"), 1.0]]), "NaN or infinity in seed 1"),
        (rows_of(draws(3))[[0, 1, 2, 1]], "1 and 3 are copies of each other"),
    ],
)
def test_rows_that_cannot_be_seeds_are_refused(xi, message):
    with pytest.raises(SeedError if "inner rows" not in message else ShapeError) as error:
        check_seeds(xi)
    assert "seeds: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("k", [2, 8, 40])
def test_repaired_rows_are_orthogonal_and_keep_their_radii(k):
    dim = 128
    crooked = correlated(k, dim) * torch.linspace(0.7, 1.5, k)[:, None]
    repaired = repair_seeds(crooked)
    assert repaired.dtype == torch.float32
    gram = repaired.double() @ repaired.double().T / dim
    torch.testing.assert_close(gram, torch.diag(crooked.double().square().mean(dim=1)), rtol=0, atol=1e-5)
    check_seeds(repaired)


def test_repair_hides_no_forgotten_scale():
    with pytest.raises(SeedError, match="a scale was forgotten"):
        check_seeds(repair_seeds(correlated(3, 128) * 14.6))


def test_repair_leaves_orthonormal_rows_alone_and_goes_to_the_nearest():
    x = orthonormal(5, 128)
    torch.testing.assert_close(repair_seeds(x), x.float(), rtol=0, atol=1e-5)
    crooked = torch.nn.functional.normalize(correlated(5, 128), dim=1)
    other = torch.linalg.qr(crooked.double().T)[0].T
    other = other * torch.sign((other * crooked).sum(dim=1, keepdim=True))
    assert (repair_seeds(crooked) - crooked).square().sum() < (other - crooked).square().sum()


@pytest.mark.parametrize("combine", [lambda x: x[[0, 1, 0]], lambda x: torch.stack([x[0], x[1], x[0] + x[1]])])
def test_dependent_rows_cannot_be_repaired(combine):
    with pytest.raises(SeedError, match="seeds: linearly dependent"):
        repair_seeds(combine(rows_of(draws(3))))


@pytest.mark.parametrize(
    ("xi", "message"),
    [
        (torch.tensor([[1.0, 2.0, 3.0], [0.0, float("inf"), 1.0]]), "NaN or infinity in seed 1"),
        (torch.ones(5, 4), "expected at most D = 4 seeds for latents of D entries, got K = 5"),
        (torch.ones(1, 64), "expected at least K = 2 to span a box, got 1"),
        (torch.ones(2, 64, dtype=torch.int64), "expected a floating dtype, got torch.int64"),
    ],
)
def test_repair_refuses_what_cannot_be_repaired_for_its_own_reason(xi, message):
    with pytest.raises(SeedError) as error:
        repair_seeds(xi)
    assert message in str(error.value)
