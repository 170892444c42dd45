"""The numbers behind `surrogate-ax inspect`: what a study's latents, box, generator and seeds are like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogate_ax.analysis.diagnostics import Determinism, Stationarity, determinism, stationarity
from surrogate_ax.analysis.seed_utility import SeedUtility, effective_seeds, seed_utility
from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.execution.records import EndedTrial
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import seed_to_json
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.latents.typicality import LEVEL, Support, bank_support
from surrogate_ax.policies.history import History
from surrogate_ax_cli.targets import Searched

MAX_LATENTS = 512  # whose support is examined: half of them are the best, the others are spread over the ranking
REPEATED = 4  # latents of which the generator makes the outputs again
PAIRS = 300  # of points, for the stationarity of the box


@dataclass(frozen=True)
class Findings:
    """What was found in a study.

    Args:
        name: the study's.
        trials: ended trials with a recipe.
        history: their terms, values and rounds.
        rows: (m,) rows of `trials` whose latents were examined, best first.
        support: of these latents, against the prior.
        determinism: whether the generator makes the same outputs again.
        utility: what each seed adds to the score; None where the trials share no seeds.
        space: the box over the K seeds with the largest shares; None where there are none.
        stationarity: whether distances in the box mean the same everywhere; None without a box.
        condition: call arguments of the best trial.
        effective: (m,) effective seeds of the examined latents.
        dim: D, entries of a latent.
    """

    name: str
    trials: Sequence[EndedTrial]
    history: History
    rows: Array
    support: Support
    determinism: Determinism
    utility: SeedUtility | None
    space: SurrogateSpace | None
    stationarity: Stationarity | None
    condition: Condition
    effective: Array
    dim: int


def examine(searched: Searched, generator: Generator, *, rng: int = 0) -> Findings:
    """Examine a study.

    Args:
        searched: a study or experiment of `optimize`.
        generator: made its outputs; it runs for the determinism check only.
        rng: seed of the points of the box for the stationarity check.

    Raises:
        ArgumentError: no trial has succeeded.
    """
    record = searched.record()
    history, trials, scored = record.history, record.trials, record.scored
    if not scored:
        raise ArgumentError(f"study {searched.name!r}: none of its {len(trials)} trials has succeeded.")
    bank, rows = history.bank(generator.prior), _examined_rows(history.order[:scored])
    best = [trials[row].recipe for row in history.order[:scored][:REPEATED]]
    best = best * 2 if len(best) == 1 else best
    z = bank.latents_of([recipe.terms for recipe in best])
    examined = bank.rows([history.terms[row] for row in rows])
    utility = _utility(history, generator)
    space = None if utility is None else box_over(utility, searched.axes(), generator, history)
    return Findings(
        name=searched.name,
        trials=trials,
        history=history,
        rows=rows,
        support=bank_support(bank, examined),
        determinism=determinism(generator, z, [recipe.condition for recipe in best]),
        utility=utility,
        space=space,
        stationarity=None if space is None else stationarity(space, rng=rng, pairs=PAIRS),
        condition=best[0].condition,
        effective=effective_seeds(examined),
        dim=generator.prior.dim,
    )


def box_over(utility: SeedUtility, axes: int, generator: Generator, history: History) -> SurrogateSpace | None:
    """The box over the seeds with the largest shares; None where there are fewer than two.

    Args:
        utility: of a study's seeds.
        axes: how many seeds, at most.
        generator: for its prior.
        history: for stored seeds.
    """
    chosen = np.argsort(-utility.mean)[:axes]
    if len(chosen) < 2:
        return None
    bank = Bank(generator.prior, [utility.seeds[m] for m in chosen], tensors=history.tensors)
    return SurrogateSpace(bank, np.eye(len(chosen)))


def describe(findings: Findings) -> dict[str, Any]:
    """The findings as numbers for JSON."""
    support, rounds = findings.support, findings.history.round[findings.rows]
    by_round = {
        str(r): {
            "latents": int((rounds == r).sum()),
            "norm": float(support.norm[rounds == r].mean()),
            "outside": int(support.outside()[rounds == r].sum()),
        }
        for r in np.unique(rounds)
    }
    best: dict[str, Any] = {
        "trial": findings.trials[findings.rows[0]].number,
        "norm": float(support.norm[0]),
        "joint": float(support.joint[0]),
    }
    best["p"] = {name: float(p[0]) for name, p in support.p.items()}
    described: dict[str, Any] = {
        "study": findings.name,
        "trials": len(findings.trials),
        "determinism": vars(findings.determinism),
        "support": {"level": LEVEL, "rounds": by_round, "best": best},
        "effective_seeds": {"best": float(findings.effective[0]), "median": float(np.median(findings.effective))},
    }
    if findings.space is not None and findings.stationarity is not None:
        described["box"] = {
            "axes": findings.space.axes,
            "cosine_deviation": findings.stationarity.deviation,
            "expected_deviation": findings.space.bank.prior.dim**-0.5,
            "condition": float(np.median(findings.stationarity.condition)),
        }
    if findings.utility is not None:
        u = findings.utility
        columns = zip(u.seeds, u.slope, u.error, u.best, u.mean, strict=True)
        names = ("slope", "error", "share_of_best", "mean_share")
        described["seeds"] = {
            "explained": u.r2,
            "trials": u.trials,
            "carrying": u.carrying,
            "replaceable": u.replaceable,
            "seeds": [
                {"seed": seed_to_json(seed), **dict(zip(names, map(float, row), strict=True))} for seed, *row in columns
            ],
        }
    return described


def lines(findings: Findings) -> list[str]:
    """The findings as text."""
    described, utility = describe(findings), findings.utility
    same, support, effective = (described[key] for key in ("determinism", "support", "effective_seeds"))
    best, level = support["best"], 1 - support["level"]
    otherwise = f"made one by one by {same['alone']:.2g}, in another order by {same['order']:.2g}"
    unusual = f"{100 * best['joint']:.2g}% of draws from the prior are as unusual"
    text = [
        f"study {findings.name!r}: {described['trials']} ended trials",
        "",
        f"Generator   outputs made again differ by {same['repeat']:.2g} of their standard deviation; {otherwise}",
        f"Support     best trial ({best['trial']}): |ξ|²/D {best['norm']:.3f}; {unusual}",
    ]
    for number, one in support["rounds"].items():
        text.append(
            f"            round {number}: {one['latents']} latents, |ξ|²/D {one['norm']:.3f}; "
            f"{one['outside']} of them more unusual than {level:.1%} of draws"
        )
    text.append(
        f"Seeds       effective: {effective['best']:.1f} in the best trial, {effective['median']:.1f} in the median one"
    )
    if utility is None:
        return [*text, "            trials share no seeds, so there is no box, and no seed to compare with another"]
    explained = f"{max(utility.r2, 0):.0%} of the ranking of {utility.trials} trials"
    text.append(f"            they explain {explained}, each trial predicted from the others")
    for label, seeds in (("carry the score", utility.carrying), ("to replace", utility.replaceable)):
        listed = ", ".join(f"#{m} ({utility.slope[m]:+.2f} ± {utility.error[m]:.2f})" for m in seeds)
        text.append(f"            {label}: {listed or 'no seed stands out'}")
    if "box" in described:
        box = described["box"]
        text.append(
            f"Box         K = {box['axes']}: cosines of latents and of weights differ by {box['cosine_deviation']:.3f} "
            f"(1/√D is {box['expected_deviation']:.3f}); the latent changes {box['condition']:.1f} times as fast "
            "in one direction of the box as in another"
        )
    return text


def _examined_rows(order: Array) -> Array:
    """At most `MAX_LATENTS` rows: half of them the best, the others spread over the rest of the ranking."""
    if len(order) <= MAX_LATENTS:
        return order
    others = np.linspace(MAX_LATENTS // 2, len(order) - 1, MAX_LATENTS - MAX_LATENTS // 2).astype(int)
    return np.concatenate([order[: MAX_LATENTS // 2], order[others]])


def _utility(history: History, generator: Generator) -> SeedUtility | None:
    try:
        return seed_utility(history, generator.prior)
    except ArgumentError:  # trials that share no seeds: a finding, not a fault
        return None
