"""Molecular structures: what a protein generator puts out, the PDB file of one, and scores on shape.

Notation: L residues, A atom slots a residue, x (L, A, 3) coordinates in ångström, Cα the slot named "CA". Scores take n
structures at once, whatever their lengths, and give float64 (n,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError

CA_SPACING = 3.8  # Å between neighbouring Cα of a trans peptide
CHAINS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Structure:
    """A structure of L residues with up to A atoms each.

    Args:
        coordinates: (L, A, 3) in ångström.
        mask: (L, A), true where an atom is present.
        atoms: A names of the slots; one is "CA".
        residues: L three-letter names; "UNK" if left out.
        chains: (L,) chain numbers from 0; all 0 if left out.

    Raises:
        ShapeError: sizes that do not agree.
        ArgumentError: no slot named "CA", names too long for a file, negative chains, or coordinates of present atoms
            that are not finite.
    """

    coordinates: Array
    mask: Array
    atoms: tuple[str, ...] = ("CA",)
    residues: tuple[str, ...] = ()
    chains: Array = field(default_factory=lambda: np.zeros(0, dtype=int))

    def __post_init__(self) -> None:
        shape = np.shape(self.coordinates)
        if len(shape) != 3 or shape[2] != 3 or np.shape(self.mask) != shape[:2] or len(self.atoms) != shape[1]:
            raise ShapeError(
                f"coordinates, mask, atoms: expected (L, A, 3), (L, A) and A names, got {shape}, "
                f"{np.shape(self.mask)} and {len(self.atoms)}."
            )
        if "CA" not in self.atoms:
            raise ArgumentError(f"atoms: expected a slot named 'CA', got {self.atoms}.")
        mask = np.asarray(self.mask, dtype=bool)
        if not np.isfinite(np.asarray(self.coordinates)[mask]).all():
            raise ArgumentError("coordinates: expected finite values for the atoms that are present.")
        residues = tuple(self.residues) or ("UNK",) * shape[0]
        chains = np.asarray(self.chains, dtype=int) if np.size(self.chains) else np.zeros(shape[0], dtype=int)
        if len(residues) != shape[0] or chains.shape != (shape[0],):
            raise ShapeError(f"residues, chains: expected L = {shape[0]}, got {len(residues)} and {chains.shape}.")
        long = [name for name in self.atoms if not 1 <= len(name) <= 4]
        long += [name for name in residues if not 1 <= len(name) <= 3]
        if long or (chains < 0).any():
            raise ArgumentError(
                "atoms, residues, chains: expected names of at most 4 and 3 letters and chain numbers from 0, got "
                f"{long[:1] or int(chains.min())}."
            )
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "residues", residues)
        object.__setattr__(self, "chains", chains)

    @property
    def alpha(self) -> int:
        """Number of the Cα slot."""
        return self.atoms.index("CA")

    def __len__(self) -> int:
        return len(self.mask)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Coordinates (L, A, 3), 0 where no atom is."""
        return np.array(np.where(self.mask[..., None], self.coordinates, 0), dtype=dtype)


def to_pdb(structure: Structure) -> str:
    """The text of a PDB file.

    Args:
        structure: at most 99,999 atoms and 9,999 residues a chain, within 999 Å of the origin.

    Raises:
        UnsupportedError: it does not fit the format.

    Reference: wwPDB, Atomic Coordinate Entry Format 3.3, ATOM records.
    """
    s, lines = structure, []
    if not fits_pdb(s):
        raise UnsupportedError(
            f"structure: {int(s.mask.sum())} atoms of {len(s)} residues do not fit the columns of a PDB file, which "
            "end at 99,999 atoms, 9,999 residues a chain and 999 Å. Write mmCIF."
        )
    rows, slots = np.nonzero(s.mask)
    x = np.asarray(s.coordinates, dtype=np.float64)[rows, slots]
    numbers = _numbers(s.chains)
    previous = None
    for serial, (row, slot, xyz) in enumerate(zip(rows, slots, x, strict=True), start=1):
        chain = int(s.chains[row])
        if previous is not None and chain != previous:
            lines.append("TER")
        previous = chain
        atom, number = s.atoms[slot], numbers[row]
        name = atom if len(atom) == 4 else f" {atom:<3}"
        lines.append(
            f"ATOM  {serial:5d} {name} {s.residues[row]:>3} {CHAINS[chain]}{number:4d}    "
            f"{xyz[0]:8.3f}{xyz[1]:8.3f}{xyz[2]:8.3f}{1:6.2f}{0:6.2f}          {atom[:1]:>2}"
        )
    return "\n".join([*lines, "TER", "END", ""])


def to_mmcif(structure: Structure) -> str:
    """The text of an mmCIF file, which has room for any size.

    Args:
        structure: with at least one atom.

    Raises:
        UnsupportedError: no atom is present.

    Reference: wwPDB, PDBx/mmCIF dictionary, category atom_site.
    """
    s = structure
    if not s.mask.any():
        raise UnsupportedError("structure: it has no atoms, so there is nothing to write.")
    columns = ("group_PDB", "id", "type_symbol", "label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id")
    names = [f"_atom_site.{name}" for name in (*columns, "Cartn_x", "Cartn_y", "Cartn_z")]
    numbers = _numbers(s.chains)
    rows, slots = np.nonzero(s.mask)
    x = np.asarray(s.coordinates, dtype=np.float64)[rows, slots]
    atoms = [
        f"ATOM {serial} {s.atoms[slot][:1]} {s.atoms[slot]} {s.residues[row]} C{s.chains[row] + 1} {numbers[row]} "
        f"{xyz[0]:.3f} {xyz[1]:.3f} {xyz[2]:.3f}"
        for serial, (row, slot, xyz) in enumerate(zip(rows, slots, x, strict=True), start=1)
    ]
    return "\n".join(["data_structure", "loop_", *names, *atoms, "#", ""])


def fits_pdb(structure: Structure) -> bool:
    """Whether a PDB file's columns hold the structure: 99,999 atoms, 9,999 residues a chain, 999 Å."""
    s = structure
    longest = int(np.bincount(s.chains).max(initial=0))
    far = float(np.abs(np.asarray(s.coordinates)[s.mask]).max(initial=0))
    return bool(
        s.mask.sum() <= 99_999 and longest <= 9_999 and s.chains.max(initial=0) < len(CHAINS) and far < 999.9995
    )


def radius_of_gyration(structures: Sequence[Structure]) -> Array:
    """Root mean square distance of the Cα from their centre, in ångström."""
    x, present, _ = _alphas(structures)
    count = np.maximum(present.sum(1), 1)
    centre = (x * present[..., None]).sum(1) / count[:, None]
    squares = ((x - centre[:, None]) ** 2).sum(-1)
    return np.asarray(np.sqrt((squares * present).sum(1) / count))


def spacing_error(structures: Sequence[Structure]) -> Array:
    """Root mean square deviation of the distance between neighbouring Cα of a chain from 3.8 Å."""
    x, present, chains = _alphas(structures)
    beside = present[:, 1:] & present[:, :-1] & (chains[:, 1:] == chains[:, :-1])
    off = (np.linalg.norm(np.diff(x, axis=1), axis=-1) - CA_SPACING) ** 2
    return np.asarray(np.sqrt((off * beside).sum(1) / np.maximum(beside.sum(1), 1)))


def clashes(structures: Sequence[Structure], *, closest: float = 3.0) -> Array:
    """Pairs of Cα nearer than allowed, but for neighbours in a chain.

    Args:
        structures: n structures.
        closest: least distance in ångström.

    Raises:
        ArgumentError: a distance that is not positive.
    """
    if not closest > 0:
        raise ArgumentError(f"closest: expected a positive distance in ångström, got {closest}.")
    x, present, chains = _alphas(structures)
    length = present.shape[1]
    near = np.zeros(len(structures))
    for shift in range(1, length):  # over sequence distance, so that memory grows with L and not with L²
        both = present[:, shift:] & present[:, :-shift]
        if shift == 1:
            both &= chains[:, 1:] != chains[:, :-1]
        squares = ((x[:, shift:] - x[:, :-shift]) ** 2).sum(-1)
        near += (both & (squares < closest**2)).sum(1)
    return near


def _alphas(structures: Sequence[Structure]) -> tuple[Array, Array, Array]:
    """Cα (n, L, 3), presence (n, L) and chain (n, L), padded to the longest."""
    given: Sequence[object] = structures
    wrong = next((type(s).__name__ for s in given if not isinstance(s, Structure)), None)
    if wrong is not None:
        raise ArgumentError(f"structures: expected Structures, got {wrong}.")
    n, longest = len(structures), max((len(s) for s in structures), default=0)
    x, present = np.zeros((n, longest, 3)), np.zeros((n, longest), dtype=bool)
    chains = np.full((n, longest), -1)
    for i, s in enumerate(structures):
        present[i, : len(s)] = s.mask[:, s.alpha]
        x[i, : len(s)] = np.where(present[i, : len(s), None], s.coordinates[:, s.alpha], 0)
        chains[i, : len(s)] = s.chains
    return x, present, chains


def _numbers(chains: Array) -> list[int]:
    """Numbers of residues within their chains, from 1."""
    numbers, seen = [], dict.fromkeys(chains.tolist(), 0)
    for chain in chains.tolist():
        seen[chain] += 1
        numbers.append(seen[chain])
    return numbers
