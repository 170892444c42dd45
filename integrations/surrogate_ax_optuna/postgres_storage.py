"""Optuna's PostgreSQL storage, set up for many workers: few statements a trial, as `SqliteStorage` has them.

Optuna's `RDBStorage` sends 60 to 90 statements a trial of 7 parameters, each of which waits for the server; here they
are about 20, and those that read what belongs to a trial go together. The database stays Optuna's. Whatever is not the
ordinary case changes nothing and is handed to `RDBStorage`, which does it or raises its own error; so is everything
under another schema, or with another driver than psycopg.
"""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax_optuna.sqlite_storage import SCHEMA, failures, frozen_trials, utc_text

ACTIVE = 1  # of a connection of libpq's: a command is under way
_SET_ATTRIBUTE = """INSERT INTO trial_{}_attributes (key, value_json, trial_id)
    SELECT %s::text, %s::text, trial_id FROM trials WHERE trial_id = %s AND state IN ('RUNNING', 'WAITING')
    ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"""
_END = """UPDATE trials SET state = %s, datetime_complete = %s
    WHERE trial_id = %s AND state IN ('RUNNING', 'WAITING')"""
_SET_VALUE = """INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (%s, %s, %s, %s)
    ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, value_type = excluded.value_type"""
_LOCK = "SELECT 1 FROM studies WHERE study_id = %s FOR UPDATE"  # first: the count sees what others have committed
_CREATE = """INSERT INTO trials (number, study_id, state, datetime_start)
    SELECT COUNT(*), %s, 'RUNNING', %s FROM trials WHERE study_id = %s RETURNING trial_id, number"""
_ATTRIBUTES = """INSERT INTO trial_{}_attributes (trial_id, key, value_json)
    SELECT %s, key, value FROM unnest(%s::text[], %s::text[]) AS given (key, value)"""
_PARAMS = """INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT %s, name, value, distribution
    FROM unnest(%s::text[], %s::float8[], %s::text[]) AS given (name, value, distribution)"""
_TRIAL = """SELECT trial_id, number, state, to_char(datetime_start, 'YYYY-MM-DD HH24:MI:SS.US'),
    to_char(datetime_complete, 'YYYY-MM-DD HH24:MI:SS.US') FROM trials WHERE trial_id = %s"""
_CHANGED = """SELECT trial_id, number, state, to_char(datetime_start, 'YYYY-MM-DD HH24:MI:SS.US'),
    to_char(datetime_complete, 'YYYY-MM-DD HH24:MI:SS.US') FROM trials
    WHERE study_id = %s AND (trial_id = ANY(%s::int[]) OR trial_id > %s) ORDER BY trial_id"""


class PostgresStorage(RDBStorage):
    """`RDBStorage` on PostgreSQL with direct SQL for the calls that every trial makes. Arguments as there."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._direct = self.engine.dialect.driver == "psycopg" and self.get_current_version() == SCHEMA

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As in RDBStorage."""
        if not self._change(_SET_ATTRIBUTE.format("user"), (key, json.dumps(value), trial_id)):
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As in RDBStorage."""
        if not self._change(_SET_ATTRIBUTE.format("system"), (key, json.dumps(value), trial_id)):
            super().set_trial_system_attr(trial_id, key, value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As in RDBStorage."""
        from optuna.storages._rdb import models

        if state.is_finished():
            stored = [models.TrialValueModel.value_to_stored_repr(value) for value in values or ()]
            rows = [(trial_id, i, value, kind.name) for i, (value, kind) in enumerate(stored)]
            if self._change(_END, (state.name, _now(), trial_id), rows):
                return True
        return super().set_trial_state_values(trial_id, state, values)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is None or not _runs(template_trial):
            return super()._create_new_trial(study_id, template_trial)
        start, made = datetime.datetime.now(), None
        try:
            with self._transaction() as connection:
                connection.execute(_LOCK, (study_id,))
                made = connection.execute(_CREATE, (study_id, utc_text(start), study_id)).fetchone()
                for owner, of in (("user", template_trial.user_attrs), ("system", template_trial.system_attrs)):
                    if of:
                        values = [json.dumps(value) for value in of.values()]
                        connection.execute(_ATTRIBUTES.format(owner), (made[0], list(of), values))
                if template_trial.params:
                    connection.execute(_PARAMS, (made[0], *_params(template_trial)))
        except self._failures():
            return super()._create_new_trial(study_id, template_trial)
        trial = copy.deepcopy(template_trial)
        trial._trial_id, trial.number, trial.datetime_start = made[0], made[1], start
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As in RDBStorage."""
        trials = self._read(_TRIAL, (trial_id,), None)
        return trials[0] if trials else super().get_trial(trial_id)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        ids = [i for i in included_trial_ids if i <= trial_id_greater_than]
        trials = self._read(_CHANGED, (study_id, ids, trial_id_greater_than), states)
        if not trials:  # RDBStorage knows whether there is such a study
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        return trials

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A connection of psycopg's, rolled back by an exception."""
        with closing(self.engine.raw_connection()) as pooled:  # closing rolls back what is not committed
            connection: Any = pooled.dbapi_connection
            try:
                yield connection
                connection.commit()
            except BaseException:
                # The server has gone, or a signal broke in while it was asked: nothing to roll back, nor to keep.
                if connection.closed or connection.info.transaction_status == ACTIVE:
                    pooled.invalidate()
                raise

    def _change(self, statement: str, values: tuple[Any, ...], then: Sequence[tuple[Any, ...]] = ()) -> bool:
        """Change one row, and the values of its objectives; False if nothing was changed, for RDBStorage to try."""
        if not self._direct:
            return False
        try:
            with self._transaction() as connection:
                if connection.execute(statement, values).rowcount != 1:
                    return False
                for row in then:
                    connection.execute(_SET_VALUE, row)
        except self._failures():
            return False
        return True

    def _read(
        self, statement: str, values: tuple[Any, ...], states: Container[TrialState] | None
    ) -> list[FrozenTrial] | None:
        """Trials with all that belongs to them; None where RDBStorage is to try."""
        if not self._direct:
            return None
        try:
            with self._transaction() as connection:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # of one moment
                rows = connection.execute(statement, values).fetchall()
                rows = [row for row in rows if states is None or TrialState[row[2]] in states]
                return frozen_trials(lambda of, ids: connection.execute(_listed(of), (ids,)), rows)
        except self._failures(ValueError, KeyError, TypeError):
            return None

    def _failures(self, *others: type[Exception]) -> tuple[type[Exception], ...]:
        """What the driver raises, and other exceptions beside."""
        return failures(self.engine.dialect.loaded_dbapi.Error, *others)


def _listed(statement: str) -> str:
    return statement.format(ids="(SELECT unnest(%s::int[]))")


def _runs(template: FrozenTrial) -> bool:
    """Whether a trial runs, and has nothing but attributes and parameters."""
    return template.state == TrialState.RUNNING and not template.intermediate_values and template.values is None


def _params(template: FrozenTrial) -> tuple[list[str], list[float], list[str]]:
    from optuna.distributions import distribution_to_json

    of = template.distributions
    values = [float(of[name].to_internal_repr(value)) for name, value in template.params.items()]
    return list(template.params), values, [distribution_to_json(of[name]) for name in template.params]


def _now() -> str:
    return utc_text(datetime.datetime.now())
