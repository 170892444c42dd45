"""`edit`: change an existing item, with the method that fits what is given.

| given | method |
|---|---|
| a mask | latent replacement (`inpainting`) |
| a generator that stops between steps | the straight path (`edits`), several draws, the best by score and distance |
| a budget and a search as well | the same with its step noises searched by a host |
| a score alone, without a target | residuals near the item's own (`edits`, b), the best by score and distance |
| a generator without steps | FlowOpt, stopped early |

The value of an edit is min(score, reached) - λ·distance: among edits in which the target is there, the nearest one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.item_distance import numbers, rms_distance
from surrogate_ax.editing.maker import Counted, Maker, Tried
from surrogate_ax.errors import ArgumentError, UnsupportedError, check_counts
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Encodable, Generator
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.scoring.objective import Metric, Objective, Score

POOR = 0.1  # RMS difference of a reconstruction to its source, of a range of 1, above which a warning is given
LADDER: tuple[Condition, ...] = ({"guidance_scale": 1.0}, {"guidance_scale": 1.5}, {"guidance_scale": 3.0})
VALUE = Metric("score less distance")
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
    local: bool = True,
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
        target: what it should show; may be left out with a score, which then steers alone. It moves only what
            `condition` leaves open: say there what is to stay, or nothing, `{"prompt": ""}`.
        rng: seed of the draws.
        score: `score(outputs, conditions)`, n numbers; the target is there where they are at least `reached`.
        reached: see `score`; what is beyond earns nothing.
        weight: λ, what a distance of 1 costs in the score.
        mask: truth values over an item, True where it may change; the rest is kept.
        local: of a picture or clip, keep what the draws change by less than 0.15 on average (`changed_region`); without
            a mask only.
        draws: edits that are made.
        ladder: call arguments of the target that are tried one after the other until the target is there; without a
            score the first one is taken.
        budget: edits that a search may make; needs `score` and `search`.
        search: runs a host's `optimize` over the edit, `(edit, objective, budget, rng)`, and returns the best terms.

    Raises:
        UnsupportedError: a generator that cannot encode.
        ArgumentError: neither a target nor a score, a score alone without steps, a budget without score and search,
            or counts below 1.
        ShapeError: a source or a mask of another size.

    Warns:
        UserWarning: the generator reconstructs the source badly, before anything is edited.
    """
    check_counts(draws=draws, **({} if budget is None else {"budget": budget}))
    _check(generator, target, score, budget, search, ladder)
    item = source[None] if isinstance(source, np.ndarray | Tensor) else [source]
    x = generator.encode(item)
    reconstruction = float(rms_distance(numbers(generator.decode(x)), numbers(item))[0])
    notes = [f"the generator reconstructs the source to {reconstruction:.3g} RMS"]
    if reconstruction > POOR:
        warnings.warn(
            f"source: the generator reconstructs it to {reconstruction:.2g} RMS only, so edits lose at least that.",
            stacklevel=2,
        )
    maker = Maker(generator, x, item, dict(condition), target, score, reached, weight, rng, local)
    build, spent = maker.method(mask, notes)
    tried, rung = _climb(maker, build, draws, ladder, notes)
    if budget is not None and search is not None:
        tried = _searched(maker, tried, draws, budget, search, notes)
    return _best(maker, replace(tried, nfe=tried.nfe + spent), draws, rung, reconstruction, notes)


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


def _climb(
    maker: Maker, build: Callable[[Condition], Generator], draws: int, ladder: Sequence[Condition], notes: list[str]
) -> tuple[Tried, Condition]:
    """Draws of the first rung with which the target is there, or of the last one, with what all have cost."""
    rungs: Sequence[Condition] = ladder
    if maker.target is None:
        rungs = ({},)
    elif maker.score is None:
        rungs = ladder[:1]
        if len(ladder) > 1:
            notes.append(f"without a score the target's call arguments are {dict(ladder[0])}")
    spent = 0.0
    for rung in rungs:
        tried = maker.draws(build(rung), draws)
        spent += tried.nfe
        if maker.score is None or tried.scores[np.argmax(tried.values)] >= maker.reached:
            break
    return replace(tried, nfe=spent), rung


def _searched(maker: Maker, drawn: Tried, draws: int, budget: int, search: Search, notes: list[str]) -> Tried:
    """The draws, and beside them the best that a search found."""
    objective = Objective(VALUE, score=lambda outputs, conditions: maker.judge(outputs)[0])
    counted = Counted(drawn.made_by)
    terms = list(search(counted, objective, budget, maker.rng))[:draws]
    bank = Bank(drawn.made_by.prior).extend([seed for row in terms for seed, _ in row])
    found = maker.tried(counted, bank, terms)
    notes.append(
        f"the best of {budget} edits of a search is worth {found.values.max():.3g}, that of {len(drawn.terms)} draws "
        f"{drawn.values.max():.3g}"
    )
    return drawn.beside(replace(found, nfe=counted.nfe))


def _best(maker: Maker, tried: Tried, draws: int, rung: Condition, reconstruction: float, notes: list[str]) -> Edited:
    """The best of what was tried, with what remakes them."""
    order = np.argsort(-tried.values, kind="stable")[:draws] if maker.score is not None else np.arange(draws)
    there = None if maker.score is None else bool(tried.scores[order[0]] >= maker.reached)
    if there is not None:
        notes.append(f"target's call arguments {dict(rung)}; the target is {'' if there else 'not '}there")
    recipes = tuple(Recipe(tried.terms[i], {}, tried.made_by.fingerprint, draws) for i in order)
    return Edited(
        [tried.outputs[i] for i in order],
        tried.scores[order],
        tried.distances[order],
        recipes,
        {**getattr(tried.made_by, "seeds", {}), **tried.bank.tensors},
        tried.made_by,
        {**(maker.source if maker.target is None else maker.target), **rung},
        there,
        reconstruction,
        tried.nfe,
        tuple(notes),
    )
