"""Structures, and scores on shape against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.media.structures import Structure, clashes, radius_of_gyration, spacing_error


def trace(points, **options):
    x = np.asarray(points, dtype=float)[:, None]
    return Structure(x, np.ones(x.shape[:2]), **options)


LINE = [(3.8 * i, 0, 0) for i in range(5)]
SQUARE = [(0, 0, 0), (4.8, 0, 0), (4.8, 2.8, 0), (0, 2.8, 0)]  # sides 4.8, 2.8, 4.8; its ends are 2.8 apart


def test_scores_of_known_shapes_in_one_batch_of_any_lengths():
    batch = [trace(LINE), trace(SQUARE)]
    np.testing.assert_allclose(radius_of_gyration(batch), [3.8 * np.sqrt(2), np.hypot(2.4, 1.4)])
    np.testing.assert_allclose(spacing_error(batch), [0, 1], atol=1e-12)
    np.testing.assert_array_equal(clashes(batch), [0, 1])
    np.testing.assert_array_equal(clashes(batch, closest=2.0), [0, 0])
    alone = [radius_of_gyration([s])[0] for s in batch]
    np.testing.assert_array_equal(alone, radius_of_gyration(batch))


def test_scores_do_not_change_when_a_structure_moves():
    rng = np.random.default_rng(0)
    points = np.cumsum(rng.normal(size=(30, 3)) * 2, axis=0)
    round, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    batch = [trace(points), trace(points @ round + 7)]
    for score in (radius_of_gyration, spacing_error, clashes):
        values = score(batch)
        assert values[0] == pytest.approx(values[1])
        assert values[0] > 0


def test_neighbours_of_different_chains_may_clash_and_have_no_spacing():
    touching = [(0, 0, 0), (3.8, 0, 0), (4.8, 0, 0), (8.6, 0, 0)]
    one, two = trace(touching), trace(touching, chains=np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(clashes([one, two]), [0, 1])
    assert spacing_error([two])[0] == pytest.approx(0)
    assert spacing_error([one])[0] > 1


def test_missing_atoms_count_for_nothing():
    x = np.zeros((4, 2, 3))
    x[:, 1] = [(0, 0, 0), (3.8, 0, 0), (np.nan, 0, 0), (7.6, 0, 0)]
    mask = np.array([[0, 1], [0, 1], [0, 0], [0, 1]])
    structure = Structure(x, mask, atoms=("N", "CA"))
    assert radius_of_gyration([structure])[0] == pytest.approx(3.8 * np.sqrt(2 / 3))
    assert spacing_error([structure])[0] == 0
    assert np.isfinite(np.asarray(structure)).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Structure(np.zeros((2, 1, 3)), np.ones((3, 1))), ShapeError, r"\(2, 1, 3\), \(3, 1\)"),
        (lambda: Structure(np.zeros((2, 1, 3)), np.ones((2, 1)), atoms=("N",)), ArgumentError, "named 'CA'"),
        (lambda: trace([(np.inf, 0, 0)]), ArgumentError, "finite"),
        (lambda: trace(LINE, residues=("GLY",)), ShapeError, "expected L = 5, got 1"),
        (lambda: trace(LINE, residues=("LONG",) * 5), ArgumentError, "at most 4 and 3 letters"),
        (lambda: trace(LINE, chains=np.array([0, 0, 0, 0, -1])), ArgumentError, "from 0, got -1"),
        (lambda: trace(LINE, residues=("A B",) * 5), ArgumentError, r"letters, digits or signs.*\['A B'\]"),
        (lambda: trace(LINE, elements=("C", "N")), ShapeError, "expected A = 1 symbols, got 2"),
        (lambda: trace(LINE, elements=("C1",)), ArgumentError, r"one or two letters, got \('C1',\)"),
        (lambda: clashes([trace(LINE)], closest=0), ArgumentError, "positive distance"),
        (lambda: radius_of_gyration([np.zeros((3, 3))]), ArgumentError, "expected Structures, got ndarray"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_no_structures_have_no_scores():
    assert all(len(score([])) == 0 for score in (radius_of_gyration, spacing_error, clashes))
