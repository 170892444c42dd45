"""A sweep whose trials an Ax client keeps: a JSON snapshot, and an Optuna study beside it for the dashboard."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ax.api.client import Client
from optuna.artifacts import FileSystemArtifactStore

from surrogate_ax.execution.progress import ProgressBar
from surrogate_ax.execution.records import SearchStatus
from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import SweepComponents
from surrogate_ax_cli.named import build
from surrogate_ax_cli.sweep import SWEEP_ATTR, Record, check_sweep_record, sweep_record
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_optuna import mirror
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
    """A client as the backend of a sweep. Its `sampler` is the model: "coefficients" or "ax".

    Args:
        sweep: the file.
        parts: what it names, built.

    Raises:
        ArgumentError: an unknown model, or a storage that is no file.
    """

    def __init__(self, sweep: SweepFile, parts: SweepComponents) -> None:
        if sweep.storage is not None and "://" in sweep.storage:
            raise sweep.error("storage", f"expected a file for Ax's snapshot, got {storages.shown(sweep)}.")
        self._sweep = sweep
        self._parts = parts
        self._strategy = _strategy(sweep)
        self._snapshot = storages.snapshot_file(sweep)
        for library in ("ax", "botorch", "gpytorch", "linear_operator"):
            warnings.filterwarnings("ignore", module=rf"{library}\..*")

    def found(self) -> Record | None:
        """The trials of the snapshot, if there is one.

        Raises:
            ArgumentError: the snapshot cannot be read.
            MismatchError: an experiment that this sweep did not begin.
        """
        if not self._snapshot.exists():
            return None
        client = self._load()
        host = AxHost(client, self._parts.generator, self._parts.objective)
        ended = records.ended_trials(client._experiment)
        results: list[Any] = [trial.run_metadata.get(records.RESULT, {}) for trial in ended]
        return Record(
            host.history(),
            [records.read_recipe(trial) for trial in ended],
            [trial.index for trial in ended],
            sum(float(result.get("nfe", 0.0)) for result in results),
            _found(client),
        )

    def run(self) -> None:
        """Load or make the client and go on to the budget.

        Raises:
            SurrogateError: as `surrogate_ax_platform.optimize`.
        """
        sweep, parts = self._sweep, self._parts
        planned = sweep.checkpoints is None
        client = self._load() if self._snapshot.exists() else self._new()
        folder = storages.previews_folder(sweep)
        if sweep.previews:
            folder.mkdir(parents=True, exist_ok=True)
        storage = storages.make_storage(sweep)
        seen = mirror(
            storage,
            name=sweep.name,
            conditions=sweep.conditions,
            previews=FileSystemArtifactStore(folder) if sweep.previews else None,
        )
        history = AxHost(client, parts.generator, parts.objective).history()
        with ProgressBar(parts.objective, history, parts.trials, _found(client)) as bar:
            optimize(
                client,
                parts.generator,
                parts.objective,
                total_trials=None if planned else sweep.budget,
                budget=sweep.budget if planned else None,
                batch_size=sweep.batch,
                rng=sweep.seed,
                policy=parts.policy,
                overlap=sweep.overlap,
                snapshot=self._snapshot,
                callbacks=[bar, seen],
                device=parts.device,
            )

    def report(self, path: Path, items: int) -> Path:
        """Write the experiment as one HTML file, with so many of the best outputs."""
        return write_report(self._load(), path, generator=self._parts.generator, items=items)

    def _new(self) -> Client:
        sweep, parts = self._sweep, self._parts
        client = Client(random_seed=sweep.seed)
        configure_experiment(
            client,
            parts.generator,
            parts.objective,
            seeds=parts.axes,
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


def _found(client: Client) -> SearchStatus:
    """What a client holds; what is still running was left by a process that died, for a client belongs to one."""
    ended = records.ended_trials(client._experiment)
    failed = sum(trial.status.is_abandoned for trial in ended)
    return SearchStatus(
        len(ended), failed, sum(trial.status.is_running for trial in client._experiment.trials.values()), 0
    )


def _strategy(sweep: SweepFile) -> Any:
    named = sweep.sampler
    if named is None:
        return None  # `configure_experiment` picks one
    if named.name not in MODELS:
        raise named.place.error(f"with backend ax, expected one of {', '.join(MODELS)}, got {named.name!r}.")
    return build(generation_strategy, named, model=named.name, seed=sweep.seed)
