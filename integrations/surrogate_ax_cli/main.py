"""The command `surrogate-ax`. Everything heavy is imported inside the commands, so that `--help` is quick."""

from __future__ import annotations

import json
import shlex
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from surrogate_ax_cli import embedded
from surrogate_ax_cli.explore_command import explore, is_picture, prefer, remade
from surrogate_ax_cli.export_command import export
from surrogate_ax_cli.interrupts import interruptible
from surrogate_ax_cli.options import AsJson, Force, Items, Out, Overrides, Spec, Study, StudyName, Verbose
from surrogate_ax_cli.terminal import FAILED, log_beside, running, say
from surrogate_ax_cli.worker_command import serve, worker

app = typer.Typer(
    help="Search the outputs of diffusion and flow-matching models as hyper-parameters are searched.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.command()(explore)
app.command()(prefer)
app.command()(export)
app.command()(worker)
app.command()(serve)


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
    evaluations: Annotated[int, typer.Option(min=8, help="Portraits that search and plain draws make each.")] = 128,
    prompt: Annotated[str | None, typer.Option(help="What the portraits show; if left out, the demo's prompt.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search the embedded portrait model for given colours, and compare with plain draws at the same cost.

    In a folder that holds this demo already, it continues where that stopped, or shows the result again.
    """
    with running(), interruptible(say):
        say("loading the embedded model")
        import_module("surrogate_ax_diffusers")  # names the extra to install where it is missing
        from surrogate_ax_cli import demo as demo_module
        from surrogate_ax_cli import pictures

        settings = demo_module.Settings(demo_module.PROMPT if prompt is None else prompt, seed, evaluations)
        generator = demo_module.portraits(settings.prompt)
        search, plain = demo_module.run(generator, settings, out, progress=True, say=say)
        say("drawing the pictures")
        pictures.draw_contact_sheet(search, plain, generator, settings, out / pictures.SHEET)
        pictures.draw_history(search, plain, out / pictures.HISTORY)
        if as_json:
            files = {"contact_sheet": pictures.SHEET, "history": pictures.HISTORY, "study": demo_module.STUDY_FILE}
            paths = {kind: str(out / name) for kind, name in files.items()}
            typer.echo(json.dumps({**demo_module.describe(search, plain, settings), "files": paths}, indent=1))
            return
        typer.echo(
            f'\nPrompt "{settings.prompt}", seed {seed}, {evaluations} portraits from each study. Lower is better.\n'
        )
        typer.echo(demo_module.table(demo_module.summarise(search), demo_module.summarise(plain)))
        shown = [pictures.SHEET, pictures.HISTORY]
        typer.echo(pictures.what_to_open(out, shown, demo_module.STUDY_FILE, search.study_name))


@app.command()
def init(
    generator: Annotated[
        str, typer.Argument(help=f"{embedded.LISTED}, a folder of a diffusers pipeline, or package.module:factory.")
    ] = embedded.DEFAULT,
    out: Annotated[Path | None, typer.Option(help="The sweep file; if left out, called like the generator.")] = None,
    force: Force = False,
) -> None:
    """Write a sweep file with comments, and a score to begin with; both run as they are."""
    with running():
        from surrogate_ax_cli.init import write

        begun = write(generator, out, replace=force)
        typer.echo(f"{begun.sweep}\n{begun.scores}\n\nPut your judgement into {begun.scores}, then search")
        typer.echo(f"  surrogate-ax sweep {shlex.quote(str(begun.sweep))}")


@app.command()
def sweep(
    study: Study,
    name: StudyName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan and cost; write nothing.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Search as a sweep file says; run again, it continues where it stopped."""
    with running(verbose=verbose), interruptible(say):
        from surrogate_ax_cli.dry_run import estimate, plan_lines, who_proposes
        from surrogate_ax_cli.earlier import earlier_of
        from surrogate_ax_cli.storages import kept_in
        from surrogate_ax_cli.sweep import check_works, summary, summary_lines
        from surrogate_ax_cli.sweep_hosts import open_sweep
        from surrogate_ax_cli.targets import home_of, sweep_path

        file = sweep_path(study, name)
        sweep_file, components, host = open_sweep(file)
        record = host.load_record()
        new = f"new; {who_proposes(sweep_file, components)}"
        state = new if record is None else f"continues up to {components.trials} trials"
        say(f"study {sweep_file.name!r} in {kept_in(sweep_file)}: {state}")
        if dry_run:
            say("timing a pilot batch")
            plan = estimate(sweep_file, components, record)
            typer.echo(json.dumps(plan, indent=1) if as_json else "\n".join(plan_lines(plan)))
            return
        earlier = earlier_of(sweep_file, record)
        if record is None:
            say("trying one output before anything is written")
            for failure in check_works(sweep_file, components):
                say(f"warning: the output failed: {failure}")
        with log_beside(home_of(sweep_file)):
            host.run(earlier)
        record = host.load_record()
        if record is None:
            raise typer.Exit(FAILED)
        result = summary(sweep_file, record)
        if as_json:
            typer.echo(json.dumps({**result, "storage": kept_in(sweep_file)}, indent=1))
            return
        typer.echo("\n".join([*summary_lines(result), "", *_next_steps(shlex.quote(str(file)))]))


@app.command()
def status(study: Study, name: StudyName = None, as_json: AsJson = False) -> None:
    """Say what a study holds: trials, cost and the best of them."""
    with running():
        from surrogate_ax_cli.sweep import describe_record, summary_lines
        from surrogate_ax_cli.targets import open_target

        searched = open_target(study, name)
        found = {**describe_record(searched.name, searched.record()), "storage": searched.where}
        typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(summary_lines(found)))


@app.command()
def best(
    study: Study,
    name: StudyName = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many, at most.")] = 6,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps, instead of the search's.")] = None,
    override: Overrides = None,
    max_cosine: Annotated[float, typer.Option(help="Largest cosine that two of the latents may have.")] = 0.9,
    min_distance: Annotated[float, typer.Option(help="How far outputs are apart; two plain draws are by 1.")] = 0.5,
    generator: Spec = None,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Remake the best outputs that differ from each other, with more steps if you like; or one saved picture."""
    with running(verbose=verbose), interruptible(say):
        from surrogate_ax_cli.best import INDEX, lines, make_best, read_overrides, save
        from surrogate_ax_cli.makers import maker_of
        from surrogate_ax_cli.outputs import check_replaced, place
        from surrogate_ax_cli.targets import open_target

        overrides = read_overrides(override or [], steps)
        if is_picture(study):
            typer.echo(remade(Path(study), out, generator, overrides, replace=force))
            return
        searched = open_target(study, name)
        folder = place(out, searched.home / "best", replace=force)
        check_replaced(folder, INDEX, "best")
        maker = maker_of(searched, generator)
        made = make_best(maker, searched, k=k, overrides=overrides, max_cosine=max_cosine, min_distance=min_distance)
        rows = save(made, folder, title=searched.name, rate=maker.rate)
        typer.echo(json.dumps(rows, indent=1) if as_json else "\n".join(lines(rows, folder)))


@app.command()
def report(
    study: Study,
    name: StudyName = None,
    items: Items = 12,
    with_box: Annotated[bool, typer.Option("--inspect", help="Make and add the map of the box.")] = False,
    generator: Spec = None,
    out: Out = None,
    force: Force = False,
) -> None:
    """Write a study as one HTML file that needs no network: the gallery, to keep or to send."""
    with running(interrupted="interrupted: no report was written"):
        from surrogate_ax_cli.outputs import place
        from surrogate_ax_cli.pages import write
        from surrogate_ax_cli.targets import open_target

        searched = open_target(study, name)
        path = place(out, searched.home / "report.html", replace=force)
        say("reading the study and its outputs")
        typer.echo(str(write(searched, path, items=items, spec=generator, inspected=with_box)))


@app.command()
def gallery(
    study: Study,
    name: StudyName = None,
    items: Items = 12,
    generator: Spec = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8000,
) -> None:
    """Show every output of a study in the browser, while its search runs too, to this machine only."""
    with running(interrupted="the gallery has ended"):
        from surrogate_ax_cli.pages import serve
        from surrogate_ax_cli.targets import open_target

        serve(open_target(study, name), port, items=items, spec=generator, say=say)


@app.command()
def dashboard(
    study: Study,
    name: StudyName = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
) -> None:
    """Show a study in optuna-dashboard, with a picture of each output, to this machine only."""
    with running(interrupted="the dashboard has ended"):
        from surrogate_ax_cli.dashboard import serve
        from surrogate_ax_cli.targets import open_target

        serve(open_target(study, name), port, say=say)


@app.command()
def inspect(
    study: Study,
    name: StudyName = None,
    generator: Spec = None,
    out: Out = None,
    force: Force = False,
    side: Annotated[int, typer.Option(min=2, max=32, help="Outputs along an axis of the map.")] = 9,
    as_json: AsJson = False,
) -> None:
    """Check a study: latents against the prior, the box, the generator, and what each seed adds to the score."""
    with running():
        from surrogate_ax_cli.inspect import describe, examine, lines
        from surrogate_ax_cli.inspect_pictures import draw
        from surrogate_ax_cli.makers import maker_of
        from surrogate_ax_cli.outputs import place
        from surrogate_ax_cli.targets import open_target

        searched = open_target(study, name)
        folder = place(out, searched.home / "inspect", replace=force)
        made_by = maker_of(searched, generator).generator
        say("examining latents and seeds")
        findings = examine(searched, made_by)
        say("drawing the pictures")
        drawn, left_out = draw(findings, made_by, folder, side=side)
        if as_json:
            typer.echo(json.dumps({**describe(findings), "files": drawn, "left_out": left_out}, indent=1))
            return
        typer.echo("\n".join([*lines(findings), "", "Look at", *(f"  {path}" for path in drawn), *left_out]))


@app.command()
def edit(
    picture: Annotated[Path | None, typer.Argument(help="Image file; without one, eight portraits are edited.")] = None,
    generator: Annotated[str, typer.Option(help=f"{embedded.LISTED}, or package.module:factory.")] = embedded.DEFAULT,
    source: Annotated[str, typer.Option("--from", help="What the picture shows, a prompt.")] = "",
    target: Annotated[str | None, typer.Option("--to", help="What it should show; not needed with --score.")] = None,
    score: Annotated[str | None, typer.Option(help="package.module:function; 0 or more: the target is there.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Image file, bright where the picture may change.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Edits that are made.")] = 4,
    budget: Annotated[int | None, typer.Option(min=1, help="Edits that a search makes; needs --score.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and recipes.")] = Path("edit-out"),
) -> None:
    """Change a picture by prompts, by a score or inside a mask; without a picture, show it on the embedded model."""
    with running(interrupted="interrupted"):
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


def _next_steps(study: str) -> list[str]:
    """What a search is followed by."""
    return [
        "Make the best again, with more steps if you like",
        f"  surrogate-ax best {study}",
        "See every output in a browser",
        f"  surrogate-ax gallery {study}",
    ]
