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
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surrogate_ax_cli.interrupts import INTERRUPTED, interruptible

if TYPE_CHECKING:
    pass

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
    evaluations: Annotated[int, typer.Option(min=8, help="Avatars that search and plain draws make each.")] = 128,
    prompt: Annotated[str | None, typer.Option(help="What the avatars show; if left out, the demo's prompt.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search the embedded avatar model for given colours, and compare with plain draws at the same cost.

    In a folder that holds this demo already, it continues where that stopped, or shows the result again.
    """
    with _errors_reported(), interruptible(_say):
        _say("loading the embedded model")
        for package in ("surrogate_ax_optuna", "surrogate_ax_diffusers"):
            import_module(package)  # names the extra to install where one is missing
        from surrogate_ax_cli import demo as demo_module
        from surrogate_ax_cli import pictures

        settings = demo_module.Settings(demo_module.PROMPT if prompt is None else prompt, seed, evaluations)
        with demo_module.quiet():
            generator = demo_module.avatars(settings.prompt)
            search, plain = demo_module.run(generator, settings, out, progress=True, say=_say)
            _say("drawing the pictures")
            pictures.draw_contact_sheet(search, plain, generator, settings, out / pictures.SHEET)
            pictures.draw_history(search, plain, out / pictures.HISTORY)
        if as_json:
            files = {"contact_sheet": pictures.SHEET, "history": pictures.HISTORY, "study": demo_module.STUDY_FILE}
            paths = {kind: str(out / name) for kind, name in files.items()}
            typer.echo(json.dumps({**demo_module.describe(search, plain, settings), "files": paths}, indent=1))
            return
        typer.echo(
            f'\nPrompt "{settings.prompt}", seed {seed}, {evaluations} avatars from each study. Lower is better.\n'
        )
        typer.echo(demo_module.table(demo_module.summarise(search), demo_module.summarise(plain)))
        typer.echo(_what_to_open(out, [pictures.SHEET, pictures.HISTORY], demo_module.STUDY_FILE, demo_module.PREVIEWS))


@app.command()
def sweep(
    file: SweepPath,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan and cost; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search as a sweep file says; run again, it continues where it stopped."""
    with _errors_reported(), interruptible(_say), _libraries_quiet():
        from surrogate_ax_cli.dry_run import estimate, plan_lines, who_proposes
        from surrogate_ax_cli.storages import display_name
        from surrogate_ax_cli.sweep import check_works, summary, summary_lines
        from surrogate_ax_cli.sweep_hosts import open_sweep

        sweep_file, components, host = open_sweep(file)
        record = host.load_record()
        new = f"new; {who_proposes(sweep_file, components)}"
        state = new if record is None else f"continues up to {components.trials} trials"
        _say(f"study {sweep_file.name!r} in {display_name(sweep_file)}: {state}")
        if dry_run:
            _say("timing a pilot batch")
            plan = estimate(sweep_file, components, record)
            typer.echo(json.dumps(plan, indent=1) if as_json else "\n".join(plan_lines(plan)))
            return
        if record is None:
            _say("trying one output before anything is written")
            for failure in check_works(sweep_file, components):
                _say(f"warning: the output failed: {failure}")
        host.run()
        record = host.load_record()
        if record is None:
            raise typer.Exit(FAILED)
        result = summary(sweep_file, record)
        if as_json:
            typer.echo(json.dumps({**result, "storage": display_name(sweep_file)}, indent=1))
            return
        typer.echo("\n".join(summary_lines(result)))
        name = shlex.quote(str(file))
        typer.echo(f"\nMake the best again, with more steps if you like\n  surrogate-ax best {name} -k 6 --out best")
        typer.echo(f"See every trial in a browser\n  surrogate-ax dashboard {name}")


@app.command()
def best(
    file: SweepPath,
    k: Annotated[int, typer.Option("-k", min=1, help="How many, at most.")] = 6,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps, instead of the search's.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of another call argument to change.")
    ] = None,
    max_cosine: Annotated[float, typer.Option(help="Largest cosine that two of the latents may have.")] = 0.9,
    out: Annotated[Path, typer.Option(help="Folder for outputs and recipes.")] = Path("best"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remake the best outputs that differ from each other, from their recipes, with more steps if you like."""
    with _errors_reported(), interruptible(_say), _libraries_quiet():
        from surrogate_ax_cli.best import check_out, lines, make_best, read_overrides, save
        from surrogate_ax_cli.sweep_hosts import open_searched

        check_out(out)
        overrides = read_overrides(override or [], steps)
        components, _, record = open_searched(file)
        made = make_best(components, record, k=k, max_cosine=max_cosine, overrides=overrides)
        rows = save(made, out, components)
        typer.echo(json.dumps(rows, indent=1) if as_json else "\n".join(lines(rows, out)))


@app.command()
def report(
    file: SweepPath,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    items: Annotated[int, typer.Option(min=1, max=30, help="Outputs shown, the best first.")] = 12,
) -> None:
    """Write a sweep as one HTML file that needs no network: best outputs, plots, trials and recipes."""
    with _errors_reported("interrupted: no report was written"), _libraries_quiet():
        from surrogate_ax_cli.sweep_hosts import open_searched

        _, host, _ = open_searched(file)
        _say("computing the plots")
        typer.echo(str(host.report(out, items)))


@app.command()
def dashboard(
    file: SweepPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
) -> None:
    """Show a sweep in optuna-dashboard, with a picture of each output, to this machine only."""
    with _errors_reported("the dashboard has ended"), _libraries_quiet():
        import_module("surrogate_ax_optuna")
        from surrogate_ax_cli.dashboard import serve
        from surrogate_ax_cli.sweep_file import read_sweep

        serve(read_sweep(file), port, say=_say)


@app.command()
def inspect(
    storage: Annotated[str, typer.Argument(help="The study's SQLite file, or the URL of an Optuna storage.")],
    study: Annotated[
        str | None, typer.Option(help="Name of the study; may be left out if the storage holds only one.")
    ] = None,
    generator: Annotated[str, typer.Option(help="'embedded', or package.module:factory.")] = "embedded",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("inspect-out"),
    side: Annotated[int, typer.Option(min=2, max=32, help="Outputs along an axis of the map.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a study: latents against the prior, the box, the generator, and what each seed adds to the score."""
    with _errors_reported():
        from surrogate_ax_cli.demo import quiet
        from surrogate_ax_cli.inspect import describe, examine, lines, open_generator, open_study
        from surrogate_ax_cli.inspect_pictures import draw

        with quiet():
            opened = open_study(storage, study)
            made_by = open_generator(generator, opened)
            _say("examining latents and seeds")
            findings = examine(opened, made_by)
            _say("drawing the pictures")
            drawn, left_out = draw(findings, made_by, out, side=side)
        if as_json:
            typer.echo(json.dumps({**describe(findings), "files": drawn, "left_out": left_out}, indent=1))
            return
        typer.echo("\n".join(lines(findings)))
        typer.echo("\n".join(["", "Look at", *(f"  {path}" for path in drawn), *left_out]))


@app.command()
def edit(
    picture: Annotated[Path | None, typer.Argument(help="Image file; without one, eight avatars are edited.")] = None,
    generator: Annotated[str, typer.Option(help="'embedded', or package.module:factory.")] = "embedded",
    source: Annotated[str, typer.Option("--from", help="What the picture shows, a prompt.")] = "",
    target: Annotated[str, typer.Option("--to", help="What it should show.")] = "",
    score: Annotated[str | None, typer.Option(help="package.module:function; 0 or more: the target is there.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Image file, bright where the picture may change.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Edits that are made.")] = 4,
    budget: Annotated[int | None, typer.Option(min=1, help="Edits that a search makes; needs --score.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and recipes.")] = Path("edit-out"),
) -> None:
    """Change a picture by prompts, by a score or inside a mask; without a picture, show it on the embedded model."""
    with _errors_reported("interrupted"), _libraries_quiet():
        import_module("surrogate_ax_optuna")
        from surrogate_ax_cli import edit as edits
        from surrogate_ax_cli import edit_demo

        if picture is None:
            shown = edit_demo.run(seed)
            text, names = edit_demo.lines(shown), edit_demo.draw(shown, out)
            typer.echo("\n".join([*text, "", "Look at", *(f"  {out / name}" for name in names)]))
            return
        found, names = edits.change(
            picture,
            out,
            edits.Request(generator, source, target, score=score, mask=mask, draws=draws, budget=budget, seed=seed),
        )
        typer.echo("\n".join(edits.lines(found, out, names)))


@contextmanager
def _libraries_quiet() -> Iterator[None]:
    """Show warnings as one line each, and no log lines of libraries."""
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
    command = "optuna-dashboard" if shutil.which("optuna-dashboard") else _typed(beside)
    from sqlalchemy.engine import URL

    address = URL.create("sqlite", database=str(out / study)).render_as_string()
    view = f"{command} {shlex.quote(address)} --artifact-dir {shlex.quote(str(out / previews))}"
    lines = ["", "Look at", *(f"  {out / name}" for name in files), "", "Every trial with its picture, in a browser"]
    if not (shutil.which("optuna-dashboard") or beside.exists()):
        lines.append(f"  {_typed(Path(sys.executable))} -m pip install optuna-dashboard")
    return "\n".join([*lines, f"  {view}"])


def _typed(path: Path) -> str:
    """A path as one would type it in the current folder."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that is gone must not keep a search from ending as it should
        typer.echo(text, err=True)


@contextmanager
def _errors_reported(
    interrupted: str = "interrupted: what was evaluated is kept; the same command goes on from there",
) -> Iterator[None]:
    """End expected errors with one line on standard error and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _say(f"\n{interrupted}")
        raise typer.Exit(INTERRUPTED) from None
    except SystemExit as error:  # a sweep must not end as if it were done
        from surrogate_ax.scoring.traces import origin, trace_of

        _say(f"error: generator or score called sys.exit({error.code!r}) ({origin(trace_of(error))}). Raise an error.")
        raise typer.Exit(FAILED) from None
    except Exception as error:
        from surrogate_ax.errors import SurrogateError, UnsupportedError

        if not isinstance(error, SurrogateError | OSError):
            raise
        _say(f"error: {error}")
        raise typer.Exit(BAD_INPUT if isinstance(error, ValueError | UnsupportedError) else FAILED) from None
