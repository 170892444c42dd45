"""What an experiment, and each round of it, was begun with: recorded once, and anything that differs is refused."""

from __future__ import annotations

import math
from typing import Any

from ax.api.client import Client
from ax.core.experiment import Experiment

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import check_fingerprint
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import Round
from surrogate_ax.policies.plan import Plan, plan
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.search_space import LAST_ROUND, conditions_of


def check_prior(space: SurrogateSpace | None, generator: Generator) -> None:
    """Refuse a space that was made under another prior than the generator's."""
    if space is not None and space.bank.prior.fingerprint != generator.prior.fingerprint:
        raise MismatchError(
            f"space: made under prior {space.bank.prior.fingerprint}, the generator's is {generator.prior.fingerprint}."
        )


def begun(client: Client, generator: Generator, objective: Objective, *, where: str, planned: Plan) -> dict[str, Any]:
    """What an experiment is made with: as it was begun by its first ended trial; refuses what differs from that.

    Args:
        client: with an experiment of ours.
        generator: makes the outputs.
        objective: judges them.
        where: says what is searched.
        planned: the search, when the experiment begins.

    Raises:
        MismatchError: another generator, objective or `where` (named), trials of somebody else, or NaN told.
    """
    experiment = client._experiment
    facts: dict[str, Any] = {"metrics": objective.describe(), "space": where}
    recorded: dict[str, Any] | None = experiment._properties.get(records.EXPERIMENT)
    ended = records.ended_trials(experiment)
    for trial in ended:
        records.read_recipe(trial)  # refuses what somebody else has told
    _check_values(client)
    if recorded is None or not ended:
        made = {"version": records.VERSION, "generator": dict(generator.fingerprint), "plan": planned.to_json()}
        return made | facts
    if recorded.get("version") != records.VERSION:
        raise MismatchError(
            f"client: made by version {recorded.get('version')} of this record, this release reads {records.VERSION}."
        )
    check_fingerprint(recorded["generator"], generator, what="client")
    differing = [f"{name}: {recorded[name]} -> {fact}" for name, fact in facts.items() if recorded[name] != fact]
    if differing:
        raise MismatchError(
            f"client: its experiment was begun with other parts. {'; '.join(differing)}. Use a new Client."
        )
    return recorded


def search_plan(client: Client, generator: Generator, budget: int, *, axes: int, steps: int | None = None) -> Plan:
    """The plan for a budget, as `surrogate_ax.plan` makes it for what a client searches and its K."""
    searched = bool(conditions_of(client)) or proposes(client)
    return plan(budget, dim=generator.prior.dim, axes=axes, searched=searched, steps=steps)


def proposes(client: Client) -> bool:
    """Whether the user chose the generation strategy, so that it is to propose."""
    chosen: bool = client._experiment._properties.get(records.CHOSEN, client._maybe_generation_strategy is not None)
    return chosen


def begin_round(experiment: Experiment, round: Round, *, axes: int) -> bool:
    """Record a turn's space as that of the round in play, or refuse one that is not the experiment's.

    Args:
        experiment: of ours.
        round: with the space and the round.
        axes: K of the experiment.

    Returns:
        Whether anything was new.

    Raises:
        MismatchError: another K than the experiment's, or another space than its round was begun with.
        ArgumentError: a round beyond the bounds of the parameter.
    """
    if round.space.axes != axes:
        raise MismatchError(
            f"policy: the client was configured with K = {axes} axes, and its parameters stay the same for "
            f"life, got K = {round.space.axes}. Use a policy of the same K, or a new Client."
        )
    if not 0 <= round.number <= LAST_ROUND:
        raise ArgumentError(f"policy: expected rounds from 0 to {LAST_ROUND}, got {round.number}.")
    properties = experiment._properties
    spaces = properties.setdefault(records.SPACES, {})
    known = spaces.get(str(round.number))
    if known is None:
        spaces[str(round.number)] = records.space_to_json(round.space)
        records.measure_gram(properties.setdefault(records.GRAM, {}), round.space.bank)
    elif known["fingerprint"] != round.space.fingerprint:
        raise MismatchError(
            f"space: round {round.number} of the client was begun with {known['fingerprint']}, "
            f"got {round.space.fingerprint}. Use the same space, seeds and rng, or a new Client."
        )
    if known is not None and properties.get(records.CURRENT) == round.number:
        return False
    properties[records.CURRENT] = round.number
    return True


def _check_values(client: Client) -> None:
    """Refuse an experiment that somebody told NaN, which breaks Ax's models and analyses."""
    for row in client._experiment.lookup_data().df.itertuples():
        if not math.isfinite(row.mean):
            raise MismatchError(
                f"client: trial {row.trial_index} has {row.metric_name} = {row.mean}, which Ax accepts and later fails "
                "on. Start from a snapshot before it; `optimize` marks such trials abandoned itself."
            )
