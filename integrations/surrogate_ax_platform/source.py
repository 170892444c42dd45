"""`client_source`: an Ax experiment as pages show it, with Ax's own analyses."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ax.analysis.analysis import Analysis
from ax.analysis.diagnostics import DiagnosticAnalysis
from ax.analysis.plotly.plotly_analysis import PlotlyAnalysisCard
from ax.analysis.results import ResultsAnalysis
from ax.api.client import Client
from ax.core.trial import Trial

from surrogate_ax.media.preview_files import Preview
from surrogate_ax.report.shown_study import Figure, ShownStudy, ShownTrial, State
from surrogate_ax_platform import records
from surrogate_ax_platform.seeds import Seeds, client_seeds
from surrogate_ax_platform.snapshot import load_client

FindPreview = Callable[[int], Preview | None]


def client_source(
    client: Client | Path | str,
    *,
    previews: FindPreview | Path | str | None = None,
    analyses: Sequence[Analysis] | None = None,
    seeds: Seeds = None,
) -> AxSource:
    """An experiment for the pages of `surrogate_ax_web`: `write_report(client_source(client), "report.html")`.

    Args:
        client: with an experiment of `optimize`, or loaded; or a snapshot, which is read again when it has changed.
        previews: the folder that `optimize` wrote pictures to, or a function from a trial's index to its file.
        analyses: Ax's analyses to draw; its results and diagnostics if left out, none with (). `[OverviewAnalysis()]`
            is Ax's own choice; its sensitivities take half a minute or more a metric.
        seeds: where stored seeds are kept, if not where the experiment keeps them.

    Raises:
        MismatchError: the client has no experiment of ours.
        ArgumentError: the snapshot cannot be read.
    """
    find = previews if callable(previews) else None if previews is None else _in_folder(Path(previews))
    chosen = [ResultsAnalysis(), DiagnosticAnalysis()] if analyses is None else list(analyses)
    return AxSource(client, find, chosen, seeds)


class AxSource:
    """A `StudySource` of the core's over an Ax client. Arguments as for `client_source`."""

    def __init__(
        self, client: Client | Path | str, find: FindPreview | None, analyses: Sequence[Analysis], seeds: Seeds
    ) -> None:
        self._snapshot = None if isinstance(client, Client) else Path(client)
        self._client = client if isinstance(client, Client) else load_client(client)
        self._find, self._analyses, self._seeds = find, analyses, seeds
        self._modified = self._time()
        self._lock = threading.Lock()  # pages ask from several threads
        records.recorded(self._client)

    def state(self) -> str:
        """When the snapshot was written; of a client, how many trials are in which state."""
        if self._snapshot is not None:
            return str(self._time())
        return "-".join(trial.status.name for trial in self._client._experiment.trials.values())

    def read(self) -> ShownStudy:
        """The experiment as it is now."""
        with self._lock:
            client = self._current()
            experiment, objective = client._experiment, records.recorded(client)
            record = records.read_record(client, objective, seeds=self._seeds)
            ended = {trial.number: trial for trial in record.trials}
            names = [metric.name for metric in objective.metrics]
            shown = []
            for trial in records.trials(experiment):
                if trial.index in ended:
                    one = ended[trial.index]
                    values = one.estimates(names) if one.stopped else one.values(names)
                    known = {name: value for name, value in zip(names, values, strict=True) if math.isfinite(value)}
                    at, reason = trial.time_completed, str(trial.run_metadata.get(records.REASON, ""))
                    file, when = str(trial.run_metadata.get(records.PREVIEW, "")), at.timestamp() if at else None
                    state: State = "stopped" if one.stopped else "failed" if reason else "done"
                    parts = (one.round, known, one.recipe, file, one.nfe, one.seconds, when, reason)
                    shown.append(ShownTrial(one.number, state, *parts))
                elif trial.status.is_running:
                    shown.append(_running(trial))
            search = experiment._properties[records.EXPERIMENT]
            seeds = client_seeds(client, self._seeds)
            numbers = [trial.number for trial in record.trials]
            return ShownStudy(experiment.name, "Ax", objective, shown, record.history, search, seeds, numbers)

    def preview(self, number: int) -> Preview | None:
        """The picture of a trial, where the folder has it."""
        if self._find is None:
            return None
        return self._find(number)

    def figures(self) -> Sequence[Figure]:
        """Ax's analyses, as far as they are plots and can be computed."""
        if not self._analyses:
            return []
        with self._lock, _quiet():
            groups = self._current().compute_analyses(analyses=list(self._analyses), display=False)
        cards = [card for group in groups for card in group.flatten() if isinstance(card, PlotlyAnalysisCard)]
        return [Figure(card.title, _plain(card.subtitle), json.loads(card.blob)) for card in cards]

    def _time(self) -> int:
        return 0 if self._snapshot is None else self._snapshot.stat().st_mtime_ns

    def _current(self) -> Client:
        if self._snapshot is not None and self._time() != self._modified:
            self._modified = self._time()
            self._client = load_client(self._snapshot)
        return self._client


def _running(trial: Trial) -> ShownTrial:
    recipe = records.read_recipe(trial) if records.RECIPE in trial.run_metadata else None
    return ShownTrial(trial.index, "running", records.round_of(trial) or 0, {}, recipe)


def _in_folder(folder: Path) -> FindPreview:
    """The files of trials in a folder, as `optimize` names them; nothing outside of it."""

    def find(number: int) -> Preview | None:
        file = next(iter(sorted(folder.glob(f"trial{number}.*"))), None)
        return Preview(file.name, file.read_bytes()) if file is not None and file.is_file() else None

    return find


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ax logs the traceback of every analysis that it cannot compute, such as a fit of too few trials."""
    loggers = [
        logging.getLogger(name) for name in ("ax", *logging.root.manager.loggerDict) if name.partition(".")[0] == "ax"
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _plain(text: str) -> str:
    """Ax's words without their markup."""
    return html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("**", "").strip()
