"""What an experiment has taken over of earlier searches, in its properties."""

from __future__ import annotations

from collections.abc import Sequence

from ax.core.experiment import Experiment

from surrogate_ax.errors import MismatchError
from surrogate_ax.policies.sources import Source
from surrogate_ax_platform import records


def write_sources(experiment: Experiment, sources: Sequence[Source]) -> None:
    """Record what is taken over, so that any process goes on without the earlier clients."""
    if sources or records.WARM in experiment._properties:
        experiment._properties[records.WARM] = [source.to_json() for source in sources]


def read_sources(experiment: Experiment) -> list[Source]:
    """What an experiment has recorded of earlier searches.

    Raises:
        MismatchError: the record was altered.
    """
    found = experiment._properties.get(records.WARM, [])
    if not isinstance(found, list):
        raise MismatchError("client: its record of earlier searches was altered.")
    return [Source.from_json(each) for each in found]
