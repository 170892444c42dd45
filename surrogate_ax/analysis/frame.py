"""The trials of a study as a table, one row a trial: metrics, call arguments, cost, and where its picture is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from surrogate_ax.errors import MissingExtraError
from surrogate_ax.execution.records import EndedTrial, SearchRecord

if TYPE_CHECKING:
    import pandas

OWN = ("state", "round", "seeds", "nfe", "seconds", "stopped_at", "picture")  # columns of every table


def trials_frame(record: SearchRecord, pictures: Mapping[int, str] | None = None) -> pandas.DataFrame:
    """A study's ended trials, in the order of ending.

    A metric or an argument that is called like a column of every table, or like each other, has its kind before its
    name: "metric round", "argument seconds". Metrics of a trial that was stopped are estimates, where it has any.

    Args:
        record: what the study holds.
        pictures: files of outputs, by number of their trial.

    Returns:
        A row a trial, named by its number: the metrics, the searched call arguments, state ("done", "stopped" or
            "failed"), round, number of seeds, NFE, seconds, the step where it was stopped, and the file of its picture.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("A table needs pandas: pip install 'surrogate-ax[optuna]' or pandas.") from error
    metrics = [metric.name for metric in record.history.objective.metrics]
    arguments = list(dict.fromkeys(name for trial in record.trials for name in trial.recipe.condition))
    of_metrics, of_arguments = column_names(metrics, arguments, OWN)
    columns: dict[str, list[Any]] = {}
    for named, read in ((of_metrics, _metric), (of_arguments, _argument)):
        for name, column in named.items():
            columns[column] = [read(trial, name) for trial in record.trials]
    files = pictures or {}
    for trial in record.trials:
        state = "stopped" if trial.stopped else "done" if trial.result else "failed"
        own = (state, trial.round, len(trial.recipe.terms), trial.nfe, trial.seconds, trial.result.get("stopped"))
        for name, value in zip(OWN, (*own, files.get(trial.number)), strict=True):
            columns.setdefault(name, []).append(value)
    index = pandas.Index([trial.number for trial in record.trials], name="trial", dtype="int64")
    frame = pandas.DataFrame({name: columns.get(name, []) for name in [*columns, *OWN]}, index=index)
    return frame.astype({"stopped_at": "Int64"})


def column_names(
    metrics: Sequence[str], arguments: Sequence[str], own: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """What the columns of metrics and of call arguments are called, by their names.

    Args:
        metrics: names.
        arguments: names.
        own: columns that every table of this kind has: what is called like one of them, or like something of the other
            kind, has its kind before its name.
    """
    return (
        {name: f"metric {name}" if name in own or name in arguments else name for name in metrics},
        {name: f"argument {name}" if name in own or name in metrics else name for name in arguments},
    )


def _metric(trial: EndedTrial, name: str) -> float:
    (value,) = trial.estimates([name]) if trial.stopped else trial.values([name])
    return value


def _argument(trial: EndedTrial, name: str) -> Any:
    return trial.recipe.condition.get(name)
