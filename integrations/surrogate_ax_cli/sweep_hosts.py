"""The host that keeps a sweep's trials, chosen by `backend:` in the file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from surrogate_ax_cli.assembly import SweepComponents, assemble
from surrogate_ax_cli.sweep import SweepHost
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep
from surrogate_ax_cli.terminal import quiet_ax


def host_of(sweep: SweepFile, components: SweepComponents) -> SweepHost:
    """The host that a file names; its library is imported here.

    Args:
        sweep: the file.
        components: what it names, built.

    Raises:
        MissingExtraError: the library is not installed.
        ArgumentError: an unknown sampler or pruner, or arguments that they do not take.
    """
    if sweep.backend == "ax":
        quiet_ax()
        from surrogate_ax_cli.ax_sweep import AxSweep

        return AxSweep(sweep, components)
    from surrogate_ax_cli.optuna_sweep import OptunaSweep

    return OptunaSweep(sweep, components)


def open_sweep(file: Path) -> tuple[SweepFile, SweepComponents, SweepHost]:
    """A sweep file and what it names, built; nothing is written."""
    import_module("surrogate_ax_optuna")  # names the extra to install where it is missing
    sweep_file = read_sweep(file)
    components = assemble(sweep_file)
    return sweep_file, components, host_of(sweep_file, components)
