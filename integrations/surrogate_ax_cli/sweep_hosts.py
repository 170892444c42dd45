"""The host that keeps a sweep's trials, chosen by `backend:` in the file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from surrogate_ax_cli.assembly import SweepComponents, assemble
from surrogate_ax_cli.sweep import SweepHost
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep
from surrogate_ax_cli.terminal import quiet_ax


def host_of(sweep: SweepFile, components: SweepComponents, *, workers: int = 1) -> SweepHost:
    """The host that a file names; its library is imported here.

    Args:
        sweep: the file.
        components: what it names, built.
        workers: how many work on it at once, if more than are seen.

    Raises:
        MissingExtraError: the library is not installed.
        ArgumentError: an unknown sampler or pruner, or arguments that they do not take.
    """
    if sweep.backend == "ax":
        quiet_ax()
        from surrogate_ax_cli.ax_sweep import AxSweep

        return AxSweep(sweep, components)
    from surrogate_ax_cli.optuna_sweep import OptunaSweep

    return OptunaSweep(sweep, components, workers=workers)


def open_sweep(file: Path, *, workers: int | None = None) -> tuple[SweepFile, SweepComponents, SweepHost]:
    """A sweep file and what it names, built; nothing is written.

    Args:
        file: the sweep file.
        workers: how many work on it, where this process is one of several.

    Raises:
        ArgumentError: several workers of a sweep that one process keeps.
    """
    import_module("surrogate_ax_optuna")  # names the extra to install where it is missing
    sweep_file = read_sweep(file)
    if workers is not None and sweep_file.backend == "ax":
        raise sweep_file.error("backend", "an Ax client lives in one process; several workers share Optuna's studies.")
    components = assemble(sweep_file)
    return sweep_file, components, host_of(sweep_file, components, workers=workers or 1)
