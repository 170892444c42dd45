"""How a search runs: the loop, executors from candidates to evaluations, and what a host has to do."""

from surrogate_ax.execution.asking import AnswerBook, Page, person
from surrogate_ax.execution.early_stopping import EarlyStopping
from surrogate_ax.execution.executor import Candidate, Executor, Synchronous
from surrogate_ax.execution.exploration import Exploration
from surrogate_ax.execution.loop import Batch, Host, run
from surrogate_ax.execution.pipelined import Pipelined
from surrogate_ax.execution.records import EndedTrial, SearchRecord, SearchStatus
from surrogate_ax.execution.session import Session

__all__ = [
    "AnswerBook",
    "Batch",
    "Candidate",
    "EarlyStopping",
    "EndedTrial",
    "Executor",
    "Exploration",
    "Host",
    "Page",
    "Pipelined",
    "SearchRecord",
    "SearchStatus",
    "Session",
    "Synchronous",
    "person",
    "run",
]
