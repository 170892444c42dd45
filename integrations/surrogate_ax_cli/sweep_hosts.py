"""The host that keeps a sweep's trials, chosen by `backend:` in the file."""

from __future__ import annotations

from surrogate_ax_cli.assembly import SweepComponents
from surrogate_ax_cli.sweep import SweepHost
from surrogate_ax_cli.sweep_file import SweepFile


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
