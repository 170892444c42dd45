"""The Optuna host keeps the contract of hosts on every kind of storage."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, GrpcStorageProxy, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from surrogate_ax import Objective
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax.policies.history import History
from surrogate_ax_optuna import OptunaHost, read_record, sqlite
from surrogate_ax_optuna import lease as lease_module
from surrogate_ax_optuna.attributes import LEASE_ATTR, PREVIEW_ATTR, attributes
from surrogate_ax_optuna.patient import server_storage
from surrogate_ax_optuna.seeds import study_seeds
from surrogate_ax_optuna.trials import read_recipe
from tests.contracts.host_case import CONDITIONS, GENERATOR, OBJECTIVE, Asked, Conditions
from tests.contracts.host_contract import HostContract
from tests.contracts.shared_host_contract import PreviewContract, SharedContract
from tests.processes import Forked

NAMES = itertools.count()
NOBODY = "/".join((lease_module._machine(), "1", "0", "1"))  # this machine's process 1, started at another time
SERVE = """
import sys, warnings
import optuna
from surrogate_ax_optuna import sqlite
warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = optuna.storages.get_storage(sqlite(sys.argv[1]))
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=int(sys.argv[2]))
"""


class Pictures(FileSystemArtifactStore):
    """A store of artifacts that says when it has kept one."""

    def __init__(self, folder: Path, stored: Callable[[], None]) -> None:
        super().__init__(folder)
        self._stored = stored

    def write(self, artifact_id: str, content_body: Any) -> None:
        super().write(artifact_id, content_body)
        self._stored()


class OptunaCase:
    """Studies of one storage, which hosts and the reader open one by one."""

    keeps_seeds = True

    def __init__(
        self,
        storages: Sequence[BaseStorage],
        folder: Path,
        objective: Objective = OBJECTIVE,
        conditions: Conditions = CONDITIONS,
    ) -> None:
        self._storages, self._folder, self._objective, self._conditions = storages, folder, objective, conditions
        self._opened: list[OptunaHost] = []
        self._others: list[OptunaCase] = []
        self._name = f"study {next(NAMES)}"
        goals: list[Any] = [metric.goal for metric in objective.optimised]
        optuna.create_study(storage=storages[0], study_name=self._name, directions=goals)
        self._reader = self._study(storages[2])

    def another(self, objective: Objective = OBJECTIVE, conditions: Conditions = CONDITIONS) -> OptunaCase:
        self._others.append(OptunaCase(self._storages, self._folder, objective, conditions))
        return self._others[-1]

    def open(self, *, rng: int = 0, previews: Any = None) -> OptunaHost:
        storage = self._storages[len(self._opened) % 2]
        study = self._study(storage)
        options: dict[str, Any] = {"conditions": self._conditions, "rng": rng, "previews": previews}
        options["seeds"] = study_seeds(study) or FolderSeedStore(self._folder / "seeds")  # as `seeds=` names one
        self._opened.append(OptunaHost(study, GENERATOR, self._objective, **options))
        return self._opened[-1]

    def _study(self, storage: BaseStorage) -> optuna.Study:
        sampler, pruner = RandomSampler(seed=0), ThresholdPruner(lower=0.0)
        return optuna.load_study(study_name=self._name, storage=storage, sampler=sampler, pruner=pruner)

    def kill(self, host: OptunaHost) -> None:
        for trial_id in host._leases.held:
            lease = {"owner": NOBODY, "until": time.time() + 60}
            host.study._storage.set_trial_system_attr(trial_id, LEASE_ATTR, lease)
        host._leases.close()

    def history(self) -> History:
        return read_record(self._reader, self._objective).history

    def asked(self, candidates: Sequence[Candidate[optuna.Trial]]) -> list[Asked]:
        trials = self._reader.get_trials(deepcopy=False)
        found = [trials[candidate.ticket.number] for candidate in candidates]
        return [Asked(read_recipe(trial), trial.params) for trial in found]

    def open_showing(self, stored: Callable[[], None]) -> OptunaHost:
        return self.open(previews=Pictures(self._folder, stored))

    def picture(self, candidate: Candidate[optuna.Trial]) -> bytes | None:
        artifact = attributes(self._reader.get_trials(deepcopy=False)[candidate.ticket.number]).get(PREVIEW_ATTR)
        if artifact is None:
            return None
        with FileSystemArtifactStore(self._folder).open_reader(artifact) as file:
            return bytes(file.read())

    def close(self) -> None:
        """End the threads of all hosts."""
        for host in self._opened:
            host._leases.close()
        for case in self._others:
            case.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the databases of all tests are, each with many studies."""
    return tmp_path_factory.mktemp("storages")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """Optuna's gRPC proxy before a database, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with Forked(SERVE, str(folder / "proxied.db"), str(port)) as server:
        try:
            with contextlib.closing(GrpcStorageProxy(host="127.0.0.1", port=port)) as proxy:
                proxy.wait_server_ready(timeout=60)
            yield port
        finally:
            server.kill()


@pytest.fixture(scope="module", params=["memory", "sqlite", "rdb", "journal", "proxy", "postgres"])
def storages(request: pytest.FixtureRequest, folder: Path) -> Iterator[Sequence[BaseStorage]]:
    """A storage as two workers and a reader open it; what is in memory is the same for all."""
    memory = InMemoryStorage()
    port = request.getfixturevalue("port") if request.param == "proxy" else 0
    make: dict[str, Callable[[], BaseStorage]] = {
        "memory": lambda: memory,
        "sqlite": lambda: sqlite(folder / "ours.db"),
        "rdb": lambda: RDBStorage(f"sqlite:///{folder / 'theirs.db'}"),
        "journal": lambda: JournalStorage(JournalFileBackend(str(folder / "study.journal"))),
        "proxy": lambda: GrpcStorageProxy(host="127.0.0.1", port=port),
        "postgres": lambda: server_storage(request.getfixturevalue("postgres").url),
    }
    opened = [make[request.param]() for _ in range(3)]
    yield opened
    for storage in opened:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()
        elif isinstance(storage, GrpcStorageProxy):
            storage.close()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of the proxy
class TestOptuna(HostContract, SharedContract, PreviewContract):
    @pytest.fixture
    def case(self, storages: Sequence[BaseStorage], tmp_path: Path) -> Iterator[OptunaCase]:
        case = OptunaCase(storages, tmp_path)
        yield case
        case.close()
