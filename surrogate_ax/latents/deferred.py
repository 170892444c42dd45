"""Latents that are not made yet: coefficient rows, which a generator that runs elsewhere takes in their place.

n rows of terms, and the latents (n, *shape) that their bank makes of them when somebody reads a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from torch import Tensor

from surrogate_ax.errors import MismatchError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Latents, Prior, check_latents
from surrogate_ax.latents.seeds import Terms


class Deferred(Mapping[str, Tensor]):
    """Named parts (n, *shape) of n recipes' terms, made when one is first read.

    Args:
        bank: makes them; seeds that it lacks are added.
        terms: of each of n recipes.

    Raises:
        SeedError: a stored seed has no tensor.
    """

    def __init__(self, bank: Bank, terms: Sequence[Terms]) -> None:
        self.bank = bank.extend([seed for row in terms for seed, _ in row])
        self.terms = tuple(terms)

    @cached_property
    def _made(self) -> Latents:
        return self.bank.latents_of(self.terms)

    def __getitem__(self, part: str) -> Tensor:
        if part not in self.bank.prior.shapes:
            raise KeyError(part)
        return self._made[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self.bank.prior.shapes)

    def __len__(self) -> int:
        return len(self.bank.prior.shapes)

    def rows(self, kept: Sequence[int]) -> Deferred:
        """Some of the rows, not made either.

        Args:
            kept: their numbers.
        """
        return Deferred(self.bank, [self.terms[i] for i in kept])


def rows_of(z: Latents, kept: Sequence[int]) -> Latents:
    """Some rows of latents.

    Args:
        z: named parts (n, *shape).
        kept: numbers of rows.
    """
    kept = [int(i) for i in kept]
    return z.rows(kept) if isinstance(z, Deferred) else {name: part[kept] for name, part in z.items()}


def count_of(z: Latents) -> int:
    """n of latents that were checked.

    Args:
        z: named parts (n, *shape).
    """
    return len(z.terms) if isinstance(z, Deferred) else next(iter(z.values())).shape[0]


def checked(z: Latents, prior: Prior) -> Latents:
    """Latents of a prior, checked; those that are not made yet stay so.

    Args:
        z: named parts (n, *shape).
        prior: the law whose shapes they must have.

    Raises:
        ShapeError: as `check_latents`.
        MismatchError: rows of a bank of another prior.
    """
    if not isinstance(z, Deferred):
        return check_latents(z, prior)
    if z.bank.prior.fingerprint != prior.fingerprint:
        raise MismatchError(
            f"latents: expected rows over seeds of prior {prior.fingerprint}, got {z.bank.prior.fingerprint}."
        )
    return z
