"""A sweep whose trials an Ax client keeps: a JSON snapshot, and an Optuna study beside it for the dashboard."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ax.api.client import Client

from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import SweepComponents
from surrogate_ax_cli.components import build
from surrogate_ax_cli.sweep import SWEEP_ATTR, SearchRecord, check_sweep_record, sweep_record
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_optuna import SearchStatus, mirror
from surrogate_ax_optuna.progress import ProgressBar
from surrogate_ax_platform import (
    AxHost,
    configure_experiment,
    generation_strategy,
    load_client,
    optimize,
    records,
    write_report,
)

MODELS = ("coefficients", "ax")


class AxSweep:
    """A sweep's trials in an Ax client. `sampler:` names the model that proposes: "coefficients" or "ax".

    Args:
        sweep: the file.
        components: what it names, built.

    Raises:
        ArgumentError: an unknown model, or a storage that is no file.
    """

    def __init__(self, sweep: SweepFile, components: SweepComponents) -> None:
        if sweep.storage is not None and "://" in sweep.storage:
            raise sweep.error("storage", f"expected a file for Ax's snapshot, got {storages.display_name(sweep)}.")
        self._sweep = sweep
        self._components = components
        self._strategy = _strategy(sweep)
        self._snapshot = storages.snapshot_file(sweep)
        for library in ("ax", "botorch", "gpytorch", "linear_operator"):
            warnings.filterwarnings("ignore", module=rf"{library}\..*")

    def load_record(self) -> SearchRecord | None:
        """The trials of the snapshot, if there is one.

        Raises:
            ArgumentError: the snapshot cannot be read.
            MismatchError: an experiment that this sweep did not begin.
        """
        if not self._snapshot.exists():
            return None
        client = self._load()
        host = AxHost(client, self._components.generator, self._components.objective)
        ended = records.ended_trials(client._experiment)
        results: list[Any] = [trial.run_metadata.get(records.RESULT, {}) for trial in ended]
        return SearchRecord(
            host.history(),
            [records.read_recipe(trial) for trial in ended],
            [trial.index for trial in ended],
            sum(float(result.get("nfe", 0.0)) for result in results),
            _status(client),
        )

    def run(self) -> None:
        """Load or make the client and go on to the budget.

        Raises:
            SurrogateError: as `surrogate_ax_platform.optimize`.
        """
        sweep, components = self._sweep, self._components
        planned = sweep.checkpoints is None
        client = self._load() if self._snapshot.exists() else self._new()
        mirrored = mirror(
            storages.make_storage(sweep),
            name=sweep.name,
            conditions=sweep.conditions,
            previews=storages.make_previews(sweep),
        )
        history = AxHost(client, components.generator, components.objective).history()
        with ProgressBar(components.objective, history, components.trials, _status(client)) as bar:
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
                callbacks=[bar, mirrored],
                device=components.device,
            )

    def report(self, path: Path, items: int) -> Path:
        """Write the experiment as one HTML file, with so many of the best outputs."""
        return write_report(self._load(), path, generator=self._components.generator, items=items)

    def _new(self) -> Client:
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
        )
        client._experiment._properties[SWEEP_ATTR] = sweep_record(sweep)
        return client

    def _load(self) -> Client:
        client = load_client(self._snapshot)
        recorded = client._experiment._properties.get(SWEEP_ATTR)
        check_sweep_record(self._sweep, recorded, f"experiment {client._experiment.name!r} in {self._snapshot}")
        return client


def _status(client: Client) -> SearchStatus:
    """What a client holds. A client belongs to one process, so that running trials were left by one that died."""
    ended = records.ended_trials(client._experiment)
    failed = sum(trial.status.is_abandoned for trial in ended)
    return SearchStatus(
        len(ended), failed, sum(trial.status.is_running for trial in client._experiment.trials.values()), 0
    )


def _strategy(sweep: SweepFile) -> Any:
    spec = sweep.sampler
    if spec is None:
        return None  # `configure_experiment` picks one
    if spec.name not in MODELS:
        raise spec.node.error(f"with backend ax, expected one of {', '.join(MODELS)}, got {spec.name!r}.")
    return build(generation_strategy, spec, model=spec.name, seed=sweep.seed)
