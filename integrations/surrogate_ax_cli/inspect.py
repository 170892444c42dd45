"""What a study's latents, box, generator and seeds are like: the numbers behind `surrogate-ax inspect`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from surrogate_ax.analysis.diagnostics import Determinism, Stationarity, determinism, stationarity
from surrogate_ax.analysis.seed_utility import SeedUtility, effective_seeds, seed_utility
from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import check_fingerprint
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import seed_to_json
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.latents.typicality import LEVEL, Support, bank_support
from surrogate_ax.policies.history import History
from surrogate_ax_optuna import OptunaHost, sqlite
from surrogate_ax_optuna.attributes import STUDY_ATTR
from surrogate_ax_optuna.record import study_objective
from surrogate_ax_optuna.trials import ended_trials, read_recipe

EMBEDDED = "embedded"
MOST = 512  # latents whose support is looked at: the best half of these, and others evenly through the study
REPEATED = 4  # latents that the generator makes again
PAIRS = 300


@dataclass(frozen=True)
class Findings:
    """What was found in a study.

    Args:
        name: the study's.
        trials: ended trials with a recipe.
        history: what they came to.
        rows: numbers (m,) of the trials in `support`, best first.
        support: of their latents.
        repeats: whether the generator gives the same again.
        utility: what the seeds do; None when trials share no seeds.
        space: the box over the K seeds with the largest shares; None without them.
        even: how it lies on the latents.
        condition: call arguments of the best trial.
        effective: (m,) effective seeds of the trials in `support`.
        dim: D, entries of a latent.
    """

    name: str
    trials: Sequence[FrozenTrial]
    history: History
    rows: Array
    support: Support
    repeats: Determinism
    utility: SeedUtility | None
    space: SurrogateSpace | None
    even: Stationarity | None
    condition: Condition
    effective: Array
    dim: int


def open_study(storage: str, name: str | None) -> optuna.Study:
    """A study of a storage.

    Args:
        storage: a SQLite file, or the URL of an Optuna storage.
        name: the study's; may be left out where there is one only.

    Raises:
        ArgumentError: no such file or study, or several studies and no name.
    """
    if "://" not in storage and not Path(storage).is_file():
        raise ArgumentError(f"storage: expected an SQLite file or the URL of an Optuna storage, found no {storage!r}.")
    opened: Any = storage if "://" in storage else sqlite(storage)
    names = optuna.get_all_study_names(opened)
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        given = "none was named" if name is None else f"got {name!r}"
        raise ArgumentError(f"study: expected one of {names}, {given}. Pass it as --study NAME.")
    return optuna.load_study(study_name=name, storage=opened)


def open_generator(spec: str, study: optuna.Study) -> Generator:
    """The generator that made a study.

    Args:
        spec: "embedded", the avatar model under the call that the study records; or "package.module:factory", a
            function without arguments that returns a generator. Modules of the current folder are found.
        study: a study of `optimize`.

    Raises:
        ArgumentError: nothing of that name, or not a generator.
        MismatchError: the study records no generator, or another one.
    """
    recorded = study.user_attrs.get(STUDY_ATTR)
    if recorded is None:
        raise MismatchError(f"study {study.study_name!r}: `optimize` did not make it, so it records no generator.")
    generator = _embedded(recorded["generator"]) if spec == EMBEDDED else _made_by(spec)
    if not isinstance(generator, Generator):
        raise ArgumentError(f"generator: expected {spec!r} to return a Generator, got {type(generator).__name__}.")
    check_fingerprint(recorded["generator"], generator, what="study")
    return generator


def _embedded(fingerprint: Mapping[str, str]) -> Generator:
    from surrogate_ax_diffusers import load_avatars, pipeline_generator

    if "call" not in fingerprint:
        raise MismatchError(f"generator: the study was not made with a pipeline; its generator is {dict(fingerprint)}.")
    return pipeline_generator(load_avatars(), **json.loads(fingerprint["call"]))


def _made_by(spec: str) -> Any:
    module, _, factory = spec.partition(":")
    if not (module and factory):
        raise ArgumentError(f"generator: expected 'embedded' or 'package.module:factory', got {spec!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does, so that a factory beside the study is found
    try:
        return getattr(import_module(module), factory)()
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in (module, module.split(".")[0]):
            raise
        raise ArgumentError(f"generator: found no {spec!r} ({error}). Run it where the module is.") from error


def examine(study: optuna.Study, generator: Generator, *, rng: int = 0) -> Findings:
    """Everything but the pictures.

    Args:
        study: a study of `optimize`.
        generator: the one that made it; it runs for the determinism check only.
        rng: seed of the points that the box is looked at.

    Raises:
        ArgumentError: no trial has succeeded.
    """
    host = OptunaHost(study, generator, study_objective(study))
    history, trials = host.history(), ended_trials(study)
    losses = history.objective.losses(history.values) if trials else np.zeros((0, 1))
    scored = int(np.isfinite(losses).all(axis=1).sum())
    if not scored:
        raise ArgumentError(f"study {study.study_name!r}: none of its {len(trials)} trials has succeeded.")
    bank, rows = history.bank(generator.prior), _looked_at(history.order[:scored])
    best = [read_recipe(trials[row]) for row in history.order[:scored][:REPEATED]]
    best = best * 2 if len(best) == 1 else best
    z = bank.latents(bank.rows([recipe.terms for recipe in best]))
    shown = bank.rows([history.terms[row] for row in rows])
    utility = _utility(history, generator)
    space = None if utility is None else box_over(utility, _axes(trials), generator, history)
    return Findings(
        name=study.study_name,
        trials=trials,
        history=history,
        rows=rows,
        support=bank_support(bank, shown),
        repeats=determinism(generator, z, [recipe.condition for recipe in best]),
        utility=utility,
        space=space,
        even=None if space is None else stationarity(space, rng=rng, pairs=PAIRS),
        condition=best[0].condition,
        effective=effective_seeds(shown),
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


def describe(found: Findings) -> dict[str, Any]:
    """The findings as JSON-able numbers."""
    support, rounds = found.support, found.history.round[found.rows]
    by_round = {
        str(r): {
            "latents": int((rounds == r).sum()),
            "norm": float(support.norm[rounds == r].mean()),
            "outside": int(support.outside()[rounds == r].sum()),
        }
        for r in np.unique(rounds)
    }
    best: dict[str, Any] = {
        "trial": found.trials[found.rows[0]].number,
        "norm": float(support.norm[0]),
        "joint": float(support.joint[0]),
    }
    best["p"] = {name: float(p[0]) for name, p in support.p.items()}
    described: dict[str, Any] = {
        "study": found.name,
        "trials": len(found.trials),
        "determinism": vars(found.repeats),
        "support": {"level": LEVEL, "rounds": by_round, "best": best},
        "effective_seeds": {"best": float(found.effective[0]), "median": float(np.median(found.effective))},
    }
    if found.space is not None and found.even is not None:
        described["box"] = {
            "axes": found.space.axes,
            "cosine_deviation": found.even.deviation,
            "expected_deviation": found.space.bank.prior.dim**-0.5,
            "condition": float(np.median(found.even.condition)),
        }
    if found.utility is not None:
        u = found.utility
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


def lines(found: Findings) -> list[str]:
    """The findings as text."""
    d = describe(found)
    s, best = d["support"], d["support"]["best"]
    r = d["determinism"]
    same = f"outputs made again differ by {r['repeat']:.2g} of their spread"
    text = [
        f"study {found.name!r}: {d['trials']} ended trials",
        "",
        f"Generator   {same}; one by one {r['alone']:.2g}, in another order {r['order']:.2g}",
        f"Support     best trial ({best['trial']}): |ξ|²/D {best['norm']:.3f}, draws are as odd in {best['joint']:.2g}",
    ]
    text += [
        f"            round {r}: {of['latents']} latents, |ξ|²/D {of['norm']:.3f}, {of['outside']} outside of "
        f"{1 - s['level']:.1%} of the draws"
        for r, of in s["rounds"].items()
    ]
    e = d["effective_seeds"]
    text.append(f"Seeds       effective: {e['best']:.1f} in the best trial, {e['median']:.1f} in the median one")
    if found.utility is None:
        return [*text, "            trials share no seeds, so there is no box and nothing to compare"]
    text.append(
        f"            they explain {max(found.utility.r2, 0):.0%} of the ranking of {found.utility.trials} trials, "
        "each left out in turn"
    )
    for label, which in (("carry the score", found.utility.carrying), ("to replace", found.utility.replaceable)):
        named = ", ".join(f"#{m} ({found.utility.slope[m]:+.2f} ± {found.utility.error[m]:.2f})" for m in which)
        text.append(f"            {label}: {named or 'none can be history from the others'}")
    if "box" in d:
        b = d["box"]
        text.append(
            f"Box         K = {b['axes']}: cosines of latents and of weights differ by {b['cosine_deviation']:.3f} "
            f"(1/√D is {b['expected_deviation']:.3f}); turns {b['condition']:.1f} times as fast one way as another"
        )
    return text


def _looked_at(order: Array) -> Array:
    """At most `MOST` rows: the best half of that, and others evenly."""
    if len(order) <= MOST:
        return order
    others = np.linspace(MOST // 2, len(order) - 1, MOST - MOST // 2).astype(int)
    return np.concatenate([order[: MOST // 2], order[others]])


def _utility(history: History, generator: Generator) -> SeedUtility | None:
    try:
        return seed_utility(history, generator.prior)
    except ArgumentError:  # plain draws share nothing: a finding, not a fault
        return None


def _axes(trials: Sequence[FrozenTrial]) -> int:
    """K, by the parameters of a trial."""
    return 1 + sum(name[:1] == "u" and name[1:].isdigit() for name in trials[0].params)
