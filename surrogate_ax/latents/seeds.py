"""Seeds, the keys from which latents are made: draws, which are remade, and stored tensors, known by their hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.checks import show, whole
from surrogate_ax.errors import ArgumentError, SeedError, ShapeError

_LARGEST = 2**256  # of the numbers of a draw, which any hash fits in


class Draw(NamedTuple):  # which hashes in C: policies look seeds up by the million
    """A seed remade from its key: N(0, I) by Philox, always made on the CPU.

    Args:
        entropy: what Philox is seeded with.
        index: the number of the draw under this entropy.
    """

    entropy: int
    index: int  # type: ignore[assignment]  # tuples have a method of that name, which nobody asks for here


@dataclass(frozen=True)
class Stored:
    """A seed kept as a tensor, known by a hash.

    Args:
        sha256: of its float32 bytes, in hexadecimal digits.
        origin: where it came from, in a few words.
    """

    sha256: str
    origin: str = field(default="", compare=False)


Seed = Draw | Stored
"""One inner latent that others are combined of."""


def seed_name(seed: Seed) -> str:
    """A seed in a few words: the number of its draw, or where it came from."""
    return f"draw {seed.index}" if isinstance(seed, Draw) else seed.origin or f"stored {seed.sha256[:8]}"


Terms = tuple[tuple[Seed, float], ...]
"""One coefficient row, flat over base seeds."""


def draw_entropy(rng: int, purpose: str) -> int:
    """A 48-bit entropy for the draws of one purpose, so that streams from the same `rng` stay independent.

    Args:
        rng: the user's seed.
        purpose: what the draws are for ("seeds", "trials", ...).
    """
    return int.from_bytes(hashlib.sha256(f"{purpose}:{int(rng)}".encode()).digest()[:6], "big")


def drawn_rng() -> int:
    """A seed where a user gives none; whoever asks for it records it, so that nothing is unrepeatable."""
    return secrets.randbits(31)


def inner_row(draw: Draw, dim: int) -> Array:
    """The float32 row (D,) of a draw."""
    key = np.random.SeedSequence(draw.entropy, spawn_key=(draw.index,))
    return np.random.Generator(np.random.Philox(key)).standard_normal(dim, dtype=np.float32)


def stored_row(row: Tensor, *, dim: int | None = None, name: str = "a row", copy: bool = True) -> Tensor:
    """An inner row (D,) as stored seeds are kept: float32, on the CPU, its entries side by side.

    Args:
        row: (D,), of any floating dtype, on any device.
        dim: D, where it is known.
        name: what the row is called in messages.
        copy: take a tensor of its own; without it a row that is kept that way already comes back as it is.

    Raises:
        ShapeError: another shape.
        SeedError: another dtype, values that are not finite in float32, or zeros only, which have no direction.
    """
    if row.ndim != 1 or dim not in (None, row.shape[0]):
        wanted = "(D,)" if dim is None else f"(D,) = ({dim},)"
        raise ShapeError(f"seeds: expected an inner row {wanted}, got {tuple(row.shape)} for {name}.")
    if not row.dtype.is_floating_point:
        raise SeedError(f"seeds: expected a floating dtype, got {row.dtype} for {name}.")
    row = row.detach().to("cpu", torch.float32, copy=copy).contiguous()
    if not torch.isfinite(row).all():
        raise SeedError(f"seeds: expected finite values, got NaN or infinity in {name}.")
    if not row.any():
        raise SeedError(f"seeds: expected a direction, got zeros only in {name}.")
    return row


def row_sha256(row: Tensor) -> str:
    """The name of a stored row (D,): SHA-256 of its float32 bytes, 64 hexadecimal digits."""
    return hashlib.sha256(row.numpy().tobytes()).hexdigest()


@lru_cache(maxsize=2**16)
def _draw(entropy: int, index: int) -> Draw:
    """The draw of a record; the trials of a study name the same few thousand."""
    return Draw(*(whole(given, "seed", least=0, most=_LARGEST) for given in (entropy, index)))


def seed_to_json(seed: Seed) -> list[Any]:
    """["draw", entropy, index] or ["stored", sha256, origin]."""
    return ["draw", seed.entropy, seed.index] if isinstance(seed, Draw) else ["stored", seed.sha256, seed.origin]


def seed_from_json(record: Sequence[Any]) -> Seed:
    """The inverse of `seed_to_json`.

    Raises:
        ArgumentError: neither a draw nor a stored seed.
    """
    match record if isinstance(record, list | tuple) else None:
        case ["draw", int(entropy), int(index)] if not isinstance(entropy, bool) and not isinstance(index, bool):
            return _draw(entropy, index)
        case ["stored", str(sha256), str(origin)]:
            return Stored(sha256, origin)
        case _:
            raise ArgumentError(
                f'seed: expected ["draw", entropy, index] or ["stored", sha256, origin], got {show(record)}.'
            )
