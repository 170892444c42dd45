"""What sweeps on Optuna and on Ax share.

A `SweepHost` keeps the trials, in an Optuna study or in an Ax client with its snapshot; `sweep_hosts` makes it. Here is
what a sweep records of its file, so that another file is refused, the output that is tried before anything is written,
and the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from surrogate_ax.errors import GenerationError, MismatchError, UnsupportedError
from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.execution.warm_start import Earlier
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.media.previews import save_preview
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.traces import origin
from surrogate_ax_cli.assembly import SweepComponents, error_context
from surrogate_ax_cli.components import recorded_text
from surrogate_ax_cli.sweep_file import AUTO, SweepFile

SWEEP_ATTR = "surrogate:sweep"
FILE_ATTR = "surrogate:file"  # where the sweep file was when the search last ran
RECORD_VERSION = 1
OTHERS = 4  # outputs that are tried where the first one fails: some scores fail for some outputs
SHOWN = 5  # best trials in a summary
COUNTED = {
    "failed": "failed",
    "running": "running",
    "again": "of killed processes, to be run again",
}
WAITING = {"waiting": "waiting for their scores"}  # said where there are some


class SweepHost(Protocol):
    """Optuna or Ax, keeping a sweep's trials."""

    def load_record(self) -> SearchRecord | None:
        """What was searched before; None for a new sweep. Writes nothing, refuses the trials of another sweep."""
        ...

    def run(self, earlier: Sequence[Earlier]) -> None:
        """Search until the budget is spent; a new study learns from earlier searches."""
        ...


def sweep_record(sweep: SweepFile) -> dict[str, Any]:
    """What all trials of a sweep share, by key of the file. The generator is recorded apart, by its fingerprint."""
    return {
        "version": RECORD_VERSION,
        "call": dict(sweep.call),
        "conditions": {name: repr(searched) for name, searched in sweep.conditions.items()},
        "score": sweep.score,
        "metrics": [[metric.name, metric.goal, metric.bound] for metric in sweep.metrics],
        "policy": ", then ".join(map(recorded_text, sweep.policy)) or AUTO,
        "seed": sweep.seed,
        **({"warm": list(sweep.warm)} if sweep.warm else {}),
    }


def check_sweep_record(sweep: SweepFile, recorded: Mapping[str, Any] | None, where: str) -> None:
    """Refuse a study that another sweep began, by naming what differs.

    Args:
        sweep: the file at hand.
        recorded: the `sweep_record` of the file that began the study; None where it has none.
        where: the study, for the message.

    Raises:
        MismatchError: with file, line and both values.
    """
    if recorded is None:
        advice = "Choose another `name:` or `storage:`."
        raise MismatchError(sweep.at("name", f"{where} was not made by `surrogate-ax sweep`. {advice}"))
    if not isinstance(recorded, Mapping):
        raise MismatchError(f"{sweep.path}: the record of {where} was altered; it is {recorded!r:.80}.")
    if recorded.get("version") != RECORD_VERSION:
        version = recorded.get("version")
        raise MismatchError(f"{sweep.path}: {where} is of version {version}, this release reads {RECORD_VERSION}.")
    given = sweep_record(sweep)
    for key in given:
        if recorded.get(key) != given[key]:
            change = f"{where} was begun with {recorded.get(key)!r}, the file has {given[key]!r}"
            raise MismatchError(sweep.at(key, f"{change}. Put it back, or choose another `name:`."))


def try_out(
    sweep: SweepFile, components: SweepComponents, n: int = 1, evaluator: Evaluator | None = None
) -> Evaluations:
    """Evaluate n draws and preview one, outside of any study, so that what cannot work fails before a study is made.

    Args:
        sweep: for conditions and previews.
        components: generator and objective.
        n: draws.
        evaluator: keeps what it learns of the generator for the next call; a new one if left out.

    Raises:
        SurrogateError: a condition that the generator does not take, a score that returns something undeclared, an
            output that no preview can be made of.
    """
    entropy = draw_entropy(sweep.seed, "pilot")
    rng = np.random.default_rng(entropy)
    bank = Bank(components.generator.prior, [Draw(entropy, i) for i in range(n)], device=components.device)
    conditions = [{name: _random_value(searched, rng) for name, searched in sweep.conditions.items()} for _ in range(n)]
    with error_context(sweep, "generator"):
        evaluations = (evaluator or components.evaluator)(bank.latents(np.eye(n)), conditions)
    made = [i for i in range(n) if evaluations.status[i] != "failed"]
    if sweep.previews and made:
        with tempfile.TemporaryDirectory() as folder:
            try:
                save_preview(evaluations.outputs[made[0]], Path(folder) / "0", rate=evaluations.rate)
            except UnsupportedError as error:
                message = f"no preview can be made: {error} Write `previews: false`."
                raise UnsupportedError(sweep.at("previews", message)) from error
    return evaluations


def check_works(sweep: SweepFile, components: SweepComponents) -> list[str]:
    """Try an output, and a few others where it fails, before anything is written; the failures, if any succeeds.

    Args:
        sweep: the file.
        components: what it names, built.

    Raises:
        GenerationError: all of them fail; the first reason is given, with file and line, and its traceback as cause.
        SurrogateError: as `try_out`.
    """
    evaluator = components.evaluator  # one, which shows the traceback of the first failure only
    first = try_out(sweep, components, 1, evaluator)
    if not first.reasons:
        return []
    others = try_out(sweep, components, OTHERS, evaluator)
    reasons = [first.reasons[0], *others.reasons.values()]
    if len(others.reasons) < OTHERS:
        return reasons
    trace = first.traces.get(0, "")
    where = f" ({place})" if (place := origin(trace)) else ""
    message = f"all of {1 + OTHERS} outputs that were tried failed; the first reason: {reasons[0]}{where}. Nothing was"
    key = "generator" if first.outputs[0] is None else "score"
    error = GenerationError(sweep.at(key, f"{message} written."))
    error.__cause__ = RuntimeError(trace) if trace else None
    raise error


def summary(sweep: SweepFile, record: SearchRecord) -> dict[str, Any]:
    """A sweep's result for JSON: counts, cost and the best trials."""
    found = describe_record(sweep.name, record)
    return {**found, "backend": sweep.backend, "trials": {"budget": sweep.budget, **found["trials"]}}


def describe_record(name: str, record: SearchRecord) -> dict[str, Any]:
    """What a study holds, for JSON: counts, cost and the best trials."""
    history, n, status = record.history, record.scored, record.status
    best = [
        {
            "trial": record.trials[row].number,
            "values": {name: float(column[row]) for name, column in history.values.items()},
            "conditions": dict(record.trials[row].recipe.condition),
            **({"expected": {name: float(c[row]) for name, c in history.expected.items()}} if history.expected else {}),
        }
        for row in history.order[: min(n, SHOWN)].tolist()
    ]
    counts = {"ended": status.ended, "scored": n, **{k: getattr(status, k) for k in COUNTED}}
    counts |= {} if not status.waiting else {"waiting": status.waiting}
    return {"study": name, "trials": counts, "nfe": record.nfe, "best": best}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """What a study holds, as text."""
    trials = result["trials"]
    parts = [f"{trials['ended']} trials, {trials['scored']} scored"]
    parts += [f"{trials[key]} {words}" for key, words in (COUNTED | WAITING).items() if trials.get(key)]
    lines = [f"study {result['study']!r}: {', '.join(parts)}, {result['nfe']:,.0f} NFE"]
    for trial in result["best"]:
        values = ", ".join(f"{name} {value:.4g}" for name, value in trial["values"].items())
        searched = "".join(f", {name} {value!r}" for name, value in trial["conditions"].items())
        expected = ", ".join(f"{name} {value:.4g}" for name, value in trial.get("expected", {}).items())
        lines.append(f"  trial {trial['trial']}: {values}{searched}" + (f" (expected: {expected})" if expected else ""))
    return lines


def _random_value(searched: Range | Choice, rng: np.random.Generator) -> Any:
    """One value of a searched condition."""
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
