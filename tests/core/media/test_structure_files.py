"""Files of structures, read back by gemmi's own reader: names, numbers, elements, coordinates and sizes."""

from __future__ import annotations

import sys

import gemmi
import numpy as np
import pytest

from surrogate_ax.errors import ArgumentError, MissingExtraError, UnsupportedError
from surrogate_ax.media.previews import save_preview
from surrogate_ax.media.structure_files import derived_element, fits_pdb, to_mmcif, to_pdb
from surrogate_ax.media.structures import Structure


def from_pdb(text: str) -> gemmi.Structure:
    return gemmi.read_pdb_string(text)


def from_mmcif(text: str) -> gemmi.Structure:
    return gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())


FORMATS = pytest.mark.parametrize(("write", "read"), [(to_pdb, from_pdb), (to_mmcif, from_mmcif)], ids=["pdb", "mmcif"])


def atoms(read: gemmi.Structure) -> list[tuple[str, int, str, str, str]]:
    """Chain, number of the residue, its name, name and element of every atom."""
    return [
        (at.chain.name, at.residue.seqid.num, at.residue.name, at.atom.name, at.atom.element.name)
        for at in read[0].all()
    ]


def positions(read: gemmi.Structure) -> np.ndarray:
    return np.array([at.atom.pos.tolist() for at in read[0].all()])


def trace(points, **options) -> Structure:
    x = np.asarray(points, dtype=float)[:, None]
    return Structure(x, np.ones(x.shape[:2]), **options)


SLOTS = ("N", "CA", "SE", "HD11", "ZN")
PRESENT = ("N CA", "N CA SE", "", "CA HD11", "ZN", "CA", "CA")
RESIDUES = ("ALA", "MSE", "GLY", "LEU", "ZN", "CA", "UNK")


def mixed(**options) -> Structure:
    """A peptide with selenomethionine and an absent residue, ions of zinc and calcium, and a second chain."""
    x = np.random.default_rng(0).uniform(-900, 900, size=(7, 5, 3)).astype(np.float32)
    mask = [[slot in names.split() for slot in SLOTS] for names in PRESENT]
    return Structure(x, mask, SLOTS, RESIDUES, np.array([0, 0, 0, 0, 0, 0, 1]), **options)


@FORMATS
def test_what_is_written_is_read_back(write, read):
    structure = mixed()
    made = read(write(structure))
    assert atoms(made) == [
        ("A", 1, "ALA", "N", "N"),
        ("A", 1, "ALA", "CA", "C"),
        ("A", 2, "MSE", "N", "N"),
        ("A", 2, "MSE", "CA", "C"),
        ("A", 2, "MSE", "SE", "Se"),
        ("A", 4, "LEU", "CA", "C"),  # an absent residue keeps its number
        ("A", 4, "LEU", "HD11", "H"),
        ("A", 5, "ZN", "ZN", "Zn"),
        ("A", 6, "CA", "CA", "Ca"),
        ("B", 1, "UNK", "CA", "C"),
    ]
    np.testing.assert_allclose(positions(made), structure.coordinates[structure.mask], atol=1e-3)
    kinds = {residue.name: residue.het_flag for chain in made[0] for residue in chain}
    assert kinds == {"ALA": "A", "MSE": "H", "LEU": "A", "ZN": "H", "CA": "H", "UNK": "A"}


@FORMATS
def test_given_elements_are_written(write, read):
    made = read(write(mixed(elements=("N", "C", "S", "D", "X"))))
    assert [element for *_, element in atoms(made)] == ["N", "C", "N", "C", "S", "C", "D", "X", "C", "C"]
    with pytest.raises(ArgumentError, match=r"elements: expected symbols of elements.*got 'Qq'"):
        write(mixed(elements=("N", "C", "Se", "Qq", "Zn")))


@pytest.mark.parametrize(
    ("atom", "residue", "element"),
    [
        ("CA", "ALA", "C"),
        ("CA", "UNK", "C"),
        ("CA", "HEM", "C"),
        ("CA", "CA", "Ca"),
        ("SE", "MSE", "Se"),
        ("SG", "CYS", "S"),
        ("CD", "GLU", "C"),
        ("CD", "CD", "Cd"),
        ("HG", "SER", "H"),
        ("HD11", "LEU", "H"),
        ("1HB", "ALA", "H"),
        ("OXT", "GLY", "O"),
        ("O5'", "DA", "O"),
        ("PA", "ATP", "P"),
        ("NA", "HEM", "N"),
        ("NA", "NA", "Na"),
        ("FE", "HEM", "Fe"),
        ("FE", "FE2", "Fe"),
        ("CL1", "LIG", "Cl"),
        ("MG", "CLA", "Mg"),
        ("AU", "AU", "Au"),
        ("K", "K", "K"),
        ("X1", "UNK", "X"),
    ],
)
def test_elements_follow_from_the_names(atom, residue, element):
    assert derived_element(atom, residue) == element


def test_a_pdb_file_has_its_columns():
    x = np.array([[[1.5, -2.25, 100], [0, 0, 0]], [[4, 5, 6], [7, 8, 9]], [[-1, -2, -3], [0, 0, 0]]])
    structure = Structure(x, [[1, 0], [1, 1], [1, 0]], ("CA", "HD11"), ("GLY", "LEU", "ALA"), np.array([0, 0, 1]))
    lines = [line.rstrip() for line in to_pdb(structure).splitlines()]
    assert lines[0] == "ATOM      1  CA  GLY A   1       1.500  -2.250 100.000  1.00  0.00           C"
    assert lines[2] == "ATOM      3 HD11 LEU A   2       7.000   8.000   9.000  1.00  0.00           H"
    assert [line[:3] for line in lines] == ["ATO", "ATO", "ATO", "TER", "ATO", "TER", "END"]
    assert (lines[4][21], lines[4][22:26]) == ("B", "   1")


@FORMATS
def test_chains_keep_their_names_up_to_the_last(write, read):
    n = 62 if write is to_pdb else 64
    made = read(write(trace(np.zeros((n, 3)), chains=np.arange(n)[::-1])))
    names = [chain.name for chain in made[0]]
    assert names[:62] == list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    assert names[62:] == ["AA", "AB"][: n - 62]
    assert {len(chain) for chain in made[0]} == {1}


def test_the_largest_structures_of_pdb_are_read_back():
    x = np.tile(np.arange(11.0)[:, None], (9_090, 1, 3))
    structure = Structure(x, np.ones((9_090, 11)), ("CA", *(f"H{i}" for i in range(10))))
    assert fits_pdb(structure)
    assert sum(1 for _ in from_pdb(to_pdb(structure))[0].all()) == 99_990
    assert fits_pdb(trace([(999.999, -999.999, 0)]))
    assert fits_pdb(trace(np.zeros((9_999, 3))))


@pytest.mark.parametrize(
    "structure",
    [
        trace([(1234.0, 0, 0)]),
        trace(np.zeros((10_000, 3))),
        trace(np.zeros((63, 3)), chains=np.arange(63)),
        Structure(np.zeros((5_000, 21, 3)), np.ones((5_000, 21)), ("CA", *(f"H{i}" for i in range(20)))),
    ],
    ids=["far away", "residues", "chains", "atoms"],
)
def test_what_is_too_large_for_pdb_is_refused(structure):
    assert not fits_pdb(structure)
    with pytest.raises(UnsupportedError, match=r"do not fit the columns of a PDB file.*Write mmCIF"):
        to_pdb(structure)


def test_what_is_too_large_for_pdb_is_previewed_as_mmcif(tmp_path):
    points = np.linspace(0, 5000, 10_001 * 3).reshape(-1, 3)
    path = save_preview(trace(points, chains=np.arange(10_001) // 9_000), tmp_path / "trial1.pdb")
    assert path.suffix == ".cif"
    made = from_mmcif(path.read_text())
    assert atoms(made)[9_000] == ("B", 1, "UNK", "CA", "C")
    np.testing.assert_allclose(positions(made), points, atol=1e-3)
    assert save_preview(trace(points[:5]), tmp_path / "trial2").suffix == ".pdb"


def test_no_atoms_are_no_mmcif_file():
    with pytest.raises(UnsupportedError, match="no atoms"):
        to_mmcif(Structure(np.zeros((2, 1, 3)), np.zeros((2, 1))))


@pytest.mark.parametrize("write", [to_pdb, to_mmcif])
def test_without_gemmi_the_extra_is_named(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '.*\[proteins\]'"):
        write(trace([(0, 0, 0)]))
