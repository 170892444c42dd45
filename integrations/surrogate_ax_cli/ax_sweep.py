"""A sweep whose trials an Ax client keeps: a JSON snapshot, and an Optuna study beside it for the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ax.api.client import Client

from surrogate_ax.execution.records import SearchRecord, TrialCopy
from surrogate_ax.execution.warm_start import Earlier
from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import SweepComponents, error_context
from surrogate_ax_cli.components import build
from surrogate_ax_cli.sweep import FILE_ATTR, SWEEP_ATTR, check_sweep_record, sweep_record
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_optuna import mirror
from surrogate_ax_optuna.storage import reachable
from surrogate_ax_platform import (
    configure_experiment,
    generation_strategy,
    load_client,
    optimize,
    read_record,
    trial_copies,
)
from surrogate_ax_platform.metric_names import check_metric_names
from surrogate_ax_platform.records import EXPERIMENT

MODELS = ("coefficients", "ax")


class AxSweep:
    """A sweep's trials in an Ax client. `sampler:` names the model that proposes: "coefficients" or "ax".

    Args:
        sweep: the file.
        components: what it names, built.

    Raises:
        ArgumentError: an unknown model, a metric that Ax cannot read, or a storage that is no file.
    """

    def __init__(self, sweep: SweepFile, components: SweepComponents) -> None:
        with error_context(sweep, "metrics"):
            check_metric_names(metric.name for metric in sweep.metrics)
        self._sweep = sweep
        self._components = components
        self._strategy = _strategy(sweep)
        self._snapshot = storages.snapshot_file(sweep)

    def load_record(self) -> SearchRecord | None:
        """The trials of the snapshot, if there is one.

        Raises:
            ArgumentError: the snapshot cannot be read.
            MismatchError: an experiment that this sweep did not begin.
        """
        if not self._snapshot.exists():
            return None
        with storages.reading(self._sweep):
            return read_record(self._load(), self._components.objective)

    def run(self, earlier: Sequence[Earlier]) -> None:
        """Load or make the client and go on to the budget.

        Args:
            earlier: searches that a new client learns from.

        Raises:
            SurrogateError: as `surrogate_ax_platform.optimize`.
        """
        sweep, components = self._sweep, self._components
        planned = sweep.checkpoints is None
        client = self._load() if self._snapshot.exists() else self._new(earlier)
        client._experiment._properties[FILE_ATTR] = str(sweep.path.resolve())
        with reachable():
            mirrored = mirror(
                storages.make_storage(sweep),
                name=sweep.name,
                conditions=sweep.conditions,
                previews=storages.make_previews(sweep),
            )
            mirrored.rebuild(self._copies(client), components.objective)
        optimize(
            client,
            components.generator,
            components.objective,
            total_trials=None if planned else sweep.budget,
            budget=sweep.budget if planned else None,
            batch_size=sweep.batch,
            rng=sweep.seed,
            policy=components.policy,
            overlap=sweep.overlap,
            snapshot=self._snapshot,
            callbacks=[mirrored],
            device=components.device,
        )

    def _copies(self, client: Client) -> list[TrialCopy]:
        """What the client holds; nothing where a kill came before its first trial had ended."""
        begun = EXPERIMENT in client._experiment._properties
        return trial_copies(client, self._components.objective) if begun else []

    def _new(self, earlier: Sequence[Earlier]) -> Client:
        sweep, components = self._sweep, self._components
        client = Client(random_seed=sweep.seed)
        configure_experiment(
            client,
            components.generator,
            components.objective,
            seeds=components.axes,
            conditions=sweep.conditions,
            model=self._strategy,
            name=sweep.name,
            rng=sweep.seed,
            warm=earlier,
        )
        client._experiment._properties[SWEEP_ATTR] = sweep_record(sweep)
        return client

    def _load(self) -> Client:
        client = load_client(self._snapshot)
        recorded = client._experiment._properties.get(SWEEP_ATTR)
        check_sweep_record(self._sweep, recorded, f"experiment {client._experiment.name!r} in {self._snapshot}")
        return client


def _strategy(sweep: SweepFile) -> Any:
    spec = sweep.sampler
    if spec is None:
        return None  # `configure_experiment` picks one
    if spec.name not in MODELS:
        raise spec.node.error(f"with backend ax, expected one of {', '.join(MODELS)}, got {spec.name!r}.")
    return build(generation_strategy, spec, model=spec.name)
