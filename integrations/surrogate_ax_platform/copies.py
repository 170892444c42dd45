"""The ended trials of an experiment as another storage shows them: `mirror(...).rebuild(trial_copies(client), ...)`."""

from __future__ import annotations

from ax.api.client import Client

from surrogate_ax.execution.records import TrialCopy
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records


def trial_copies(client: Client, objective: Objective | None = None) -> list[TrialCopy]:
    """The ended trials of a client, in the order in which they ended.

    Args:
        client: with an experiment of `optimize`, or loaded.
        objective: ranks them; the one that the experiment has recorded if left out.

    Raises:
        MismatchError: the client has no experiment of ours, or a trial of somebody else.
    """
    copies = []
    for ended in records.read_record(client, objective).trials:
        trial = records.trial_of(client._experiment, ended.number)
        reason = trial.run_metadata.get(records.REASON)
        failed = trial.status.is_abandoned
        copies.append(TrialCopy(ended, records.parameters_of(trial), str(reason) if failed else None))
    return copies
