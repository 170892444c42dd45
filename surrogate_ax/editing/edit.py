"""`edit`: change an existing item, with the method that fits what is given.

| given | method |
|---|---|
| a mask | latent replacement (`inpainting`) |
| a generator that stops between steps | the straight path (`edits`), several draws, the best by score and distance |
| a budget and a search as well | the same with its step noises searched by a host |
| a generator without steps | FlowOpt, stopped early |

The value of an edit is min(score, reached) - λ·distance: among edits in which the target is there, the nearest one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.edits import Edit
from surrogate_ax.editing.flowopt import FlowOpt, largest_step
from surrogate_ax.editing.inpainting import Inpaint
from surrogate_ax.editing.item_distance import numbers, rms_distance
from surrogate_ax.editing.rows import is_noising, parts
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError, check_counts
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Encodable, Generated, Generator, Masking, Outputs
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.scoring.objective import Metric, Objective, Score

POOR = 0.1  # RMS difference of a reconstruction to its source, of a range of 1, above which a warning is given
LADDER: tuple[Condition, ...] = ({"guidance_scale": 1.0}, {"guidance_scale": 1.5}, {"guidance_scale": 3.0})
VALUE = Metric("score less distance")
INVERTING, EDITING = 24, 3  # iterates of FlowOpt for a generator without steps
Search = Callable[[Generator, Objective, int, int], Sequence[Terms]]  # (edit, objective, budget, rng), the best first


@dataclass(frozen=True)
class Edited:
    """What `edit` made, the best first.

    Args:
        outputs: n items of the generator's kind.
        scores: (n,) of the given score, NaN without one.
        distances: (n,) RMS difference to the source, pictures in [0, 1].
        recipes: n recipes; with `seeds` they remake the items in another process (`remake`).
        seeds: the source, the mask and stored latents as rows by SHA-256, for a seed store.
        edit: the generator of edits, which every host can search.
        condition: the target's call arguments that were used.
        reached: whether the best one's score says that the target is there; None without a score.
        reconstruction: RMS difference of the source to what the generator makes of its latents.
        nfe: network function evaluations in all.
        notes: what was decided, one line each.
    """

    outputs: Sequence[Any]
    scores: Array
    distances: Array
    recipes: tuple[Recipe, ...]
    seeds: Mapping[str, Tensor]
    edit: Generator
    condition: Condition
    reached: bool | None
    reconstruction: float
    nfe: float
    notes: tuple[str, ...]


def edit(
    generator: Any,
    source: Any,
    condition: Condition,
    target: Condition | None = None,
    *,
    rng: int,
    score: Score | None = None,
    reached: float = 0.0,
    weight: float = 1.0,
    mask: Array | None = None,
    draws: int = 8,
    ladder: Sequence[Condition] = LADDER,
    budget: int | None = None,
    search: Search | None = None,
) -> Edited:
    """Change an existing item.

    Args:
        generator: `Encodable`; `Steppable` and `Noising` for all but FlowOpt.
        source: one item of the kind that the generator makes.
        condition: what the source shows, as call arguments, `{"prompt": "a cat"}`.
        target: what it should show; may be left out with a score, which then steers alone.
        rng: seed of the draws.
        score: `score(outputs, conditions)`, n numbers; the target is there where they are at least `reached`.
        reached: see `score`; what is beyond earns nothing.
        weight: λ, what a distance of 1 costs in the score.
        mask: truth values over an item, True where it may change; the rest is kept.
        draws: edits that are made.
        ladder: call arguments of the target that are tried one after the other until the target is there; without a
            score the first one is taken.
        budget: edits that a search may make; needs `score` and `search`.
        search: runs a host's `optimize` over the edit, `(edit, objective, budget, rng)`, and returns the best terms.

    Raises:
        UnsupportedError: a generator that cannot encode.
        ArgumentError: neither a target nor a score, a budget without score and search, or counts below 1.
        ShapeError: a source or a mask of another size.

    Warns:
        UserWarning: the generator reconstructs the source badly, before anything is edited.
    """
    check_counts(draws=draws, **({} if budget is None else {"budget": budget}))
    _check(generator, target, score, budget, search, ladder)
    item = source[None] if isinstance(source, np.ndarray | Tensor) else [source]
    x = generator.encode(item)
    original = numbers(item)
    reconstruction = float(rms_distance(numbers(generator.decode(x)), original)[0])
    notes = [f"the generator reconstructs the source to {reconstruction:.3g} RMS"]
    if reconstruction > POOR:
        warnings.warn(
            f"source: the generator reconstructs it to {reconstruction:.2g} RMS only, so edits lose at least that.",
            stacklevel=2,
        )
    made = _Maker(generator, x, original, dict(condition), dict(target or condition), score, reached, weight, rng)
    build = made.method(mask, notes)
    return made.best_of(build, draws, ladder, budget, search, reconstruction, notes)


def _check(
    generator: Any,
    target: Condition | None,
    score: Score | None,
    budget: int | None,
    search: Search | None,
    ladder: Sequence[Condition],
) -> None:
    if not isinstance(generator, Encodable):
        raise UnsupportedError(
            f"generator: expected one that encodes items (Encodable), got {type(generator).__name__}. Give it `encode` "
            "and `decode`, or a pipeline whose VAE does both."
        )
    if target is None and score is None:
        raise ArgumentError("target: expected what the item should show, or a score that steers alone.")
    if budget is not None and (score is None or search is None):
        raise ArgumentError(
            "budget: a search needs `score`, and `search`, which runs a host over the edit. Without, leave budget out: "
            "several draws are made and the best is taken."
        )
    if not ladder:
        raise ArgumentError("ladder: expected at least one mapping of call arguments; [{}] changes nothing.")


@dataclass(frozen=True)
class _Maker:
    """One item, and how its edits are judged."""

    generator: Any
    x: Latents
    original: Array
    source: dict[str, Any]
    target: dict[str, Any]
    score: Score | None
    reached: float
    weight: float
    rng: int

    def method(self, mask: Array | None, notes: list[str]) -> Callable[[Condition], Generator]:
        """From a rung of the ladder to the generator of edits."""
        g = self.generator
        steps = is_noising(g)
        hole = None
        if mask is not None:
            if not isinstance(g, Masking):
                raise UnsupportedError(
                    f"mask: {type(g).__name__} does not say where its latents lie (Masking). Build Edit or Inpaint "
                    "with a mask of latents."
                )
            hole = g.latent_mask(mask)
        if steps and hole is not None:
            notes.append("latent replacement inside the mask")
            return lambda rung: Inpaint(g, self.x, hole, target={**self.target, **rung})
        if steps:
            notes.append("straight path from step 1, a fresh noise a step")
            start = min(1, g.steps - 1)
            return lambda rung: Edit(g, self.x, source=self.source, target={**self.target, **rung}, start=start)
        notes.append(f"FlowOpt, stopped after {EDITING} iterates: the generator does not stop between steps")
        return lambda rung: FlowOpt(
            g, self.x, target={**self.target, **rung}, iterates=EDITING, eta=self._eta(), mask=hole
        )

    def best_of(
        self,
        build: Callable[[Condition], Generator],
        draws: int,
        ladder: Sequence[Condition],
        budget: int | None,
        search: Search | None,
        reconstruction: float,
        notes: list[str],
    ) -> Edited:
        spent, terms = 0.0, self._draws(draws, "edits")
        tried = ladder if self.score is not None else ladder[:1]
        if len(ladder) > 1 and self.score is None:
            notes.append(f"without a score the target's call arguments are {dict(ladder[0])}")
        for rung in tried:
            made_by = build(rung)
            seeds, rows = self._begin(made_by, terms)
            made = made_by.generate(rows.latents(rows.rows(seeds)), [{}] * len(seeds))
            spent += float(made.nfe.sum())
            values, scores, distances = self._judge(made.outputs)
            if self.score is None or scores[np.argmax(values)] >= self.reached:
                break
        if budget is not None and search is not None and self.score is not None:
            objective = Objective(VALUE, score=lambda outputs, conditions: self._judge(outputs)[0])
            counted = Counted(made_by)
            seeds = list(search(counted, objective, budget, self.rng))[:draws]
            rows = Bank(made_by.prior).extend([seed for row in seeds for seed, _ in row])
            made = counted.generate(rows.latents(rows.rows(seeds)), [{}] * len(seeds))
            spent += counted.nfe
            values, scores, distances = self._judge(made.outputs)
            notes.append(f"step noises searched with {budget} edits")
        order = np.argsort(-values, kind="stable") if self.score is not None else np.arange(len(values))
        if self.score is not None:
            there = bool(scores[order[0]] >= self.reached)
            notes.append(f"target's call arguments {dict(rung)}; the target is {'' if there else 'not '}there")
        recipes = [Recipe(seeds[i], {}, made_by.fingerprint, len(seeds)) for i in order]
        stored: dict[str, Tensor] = {**getattr(made_by, "seeds", {}), **rows.tensors}
        return Edited(
            [made.outputs[i] for i in order],
            scores[order],
            distances[order],
            tuple(recipes),
            stored,
            made_by,
            {**self.target, **rung},
            None if self.score is None else bool(scores[order[0]] >= self.reached),
            reconstruction,
            spent,
            tuple(notes),
        )

    def _draws(self, n: int, purpose: str) -> list[Terms]:
        return [((Draw(draw_entropy(self.rng, purpose), i), 1.0),) for i in range(n)]

    def _begin(self, made_by: Generator, terms: list[Terms]) -> tuple[list[Terms], Bank]:
        """Where the edits begin: draws, for FlowOpt what these become when the source is inverted from them."""
        bank = Bank(made_by.prior).extend([seed for row in terms for seed, _ in row])
        if not isinstance(made_by, FlowOpt):
            return terms, bank
        z, g = bank.latents(bank.rows(terms)), self.generator
        inverse = FlowOpt(
            g, self.x, target=self.source, iterates=INVERTING, eta=self._eta(), depth=5, backtrack=True, keep_best=True
        )
        found = inverse.advance(inverse.start(z, [{}] * len(terms)), INVERTING).best
        bank = Bank(made_by.prior, list(made_by.prior.to_inner(parts(found, g.prior.shapes), rng=0)))
        return [((seed, 1.0),) for seed in bank.seeds], bank

    def _eta(self) -> float:
        bank = Bank(self.generator.prior).extend([row[0][0] for row in self._draws(2, "step size")])
        z = bank.latents(np.eye(2))
        return largest_step(self.generator, z, [self.source] * 2, rng=self.rng)

    def _judge(self, outputs: Outputs) -> tuple[Array, Array, Array]:
        """Values, scores and distances (n,) of edits."""
        distances = rms_distance(numbers(outputs), self.original)
        if self.score is None:
            return -distances, np.full(len(distances), np.nan), distances
        scores = np.asarray(self.score(outputs, [{}] * len(distances)), dtype=np.float64)
        if scores.shape != distances.shape:
            raise ShapeError(f"score: expected n = {len(distances)} numbers, got the shape {scores.shape}.")
        return np.minimum(scores, self.reached) - self.weight * distances, scores, distances


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
