"""Ax's own drive: `client.run_trials` with a generator behind it, in full batches.

Ax starts trials one by one, then polls them. Trials wait until the first poll, which generates and scores all that
wait in one call. What is proposed is the search that the experiment records, as for `optimize`.
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

from surrogate_ax.errors import SurrogateError
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.by_hand import BatchEvaluator, begin_by_hand
from surrogate_ax_platform.host import AxHost
from surrogate_ax_platform.seeds import Seeds

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
        evaluator: generator, objective and fault policy.
    """

    def __init__(self, host: AxHost | None = None, evaluator: BatchEvaluator | None = None) -> None:
        self._parts = None if host is None or evaluator is None else (host, evaluator)
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

    def _work(self) -> tuple[AxHost, BatchEvaluator]:
        if self._parts is None:
            raise OrchestratorInternalError(
                "client: it was loaded without its generator. Call `configure_runner(client, generator, objective)`."
            )
        return self._parts

    def _evaluate(self) -> None:
        """One batch of all running trials, those that a dead process has left among them."""
        host, evaluator = self._work()
        candidates, evaluations = evaluator(host.left())
        for i, candidate in enumerate(candidates):
            self._status[candidate.ticket.index] = host.record(candidate.ticket, evaluations, i)
        host.save()


def configure_runner(
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
) -> None:
    """Give a client a runner and metrics, so that `client.run_trials(max_trials, parallelism=8)` makes the search.

    Args:
        client: configured by `configure_experiment`, or loaded.
        generator: makes the outputs.
        objective: judges them.
        rng: seed of draws and proposals; that of `configure_experiment` if left out.
        space: a box to search; that of `configure_experiment` if left out.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: a folder; every output's picture is written there.
        snapshot: a JSON file, kept up to date after every batch.
        seeds: a folder for stored seeds, as for `optimize`.
        device: where latents are made: the generator's.

    Raises:
        ArgumentError: stored seeds without a place to keep them.
        MismatchError: the client was begun with another generator, space, objective, rng or K (named).
        UnsupportedError: the client was begun with a policy of your own.
        StorageError: a stored seed could not be written.
    """
    host, evaluator = begin_by_hand(
        client,
        generator,
        objective,
        rng=rng,
        space=space,
        catch=catch,
        previews=previews,
        snapshot=snapshot,
        seeds=seeds,
        device=device,
    )
    client.configure_metrics([RecordedMetric(metric.name) for metric in objective.metrics])
    client.configure_runner(BatchRunner(host, evaluator))


CORE_RUNNER_REGISTRY[BatchRunner], CORE_METRIC_REGISTRY[RecordedMetric] = TYPES
CORE_ENCODER_REGISTRY[BatchRunner], CORE_ENCODER_REGISTRY[RecordedMetric] = runner_to_dict, metric_to_dict
for _class in (BatchRunner, RecordedMetric):
    CORE_DECODER_REGISTRY[_class.__name__] = _class
