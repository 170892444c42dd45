"""What a sweep is going to do and what it will cost, from one batch that is evaluated and thrown away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax_cli.assembly import SweepComponents
from surrogate_ax_cli.sweep import Record, named_text, try_out
from surrogate_ax_cli.sweep_file import AUTO, SweepFile


def dry_run(sweep: SweepFile, parts: SweepComponents, record: Record | None) -> dict[str, Any]:
    """The plan, with NFE and time from a timed pilot batch; nothing is written.

    Args:
        sweep: the file.
        parts: what it names, built.
        record: what the study holds already.

    Returns:
        JSON-able; nfe and seconds are those of the trials that are left.

    Raises:
        SurrogateError: as `try_out`.
    """
    evaluator = parts.evaluator
    try_out(sweep, parts, 1, evaluator)  # what happens once (checks, embeddings, digests) is not timed
    n = min(sweep.batch, parts.trials)
    clock = time.perf_counter()
    pilot = try_out(sweep, parts, n, evaluator)
    seconds = time.perf_counter() - clock
    done = 0 if record is None else len(record.recipes)
    left = max(0, parts.trials - done)
    share = sweep.budget / parts.trials  # of a whole output, where the plan has most of them stopped
    checkpoints = parts.plan.checkpoints if sweep.checkpoints is None else sweep.checkpoints
    return {
        "study": sweep.name,
        "backend": sweep.backend,
        "trials": {"budget": parts.trials, "there": done, "left": left, "batch": sweep.batch},
        "found": None if record is None else str(record.found),
        "seed": sweep.seed,
        "plan": _plan(sweep, parts),
        "sampler": named_text(sweep.sampler) if sweep.sampler else AUTO,
        "conditions": {name: _values(searched) for name, searched in sweep.conditions.items()},
        "checkpoints": list(checkpoints),
        "kept": parts.plan.keep_fraction if sweep.checkpoints is None else None,
        "pilot": {"trials": n, "failed": len(pilot.reasons), "nfe": float(pilot.nfe.sum()), "seconds": seconds},
        "nfe": float(pilot.nfe.mean()) * left * share,
        "seconds": seconds / n * left * share,
    }


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The plan as text."""
    trials, pilot = plan["trials"], plan["pilot"]
    there = f"; found {plan['found']}" if plan["found"] else ""
    lines = [
        f"study {plan['study']!r}, backend {plan['backend']}, seed {plan['seed']}",
        f"  trials      {trials['budget']} in batches of {trials['batch']}{there}",
        *(f"  {'plan' if i == 0 else '':11} {step}" for i, step in enumerate(plan["plan"])),
        f"  sampler     {plan['sampler']}",
    ]
    for name, values in plan["conditions"].items():
        lines.append(f"  searched    {name}: {values}")
    if plan["checkpoints"]:
        steps = ", ".join(map(str, plan["checkpoints"]))
        effect = (
            "they lower the cost below" if plan["kept"] is None else f"the best {plan['kept']:.0%} of a round go on"
        )
        lines.append(f"  checkpoints after steps {steps}; {effect}")
    lines.append(f"  cost        about {plan['nfe']:,.0f} NFE and {_duration(plan['seconds'])}")
    lines.append(
        f"              by a pilot batch of {pilot['trials']}: {pilot['nfe']:,.0f} NFE, {pilot['seconds']:.2f} s"
    )
    if pilot["failed"]:
        lines.append(f"              {pilot['failed']} of the pilot's outputs failed")
    return [*lines, "nothing was written"]


def _plan(sweep: SweepFile, parts: SweepComponents) -> list[str]:
    if sweep.policy:
        return [named_text(step) for step in sweep.policy]
    plan, budget = parts.plan, parts.trials
    drawn = min(plan.draws, budget)
    rest = budget - drawn
    steps = [f"{drawn} plain draws"]
    if rest <= 0:
        return steps
    if plan.kind == "o3":
        return [*steps, f"{rest} trials in the box over the best {plan.axes} of them (1 round, K = {plan.axes})"]
    rounds = -(-rest // plan.size)
    return [*steps, f"{rest} proposals from everything told, in {rounds} rounds of {plan.size} (K = {plan.axes} seeds)"]


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
