"""Seeds, and the latents that coefficient rows over them make.

Notation: M seeds with inner latents ξ_m (D,); c (n, M) coefficient rows; G (M, M) the Gram matrix ξ_m·ξ_l / D, taken as
the identity between draws and measured where a stored seed takes part. A row's latent is Σ c_m ξ_m / √(c G cᵀ): its
norm stays that of a draw, √D, up to the draws' own scatter. The cosine of two latents is c G c'ᵀ.
Source: arXiv 2509.23800, section 3; LOL, arXiv 2408.08558.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import scipy  # loads its submodules when they are first used
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, SeedError, ShapeError
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.latents.seeds import Draw, Seed, Stored, Terms, inner_row

STACK_BYTES = 1 << 30  # seeds are materialised in stacks of at most this size
SMALL = 1 << 12  # entries of rows that are kept, 64 MiB at most
SETTLED = 1e-12  # a norm this near to 1 is 1 but for rounding; dividing again would move a fingerprint


@lru_cache(maxsize=4096)
def _small_row(draw: Draw, dim: int) -> Array:
    """The row of a draw, kept: policies make banks of the same draws every round."""
    return inner_row(draw, dim)


def row_terms(rows: scipy.sparse.csr_array, seeds: Sequence[Seed]) -> list[Terms]:
    """The terms of coefficient rows (n, M) over M seeds, as they stand."""
    named = list(zip(map(seeds.__getitem__, rows.indices.tolist()), rows.data.tolist(), strict=True))
    return [tuple(named[start:end]) for start, end in pairwise(rows.indptr.tolist())]


@dataclass
class _Stack:
    """Seeds last materialised, shared by a bank and those that grew from it: a searched box is made once."""

    kept: tuple[tuple[Seed, ...], Tensor]  # seeds and their rows (m, D), one value, since threads may share a space


class Bank:
    """An append-only list of seeds under one prior, and the latents of coefficient rows over them.

    Args:
        prior: the law of the latents.
        seeds: the seeds; a tensor is an inner row (D,), kept as a stored seed.
        tensors: inner rows (D,) of stored seeds, by SHA-256.
        device: where latents are made.

    Raises:
        SeedError: a stored seed has no tensor, a tensor that is not finite, or one whose hash is another.
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
        self._tensors = dict(tensors or {})
        self._stack = _Stack(((), torch.zeros((0, prior.dim), device=self.device)))
        self.seeds: tuple[Seed, ...] = tuple(self._register(seed) for seed in seeds)
        repeated = len(self.seeds) - len(set(self.seeds))
        if repeated:
            raise SeedError(f"seeds: expected distinct seeds, got {repeated} repeated ones.")

    def _register(self, seed: Seed | Tensor) -> Seed:
        if isinstance(seed, Draw):
            return seed
        row = self._tensors.get(seed.sha256) if isinstance(seed, Stored) else seed
        if row is None:
            raise SeedError(
                f"seeds: no tensor is given for {seed}. Pass it in `tensors`, or load the space that has it."
            )
        if tuple(row.shape) != (self.prior.dim,):
            raise ShapeError(f"seeds: expected an inner row (D,) = ({self.prior.dim},), got {tuple(row.shape)}.")
        row = row.detach().to("cpu", torch.float32, copy=not isinstance(seed, Stored)).contiguous()
        if not torch.isfinite(row).all():
            which = seed if isinstance(seed, Stored) else "a row"
            raise SeedError(f"seeds: expected finite values, got NaN or infinity in {which}.")
        sha256 = hashlib.sha256(row.numpy().tobytes()).hexdigest()
        if isinstance(seed, Stored) and seed.sha256 != sha256:
            raise SeedError(f"seeds: the tensor of {seed.sha256[:12]} hashes to {sha256[:12]}; its file was changed.")
        self._tensors[sha256] = row
        return seed if isinstance(seed, Stored) else Stored(sha256)

    def extend(self, seeds: Sequence[Seed | Tensor]) -> Bank:
        """A bank with further seeds behind the present ones; seeds it has already are passed over.

        Args:
            seeds: draws, stored seeds, or inner rows (D,).

        Returns:
            A new bank that shares the tensors; this one is unchanged.
        """
        grown = Bank(self.prior, (), tensors=self._tensors, device=self.device)
        given = seeds if any(isinstance(seed, Tensor) for seed in seeds) else dict.fromkeys(seeds)
        fresh = dict.fromkeys(grown._register(seed) for seed in given)
        grown.seeds = self.seeds + tuple(seed for seed in fresh if seed not in self._column)
        grown._stack = self._stack
        return grown

    def to(self, device: torch.device | str) -> Bank:
        """The same bank with latents made on another device."""
        return Bank(self.prior, self.seeds, tensors=self._tensors, device=device)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Inner rows (D,) of the stored seeds of this bank, by SHA-256."""
        return {seed.sha256: self._tensors[seed.sha256] for seed in self.seeds if isinstance(seed, Stored)}

    @cached_property
    def _column(self) -> dict[Seed, int]:
        return {seed: m for m, seed in enumerate(self.seeds)}

    @cached_property
    def _stored(self) -> Array:
        return np.array([isinstance(seed, Stored) for seed in self.seeds], dtype=bool)

    def rows(self, terms: Iterable[Terms]) -> scipy.sparse.csr_array:
        """Coefficient rows (n, M) of n recipes' terms.

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
        """The terms of coefficient rows (n, M), normalised: a recipe needs no Gram matrix to be remade."""
        return row_terms(self.normalise(c), self.seeds)

    def normalise(self, c: Any) -> scipy.sparse.csr_array:
        """Coefficient rows (n, M) divided by √(c G cᵀ); rows that are normalised already come back bit for bit.

        Raises:
            ShapeError: c does not have M columns.
            ArgumentError: a coefficient is not finite, or a row makes a zero latent.
        """
        rows = self._check(c)
        norm = np.sqrt(np.maximum(self._squares(rows), 0))
        if not (norm > 0).all():
            raise ArgumentError(f"c: row {int(np.argmin(norm > 0))} makes a zero latent; every row needs a direction.")
        norm[np.abs(norm - 1) < SETTLED] = 1
        scaled = rows.data / np.repeat(norm, np.diff(rows.indptr))
        return scipy.sparse.csr_array((scaled, rows.indices, rows.indptr), shape=rows.shape)

    def gram(self, rows: Any) -> Array:
        """c G c'ᵀ between the given coefficient rows: cosines, (n, n), when the rows are normalised."""
        rows = self._check(rows)
        columns = np.unique(rows.indices)
        sub = rows[:, columns].toarray()
        return np.asarray((sub @ self._gram(columns) if self._stored[columns].any() else sub) @ sub.T)

    def inner(self, c: Any) -> Tensor:
        """Inner latents (n, D) of coefficient rows (n, M), norm held; float32 on the bank's device."""
        rows = self.normalise(c)
        columns = np.unique(rows.indices)
        at_once = max(1, STACK_BYTES // (4 * self.prior.dim))
        total: Tensor | None = None
        for start in range(0, len(columns), at_once):
            chunk = columns[start : start + at_once]
            picked = rows if len(chunk) == rows.shape[1] else rows[:, chunk]
            part = torch.from_numpy(picked.toarray()).to(self.device, torch.float32) @ self._seed_rows(chunk)
            total = part if total is None else total.add_(part)
        if total is None:
            return torch.zeros((0, self.prior.dim), device=self.device)
        return total

    def latents(self, c: Any) -> Latents:
        """Named parts (n, *shape) of coefficient rows (n, M): divided by √(c G cᵀ), never rescaled one by one."""
        return self.prior.from_inner(self.inner(c))

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
        columns = np.unique(rows.indices)
        if not self._stored[columns].any():
            row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
            return np.bincount(row, rows.data**2, minlength=rows.shape[0])
        sub = rows[:, columns].toarray()
        return np.asarray(np.einsum("nm,ml,nl->n", sub, self._gram(columns), sub))

    def _gram(self, columns: Array) -> Array:
        """G among the given columns: identity between draws, measured where a stored seed takes part."""
        g = np.eye(len(columns))
        stored = np.flatnonzero(self._stored[columns])
        x = self._seed_rows(columns).double()
        measured = (x[torch.from_numpy(stored)] @ x.T / self.prior.dim).cpu().numpy()
        g[stored], g[:, stored] = measured, measured.T
        return g

    def _seed_rows(self, columns: Array) -> Tensor:
        """Seeds (m, D) on the device; what the last stack has is not made again."""
        seeds = tuple(self.seeds[column] for column in columns)
        present, stack = self._stack.kept
        if seeds == present:
            return stack
        if self.prior.dim <= SMALL and seeds:
            rows = torch.from_numpy(np.stack([self._kept_row(seed) for seed in seeds])).to(self.device)
        else:
            known = {seed: i for i, seed in enumerate(present)}
            rows = torch.empty((len(seeds), self.prior.dim), device=self.device)
            for i, seed in enumerate(seeds):
                rows[i] = stack[known[seed]] if seed in known else self._made_row(seed)
        self._stack.kept = (seeds, rows)
        return rows

    def _kept_row(self, seed: Seed) -> Array:
        return self._tensors[seed.sha256].numpy() if isinstance(seed, Stored) else _small_row(seed, self.prior.dim)

    def _made_row(self, seed: Seed) -> Tensor:
        if isinstance(seed, Stored):
            return self._tensors[seed.sha256]
        return torch.from_numpy(inner_row(seed, self.prior.dim))
