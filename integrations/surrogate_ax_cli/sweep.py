"""A sweep over outputs: what its backends have in common.

A backend keeps the trials: an Optuna study, or an Ax client with its snapshot. Here is what a sweep records of its
file, to refuse another one; one output tried before anything is written; the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from surrogate_ax.errors import MismatchError, UnsupportedError
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.media.previews import save_preview
from surrogate_ax.policies.history import History
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax_cli.assembly import SweepComponents, error_context
from surrogate_ax_cli.sweep_file import AUTO, ComponentSpec, SweepFile
from surrogate_ax_optuna import SearchStatus

SWEEP_ATTR = "surrogate:sweep"
FACTS_VERSION = 1
SHOWN = 5  # best trials in a summary


@dataclass(frozen=True)
class Record:
    """What a study holds: n ended trials, in the order in which they ended.

    Args:
        history: terms, values and rounds.
        recipes: n.
        numbers: the host's numbers of the trials.
        nfe: network function evaluations spent on them.
        found: how they ended, and trials that have not.
    """

    history: History
    recipes: Sequence[Recipe]
    numbers: Sequence[int]
    nfe: float
    found: SearchStatus

    @property
    def scored(self) -> int:
        """Trials with a finite value of every metric to optimise."""
        return (
            int(np.isfinite(self.history.objective.losses(self.history.values)).all(axis=1).sum())
            if self.recipes
            else 0
        )


class SweepHost(Protocol):
    """An optimiser that keeps a sweep's trials."""

    def found(self) -> Record | None:
        """What is there already; None for a new sweep. Writes nothing, refuses what another sweep made."""
        ...

    def run(self) -> None:
        """Go on to the budget."""
        ...

    def report(self, path: Path, items: int) -> Path:
        """Write what `found` sees as one HTML file, with so many of the best outputs."""
        ...


def sweep_record(sweep: SweepFile) -> dict[str, Any]:
    """What trials of one sweep must have in common, by key of the file; the generator has its own fingerprint."""
    return {
        "version": FACTS_VERSION,
        "call": dict(sweep.call),
        "conditions": {name: repr(searched) for name, searched in sweep.conditions.items()},
        "score": sweep.score,
        "metrics": [[metric.name, metric.goal, metric.bound] for metric in sweep.metrics],
        "policy": ", then ".join(map(named_text, sweep.policy)) or AUTO,
        "seed": sweep.seed,
    }


def check_sweep_record(sweep: SweepFile, recorded: Mapping[str, Any] | None, where: str) -> None:
    """Refuse a study that another sweep began, by naming what differs.

    Args:
        sweep: the file at hand.
        recorded: what the study has of the file that began it, if it has any.
        where: the study, for the message.

    Raises:
        MismatchError: with file, line and both values.
    """
    if recorded is None:
        advice = "Choose another `name:` or `storage:`."
        raise MismatchError(sweep.at("name", f"{where} was not made by `surrogate-ax sweep`. {advice}"))
    if recorded.get("version") != FACTS_VERSION:
        version = recorded.get("version")
        raise MismatchError(f"{sweep.path}: {where} is of version {version}, this release reads {FACTS_VERSION}.")
    given = sweep_record(sweep)
    for key in given:
        if recorded.get(key) != given[key]:
            change = f"{where} was begun with {recorded.get(key)!r}, the file has {given[key]!r}"
            raise MismatchError(sweep.at(key, f"{change}. Put it back, or choose another `name:`."))


def try_out(sweep: SweepFile, parts: SweepComponents, n: int = 1, evaluator: Evaluator | None = None) -> Evaluations:
    """Evaluate n draws that no study sees, with a preview of one: what cannot work is refused before it is written.

    Args:
        sweep: for conditions and previews.
        parts: generator and objective.
        n: draws.
        evaluator: to go on with what it has learnt; a new one if left out.

    Raises:
        SurrogateError: a condition that the generator does not take, a score that returns something undeclared, an
            output that no preview can be made of.
    """
    entropy = draw_entropy(sweep.seed, "pilot")
    rng = np.random.default_rng(entropy)
    bank = Bank(parts.generator.prior, [Draw(entropy, i) for i in range(n)], device=parts.device)
    conditions = [{name: _any(searched, rng) for name, searched in sweep.conditions.items()} for _ in range(n)]
    with error_context(sweep, "generator"):
        evaluations = (evaluator or parts.evaluator)(bank.latents(np.eye(n)), conditions)
    made = [i for i in range(n) if evaluations.status[i] != "failed"]
    if sweep.previews and made:
        with tempfile.TemporaryDirectory() as folder:
            try:
                save_preview(evaluations.outputs[made[0]], Path(folder) / "0", rate=evaluations.rate)
            except UnsupportedError as error:
                message = f"no preview can be made: {error} Write `previews: false`."
                raise UnsupportedError(sweep.at("previews", message)) from error
    return evaluations


def summary(sweep: SweepFile, record: Record) -> dict[str, Any]:
    """A sweep's result, JSON-able."""
    history, n = record.history, record.scored
    best = [
        {
            "trial": record.numbers[row],
            "values": {name: float(column[row]) for name, column in history.values.items()},
            "conditions": dict(record.recipes[row].condition),
        }
        for row in history.order[: min(n, SHOWN)].tolist()
    ]
    found = record.found
    counts = {
        "budget": sweep.budget,
        "ended": found.ended,
        "scored": n,
        "failed": found.failed,
        "running": found.running,
    }
    return {"study": sweep.name, "backend": sweep.backend, "trials": counts, "nfe": record.nfe, "best": best}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as text."""
    trials = result["trials"]
    lines = [
        f"study {result['study']!r}: {trials['ended']} trials, {trials['scored']} scored, {result['nfe']:,.0f} NFE"
    ]
    for one in result["best"]:
        values = ", ".join(f"{name} {value:.4g}" for name, value in one["values"].items())
        searched = "".join(f", {name} {value!r}" for name, value in one["conditions"].items())
        lines.append(f"  trial {one['trial']}: {values}{searched}")
    return lines


def named_text(named: ComponentSpec) -> str:
    """A name with its arguments, on one line."""
    listed = ", ".join(f"{name}={value!r}" for name, value in named.arguments.items())
    return f"{named.name}({listed})" if listed else named.name


def _any(searched: Range | Choice, rng: np.random.Generator) -> Any:
    """A value of a searched condition."""
    if isinstance(searched, Choice):
        return searched.values[int(rng.integers(len(searched.values)))]
    if searched.log:
        value = float(np.exp(rng.uniform(np.log(searched.low), np.log(searched.high))))
        return round(value) if searched.integer else value
    step = searched.step or (1 if searched.integer else None)
    if step is None:
        return float(rng.uniform(searched.low, searched.high))
    value = searched.low + step * int(rng.integers(round((searched.high - searched.low) / step) + 1))
    return int(value) if searched.integer else float(value)
