"""Leases and claims: whose a trial is, when it is taken back, and how several workers share a study."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import CmaEsSampler, RandomSampler
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from surrogate_ax import Evaluator, Range, Recipe, SurrogateSpace
from surrogate_ax.execution.records import SearchStatus
from surrogate_ax.policies.history import Round, as_proposals
from surrogate_ax_optuna import OptunaHost, sqlite, status
from surrogate_ax_optuna import lease as lease_module
from surrogate_ax_optuna.attributes import LEASE_ATTR, PROPOSAL_ATTR, REASON_ATTR, RECIPE_ATTR, ROUND_ATTR, attributes
from surrogate_ax_optuna.claims import FIRST, FIXED
from surrogate_ax_optuna.lease import TRIES, Leases, has_ended
from surrogate_ax_optuna.trials import RETRIES, ended_trials, numbers_of
from tests.processes import Forked

K = 4
HERE = lease_module._process()
NOBODY = "/".join((HERE.split("/")[0], "1", "0", "1"))  # this machine's process 1, started at another time
ELSEWHERE = "another machine/1/1/1"


@pytest.fixture(params=["memory", "journal", "sqlite"])
def study(request: pytest.FixtureRequest, make_study: Callable[..., optuna.Study], tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield make_study()
    elif request.param == "journal":
        yield make_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal"))))
    else:
        storage = sqlite(tmp_path / "study.db")
        yield make_study(storage=storage)
        storage.engine.dispose()


@pytest.fixture
def space(make_generator):
    return SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)


@pytest.fixture
def make_host(make_generator, objective):
    made: list[OptunaHost] = []

    def make(study: optuna.Study, **options: Any) -> OptunaHost:
        study = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=RandomSampler(seed=1))
        made.append(OptunaHost(study, make_generator(), objective, **options))
        return made[-1]

    yield make
    for host in made:
        host.close()


def _round(space: SurrogateSpace, number: int = 0, size: int = 64, rows: Any = None) -> Round:
    return Round(space, number, size, () if rows is None else as_proposals(space.bank, rows))


def _tell(host: OptunaHost, candidates: Any, generator: Any, objective: Any, space: SurrogateSpace) -> None:
    bank = space.bank.extend([seed for candidate in candidates for seed, _ in candidate.terms])
    z = bank.latents(bank.rows(candidate.terms for candidate in candidates))
    host.tell(candidates, Evaluator(generator, objective)(z, [candidate.condition for candidate in candidates]))


def _orphan(study: optuna.Study, host: OptunaHost, owned_by: str = NOBODY) -> None:
    """Let a host's trials look as if their process had been killed."""
    for trial_id in host._leases.held:
        study._storage.set_trial_system_attr(trial_id, LEASE_ATTR, {"owner": owned_by, "until": time.time() + 60})
    host.close()


def _of_others(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """System attributes that are not ours; values that a proposal wants are."""
    ours = ("surrogate:", FIXED)
    return {key: value for key, value in trial.system_attrs.items() if not key.startswith(ours)}


def test_a_trial_is_leased_from_its_creation_on(study, make_host, space, monkeypatch):
    created: list[dict[str, Any]] = []
    create = type(study._storage).create_new_trial

    def noted(self: Any, study_id: int, template_trial: Any = None) -> int:
        created.append(template_trial.system_attrs)
        return create(self, study_id, template_trial)

    monkeypatch.setattr(type(study._storage), "create_new_trial", noted)
    before = time.time()
    host = make_host(study)
    host.ask(2, _round(space, rows=np.eye(K), number=3))
    assert host._leases.owner.startswith(HERE + "/")
    assert [known[LEASE_ATTR]["owner"] for known in created] == [host._leases.owner] * 2
    begun = [known[LEASE_ATTR]["until"] - lease_module.GRACE for known in created]
    assert all(before - 0.01 < moment < time.time() + 0.01 for moment in begun)
    assert [(known[ROUND_ATTR], known[PROPOSAL_ATTR]) for known in created] == [(3, 0), (3, 1)]
    assert [attributes(trial)[LEASE_ATTR] for trial in study.trials] == [known[LEASE_ATTR] for known in created]


def test_a_living_process_keeps_its_trials(study, make_host, space):
    first, second = make_host(study), make_host(study)
    first.ask(3, _round(space))
    assert second.reclaim() == 0
    assert list(second.history().running) == [0, 0, 0]
    assert list(first.history().running) == []
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 3


def test_a_killed_processs_trials_are_run_again_as_they_were(study, make_host, make_generator, objective, space):
    conditions = {"guidance": Range(1, 7, step=0.5)}
    first = make_host(study, conditions=conditions, rng=3)
    round = _round(SurrogateSpace(space.bank, space.frame, fresh=0.5), rows=np.eye(K)[:2])
    asked = first.ask(4, round)
    _orphan(study, first)
    second = make_host(study, conditions=conditions, rng=3)
    assert (found := status(study)).again == 4
    assert str(found) == "0 trials ended, 4 taken back from a killed process, to be run again"
    assert second.reclaim() == 4
    assert second.reclaim() == 0
    assert status(study).again == 4
    assert list(second.history().terms) == []
    again = second.ask(6, round)
    assert [candidate.terms for candidate in again[:4]] == [candidate.terms for candidate in asked]
    assert [candidate.condition for candidate in again[:4]] == [candidate.condition for candidate in asked]
    for old, new in zip(study.trials[:4], study.trials[4:8], strict=True):
        assert new.params == old.params
        assert attributes(new).get(PROPOSAL_ATTR) == attributes(old).get(PROPOSAL_ATTR)
        recipe = Recipe.from_json(attributes(new)[RECIPE_ATTR])
        assert recipe.terms == Recipe.from_json(attributes(old)[RECIPE_ATTR]).terms
        assert recipe.batch == 6
        assert _of_others(new) == {FIRST: old.number, RETRIES: [old.number]}
    assert [PROPOSAL_ATTR in attributes(trial) for trial in study.trials[8:]] == [False] * 2  # no exact row twice
    _tell(second, again, make_generator(conditional=True), objective, space)
    assert [trial.number for trial in ended_trials(study)] == [4, 5, 6, 7, 8, 9]
    assert status(study).again == 0


def test_what_a_process_tells_after_its_trials_were_taken_away_is_dropped(
    study, make_host, make_generator, objective, space
):
    first, second = make_host(study), make_host(study)
    asked = first.ask(2, _round(space))
    for trial in study.trials:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # suspended for longer than the grace
    again = second.ask(2, _round(space))
    _tell(first, asked, make_generator(), objective, space)
    _tell(second, again, make_generator(), objective, space)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.number for trial in ended_trials(study)] == [2, 3]
    assert first._leases.held == frozenset()


def test_a_child_that_is_killed_too_has_a_child_of_its_own(study, make_host, space):
    terms = []
    for _ in range(3):
        host = make_host(study)
        host.reclaim()
        terms.append(host.ask(1, _round(space))[0].terms)
        _orphan(study, host)
    assert terms == terms[:1] * 3
    assert study.trials[2].system_attrs[RETRIES] == [0, 1]
    assert status(study).again == 1


def test_a_trial_that_kills_every_process_counts_as_failed_in_the_end(study, make_host, space):
    for _ in range(TRIES):
        host = make_host(study)
        host.reclaim()
        asked = host.ask(1, _round(space))
        assert len(ended_trials(study)) == 0
        _orphan(study, host)
    assert study.trials[-1].system_attrs[RETRIES] == list(range(TRIES - 1))
    last = make_host(study)
    assert last.reclaim() == 1
    (failed,) = ended_trials(study)
    assert attributes(failed)[REASON_ATTR] == "its process was killed at each of 5 tries"
    assert status(study).failed == 1
    assert last.ask(1, _round(space))[0].terms != asked[0].terms


def test_a_process_killed_inside_ask_leaves_nothing_to_run_again(study, make_host, space, monkeypatch):
    first = make_host(study)
    monkeypatch.setattr(first, "_ask_one", lambda *arguments: (_ for _ in ()).throw(SystemExit))
    monkeypatch.setattr(first, "_give_back", lambda trial_ids: None)  # what a killed process does not come to
    with pytest.raises(SystemExit):
        first.ask(1, _round(space, rows=np.eye(K)))
    _orphan(study, first)
    second = make_host(study)
    assert status(study) == SearchStatus(0, 0, 0, 0)
    assert second.reclaim() == 1
    assert second.ask(1, _round(space, rows=np.eye(K)))[0].terms == _round(space, rows=np.eye(K)).terms[0]
    assert _of_others(study.trials[1]) == {}


def test_without_the_owners_process_at_hand_the_deadline_decides(study, make_host, space, monkeypatch):
    monkeypatch.setattr(lease_module, "GRACE", 0.5)
    first, second = make_host(study), make_host(study)
    first.ask(2, _round(space))
    _orphan(study, first, owned_by=ELSEWHERE)
    assert second.reclaim() == 0
    trial_ids = [trial._trial_id for trial in study.trials]
    for trial_id in trial_ids:
        study._storage.set_trial_system_attr(trial_id, LEASE_ATTR, {"owner": ELSEWHERE, "until": time.time() - 1})
    heartbeat = lease_module.heartbeat_of(study._storage)
    if heartbeat is None:
        assert second.reclaim() == 2
    else:  # the deadline is for a process killed before its first beat; these have beaten
        assert second.reclaim() == 0
        monkeypatch.setattr(type(heartbeat), "_get_stale_trial_ids", lambda self, study_id: trial_ids[:1])
        assert second.reclaim() == 1


def test_a_trial_killed_before_its_first_heartbeat_is_taken_back(make_study, make_host, space, tmp_path, monkeypatch):
    study = make_study(storage=sqlite(tmp_path / "study.db"))
    first = make_host(study)
    monkeypatch.setattr(Leases, "hold", lambda self, trial_id: None)
    first.ask(1, _round(space))
    lease = {"owner": ELSEWHERE, "until": time.time() - 1}
    study._storage.set_trial_system_attr(study.trials[0]._trial_id, LEASE_ATTR, lease)
    assert make_host(study).reclaim() == 1


def test_heartbeats_are_beaten_from_the_first_trial_to_the_last(make_study, make_generator, objective, space, tmp_path):
    storage = sqlite(tmp_path / "study.db", heartbeat=1)
    study = make_study(storage=storage)
    host = OptunaHost(study, make_generator(), objective)
    asked = host.ask(2, _round(space))

    def beats() -> list[tuple[int, str]]:
        with storage.engine.connect() as connection:
            return [
                tuple(row) for row in connection.exec_driver_sql("SELECT trial_id, heartbeat FROM trial_heartbeats")
            ]

    first = beats()
    assert [trial_id for trial_id, _ in first] == [candidate.ticket._trial_id for candidate in asked]

    def each_has_beaten_again() -> bool:  # the trials are beaten one after another: the first may be ahead by one
        return all(now > before for (_, now), (_, before) in zip(beats(), first, strict=True))

    deadline = time.monotonic() + 20
    while not each_has_beaten_again() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert each_has_beaten_again()
    stop = host._leases._stop
    _tell(host, asked, make_generator(), objective, space)
    assert stop is not None
    assert stop.is_set()
    assert host._leases.held == frozenset()


def test_elsewhere_the_beat_moves_the_deadline_and_lets_go_of_ended_trials(make_study, make_host, space, monkeypatch):
    monkeypatch.setattr(lease_module, "INTERVAL", 0.05)
    study = make_study()
    host = make_host(study)
    one, two = host.ask(2, _round(space))
    first = attributes(study.trials[0])[LEASE_ATTR]["until"]
    study.tell(two.ticket, state=TrialState.FAIL)
    deadline = time.monotonic() + 20
    while (attributes(study.trials[0])[LEASE_ATTR]["until"] == first or len(host._leases.held) > 1) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    assert attributes(study.trials[0])[LEASE_ATTR]["until"] > first
    assert host._leases.held == {one.ticket._trial_id}


def test_a_beat_that_fails_is_tried_again(make_study, make_host, space, monkeypatch, caplog):
    monkeypatch.setattr(lease_module, "INTERVAL", 0.05)
    study = make_study()
    host = make_host(study)
    host.ask(1, _round(space))
    first = attributes(study.trials[0])[LEASE_ATTR]["until"]
    failures = [OSError("no answer"), OSError("no answer")]
    write = type(study._storage).set_trial_system_attr

    def failing(self: Any, trial_id: int, key: str, value: Any) -> None:
        if failures:
            raise failures.pop()
        write(self, trial_id, key, value)

    monkeypatch.setattr(type(study._storage), "set_trial_system_attr", failing)
    deadline = time.monotonic() + 20
    while attributes(study.trials[0])[LEASE_ATTR]["until"] == first and time.monotonic() < deadline:
        time.sleep(0.02)
    assert attributes(study.trials[0])[LEASE_ATTR]["until"] > first
    assert "no answer" in caplog.text


def test_an_owner_has_ended_when_its_process_has():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    there = "/".join((HERE.split("/")[0], str(process.pid), lease_module._start(process.pid) or "", "1"))
    assert not has_ended(there)
    process.kill()
    deadline = time.monotonic() + 20
    while not has_ended(there) and time.monotonic() < deadline:  # a process that nobody has waited for is no owner
        time.sleep(0.01)
    assert has_ended(there)
    process.wait()
    process.stdin.close()
    assert has_ended(there)
    assert not has_ended(f"{HERE}/1")
    assert not has_ended(ELSEWHERE)
    assert not has_ended("")


def test_a_trial_whose_making_was_broken_off_is_given_back_in_the_end(study, make_host, space, monkeypatch):
    create = type(study._storage).create_new_trial

    def interrupted(self: Any, study_id: int, template_trial: Any = None) -> int:
        create(self, study_id, template_trial)
        raise KeyboardInterrupt

    host, other = make_host(study), make_host(study)
    other.ask(1, _round(space))
    monkeypatch.setattr(type(study._storage), "create_new_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.ask(1, _round(space))
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "RUNNING"]
    host.close()
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL"]
    assert status(study) == SearchStatus(0, 0, 0, 1)


def test_trials_of_other_origin_are_neither_waited_for_nor_touched(study, make_host):
    study._storage.create_new_trial(study._study_id)
    host = make_host(study)
    assert host.reclaim() == 0
    assert list(host.history().running) == []
    assert study.trials[0].state == TrialState.RUNNING


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optunas_own_retry_is_taken_up_with_its_recipe(make_study, make_host, space, tmp_path):
    storage = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = make_study(storage=storage)
    first = make_host(study)
    (asked,) = first.ask(1, _round(space, number=2))
    _orphan(study, first)
    study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback()(study, study.trials[0])
    second = make_host(study)
    one, two = second.ask(2, _round(space, number=3))
    assert (one.ticket.number, one.terms, one.round) == (1, asked.terms, 2)
    assert attributes(study.trials[1])[LEASE_ATTR]["owner"] == second._leases.owner
    assert (two.ticket.number, two.round) == (2, 3)


def test_a_point_of_the_users_queue_is_run(study, make_host, space):
    host = make_host(study)
    host.ask(1, _round(space))
    study.enqueue_trial({"u0": 0.25, "u1": 0.5, "u2": 0.75})
    (candidate,) = host.ask(1, _round(space))
    assert candidate.terms == space.terms(np.array([[0.25, 0.5, 0.75]]))[0]
    assert host._leases.held >= {candidate.ticket._trial_id}


def test_a_point_of_the_users_queue_is_taken_back_from_a_process_killed_behind_its_lease(
    study, make_host, space, monkeypatch
):
    host = make_host(study)
    host.ask(1, _round(space))
    study.enqueue_trial({"u0": 0.25, "u1": 0.5, "u2": 0.75})
    write, done = study._storage.set_trial_system_attr, []

    def killed(trial_id: int, key: str, value: Any) -> None:
        if done:
            raise KeyboardInterrupt
        write(trial_id, key, value)
        done.append(key)

    monkeypatch.setattr(study._storage, "set_trial_system_attr", killed)
    monkeypatch.setattr(lease_module, "GRACE", -1)
    with pytest.raises(KeyboardInterrupt):
        host.ask(1, _round(space))
    monkeypatch.undo()
    assert study.trials[1].state == TrialState.RUNNING
    assert make_host(study).reclaim() == 1
    assert study.trials[1].state == TrialState.FAIL


def test_two_hosts_share_a_rounds_rows_and_its_places(study, make_host, space):
    round = _round(space, rows=np.eye(K), size=7)
    one, two = make_host(study, total_trials=20), make_host(study, total_trials=20)
    asked = [*one.ask(3, round), *two.ask(3, round), *one.ask(3, round), *two.ask(3, round)]
    assert [candidate.terms for candidate in asked[:K]] == round.terms
    assert len({candidate.terms for candidate in asked}) == len(asked) == 7


def _slow_reader(host: OptunaHost, monkeypatch: pytest.MonkeyPatch, before: Callable[[], Any]) -> None:
    """Let something happen between a host's choice of a claim and the making of its trial."""
    made = host._create
    pending = [before]

    def create(claim: Any) -> int:
        if pending:
            pending.pop()()
        return made(claim)

    monkeypatch.setattr(host, "_create", create)


def test_of_two_that_want_the_same_row_the_later_gives_way(study, make_host, space, monkeypatch):
    round = _round(space, rows=np.eye(K))
    one, two = make_host(study), make_host(study)
    _slow_reader(one, monkeypatch, lambda: two.ask(1, round))
    (candidate,) = one.ask(1, round)
    assert candidate.terms == round.terms[1]
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL", "RUNNING"]


def test_of_two_that_want_the_last_place_the_later_gives_way(study, make_host, space, monkeypatch):
    for options, round in (
        ({}, _round(space, size=1)),
        ({"total_trials": 2}, _round(space, number=1)),
    ):
        one, two = make_host(study, **options), make_host(study, **options)
        _slow_reader(one, monkeypatch, lambda two=two, round=round: two.ask(1, round))
        assert one.ask(1, round) == []
        assert one.ask(1, round) == []
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL"] * 2


def test_of_two_that_repeat_the_same_trial_the_later_gives_way(study, make_host, space, monkeypatch):
    first = make_host(study)
    first.ask(1, _round(space))
    _orphan(study, first)
    one, two = make_host(study), make_host(study)
    one.reclaim()
    _slow_reader(one, monkeypatch, lambda: two.ask(1, _round(space)))
    (candidate,) = one.ask(1, _round(space))
    assert [trial.system_attrs.get(RETRIES) for trial in study.trials] == [None, [0], [0], None]
    assert candidate.ticket.number == 3


def test_a_child_keeps_what_the_sampler_knows_and_none_of_the_result(make_study, make_generator, objective, space):
    study = make_study(CmaEsSampler(seed=0))
    host = OptunaHost(study, make_generator(), objective, batch_size=4)
    for _ in range(2):
        asked = host.ask(4, _round(space))
        _tell(host, asked, make_generator(), objective, space)
    (asked,) = host.ask(1, _round(space))
    asked.ticket.set_constraint("low", 1.0)
    asked.ticket.study._storage.set_trial_system_attr(asked.ticket._trial_id, "artifacts:1", "a picture")
    kept = dict(study.trials[-1].system_attrs)
    _orphan(study, host)
    host.reclaim()
    host.ask(1, _round(space))
    sampled = {key: value for key, value in kept.items() if key.startswith("cma")}
    assert sampled
    assert _of_others(study.trials[-1]) == sampled | {FIRST: 8, RETRIES: [8]}


@pytest.mark.parametrize("sampler", ["planned", "random"])
def test_two_processes_share_a_study_to_its_exact_end(tmp_path, sampler):
    path, log = tmp_path / "study.db", tmp_path / "log"
    sqlite(path).engine.dispose()
    code = Path(__file__).with_name("worker.py").read_text()
    workers = [Forked(code, str(path), "40", str(log), sampler) for _ in range(2)]  # each waits for the other's first
    ended = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], ended
    storage = sqlite(path)
    study = optuna.load_study(study_name="shared", storage=storage)
    ended = ended_trials(study)
    assert [trial.state for trial in ended] == [TrialState.COMPLETE] * 40
    assert study.get_trials(states=(TrialState.RUNNING,)) == []
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({row["process"] for row in rows}) == 2
    assert sum(row["n"] for row in rows) == 40  # nothing was generated twice, or for nothing
    recipes = [json.dumps(attributes(trial)[RECIPE_ATTR]["terms"]) for trial in ended]
    assert len(set(recipes)) == 40
    exact = [(attributes(t)[ROUND_ATTR], attributes(t)[PROPOSAL_ATTR]) for t in ended if PROPOSAL_ATTR in attributes(t)]
    assert len(set(exact)) == len(exact)
    assert bool(exact) == (sampler == "planned")
    storage.engine.dispose()


def test_numbers_of_new_trials_are_found_without_going_through_a_long_study():
    study = optuna.create_study()
    study.add_trials([optuna.trial.create_trial(value=0.0) for _ in range(50)])
    trials = study.get_trials(deepcopy=False)
    seen = []

    class Watched(list):
        def __reversed__(self):
            for trial in super().__reversed__():
                seen.append(trial.number)
                yield trial

    ids = [trials[47]._trial_id, trials[45]._trial_id]
    assert numbers_of(Watched(trials), ids) == {ids[0]: 47, ids[1]: 45}
    assert min(seen) >= 44  # the one at which it is seen that all are found
