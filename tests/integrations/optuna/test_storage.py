"""The SQLite storage: Optuna's own suite, and what direct SQL could break beside it.

Every call is compared with `RDBStorage`'s on the same database, which a second process may write as well.
"""

from __future__ import annotations

import math
import os
import pickle
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

import surrogate_ax_optuna.sqlite_storage as module
from surrogate_ax import FunctionGenerator, Metric, Objective, SurrogateSpace
from surrogate_ax.errors import ArgumentError, StorageError
from surrogate_ax_optuna import create_study, optimize, read_record, sqlite
from surrogate_ax_optuna.sqlite_storage import SqliteStorage
from tests.processes import Forked

MINIMIZE = [StudyDirection.MINIMIZE]
BOX = FloatDistribution(0.0, 1.0)
GENERATOR = FunctionGenerator(lambda z: z, (4,))
OBJECTIVE = Objective(Metric("m"), score=lambda outputs, _: outputs.mean(dim=1))
SPACE = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without studies, made once: the tables take longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "folder" / "study.db"
    sqlite(path, heartbeat=None).engine.dispose()
    return path


@pytest.fixture
def path(tmp_path: Path, empty: Path) -> Path:
    return Path(shutil.copy(empty, tmp_path))


@pytest.fixture
def fast(path: Path) -> Iterator[RDBStorage]:
    storage = sqlite(path, heartbeat=None)
    yield storage
    storage.engine.dispose()


@pytest.fixture
def plain(fast: RDBStorage, path: Path) -> Iterator[RDBStorage]:
    storage = RDBStorage(f"sqlite:///{path}")
    yield storage
    storage.engine.dispose()


class TestSuite(StorageTestCase):
    """Optuna's suite on the storage itself."""

    @pytest.fixture
    def storage(self, fast: RDBStorage) -> BaseStorage:
        assert type(fast) is SqliteStorage
        return fast


class TestCachedSuite(StorageTestCase):
    """The same behind the cache that studies put before it."""

    @pytest.fixture
    def storage(self, fast: RDBStorage) -> BaseStorage:
        return get_storage(fast)


def _full_trial(storage: BaseStorage, study_id: int) -> int:
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_param(trial_id, "x", 0.25, BOX)
    storage.set_trial_param(trial_id, "a", 1, CategoricalDistribution(["p", None, 3.5, True]))
    storage.set_trial_param(trial_id, "n", 3.0, IntDistribution(1, 9, step=2))
    storage.set_trial_user_attr(trial_id, "é", {"list": [1, None, "ü"], "inf": math.inf})
    storage.set_trial_user_attr(trial_id, "é", {"list": []})
    storage.set_trial_system_attr(trial_id, "s", "x" * 3000)
    storage.set_trial_intermediate_value(trial_id, 3, math.inf)
    storage.set_trial_intermediate_value(trial_id, 1, math.nan)
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, (-math.inf, 0.5, np.float64(2), 7))
    return trial_id


def _same(a: FrozenTrial, b: FrozenTrial) -> None:
    assert repr(a) == repr(b)  # NaN, the order of parameters, types of values, and times to the microsecond
    assert a._trial_id == b._trial_id
    assert list(a.params) == list(b.params)
    assert [type(value) for value in a.values or ()] == [type(value) for value in b.values or ()]


def test_reads_what_rdb_storage_wrote_and_writes_what_it_reads(fast: RDBStorage, plain: RDBStorage) -> None:
    study_id = fast.create_new_study([StudyDirection.MINIMIZE] * 4)
    ids = [_full_trial(storage, study_id) for storage in (fast, plain, get_storage(fast), get_storage(plain))]
    for trial_id in ids:
        _same(fast.get_trial(trial_id), plain.get_trial(trial_id))
    for ours, theirs in zip(fast.get_all_trials(study_id), plain.get_all_trials(study_id), strict=True):
        _same(ours, theirs)
    assert [trial.number for trial in plain.get_all_trials(study_id)] == [0, 1, 2, 3]
    states = (TrialState.COMPLETE,)
    assert len(fast.get_all_trials(study_id, states=states)) == 4
    assert fast.get_all_trials(study_id, states=(TrialState.RUNNING,)) == []


def test_reads_only_what_the_cache_asks_for(fast: RDBStorage, plain: RDBStorage) -> None:
    study_id, other = fast.create_new_study(MINIMIZE), fast.create_new_study(MINIMIZE)
    ids = [fast.create_new_trial(study_id if i % 3 else other) for i in range(9)]
    for included, last in ((set(), -1), ({ids[1], ids[0], ids[8]}, ids[4]), (set(ids), ids[-1]), (set(), ids[-1])):
        ours = fast._get_trials(study_id, None, included, last)
        assert [t._trial_id for t in ours] == [t._trial_id for t in plain._get_trials(study_id, None, included, last)]


def test_no_object_mapping_on_the_way_of_a_trial(fast: RDBStorage) -> None:
    """The point of it all: after a study's first trial, SQLAlchemy executes nothing."""
    study = optuna.create_study(storage=fast, sampler=optuna.samplers.RandomSampler(seed=0))
    study.tell(study.ask({"x": BOX}), 0.0)
    executed: list[str] = []
    event.listen(fast.engine, "before_cursor_execute", lambda *given: executed.append(given[2]))
    for _ in range(3):
        trial = study.ask({"x": BOX})
        trial.set_user_attr("key", 1)
        trial.set_constraint("c", 0.5)
        study.tell(trial, 1.0)
    assert executed == []
    assert len(study.trials) == 4


@pytest.mark.parametrize("storage", ["fast", "plain"])
def test_refusals_are_those_of_rdb_storage(storage: str, request: pytest.FixtureRequest) -> None:
    tested: RDBStorage = request.getfixturevalue(storage)
    study_id = tested.create_new_study(MINIMIZE)
    trial_id = tested.create_new_trial(study_id)
    tested.set_trial_param(trial_id, "x", 0.5, BOX)
    cached = get_storage(tested)
    for call in (
        lambda i: tested.set_trial_user_attr(i, "k", 1),
        lambda i: tested.set_trial_system_attr(i, "k", 1),
        lambda i: tested._set_trial_param(i, "y", 0.5, BOX, BOX),
        lambda i: tested.set_trial_state_values(i, TrialState.FAIL),
        tested.get_trial,
    ):
        with pytest.raises(KeyError):
            call(trial_id + 100)
    for missing in (lambda: tested._create_new_trial(study_id + 1), lambda: tested.get_all_trials(study_id + 1)):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(ValueError, match="Cannot set different distribution kind"):
        tested._set_trial_param(trial_id, "x", 1, IntDistribution(0, 2), BOX)
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        tested._set_trial_param(trial_id, "c", 0, CategoricalDistribution([1]), CategoricalDistribution([2]))
    with pytest.raises(StorageInternalError):
        tested._set_trial_param(trial_id, "z", object(), BOX, BOX)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tested.set_trial_user_attr(trial_id, "k", object())
    tested._set_trial_param(trial_id, "x", 0.75, BOX, BOX)  # set already: the first value stays
    assert tested.get_trial(trial_id).params == {"x": 0.5}
    assert tested.set_trial_state_values(trial_id, TrialState.RUNNING) is False
    assert tested.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0]) is True
    for finished in (
        lambda: tested.set_trial_user_attr(trial_id, "k", 1),
        lambda: tested.set_trial_system_attr(trial_id, "k", 1),
        lambda: tested._set_trial_param(trial_id, "y", 0.5, BOX, BOX),
        lambda: tested.set_trial_state_values(trial_id, TrialState.FAIL, [2.0]),
    ):
        with pytest.raises(UpdateFinishedTrialError):
            finished()
    trial = cached.get_all_trials(study_id)[0]
    assert (trial.value, trial.state, trial.user_attrs) == (1.0, TrialState.COMPLETE, {})


def test_waiting_trials_are_changed_and_popped(fast: RDBStorage) -> None:
    study = optuna.create_study(storage=fast)
    study.enqueue_trial({"x": 0.125})
    study.add_trial(create_trial(params={"x": 0.5}, distributions={"x": BOX}, value=3.0))
    assert [trial.state for trial in study.trials] == [TrialState.WAITING, TrialState.COMPLETE]
    fast.set_trial_user_attr(study.trials[0]._trial_id, "k", 1)
    trial = study.ask({"x": BOX})
    assert (trial.number, trial.params["x"], trial.user_attrs) == (0, 0.125, {"k": 1})


def test_write_ahead_log_on_every_connection(fast: RDBStorage, path: Path) -> None:
    copied = pickle.loads(pickle.dumps(fast))
    assert type(copied) is SqliteStorage
    for storage in (fast, copied):
        opened = [storage.engine.raw_connection() for _ in range(3)]
        for connection in opened:
            cursor = connection.cursor()
            assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert cursor.execute("PRAGMA synchronous").fetchone() == (1,)
            assert cursor.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
            connection.close()
        storage.engine.dispose()


@pytest.mark.parametrize("changed", ["schema", "sqlite", "method"])
def test_untested_versions_get_rdb_storage_itself(changed: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another schema, an SQLite that lacks something, an Optuna whose method takes something else."""
    if changed == "schema":
        monkeypatch.setattr(module, "SCHEMA", "v9.9.9.a")
    elif changed == "sqlite":
        monkeypatch.setattr(module, "SQLITE", (99, 0, 0))
    else:
        monkeypatch.setattr(RDBStorage, "_set_trial_param", lambda self, trial_id, name, value: None)
    storage = sqlite(path, heartbeat=None)
    assert type(storage) is RDBStorage
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    if changed != "method":
        study = optuna.create_study(storage=storage)
        study.tell(study.ask({"x": BOX}), 0.5)
        assert study.best_value == 0.5
    storage.engine.dispose()


def test_threads_write_at_once(fast: RDBStorage) -> None:
    study = optuna.create_study(storage=fast, sampler=optuna.samplers.RandomSampler(seed=0))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(6):
                trial = study.ask({"x": BOX, "y": BOX})
                trial.set_user_attr("from", threading.get_ident())
                study.tell(trial, trial.params["x"])
        except BaseException as error:  # noqa: BLE001 -- told to the main thread
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(36))
    assert all(trial.state == TrialState.COMPLETE and len(trial.params) == 2 for trial in trials)


def test_workers_may_make_the_database_at_once(tmp_path: Path) -> None:
    path, made = tmp_path / "new.db", []
    begin = threading.Barrier(4)

    def work() -> None:
        begin.wait()
        made.append(sqlite(path, heartbeat=None))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(storage) for storage in made] == [SqliteStorage] * 4
    with made[0].engine.connect() as connection:
        assert len(connection.exec_driver_sql("SELECT * FROM alembic_version").fetchall()) == 1
    for storage in made:
        storage.engine.dispose()


WORKER = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
kind, path, trials = sys.argv[1], sys.argv[2], int(sys.argv[3])
if kind == "fast":
    from surrogate_ax_optuna import sqlite
    storage = sqlite(path, heartbeat=None)
else:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}", {"connect_args": {"timeout": 60}})
study = optuna.load_study(study_name="shared", storage=storage, sampler=optuna.samplers.RandomSampler())
box = {f"u{k}": optuna.distributions.FloatDistribution(0, 1) for k in range(3)}
print("ready", flush=True)
for _ in range(trials):
    trial = study.ask(box)
    trial.set_user_attr("by", kind)
    study.tell(trial, trial.params["u0"])
"""


def _start(kind: str, path: Path, trials: int) -> Forked:
    return Forked(WORKER, kind, str(path), str(trials))


def test_a_second_process_with_rdb_storage_writes_at_the_same_time(fast: RDBStorage, path: Path) -> None:
    study = optuna.create_study(storage=fast, study_name="shared", sampler=optuna.samplers.RandomSampler(seed=0))
    with _start("plain", path, 8) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        while other.poll() is None or len(study.trials) < 30:
            trial = study.ask({f"u{k}": BOX for k in range(3)})
            trial.set_user_attr("by", "fast")
            study.tell(trial, trial.params["u0"])
        assert other.stderr is not None
        assert other.wait() == 0, other.stderr.read()
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert sum(trial.user_attrs["by"] == "plain" for trial in trials) == 8
    assert all(trial.state == TrialState.COMPLETE and len(trial.params) == 3 for trial in trials)


def test_a_killed_writer_leaves_a_readable_database(fast: RDBStorage, path: Path) -> None:
    study = optuna.create_study(storage=fast, study_name="shared")
    with _start("fast", path, 100_000) as other:
        assert other.stdout is not None
        other.stdout.readline()
        while len(study.trials) < 5:
            time.sleep(0.01)
        other.send_signal(signal.SIGKILL)
    history = [trial for trial in study.get_trials() if trial.state == TrialState.COMPLETE]
    assert len(history) >= 4
    assert all(len(trial.params) == 3 and trial.value == trial.params["u0"] for trial in history)
    fast.engine.dispose()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    again = optuna.load_study(study_name="shared", storage=sqlite(path, heartbeat=None))
    again.tell(again.ask({"x": BOX}), 1.0)


def test_a_locked_database_is_reported_as_optuna_does(path: Path) -> None:
    storage = sqlite(path, connect_args={"timeout": 0.05})
    study_id = storage.create_new_study(MINIMIZE)
    trial_id = storage.create_new_trial(study_id)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageInternalError):
        storage.set_trial_user_attr(trial_id, "k", 1)
    assert storage.get_trial(trial_id).user_attrs == {}  # readers go on
    blocker.rollback()
    blocker.close()
    storage.set_trial_user_attr(trial_id, "k", 1)
    assert storage.get_trial(trial_id).user_attrs == {"k": 1}
    storage.engine.dispose()


@pytest.mark.parametrize("name", ["a b", "{x}", "50%", "ü#1"])
def test_odd_file_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / f"{name}.db"
    storage = sqlite(path, heartbeat=None)
    storage.create_new_study(MINIMIZE)
    assert path.is_file()
    storage.engine.dispose()


def _folder(tmp_path: Path) -> Path:
    return tmp_path


def _under_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "study.db"


def _not_a_database(tmp_path: Path) -> Path:
    (tmp_path / "text.db").write_text("something else" * 100)
    return tmp_path / "text.db"


@pytest.mark.parametrize("make", [_folder, _under_a_file, _not_a_database])
def test_unusable_paths_are_refused(make: Any, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(ArgumentError, match=r"path: expected a database.*" + path.name):
        sqlite(path, heartbeat=None)


@pytest.fixture
def not_root() -> Iterator[None]:
    """Root may write anything, so the test runs as nobody."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    yield
    os.seteuid(me)


@pytest.mark.parametrize("exists", [True, False])
def test_a_path_that_can_only_be_read_is_refused(exists: bool, not_root: None) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders cannot be entered by nobody
        path = Path(folder) / "study.db"
        if exists:
            sqlite(path, heartbeat=None).engine.dispose()
            path.chmod(0o444)
        Path(folder).chmod(0o555)
        with pytest.raises(ArgumentError, match=r"path: expected a database that can be written.*study\.db"):
            sqlite(path, heartbeat=None)
        Path(folder).chmod(0o755)


@pytest.mark.parametrize(
    "name", ["who is it?.db", "why?/study.db", "100%.db", "%3F.db", "a{b}.db", "a#b&c.db", "ä b+c.db"]
)
def test_the_file_that_is_named_is_the_one_written(tmp_path: Path, empty: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    shutil.copy(empty, file)
    storage = sqlite(file)
    optuna.create_study(study_name="ours", storage=storage)
    storage.engine.dispose()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT study_name FROM studies").fetchall() == [("ours",)]
    connection.close()
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


@pytest.mark.parametrize(
    "name", [":memory:", "", ".", "sqlite://", "sqlite:///study.db", "file:study.db?mode=memory", "a\0b"]
)
def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="path: "):
        sqlite(name)
    assert list(tmp_path.iterdir()) == []


def search(storage: BaseStorage, trials: int) -> None:
    study = create_study(OBJECTIVE, storage=storage, study_name="s", sampler=RandomSampler(seed=0))
    optimize(study, GENERATOR, OBJECTIVE, rng=0, space=SPACE, total_trials=trials, progress=False)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Path:
    path = Path(shutil.copy(empty, tmp_path_factory.mktemp("searched")))
    storage = sqlite(path)
    search(storage, 4)
    storage.engine.dispose()
    return path


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE study_system_attributes SET value_json = '{' WHERE key = 'surrogate:study'", "JSONDecodeError"),
        ("UPDATE trial_system_attributes SET value_json = 'nul' WHERE key = 'surrogate:recipe'", "JSONDecodeError"),
        ("UPDATE trial_params SET distribution_json = '{}' WHERE param_name = 'u0'", "KeyError"),
        ("UPDATE trials SET state = 'COMPLETELY'", "LookupError|KeyError"),
    ],
)
def test_what_optuna_cannot_read_is_said_plainly(searched: Path, tmp_path: Path, statement: str, why: str) -> None:
    path = Path(shutil.copy(searched, tmp_path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    for storage in (sqlite(path), RDBStorage(f"sqlite:///{path}")):
        with pytest.raises(StorageError, match=rf"study 's': Optuna cannot read its storage \(.*({why})"):
            search(storage, 8)
        with pytest.raises(StorageError, match=why):
            read_record(optuna.load_study(study_name="s", storage=storage))
        storage.engine.dispose()
