"""`surrogate-ax export`: outputs of a study as a data set, each with its metrics, call arguments and recipe.

Outputs are the files that were kept while the study searched, or are made again from their recipes at full quality. The
folder appears whole: it is written under another name beside its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from surrogate_ax import __version__
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.generation.saved_picture import SavedPicture, carrying
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax.latents.seeds import Stored
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.report.shown_study import ShownStudy, ShownTrial, StudySource
from surrogate_ax.report.trial_table import OWN, Columns, trial_table
from surrogate_ax.report.where import read_where
from surrogate_ax_cli.best import save_output
from surrogate_ax_cli.export_card import Facts, write_card
from surrogate_ax_cli.export_formats import SUFFIXES, WRITERS, Item, tidy
from surrogate_ax_cli.makers import Maker, maker_of
from surrogate_ax_cli.pipelines import SEEDS, recorded_call
from surrogate_ax_cli.sources import files_source
from surrogate_ax_cli.targets import Searched

NOT_STATED = "not stated"
WITH_RESULT, WITH_OUTPUT = ("done",), ("done", "stopped")
MOST, NAMED = 64, 5  # outputs made together, digits of a number in a file's name and trials that a message names


@dataclass(frozen=True)
class Request:
    """What is to be exported.

    Args:
        where: an expression; None means every trial with a result.
        top: the best so many of these; None means all.
        to: a format, one of `WRITERS`.
        licence: of the outputs, as it was given.
        remake: whether outputs are made again.
        overrides: call arguments to change where they are.
        spec: of the generator, as for `maker_of`.
    """

    where: str | None = None
    top: int | None = None
    to: str = "folder"
    licence: str = NOT_STATED
    remake: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    spec: str | None = None


@dataclass(frozen=True)
class Selection:
    """The trials that are exported.

    Args:
        searched: the study, as it was given.
        source: its files.
        study: at this moment.
        table: columns over all of its trials.
        places: of those that are meant, in `study.trials`.
    """

    searched: Searched
    source: StudySource
    study: ShownStudy
    table: Columns
    places: Sequence[int]

    @property
    def trials(self) -> list[ShownTrial]:
        """Those that are meant."""
        return [self.study.trials[place] for place in self.places]

    @cached_property
    def call(self) -> dict[str, Any]:
        """The call arguments that were the same for every trial, as far as recipes name them."""
        return same_call(self.study)

    @property
    def origin(self) -> str:
        """What made the outputs, in a word that a saved output carries."""
        sweep = self.searched.sweep
        if sweep is None:
            return ""
        return sweep.generator.where if sweep.generator.kind != "folder" else Path(sweep.generator.where).name


def same_call(study: ShownStudy) -> dict[str, Any]:
    """The call arguments that the fingerprint of a study's generator names."""
    recipe = next((trial.recipe for trial in study.trials if trial.recipe is not None), None)
    return {} if recipe is None else recorded_call(recipe)


def select(searched: Searched, request: Request) -> Selection:
    """The trials that are meant: those with a result, or, where the expression names `state`, with an output.

    Args:
        searched: the study.
        request: what is to be exported.

    Raises:
        ArgumentError: an expression that cannot be read, or no such trial.
    """
    source = files_source(searched)
    study = source.read()
    table = trial_table(study, same_call(study))
    where = None if request.where is None else read_where(request.where, table)
    states = WITH_OUTPUT if where is not None and "state" in where.names else WITH_RESULT
    made = [i for i, t in enumerate(study.trials) if t.state in states and t.recipe is not None]
    rows = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
    kept = {i for i, row in enumerate(rows) if where is None or where.keeps(row)}
    places = [i for i in made if i in kept]
    if not places:
        meant = "" if request.where is None else f", and none of them is meant by {request.where!r}"
        raise ArgumentError(f"--where: {len(made):,} trials of {searched.name!r} have an output{meant}.")
    if request.top is not None:
        ranks = table["rank"]
        places = sorted(places, key=lambda i: (ranks[i] is None, ranks[i]))[: request.top]
    return Selection(searched, source, study, table, places)


def export(
    selection: Selection, request: Request, out: Path, *, progress: Callable[[int], AbstractContextManager[Any]]
) -> Facts:
    """Write the outputs of a selection to a folder, in place of an earlier export there.

    Args:
        selection: the trials.
        request: what is to be exported.
        out: the folder.
        progress: makes a bar of n outputs, a context manager with `update`.

    Raises:
        ArgumentError: outputs of which no file was kept, or call arguments to change while none is made again.
        GenerationError: one could not be made again.
        MissingExtraError: what writes the format is not installed.
    """
    if request.overrides and not request.remake:
        raise ArgumentError("--steps, --set: files that were kept cannot be changed. Give --remake as well.")
    maker = maker_of(selection.searched, request.spec) if request.remake else None
    if maker is None:
        _check_kept(selection)
    metrics = [metric.name for metric in selection.study.objective.metrics]
    chosen: Columns = {name: [column[i] for i in selection.places] for name, column in selection.table.items()}
    del chosen["kept"]
    for name, value in request.overrides.items():  # what it was made with, though it was measured before
        chosen[f"argument {name}" if name in metrics or name in OWN else name] = [value] * len(selection.places)
    chosen |= {"version": [__version__] * len(selection.places), "licence": [request.licence] * len(selection.places)}
    columns, types = tidy(chosen)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    outputs = _kept(selection) if maker is None else _remade(selection, maker, request.overrides)
    with _whole(out) as folder:
        with WRITERS[request.to](folder, types) as writer, progress(len(rows)) as bar:
            for row, (output, saved) in zip(rows, outputs, strict=True):
                writer.add(Item(f"trial{row['trial']:0{NAMED}}", output, row, saved))
                bar.update(1)
        _keep_seeds(selection, folder)
        facts = Facts(
            study=selection.study.name,
            host=selection.study.host,
            to=request.to,
            outputs=len(rows),
            where=request.where,
            top=request.top,
            made="again" if request.remake else "while it searched",
            overrides=dict(request.overrides),
            metrics=selection.study.objective.describe(),
            generator=dict(saved.recipe.generator),
            call=selection.call,
            licence=request.licence,
            version=__version__,
        )
        write_card(facts, folder, list(columns), writer.suffixes)
    return facts


def _check_kept(selection: Selection) -> None:
    """Refuse trials without a file, before anything is written."""
    lacking = [trial.number for trial in selection.trials if not trial.file]
    if lacking:
        named = ", ".join(map(str, lacking[:NAMED])) + (", ..." if len(lacking) > NAMED else "")
        raise ArgumentError(
            f"export: no file was kept of {len(lacking):,} of {len(selection.places):,} outputs (trials {named}). "
            "--remake makes all of them again from their recipes; --where 'kept' leaves these out."
        )


def _kept(selection: Selection) -> Iterator[tuple[Preview, SavedPicture]]:
    for trial in selection.trials:
        found = selection.source.preview(trial.number)
        if found is None or trial.recipe is None:
            raise ArgumentError(
                f"export: the file of trial {trial.number} is gone. --remake makes outputs again; "
                f"--where 'trial != {trial.number}' leaves it out."
            )
        saved = SavedPicture(trial.recipe, selection.origin, selection.call)
        suffix = PurePath(found.name).suffix.lower()
        if suffix not in SUFFIXES:
            raise UnsupportedError(f"export: trial {trial.number} has a file of an unknown kind, {found.name!r}.")
        content = carrying(found.content, saved) if suffix == ".png" else found.content
        yield Preview(f"file{suffix}", content), saved


def _remade(selection: Selection, maker: Maker, overrides: Mapping[str, Any]) -> Iterator[tuple[Preview, SavedPicture]]:
    """Made again in batches of the size that they were made in."""
    recipes = [trial.recipe for trial in selection.trials if trial.recipe is not None]
    size = min(max(recipe.batch for recipe in recipes), MOST)
    with tempfile.TemporaryDirectory(prefix="surrogate-ax-") as folder:
        for begin in range(0, len(recipes), size):
            outputs, made = _rendered(selection, recipes[begin : begin + size], maker, overrides)
            for output, recipe in zip(outputs, made, strict=True):
                saved = SavedPicture(recipe, selection.origin, selection.call)
                file = save_output(output, Path(folder, "file"), saved, rate=maker.rate)
                yield Preview(file.name, file.read_bytes()), saved


def _rendered(
    selection: Selection, recipes: list[Recipe], maker: Maker, overrides: Mapping[str, Any]
) -> tuple[Any, list[Recipe]]:
    try:
        return render(recipes, maker.generator, seeds=selection.study.seeds, device=maker.device, **overrides)
    except ArgumentError as error:
        if not overrides:
            raise
        raise ArgumentError(f"--steps, --set: {dict(overrides)} cannot be set. {error}") from error


def _keep_seeds(selection: Selection, folder: Path) -> None:
    """Put stored seeds beside the outputs that are made of them, where `best` looks for them."""
    recipes = [trial.recipe for trial in selection.trials if trial.recipe is not None]
    named = {seed.sha256 for recipe in recipes for seed, _ in recipe.terms if isinstance(seed, Stored)}
    if named:
        tensors = selection.study.seeds or {}
        FolderSeedStore(folder / SEEDS).add({sha256: tensors[sha256] for sha256 in sorted(named)})


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder that takes its name, and the place of what has it, when the block has ended well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    try:
        part.chmod(0o755)  # as `mkdir` would leave it
        yield part
        if out.exists():
            former = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".old", dir=out.parent))
            out.replace(former / out.name)
            part.replace(out)
            shutil.rmtree(former)
        else:
            part.replace(out)
    finally:
        if part.exists():
            shutil.rmtree(part, ignore_errors=True)
