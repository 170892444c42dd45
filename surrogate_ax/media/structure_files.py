"""Structures as PDB and mmCIF files, which gemmi writes (extra `proteins`).

Residues are numbered from 1 within their chain. Chains are named A to Z, a to z and 0 to 9, then AA, AB and so on; a
PDB file has room for the names of one letter only. What is no amino acid or nucleotide is written as a ligand (HETATM).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, MissingExtraError, UnsupportedError
from surrogate_ax.media.structures import Structure

if TYPE_CHECKING:
    import gemmi

CHAINS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Atoms of these elements bear their whole symbol as a name in ligands and modified residues, though its first letter is
# an element as well. Other names of two such letters say where an atom is: CA and CB are carbon, NA nitrogen, PA
# phosphorus, HG hydrogen.
NAMED_BY_SYMBOL = frozenset(("BE", "BR", "CL", "CO", "CR", "CU", "FE", "IR", "NI", "PT", "SE", "SI", "YB"))


def fits_pdb(structure: Structure) -> bool:
    """Whether a PDB file's columns hold the structure: 99,999 atoms, 9,999 residues a chain, 62 chains, 999 Å.

    Args:
        structure: of any size.
    """
    s = structure
    longest = int(np.bincount(s.chains).max(initial=0))
    far = float(np.abs(np.asarray(s.coordinates)[s.mask]).max(initial=0))
    return bool(
        s.mask.sum() <= 99_999 and longest <= 9_999 and s.chains.max(initial=0) < len(CHAINS) and far < 999.9995
    )


def to_pdb(structure: Structure) -> str:
    """The text of a PDB file.

    Args:
        structure: at most 99,999 atoms, 9,999 residues a chain and 62 chains, within 999 Å of the origin.

    Raises:
        UnsupportedError: it does not fit the format.
        ArgumentError: it gives elements that there are not.
        MissingExtraError: gemmi is not installed.

    Reference: wwPDB, Atomic Coordinate Entry Format 3.3.
    """
    if not fits_pdb(structure):
        raise UnsupportedError(
            f"structure: {int(structure.mask.sum())} atoms of {len(structure)} residues do not fit the columns of a "
            "PDB file, which end at 99,999 atoms, 9,999 residues a chain, 62 chains and 999 Å. Write mmCIF."
        )
    built = _to_gemmi(structure)
    import gemmi

    options = gemmi.PdbWriteOptions(minimal=True)
    options.cryst1_record = False
    options.numbered_ter = False  # so that 99,999 atoms have numbers of five digits, whatever their chains
    options.end_record = True
    return built.make_pdb_string(options)


def to_mmcif(structure: Structure) -> str:
    """The text of an mmCIF file, which has room for any size.

    Args:
        structure: with at least one atom.

    Raises:
        UnsupportedError: no atom is present.
        ArgumentError: it gives elements that there are not.
        MissingExtraError: gemmi is not installed.

    Reference: wwPDB, PDBx/mmCIF dictionary.
    """
    if not structure.mask.any():
        raise UnsupportedError("structure: it has no atoms, so there is nothing to write.")
    built = _to_gemmi(structure)
    import gemmi

    groups = gemmi.MmcifOutputGroups(False)
    for group in ("block_name", "entity", "entity_poly", "struct_asym", "atoms", "group_pdb"):
        setattr(groups, group, True)
    return built.make_mmcif_document(groups).as_string()


@cache
def derived_element(atom: str, residue: str) -> str:
    """The element of an atom by its name, "X" where the name tells of none.

    An ion is called as its residue: the CA of a residue CA is calcium, every other CA is carbon.

    Args:
        atom: its name, as "CA", "HD11" or "1HB".
        residue: the name of its residue.

    Raises:
        MissingExtraError: gemmi is not installed.
    """
    name = _letters(atom)
    symbols = [symbol for symbol in dict.fromkeys((name[:1], name[:2])) if _symbol(symbol) is not None]
    if not symbols:
        return "X"
    whole = symbols[-1] == name and (name == _letters(residue) or name in NAMED_BY_SYMBOL)
    return str(_symbol(symbols[-1] if whole else symbols[0]))


def _letters(name: str) -> str:
    return re.sub("[^A-Z]", "", name.upper())


@cache
def _symbol(text: str) -> str | None:
    """An element's symbol as it is written, None for what is no element."""
    _require_gemmi()
    import gemmi

    element = gemmi.Element(text)
    return element.name if element.atomic_number else None


def _to_gemmi(structure: Structure) -> gemmi.Structure:
    """The structure as gemmi's, without residues of which no atom is present.

    Raises:
        ArgumentError: it gives elements that there are not.
        MissingExtraError: gemmi is not installed.
    """
    _require_gemmi()
    import gemmi

    s = structure
    bad = [symbol for symbol in s.elements if symbol != "X" and _symbol(symbol) is None]
    if bad:
        raise ArgumentError(f"elements: expected symbols of elements, or X where it is not known, got {bad[0]!r}.")
    x = np.round(np.asarray(s.coordinates, dtype=np.float64), 3)
    chains: dict[int, gemmi.Chain] = {}
    for row, (number, position) in enumerate(zip(s.chains.tolist(), _positions(s.chains), strict=True)):
        residue = gemmi.Residue()
        residue.name, residue.seqid = s.residues[row], gemmi.SeqId(position, " ")
        residue.entity_type, residue.het_flag = _entity_type(residue.name), residue.recommended_het_flag()
        residue.label_seq = position if residue.entity_type == gemmi.EntityType.Polymer else None
        for slot in np.flatnonzero(s.mask[row]).tolist():
            atom = gemmi.Atom()
            atom.name, atom.pos, atom.b_iso = s.atoms[slot], gemmi.Position(*x[row, slot].tolist()), 0.0
            atom.element = gemmi.Element(s.elements[slot] if s.elements else derived_element(atom.name, residue.name))
            residue.add_atom(atom)
        if len(residue):
            chains.setdefault(number, gemmi.Chain(_chain_name(number))).add_residue(residue)
    model = gemmi.Model(1)
    for number in sorted(chains):
        model.add_chain(chains[number])
    built = gemmi.Structure()
    built.name = "structure"
    built.add_model(model)
    built.assign_subchains()
    built.ensure_entities()
    return built


def _entity_type(residue: str) -> gemmi.EntityType:
    """Whether residues of a name are links of a polymer, water or ligands."""
    import gemmi

    kind = gemmi.find_tabulated_residue(residue)
    if kind.is_amino_acid() or kind.is_nucleic_acid():
        return gemmi.EntityType.Polymer
    return gemmi.EntityType.Water if kind.is_water() else gemmi.EntityType.NonPolymer


def _chain_name(number: int) -> str:
    """A, ..., 9, AA, AB, ... for 0, ..., 61, 62, 63, ..."""
    name, left = "", number + 1
    while left:
        left, letter = divmod(left - 1, len(CHAINS))
        name = CHAINS[letter] + name
    return name


def _positions(chains: Array) -> list[int]:
    """Numbers of residues within their chains, from 1."""
    positions, seen = [], dict.fromkeys(chains.tolist(), 0)
    for chain in chains.tolist():
        seen[chain] += 1
        positions.append(seen[chain])
    return positions


def _require_gemmi() -> None:
    """Refuse to go on without the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import gemmi  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "Files of structures need gemmi: pip install 'surrogate-ax[proteins]' or gemmi."
        ) from error
