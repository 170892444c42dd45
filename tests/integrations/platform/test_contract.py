"""The Ax host keeps the contract of hosts in memory, with a snapshot, and in a database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ax.api.client import Client
from ax.api.configs import StorageConfig
from ax.early_stopping.strategies import ThresholdEarlyStoppingStrategy

from surrogate_ax import Objective, save_preview
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax.policies.history import History
from surrogate_ax_platform import (
    AxHost,
    configure_experiment,
    generation_strategy,
    load_client,
    read_record,
    records,
    save_client,
)
from surrogate_ax_platform.host import Ticket
from surrogate_ax_platform.seeds import client_seeds
from tests.contracts.host_case import (
    CONDITIONS,
    GENERATOR,
    OBJECTIVE,
    Asked,
    Conditions,
    K,
    ask,
    evaluated,
    report,
    round_with,
)
from tests.contracts.host_contract import HostContract
from tests.contracts.shared_host_contract import PreviewContract

NAMES = itertools.count()
MANY = 10**6  # trials before a model would take over, which is fitted for seconds


class AxCase:
    """An experiment in memory: a process that opens it would have to be this one."""

    keeps_seeds = True

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        objective: Objective = OBJECTIVE,
        conditions: Conditions = CONDITIONS,
    ) -> None:
        self._folder, self._patch, self._objective, self._conditions = folder, patch, objective, conditions
        self._name = f"experiment {next(NAMES)}"
        self._first: Client | None = self.configured()
        self.begin(self._first)

    def configured(self, storage: StorageConfig | None = None) -> Client:
        """A new client."""
        client = Client(random_seed=0, storage_config=storage)
        strategy = generation_strategy(initial=MANY)
        options: dict[str, Any] = {"seeds": K, "conditions": self._conditions, "model": strategy, "name": self._name}
        configure_experiment(client, GENERATOR, self._objective, **options)
        return client

    def begin(self, client: Client) -> None:
        """Put a new client where others find it."""
        self._client = client

    def load(self) -> Client:
        """The client as another process finds it."""
        return self._client

    @property
    def snapshot(self) -> Path | None:
        """The file that hosts keep up to date."""
        return None

    def another(self, objective: Objective = OBJECTIVE, conditions: Conditions = CONDITIONS) -> AxCase:
        return type(self)(self._folder, self._patch, objective, conditions)

    def open(self, *, rng: int = 0, previews: Path | None = None) -> AxHost:
        client, self._first = self._first or self.load(), None  # who makes an experiment need not load it
        client.set_early_stopping_strategy(
            ThresholdEarlyStoppingStrategy(metric_threshold=0.0, min_progression=0, min_curves=0)
        )
        options: dict[str, Any] = {"rng": rng, "previews": previews, "snapshot": self.snapshot}
        options["seeds"] = client_seeds(client, snapshot=self.snapshot) or FolderSeedStore(self._folder / "seeds")
        return AxHost(client, GENERATOR, self._objective, **options)

    def kill(self, host: AxHost) -> None:
        """Nothing is left to do: a client has one process, so the next host knows that it has died."""

    def history(self) -> History:
        return read_record(self.load(), self._objective).history

    def asked(self, candidates: Sequence[Candidate[Ticket]]) -> list[Asked]:
        trials = records.trials(self.load()._experiment)
        found = [trials[candidate.ticket.index] for candidate in candidates]
        return [Asked(records.read_recipe(trial), records.parameters_of(trial)) for trial in found]

    def open_showing(self, stored: Callable[[], None]) -> AxHost:
        def saved(*arguments: Any, **options: Any) -> Path:
            path = save_preview(*arguments, **options)
            stored()
            return path

        self._patch.setattr(records, "save_preview", saved)
        return self.open(previews=self._folder)

    def picture(self, candidate: Candidate[Ticket]) -> bytes | None:
        trial = records.trials(self.load()._experiment)[candidate.ticket.index]
        name = trial.run_metadata.get(records.PREVIEW)
        return None if name is None else (self._folder / name).read_bytes()


class SnapshotCase(AxCase):
    """An experiment in a JSON file."""

    @property
    def snapshot(self) -> Path:
        return self._folder / f"{self._name}.json"

    def begin(self, client: Client) -> None:
        save_client(client, self.snapshot)

    def load(self) -> Client:
        return load_client(self.snapshot)


class DatabaseCase(AxCase):
    """An experiment in Ax's tables of a database, of which a process has one at a time."""

    def configured(self, storage: StorageConfig | None = None) -> Client:
        from ax.storage.sqa_store.db import get_engine

        self._storage = storage or StorageConfig(url=str(get_engine().url))
        return super().configured(self._storage)

    def begin(self, client: Client) -> None:
        """It is there already."""

    def load(self) -> Client:
        return Client.load_from_database(self._name, storage_config=self._storage)


@pytest.fixture
def case_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[AxCase]], AxCase]:
    return lambda kind: kind(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'ax.db'}"
    init_engine_and_session_factory(url=url, force_init=True)
    create_all_tables(get_engine())
    yield
    get_engine().dispose()


class TestAx(HostContract, PreviewContract):
    @pytest.fixture
    def case(self, case_of: Callable[[type[AxCase]], AxCase]) -> AxCase:
        return case_of(AxCase)


class TestSnapshot(HostContract, PreviewContract):
    @pytest.fixture
    def case(self, case_of: Callable[[type[AxCase]], AxCase]) -> AxCase:
        return case_of(SnapshotCase)


def test_a_value_counts_for_ax_whatever_a_dead_process_has_estimated(case_of: Callable[[type[AxCase]], AxCase]) -> None:
    case = case_of(AxCase)
    host = case.open()
    report(host, ask(host, 1, round_with()), 5, [0.5])
    host = case.open()
    asked = ask(host, 1, round_with())
    report(host, asked, 2, [0.75])  # a checkpoint before that of the process before
    host.tell(asked, evaluated(asked, 3.0))
    found = case.load()._experiment.lookup_data().df.set_index("metric_name")["mean"]
    assert found["score"] == 3.0


@pytest.mark.filterwarnings("ignore::ax.exceptions.core.AxParameterWarning", "ignore::sqlalchemy.exc.SAWarning")
class TestDatabase(HostContract):
    @pytest.fixture
    def case(self, case_of: Callable[[type[AxCase]], AxCase], database: None) -> AxCase:
        return case_of(DatabaseCase)
