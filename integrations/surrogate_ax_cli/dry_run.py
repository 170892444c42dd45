"""What a sweep is going to do and what it will cost, by one batch that is evaluated and then discarded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from surrogate_ax.execution.batch_size import largest, measure
from surrogate_ax.execution.budget import why_whole
from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax_cli.assembly import SweepComponents, error_context
from surrogate_ax_cli.sweep import try_out
from surrogate_ax_cli.sweep_file import AUTO, SweepFile

EXPLAINED = (
    "  NFE         network function evaluations: one a step for each output, two with guidance",
    "  K           seeds, draws of noise that an output mixes; K - 1 numbers say how, which a sampler searches",
)


def estimate(sweep: SweepFile, components: SweepComponents, record: SearchRecord | None) -> dict[str, Any]:
    """The plan, with network evaluations and time by a pilot batch; nothing is written.

    Args:
        sweep: the file.
        components: what it names, built.
        record: what the study holds already; None for a new one.

    Returns:
        Values for JSON; nfe and seconds are those of the trials that are left.

    Raises:
        SurrogateError: as `try_out`.
    """
    evaluator = components.evaluator
    try_out(sweep, components, 1, evaluator)  # what happens once (checks, embeddings, digests) is not timed
    batch, measured = _batch(sweep, components, record)
    n = min(batch, components.trials)
    clock = time.perf_counter()
    pilot = try_out(sweep, components, n, evaluator)
    seconds = time.perf_counter() - clock
    done = 0 if record is None else len(record.trials)
    left = max(0, components.trials - done)
    share = sweep.budget / components.trials  # of a whole output, which a trial costs where the plan stops most of them
    checkpoints = components.plan.checkpoints if sweep.checkpoints is None else sweep.checkpoints
    return {
        "study": sweep.name,
        "backend": sweep.backend,
        "trials": {"budget": components.trials, "done": done, "left": left, "batch": batch},
        "measured": measured,
        "status": None if record is None else str(record.status),
        "seed": sweep.seed,
        "plan": _plan(sweep, components),
        "sampler": str(sweep.sampler) if sweep.sampler else AUTO,
        "proposes": who_proposes(sweep, components),
        "conditions": {name: _values(searched) for name, searched in sweep.conditions.items()},
        "checkpoints": list(checkpoints),
        "whole": "" if checkpoints else _why_whole(sweep, components),
        "keep_fraction": components.plan.keep_fraction if sweep.checkpoints is None else None,
        "pilot": {"trials": n, "failed": len(pilot.reasons), "nfe": float(pilot.nfe.sum()), "seconds": seconds},
        "nfe": float(pilot.nfe.mean()) * left * share,
        "seconds": seconds / n * left * share,
    }


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The plan as text."""
    trials, pilot = plan["trials"], plan["pilot"]
    done = f"; found {plan['status']}" if plan["status"] else ""
    lines = [
        f"study {plan['study']!r}, backend {plan['backend']}, seed {plan['seed']}",
        f"  trials      {trials['budget']} in batches of {trials['batch']}{done}",
        *([f"              {plan['measured']}"] if plan["measured"] else []),
        *(f"  {'plan' if i == 0 else '':11} {step}" for i, step in enumerate(plan["plan"])),
        f"  sampler     {plan['sampler']}: {plan['proposes']}",
    ]
    for name, values in plan["conditions"].items():
        lines.append(f"  searched    {name}: {values}")
    if plan["whole"]:
        lines.append(f"  checkpoints none: {plan['whole']}")
    if plan["checkpoints"]:
        steps = ", ".join(map(str, plan["checkpoints"]))
        kept = plan["keep_fraction"]
        effect = "they lower the cost below" if kept is None else f"the best {kept:.0%} of a round go on"
        lines.append(f"  checkpoints after steps {steps}; {effect}")
    lines.append(f"  cost        about {plan['nfe']:,.0f} NFE and {_duration(plan['seconds'])}")
    lines.append(
        f"              by a pilot batch of {pilot['trials']}: {pilot['nfe']:,.0f} NFE, {pilot['seconds']:.2f} s"
    )
    if pilot["failed"]:
        lines.append(f"              {pilot['failed']} of the pilot's outputs failed")
    return [*lines, *EXPLAINED, "nothing was written"]


def _batch(sweep: SweepFile, components: SweepComponents, record: SearchRecord | None) -> tuple[int, str]:
    """Trials of a call, and how that was found where the file leaves it open."""
    if not isinstance(sweep.batch, str):
        return sweep.batch, ""
    if record is not None and record.batch_size is not None:
        return record.batch_size, "as it was measured when the study was begun"
    most = largest(None if sweep.policy else components.plan, components.trials)
    with error_context(sweep, "batch"):
        found = measure(
            components.generator, most, rng=sweep.seed, conditions=sweep.conditions, device=components.device
        )
    return found.size, str(found)


def _why_whole(sweep: SweepFile, components: SweepComponents) -> str:
    """Why no output of a sweep is stopped half-way."""
    if sweep.checkpoints is not None or sweep.policy:
        named = "the file names none; `checkpoints: auto` stops unpromising outputs half-way where that is possible"
        return named if sweep.checkpoints is not None else "the policy of the file has none"
    generator, objective = components.generator, components.objective
    return why_whole(generator, objective, sweep.conditions, overlap=sweep.overlap)


def _plan(sweep: SweepFile, components: SweepComponents) -> list[str]:
    if sweep.policy:
        return [str(step) for step in sweep.policy]
    plan, budget = components.plan, components.trials
    drawn = min(plan.draws, budget)
    rest = budget - drawn
    steps = [f"{drawn} plain draws"]
    if rest <= 0:
        return steps
    count = -(-rest // plan.size)
    rounds = f"{count} round{'s' if count > 1 else ''} of {plan.size} (K = {plan.axes} seeds)"
    if plan.kind == "boxes":
        return [*steps, f"{rest} points of boxes that learn from earlier trials, in {rounds}"]
    return [*steps, f"{rest} proposals that learn from earlier trials, in {rounds}"]


def who_proposes(sweep: SweepFile, components: SweepComponents) -> str:
    """Who says where the trials lie."""
    if components.planned:
        return "the planned search proposes, from all that it has found so far"
    named = "the model" if sweep.backend == "ax" else "the sampler"
    if sweep.policy:
        return f"the policy proposes, and {named} what it leaves open"
    return f"{named} proposes, in boxes that move"


def _values(searched: Range | Choice) -> str:
    if isinstance(searched, Choice):
        return f"one of {', '.join(map(repr, searched.values))}"
    step = searched.step or (1 if searched.integer else None)
    scale = ", logarithmic" if searched.log else ""
    return f"{searched.low} to {searched.high}" + (f" in steps of {step}" if step and not scale else "") + scale


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
