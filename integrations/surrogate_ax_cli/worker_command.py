"""`surrogate-ax worker` and `surrogate-ax serve`: a sweep on several processes and machines."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from surrogate_ax_cli.interrupts import interruptible
from surrogate_ax_cli.options import Study, StudyName, Verbose
from surrogate_ax_cli.terminal import FAILED, log_beside, running, say

LOCAL = "127.0.0.1"


class Part(StrEnum):
    """Which half of a worker's work."""

    GENERATE = "generate"
    SCORE = "score"


PORT = 13000


def worker(
    study: Study,
    name: StudyName = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Workers in all; those that are seen if left out. Say it of more than eight.")
    ] = 1,
    only: Annotated[
        Part | None,
        typer.Option(help="One half of the work: make outputs and leave them for others to score, or score them."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Search as a sweep file says, beside any number of other workers, until the sweep's budget is spent.

    Workers come and go: Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 give running trials back and end this one (exit code 130);
    what a killed one ran, another runs again. Where the storage's server is away, workers wait for it.
    """
    with running(verbose=verbose), interruptible(say):
        if only is Part.SCORE:
            _score(study, name)
            return
        from surrogate_ax_cli.earlier import earlier_of
        from surrogate_ax_cli.storages import display_name
        from surrogate_ax_cli.sweep import check_works, summary, summary_lines
        from surrogate_ax_cli.sweep_hosts import open_sweep
        from surrogate_ax_cli.targets import home_of, sweep_path

        sweep, components, host = open_sweep(sweep_path(study, name), workers=workers, unscored=only is Part.GENERATE)
        record = host.load_record()
        earlier = earlier_of(sweep, record)
        if record is None:
            say("trying one output before anything is written")
            for failure in check_works(sweep, components):
                say(f"warning: the output failed: {failure}")
        say(f"study {sweep.name!r} in {display_name(sweep)}: works on it up to {components.trials} trials")
        with log_beside(home_of(sweep)):
            host.run(earlier)
        record = host.load_record()
        if record is None:
            raise typer.Exit(FAILED)
        typer.echo("\n".join(summary_lines(summary(sweep, record))))


def _score(study: str, name: str | None) -> None:
    """Score what other workers make."""
    from importlib import import_module

    import_module("surrogate_ax_optuna")  # names the extra to install where it is missing
    from surrogate_ax_cli.score_worker import score_sweep
    from surrogate_ax_cli.storages import display_name
    from surrogate_ax_cli.sweep import summary, summary_lines
    from surrogate_ax_cli.sweep_file import read_sweep
    from surrogate_ax_cli.targets import home_of, sweep_path

    sweep = read_sweep(sweep_path(study, name))
    say(f"study {sweep.name!r} in {display_name(sweep)}: scores what others make, up to {sweep.budget} trials")
    with log_beside(home_of(sweep)):
        record = score_sweep(sweep)
    typer.echo("\n".join(summary_lines(summary(sweep, record))))


def serve(
    file: Annotated[Path, typer.Argument(help="SQLite database on a disk of this machine; made if it is not there.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on. There is no login: whoever reaches it reads and writes all.")
    ] = LOCAL,
) -> None:
    """Serve the studies of a database to workers on other machines, as Optuna's gRPC proxy; until Ctrl-C."""
    with running(interrupted="the proxy has ended; what was told is kept"):
        from surrogate_ax_cli.proxy import serve as serve_proxy

        def ready() -> None:
            say(f"serving {file} on {host}:{port}; Ctrl-C ends it. In sweep files of its workers:")
            say(f"  storage: {shlex.quote(f'grpc://{host}:{port}')}")
            if host not in (LOCAL, "localhost"):
                say("warning: there is no login: whoever reaches this address reads and writes every study")

        serve_proxy(file, host, port, ready)
