"""Kill workers of one study at random moments, and restart its server: nothing may be lost, doubled or left running.

Eight processes search one study with `optimize`. Again and again one of them gets SIGKILL, or SIGTERM now and then, and
another takes its place; meanwhile the storage's server ends as in a crash and comes back. In the end the study must
have as many values as were wanted, each of a recipe of its own, and no trial that is still running; what a worker noted
as told must be there.

    python examples/benchmarks/kill_workers.py             # 40 kills and 4 restarts, on PostgreSQL and on a gRPC proxy
    python examples/benchmarks/kill_workers.py --quick     # 8 kills and a restart, on PostgreSQL
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.postgres import serving

WORKERS = 8
TRIALS_A_KILL = 6  # trials wanted for each kill, so that workers are at work at every one
PRELOADED = ["torch", "alembic.command", "optuna.storages._rdb.models", "surrogate_ax_optuna", "scipy.stats", "grpc"]


def quiet() -> None:
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage(where: str) -> Any:
    from surrogate_ax_optuna.patient import proxy_storage, server_storage

    if where.startswith("proxy:"):
        return proxy_storage("127.0.0.1", int(where.removeprefix("proxy:")), ready=60)
    return server_storage(where)


def work(where: str, total: int, notes: str) -> None:
    """One worker; SIGTERM is Ctrl-C, as the command has it."""
    import optuna
    import torch

    from surrogate_ax import FunctionGenerator, Metric, Objective
    from surrogate_ax_optuna import SurrogateSampler, optimize

    quiet()
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def generate(z: torch.Tensor) -> torch.Tensor:
        time.sleep(random.uniform(0.1, 0.5))
        return z

    def told(study: Any, trial: Any) -> None:
        with Path(notes).open("a") as file:
            file.write(json.dumps([trial.number, trial.value]) + "\n")

    study = optuna.load_study(study_name="shared", storage=open_storage(where), sampler=SurrogateSampler())
    generator = FunctionGenerator(generate, (16,), revision="1", check_rows=False)
    objective = Objective(Metric("bright"), score=lambda outputs, _: outputs[:, :4].sum(1))
    with contextlib.suppress(KeyboardInterrupt):
        optimize(study, generator, objective, total_trials=total, batch_size=1, rng=0, callbacks=[told], progress=False)


def serve(file: str, port: int) -> None:
    """Optuna's gRPC proxy over SQLite."""
    from optuna.storages import get_storage, run_grpc_proxy_server

    from surrogate_ax_optuna import sqlite

    quiet()
    run_grpc_proxy_server(get_storage(sqlite(file)), host="127.0.0.1", port=port)


@contextlib.contextmanager
def place(kind: str, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A new storage, and what ends its server as a crash does and brings it back after two seconds."""
    if kind == "postgres":
        with serving() as server:

            def restart() -> None:
                server.stop(at_once=True)
                time.sleep(2)
                server.start()

            yield server.url, restart
        return
    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    running: list[Any] = []

    def start() -> None:
        running.append(context.Process(target=serve, args=(str(folder / "study.db"), port)))
        running[-1].start()

    def again() -> None:
        running[-1].kill()
        running[-1].join()
        time.sleep(2)
        start()

    start()
    try:
        yield f"proxy:{port}", again
    finally:
        running[-1].kill()
        running[-1].join()


def trial_of(kind: str, kills: int, restarts: int, seed: int) -> None:
    """Kills on one storage."""
    import optuna

    random.seed(seed)
    total = TRIALS_A_KILL * kills
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as name, place(kind, Path(name)) as (where, restart):
        notes = str(Path(name) / "notes")
        study = optuna.create_study(study_name="shared", storage=open_storage(where), direction="maximize")
        new = lambda: context.Process(target=work, args=(where, total, notes))  # noqa: E731
        processes = [new() for _ in range(WORKERS)]
        for process in processes:
            process.start()
        begun, killed = time.monotonic(), 0
        for i in range(kills):
            wanted = (i + 1) * TRIALS_A_KILL * 0.8  # kills are spread over the search
            while len(told_of(notes)) < wanted and any(process.is_alive() for process in processes):
                time.sleep(0.05)
            time.sleep(random.uniform(0, 0.3))
            if restarts and i % (kills // restarts) == kills // restarts - 1:
                restart()
            alive = [j for j, process in enumerate(processes) if process.is_alive()]
            if not alive:
                break
            j = random.choice(alive)
            os.kill(processes[j].pid or 0, signal.SIGTERM if i % 5 == 4 else signal.SIGKILL)
            processes[j].join()
            killed += 1
            processes[j] = new()
            processes[j].start()
        for process in processes:
            process.join()
        trials = study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.name == "COMPLETE"]
        recipes = {json.dumps(trial.system_attrs["surrogate:recipe"]["terms"]) for trial in ended}
        values = {trial.number: trial.value for trial in ended}
        lost = sum(values.get(number) != value for number, value in told_of(notes).items())
        print(f"# {kind}: {len(trials)} trials made, {time.monotonic() - begun:.0f} s", flush=True)
        show(f"{kind}_kills", killed, kills, killed >= kills)
        show(f"{kind}_lost", lost + max(0, total - len(ended)), 0, not lost and len(ended) >= total)
        doubled = len(ended) - len(recipes) + max(0, len(ended) - total)
        show(f"{kind}_doubled", doubled, 0, doubled == 0)
        running = sum(not trial.state.is_finished() for trial in trials)
        show(f"{kind}_left_running", running, 0, running == 0)
        failed = sum(process.exitcode != 0 for process in processes)
        show(f"{kind}_workers_failed", failed, 0, failed == 0)


def told_of(notes: str) -> dict[int, float]:
    """What workers noted as told, by number."""
    lines = Path(notes).read_text().splitlines() if Path(notes).exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("]"))


def show(name: str, value: float, goal: float, met: bool) -> None:
    print(f"RESULT {name} {value:g} {goal:g} {'ok' if met else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--only", choices=("postgres", "proxy"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    quiet()
    kills = options.kills or (8 if options.quick else 40)
    kinds = [options.only] if options.only else ["postgres"] if options.quick else ["postgres", "proxy"]
    for kind in kinds:
        trial_of(kind, kills, max(1, kills // 10), options.seed)


if __name__ == "__main__":
    main()
