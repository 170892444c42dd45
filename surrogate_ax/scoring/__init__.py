"""What outputs are judged by: metrics and objectives, the evaluator of a batch, a score in its own process."""

from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax.scoring.process import SubprocessScore

__all__ = [
    "Evaluations",
    "Evaluator",
    "Metric",
    "Objective",
    "SubprocessScore",
]
