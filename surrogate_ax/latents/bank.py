"""Seeds, and the latents that coefficient rows over them make.

Notation: M seeds with inner latents ξ_m (D,); ρ_m their radii, ρ_m² = |ξ_m|²/D of a stored seed and 1 for a draw;
x̂_m = ξ_m / ρ_m; c (n, M) coefficient rows; G (M, M) the cosines x̂_m·x̂_l / D, measured where a stored seed takes part
and taken as the identity between draws.

    direction  x̂ = Σ c_m x̂_m / √(c G cᵀ)          radius  R² = Σ c_m² ρ_m² / Σ c_m²          latent  ξ = R x̂

So |ξ|² = D R², a seed alone is remade as it is, and the radius changes gradually between two seeds. Over draws R = 1:
norms are those of draws, √D, up to the draws' own scatter. Rows are normalised to c G cᵀ = 1; then the cosine of two
latents is c G c'ᵀ. An item's exact inversion has R² about 1.4 and loses detail when it is rescaled to 1, hence the
radius; without stored seeds this is the combination of the sources.
Source: surrogate latent spaces, arXiv 2509.23800, section 3; LOL, arXiv 2408.08558 (Gaussian latents).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import scipy  # loads its submodules when they are first used
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, SeedError, ShapeError
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.latents.seed_rows import SeedRows, StoredRows
from surrogate_ax.latents.seeds import Seed, Stored, Terms
from surrogate_ax.markup import one_line

STACK_BYTES = 1 << 30  # seeds are materialised in stacks of at most this size
SETTLED = 1e-12  # a norm this near to 1 is 1 but for rounding; dividing again would move a fingerprint


def row_terms(rows: scipy.sparse.csr_array, seeds: Sequence[Seed]) -> list[Terms]:
    """The terms of coefficient rows (n, M) over M seeds, as they stand."""
    named = list(zip(map(seeds.__getitem__, rows.indices.tolist()), rows.data.tolist(), strict=True))
    return [tuple(named[start:end]) for start, end in pairwise(rows.indptr.tolist())]


class Bank:
    """An append-only list of seeds under one prior, and the latents of coefficient rows over them.

    Args:
        prior: the law of the latents.
        seeds: M seeds; a tensor is an inner row (D,), kept as a stored seed in float32 on the CPU.
        tensors: inner rows (D,) of stored seeds, by SHA-256, such as a `SeedStore`. A row is read, and checked against
            its hash, when a latent first needs it.
        device: where latents are made.

    Raises:
        SeedError: a stored seed has no tensor, a row is not finite or zero, or a seed stands there twice.
        ShapeError: a row is not (D,).
    """

    def __init__(
        self,
        prior: Prior,
        seeds: Sequence[Seed | Tensor] = (),
        *,
        tensors: Mapping[str, Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.prior = prior
        self.device = torch.device(device)
        self._rows = SeedRows(prior.dim, {} if tensors is None else tensors, self.device)
        self.seeds: tuple[Seed, ...] = tuple(map(self._rows.register, seeds))
        repeated = len(self.seeds) - len(set(self.seeds))
        if repeated:
            raise SeedError(f"seeds: expected distinct seeds, got {repeated} repeated ones.")

    def __repr__(self) -> str:
        kept = len(self.tensors)
        stored = f"{kept} of them stored" if kept else ""
        return one_line("Bank", f"{len(self.seeds)} seeds", stored, f"D={self.prior.dim}")

    def extend(self, seeds: Sequence[Seed | Tensor]) -> Bank:
        """A bank with further seeds behind the present ones; seeds it has already are passed over.

        Args:
            seeds: draws, stored seeds, or inner rows (D,).

        Returns:
            A bank that shares the tensors; this one is unchanged.
        """
        given = seeds if any(isinstance(seed, Tensor) for seed in seeds) else dict.fromkeys(seeds)
        registered = dict.fromkeys(map(self._rows.register, given))
        fresh = tuple(seed for seed in registered if seed not in self._column)
        return self._with(self.seeds + fresh, self._rows) if fresh else self

    def to(self, device: torch.device | str) -> Bank:
        """The same bank with latents made on another device.

        Args:
            device: where latents are made.
        """
        return self._with(self.seeds, self._rows.on(torch.device(device)))

    def _with(self, seeds: tuple[Seed, ...], rows: SeedRows) -> Bank:
        bank = Bank(self.prior, device=rows.device)
        bank.seeds, bank._rows = seeds, rows
        return bank

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Inner rows (D,) of the stored seeds of this bank, by SHA-256, read when they are asked for."""
        return StoredRows(tuple(s.sha256 for s in self.seeds if isinstance(s, Stored)), self._rows.tensor)

    @cached_property
    def _column(self) -> dict[Seed, int]:
        return {seed: m for m, seed in enumerate(self.seeds)}

    @cached_property
    def _stored(self) -> Array:
        return np.array([isinstance(seed, Stored) for seed in self.seeds], dtype=bool)

    def rows(self, terms: Iterable[Terms]) -> scipy.sparse.csr_array:
        """Coefficient rows (n, M) of n recipes' terms.

        Args:
            terms: of each recipe: pairs of a seed and its coefficient.

        Raises:
            SeedError: a term's seed is not in the bank; `extend` it first.
        """
        data, columns, ends, column = list[float](), list[int](), [0], self._column
        try:
            for row in terms:
                seeds, coefficients = zip(*row, strict=True) if row else ((), ())
                columns.extend(map(column.__getitem__, seeds))
                data.extend(coefficients)
                ends.append(len(columns))
        except KeyError as missing:
            raise SeedError(
                f"terms: {missing.args[0]} is not in this bank of {len(self.seeds)} seeds; extend the bank first."
            ) from None
        return scipy.sparse.csr_array((data, columns, ends), shape=(len(ends) - 1, len(self.seeds)), dtype=np.float64)

    def terms(self, c: Any) -> list[Terms]:
        """The terms of coefficient rows (n, M), normalised: a recipe needs no Gram matrix to be remade.

        Args:
            c: float64 (n, M).
        """
        return row_terms(self.normalise(c), self.seeds)

    def normalise(self, c: Any) -> scipy.sparse.csr_array:
        """Coefficient rows (n, M) divided by √(c G cᵀ); rows that are normalised already come back bit for bit.

        Args:
            c: float64 (n, M).

        Raises:
            ShapeError: c does not have M columns.
            ArgumentError: a coefficient is not finite, or a row makes a zero latent.
        """
        rows = self._check(c)
        with np.errstate(over="ignore"):
            norm = np.sqrt(np.maximum(self._squares(rows), 0))
        if not np.isfinite(norm).all():
            raise ArgumentError(f"c: row {int(np.argmin(np.isfinite(norm)))} is too large; every row needs a length.")
        if not (norm > 0).all():
            raise ArgumentError(f"c: row {int(np.argmin(norm > 0))} makes a zero latent; every row needs a direction.")
        norm[np.abs(norm - 1) < SETTLED] = 1
        scaled = rows.data / np.repeat(norm, np.diff(rows.indptr))
        return scipy.sparse.csr_array((scaled, rows.indices, rows.indptr), shape=rows.shape)

    def gram(self, rows: Any) -> Array:
        """c G c'ᵀ between the given coefficient rows: cosines, (n, n), when the rows are normalised.

        Args:
            rows: one or two of float64 (n, M); the second is the first if left out.
        """
        rows = self._check(rows)
        columns = np.unique(rows.indices)
        sub = rows[:, columns].toarray()
        return np.asarray((sub @ self._measured(columns)[0] if self._stored[columns].any() else sub) @ sub.T)

    def radius(self, c: Any) -> Array:
        """R (n,) of coefficient rows (n, M): √(|ξ|²/D) of their latents, 1 over draws whatever their scatter.

        Args:
            c: float64 (n, M).
        """
        rows = self.normalise(c)
        columns = np.unique(rows.indices)
        return self._radii(rows, columns)[0] if self._stored[columns].any() else np.ones(rows.shape[0])

    def inner(self, c: Any) -> Tensor:
        """Inner latents ξ (n, D) of coefficient rows (n, M), of any length; float32 on the bank's device.

        Args:
            c: float64 (n, M).
        """
        rows = self.normalise(c)
        columns = np.unique(rows.indices)
        alone = np.zeros(rows.shape[0], dtype=bool)
        if self._stored[columns].any():
            radius, rho = self._radii(rows, columns)
            alone = (np.diff(rows.indptr) == 1) & self._stored[rows.indices[rows.indptr[:-1]]]
            applied = rows.data * np.repeat(radius, np.diff(rows.indptr)) / rho  # R x̂ = Σ (R c_m / ρ_m) ξ_m
            rows = scipy.sparse.csr_array((applied, rows.indices, rows.indptr), shape=rows.shape)
        at_once = max(1, STACK_BYTES // (4 * self.prior.dim))
        total: Tensor | None = None
        for start in range(0, len(columns), at_once):
            chunk = columns[start : start + at_once]
            picked = rows if len(chunk) == rows.shape[1] else rows[:, chunk]
            seeds = tuple(self.seeds[column] for column in chunk)
            part = self._rows.product(torch.from_numpy(picked.toarray()).to(self.device, torch.float32), seeds)
            if alone.any():
                self._copy_alone(picked, alone, seeds, part)
            total = part if total is None else total.add_(part)
        if total is None:
            return torch.zeros((0, self.prior.dim), device=self.device)
        return total

    def directions(self, c: Any) -> Tensor:
        """Inner latents x̂ (n, D) at the radius of a draw: what is left to look at when radii are set aside.

        Args:
            c: float64 (n, M).
        """
        return self.inner(c) / torch.from_numpy(self.radius(c)).to(self.device, torch.float32)[:, None]

    def latents(self, c: Any) -> Latents:
        """Named parts (n, *shape) of coefficient rows (n, M), of any length.

        Args:
            c: float64 (n, M).
        """
        return self.prior.from_inner(self.inner(c))

    def latents_of(self, terms: Sequence[Terms]) -> Latents:
        """Named parts (n, *shape) of n recipes' terms; seeds that the bank lacks are added for this call.

        Args:
            terms: of each recipe: pairs of a seed and its coefficient.

        Raises:
            SeedError: a stored seed has no tensor.
        """
        bank = self.extend([seed for row in terms for seed, _ in row])
        return bank.latents(bank.rows(terms))

    def _check(self, c: Any) -> scipy.sparse.csr_array:
        rows = scipy.sparse.csr_array(c, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.seeds):
            raise ShapeError(f"c: expected shape (n, M) = (n, {len(self.seeds)}), got {rows.shape}.")
        if not np.isfinite(rows.data).all():
            raise ArgumentError("c: expected finite coefficients, got NaN or infinity.")
        if not rows.has_canonical_format:  # terms follow the bank's order, and a seed stands once in a row
            rows = rows.copy()
            rows.sum_duplicates()
        return rows

    def _squares(self, rows: scipy.sparse.csr_array) -> Array:
        """c G cᵀ (n,) of each row."""
        columns = np.unique(rows.indices)
        if not self._stored[columns].any():
            return _sums(rows, rows.data**2)
        sub = rows[:, columns].toarray()
        return np.asarray(((sub @ self._measured(columns)[0]) * sub).sum(axis=1))

    def _radii(self, rows: scipy.sparse.csr_array, columns: Array) -> tuple[Array, Array]:
        """R (n,) of each row, and ρ of the seed of each of the rows' entries."""
        rho = self._measured(columns)[1][np.searchsorted(columns, rows.indices)]
        return np.sqrt(_sums(rows, (rows.data * rho) ** 2) / _sums(rows, rows.data**2)), rho

    def _measured(self, columns: Array) -> tuple[Array, Array]:
        """G among the given columns, and their ρ."""
        return self._rows.measure(tuple(self.seeds[column] for column in columns))

    def _copy_alone(self, rows: scipy.sparse.csr_array, alone: Array, seeds: tuple[Seed, ...], latents: Tensor) -> None:
        """Put seeds that are alone in their row there as they are: a product may round (TF32) or lose a -0."""
        here = np.flatnonzero(alone & (np.diff(rows.indptr) == 1))
        if len(here):
            entry = rows.indptr[here]
            stack = self._rows.rows([seeds[column] for column in rows.indices[entry]])
            latents[torch.from_numpy(here)] = stack * torch.from_numpy(np.sign(rows.data[entry])).to(stack)[:, None]


def _sums(rows: scipy.sparse.csr_array, entries: Array) -> Array:
    """(n,) sums over each row of one number for each of its entries."""
    return np.bincount(np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), entries, minlength=rows.shape[0])
