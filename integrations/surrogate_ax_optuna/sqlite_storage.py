"""Optuna's SQLite storage, set up for many small writes.

Optuna's `RDBStorage` takes SQLAlchemy's object mapper for each of a trial's 20 to 30 reads and writes. Processor time
of a trial of 7 parameters, asked and told in batches of 16, on a busy core (median of 3 runs):

| sampler | in memory | RDBStorage with write-ahead log | SqliteStorage |
|---|---|---|---|
| RandomSampler | 3 ms | 51 ms | 6 ms |
| CmaEsSampler | 4 ms | 73 ms | 10 ms |

`SqliteStorage` is an `RDBStorage` with short SQL of its own for these calls, one transaction each. The database stays
Optuna's: dashboards and plain `RDBStorage`s read and write it at the same time. Whatever is not the ordinary case (a
missing or ended trial, a parameter's first appearance, a value that SQLite refuses, a locked database) changes nothing
and is handed to `RDBStorage`, which does it or raises its own error. Under another schema, SQLite or Optuna than this
was written for (`is_tested`), `sqlite` gives an `RDBStorage` instead.

Times are stored as naive UTC and given as naive local time, enumerations are stored by name, as Optuna's models do.
"""

from __future__ import annotations

import copy
import datetime
import functools
import inspect
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.execution.collector import collecting_later

if TYPE_CHECKING:  # SQLAlchemy is imported where it is used: it takes 16 MB, which a study in memory can do without
    from sqlalchemy.engine import Engine

SCHEMA = "v3.2.0.a"  # of Optuna 3.2 to 5.0
SQLITE = (3, 38, 0)  # the first with json_each always there; RETURNING is older

# Changes of a trial find its row only while it may be changed. Trials are read by a JSON list of ids, however many.
_SET_ATTRIBUTE = """INSERT INTO trial_%s_attributes (key, value_json, trial_id)
    SELECT ?, ?, trial_id FROM trials WHERE trial_id = ? AND state IN ('RUNNING', 'WAITING')
    ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"""
_SET_PARAM = """INSERT OR IGNORE INTO trial_params (param_name, param_value, distribution_json, trial_id)
    SELECT ?, ?, ?, trial_id FROM trials WHERE trial_id = ? AND state IN ('RUNNING', 'WAITING')"""
_END = """UPDATE trials SET state = ?, datetime_complete = ?
    WHERE trial_id = ? AND state IN ('RUNNING', 'WAITING')"""
_SET_VALUE = """INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, ?)
    ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, value_type = excluded.value_type"""
_CREATE = """INSERT INTO trials (number, study_id, state, datetime_start)
    SELECT (SELECT COUNT(*) FROM trials WHERE study_id = studies.study_id), study_id, 'RUNNING', ?
    FROM studies WHERE study_id = ? RETURNING trial_id, number"""
_ATTRIBUTE = "INSERT INTO trial_%s_attributes (trial_id, key, value_json) VALUES (?, ?, ?)"
_BEAT = """INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (?, CURRENT_TIMESTAMP)
    ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat"""
_STUDY = "SELECT 1 FROM studies WHERE study_id = ?"
_TRIAL = "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE trial_id = ?"
_CHANGED = """SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials
    WHERE trial_id IN (SELECT value FROM json_each(?)) AND study_id = ?
    UNION ALL SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials
    WHERE study_id = ? AND trial_id > ? ORDER BY trial_id"""
_PARAMS = """SELECT trial_id, param_name, param_value, distribution_json FROM trial_params
    WHERE trial_id IN {ids} ORDER BY param_id"""
_VALUES = """SELECT trial_id, objective, value, value_type FROM trial_values
    WHERE trial_id IN {ids} ORDER BY objective"""
_STEPS = """SELECT trial_id, step, intermediate_value, intermediate_value_type FROM trial_intermediate_values
    WHERE trial_id IN {ids}"""
_ATTRIBUTES = """SELECT trial_id, key, value_json FROM trial_%s_attributes
    WHERE trial_id IN {ids}"""


class SqliteStorage(RDBStorage):
    """`RDBStorage` on SQLite with direct SQL for the calls that every trial makes. Arguments as there."""

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As in RDBStorage."""
        if not _change(self.engine, _SET_ATTRIBUTE % "user", (key, json.dumps(value), trial_id)):
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As in RDBStorage."""
        if not _change(self.engine, _SET_ATTRIBUTE % "system", (key, json.dumps(value), trial_id)):
            super().set_trial_system_attr(trial_id, key, value)

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        # Equal distributions are compatible; for others, RDBStorage looks closer.
        row = (param_name, param_value_internal, distribution_to_json(distribution), trial_id)
        if previous_distribution != distribution or not _change(self.engine, _SET_PARAM, row):
            super()._set_trial_param(trial_id, param_name, param_value_internal, distribution, previous_distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As in RDBStorage."""
        from optuna.storages._rdb import models

        if state.is_finished():
            stored = [
                models.TrialValueModel.value_to_stored_repr(value) for value in (() if values is None else values)
            ]
            rows = [(trial_id, i, value, kind.name) for i, (value, kind) in enumerate(stored)]
            if _change(self.engine, _END, (state.name, utc_text(datetime.datetime.now()), trial_id), rows):
                return True
        return super().set_trial_state_values(trial_id, state, values)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is None or _is_bare(template_trial):
            start = datetime.datetime.now()
            user = template_trial.user_attrs if template_trial else {}
            system = template_trial.system_attrs if template_trial else {}
            try:
                with transaction(self.engine, "BEGIN IMMEDIATE") as connection:
                    rows = connection.execute(_CREATE, (utc_text(start), study_id)).fetchall()
                    for attributes, whose in ((user, "user"), (system, "system")) if rows else ():
                        values = [(rows[0][0], key, json.dumps(value)) for key, value in attributes.items()]
                        connection.executemany(_ATTRIBUTE % whose, values)
            except failures():
                rows = []
            if rows:
                ((trial_id, number),) = rows
                user, system = copy.deepcopy(user), copy.deepcopy(system)
                return FrozenTrial(number, TrialState.RUNNING, None, start, None, {}, {}, user, system, {}, trial_id)
        return super()._create_new_trial(study_id, template_trial)

    def record_heartbeat(self, trial_id: int) -> None:
        """As in RDBStorage."""
        if not _change(self.engine, _BEAT, (trial_id,)):
            super().record_heartbeat(trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As in RDBStorage."""
        trials = _read(self.engine, _TRIAL, (trial_id,))
        return super().get_trial(trial_id) if trials is None else trials[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        ids = json.dumps([i for i in included_trial_ids if i <= trial_id_greater_than])
        trials = _read(self.engine, _CHANGED, (ids, study_id, study_id, trial_id_greater_than), study_id, states)
        if trials is None:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        return trials


def _is_bare(template: FrozenTrial) -> bool:
    """Whether a trial runs, and has nothing but attributes."""
    return template.state == TrialState.RUNNING and not template.params and not template.intermediate_values


def is_tested(storage: RDBStorage) -> bool:
    """Tell whether database, SQLite and Optuna are such as the SQL below was written for."""
    own = [name for name, value in vars(SqliteStorage).items() if inspect.isfunction(value)]
    same = all(_parameters(SqliteStorage, name) == _parameters(RDBStorage, name) for name in own)
    return same and sqlite3.sqlite_version_info >= SQLITE and storage.get_current_version() == SCHEMA


def _parameters(kind: type, name: str) -> list[str]:
    return list(inspect.signature(getattr(kind, name)).parameters) if hasattr(kind, name) else []


def failures(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What a database raises that does not do what it is asked, and other exceptions beside."""
    from sqlalchemy.exc import SQLAlchemyError

    return (sqlite3.Error, SQLAlchemyError, StorageInternalError, *others)


@contextmanager
def transaction(engine: Engine, begin: str) -> Iterator[sqlite3.Connection]:
    """A connection within a transaction ("BEGIN" to read, "BEGIN IMMEDIATE" to write), rolled back by an exception."""
    with closing(engine.raw_connection()) as pooled:  # closing rolls back what is not committed
        connection = cast(sqlite3.Connection, pooled.dbapi_connection)
        connection.execute(begin)
        yield connection
        connection.commit()


def _change(engine: Engine, statement: str, values: tuple[Any, ...], then: Sequence[tuple[Any, ...]] = ()) -> bool:
    """Change one row, and the values of its objectives; False if nothing was changed, for RDBStorage to try."""
    try:
        with transaction(engine, "BEGIN IMMEDIATE") as connection:
            if connection.execute(statement, values).rowcount != 1:
                return False
            connection.executemany(_SET_VALUE, then)
    except failures():
        return False
    return True


def _read(
    engine: Engine,
    statement: str,
    values: tuple[Any, ...],
    study_id: int | None = None,
    states: Container[TrialState] | None = None,
) -> list[FrozenTrial] | None:
    """Trials as they are at one moment; None if there are none, nor the study, or SQLite fails."""
    try:
        with transaction(engine, "BEGIN") as connection:
            rows = connection.execute(statement, values).fetchall()
            if not rows and not connection.execute(_STUDY, (study_id,)).fetchall():
                return None
            return frozen_trials(
                _belonging(connection), [row for row in rows if states is None or TrialState[row[2]] in states]
            )
    except failures():
        return None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:  # of JSON, times, names of states
        raise StorageInternalError(
            f"a trial in the database cannot be read ({type(error).__name__}: {error}); the file was altered or damaged"
        ) from error


class WritingAhead(sqlite3.Connection):
    """A connection that writes ahead, however it was opened: by SQLAlchemy's pool, or after unpickling."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA journal_mode=WAL").close()
        self.execute("PRAGMA synchronous=NORMAL").close()


Rows = Callable[[str, list[int]], Iterable[tuple[Any, ...]]]


def _belonging(connection: sqlite3.Connection) -> Rows:
    """What reads the rows of some trials, by a statement with a place for their ids."""
    listed = "(SELECT value FROM json_each(?))"
    return lambda statement, ids: connection.execute(statement.format(ids=listed), (json.dumps(ids),))


@collecting_later()
def frozen_trials(rows: Rows, trials: list[tuple[Any, ...]]) -> list[FrozenTrial]:
    """Trials with all that belongs to them.

    Args:
        rows: reads the rows of trials by a statement with a place for their ids, `{ids}`.
        trials: their own rows.
    """
    from optuna.storages._rdb import models

    ids = [row[0] for row in trials]

    def column() -> dict[int, dict[Any, Any]]:
        return defaultdict(dict)

    params, distributions, values, steps, user, system = column(), column(), column(), column(), column(), column()
    for trial_id, name, value, text in rows(_PARAMS, ids):
        distributions[trial_id][name] = distribution = _distribution(text)
        params[trial_id][name] = distribution.to_external_repr(value)
    number, step_number = models.TrialValueModel, models.TrialIntermediateValueModel
    for trial_id, objective, value, kind in rows(_VALUES, ids):
        values[trial_id][objective] = number.stored_repr_to_value(value, number.TrialValueType[kind])
    for trial_id, step, value, kind in rows(_STEPS, ids):
        kind = step_number.TrialIntermediateValueType[kind]
        steps[trial_id][step] = step_number.stored_repr_to_intermediate_value(value, kind)
    for attributes, owner in ((user, "user"), (system, "system")):
        for trial_id, key, text in rows(_ATTRIBUTES % owner, ids):
            attributes[trial_id][key] = json.loads(text)
    return [
        FrozenTrial(
            number=n,
            state=TrialState[state],
            value=None,
            values=list(values[i].values()) if i in values else None,
            datetime_start=_from_text(start),
            datetime_complete=_from_text(complete),
            params=params[i],
            distributions=distributions[i],
            user_attrs=user[i],
            system_attrs=system[i],
            intermediate_values=steps[i],
            trial_id=i,
        )
        for i, n, state, start, complete in trials
    ]


@functools.lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def utc_text(local: datetime.datetime) -> str:
    """A local time as databases keep it."""
    return local.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _from_text(utc: str | None) -> datetime.datetime | None:
    if utc is None:
        return None
    return datetime.datetime.fromisoformat(utc + "+00:00").astimezone().replace(tzinfo=None)
