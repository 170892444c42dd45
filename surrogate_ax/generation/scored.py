"""Outputs that were scored where they were made, such as on another machine: their values come along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ScoreError
from surrogate_ax.generation.protocols import Outputs


@dataclass(frozen=True)
class Scored:
    """One output with its values. An evaluator takes these, and its objective's score is not called.

    Args:
        output: what is shown of it.
        values: of every metric, by name; empty where it could not be scored.
        reason: why not.
    """

    output: Any
    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def bare(outputs: Outputs) -> Outputs:
    """Outputs without the values that came along.

    Args:
        outputs: n outputs.
    """
    if not (isinstance(outputs, Sequence) and any(isinstance(output, Scored) for output in outputs)):
        return outputs
    return [output.output if isinstance(output, Scored) else output for output in outputs]


def values_of(outputs: Sequence[Any], names: Sequence[str]) -> tuple[dict[str, Array], dict[int, str]] | None:
    """Values by metric (n,), NaN where there is none, and the reasons; None of outputs that are still to be scored.

    Args:
        outputs: n outputs.
        names: of the metrics.

    Raises:
        ScoreError: only some of them were scored, or by other metrics.
    """
    scored = [output for output in outputs if isinstance(output, Scored)]
    if not scored:
        return None
    if len(scored) < len(outputs):
        raise ScoreError(f"generator: expected all or none of its outputs scored, got {len(scored)} of {len(outputs)}.")
    wrong = next((each for each in scored if not each.reason and set(each.values) != set(names)), None)
    if wrong is not None:
        raise ScoreError(
            f"objective: its metrics are {list(names)}, and the generator scores its outputs itself by "
            f"{sorted(wrong.values)}. Take the generator's own objective."
        )
    values = {name: np.array([each.values.get(name, np.nan) for each in scored]) for name in names}
    return values, {i: each.reason for i, each in enumerate(scored) if each.reason}
