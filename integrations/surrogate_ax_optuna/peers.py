"""Who else works on a study, read from the leases of its trials: how many there are, and whose turn is before whose.

Of several workers that are free, the one whose last trial ended first takes first. All read the same trials, so all
know the same order, and leave to those before them what these are about to take: no two want the same place. Where they
err, as for a worker that has just come and has no trial yet, the later trial gives way (`claims`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial

from surrogate_ax.policies.history import Sharing
from surrogate_ax_optuna.lease import has_ended, owner_of
from surrogate_ax_optuna.trials import is_awaiting, is_leased, is_told

SEEN = 5.0  # seconds after its last trial for which a worker without one is waited for


class Peers:
    """The workers of a study.

    Args:
        owner: of this one's leases.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._last: dict[str, float] = {}  # when the last trial of a worker ended
        self._busy: frozenset[str] = frozenset()

    def note(self, ended: FrozenTrial) -> None:
        """Read a trial that has ended, once; who gives one back is about to go."""
        owner = owner_of(ended)
        if not is_told(ended):
            self._last.pop(owner, None)
        elif owner and ended.datetime_complete is not None:
            self._last[owner] = max(self._last.get(owner, 0.0), ended.datetime_complete.timestamp())

    def see(self, unended: Iterable[FrozenTrial]) -> None:
        """Read the trials that have not ended."""
        self._busy = frozenset(owner_of(trial) for trial in unended if is_leased(trial) and not is_awaiting(trial))

    def free(self) -> Sequence[str]:
        """Other workers that have no trial and were seen a moment ago, by when they became free."""
        late = datetime.datetime.now().timestamp() - SEEN
        seen = [owner for owner, when in self._last.items() if when >= late and owner not in self._busy]
        return sorted((owner for owner in seen if not self._is_out(owner)), key=self._since)

    @property
    def before(self) -> int:
        """How many other workers take before this one."""
        mine = self._since(self._owner) if self._owner not in self._busy else (float("inf"), "")
        return sum(self._since(owner) < mine for owner in self.free())

    def sharing(self, least: int = 1) -> Sharing:
        """How the study is shared.

        Args:
            least: workers that are to be counted on, whether they are seen or not.
        """
        others = self._busy.union(self.free()) - {self._owner}
        return Sharing(max(least, 1 + len(others)), self._owner)

    def _since(self, owner: str) -> tuple[float, str]:
        return self._last.get(owner, float("inf")), owner

    def _is_out(self, owner: str) -> bool:
        """Whether a worker takes nothing any more, as an earlier one of this process, which has returned."""
        return owner.rpartition("/")[0] == self._owner.rpartition("/")[0] or has_ended(owner)
