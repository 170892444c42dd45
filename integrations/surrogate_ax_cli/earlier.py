"""The earlier searches that a sweep file names."""

from __future__ import annotations

from surrogate_ax.errors import SurrogateError
from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.execution.warm_start import Earlier
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_cli.targets import open_target


def earlier_of(sweep: SweepFile, record: SearchRecord | None) -> list[Earlier]:
    """Earlier searches, read; none for a study that is begun, as it has taken them over.

    Args:
        sweep: the file; paths in it are taken from its folder.
        record: what the study holds.

    Raises:
        SurrogateError: with file and line: one is not there, or holds no search.
    """
    found = list[Earlier]()
    if record is not None and record.status:
        return found
    for given in sweep.warm:
        try:
            opened = open_target(given if "://" in given else str(sweep.path.parent / given))
            found.append(Earlier(f"{opened.name!r} of {given}", opened.record()))
        except SurrogateError as error:
            raise type(error)(sweep.at("warm", str(error).removeprefix("STUDY: "))) from error
    return found
