"""Rows of seeds: made or read when they are needed, checked once, and measured against each other once.

Notation: m seeds with inner rows ξ (m, D). ρ (m,) their radii: ρ² = |ξ|²/D of a stored seed, 1 for a draw. G (m, m)
the cosines ξ_m·ξ_l / (D ρ_m ρ_l): measured where a stored seed takes part, the identity between draws.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import SeedError
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.seeds import Draw, Seed, Stored, inner_row, row_sha256, stored_row

SMALL = 1 << 12  # entries of rows that are kept once made, 64 MiB of draws at most
KEPT = 1 << 26  # entries of larger rows of draws that are kept, those used last: 256 MiB
STACKED = 1 << 24  # entries of rows that are put into one array for a product, 64 MiB; more are multiplied by blocks
BLOCK = 1 << 20  # entries of such a block, which stays near the processor
AT_ONCE = 1 << 24  # entries that are measured in float64 together, 128 MiB


@lru_cache(maxsize=4096)
def _small_row(draw: Draw, dim: int) -> Array:
    """The row of a draw, kept: policies make banks of the same draws every round."""
    return inner_row(draw, dim)


class _KeptRows:
    """Rows of draws that were used last, up to a number of entries; threads may share it."""

    def __init__(self, most: int) -> None:
        self._most, self._entries = most, 0
        self._rows: OrderedDict[tuple[Draw, int], Array] = OrderedDict()
        self._lock = threading.Lock()

    def row(self, draw: Draw, dim: int) -> Array:
        """The row (D,) of a draw."""
        with self._lock:
            if (known := self._rows.get((draw, dim))) is not None:
                self._rows.move_to_end((draw, dim))
                return known
        row = inner_row(draw, dim)
        with self._lock:
            if (draw, dim) not in self._rows:
                self._rows[draw, dim] = row
                self._entries += dim
            while self._entries > self._most:
                (_, size), _ = self._rows.popitem(last=False)
                self._entries -= size
        return row


_large_rows = _KeptRows(KEPT)


class SeedRows:
    """The rows of seeds on one device, shared by a bank and those that grew from it: a searched box is made once.

    What was made last is kept as one value, since threads may share a space.

    Args:
        dim: D.
        tensors: inner rows (D,) of stored seeds, by SHA-256; a row is read when it is needed.
        device: where stacks of rows lie.
    """

    def __init__(self, dim: int, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self.dim = dim
        self.device = device
        self._tensors = tensors
        self._given: dict[str, Tensor] = {}  # stored seeds that came as tensors
        self._checked: set[str] = set()
        self._stack: tuple[tuple[Seed, ...], Tensor] = ((), torch.zeros((0, dim), device=device))
        self._measured: tuple[dict[Seed, int], Array, Array] = ({}, np.zeros((0, 0)), np.zeros(0))

    def on(self, device: torch.device) -> SeedRows:
        """The same seeds with their stacks on another device."""
        rows = SeedRows(self.dim, self._tensors, device)
        rows._given, rows._checked, rows._measured = self._given, self._checked, self._measured
        return rows

    def register(self, seed: Seed | Tensor) -> Seed:
        """A seed whose row can be made: a tensor (D,) becomes a stored seed.

        Raises:
            SeedError: a stored seed has no tensor, or a tensor is no seed.
            ShapeError: a tensor is not (D,).
        """
        if isinstance(seed, Draw):
            return seed
        if isinstance(seed, Stored):
            if seed.sha256 not in self._given and seed.sha256 not in self._tensors:
                if isinstance(self._tensors, SeedStore):
                    advice = f"in {self._tensors!r}. Pass the store or folder that has it as `seeds`."
                else:
                    advice = "given. Pass a store or folder that has it as `seeds`, or its row in a bank's `tensors`."
                raise SeedError(f"seeds: there is no tensor of {seed} {advice}")
            return seed
        row = stored_row(seed, dim=self.dim)
        sha256 = row_sha256(row)
        self._given[sha256] = row
        return Stored(sha256)

    def tensor(self, sha256: str) -> Tensor:
        """The row (D,) of a stored seed, float32 on the CPU.

        Raises:
            SeedError: its values are not finite, or hash to something else.
            ShapeError: it is not (D,).
        """
        if sha256 in self._given:
            return self._given[sha256]
        row = self._tensors[sha256]
        if sha256 in self._checked:
            return row.detach().to("cpu", torch.float32).contiguous()
        row = stored_row(row, dim=self.dim, name=f"the tensor of {sha256[:12]}", copy=False)
        found = row_sha256(row)
        if found != sha256:
            raise SeedError(f"seeds: the tensor of {sha256[:12]} hashes to {found[:12]}; its file was changed.")
        self._checked.add(sha256)
        if self.dim <= SMALL:
            self._given[sha256] = row
        return row

    def stack(self, seeds: tuple[Seed, ...]) -> Tensor:
        """Rows (m, D), float32 on the device; what the last stack has is not made again."""
        present, stack = self._stack
        if seeds == present:
            return stack
        if self.dim <= SMALL and seeds:
            rows = torch.from_numpy(np.stack([self._row(seed) for seed in seeds])).to(self.device)
        else:
            known = {seed: i for i, seed in enumerate(present)}
            rows = torch.empty((len(seeds), self.dim), device=self.device)
            for i, seed in enumerate(seeds):
                rows[i] = stack[known[seed]] if seed in known else torch.from_numpy(self._row(seed))
        self._stack = (seeds, rows)
        return rows

    def product(self, c: Tensor, seeds: tuple[Seed, ...]) -> Tensor:
        """c ξ (n, D): rows of coefficients (n, m), float32 on the device, times the rows of m seeds."""
        made_already = seeds == self._stack[0]
        if made_already or self.device.type != "cpu" or len(seeds) * self.dim <= STACKED:
            return c @ self.stack(seeds)
        return _by_blocks(c, [self._row(seed) for seed in seeds])

    def rows(self, seeds: Sequence[Seed]) -> Tensor:
        """Rows (m, D) of a few seeds, float32 on the device."""
        return torch.from_numpy(np.stack([self._row(seed) for seed in seeds])).to(self.device)

    def measure(self, seeds: tuple[Seed, ...]) -> tuple[Array, Array]:
        """G (m, m) and ρ (m,); what the last measurement holds is not measured again."""
        place, g, rho = self._measured
        if not all(seed in place for seed in seeds):
            g, rho = self._gram_and_radii(seeds)
            place = {seed: i for i, seed in enumerate(seeds)}
            self._measured = (place, g, rho)
        at = [place[seed] for seed in seeds]
        return g[np.ix_(at, at)], rho[at]

    def _gram_and_radii(self, seeds: tuple[Seed, ...]) -> tuple[Array, Array]:
        """In float64 on the CPU, so that every device finds the same; some entries of all rows at a time."""
        stored = [i for i, seed in enumerate(seeds) if isinstance(seed, Stored)]
        rows, at_once = self.stack(seeds), max(1, AT_ONCE // max(1, len(seeds)))
        products = np.zeros((len(stored), len(seeds)))
        for start in range(0, self.dim, at_once):
            x = rows[:, start : start + at_once].cpu().double().numpy()
            products += x[stored] @ x.T
        products /= self.dim
        g, rho = np.eye(len(seeds)), np.ones(len(seeds))
        rho[stored] = np.sqrt(products[np.arange(len(stored)), stored])
        g[stored] = products / rho[stored, None] / rho
        g[:, stored] = g[stored].T
        np.fill_diagonal(g, 1)
        return g, rho

    def _row(self, seed: Seed) -> Array:
        """The float32 row (D,) of a seed, on the CPU."""
        if isinstance(seed, Stored):
            return np.asarray(self.tensor(seed.sha256).numpy())
        return _small_row(seed, self.dim) if self.dim <= SMALL else _large_rows.row(seed, self.dim)


def _by_blocks(c: Tensor, rows: Sequence[Array]) -> Tensor:
    """c ξ (n, D) of rows ξ (m, D) on the CPU, without an array of them all."""
    dim = len(rows[0])
    width = max(1, BLOCK // len(rows))
    made, block = torch.empty((len(c), dim)), np.empty((len(rows), width), np.float32)
    for start in range(0, dim, width):
        some = block[:, : min(width, dim - start)]
        for i, row in enumerate(rows):
            some[i] = row[start : start + width]
        made[:, start : start + width] = c @ torch.from_numpy(some)
    return made


class StoredRows(Mapping[str, Tensor]):
    """Rows (D,) of some stored seeds by SHA-256, read when they are asked for.

    Args:
        names: hashes of the seeds.
        read: the row of a hash.
    """

    def __init__(self, names: tuple[str, ...], read: Callable[[str], Tensor]) -> None:
        self._names = dict.fromkeys(names)
        self._read = read

    def __getitem__(self, sha256: str) -> Tensor:
        """The row of one seed."""
        if sha256 not in self._names:
            raise KeyError(sha256)
        return self._read(sha256)

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
