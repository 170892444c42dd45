"""Who works on a study and whose turn is before whose, as every worker reads it from the leases."""

from __future__ import annotations

import datetime

import optuna
import pytest
from optuna.trial import TrialState

from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax_optuna import lease as lease_module
from surrogate_ax_optuna.attributes import LEASE_ATTR, REASON_ATTR, RECIPE_ATTR, ROUND_ATTR
from surrogate_ax_optuna.peers import SEEN, Peers

ME, A, B, C = "here/1/1/me", "there/1/1/a", "there/2/1/b", "there/3/1/c"


def trial(owner: str, state: TrialState = TrialState.COMPLETE, ago: float = 1.0, reason: str | None = None):
    ended = datetime.datetime.now() - datetime.timedelta(seconds=ago)
    known = {LEASE_ATTR: {"owner": owner, "until": 0}, ROUND_ATTR: 1, RECIPE_ATTR: {}}
    known |= {} if reason is None else {REASON_ATTR: reason}
    return optuna.trial.FrozenTrial(
        number=0,
        trial_id=0,
        state=state,
        value=1.0 if state == TrialState.COMPLETE else None,
        datetime_start=ended,
        datetime_complete=ended if state.is_finished() else None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs=known,
        intermediate_values={},
    )


def test_who_became_free_first_takes_first():
    peers = Peers(ME)
    for owner, ago in ((A, 3.0), (B, 1.0), (ME, 2.0)):
        peers.note(trial(owner, ago=ago))
    assert (list(peers.free()), peers.before) == ([A, B], 1)
    peers.see([trial(A, TrialState.RUNNING)])
    assert (list(peers.free()), peers.before) == ([B], 0)
    peers.see([trial(ME, TrialState.RUNNING)])  # who runs one comes behind those who have none
    assert (list(peers.free()), peers.before) == ([A, B], 2)


def test_who_has_just_come_takes_last():
    peers = Peers(ME)
    peers.note(trial(A))
    assert peers.before == 1


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (lambda: trial(B, ago=SEEN + 1), [A]),  # not seen for long
        (lambda: trial(A, TrialState.FAIL, reason=INTERRUPTED), []),  # gave its trial back
        (lambda: trial("here/1/1/before", ago=1.0), [A]),  # an earlier run of this process
        (lambda: trial("/".join((*lease_module._process().split("/")[:2], "0", "x"))), [A]),  # its process has ended
    ],
    ids=["long ago", "gave back", "this process", "ended"],
)
def test_who_is_gone_is_waited_for_no_more(gone, left):
    peers = Peers(ME)
    peers.note(trial(A, ago=2.0))
    peers.note(gone())
    assert list(peers.free()) == left


def test_workers_are_those_that_run_trials_or_are_free():
    peers = Peers(ME)
    assert peers.sharing().workers == 1
    peers.note(trial(A))
    peers.see([trial(B, TrialState.RUNNING), trial(C, TrialState.RUNNING), trial(ME, TrialState.RUNNING)])
    assert (peers.sharing().workers, peers.sharing().name) == (4, ME)
    assert peers.sharing(9).workers == 9
