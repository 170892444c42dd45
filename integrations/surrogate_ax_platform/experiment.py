"""What an experiment's search was begun with: recorded once, and anything that differs is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ax.api.client import Client
from ax.core.trial_status import TrialStatus

from surrogate_ax.errors import MismatchError
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import Round
from surrogate_ax_platform import records
from surrogate_ax_platform.nodes import model_of
from surrogate_ax_platform.search import Model, missing, recorded_space, search_record

PLANNED = 100  # trials that a search by hand is planned for


def recorded_search(client: Client) -> dict[str, Any] | None:
    """What an experiment has recorded of its search; None where no trial of it was asked.

    Raises:
        MismatchError: NaN told.
    """
    experiment = client._experiment
    _check_values(client)
    recorded: dict[str, Any] | None = experiment._properties.get(records.EXPERIMENT)
    kept = [trial for trial in records.trials(experiment) if trial.status != TrialStatus.FAILED]
    asked = any(records.noted(trial, records.RECIPE) is not None for trial in kept)
    return recorded if asked else None


def record_search(
    client: Client, record: Mapping[str, Any], *, prior: Prior, rng: int, space: SurrogateSpace | None
) -> None:
    """Write what an experiment's search was begun with, and what proposing needs beside that.

    Args:
        client: with an experiment.
        record: of the session.
        prior: of the generator.
        rng: seed of draws and policy.
        space: a fixed box.
    """
    properties = client._experiment._properties
    properties[records.EXPERIMENT], properties[records.SEARCH] = dict(record), search_record(prior, rng, space)
    client._save_experiment_to_db_if_possible(experiment=client._experiment)


def recorded_rng(client: Client) -> int:
    """The seed that an experiment was configured or begun with; 0 before that."""
    search = client._experiment._properties.get(records.SEARCH, {})
    return int(search.get("rng", client._experiment._properties.get(records.EXPERIMENT, {}).get("rng", 0)))


def known_space(client: Client, prior: Prior, seeds: SeedStore | None) -> SurrogateSpace | None:
    """The fixed box that an experiment was configured or begun with."""
    return recorded_space(client._experiment._properties.get(records.SEARCH), prior, seeds)


def proposes(client: Client) -> bool:
    """Whether the user chose the generation strategy, so that it is to propose."""
    chosen: bool = client._experiment._properties.get(records.CHOSEN, client._maybe_generation_strategy is not None)
    return chosen


def random_points(client: Client, round: Round, n: int) -> int:
    """How many of the next n points of a round are drawn: plain draws, and what Ax's model needs before it begins."""
    if round.space.fresh == 1:
        return n
    strategy = client._maybe_generation_strategy
    return missing(client._experiment, round, Model(0, 0) if strategy is None else model_of(strategy))


def _check_values(client: Client) -> None:
    """Refuse an experiment that somebody told NaN, which breaks Ax's models and analyses."""
    for row in client._experiment.lookup_data().df.itertuples():
        if not math.isfinite(row.mean):
            raise MismatchError(
                f"client: trial {row.trial_index} has {row.metric_name} = {row.mean}, which Ax accepts and later fails "
                "on. Start from a snapshot before it; `optimize` marks such trials abandoned itself."
            )
