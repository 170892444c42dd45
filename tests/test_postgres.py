"""The PostgreSQL server of the tests: it keeps studies over a restart, and its absence is said or fails."""

from __future__ import annotations

import optuna
import pytest
from optuna.storages import RDBStorage

from tests import postgres
from tests.postgres import Server, serving


def test_a_study_outlives_a_crash_of_the_server() -> None:
    with serving() as server:
        storage = RDBStorage(server.url, engine_kwargs={"pool_pre_ping": True})
        study = optuna.create_study(storage=storage, study_name="kept")
        study.tell(study.ask(), 1.0)
        server.stop(at_once=True)
        server.start()
        assert [trial.value for trial in study.trials] == [1.0]
        storage.engine.dispose()


def test_where_there_is_no_server_tests_are_skipped_and_fail_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(postgres, "program", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="PostgreSQL is not installed; apt-get install postgresql"):
        Server(tmp_path)  # type: ignore[arg-type]
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="PostgreSQL is not installed"):
        Server(tmp_path)  # type: ignore[arg-type]
