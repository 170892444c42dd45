"""Ax's own drive: `client.run_trials` with a generator behind it, in full batches.

Ax starts trials one by one, then polls them. Trials wait until the first poll, which generates and scores all that
wait in one call. The box stays where it is while Ax drives; `optimize` moves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ax.api.client import Client
from ax.api.protocols.metric import IMetric
from ax.api.protocols.runner import IRunner
from ax.api.types import TParameterization
from ax.core.base_trial import BaseTrial
from ax.core.trial_status import TrialStatus
from ax.orchestration.orchestrator import OrchestratorInternalError
from ax.storage.json_store.encoders import metric_to_dict, runner_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY
from ax.storage.metric_registry import CORE_METRIC_REGISTRY
from ax.storage.runner_registry import CORE_RUNNER_REGISTRY

from surrogate_ax.errors import ArgumentError, SurrogateError
from surrogate_ax.execution.executor import latents_of
from surrogate_ax.execution.session import Session
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.basic import fixed, o3
from surrogate_ax.policies.history import History, Policy, Round
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.conditions import searched_conditions, with_conditions
from surrogate_ax_platform.experiment import BEGIN, proposes, record_search, recorded_search
from surrogate_ax_platform.host import AxHost
from surrogate_ax_platform.seeds import Seeds, client_seeds, remember_seeds
from surrogate_ax_platform.strategy import sees_one_round

ENOUGH = 10**6  # evaluations left, for a policy: Ax counts them itself
TYPES = 7301, 7302  # numbers of the runner and the metric in Ax's SQL storage


class RecordedMetric(IMetric):
    """A metric whose value stands in the trial's record; saved and loaded by its name."""

    def fetch(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> tuple[int, float]:
        """The value, after the whole trajectory."""
        return 0, float(trial_metadata[records.RESULT]["values"][self.name])


class BatchRunner(IRunner):
    """Evaluates all trials that wait in one generator call, when the first of them is polled.

    Args:
        host: records recipes and results; left out by Ax when it loads a client, which then needs `configure_runner`.
        round: the box that the trials lie in.
        evaluator: generator, objective and fault policy.
    """

    def __init__(
        self, host: AxHost | None = None, round: Round | None = None, evaluator: Evaluator | None = None
    ) -> None:
        self._parts = None if host is None or round is None or evaluator is None else (host, round, evaluator)
        self._status: dict[int, TrialStatus] = {}

    @classmethod
    def serialize_init_args(cls, obj: Any) -> dict[str, Any]:
        """Nothing: a model does not go into a snapshot."""
        return {}

    def run_trial(self, trial_index: int, parameterization: TParameterization) -> dict[str, Any]:
        """Let a trial wait for its batch.

        Raises:
            OrchestratorInternalError: the client was loaded, and has no generator yet.
        """
        self._work()
        return {}

    def poll_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> TrialStatus:
        """The status of a trial, once everything that waits has been evaluated.

        Raises:
            OrchestratorInternalError: something that is no single item's fault: the whole run ends.
        """
        if trial_index not in self._status:
            try:
                self._evaluate()
            except SurrogateError as error:  # Ax would take any other for a fault of this trial
                raise OrchestratorInternalError(f"{type(error).__name__}: {error}") from error
        return self._status.get(trial_index, TrialStatus.RUNNING)

    def poll_exception(self, trial: BaseTrial) -> str:
        """Why a trial failed."""
        return str(trial.run_metadata.get(records.REASON, ""))

    def stop_trial(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing to do: a batch ends within the poll that began it."""
        return {}

    def _work(self) -> tuple[AxHost, Round, Evaluator]:
        if self._parts is None:
            raise OrchestratorInternalError(
                "client: it was loaded without its generator. Call `configure_runner(client, generator, objective)`."
            )
        return self._parts

    def _evaluate(self) -> None:
        """One batch of all running trials, those that a dead process has left among them."""
        host, round, evaluator = self._work()
        waiting = host.left(round)
        candidates = [host.candidate(trial, round, len(waiting)) for trial in waiting]
        try:
            z = latents_of(candidates, round.space.bank)
            evaluations = evaluator(z, [candidate.condition for candidate in candidates])
        except BaseException:
            host.forget(candidates)
            raise
        for i, candidate in enumerate(candidates):
            self._status[candidate.ticket.index] = host.record(candidate.ticket, evaluations, i)
        host.save()


def configure_runner(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    rng: int,
    space: SurrogateSpace | None = None,
    policy: Policy | None = None,
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Path | str | None = None,
    snapshot: Path | str | None = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
) -> None:
    """Give a client a runner and metrics, so that `client.run_trials(max_trials, parallelism=4)` searches a box.

    Ax runs points of one box; what policies want run exactly (seeds, plain draws, proposals) `optimize` does. So let
    `optimize` draw first: without space and policy, the box is the one over the best of those draws.

    Args:
        client: configured by `configure_experiment`, or loaded.
        generator: makes the outputs.
        objective: judges them.
        rng: seed of draws and policy.
        space: the box.
        policy: gives the box, in its next round.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: a folder; every output's picture is written there.
        snapshot: a JSON file, kept up to date after every batch.
        seeds: a folder for stored seeds, as for `optimize`.
        device: where latents are made: the generator's.

    Raises:
        ArgumentError: space and policy together, a round that has no box for Ax to search, or a model that knows
            nothing of that box yet, or stored seeds without a place to keep them.
        MismatchError: the client was begun with another generator, space, objective or K (named).
        StorageError: a stored seed could not be written.
    """
    store = client_seeds(client, seeds, snapshot=snapshot)
    host = AxHost(client, generator, objective, rng=rng, previews=previews, snapshot=snapshot, seeds=store)
    searched = searched_conditions(client)
    session = Session(
        generator,
        objective,
        rng=rng,
        total_trials=ENOUGH,
        space=space,
        policy=policy,
        catch=catch,
        device=device,
        axes=host.axes,
        conditions=searched,
        host_proposes=proposes(client),
    )
    recorded = with_conditions(recorded_search(client), searched)
    record = session.begin(recorded, study="client: its experiment", inside=space is None)
    history = host.history()
    round = _policy(policy, space, history, generator, host.axes, device)(history, ENOUGH, rng)
    if round is None or round.space.fresh == 1 or round.size <= len(round.proposals):
        raise ArgumentError(
            "policy: its next round leaves nothing for Ax to propose. Let `optimize` run it, or give a space."
        )
    if sees_one_round(client) and len(history.terms) and history.ended(round.number) < BEGIN:
        raise ArgumentError(
            f"client: its model sees one round only, and round {round.number} has {history.ended(round.number)} of the "
            f"{BEGIN} trials that it needs. Let `optimize` run them, or configure it with model='coefficients'."
        )
    host.begin(round)
    remember_seeds(client, store)
    record_search(client, record)
    client.configure_metrics([RecordedMetric(metric.name) for metric in objective.metrics])
    client.configure_runner(BatchRunner(host, round, session.evaluator))


def _policy(
    policy: Policy | None,
    space: SurrogateSpace | None,
    history: History,
    generator: Generator,
    axes: int,
    device: torch.device | str,
) -> Policy:
    """What gives the box: a policy, a space, or the best of the first round."""
    if policy is not None:
        return policy
    if space is not None:
        return fixed(space, seeds_first=False)
    if history.ended(0) < axes:
        raise ArgumentError(
            f"space, policy: expected one of them, or at least K = {axes} trials of round 0 to choose seeds from, "
            f"got {history.ended(0)}. Let `optimize` draw first: policy=draws(generator.prior, n, axes=K)."
        )
    return o3(generator.prior, history.ended(0), seeds=axes, device=device)


CORE_RUNNER_REGISTRY[BatchRunner], CORE_METRIC_REGISTRY[RecordedMetric] = TYPES
CORE_ENCODER_REGISTRY[BatchRunner], CORE_ENCODER_REGISTRY[RecordedMetric] = runner_to_dict, metric_to_dict
for _class in (BatchRunner, RecordedMetric):
    CORE_DECODER_REGISTRY[_class.__name__] = _class
