"""Several workers on one study: how much faster they are than one, and how many trials it takes to share the work.

Processes search with `optimize` and the planned search, one trial at a time, over a generator that only sleeps; what
they share is the storage. Reported are the time from the moment when all are ready to the last value, against one
worker's, and trials made over trials wanted: what a claim that another worker was first at leaves behind.

    python examples/benchmarks/workers.py                # speed on PostgreSQL, claims on every storage
    python examples/benchmarks/workers.py --quick        # 0.5 s, and fewer trials
    python examples/benchmarks/workers.py --only sqlite --seconds 0.5

The speed that is possible depends on the processors: a trial costs some computing beside the sleep (printed as `cpu`).
PostgreSQL is Debian's (`apt-get install postgresql`), started in a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.postgres import serving

STORAGES = ("postgres", "sqlite", "journal", "proxy")
TRIALS, WORKERS = 48, 8
GOALS = {2.0: 6.8, 0.5: 5.0}  # seconds of the generator -> times as fast as one worker
MADE = 1.05  # trials made over trials wanted, at most
PRELOADED = ["torch", "alembic.command", "optuna.storages._rdb.models", "surrogate_ax_optuna", "scipy.stats", "grpc"]


def open_storage(where: str) -> Any:
    """The storage that "kind:place" names."""
    from optuna.storages import GrpcStorageProxy, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from surrogate_ax_optuna import sqlite
    from surrogate_ax_optuna.patient import server_storage

    kind, _, place = where.partition(":")
    if kind == "postgres":
        return server_storage(place)
    if kind == "sqlite":
        return sqlite(place)
    if kind == "journal":
        return JournalStorage(JournalFileBackend(place))
    proxy = GrpcStorageProxy(host="127.0.0.1", port=int(place))
    proxy.wait_server_ready(timeout=60)
    return proxy


def serve(file: str, port: int) -> None:
    """Optuna's gRPC proxy over SQLite, which ends with its process."""
    from optuna.storages import get_storage, run_grpc_proxy_server

    from surrogate_ax_optuna import sqlite

    quiet()
    run_grpc_proxy_server(get_storage(sqlite(file)), host="127.0.0.1", port=port)


def quiet() -> None:
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def work(where: str, total: int, seconds: float, ready: Any, go: Any, notes: str, workers: int) -> None:
    """One worker, from the moment when all of them may go."""
    import optuna
    import torch

    from surrogate_ax import FunctionGenerator, Metric, Objective
    from surrogate_ax_optuna import SurrogateSampler, optimize

    quiet()
    torch.set_num_threads(1)

    def generate(z: torch.Tensor) -> torch.Tensor:
        time.sleep(seconds)
        return z

    study = optuna.create_study(
        study_name="shared",
        storage=open_storage(where),
        sampler=SurrogateSampler(),
        direction="maximize",
        load_if_exists=True,
    )
    generator = FunctionGenerator(generate, (64,), revision="1", check_rows=False)
    objective = Objective(
        Metric("bright"), score=lambda outputs, _: (outputs[:, :8] - 0.3 * outputs[:, 8:16] ** 2).sum(1)
    )
    ready.release()
    go.wait()
    begun = time.process_time()
    optimize(study, generator, objective, total_trials=total, batch_size=1, rng=0, progress=False)
    with Path(notes).open("a") as file:
        file.write(json.dumps({"cpu": time.process_time() - begun, "end": time.time()}) + "\n")


@contextlib.contextmanager
def place(kind: str, folder: Path) -> Iterator[str]:
    """A new storage."""
    if kind == "postgres":
        with serving() as server:
            yield f"postgres:{server.url}"
    elif kind == "proxy":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        server_process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(str(folder / "study.db"), port)
        )
        server_process.start()
        try:
            yield f"proxy:{port}"
        finally:
            server_process.kill()
            server_process.join()
    else:
        yield f"{kind}:{folder / ('study.db' if kind == 'sqlite' else 'study.log')}"


def race(kind: str, workers: int, total: int, seconds: float) -> dict[str, float]:
    """A search by so many workers, on a storage of its own: seconds, trials made, and seconds of processor a trial."""
    import optuna

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as name, place(kind, Path(name)) as where:
        notes = str(Path(name) / "notes")
        ready, go = context.Semaphore(0), context.Event()
        args = (where, total, seconds, ready, go, notes, workers)
        open_storage(where)  # makes the tables
        processes = [context.Process(target=work, args=args) for _ in range(workers)]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        begun = time.time()
        go.set()
        for process in processes:
            process.join()
        study = optuna.load_study(study_name="shared", storage=open_storage(where))
        trials = study.get_trials(deepcopy=False)
        told = [trial for trial in trials if trial.state.name == "COMPLETE"]
        last = max(trial.datetime_complete for trial in told if trial.datetime_complete).timestamp()
        recipes = {json.dumps(trial.system_attrs["surrogate:recipe"]["terms"]) for trial in told}
        cpu = sum(json.loads(line)["cpu"] for line in Path(notes).read_text().splitlines())
        failed = [process.exitcode for process in processes if process.exitcode]
        return {
            "seconds": last - begun,
            "made": len(trials) / total,
            "told": len(told),
            "twice": len(told) - len(recipes),
            "running": sum(not trial.state.is_finished() for trial in trials),
            "cpu": cpu / total,
            "failed": len(failed),
        }


def show(name: str, value: float, goal: float, met: bool) -> None:
    print(f"RESULT {name} {value:.3g} {goal:.3g} {'ok' if met else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.5 s only, half the trials for the claims")
    parser.add_argument("--only", choices=STORAGES, help="one storage")
    parser.add_argument("--seconds", type=float, action="append", help="of the generator, for the speed")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--claims", action="store_true", help="claims only, no speed")
    options = parser.parse_args()
    quiet()
    print(f"# {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", flush=True)
    for kind in [options.only] if options.only else STORAGES:
        timed = [] if options.claims else options.seconds or ([0.5] if options.quick else [2.0, 0.5])
        for seconds in timed if options.only or kind == "postgres" else []:
            one, many = (race(kind, n, options.trials, seconds) for n in (1, WORKERS))
            for workers, found in ((1, one), (WORKERS, many)):
                print(f"# {kind}, {seconds} s, {workers} workers: {found}", flush=True)
            goal = GOALS.get(seconds, 0.0)
            faster = one["seconds"] / many["seconds"]
            show(f"{kind}_{seconds}s_times_as_fast", faster, goal, faster >= goal)
            report(f"{kind}_{seconds}s", many, options.trials)
        if options.only is None or options.claims:
            trials = options.trials // 2 if options.quick else options.trials
            found = race(kind, WORKERS, trials, 0.05)
            print(f"# {kind}, 0.05 s, {WORKERS} workers: {found}", flush=True)
            report(f"{kind}_claims", found, trials)


def report(name: str, found: dict[str, float], total: int) -> None:
    """Trials made over wanted, and what has to be nothing."""
    show(f"{name}_made_over_wanted", found["made"], MADE, found["made"] <= MADE)
    wrong = abs(found["told"] - total) + found["twice"] + found["running"] + found["failed"]
    show(f"{name}_wrong", wrong, 0, wrong == 0)


if __name__ == "__main__":
    main()
