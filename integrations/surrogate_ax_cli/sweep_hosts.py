"""The host that keeps a sweep's trials, chosen by `backend:` in the file."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from surrogate_ax_cli.assembly import SweepComponents, assemble
from surrogate_ax_cli.sweep import SweepHost
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep
from surrogate_ax_cli.terminal import quiet_ax


def host_of(
    sweep: SweepFile, components: SweepComponents, *, workers: int = 1, unscored: Path | None = None
) -> SweepHost:
    """The host that a file names; its library is imported here.

    Args:
        sweep: the file.
        components: what it names, built.
        workers: how many work on it at once, if more than are seen.
        unscored: a folder where outputs are kept for others to score; None scores them here.

    Raises:
        MissingExtraError: the library is not installed.
        ArgumentError: an unknown sampler or pruner, or arguments that they do not take.
    """
    if sweep.backend == "ax":
        quiet_ax()
        from surrogate_ax_cli.ax_sweep import AxSweep

        return AxSweep(sweep, components)
    from surrogate_ax_cli.optuna_sweep import OptunaSweep

    return OptunaSweep(sweep, components, workers=workers, unscored=unscored)


def open_sweep(
    file: Path, *, workers: int | None = None, unscored: bool = False
) -> tuple[SweepFile, SweepComponents, SweepHost]:
    """A sweep file and what it names, built; nothing is written.

    Args:
        file: the sweep file.
        workers: how many work on it, where this process is one of several.
        unscored: whether outputs are kept for others to score.

    Raises:
        ArgumentError: several workers of a sweep that one process keeps.
    """
    import_module("surrogate_ax_optuna")  # names the extra to install where it is missing
    from surrogate_ax_optuna.unscored import without_score

    sweep_file = read_sweep(file)
    if workers is not None and sweep_file.backend == "ax":
        raise sweep_file.error("backend", "an Ax client lives in one process; several workers share Optuna's studies.")
    if unscored and (sweep_file.checkpoints is None or sweep_file.checkpoints):
        raise sweep_file.error(
            "checkpoints", "estimates are scored while outputs are made; leave them out, or `--only`."
        )
    components = assemble(sweep_file)
    if unscored:  # one output is tried before the study is begun, and is not to wait for hours
        components = replace(components, objective=without_score(components.objective))
    folder = unscored_folder(sweep_file) if unscored else None
    return sweep_file, components, host_of(sweep_file, components, workers=workers or 1, unscored=folder)


def unscored_folder(sweep: SweepFile) -> Path:
    """Where outputs wait for their scores."""
    from surrogate_ax_cli.targets import home_of

    return home_of(sweep) / "unscored"
