"""Surrogate spaces: boxes to latents and back, fresh shares, fingerprints, files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from latent_spaces_by_example import SurrogateChart
from latent_spaces_by_example.charts import AngularChart, KnotheRosenblattChart
from latent_spaces_by_example.transport_maps import TransportMap
from safetensors.torch import load_file, save_file
from scipy import stats

from surrogate_ax import Gaussian, SurrogateSpace
from surrogate_ax.errors import ArgumentError, MismatchError, SeedError, ShapeError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Angular, KnotheRosenblatt
from surrogate_ax.latents.seeds import Draw, Stored, draw_entropy, inner_row

D = 96
PRIOR = Gaussian((4, 24), mean=0.8, std=1.5)
ORACLES = {"knothe-rosenblatt": KnotheRosenblattChart, "angular": AngularChart}


def points(n, k, seed=0, low=0.02):
    return np.random.default_rng(seed).uniform(low, 1 - low, size=(n, k - 1))


def orthonormal(k, dim=D, seed=0):
    """k latents of a standard prior with ξ_k·ξ_l / D = δ_kl."""
    x = torch.randn(k, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(x.T)[0].T * dim**0.5


class Whitening(TransportMap):
    """The oracle's own way to carry a prior: to and from standard normal entries."""

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def forward(self, z):
        return (z - self.mean) / self.std

    def backward(self, xi):
        return xi * self.std + self.mean


# --- boxes to latents


def check_latents_of_a_box(space, oracle_chart):
    """u -> z is the authors' surrogate chart over the same seeds, carried by the prior."""
    u = points(6, space.axes)
    seeds = space.bank.prior.from_inner(torch.stack([torch.from_numpy(inner_row(s, D)) for s in space.bank.seeds]))
    prior = Whitening(PRIOR.mean["latents"], PRIOR.std["latents"])
    oracle = SurrogateChart(
        seeds["latents"].flatten(1).double().numpy(), weight_chart=oracle_chart, transport_map=prior
    )
    z = space.latents(u)["latents"].flatten(1).double().numpy()
    np.testing.assert_allclose(z, oracle.from_u_to_z(u), rtol=0, atol=2e-5)


@pytest.mark.parametrize("chart", [KnotheRosenblatt(), Angular()], ids=lambda chart: chart.name)
def test_latents_agree_with_the_authors_package(chart):
    space = SurrogateSpace.sample(PRIOR, seeds=5, rng=3, chart=chart)
    check_latents_of_a_box(space, ORACLES[chart.name](tolerance=1e-12))


@dataclasses.dataclass(frozen=True)
class Reversed(KnotheRosenblatt):
    def weights(self, u):
        return super().weights(u[:, ::-1])


def test_the_check_sees_swapped_coordinates():
    space = SurrogateSpace.sample(PRIOR, seeds=5, rng=3, chart=Reversed())
    with pytest.raises(AssertionError):
        check_latents_of_a_box(space, KnotheRosenblattChart(tolerance=1e-12))


@dataclasses.dataclass(frozen=True)
class Long(KnotheRosenblatt):
    def weights(self, u):
        return 3 * super().weights(u)


def test_the_check_sees_a_norm_that_is_not_divided_out(monkeypatch):
    space = SurrogateSpace.sample(PRIOR, seeds=5, rng=3, chart=Long())
    check_latents_of_a_box(space, KnotheRosenblattChart(tolerance=1e-12))
    monkeypatch.setattr(Bank, "normalise", lambda self, c: sp.csr_array(c))
    with pytest.raises(AssertionError):
        check_latents_of_a_box(space, KnotheRosenblattChart(tolerance=1e-12))


def test_a_space_of_draws_has_the_identity_for_its_frame():
    space = SurrogateSpace.sample(PRIOR, seeds=4, rng=0)
    assert space.axes == 4
    assert space.bank.seeds == tuple(Draw(draw_entropy(0, "seeds"), k) for k in range(4))
    np.testing.assert_array_equal(space.frame, np.eye(4))
    np.testing.assert_array_equal(
        space.coefficients(points(3, 4)).toarray(), KnotheRosenblatt().weights(points(3, 4)).astype(np.float64)
    )


def test_axes_that_are_combinations_flatten_to_base_seeds():
    bank = Bank(PRIOR, [Draw(1, k) for k in range(6)])
    frame = np.random.default_rng(0).normal(size=(3, 6)) * 7
    space = SurrogateSpace(bank, frame)
    unit = frame / np.linalg.norm(frame, axis=1, keepdims=True)
    np.testing.assert_allclose(space.frame, unit, rtol=0, atol=1e-12)
    c = KnotheRosenblatt().weights(points(4, 3)) @ unit
    expected = c / np.linalg.norm(c, axis=1, keepdims=True)
    np.testing.assert_allclose(space.coefficients(points(4, 3)).toarray(), expected, rtol=0, atol=1e-12)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_terms_give_the_latents_of_their_points(k, n, seed):
    space = SurrogateSpace.sample(PRIOR, seeds=k, rng=seed)
    u = points(n, k, seed)
    bank = Bank(PRIOR).extend([s for row in space.terms(u) for s, _ in row])
    again = bank.latents(bank.rows(space.terms(u)))["latents"]
    torch.testing.assert_close(again, space.latents(u)["latents"], rtol=0, atol=1e-5)
    alone = torch.cat([space.latents(u[[i]])["latents"] for i in range(n)])
    torch.testing.assert_close(alone, space.latents(u)["latents"], rtol=0, atol=1e-5)


def test_uniform_points_keep_the_law_of_the_prior():
    prior = Gaussian((3000,), mean=2.0, std=0.5)
    z = SurrogateSpace.sample(prior, seeds=8, rng=1).latents(np.random.default_rng(0).uniform(size=(6, 7)))["latents"]
    assert min(stats.kstest(row, stats.norm(2.0, 0.5).cdf).pvalue for row in z.numpy()) > 1e-3 / 6


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_latents_are_float32_on_the_device(device):
    prior = Gaussian({"a": (2, 3), "b": (5,)})
    z = SurrogateSpace.sample(prior, seeds=3, rng=0, device=device).latents(points(2, 3))
    assert {name: (tuple(part.shape), part.dtype, part.device.type) for name, part in z.items()} == {
        "a": ((2, 2, 3), torch.float32, device),
        "b": ((2, 5), torch.float32, device),
    }


# --- fresh shares


@pytest.mark.parametrize("b", [0.1, 0.35, 0.9])
def test_a_fresh_share_turns_a_point_by_its_angle(b):
    prior = Gaussian((4096,))
    space = SurrogateSpace.sample(prior, seeds=6, rng=0)
    u, draws = points(8, 6), [Draw(77, i) for i in range(8)]
    plain = space.latents(u)["latents"]
    mixed = dataclasses.replace(space, fresh=b).latents(u, draws=draws)["latents"]
    cosine = torch.nn.functional.cosine_similarity(plain, mixed, dim=1).numpy()
    assert np.abs(cosine - np.sqrt(1 - b**2)).max() < 5 / np.sqrt(4096)
    new = torch.stack([torch.from_numpy(inner_row(draw, 4096)) for draw in draws])
    torch.testing.assert_close(mixed, (1 - b**2) ** 0.5 * plain + b * new, rtol=0, atol=1e-5)


def test_a_share_of_one_is_the_draw_itself():
    space = dataclasses.replace(SurrogateSpace.sample(PRIOR, seeds=6, rng=0), fresh=1.0)
    draws = [Draw(77, 4), Draw(77, 2)]
    u = points(2, 6)
    new = PRIOR.from_inner(torch.stack([torch.from_numpy(inner_row(draw, D)) for draw in draws]))["latents"]
    torch.testing.assert_close(space.latents(u, draws=draws)["latents"], new, rtol=0, atol=0)
    assert space.terms(u, draws=draws) == [((draws[0], 1.0),), ((draws[1], 1.0),)]


@pytest.mark.parametrize("b", [0.3, 1.0])
def test_terms_with_fresh_shares_give_their_latents(b):
    stored = SurrogateSpace.from_latents(Gaussian((D,)), orthonormal(4), rng=0)
    u, draws = points(3, 4), [Draw(5, i) for i in range(3)]
    for space in (SurrogateSpace.sample(PRIOR, seeds=4, rng=0), stored):
        space = dataclasses.replace(space, fresh=b)
        terms = space.terms(u, draws=draws)
        bank = space.bank.extend(draws)
        again = bank.latents(bank.rows(terms))["latents"]
        torch.testing.assert_close(again, space.latents(u, draws=draws)["latents"], rtol=0, atol=1e-5)
        assert all(row[-1] == (draw, b) for row, draw in zip(terms, draws, strict=True))


@pytest.mark.parametrize(("fresh", "given_draws", "expected"), [(0.0, 2, 0), (0.5, 0, 2), (1.0, 3, 2)])
@pytest.mark.parametrize("method", ["coefficients", "terms", "latents"])
def test_another_number_of_draws_than_points_is_refused(fresh, given_draws, expected, method):
    space = dataclasses.replace(SurrogateSpace.sample(PRIOR, seeds=3, rng=0), fresh=fresh)
    with pytest.raises(ShapeError, match=rf"draws: expected {expected} for n = 2 points, got {given_draws}"):
        getattr(space, method)(points(2, 3), draws=[Draw(1, i) for i in range(given_draws)])


# --- latents to boxes


@given(st.integers(2, 10), st.integers(0, 2**32 - 1), st.sampled_from([KnotheRosenblatt(), Angular()]))
def test_points_of_the_box_are_located(k, seed, chart):
    space = SurrogateSpace.sample(PRIOR, seeds=k, rng=seed, chart=chart)
    u = points(3, k, seed, low=0.2)
    found, residual = space.locate(space.latents(u))
    np.testing.assert_allclose(found, u, rtol=0, atol=1e-5)
    assert residual.max() < 1e-5


def test_points_are_located_to_six_digits_in_stored_spaces_and_fresh_ones():
    prior = Gaussian((4096,))
    frame = np.random.default_rng(0).uniform(size=(4, 6))
    for space in (
        SurrogateSpace.from_latents(prior, orthonormal(5, 4096), rng=0),
        SurrogateSpace(Bank(prior, [Draw(0, k) for k in range(6)]), frame),
    ):
        u = points(5, space.axes, low=0.2)
        found, residual = space.locate(space.latents(u))
        np.testing.assert_allclose(found, u, rtol=0, atol=1e-6)
        assert residual.max() < 1e-6
        again, _ = dataclasses.replace(space, fresh=0.5).locate(space.latents(u))
        np.testing.assert_allclose(again, found, rtol=0, atol=1e-12)


def test_what_lies_outside_the_span_shows_in_the_residual():
    dim, k = 1024, 8
    space = SurrogateSpace.sample(Gaussian((dim,)), seeds=k, rng=0)
    outside = torch.randn(50, dim, generator=torch.Generator().manual_seed(1))
    u, residual = space.locate(outside)
    # In the span's best case |ξ - ξ(u)|² / |ξ|² = 2 - 2 cos; cos² is about K/D, half of which has the wrong sign.
    assert residual.min() > np.sqrt(2 - 2 * np.sqrt(3 * k / dim))
    assert residual.max() < np.sqrt(2 + 2 * np.sqrt(3 * k / dim))
    assert ((u >= 0) & (u <= 1)).all()


def test_the_residual_of_a_mixed_latent_is_the_chord_of_its_angle():
    space = SurrogateSpace.sample(Gaussian((4096,)), seeds=5, rng=0)
    u, b = points(6, 5, low=0.2), 0.4
    mixed = dataclasses.replace(space, fresh=b).latents(u, draws=[Draw(3, i) for i in range(6)])
    _, residual = space.locate(mixed)
    np.testing.assert_allclose(residual, np.sqrt(2 - 2 * np.sqrt(1 - b**2)), rtol=0, atol=0.05)


def test_what_points_away_from_an_axis_is_left_out():
    space = SurrogateSpace.from_latents(Gaussian((D,)), orthonormal(3), rng=0)
    z = torch.tensor([[0.8, -0.6, 0.0], [0.0, -1.0, 2.0]]) @ orthonormal(3).float()
    u, residual = space.locate(z)
    np.testing.assert_allclose(space.chart.weights(u), np.eye(3)[[0, 2]], rtol=0, atol=2e-3)
    np.testing.assert_allclose(residual, np.sqrt([0.2**2 + 0.6**2, (1 + 1) / 5]), rtol=0, atol=2e-3)


def test_a_latent_opposite_to_every_axis_is_far_from_the_box():
    space = SurrogateSpace.sample(Gaussian((D,)), seeds=3, rng=0)
    _, residual = space.locate(-space.latents(points(2, 3))["latents"])
    assert residual.min() > np.sqrt(2)


# --- what is refused


@pytest.mark.parametrize("k", [-1, 0, 1, D + 1])
def test_too_few_and_too_many_seeds_are_refused(k):
    with pytest.raises(ArgumentError, match=rf"seeds: expected K from 2 to D = {D}, got {k}"):
        SurrogateSpace.sample(PRIOR, seeds=k, rng=0)


@pytest.mark.parametrize("shape", [(3,), (1, 4), (3, 5), (3, 4, 1)])
def test_a_frame_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(ShapeError) as error:
        SurrogateSpace(Bank(PRIOR, [Draw(0, k) for k in range(4)]), np.ones(shape))
    assert "frame: expected shape (K, M) = (at least 2, 4)" in str(error.value)
    assert f"got {shape}" in str(error.value)


@pytest.mark.parametrize("fresh", [-0.1, 1.1, float("nan")])
def test_a_share_outside_one_is_refused(fresh):
    with pytest.raises(ArgumentError, match=r"fresh: expected a share in \[0, 1\], got"):
        SurrogateSpace(Bank(PRIOR, [Draw(0, 0), Draw(0, 1)]), np.eye(2), fresh=fresh)


@pytest.mark.parametrize("method", ["coefficients", "terms", "latents"])
def test_points_of_another_width_are_refused_with_both_shapes(method):
    space = SurrogateSpace.sample(PRIOR, seeds=4, rng=0)
    with pytest.raises(ShapeError, match=r"u: expected shape \(n, K-1\) = \(n, 3\), got \(2, 4\)"):
        getattr(space, method)(np.full((2, 4), 0.5))
    with pytest.raises(ArgumentError, match=r"u: expected coordinates in \[0, 1\], got u\[0, 1\] = 1.5"):
        getattr(space, method)(np.array([[0.5, 1.5, 0.5]]))


def test_latents_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(ShapeError, match=r"expected shape \(n, d1, d2\) = \(3, 4, 24\), got \(3, 96\)"):
        SurrogateSpace.from_latents(PRIOR, torch.zeros(3, 96), rng=0)
    with pytest.raises(ShapeError, match=r"z\['latents'\]: expected shape \(n, d1, d2\) = \(3, 4, 24\), got \(3, 96\)"):
        SurrogateSpace.sample(PRIOR, seeds=4, rng=0).locate(torch.zeros(3, 96))


STANDARD = Gaussian((D,))


def a_copy(x):
    x[2] = x[0]
    return x


def a_nan(x):
    x[1, 5] = float("nan")
    return x


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (a_copy, "0 and 2 are copies of each other"),
        (a_nan, "NaN or infinity in seed 1"),
        (lambda x: x[:1], "expected at least K = 2 to span a box, got 1"),
        (lambda x: x.repeat(25, 1), f"expected at most D = {D} seeds for latents of D entries, got K = 100"),
        (lambda x: x * 14.6, "a scale was forgotten"),
        (lambda x: x + x.mean(dim=0) * 1.5, "Pass repair=True"),
    ],
)
def test_latents_that_are_no_seeds_are_refused(spoil, message):
    with pytest.raises(SeedError) as error:
        SurrogateSpace.from_latents(STANDARD, spoil(orthonormal(4)), rng=0)
    assert "seeds: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(a_nan, "NaN or infinity in seed 1"), (lambda x: x[:1], "at least K = 2"), (a_copy, "linearly dependent")],
)
def test_repair_does_not_hide_why_latents_are_no_seeds(spoil, message):
    with pytest.raises(SeedError, match=message):
        SurrogateSpace.from_latents(STANDARD, spoil(orthonormal(4)), rng=0, repair=True)


def test_latents_off_the_prior_are_repaired_on_request():
    x = orthonormal(4)
    crooked = (x + x.mean(dim=0) * 1.5) * 1.2
    space = SurrogateSpace.from_latents(STANDARD, crooked, rng=0, repair=True)
    seeds = torch.stack(list(space.bank.tensors.values())).double()
    torch.testing.assert_close(seeds @ seeds.T / D, torch.diag(crooked.square().mean(dim=1)), rtol=0, atol=1e-5)
    untouched = SurrogateSpace.from_latents(STANDARD, x, rng=0, repair=True)
    torch.testing.assert_close(torch.stack(list(untouched.bank.tensors.values())), x.float(), rtol=0, atol=1e-5)


def test_given_latents_are_the_axes():
    z = PRIOR.from_inner(orthonormal(3).float())
    for given_latents in (z, z["latents"]):
        space = SurrogateSpace.from_latents(PRIOR, given_latents, rng=0, origins=["a", "b", "c"])
        assert [seed.origin for seed in space.bank.seeds] == ["a", "b", "c"]
        assert all(isinstance(seed, Stored) for seed in space.bank.seeds)
        torch.testing.assert_close(space.bank.latents(space.frame)["latents"], z["latents"], rtol=0, atol=1e-4)


def test_another_number_of_origins_than_latents_is_refused():
    with pytest.raises(ShapeError, match="origins: expected K = 3 notes, got 2"):
        SurrogateSpace.from_latents(STANDARD, orthonormal(3), rng=0, origins=["a", "b"])


def test_parts_on_two_devices_are_refused():
    prior = Gaussian({"a": (8,), "b": (8,)})
    latents = {"a": torch.zeros(2, 8), "b": torch.zeros(2, 8, device="meta")}
    with pytest.raises(ArgumentError, match=r"latents: expected all parts on one device, got \['cpu', 'meta'\]"):
        SurrogateSpace.from_latents(prior, latents, rng=0)


# --- fingerprints and files


def ingredients():
    bank = Bank(PRIOR, [Draw(0, k) for k in range(4)])
    frame = np.eye(4)[:3]
    yield SurrogateSpace(bank, frame)
    yield SurrogateSpace(bank, frame + 1e-6 * np.eye(4)[[1, 2, 0]])
    yield SurrogateSpace(bank, frame[[1, 0, 2]])
    yield SurrogateSpace(bank, frame, Angular())
    yield SurrogateSpace(bank, frame, fresh=0.5)
    yield SurrogateSpace(Bank(PRIOR, [Draw(0, k) for k in (0, 1, 2, 4)]), frame)
    yield SurrogateSpace(Bank(PRIOR, [Draw(1, k) for k in range(4)]), frame)
    yield SurrogateSpace(Bank(Gaussian((D,)), [Draw(0, k) for k in range(4)]), frame)
    yield SurrogateSpace(Bank(PRIOR, [*bank.seeds[:3], torch.ones(D)]), frame)


def test_every_ingredient_changes_the_fingerprint():
    prints = [space.fingerprint for space in ingredients()]
    assert len(set(prints)) == len(prints)
    assert prints == [space.fingerprint for space in ingredients()]


def test_device_and_scale_of_the_frame_change_no_fingerprint():
    space = SurrogateSpace.sample(PRIOR, seeds=4, rng=0)
    assert SurrogateSpace(space.bank, space.frame * 7).fingerprint == space.fingerprint
    assert SurrogateSpace(space.bank.to("meta"), space.frame).fingerprint == space.fingerprint


def stored_space(k=4):
    mixed = Bank(STANDARD, [Draw(0, 0), *orthonormal(k).float(), Draw(0, 1)])
    frame = np.random.default_rng(0).normal(size=(3, k + 2))
    return SurrogateSpace(mixed, frame, Angular(), fresh=0.25)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SurrogateSpace.sample(STANDARD, seeds=4, rng=0),
        lambda: SurrogateSpace.from_latents(STANDARD, orthonormal(4), rng=0, origins=list("abcd")),
        stored_space,
    ],
)
def test_a_space_is_loaded_as_it_was_saved(make, tmp_path):
    space = make()
    space.save(tmp_path / "new" / "folder")
    loaded = SurrogateSpace.load(tmp_path / "new" / "folder", STANDARD)
    assert loaded.fingerprint == space.fingerprint
    assert loaded.bank.seeds == space.bank.seeds
    assert [getattr(s, "origin", None) for s in loaded.bank.seeds] == [
        getattr(s, "origin", None) for s in space.bank.seeds
    ]
    assert (loaded.chart, loaded.fresh) == (space.chart, space.fresh)
    np.testing.assert_array_equal(loaded.frame, space.frame)
    u, draws = points(3, space.axes), [Draw(8, i) for i in range(3)] if space.fresh else []
    torch.testing.assert_close(
        loaded.latents(u, draws=draws)["latents"], space.latents(u, draws=draws)["latents"], rtol=0, atol=0
    )
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["space.json", "space.safetensors"]


def test_loading_never_moves_a_fingerprint(tmp_path):
    bank = Bank(STANDARD, [Draw(0, k) for k in range(30)])
    for seed in range(60):
        space = SurrogateSpace(bank, np.random.default_rng(seed).normal(size=(20, 30)))
        assert SurrogateSpace(bank, space.frame).fingerprint == space.fingerprint


def test_saving_again_replaces(tmp_path):
    stored_space().save(tmp_path)
    space = SurrogateSpace.sample(STANDARD, seeds=3, rng=4)
    space.save(tmp_path)
    assert SurrogateSpace.load(tmp_path, STANDARD).fingerprint == space.fingerprint


def change_json(folder, **changes):
    described = json.loads((folder / "space.json").read_text())
    (folder / "space.json").write_text(json.dumps({**described, **changes}))


def change_tensors(folder, change):
    tensors = load_file(folder / "space.safetensors")
    save_file({name: change(name, x.clone()) for name, x in tensors.items()}, folder / "space.safetensors")


def test_another_prior_is_refused(tmp_path):
    stored_space().save(tmp_path)
    with pytest.raises(MismatchError, match=rf"prior: the space was made under {STANDARD.fingerprint}, the one given"):
        SurrogateSpace.load(tmp_path, Gaussian((D,), std=2.0))


def test_a_newer_version_is_refused(tmp_path):
    stored_space().save(tmp_path)
    change_json(tmp_path, version=3)
    with pytest.raises(ArgumentError, match=r"folder: space.json has version 3, this release reads 1 and 2"):
        SurrogateSpace.load(tmp_path, STANDARD)


def test_a_space_of_draws_saved_with_version_1_is_read_with_its_fingerprint(tmp_path):
    space = SurrogateSpace.sample(STANDARD, seeds=4, rng=0)
    space.save(tmp_path)
    change_json(tmp_path, version=1)
    # Golden: made when 1 was the version written.
    assert SurrogateSpace.load(tmp_path, STANDARD).fingerprint == "space-4c97ea647037"


def test_stored_seeds_saved_with_version_1_are_refused(tmp_path):
    stored_space().save(tmp_path)
    change_json(tmp_path, version=1)
    with pytest.raises(ArgumentError) as error:
        SurrogateSpace.load(tmp_path, STANDARD)
    assert f"folder: the space in {tmp_path} has version 1 and stored seeds" in str(error.value)
    assert "from_latents" in str(error.value)


@pytest.mark.parametrize("changes", [{"fresh": 0.5}, {"chart": "knothe-rosenblatt"}])
def test_a_description_that_was_changed_is_refused(tmp_path, changes):
    stored_space().save(tmp_path)
    change_json(tmp_path, **changes)
    with pytest.raises(MismatchError, match=r"folder: space.json and space.safetensors in .* do not belong together"):
        SurrogateSpace.load(tmp_path, STANDARD)


def test_a_frame_that_was_changed_is_refused(tmp_path):
    stored_space().save(tmp_path)
    change_tensors(tmp_path, lambda name, x: x + torch.eye(3, 6) if name == "frame" else x)
    with pytest.raises(MismatchError, match="do not belong together"):
        SurrogateSpace.load(tmp_path, STANDARD)


def test_a_seed_that_was_changed_is_refused(tmp_path):
    stored_space().save(tmp_path)
    change_tensors(tmp_path, lambda name, x: x if name == "frame" else x * 1.0001)
    with pytest.raises(SeedError, match=r"seeds: the tensor of .* its file was changed"):
        SurrogateSpace.load(tmp_path, STANDARD)


@pytest.mark.parametrize("missing", ["space.json", "space.safetensors"])
def test_a_missing_file_is_refused(tmp_path, missing):
    stored_space().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ArgumentError, match=r"folder: no readable space in .* Expected what `save` wrote"):
        SurrogateSpace.load(tmp_path, STANDARD)


@pytest.mark.parametrize("name", ["space.json", "space.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00" * 40])
def test_an_unreadable_file_is_refused(tmp_path, name, content):
    stored_space().save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArgumentError, match=r"folder: no readable space in .* Expected what `save` wrote"):
        SurrogateSpace.load(tmp_path, STANDARD)


@pytest.mark.parametrize("text", ['{"version": 1}', "[]", "null"])
def test_a_file_that_describes_no_space_is_refused(tmp_path, text):
    stored_space().save(tmp_path)
    (tmp_path / "space.json").write_text(text)
    with pytest.raises(ArgumentError, match="folder: "):
        SurrogateSpace.load(tmp_path, STANDARD)


def test_files_without_a_frame_are_refused(tmp_path):
    stored_space().save(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "space.safetensors")
    with pytest.raises(ArgumentError, match=r"folder: the space in .* lacks \['frame'\]. Expected what `save` wrote"):
        SurrogateSpace.load(tmp_path, STANDARD)


def test_an_unknown_chart_is_named(tmp_path):
    stored_space().save(tmp_path)
    change_json(tmp_path, chart="cone")
    with pytest.raises(ArgumentError, match=r"chart: expected one of \[.*'knothe-rosenblatt'.*\] .* got 'cone'"):
        SurrogateSpace.load(tmp_path, STANDARD)


def test_where_seeds_came_from_changes_no_fingerprint():
    spaces = [SurrogateSpace.from_latents(STANDARD, orthonormal(3), rng=0, origins=o) for o in ((), "abc")]
    assert spaces[0].bank.seeds == spaces[1].bank.seeds
    assert spaces[0].fingerprint == spaces[1].fingerprint


def test_latents_that_are_not_floating_are_refused():
    signs = torch.randint(0, 2, (4, D), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with pytest.raises(SeedError, match=r"latents\['latents'\]: expected a floating dtype, got torch.int64"):
        SurrogateSpace.from_latents(STANDARD, signs, rng=0)


def test_latents_that_are_not_finite_cannot_be_located():
    z = torch.zeros(3, 4, 24)
    z[2, 1, 1] = float("nan")
    with pytest.raises(ArgumentError, match="z: expected finite values, got NaN or infinity in row 2"):
        SurrogateSpace.sample(PRIOR, seeds=4, rng=0).locate(z)


@pytest.mark.parametrize("draws", [[Draw(5, 0), Draw(5, 0)], [Draw(5, 1), Draw(draw_entropy(0, "seeds"), 2)]])
@pytest.mark.parametrize("b", [0.5, 1.0])
def test_a_draw_may_serve_twice_or_be_a_seed_of_the_space(draws, b):
    space = dataclasses.replace(SurrogateSpace.sample(STANDARD, seeds=3, rng=0), fresh=b)
    u = points(2, 3)
    seeds = torch.stack([torch.from_numpy(inner_row(s, D)) for s in space.bank.seeds])
    new = torch.stack([torch.from_numpy(inner_row(draw, D)) for draw in draws])
    c = torch.from_numpy(np.sqrt(1 - b**2) * KnotheRosenblatt().weights(u)).float()
    z = space.latents(u, draws=draws)["latents"]
    cosine = torch.nn.functional.cosine_similarity(z, c @ seeds + b * new, dim=1)
    torch.testing.assert_close(cosine, torch.ones(2), rtol=0, atol=1e-5)
