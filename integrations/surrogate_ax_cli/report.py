"""`surrogate-ax report`: a study, or an Ax experiment, as one HTML file."""

from __future__ import annotations

from pathlib import Path

from surrogate_ax_cli.makers import maker_of
from surrogate_ax_cli.targets import Searched


def write(searched: Searched, path: Path, *, items: int, spec: str | None = None) -> Path:
    """Write the file; outputs without a kept picture are made again where the generator is known.

    Args:
        searched: the study.
        path: where to.
        items: outputs shown, the best first.
        spec: of the generator, as for `maker_of`.

    Raises:
        SurrogateError: as `write_report`, or the generator is not what made the study.
    """
    known = spec is not None or searched.sweep is not None
    generator = maker_of(searched, spec).generator if known else None
    path.parent.mkdir(parents=True, exist_ok=True)
    if searched.on_ax:
        from surrogate_ax_platform import write_report as write_ax_report

        return write_ax_report(searched.kept, path, generator=generator, items=items)
    from surrogate_ax_optuna import write_report

    return write_report(searched.kept, path, generator=generator, previews=searched.previews, items=items)
