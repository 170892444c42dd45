"""Earlier searches that a study learns from: read from other studies, and recorded in this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.warm_start import Earlier, earlier_searches
from surrogate_ax.policies.sources import Source
from surrogate_ax_optuna.attributes import WARM_ATTR, set_study_attribute, study_attributes
from surrogate_ax_optuna.record import read_record


def read_earlier(warm: Any) -> list[Earlier]:
    """Earlier searches, as users give them.

    Args:
        warm: Optuna studies, or records of any host.

    Raises:
        ArgumentError: something else.
        MismatchError: a study that no search was recorded in.
    """
    return earlier_searches(warm, _read, expected="Optuna studies")


def _read(given: Any) -> Earlier | None:
    if not isinstance(given, optuna.Study):
        return None
    return Earlier(f"study {given.study_name!r}", read_record(given))


def write_sources(study: optuna.Study, sources: Sequence[Source]) -> None:
    """Record what is taken over, so that any process goes on without the earlier studies; the names last."""
    known = study_attributes(study)
    if not sources and WARM_ATTR not in known:
        return
    for i, source in enumerate(sources):
        written = source.to_json()
        if known.get(f"{WARM_ATTR}:{i}") != written:
            set_study_attribute(study, f"{WARM_ATTR}:{i}", written)
    set_study_attribute(study, WARM_ATTR, [source.name for source in sources])


def read_sources(study: optuna.Study) -> list[Source]:
    """What a study has recorded of earlier searches.

    Raises:
        MismatchError: the record was altered.
    """
    known = study_attributes(study)
    names = known.get(WARM_ATTR, [])
    if not isinstance(names, list) or not all(f"{WARM_ATTR}:{i}" in known for i in range(len(names))):
        raise MismatchError(f"study {study.study_name!r}: its record of earlier searches was altered.")
    return [Source.from_json(known[f"{WARM_ATTR}:{i}"]) for i in range(len(names))]
