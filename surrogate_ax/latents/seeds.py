"""Seeds, the keys from which latents are made: draws, which are remade, and stored tensors, known by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError


class Draw(NamedTuple):  # which hashes in C: policies look seeds up by the million
    """A seed remade from its key: N(0, I) by Philox, seeded with `entropy` and `index`; always made on the CPU."""

    entropy: int
    index: int  # type: ignore[assignment]  # tuples have a method of that name, which nobody asks for here


@dataclass(frozen=True)
class Stored:
    """A seed kept as a tensor, known by the SHA-256 of its float32 bytes; `origin` says where it came from."""

    sha256: str
    origin: str = field(default="", compare=False)


Seed = Draw | Stored


Terms = tuple[tuple[Seed, float], ...]  # one coefficient row, flat over base seeds


def draw_entropy(rng: int, purpose: str) -> int:
    """A 48-bit entropy for the draws of one purpose, so that streams from the same `rng` stay independent.

    Args:
        rng: the user's seed.
        purpose: what the draws are for ("seeds", "trials", ...).
    """
    return int.from_bytes(hashlib.sha256(f"{purpose}:{int(rng)}".encode()).digest()[:6], "big")


def inner_row(draw: Draw, dim: int) -> Array:
    """The float32 row (D,) of a draw."""
    key = np.random.SeedSequence(draw.entropy, spawn_key=(draw.index,))
    return np.random.Generator(np.random.Philox(key)).standard_normal(dim, dtype=np.float32)


def seed_to_json(seed: Seed) -> list[Any]:
    """["draw", entropy, index] or ["stored", sha256, origin]."""
    return ["draw", seed.entropy, seed.index] if isinstance(seed, Draw) else ["stored", seed.sha256, seed.origin]


def seed_from_json(record: Sequence[Any]) -> Seed:
    """The inverse of `seed_to_json`.

    Raises:
        ArgumentError: neither a draw nor a stored seed.
    """
    match list(record):
        case ["draw", int(entropy), int(index)]:
            return Draw(entropy, index)
        case ["stored", str(sha256), str(origin)]:
            return Stored(sha256, origin)
        case _:
            raise ArgumentError(
                f'seed: expected ["draw", entropy, index] or ["stored", sha256, origin], got {record!r}.'
            )
