"""How the edits of one item are made and judged: what `edit` decides, once its arguments are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.editing.edits import Edit
from surrogate_ax.editing.flowopt import FlowOpt, largest_step
from surrogate_ax.editing.inpainting import Inpaint
from surrogate_ax.editing.inversion import invert
from surrogate_ax.editing.item_distance import numbers, rms_distance
from surrogate_ax.editing.region import changed_region
from surrogate_ax.editing.rows import is_noising, parts
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated, Generator, Masking, Outputs
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.scoring.objective import Score

INVERTING, EDITING = 24, 3  # iterates of FlowOpt for a generator without steps
NEAR, INVERSION = 0.6, 6  # where a score steers alone: share of noise in residuals, and evaluations a step to find them


@dataclass(frozen=True)
class Tried:
    """Edits of one generator of edits, n of them.

    Args:
        made_by: the generator.
        bank: has the seeds of the terms.
        terms: n.
        outputs: n.
        values: (n,) what they are worth.
        scores: (n,) of the given score, NaN without one.
        distances: (n,) to the source.
        nfe: in all.
    """

    made_by: Generator
    bank: Bank
    terms: Sequence[Terms]
    outputs: Sequence[Any]
    values: Array
    scores: Array
    distances: Array
    nfe: float

    def beside(self, other: Tried) -> Tried:
        """These and others of the same generator."""
        values, scores, distances = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("values", "scores", "distances")
        )
        bank = self.bank.extend(other.bank.seeds)
        terms, outputs = [*self.terms, *other.terms], [*self.outputs, *other.outputs]
        return Tried(self.made_by, bank, terms, outputs, values, scores, distances, self.nfe + other.nfe)


@dataclass(frozen=True)
class Maker:
    """One item, and how its edits are made and judged.

    Args:
        generator: `Encodable`.
        x: final latents (1, *shape) of the item.
        item: the item itself, one of a batch.
        source: what it shows.
        target: what it should show; None where the score steers alone.
        score: of the edits, or None.
        reached: what the score is where the target is there.
        weight: what a distance of 1 costs.
        rng: seed of the draws.
        local: whether what draws change little on average is left as it is.
    """

    generator: Any
    x: Latents
    item: Outputs
    source: Condition
    target: Condition | None
    score: Score | None
    reached: float
    weight: float
    rng: int
    local: bool

    def method(self, mask: Array | None, notes: list[str]) -> tuple[Callable[[Condition], Generator], float]:
        """From a rung of the ladder to the generator of edits, and NFE spent; what was decided is added to the notes.

        Raises:
            UnsupportedError: a mask for a generator that does not say where its latents lie.
            ArgumentError: a score alone for a generator without steps.
        """
        g = self.generator
        target = self.source if self.target is None else self.target
        hole = None if mask is None else self._hole(mask)
        if is_noising(g) and hole is not None:
            notes.append("latent replacement inside the mask")
            return lambda rung: Inpaint(g, self.x, hole, target={**target, **rung}), 0.0
        if is_noising(g) and self.target is None:
            notes.append(f"residuals near the item's own, a share of noise of {NEAR}: a score steers alone")
            found = invert(g, self.x, self.source, budget=INVERSION * g.steps)
            settings: dict[str, Any] = {"path": "inverted", "start": 0, "residual": found.latents, "b": NEAR}
            return lambda rung: Edit(g, self.x, source=self.source, target=self.source, **settings), found.nfe.sum()
        if is_noising(g):
            where = ", inside the region on which draws agree" if self.local and isinstance(g, Masking) else ""
            notes.append(f"straight path from step 1, a fresh noise a step{where}")
            start = min(1, g.steps - 1)
            return lambda rung: Edit(g, self.x, source=self.source, target={**target, **rung}, start=start), 0.0
        if self.target is None:
            raise ArgumentError(
                "target: a score steers alone only where the generator stops between steps (Steppable, Noising); "
                f"{type(g).__name__} does not. Give what the item should show."
            )
        notes.append(f"FlowOpt, stopped after {EDITING} iterates: the generator does not stop between steps")
        eta = self._eta()
        return lambda rung: FlowOpt(g, self.x, target={**target, **rung}, iterates=EDITING, eta=eta, mask=hole), 0.0

    def _hole(self, mask: Array) -> Latents:
        g = self.generator
        if not isinstance(g, Masking):
            raise UnsupportedError(
                f"mask: {type(g).__name__} does not say where its latents lie (Masking). Build Edit or Inpaint with a "
                "mask of latents."
            )
        return g.latent_mask(mask)

    def draws(self, made_by: Generator, n: int) -> Tried:
        """n plain draws."""
        terms = self._draws(n, "edits")
        bank = Bank(made_by.prior).extend([seed for row in terms for seed, _ in row])
        if isinstance(made_by, Edit):
            return self._edits(made_by, bank, terms)
        if not isinstance(made_by, FlowOpt):
            return self.tried(made_by, bank, terms)
        bank, spent = self._inverted(made_by, bank.latents(bank.rows(terms)))
        tried = self.tried(made_by, bank, [((seed, 1.0),) for seed in bank.seeds])
        return replace(tried, nfe=tried.nfe + spent)

    def _edits(self, edit: Edit, bank: Bank, terms: Sequence[Terms]) -> Tried:
        """Draws of an edit, inside the region on which they agree."""
        d, nfe = edit.differences(bank.latents(bank.rows(terms)), [{}] * len(terms))
        outputs = edit.outputs(d)
        local = self.local and self.target is not None and isinstance(self.generator, Masking)
        region = changed_region(outputs, self.item[0]) if local else None
        mask = None if region is None else self.generator.latent_mask(region)
        if mask is not None and min(float(part.min()) for part in mask.values()) < 1:  # coarse latents may have no edge
            edit = edit.within(mask)
            outputs = edit.outputs(d)
        return self._judged(edit, bank, terms, Generated(outputs, nfe, 0.0))

    def _inverted(self, made_by: FlowOpt, z: Latents) -> tuple[Bank, float]:
        """Where FlowOpt begins, what draws become when the source is inverted from them, and NFE spent."""
        g, n = self.generator, len(next(iter(z.values())))
        improved: dict[str, Any] = {"depth": 5, "backtrack": True, "keep_best": True}
        inverse = FlowOpt(g, self.x, target=self.source, iterates=INVERTING, eta=self._eta(), **improved)
        end = inverse.advance(inverse.start(z, [{}] * n), INVERTING)
        rows = made_by.prior.to_inner(parts(end.best, g.prior.shapes), rng=0)
        return Bank(made_by.prior, list(rows)), float(end.nfe.sum())

    def tried(self, made_by: Generator, bank: Bank, terms: Sequence[Terms]) -> Tried:
        """The edits of terms, judged."""
        return self._judged(made_by, bank, terms, made_by.generate(bank.latents(bank.rows(terms)), [{}] * len(terms)))

    def _judged(self, made_by: Generator, bank: Bank, terms: Sequence[Terms], made: Generated) -> Tried:
        values, scores, distances = self.judge(made.outputs)
        outputs = [made.outputs[i] for i in range(len(terms))]
        return Tried(made_by, bank, terms, outputs, values, scores, distances, float(made.nfe.sum()))

    def judge(self, outputs: Outputs) -> tuple[Array, Array, Array]:
        """Values, scores and distances (n,) of edits.

        Raises:
            ShapeError: a score of another length.
        """
        distances = rms_distance(numbers(outputs), numbers(self.item))
        if self.score is None:
            return -distances, np.full(len(distances), np.nan), distances
        scores = np.asarray(self.score(outputs, [{}] * len(distances)), dtype=np.float64)
        if scores.shape != distances.shape:
            raise ShapeError(f"score: expected n = {len(distances)} numbers, got the shape {scores.shape}.")
        return np.minimum(scores, self.reached) - self.weight * distances, scores, distances

    def _draws(self, n: int, purpose: str) -> list[Terms]:
        return [((Draw(draw_entropy(self.rng, purpose), i), 1.0),) for i in range(n)]

    def _eta(self) -> float:
        bank = Bank(self.generator.prior).extend([row[0][0] for row in self._draws(2, "step size")])
        z = bank.latents(np.eye(2))
        return largest_step(self.generator, z, [self.source] * 2, rng=self.rng)


class Counted:
    """A generator that adds up what it costs.

    Args:
        generator: makes the outputs.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.nfe = 0.0
        self.prior, self.fingerprint = generator.prior, generator.fingerprint

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """The generator's outputs."""
        made = self._generator.generate(z, conditions)
        self.nfe += float(made.nfe.sum())
        return made
