"""What the tests of the Ax host read off a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ax.core.trial import Trial

from surrogate_ax_platform import records


def values_of(trial: Trial, names: Sequence[str]) -> list[float]:
    """Values of metrics on an ended trial, NaN where it has none."""
    result = trial.run_metadata.get(records.RESULT, {})
    values = {} if "stopped" in result else result.get("values", {})
    return [float(values.get(name, math.nan)) for name in names]
