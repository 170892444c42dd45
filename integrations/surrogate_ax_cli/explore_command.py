"""`surrogate-ax explore`: its arguments. What it does is in `explore`, which is imported when it runs."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from surrogate_ax_cli import embedded
from surrogate_ax_cli.terminal import running, say

ENDED = "ended: what was chosen is kept; the same command goes on from there"


class Shown(StrEnum):
    """How many pictures are shown, and how one chooses among them."""

    eight = "eight"
    four = "four"
    pairs = "pairs"


class Weights(StrEnum):
    """Floating-point types of a pipeline's weights."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def explore(
    pipeline: Annotated[
        str,
        typer.Argument(help="A pipeline's folder, package.module:factory, or a saved picture of an embedded model."),
    ] = embedded.DEFAULT,
    prompt: Annotated[str | None, typer.Option(help="What the pictures show.")] = None,
    picture: Annotated[Path | None, typer.Option("--from", help="A saved picture to search around.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="name=value of another call argument.")] = None,
    shown: Annotated[Shown, typer.Option("--show", help="Like any of eight, or choose the best of four or two.")] = (
        Shown.eight
    ),
    device: Annotated[str | None, typer.Option(help="Where a pipeline's folder runs, as cuda.")] = None,
    dtype: Annotated[Weights, typer.Option(help="Of its weights.")] = Weights.float32,
    batch: Annotated[int, typer.Option(min=1, help="Pictures of one generator call, at most.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws and proposals.")] = 0,
    name: Annotated[str | None, typer.Option("--study", help="Name of the study; the prompt if left out.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the study and the pictures kept.")] = Path("explore-out"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, with the tracebacks of errors.")] = False,
) -> None:
    """Look at pictures of a model in the browser and choose: every choice brings better ones.

    Without a pipeline it is the embedded portrait model. The same command goes on where it stopped.
    """
    with running(verbose=verbose, interrupted=ENDED):
        import_module("surrogate_ax_web")  # names the extra to install where it is missing
        from surrogate_ax_cli.best import read_overrides
        from surrogate_ax_cli.explore import Request, run

        call = ({} if prompt is None else {"prompt": prompt}) | read_overrides(override or [], steps)
        request = Request(pipeline, picture, call, name, out, seed, shown.value, batch, device, dtype.value)
        run(request, port, browse=browse, say=say)


def prefer(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file.")],
    shown: Annotated[Shown, typer.Option("--show", help="Like any of eight, or choose the best of four or two.")] = (
        Shown.eight
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, with the tracebacks of errors.")] = False,
) -> None:
    """Choose among a sweep's outputs in the browser: what you like takes the place of its score, its bounds are kept.

    The same command goes on where it stopped.
    """
    with running(verbose=verbose, interrupted=ENDED):
        import_module("surrogate_ax_web")  # names the extra to install where it is missing
        from surrogate_ax_cli.prefer import run

        run(sweep, shown.value, port, browse=browse, say=say)


def is_picture(target: str) -> bool:
    """Whether a command is given a saved picture in place of a study."""
    return "://" not in target and Path(target).suffix.lower() in (".png", ".webp", ".mp4", ".wav", ".pdb", ".cif")


def remade(picture: Path, out: Path | None, generator: str | None, overrides: dict[str, Any], *, replace: bool) -> str:
    """Make a saved picture again; the name of the new file.

    Args:
        picture: its file.
        out: a folder; one beside the picture if left out.
        generator: what made it: a folder or "package.module:factory"; the embedded model if left out.
        overrides: call arguments to change.
        replace: whether a folder that is there may be written to.
    """
    from surrogate_ax.generation.saved_picture import read_saved
    from surrogate_ax_cli.outputs import place
    from surrogate_ax_cli.pipelines import write_remade

    saved = read_saved(picture)
    folder = place(out, picture.with_name(f"{picture.stem}-best"), replace=replace)
    return str(write_remade(saved, picture, folder, generator or embedded.DEFAULT, **overrides))
