"""The host that keeps a sweep's trials, chosen by `backend:` in the file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from surrogate_ax.execution.records import SearchRecord
from surrogate_ax_cli.assembly import SweepComponents, assemble
from surrogate_ax_cli.sweep import SweepHost
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep


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


def open_searched(file: Path) -> tuple[SweepComponents, SweepHost, SearchRecord]:
    """What a sweep file names, and the trials that the sweep has; one without trials is refused."""
    sweep_file, components, host = open_sweep(file)
    record = host.load_record()
    if record is None:
        raise sweep_file.error("name", f"there are no trials of {sweep_file.name!r} yet. Run `surrogate-ax sweep`.")
    return components, host, record
