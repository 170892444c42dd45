"""`write_report`: an Ax experiment as one HTML file, with Ax's own analyses and what the outputs are."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ax.analysis.analysis import Analysis
from ax.analysis.diagnostics import DiagnosticAnalysis
from ax.analysis.plotly.plotly_analysis import PlotlyAnalysisCard
from ax.analysis.results import ResultsAnalysis
from ax.api.client import Client
from ax.core.analysis_card import AnalysisCard, ErrorAnalysisCard
from ax.core.base_trial import BaseTrial
from plotly.offline import get_plotlyjs

from surrogate_ax.execution.records import EndedTrial
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.report.page import Figure, Section, table, write_page
from surrogate_ax.report.sections import Entry, common_sections, facts, with_outputs
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.seeds import Seeds, client_seeds

ROWS = 40  # of a table of Ax's


def write_report(
    client: Client,
    path: Path | str,
    *,
    generator: Generator | None = None,
    previews: Path | str | None = None,
    items: int = 12,
    analyses: Sequence[Analysis] | None = None,
    title: str | None = None,
    seeds: Seeds = None,
) -> Path:
    """Write an experiment as one self-contained HTML file: at most 6 MB beside the embedded outputs.

    Args:
        client: with an experiment of `optimize`, or loaded.
        path: where to.
        generator: remakes the best outputs where no preview of them was kept.
        previews: the folder that `optimize` wrote pictures to.
        items: outputs shown, at most 30.
        analyses: Ax's analyses to compute; its results and diagnostics if left out, none with ().
            `[OverviewAnalysis()]` is Ax's own choice; its sensitivities take half a minute or more a metric.
        title: of the page; the experiment's name if left out.
        seeds: where stored seeds are kept, if not where the experiment keeps them.

    Returns:
        The file.

    Raises:
        MismatchError: the client has no experiment of ours, or was made with another generator.
        ArgumentError: the file cannot be written.
    """
    objective = records.recorded(client)
    experiment, folder = client._experiment, None if previews is None else Path(previews)
    ended = records.read_record(client, objective, seeds=seeds).trials
    entries = [_entry(trial, experiment.trials[trial.number], objective, folder) for trial in ended]
    with tempfile.TemporaryDirectory() as made:
        if generator is not None:
            entries = with_outputs(
                entries, objective, generator, Path(made), items=items, seeds=client_seeds(client, seeds)
            )
        sections = common_sections(entries, objective, items=items)
    sections.insert(-1, _analyses(client, analyses))
    known = [("Experiment", experiment.name), *facts(entries, objective)]
    return write_page(path, title=title or experiment.name, facts=known, sections=sections, plotly=get_plotlyjs())


def _entry(ended: EndedTrial, trial: BaseTrial, objective: Objective, folder: Path | None) -> Entry:
    names, preview = [metric.name for metric in objective.metrics], trial.run_metadata.get(records.PREVIEW)
    values = dict(zip(names, ended.values(names), strict=True))
    file = folder / Path(str(preview)).name if folder is not None and preview else None
    file = file if file is not None and file.is_file() else None  # a picture that was deleted is remade
    return Entry(f"trial {ended.number}", values, ended.recipe, file, ended.nfe, ended.seconds)


def _analyses(client: Client, analyses: Sequence[Analysis] | None) -> Section:
    """Ax's cards: figures, and tables and remarks as text."""
    figures, parts, failed = list[Figure](), list[str](), list[str]()
    with _quiet():
        chosen = [ResultsAnalysis(), DiagnosticAnalysis()] if analyses is None else analyses
        groups = client.compute_analyses(analyses=chosen, display=False)
    for group in groups:
        for card in group.flatten():
            if isinstance(card, ErrorAnalysisCard):
                failed.append(f"{card.title} ({_plain(card.subtitle)})")
            elif isinstance(card, PlotlyAnalysisCard):
                figures.append(Figure(card.title, _plain(card.subtitle), card.blob))
            else:
                parts.append(_text(card))
    if failed:
        parts.append(f"<p>Could not be computed: {html.escape('; '.join(failed))}.</p>")
    return Section("Ax's analyses", "".join(parts) or "<p>None were asked for.</p>", figures)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ax logs the traceback of every analysis that it cannot compute; the page names them instead."""
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


def _text(card: AnalysisCard) -> str:
    """A card that is no figure: its words, and its table if it has one."""
    found = f"<h3>{html.escape(card.title)}</h3><p>{html.escape(_plain(card.subtitle))}</p>"
    if card.df.empty:
        return found
    rows = [[_cell(value) for value in row] for row in card.df.head(ROWS).itertuples(index=False)]
    more = f"<p>The first {ROWS} of {len(card.df)} rows.</p>" if len(card.df) > ROWS else ""
    return found + table([str(name) for name in card.df.columns], rows) + more


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return json.dumps(value) if isinstance(value, (dict, list)) else _plain(str(value))


def _plain(text: str) -> str:
    """Ax's words without their markup."""
    return html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("**", "").strip()
