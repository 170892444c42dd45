"""What an experiment, and each round of it, was begun with: recorded once, and anything that differs is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ax.api.client import Client
from ax.core.experiment import Experiment
from ax.core.trial_status import TrialStatus

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.policies.history import Round
from surrogate_ax_platform import records
from surrogate_ax_platform.search_space import LAST_ROUND, ROUND
from surrogate_ax_platform.strategy import sees_one_round

BEGIN = 3  # results that a model of one round needs before it proposes


def recorded_search(client: Client) -> dict[str, Any] | None:
    """What an experiment has recorded of its search; None where no trial has ended.

    Raises:
        MismatchError: trials of somebody else, or NaN told.
    """
    experiment = client._experiment
    ended = records.ended_trials(experiment)
    for trial in ended:
        records.check_recipe(trial)
    _check_values(client)
    recorded: dict[str, Any] | None = experiment._properties.get(records.EXPERIMENT)
    return recorded if ended else None


def record_search(client: Client, record: Mapping[str, Any]) -> None:
    """Write what an experiment's search was begun with."""
    client._experiment._properties[records.EXPERIMENT] = dict(record)
    client._save_experiment_to_db_if_possible(experiment=client._experiment)


def proposes(client: Client) -> bool:
    """Whether the user chose the generation strategy, so that it is to propose."""
    chosen: bool = client._experiment._properties.get(records.CHOSEN, client._maybe_generation_strategy is not None)
    return chosen


def model_is_ready(client: Client, round: Round) -> bool:
    """Whether Ax proposes the next points of a round: not plain draws, nor too early for a model of one round."""
    if round.space.fresh == 1:
        return False
    if not sees_one_round(client):
        return True
    known = [t for t in records.trials(client._experiment) if t.status == TrialStatus.COMPLETED]
    return [records.parameters_of(trial)[ROUND] for trial in known].count(round.number) >= BEGIN


def begin_round(experiment: Experiment, round: Round, *, axes: int) -> bool:
    """Record a round's space as that of the round in play, or refuse one that is not the experiment's.

    Args:
        experiment: of ours.
        round: with its space and number.
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
