"""Loops by hand on Ax: what turns trials of `client.get_next_trials` into outputs and values, a generator call a batch.

trials = client.get_next_trials(8)
for index, values in evaluate(trials).items():
    client.complete_trial(index, raw_data=values)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ax.api.client import Client
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus

from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.executor import Candidate, latents_of
from surrogate_ax.execution.records import keep_seeds
from surrogate_ax.execution.session import Session
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.conditions import searched_conditions, with_conditions
from surrogate_ax_platform.experiment import (
    PLANNED,
    known_space,
    proposes,
    record_search,
    recorded_rng,
    recorded_search,
)
from surrogate_ax_platform.host import AxHost, Ticket
from surrogate_ax_platform.record_checks import check_records
from surrogate_ax_platform.search_space import check_client
from surrogate_ax_platform.seeds import ADVICE, Seeds, client_seeds, remember_seeds
from surrogate_ax_platform.snapshot import check_snapshot
from surrogate_ax_platform.strategy import renew_strategy

TrialFunction = Callable[[Mapping[int, Mapping[str, Any]]], dict[int, dict[str, float]]]


def trial_function(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Path | str | None = None,
    snapshot: Path | str | None = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
) -> TrialFunction:
    """What evaluates running trials of a client, with their recipes and results recorded as `optimize` does.

    Args:
        client: configured by `configure_experiment`, or loaded.
        generator: makes the outputs.
        objective: judges them.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: a folder; every output's picture is written there.
        snapshot: a JSON file, written before and after every batch.
        seeds: a folder for stored seeds, as for `optimize`.
        device: where latents are made: the generator's.

    Returns:
        A function of trials as `get_next_trials` gives them, `{index: parameters}`: one generator call, and
        `{index: {metric: value}}` for `client.complete_trial(index, raw_data=...)`. A trial that fails is marked
        abandoned with its reason, and is left out.

    Raises:
        ArgumentError: stored seeds without a place to keep them.
        MismatchError: the client was begun with another generator or objective (named).
        UnsupportedError: the client was begun with a policy of your own.
    """
    host, evaluator = begin_by_hand(
        client,
        generator,
        objective,
        catch=catch,
        previews=previews,
        snapshot=snapshot,
        seeds=seeds,
        device=device,
    )

    def evaluate(trials: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, float]]:
        if not trials:
            return {}
        found = [_running(client, index) for index in trials]
        candidates, evaluations = evaluator(found)
        values: dict[int, dict[str, float]] = {}
        for i, candidate in enumerate(candidates):
            if host.record(candidate.ticket, evaluations, i) == TrialStatus.ABANDONED:
                host.abandon(candidate.ticket, evaluations.reasons[i])
            else:
                row = {name: float(column[i]) for name, column in evaluations.values.items()}
                values[candidate.ticket.index] = row
        host.save()
        return values

    return evaluate


class BatchEvaluator:
    """Evaluates trials of a client in one generator call.

    Args:
        host: records recipes.
        evaluator: generator, objective and fault policy.
        bank: makes the latents.
    """

    def __init__(self, host: AxHost, evaluator: Evaluator, bank: Bank) -> None:
        self._host, self._evaluator, self._bank = host, evaluator, bank

    def __call__(self, trials: Sequence[Trial]) -> tuple[list[Candidate[Ticket]], Evaluations]:
        """The candidates of n running trials, and what came of them.

        Raises:
            ArgumentError: a trial lies in no box that the search has opened.
        """
        candidates: list[Candidate[Ticket]] = []
        try:
            candidates.extend(self._host.candidate(trial, len(trials)) for trial in trials)
            self._host.save()
            z = latents_of(candidates, self._bank)
            return candidates, self._evaluator(z, [candidate.condition for candidate in candidates])
        except BaseException:
            self._host.forget(candidates)
            raise


def begin_by_hand(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    rng: int | None = None,
    space: SurrogateSpace | None = None,
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Path | str | None = None,
    snapshot: Path | str | None = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
) -> tuple[AxHost, BatchEvaluator]:
    """Check a client against generator and objective, and record its search if nothing is recorded yet.

    Args:
        client: configured.
        generator: makes the outputs.
        objective: judges them.
        rng: seed of the search; the recorded one if left out.
        space: a fixed box; the recorded one if left out.
        catch: exceptions that fail single trials.
        previews: a folder for pictures.
        snapshot: a JSON file.
        seeds: a folder for stored seeds.
        device: where latents are made.
    """
    axes, searched = check_client(client, objective), searched_conditions(client)
    check_records(client._experiment)
    store = client_seeds(client, seeds, snapshot=snapshot)
    properties = client._experiment._properties
    recorded = properties.get(records.EXPERIMENT) if recorded_search(client) or (rng, space) == (None, None) else None
    if recorded is not None and recorded.get("space") == "by a policy":
        raise UnsupportedError(
            "client: it was begun with a policy of your own, which cannot be recorded. Go on with "
            "`optimize(..., policy=...)`, or use a new Client."
        )
    rng = recorded_rng(client) if rng is None else rng
    space = known_space(client, generator.prior, store) if space is None else space
    session = Session(
        generator,
        objective,
        rng=rng,
        total_trials=PLANNED,
        space=space,
        catch=catch,
        device=device,
        axes=axes,
        host_proposes=proposes(client),
        conditions=searched,
    )
    record = session.begin(with_conditions(recorded, searched), study="client: its experiment")
    if snapshot is not None:
        check_snapshot(client, snapshot)
    if space is not None:
        keep_seeds(store, space.bank, advice=ADVICE)
    renew_strategy(client)
    host = AxHost(client, generator, objective, rng=rng, previews=previews, snapshot=snapshot, seeds=store)
    remember_seeds(client, store)
    record_search(client, record, prior=generator.prior, rng=rng, space=space)
    bank = Bank(generator.prior, tensors=store, device=device)
    return host, BatchEvaluator(host, session.evaluator, bank)


def _running(client: Client, index: int) -> Trial:
    """A running trial.

    Raises:
        ArgumentError: there is none of that index, or it has ended.
    """
    if index not in client._experiment.trials:
        raise ArgumentError(f"trials: the client has no trial {index}.")
    trial = records.trial_of(client._experiment, index)
    if trial.status != TrialStatus.RUNNING:
        raise ArgumentError(f"trials: expected running ones, got trial {index}, which is {trial.status.name}.")
    return trial
