"""Charts: the authors' package as oracle, round trips, the law they give, and what they refuse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latent_spaces_by_example.charts import (
    angular_chart_forward,
    angular_chart_inverse,
    knothe_rosenblatt_forward,
    knothe_rosenblatt_inverse,
)
from scipy import stats

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.latents.charts import CHARTS, Angular, KnotheRosenblatt, check_box, check_weights, corner

EVERY = list(CHARTS.values())
EDGE = 1e-6
FORWARD = {"knothe-rosenblatt": knothe_rosenblatt_forward, "angular": angular_chart_forward}
INVERSE = {"knothe-rosenblatt": knothe_rosenblatt_inverse, "angular": angular_chart_inverse}

charts = st.sampled_from(EVERY)


@st.composite
def boxes(draw, low=EDGE, most=50):
    """Points with coordinates inside and at both edges; from a seed, because lists of floats are slow to draw."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    u = rng.uniform(low, 1 - low, size=(draw(st.integers(1, 4)), draw(st.integers(1, most - 1))))
    edge = rng.uniform(size=u.shape) < draw(st.sampled_from([0.0, 0.2, 0.8]))
    return np.where(edge, rng.choice([low, 0.5, 1 - low], size=u.shape), u)


def check_against_oracle(chart, name, u):
    np.testing.assert_allclose(chart.weights(u), FORWARD[name](u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
@pytest.mark.parametrize("k", [2, 3, 8, 20, 50])
def test_weights_and_coordinates_agree_with_the_authors_package(chart, k):
    # Away from the edges, where the oracle itself loses digits to 1 - v, and to arccos on the way back.
    u = np.random.default_rng(k).uniform(0.01, 0.99, size=(40, k - 1))
    check_against_oracle(chart, chart.name, u)
    w = FORWARD[chart.name](np.random.default_rng(k).uniform(0.3, 0.7, size=(40, min(k - 1, 4))))
    np.testing.assert_allclose(chart.coordinates(w), INVERSE[chart.name](w), rtol=0, atol=1e-12)


@dataclasses.dataclass(frozen=True)
class Reversed:
    """A mutant: the last coordinate drives the first axis."""

    chart: KnotheRosenblatt | Angular

    def weights(self, u):
        return self.chart.weights(u[:, ::-1])


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
def test_the_oracle_check_sees_swapped_coordinates_and_the_other_chart(chart):
    u = np.random.default_rng(0).uniform(0.01, 0.99, size=(4, 3))
    other = Angular() if chart.name == "knothe-rosenblatt" else KnotheRosenblatt()
    for mutant in (Reversed(chart), other):
        with pytest.raises(AssertionError):
            check_against_oracle(mutant, chart.name, u)


@given(charts, boxes())
def test_round_trip_from_u(chart, u):
    np.testing.assert_allclose(chart.coordinates(chart.weights(u)), u, rtol=0, atol=1e-10)


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
@pytest.mark.parametrize("k", [2, 8, 50])
def test_round_trip_at_the_edges(chart, k):
    rng = np.random.default_rng(k)
    u = rng.choice([EDGE, 1e-5, 0.5, 1 - 1e-5, 1 - EDGE], size=(300, k - 1))
    u[0], u[1] = EDGE, 1 - EDGE
    np.testing.assert_allclose(chart.coordinates(chart.weights(u)), u, rtol=0, atol=1e-10)


@given(charts, boxes(most=12))
def test_round_trip_from_w(chart, u):
    w = chart.weights(u)
    np.testing.assert_allclose(chart.weights(chart.coordinates(w)), w, rtol=0, atol=1e-12)


@given(charts, boxes(low=0.0))
def test_weights_are_float64_non_negative_and_of_unit_norm(chart, u):
    w = chart.weights(u.astype(np.float32))
    assert w.dtype == np.float64
    assert w.shape == (len(u), u.shape[1] + 1)
    assert (w >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(w, axis=1), 1, rtol=0, atol=1e-12)


@given(charts, st.integers(2, 50), st.integers(0, 2**32 - 1))
def test_coordinates_lie_in_the_box_for_sparse_weights_too(chart, k, seed):
    rng = np.random.default_rng(seed)
    w = rng.uniform(size=(5, k)) * (rng.uniform(size=(5, k)) < 0.3)
    w[np.arange(5), rng.integers(k, size=5)] = 1.0
    u = chart.coordinates(w)
    assert u.dtype == np.float64
    assert ((u >= 0) & (u <= 1)).all()


@given(charts, boxes(), st.randoms(use_true_random=False))
def test_rows_are_mapped_one_by_one(chart, u, random):
    order = random.sample(range(len(u)), len(u))
    np.testing.assert_array_equal(chart.weights(u)[order], chart.weights(u[order]))
    np.testing.assert_allclose(chart.weights(u)[:1], chart.weights(u[:1]), rtol=0, atol=1e-15)


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
@pytest.mark.parametrize("k", range(2, 51))
def test_corners_are_the_axes_exactly(chart, k):
    corners = np.array([corner(axis, k) for axis in range(k)])
    np.testing.assert_array_equal(chart.weights(corners), np.eye(k))
    behind = np.where(corners == 0.5, np.random.default_rng(k).choice([0.0, 0.3, 1.0], size=corners.shape), corners)
    np.testing.assert_array_equal(chart.weights(behind), np.eye(k))
    np.testing.assert_array_equal(chart.weights(chart.coordinates(np.eye(k))), np.eye(k))


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
@pytest.mark.parametrize("axis", range(4))
def test_an_axis_has_coordinates_near_itself(chart, axis):
    w = chart.weights(chart.coordinates(np.eye(4)[[axis]]))
    assert w[0, axis] == 1


def test_knothe_rosenblatt_is_the_quarter_circle_for_two_axes():
    u = np.linspace(0.01, 0.99, 50)[:, None]
    expected = np.hstack([np.cos(np.pi * u / 2), np.sin(np.pi * u / 2)])
    np.testing.assert_allclose(KnotheRosenblatt().weights(u), expected, rtol=0, atol=1e-12)


def test_small_weights_are_accurate_to_their_own_size():
    u = np.geomspace(EDGE, 0.5, 30)[:, None]
    for rows in (u, 1 - u):
        expected = np.hstack([np.sin(np.pi * (1 - rows) / 2), np.sin(np.pi * rows / 2)])
        np.testing.assert_allclose(KnotheRosenblatt().weights(rows), expected, rtol=1e-9, atol=0)


def check_uniform_on_the_orthant(w):
    k = w.shape[1]
    for axis in range(k):
        assert stats.kstest(w[:, axis] ** 2, stats.beta(0.5, (k - 1) / 2).cdf).pvalue > 1e-3
    pair = (w[:, 0] ** 2 + w[:, -1] ** 2) if k > 2 else w[:, 0] ** 2
    assert stats.kstest(pair, stats.beta(min(2, k - 1) / 2, (k - min(2, k - 1)) / 2).cdf).pvalue > 1e-3
    normal = np.abs(np.random.default_rng(1).normal(size=w.shape))
    reference = normal.sum(axis=1) / np.linalg.norm(normal, axis=1)
    assert stats.ks_2samp(w.sum(axis=1), reference).pvalue > 1e-3


@pytest.mark.parametrize("k", [2, 3, 8, 30])
def test_uniform_coordinates_give_uniform_weights(k):
    u = np.random.default_rng(7).uniform(size=(4000, k - 1))
    check_uniform_on_the_orthant(KnotheRosenblatt().weights(u))


def test_the_law_check_sees_a_chart_that_crowds():
    u = np.random.default_rng(7).uniform(size=(4000, 7))
    with pytest.raises(AssertionError):
        check_uniform_on_the_orthant(Angular().weights(u))


def test_charts_are_found_by_their_names():
    assert {name: chart.name for name, chart in CHARTS.items()} == {name: name for name in FORWARD}


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
@pytest.mark.parametrize("bad", [-1e-9, 1 + 1e-9, np.nan, np.inf])
def test_a_point_outside_the_box_is_named(chart, bad):
    u = np.full((3, 2), 0.5)
    u[2, 1] = bad
    with pytest.raises(ArgumentError, match=r"u: expected coordinates in \[0, 1\], got u\[2, 1\] = "):
        chart.weights(u)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (1, 2, 3)])
def test_coordinates_of_another_shape_are_named(shape):
    with pytest.raises(ShapeError) as error:
        check_box(np.full(shape, 0.5))
    assert "u: expected shape (n, K-1)" in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 2, 3)])
def test_weights_of_another_shape_are_named(shape):
    with pytest.raises(ShapeError) as error:
        check_weights(np.ones(shape))
    assert "w: expected shape (n, K)" in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("row", [[-0.1, 1.0], [np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0]])
@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
def test_weights_without_a_direction_in_the_orthant_are_refused(chart, row):
    with pytest.raises(ArgumentError, match="w: expected finite non-negative rows that are not zero"):
        chart.coordinates(np.array([[1.0, 0.0], row]))


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
@pytest.mark.parametrize("scale", [1e-200, 1e200, 5e307])
def test_the_length_of_weights_does_not_matter(chart, scale):
    w = np.array([[1.0, 2.0, 3.0], [3.0, 0.5, 0.0]])
    np.testing.assert_allclose(chart.coordinates(w * scale), chart.coordinates(w), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chart", EVERY, ids=lambda chart: chart.name)
def test_no_rows_give_no_rows(chart):
    assert chart.weights(np.zeros((0, 3))).shape == (0, 4)
    assert chart.coordinates(np.zeros((0, 4))).shape == (0, 3)
