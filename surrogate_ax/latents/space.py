"""A surrogate latent space: the box [0,1]^(K-1) over a frame of K axes in a bank of M seeds.

    u (n, K-1) --chart--> w (n, K) --frame--> c (n, M) --bank, prior--> latents

An axis may itself be a combination of seeds, so a space that was moved is still one frame over base seeds. With
`fresh` = b each point is mixed with a draw of its own: √(1-b²) c + b ε, which keeps the law; b = 1 is a plain draw.
Given latents keep their radius, which changes gradually between them; `bank` has the formula.
Source: arXiv 2509.23800, sections 3 and 4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy  # loads its submodules when they are first used
import torch
from safetensors.torch import save_file
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, MismatchError, SeedError, ShapeError
from surrogate_ax.latents.bank import Bank, row_terms
from surrogate_ax.latents.charts import Chart, KnotheRosenblatt, chart_named, check_box
from surrogate_ax.latents.priors import Latents, Prior, check_latents
from surrogate_ax.latents.seed_checks import check_seeds, repair_seeds
from surrogate_ax.latents.seeds import (
    Draw,
    Seed,
    Stored,
    Terms,
    draw_entropy,
    drawn_rng,
    seed_from_json,
    seed_name,
    seed_to_json,
)
from surrogate_ax.latents.space_files import VERSION, read_space_files, write_beside
from surrogate_ax.markup import card, mixture, one_line


@dataclass(frozen=True, eq=False)
class SurrogateSpace:
    """Bank, frame and chart; a value that a policy replaces and never changes.

    Args:
        bank: the seeds.
        frame: (K, M) coefficient rows of the axes; normalised here.
        chart: from u to w.
        fresh: b in [0, 1], the share of a new draw in every point.

    Raises:
        ShapeError: the frame is not (K, M) with K at least 2.
        ArgumentError: `fresh` outside [0, 1].
    """

    bank: Bank
    frame: Array
    chart: Chart = field(default_factory=KnotheRosenblatt)
    fresh: float = 0.0

    def __post_init__(self) -> None:
        frame = np.asarray(self.frame, dtype=np.float64)
        if frame.ndim != 2 or frame.shape[0] < 2 or frame.shape[1] != len(self.bank.seeds):
            raise ShapeError(f"frame: expected shape (K, M) = (at least 2, {len(self.bank.seeds)}), got {frame.shape}.")
        if not 0 <= self.fresh <= 1:
            raise ArgumentError(f"fresh: expected a share in [0, 1], got {self.fresh}.")
        object.__setattr__(self, "frame", self.bank.normalise(frame).toarray())

    def __repr__(self) -> str:
        fresh = f"fresh={self.fresh:.3g}" if self.fresh else ""
        return one_line("SurrogateSpace", f"K={self.axes}", f"{len(self.bank.seeds)} seeds", self.chart.name, fresh)

    def _repr_html_(self) -> str:
        facts = {
            "axes": f"K = {self.axes}, so {self.axes - 1} coordinates",
            "seeds": len(self.bank.seeds),
            "chart": self.chart.name,
            "fresh noise": f"{self.fresh:.3g}" if self.fresh else "",
            "prior": self.bank.prior.fingerprint,
        }
        names = [seed_name(seed) for seed in self.bank.seeds]
        bars = [mixture(list(zip(names, row.tolist(), strict=True))) for row in self.frame]
        return card("SurrogateSpace", facts, "".join(f"<div>axis {k} {bar}</div>" for k, bar in enumerate(bars)))

    @classmethod
    def sample(
        cls,
        prior: Prior,
        *,
        seeds: int = 8,
        rng: int | None = None,
        chart: Chart | None = None,
        device: torch.device | str = "cpu",
    ) -> SurrogateSpace:
        """The space of K prior draws.

        Args:
            prior: the law of the latents.
            seeds: K, at least 2 and at most D.
            rng: seed of the draws; a random one if left out, which the draws' keys hold.
            chart: from u to w; Knothe-Rosenblatt if left out.
            device: where latents are made.

        Raises:
            ArgumentError: K below 2 or above D.
        """
        if not 2 <= seeds <= prior.dim:
            raise ArgumentError(f"seeds: expected K from 2 to D = {prior.dim}, got {seeds}.")
        entropy = draw_entropy(drawn_rng() if rng is None else rng, "seeds")
        bank = Bank(prior, [Draw(entropy, k) for k in range(seeds)], device=device)
        return cls(bank, np.eye(seeds), chart or KnotheRosenblatt())

    @classmethod
    def from_latents(
        cls,
        prior: Prior,
        latents: Latents | Tensor,
        *,
        rng: int | None = None,
        repair: bool = False,
        origins: Sequence[str] = (),
        chart: Chart | None = None,
    ) -> SurrogateSpace:
        """The space of K given latents, such as inverted items.

        Args:
            prior: the law that they should follow.
            latents: named parts (K, *shape), or the tensor of the only part.
            rng: seed for what the latents leave open on the inner side; a random one if left out. The space keeps
                what came of it.
            repair: turn directions that are too much alike apart, until they are orthogonal; radii are kept.
            origins: K notes of where the seeds came from.
            chart: from u to w; Knothe-Rosenblatt if left out.

        Raises:
            ShapeError: wrong shapes (both are named), or not K origins.
            SeedError: latents with too large a cosine without `repair`, copies, a radius that no latent of this prior
                has, another dtype, or values that are not finite.
        """
        parts = check_latents(latents, prior)
        devices = {part.device for part in parts.values()}
        if len(devices) > 1:
            raise ArgumentError(f"latents: expected all parts on one device, got {sorted(map(str, devices))}.")
        for name, part in parts.items():
            if not part.dtype.is_floating_point:
                raise SeedError(f"latents[{name!r}]: expected a floating dtype, got {part.dtype}.")
        k = next(iter(parts.values())).shape[0]
        if origins and len(origins) != k:
            raise ShapeError(f"origins: expected K = {k} notes, got {len(origins)}.")
        xi = prior.to_inner(parts, rng=drawn_rng() if rng is None else rng)
        xi = repair_seeds(xi) if repair else xi
        check_seeds(xi)
        bank = Bank(prior, list(xi), device=devices.pop())
        if origins:
            named = [
                Stored(seed.sha256, note)
                for seed, note in zip(bank.seeds, origins, strict=True)
                if isinstance(seed, Stored)
            ]
            bank = Bank(prior, named, tensors=bank.tensors, device=bank.device)
        return cls(bank, np.eye(k), chart or KnotheRosenblatt())

    @property
    def axes(self) -> int:
        """K, the number of axes; the box has K - 1 coordinates."""
        return int(self.frame.shape[0])

    def coefficients(self, u: Array, *, draws: Sequence[Draw] = ()) -> scipy.sparse.csr_array:
        """Points of the box as normalised coefficient rows.

        Args:
            u: (n, K-1) in [0, 1].
            draws: one new draw a point when `fresh` > 0, else none.

        Returns:
            Sparse rows (n, M + len(draws)); the last columns belong to the draws.

        Raises:
            ShapeError: u is not (n, K-1), or there are not as many draws as points.
            ArgumentError: a coordinate outside the box.
        """
        u = check_box(u)
        if u.shape[1] != self.axes - 1:
            raise ShapeError(f"u: expected shape (n, K-1) = (n, {self.axes - 1}), got {u.shape}.")
        if len(draws) != (len(u) if self.fresh > 0 else 0):
            raise ShapeError(
                f"draws: expected {len(u) if self.fresh > 0 else 0} for n = {len(u)} points, got {len(draws)}."
            )
        rows = self.bank.normalise(self.chart.weights(u) @ self.frame)
        if self.fresh == 0:
            return rows
        return scipy.sparse.csr_array(
            scipy.sparse.hstack([np.sqrt(1 - self.fresh**2) * rows, self.fresh * scipy.sparse.eye_array(len(u))])
        )

    def terms(self, u: Array, *, draws: Sequence[Draw] = ()) -> list[Terms]:
        """What a recipe keeps of each point: normalised terms over base seeds. Arguments as for `coefficients`."""
        if self.fresh == 1:
            self.coefficients(u, draws=draws)  # for its checks; the draws alone remain
            return [((draw, 1.0),) for draw in draws]
        rows = self.coefficients(u, draws=draws)
        seeds: tuple[Seed, ...] = (*self.bank.seeds, *draws)
        return row_terms(rows, seeds)

    def latents(self, u: Array, *, draws: Sequence[Draw] = ()) -> Latents:
        """Named parts (n, *shape) of points (n, K-1). Arguments as for `coefficients`."""
        if self.fresh == 0:
            return self.bank.latents(self.coefficients(u, draws=draws))
        return self.bank.latents_of(self.terms(u, draws=draws))  # a draw may be given twice, or stand in the bank

    def locate(self, z: Latents | Tensor, *, rng: int = 0) -> tuple[Array, Array]:
        """The points whose latents come nearest to given ones.

        Args:
            z: named parts (n, *shape).
            rng: seed for what the latents leave open on the inner side.

        Returns:
            u (n, K-1), and the residual |ξ - ξ(u)| / |ξ| (n,), which is not small when a latent lies outside the span.

        Raises:
            ShapeError: wrong shapes; both are named.
            ArgumentError: values that are not finite.
        """
        xi = self.bank.prior.to_inner(check_latents(z, self.bank.prior, name="z"), rng=rng)
        finite = torch.isfinite(xi).all(dim=1)
        if not finite.all():
            row = int(torch.argmin(finite.int()))
            raise ArgumentError(f"z: expected finite values, got NaN or infinity in row {row}.")
        axes = self.bank.directions(self.frame).double().cpu()
        target = xi.double().cpu()
        w = np.clip(torch.linalg.lstsq(axes.T, target.T).solution.T.numpy(), 0, None)
        w[~w.any(axis=1)] = 1.0  # opposite to every axis: nothing in the box is near, and the residual says so
        u = self.chart.coordinates(w)
        found = self.bank.inner(self.coefficients(u) if self.fresh == 0 else self.chart.weights(u) @ self.frame)
        residual = (target - found.double().cpu()).norm(dim=1) / target.norm(dim=1)
        return u, residual.numpy()

    @property
    def fingerprint(self) -> str:
        """Digest of prior, seeds, frame, chart and fresh share; where stored seeds came from is no part of it."""
        rule = VERSION if any(isinstance(seed, Stored) for seed in self.bank.seeds) else 1  # over draws both are one
        described = [rule, self.bank.prior.fingerprint, self.chart.name, self.fresh]
        seeds = [seed_to_json(s if isinstance(s, Draw) else Stored(s.sha256)) for s in self.bank.seeds]
        digest = hashlib.sha256(json.dumps([described, seeds]).encode())
        digest.update(np.round(self.frame, 12).tobytes())
        return "space-" + digest.hexdigest()[:12]

    def save(self, folder: Path | str) -> None:
        """Write space.json and space.safetensors (the frame and stored seeds) into a folder.

        Args:
            folder: where to; it is made if need be.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"seed/{sha256}": row for sha256, row in self.bank.tensors.items()}
        write_beside(
            folder / "space.safetensors",
            lambda path: save_file({**tensors, "frame": torch.from_numpy(self.frame)}, path),
        )
        described = {
            "version": VERSION,
            "prior": self.bank.prior.fingerprint,
            "seeds": [seed_to_json(seed) for seed in self.bank.seeds],
            "chart": self.chart.name,
            "fresh": self.fresh,
            "fingerprint": self.fingerprint,
        }
        write_beside(folder / "space.json", lambda path: path.write_text(json.dumps(described, indent=1)))

    @classmethod
    def load(cls, folder: Path | str, prior: Prior, *, device: torch.device | str = "cpu") -> SurrogateSpace:
        """Read what `save` wrote.

        Args:
            folder: where space.json and space.safetensors lie.
            prior: the generator's prior; must be the one that the space was made under.
            device: where latents are made.

        Raises:
            ArgumentError: a file is missing, unreadable or incomplete, its version or chart is not known, or it has
                stored seeds and is of version 1.
            MismatchError: another prior, or files that do not belong together.
        """
        folder = Path(folder)
        described, tensors, frame = read_space_files(folder)
        if described["prior"] != prior.fingerprint:
            raise MismatchError(
                f"prior: the space was made under {described['prior']}, the one given is {prior.fingerprint}."
            )
        stored = {name.removeprefix("seed/"): row for name, row in tensors.items() if name.startswith("seed/")}
        bank = Bank(prior, [seed_from_json(seed) for seed in described["seeds"]], tensors=stored, device=device)
        space = cls(bank, frame, chart_named(described["chart"]), described["fresh"])
        if space.fingerprint != described["fingerprint"]:
            raise MismatchError(f"folder: space.json and space.safetensors in {folder} do not belong together.")
        return space


def coordinate_names(axes: int) -> list[str]:
    """What hosts call the K - 1 surrogate coordinates: "u0" to "u{K-2}"."""
    return [f"u{k}" for k in range(axes - 1)]


def is_coordinate(name: str) -> bool:
    """Whether a parameter's name is that of a surrogate coordinate."""
    return name[:1] == "u" and name[1:].isdigit()
