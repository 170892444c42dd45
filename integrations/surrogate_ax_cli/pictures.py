"""The demo's two pictures: a contact sheet and Optuna's optimisation history, each of both studies."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import render
from surrogate_ax.media.contact_sheet import Row, contact_sheet
from surrogate_ax_cli.demo import PALETTE, Settings, summarise
from surrogate_ax_cli.palette import METRIC
from surrogate_ax_optuna import Pick, portfolio
from surrogate_ax_optuna.attributes import ROUND_ATTR, attributes
from surrogate_ax_optuna.trials import ended_trials, read_recipe

SHOWN = 7  # portraits in a row
COLOURS = "#8a8f98", "#1f6fd6"  # plain draws, search
SHEET, HISTORY = "contact-sheet.png", "history.png"


def draw_contact_sheet(
    search: optuna.Study, plain: optuna.Study, generator: Generator, settings: Settings, path: Path
) -> None:
    """Write the best of both studies and the search's seeds as one PNG.

    Args:
        search: the search's study, finished.
        plain: the plain draws' study, finished.
        generator: remakes what is shown.
        settings: for the heading.
        path: where to.
    """
    n, drawn, seeds = settings.evaluations, count_draws(search), chosen_seeds(search)[:SHOWN]
    images, _ = render([read_recipe(trial) for trial in seeds], generator)
    cost = f"{summarise(plain).nfe:,} network evaluations"
    same = "the same" if summarise(search).nfe == summarise(plain).nfe else f"{summarise(search).nfe:,}"
    rows = [
        _row(f"Plain draws: best of {n}", cost, portfolio(plain, generator, k=SHOWN)),
        Row(
            "Seeds of the search",
            f"the best {len(seeds)} of its first {drawn} evaluations, which are plain draws; later rounds combine them",
            list(images),
            [f"{trial.values[0]:.3f}" for trial in seeds],
        ),
        _row(
            f"Search: best of {n}",
            f"{drawn} plain draws, then {n - drawn} proposals that learn from earlier ones; {same} network evaluations",
            portfolio(search, generator, k=SHOWN),
        ),
    ]
    facts = {"Prompt": settings.prompt or "(none)", "Numbers": f"{METRIC}, lower is better"}
    contact_sheet("Portraits in given colours", facts, rows, palette=PALETTE).save(path, optimize=True)


def draw_history(search: optuna.Study, plain: optuna.Study, path: Path) -> None:
    """Write Optuna's optimisation history of both studies as a PNG.

    Args:
        search: the search's study, finished.
        plain: the plain draws' study, finished.
        path: where to.
    """
    import matplotlib as mpl

    mpl.use("Agg")  # a file is written; no screen is needed
    from matplotlib import pyplot as plt
    from optuna.visualization.matplotlib import plot_optimization_history

    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = plot_optimization_history([plain, search], target_name=METRIC)
        axes.set_title("Up to the dashed line the search draws at random, from there on it proposes", fontsize=12)
        axes.axvline(count_draws(search) - 0.5, color="0.3", linestyle="--", linewidth=1)
        for colour, dots, best in zip(COLOURS, axes.collections[::2], axes.lines, strict=False):
            dots.set(color=colour, alpha=0.6)
            best.set(color=colour, alpha=1, linewidth=2)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
        figure = plt.gcf()
        figure.set_size_inches(11, 6)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def chosen_seeds(search: optuna.Study) -> list[FrozenTrial]:
    """The trials whose draws take part in later rounds, best first."""
    complete = [trial for trial in ended_trials(search) if trial.state == TrialState.COMPLETE]
    terms = {trial.number: read_recipe(trial).terms for trial in complete}
    axes = {seed for trial in complete if attributes(trial)[ROUND_ATTR] for seed, _ in terms[trial.number]}
    drawn = [trial for trial in complete if not attributes(trial)[ROUND_ATTR] and terms[trial.number][0][0] in axes]
    return sorted(drawn, key=lambda trial: trial.values[0])


def count_draws(search: optuna.Study) -> int:
    """How many plain draws the search began with."""
    return sum(not attributes(trial)[ROUND_ATTR] for trial in ended_trials(search))


def _row(title: str, note: str, picks: Sequence[Pick]) -> Row:
    return Row(title, note, [pick.output for pick in picks], [f"{pick.trial.values[0]:.3f}" for pick in picks])


def what_to_open(out: Path, files: list[str], study: str, name: str) -> str:
    """Where the pictures are, and how to see every trial of the study.

    Args:
        out: the folder.
        files: of pictures in it.
        study: the studies' file in it.
        name: of the study that searched.
    """
    beside = Path(sys.executable).with_name("surrogate-ax")  # a virtual environment that is not activated
    command = "surrogate-ax" if shutil.which("surrogate-ax") else _typed(beside)
    view = f"{command} gallery {shlex.quote(str(out / study))} --study {shlex.quote(name)}"
    pictures = [f"  {out / name}" for name in files]
    return "\n".join(["", "Look at", *pictures, "", "Every trial with its picture, in a browser", f"  {view}"])


def _typed(path: Path) -> str:
    """A path as one would type it in the current folder."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)
