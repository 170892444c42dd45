"""A study as the scripts of a page read it: columns over its trials, and one trial in full."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from surrogate_ax import __version__
from surrogate_ax.latents.seeds import Seed
from surrogate_ax.report.facts import gain_text, study_facts
from surrogate_ax.report.notes import seed_name
from surrogate_ax.report.shown_study import ShownStudy, ShownTrial
from surrogate_ax_web.previews import kind_of_file

NEAR = 4  # trials that one is most like
SHOWN = 12  # plain draws and seeds shown beside the best


def study_document(study: ShownStudy, best: Sequence[int], *, apart: bool, remade: bool) -> dict[str, Any]:
    """All that the page shows of a study without asking for more.

    Args:
        study: at this moment.
        best: places in `study.trials` of the best that differ.
        apart: whether they were told apart by how they look.
        remade: whether outputs without a file can be made.
    """
    trials = study.trials
    written = f"{datetime.datetime.now():%Y-%m-%d %H:%M}, by surrogate-ax {__version__}"
    shown = [trial.plain for trial in trials]
    draws = [i for i in study.ranking if shown[i]][:SHOWN]
    return {
        "name": study.name,
        "facts": [*study_facts(study), ("Written", written)],
        "gain": gain_text(study),
        "metrics": [{"name": m.name, "goal": m.goal, "bound": m.bound} for m in study.objective.metrics],
        "number": [trial.number for trial in trials],
        "state": [trial.state for trial in trials],
        "round": [trial.round for trial in trials],
        "plain": [int(plain) for plain in shown],
        "kind": [_kind(trial, remade) for trial in trials],
        "values": {m.name: [_number(trial.values.get(m.name)) for trial in trials] for m in study.objective.metrics},
        "conditions": _conditions(trials),
        "ranking": study.ranking,
        "best": list(best),
        "apart": apart,
        "draws": draws,
        "seeds": _shared_seeds(study, best),
    }


def trial_document(study: ShownStudy, place: int) -> dict[str, Any]:
    """One trial in full: its recipe, and the seeds that it is made of, the largest share first.

    Args:
        study: at this moment.
        place: in its trials.
    """
    trials, trial = study.trials, study.trials[place]
    ended = None if trial.ended is None else f"{datetime.datetime.fromtimestamp(trial.ended):%Y-%m-%d %H:%M:%S}"
    terms = () if trial.recipe is None else trial.recipe.terms
    total = sum(weight**2 for _, weight in terms) or 1.0
    alone = study.alone
    parents = [
        {
            "name": seed_name(seed, study),
            "weight": _number(weight),
            "share": _number(weight**2 / total),
            "trial": alone.get(seed),
        }
        for seed, weight in sorted(terms, key=lambda term: -abs(term[1]))
    ]
    return {
        "number": trial.number,
        "nfe": _number(trial.nfe),
        "seconds": _number(trial.seconds),
        "ended": ended,
        "reason": trial.reason,
        "file": trial.file,
        "condition": {} if trial.recipe is None else {name: str(v) for name, v in trial.recipe.condition.items()},
        "parents": parents,
        "near": [{"trial": trials[i].number, "cosine": _number(x)} for i, x in study.nearest(place, NEAR)],
        "recipe": None if trial.recipe is None else trial.recipe.to_json(),
    }


def _shared_seeds(study: ShownStudy, best: Sequence[int]) -> list[dict[str, Any]]:
    """The seeds that the best are mostly made of, with their mean share."""
    shares: dict[Seed, float] = {}
    alone = study.alone
    for i in best:
        recipe = study.trials[i].recipe
        total = sum(c**2 for _, c in recipe.terms) if recipe is not None else 0.0
        for seed, weight in recipe.terms if recipe is not None else ():
            shares[seed] = shares.get(seed, 0.0) + weight**2 / total / len(best)
    order = sorted(shares, key=lambda seed: -shares[seed])[:SHOWN]
    return [{"name": seed_name(s, study), "share": _number(shares[s]), "trial": alone.get(s)} for s in order]


def _conditions(trials: Sequence[ShownTrial]) -> dict[str, list[Any]]:
    """The call arguments that differ between trials, by name: numbers as they are, others as text."""
    given = [trial.recipe.condition if trial.recipe is not None else {} for trial in trials]
    names = dict.fromkeys(name for one in given for name in one)
    columns = {name: [_plain(one.get(name)) for one in given] for name in names}
    return {name: column for name, column in columns.items() if len({repr(value) for value in column}) > 1}


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return None if value is None else str(value)
    return _number(value) if isinstance(value, int | float) else str(value)


def _kind(trial: ShownTrial, remade: bool) -> str:
    if trial.file:
        return kind_of_file(trial.file)
    return "image" if remade and trial.state in ("done", "stopped") else ""


def _number(value: float | np.floating[Any] | None) -> float | None:
    """Six digits, which are enough to look at; None for what is no number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
