"""`surrogate-ax export`: its arguments. What it does is in `export`, which is imported when it runs."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from surrogate_ax_cli.options import AsJson, Force, Out, Overrides, Spec, Study, StudyName, Verbose
from surrogate_ax_cli.terminal import running, say


class Format(StrEnum):
    """What is written."""

    folder = "folder"
    parquet = "parquet"
    webdataset = "webdataset"


def export(
    study: Study,
    name: StudyName = None,
    where: Annotated[
        str | None, typer.Option(help="Which trials, as 'redness >= 0.3 and prompt == \"a cat\"'.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the best so many of these.")] = None,
    to: Annotated[Format, typer.Option(help="Pictures with metadata.jsonl, Parquet, or tar files.")] = Format.folder,
    licence: Annotated[str, typer.Option(help="Licence of the outputs, put down as you give it.")] = "not stated",
    remake: Annotated[
        bool, typer.Option("--remake", help="Make outputs again at full quality, in place of the files kept.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps, where made again.")] = None,
    override: Overrides = None,
    generator: Spec = None,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write outputs with their metrics and recipes as a data set: for training, for others, for other programs."""
    with running(verbose=verbose, interrupted="interrupted: nothing was exported"):
        from tqdm.auto import tqdm

        from surrogate_ax_cli import export as exports
        from surrogate_ax_cli.best import read_overrides
        from surrogate_ax_cli.export_card import INDEX
        from surrogate_ax_cli.outputs import check_replaced, place
        from surrogate_ax_cli.targets import open_target

        changed = read_overrides(override or [], steps)
        request = exports.Request(where, top, to.value, licence, remake, changed, generator)
        searched = open_target(study, name)
        folder = place(out, searched.home / "export", replace=force)
        check_replaced(folder, INDEX, "export")
        say("reading the study")
        selection = exports.select(searched, request)
        bar = partial(tqdm, unit="output", delay=1, disable=None)  # where it takes longer, and somebody is watching
        facts = exports.export(selection, request, folder, progress=lambda n: bar(total=n))
        if as_json:
            typer.echo(json.dumps({"folder": str(folder), **dataclasses.asdict(facts)}, indent=1))
            return
        typer.echo(f"{folder}: {facts.outputs:,} outputs, licence {facts.licence}")
