"""Structures, the PDB files of them, and scores on shape against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.media.previews import save_preview
from surrogate_ax.media.structures import Structure, clashes, radius_of_gyration, spacing_error, to_mmcif, to_pdb


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
    assert to_pdb(structure).count("ATOM") == 3


def test_a_pdb_file_has_its_columns():
    x = np.array([[[1.5, -2.25, 100], [0, 0, 0]], [[4, 5, 6], [7, 8, 9]], [[-1, -2, -3], [0, 0, 0]]])
    mask = [[1, 0], [1, 1], [1, 0]]
    structure = Structure(x, mask, atoms=("CA", "HD11"), residues=("GLY", "LEU", "ALA"), chains=np.array([0, 0, 1]))
    lines = to_pdb(structure).splitlines()
    assert lines[0] == "ATOM      1  CA  GLY A   1       1.500  -2.250 100.000  1.00  0.00           C"
    assert lines[2] == "ATOM      3 HD11 LEU A   2       7.000   8.000   9.000  1.00  0.00           H"
    assert [line[:3] for line in lines] == ["ATO", "ATO", "ATO", "TER", "ATO", "TER", "END"]
    assert (lines[4][21], lines[4][22:26]) == ("B", "   1")
    read = [[float(line[a : a + 8]) for a in (30, 38, 46)] for line in lines if line.startswith("ATOM")]
    np.testing.assert_allclose(read, x[np.array(mask, dtype=bool)])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Structure(np.zeros((2, 1, 3)), np.ones((3, 1))), ShapeError, r"\(2, 1, 3\), \(3, 1\)"),
        (lambda: Structure(np.zeros((2, 1, 3)), np.ones((2, 1)), atoms=("N",)), ArgumentError, "named 'CA'"),
        (lambda: trace([(np.inf, 0, 0)]), ArgumentError, "finite"),
        (lambda: trace(LINE, residues=("GLY",)), ShapeError, "expected L = 5, got 1"),
        (lambda: trace(LINE, residues=("LONG",) * 5), ArgumentError, "at most 4 and 3 letters"),
        (lambda: trace(LINE, chains=np.array([0, 0, 0, 0, -1])), ArgumentError, "from 0, got -1"),
        (lambda: to_pdb(trace([(1234.0, 0, 0)])), UnsupportedError, "do not fit the columns"),
        (lambda: clashes([trace(LINE)], closest=0), ArgumentError, "positive distance"),
        (lambda: radius_of_gyration([np.zeros((3, 3))]), ArgumentError, "expected Structures, got ndarray"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_no_structures_have_no_scores():
    assert all(len(score([])) == 0 for score in (radius_of_gyration, spacing_error, clashes))


def test_what_is_too_large_for_pdb_is_previewed_as_mmcif(tmp_path):
    points = np.linspace(0, 5000, 10_001 * 3).reshape(-1, 3)
    structure = trace(points, chains=np.arange(10_001) // 9_000)
    path = save_preview(structure, tmp_path / "trial1.pdb")
    assert path.suffix == ".cif"
    lines = path.read_text().splitlines()
    assert lines[:3] == ["data_structure", "loop_", "_atom_site.group_PDB"]
    atoms = [line.split() for line in lines if line.startswith("ATOM")]
    assert {len(atom) for atom in atoms} == {sum(line.startswith("_atom_site") for line in lines)}
    assert atoms[9_000][:7] == ["ATOM", "9001", "C", "CA", "UNK", "C2", "1"]
    np.testing.assert_allclose([[float(v) for v in atom[7:]] for atom in atoms], points, atol=6e-4)
    assert save_preview(trace(LINE), tmp_path / "trial2").suffix == ".pdb"
    with pytest.raises(UnsupportedError, match="no atoms"):
        to_mmcif(Structure(np.zeros((2, 1, 3)), np.zeros((2, 1))))
