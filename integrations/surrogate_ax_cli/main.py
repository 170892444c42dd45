"""The command `surrogate-ax`. Everything heavy is imported inside the commands, so that `--help` is quick.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 bad input,
130 interrupted.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surrogate_ax_cli.interrupts import INTERRUPTED, interruptible

if TYPE_CHECKING:
    from surrogate_ax_cli.assembly import SweepComponents
    from surrogate_ax_cli.sweep import SweepHost
    from surrogate_ax_cli.sweep_file import SweepFile

FAILED, BAD_INPUT = 1, 2

SweepPath = Annotated[Path, typer.Argument(metavar="SWEEP.YAML", help="The sweep file; README describes it.")]

app = typer.Typer(
    help="Search the outputs of diffusion and flow-matching models as hyper-parameters are searched.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from surrogate_ax import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the study.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws and sampler.")] = 0,
    evaluations: Annotated[int, typer.Option(min=8, help="Avatars that each side generates and scores.")] = 128,
    prompt: Annotated[str | None, typer.Option(help="What the avatars show; the demo's own if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search the embedded avatar model for a palette, against plain draws at the same cost.

    In a folder that has this demo already, it goes on where that stopped, or shows the result again.
    """
    with _reported():
        _say("loading the embedded model")
        for package in ("surrogate_ax_optuna", "surrogate_ax_diffusers"):
            import_module(package)  # names the extra to install where one is missing
        from surrogate_ax_cli import demo as sides
        from surrogate_ax_cli import pictures

        settings = sides.Settings(sides.PROMPT if prompt is None else prompt, seed, evaluations)
        with sides.quiet():
            generator = sides.avatars(settings.prompt)
            search, plain = sides.run(generator, settings, out, progress=True, say=_say)
            _say("drawing the pictures")
            pictures.draw_contact_sheet(search, plain, generator, settings, out / pictures.SHEET)
            pictures.draw_history(search, plain, out / pictures.HISTORY)
        if as_json:
            files = {"contact_sheet": pictures.SHEET, "history": pictures.HISTORY, "study": sides.STUDY_FILE}
            paths = {kind: str(out / name) for kind, name in files.items()}
            typer.echo(json.dumps({**sides.describe(search, plain, settings), "files": paths}, indent=1))
            return
        typer.echo(f'\nPrompt "{settings.prompt}", seed {seed}, {evaluations} avatars a side. Lower is better.\n')
        typer.echo(sides.table(sides.summarise(search), sides.summarise(plain)))
        typer.echo(_what_to_open(out, [pictures.SHEET, pictures.HISTORY], sides.STUDY_FILE, sides.PREVIEWS))


@app.command()
def sweep(
    file: SweepPath,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan and cost; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search as a sweep file says; the same command goes on where it stopped."""
    with _reported(), interruptible(_say), _without_noise():
        from surrogate_ax_cli import dry_run as cost
        from surrogate_ax_cli import storages
        from surrogate_ax_cli import sweep as sweeps

        described, parts, backend = _open_sweep(file)
        record = backend.found()
        state = "new" if record is None else f"goes on to {parts.trials} trials"
        _say(f"study {described.name!r} in {storages.shown(described)}: {state}")
        if dry_run:
            _say("timing a pilot batch")
            plan = cost.dry_run(described, parts, record)
            typer.echo(json.dumps(plan, indent=1) if as_json else "\n".join(cost.plan_lines(plan)))
            return
        if record is None:
            _say("trying one output before anything is written")
            for reason in sweeps.try_out(described, parts).reasons.values():
                _say(f"warning: it failed: {reason}")
        backend.run()
        ended = backend.found()
        if ended is None:
            raise typer.Exit(FAILED)
        result = sweeps.summary(described, ended)
        if as_json:
            typer.echo(json.dumps({**result, "storage": storages.shown(described)}, indent=1))
            return
        typer.echo("\n".join(sweeps.summary_lines(result)))
        name = shlex.quote(str(file))
        typer.echo(f"\nMake the best again, with more steps if you like\n  surrogate-ax best {name} -k 6 --out best")
        typer.echo(f"See every trial in a browser\n  surrogate-ax dashboard {name}")


@app.command()
def best(
    file: SweepPath,
    k: Annotated[int, typer.Option("-k", min=1, help="How many, at most.")] = 6,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps, in place of the search's.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of another call argument to change.")
    ] = None,
    max_cosine: Annotated[float, typer.Option(help="Limit on the cosine of any two latents.")] = 0.9,
    out: Annotated[Path, typer.Option(help="Folder for outputs and recipes.")] = Path("best"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make the best outputs of a sweep that differ again, from their recipes, with more steps if you like."""
    with _reported(), interruptible(_say), _without_noise():
        from surrogate_ax_cli import best as portfolio

        portfolio.check_out(out)
        overrides = portfolio.read_overrides(override or [], steps)
        described, parts, backend = _open_sweep(file)
        record = backend.found()
        if record is None:
            raise described.error("name", f"there are no trials of {described.name!r} yet. Run `surrogate-ax sweep`.")
        chosen = portfolio.best(parts, record, k=k, max_cosine=max_cosine, overrides=overrides)
        rows = portfolio.save(chosen, out, parts)
        typer.echo(json.dumps(rows, indent=1) if as_json else "\n".join(portfolio.lines(rows, out)))


@app.command()
def report(
    file: SweepPath,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    items: Annotated[int, typer.Option(min=1, max=30, help="Outputs shown, the best first.")] = 12,
) -> None:
    """Write a sweep as one HTML file that needs no network: best outputs, plots, trials and recipes."""
    with _reported("interrupted: no report was written"), _without_noise():
        described, _, backend = _open_sweep(file)
        if backend.found() is None:
            raise described.error("name", f"there are no trials of {described.name!r} yet. Run `surrogate-ax sweep`.")
        _say("computing the plots")
        typer.echo(str(backend.report(out, items)))


@app.command()
def dashboard(
    file: SweepPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.")] = 8080,
) -> None:
    """Show a sweep in optuna-dashboard, with a picture of each output, to this machine only."""
    with _reported("the dashboard has ended"), _without_noise():
        import_module("surrogate_ax_optuna")
        from surrogate_ax_cli import dashboard as served
        from surrogate_ax_cli.sweep_file import read_sweep

        served.serve(read_sweep(file), port, say=_say)


@app.command()
def inspect(
    storage: Annotated[str, typer.Argument(help="The study's SQLite file, or the URL of an Optuna storage.")],
    study: Annotated[str | None, typer.Option(help="Its name; may be left out where there is one only.")] = None,
    generator: Annotated[str, typer.Option(help="'embedded', or package.module:factory.")] = "embedded",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("inspect-out"),
    side: Annotated[int, typer.Option(min=2, max=32, help="Outputs along an axis of the map.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a study: latents against the prior, the box, the generator, and which seeds carry the score."""
    with _reported():
        from surrogate_ax_cli import demo as sides
        from surrogate_ax_cli import inspect as inspection
        from surrogate_ax_cli import inspect_pictures

        with sides.quiet():
            opened = inspection.open_study(storage, study)
            made_by = inspection.open_generator(generator, opened)
            _say("looking at latents and seeds")
            found = inspection.examine(opened, made_by)
            _say("drawing the pictures")
            drawn, left_out = inspect_pictures.draw(found, made_by, out, side=side)
        if as_json:
            typer.echo(json.dumps({**inspection.describe(found), "files": drawn, "left_out": left_out}, indent=1))
            return
        typer.echo("\n".join(inspection.lines(found)))
        typer.echo("\n".join(["", "Look at", *(f"  {path}" for path in drawn), *left_out]))


def _open_sweep(file: Path) -> tuple[SweepFile, SweepComponents, SweepHost]:
    """A sweep file with what it names, built; nothing is written."""
    import_module("surrogate_ax_optuna")  # names the extra to install where it is missing
    from surrogate_ax_cli.assembly import assemble
    from surrogate_ax_cli.sweep_file import read_sweep
    from surrogate_ax_cli.sweep_hosts import host_of

    described = read_sweep(file)
    parts = assemble(described)
    return described, parts, host_of(described, parts)


@contextmanager
def _without_noise() -> Iterator[None]:
    """Warnings as one line each, and no log lines of libraries."""
    from surrogate_ax_cli.demo import quiet

    level = logging.root.manager.disable
    with quiet():
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
        logging.disable(logging.INFO)
        try:
            yield
        finally:
            logging.disable(level)


def _what_to_open(out: Path, files: list[str], study: str, previews: str) -> str:
    """Where the pictures are, and how to see every trial of the study."""
    beside = Path(sys.executable).with_name("optuna-dashboard")  # a virtual environment that is not activated
    command = "optuna-dashboard" if shutil.which("optuna-dashboard") else _near(beside)
    view = f"{command} sqlite:///{shlex.quote(str(out / study))} --artifact-dir {shlex.quote(str(out / previews))}"
    lines = ["", "Look at", *(f"  {out / name}" for name in files), "", "Every trial with its picture, in a browser"]
    if not (shutil.which("optuna-dashboard") or beside.exists()):
        lines.append(f"  {_near(Path(sys.executable))} -m pip install optuna-dashboard")
    return "\n".join([*lines, f"  {view}"])


def _near(path: Path) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def _say(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _reported(
    interrupted: str = "interrupted: what was evaluated is kept; the same command goes on from there",
) -> Iterator[None]:
    """Expected errors as one line on standard error and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _say(f"\n{interrupted}")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        from surrogate_ax.errors import SurrogateError, UnsupportedError

        if not isinstance(error, SurrogateError | OSError):
            raise
        _say(f"error: {error}")
        raise typer.Exit(BAD_INPUT if isinstance(error, ValueError | UnsupportedError) else FAILED) from None
