"""How far a search goes, and whether a budget of whole outputs may stop some of them half-way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from surrogate_ax.errors import ArgumentError, check_counts
from surrogate_ax.execution.early_stopping import changing_steps
from surrogate_ax.generation.protocols import Generator, Steppable
from surrogate_ax.policies.plan import FEWEST
from surrogate_ax.scoring.objective import Objective


def check_extent(total_trials: int | None, budget: int | None, **own: object) -> None:
    """Refuse a run without an extent, with two, or a planned one with parts of one's own.

    Args:
        total_trials: trials wanted.
        budget: whole outputs' worth wanted.
        **own: arguments in place of which the budget is planned, by name.

    Raises:
        ArgumentError: neither or both, a count below 1, a budget beside one of the others, or `keep_fraction` alone.
    """
    if (total_trials is None) == (budget is None):
        raise ArgumentError(
            f"total_trials, budget: expected one of them, got total_trials = {total_trials} and budget = {budget}. A "
            "budget counts whole outputs; unpromising ones may be stopped half-way, so that there are more trials."
        )
    check_counts(**({"total_trials": total_trials} if total_trials is not None else {"budget": budget or 0}))
    fraction = own.get("keep_fraction")
    if fraction is not None and not own.get("checkpoints"):
        raise ArgumentError(f"keep_fraction: expected checkpoints beside it, got keep_fraction = {fraction} alone.")
    given = sorted(name for name, value in own.items() if value is not None and value != ())
    if budget is not None and given:
        raise ArgumentError(
            f"budget: it plans the search, so it does not go with {', '.join(given)}. Give total_trials in its place."
        )


def check_overlap(checkpoints: Sequence[int]) -> None:
    """Refuse checkpoints beside scores that come later."""
    if checkpoints:
        raise ArgumentError(
            f"overlap, checkpoints: expected one of them, got overlap and checkpoints = {tuple(checkpoints)}. What is "
            "scored at a checkpoint decides which trajectories go on, so generation has to wait for it."
        )


def stoppable_steps(generator: Generator, objective: Objective, conditions: Iterable[str] = ()) -> int | None:
    """T of a generator whose trajectories a budget may have stopped, None where it may not (`why_whole`)."""
    if why_whole(generator, objective, conditions) or not isinstance(generator, Steppable):
        return None
    return generator.steps


def why_whole(
    generator: Generator, objective: Objective, conditions: Iterable[str] = (), *, overlap: bool = False
) -> str:
    """Why a budget is spent on whole outputs; empty where it may stop some of them.

    Args:
        generator: makes the outputs.
        objective: judges them. Several metrics have whole outputs: what they are after is a front of finished ones.
        conditions: names of the searched call arguments.
        overlap: whether a batch is scored while the next one is generated.
    """
    if not isinstance(generator, Steppable):
        return "the generator cannot stop between steps"
    if generator.steps < FEWEST:
        return f"a trajectory of {generator.steps} steps is too short to be stopped"
    if len(objective.optimised) > 1:
        return "several metrics are optimised, whose best are a front of finished outputs"
    if overlap:
        return "scores come later, by overlap"
    changing = changing_steps(generator, conditions)
    return f"{changing[0]} is searched and changes the steps" if changing else ""
