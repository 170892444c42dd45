"""Ax's own drive with its experiment in PostgreSQL: trials in flight, a killed process, another that goes on."""

from __future__ import annotations

import numpy as np
import pytest
from ax.api.client import Client
from ax.core.trial_status import TrialStatus
from ax.storage.sqa_store import db

from surrogate_ax.errors import ArgumentError, StorageError
from surrogate_ax_platform import configure_runner, database, optimize, records
from tests.integrations.platform.values import values_of
from tests.postgres import Server
from tests.processes import Forked

TOTAL, AT_ONCE = 12, 4
KILLED = """
import os, signal, sys, warnings
from ax.api.client import Client
from surrogate_ax import Metric, Objective
from surrogate_ax_platform import configure_runner, database
from tests.integrations.platform.conftest import IdentityGenerator, first_entry

calls = []

def watch(z):
    calls.append(len(z))
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

client = Client.load_from_database("surrogate", storage_config=database(sys.argv[1]))
client._random_seed = 0
configure_runner(client, IdentityGenerator(watch=watch), Objective(Metric("first"), score=first_entry))
client.run_trials(12, parallelism=4, initial_seconds_between_polls=0)
"""


@pytest.fixture(autouse=True)
def _no_database_yet(monkeypatch):
    """As in a new process, whatever database the tests before had; its connections are closed in the end."""
    monkeypatch.setattr(db, "SESSION_FACTORY", None)
    yield
    if db.SESSION_FACTORY is not None:
        db.get_engine().dispose()


@pytest.mark.filterwarnings("ignore::ax.exceptions.core.AxParameterWarning", "ignore::sqlalchemy.exc.SAWarning")
def test_another_process_goes_on_where_one_was_killed_in_the_middle_of_a_batch(
    make_client, make_generator, objective, postgres: Server
):
    config = database(postgres.url)
    make_client(model=None, total_trials=TOTAL, storage_config=config)
    with Forked(KILLED, postgres.url) as ended:
        _, stderr = ended.communicate()
    assert ended.returncode == -9, stderr

    client = Client.load_from_database("surrogate", storage_config=config)
    trials = records.trials(client._experiment)
    assert [trial.status for trial in trials] == [TrialStatus.COMPLETED] * AT_ONCE + [TrialStatus.RUNNING] * AT_ONCE
    asked = [records.read_recipe(trial).terms for trial in trials]
    generator = make_generator()
    configure_runner(client, generator, objective)
    client.run_trials(TOTAL - len(trials), parallelism=AT_ONCE, initial_seconds_between_polls=0)

    client = Client.load_from_database("surrogate", storage_config=config)
    trials = records.trials(client._experiment)
    assert [trial.status for trial in trials] == [TrialStatus.COMPLETED] * TOTAL
    assert [
        records.read_recipe(trial).terms for trial in trials[: len(asked)]
    ] == asked  # what was running was run again
    assert generator.sizes == [AT_ONCE] * 2
    whole = make_client(model=None, total_trials=TOTAL)
    optimize(whole, make_generator(), objective, total_trials=TOTAL, batch_size=AT_ONCE)
    others = records.trials(whole._experiment)
    assert [records.read_recipe(trial) for trial in trials] == [records.read_recipe(trial) for trial in others]
    np.testing.assert_allclose(*([values_of(trial, ["first"]) for trial in each] for each in (trials, others)))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nothing", "url: expected a URL of SQLAlchemy whose driver is installed"),
        ("mysql+nodriver://me:secret@h/d", "url: expected a URL of SQLAlchemy whose driver is installed"),
        ("sqlite:////no/such/folder/ax.db", "url: sqlite:////no/such/folder/ax.db gives no database: unable to open"),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/d",
            r"url: postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/d gives",
        ),
    ],
)
def test_what_is_no_database_is_refused_without_the_password(url: str, message: str):
    with pytest.raises((ArgumentError, StorageError), match=message) as refused:
        database(url)
    assert "secret" not in str(refused.value)


def test_a_second_database_which_ax_would_ignore_is_refused(make_client, tmp_path):
    first = f"sqlite:///{tmp_path / 'first.db'}"
    make_client(storage_config=database(first))
    assert database(first).url == first
    with pytest.raises(ArgumentError, match=r"first\.db, and would keep those of sqlite:///.*second\.db there"):
        database(f"sqlite:///{tmp_path / 'second.db'}")
