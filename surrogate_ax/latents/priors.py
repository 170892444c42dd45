"""Laws of latents, each as two maps to and from the inner law N(0, I).

Notation: z a latent, named parts (n, *shape); ξ (xi) its inner latent (n, D), D the size of all parts together.
Combinations of latents are formed on the inner side only, where unit-norm weights keep the law; a prior then carries
the result back. Source: surrogate latent spaces (arXiv 2509.23800), section 3; LOL (arXiv 2408.08558).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.latents.laws import Law, describe

Latents = Mapping[str, Tensor]
"""Named parts, each `(n, *shape)` with the same n; a single part is called "latents"."""
SINGLE = "latents"


@runtime_checkable
class Prior(Protocol):
    """A law of latents, given by its maps to and from N(0, I)."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one item's parts, by name."""
        ...

    @property
    def dim(self) -> int:
        """D, the inner dimension."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short text that differs when the law differs."""
        ...

    def from_inner(self, xi: Tensor) -> Latents:
        """Inner latents (n, D) -> named parts (n, *shape), on the device and in the dtype of `xi`.

        Args:
            xi: float (n, D), standard normal entries.
        """
        ...

    def to_inner(self, z: Latents, *, rng: int) -> Tensor:
        """Named parts (n, *shape) -> inner latents (n, D); `rng` fills what the parts do not determine.

        Args:
            z: named parts (n, *shape).
            rng: seed of what the parts do not determine.
        """
        ...


@dataclass(frozen=True)
class Gaussian:
    """Independent normal entries: z = mean + std ξ, part by part.

    Args:
        shapes: shape of one item's parts, by name; a bare tuple means the single part "latents".
        mean: mean of every entry of a part, by name; parts left out have 0.
        std: standard deviation of every entry of a part, by name, positive; parts left out have 1.

    Raises:
        ArgumentError: no part, an empty shape, a part that does not exist, a mean that is not finite, or a deviation
            that is not positive.

    Reference: arXiv 2509.23800, section 3 (the transport of a Gaussian with mean μ).
    """

    shapes: Mapping[str, tuple[int, ...]]
    mean: Mapping[str, float] = field(default_factory=dict)
    std: Mapping[str, float] = field(default_factory=dict)

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]] | tuple[int, ...],
        *,
        mean: Mapping[str, float] | float = 0.0,
        std: Mapping[str, float] | float = 1.0,
    ) -> None:
        parts = dict(shapes) if isinstance(shapes, Mapping) else {SINGLE: tuple(shapes)}
        means = dict(mean) if isinstance(mean, Mapping) else dict.fromkeys(parts, float(mean))
        stds = dict(std) if isinstance(std, Mapping) else dict.fromkeys(parts, float(std))
        if not parts or any(not shape or min(shape) < 1 for shape in parts.values()):
            raise ArgumentError(f"shapes: expected at least one part with positive sizes, got {parts}.")
        unknown = sorted((means.keys() | stds.keys()) - parts.keys())
        if unknown:
            raise ArgumentError(f"mean/std name parts {unknown} that shapes does not have: {sorted(parts)}.")
        endless = {name: m for name, m in means.items() if not math.isfinite(m)}
        if endless:
            raise ArgumentError(f"mean: expected finite numbers, got {endless}.")
        bad = {name: s for name, s in stds.items() if not (math.isfinite(s) and s > 0)}
        if bad:
            raise ArgumentError(f"std: expected positive finite numbers, got {bad}.")
        object.__setattr__(self, "shapes", {name: tuple(shape) for name, shape in parts.items()})
        object.__setattr__(self, "mean", {name: means.get(name, 0.0) for name in parts})
        object.__setattr__(self, "std", {name: stds.get(name, 1.0) for name in parts})

    @property
    def dim(self) -> int:
        """D, the number of entries of all parts together."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def fingerprint(self) -> str:
        """`gaussian-` and a digest of shapes, means and deviations."""
        text = json.dumps([self.shapes, self.mean, self.std], sort_keys=True)
        return "gaussian-" + hashlib.sha256(text.encode()).hexdigest()[:12]

    def from_inner(self, xi: Tensor) -> Latents:
        """Inner latents (n, D) -> named parts; standard parts are views, not copies."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = {}
        for (name, shape), flat in zip(self.shapes.items(), torch.split(xi, sizes, dim=1), strict=True):
            mean, std = self.mean[name], self.std[name]
            z = flat if (mean, std) == (0.0, 1.0) else flat * std + mean
            parts[name] = z.reshape(xi.shape[0], *shape)
        return parts

    def to_inner(self, z: Latents, *, rng: int) -> Tensor:
        """Named parts -> inner latents (n, D). `rng` is not needed: the map is one to one."""
        z = check_latents(z, self)
        flats = [((z[name] - self.mean[name]) / self.std[name]).flatten(1) for name in self.shapes]
        return flats[0] if len(flats) == 1 else torch.cat(flats, dim=1)


class Product:
    """Independent named parts, each of its own law: every part is combined with the same weights.

    Backbone and local latents of a protein, translations and rotations, video and audio, the initial noise and that of
    every step of a stochastic sampler.

    Args:
        parts: a law by the part's name, in the order in which the inner latent holds them.

    Raises:
        ArgumentError: no part, or something that is not a law.

    Reference: arXiv 2509.23800, section 3.
    """

    def __init__(self, parts: Mapping[str, Law]) -> None:
        given: Mapping[str, object] = parts
        wrong = {name: type(law).__name__ for name, law in given.items() if not isinstance(law, Law)}
        if not parts or wrong:
            raise ArgumentError(
                f"parts: expected laws by name (Normal, Elementwise, Rotations, ZeroCentre), got {wrong or 'none'}."
            )
        self.parts = dict(parts)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one item's parts, by name."""
        return {name: law.shape for name, law in self.parts.items()}

    @property
    def dim(self) -> int:
        """D, the number of inner entries of all parts together."""
        return sum(law.dim for law in self.parts.values())

    @property
    def fingerprint(self) -> str:
        """`product-` and a digest of names, shapes and laws."""
        return "product-" + hashlib.sha256(json.dumps(describe(self.parts)).encode()).hexdigest()[:12]

    def from_inner(self, xi: Tensor) -> Latents:
        """Inner latents (n, D) -> named parts."""
        flats = torch.split(xi, [law.dim for law in self.parts.values()], dim=1)
        return {name: law.from_inner(flat) for (name, law), flat in zip(self.parts.items(), flats, strict=True)}

    def to_inner(self, z: Latents, *, rng: int) -> Tensor:
        """Named parts -> inner latents (n, D); `rng` fills what the parts do not determine."""
        z = check_latents(z, self)
        return torch.cat([law.to_inner(z[name], rng=rng) for name, law in self.parts.items()], dim=1)


@dataclass(frozen=True)
class RecordedPrior:
    """What a study knows of its prior: enough to propose, in a process without the model, and to make no latent.

    Args:
        shapes: of the parts of an inner latent, by name.
        dim: D.
        fingerprint: of the prior itself.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dim: int
    fingerprint: str

    def from_inner(self, xi: Tensor) -> Latents:
        """Refused: the maps are not recorded.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            f"prior: {self.fingerprint} is known by its record only, which makes no latents. "
            "Give the generator's prior."
        )

    def to_inner(self, z: Latents, *, rng: int) -> Tensor:
        """Refused, as `from_inner`."""
        return next(iter(self.from_inner(next(iter(z.values()))).values()))

    def to_json(self) -> dict[str, object]:
        """The record."""
        return {
            "shapes": {k: list(v) for k, v in self.shapes.items()},
            "dim": self.dim,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RecordedPrior:
        """The inverse of `to_json`."""
        shapes = {str(name): tuple(map(int, shape)) for name, shape in record["shapes"].items()}
        return cls(shapes, int(record["dim"]), str(record["fingerprint"]))


def check_latents(z: Latents | Tensor, prior: Prior, *, name: str = "latents") -> dict[str, Tensor]:
    """Named parts of `z` in the order of the prior, checked.

    Args:
        z: named parts (n, *shape); a bare tensor stands for the only part of a prior that has one.
        prior: the law whose shapes they must have.
        name: what the caller calls the argument, for the message.

    Returns:
        The parts, untouched.

    Raises:
        ShapeError: a part is missing, unknown, no tensor, of another shape or of another n; both shapes are named.
    """
    parts = {next(iter(prior.shapes)): z} if isinstance(z, Tensor) and len(prior.shapes) == 1 else z
    if not isinstance(parts, Mapping) or parts.keys() != prior.shapes.keys():
        given = sorted(parts) if isinstance(parts, Mapping) else type(parts).__name__
        raise ShapeError(f"{name}: expected the named parts {sorted(prior.shapes)} as tensors, got {given}.")
    for part, x in parts.items():
        if not isinstance(x, Tensor):
            raise ShapeError(
                f"{name}[{part!r}]: expected a tensor, got {type(x).__name__}; torch.from_numpy makes one."
            )
    n = next(iter(parts.values())).shape[0] if next(iter(parts.values())).ndim else 0
    for part, shape in prior.shapes.items():
        got = tuple(parts[part].shape)
        if got != (n, *shape):
            symbols = ", ".join(f"d{i + 1}" for i in range(len(shape)))
            raise ShapeError(
                f"{name}[{part!r}]: expected shape (n, {symbols}) = ({n if n else 'n'}, {', '.join(map(str, shape))}), "
                f"got {got}. Give one row per item, in the shape that the generator's prior names."
            )
    return {part: parts[part] for part in prior.shapes}
