"""A worker of `scale.py`: it searches until the study has enough trials, and notes what that has taken.

    python scale_worker.py '{"where": "sqlite:/tmp/study.db", "kind": "box", "K": 8, "total": 1000, ...}'

The generator sleeps for 10 ms a call, which takes no processor. A note is a line of JSON: the number of the trial that
was told, seconds of the processor of this process and of the storage's server, those of the sampler, and resident
memory. With `resume` it ends at the first call of the generator and notes how long that took.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import torch

ENTRIES, SECONDS, EVERY = 64, 0.01, 20  # entries of a latent, of a call of the generator, trials between notes
TICKS = os.sysconf("SC_CLK_TCK")


class Begun(BaseException):
    """The first new batch has come to the generator."""


def sleeping(seconds: float = SECONDS) -> Any:
    """A generator that sleeps; also what Ray's actors make."""
    from surrogate_ax import FunctionGenerator

    def generate(z: torch.Tensor) -> torch.Tensor:
        time.sleep(seconds)
        return z

    return FunctionGenerator(generate, (ENTRIES,), revision="1", check_rows=False)


def resident() -> float:
    """Megabytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor(pid: int) -> float:
    """Seconds of the processor that a process and those that it has started have taken, ended ones included."""
    total = 0.0
    for each in [pid, *_children(pid)]:
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        total += sum(map(int, fields[11 : 15 if each == pid else 13])) / TICKS
    return total


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def timed_tpe() -> tuple[Any, list[float]]:
    """Optuna's TPESampler and the seconds of the processor that it has taken."""
    import optuna

    spent = [0.0]

    def timed(method: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return method(*args, **named)
            finally:
                spent[0] += time.thread_time() - begun

        return call

    sampler = optuna.samplers.TPESampler(seed=0)
    for name in ("infer_relative_search_space", "sample_relative", "sample_independent", "before_trial", "after_trial"):
        setattr(sampler, name, timed(getattr(sampler, name)))
    return sampler, spent


@contextmanager
def generator_of(actors: int) -> Iterator[Any]:
    """The generator: in this process, or on so many of Ray's actors."""
    if not actors:
        from scale_worker import sleeping as make  # named as it is on an actor, so that a study goes on here

        yield make()
        return
    from surrogate_ax_ray import RayGenerator

    folder = Path(__file__).parent
    with RayGenerator(f"{Path(__file__).stem}:sleeping", num_actors=actors, folder=folder) as generator:
        yield generator


def work(order: dict[str, Any]) -> None:
    """Search as ordered."""
    import optuna
    from workers import open_storage

    from surrogate_ax import Metric, Objective, SurrogateSpace
    from surrogate_ax_optuna import SurrogateSampler, optimize

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    kind, spent = order["kind"], [0.0]
    sampler: Any = optuna.samplers.RandomSampler() if kind == "box" else SurrogateSampler()
    if kind == "tpe":
        sampler, spent = timed_tpe()
    objective = Objective(Metric("sum", "maximize"), score=lambda outputs, _: torch.stack(list(outputs))[:, :8].sum(1))
    with generator_of(order.get("actors", 0)) as generator, Path(order["notes"]).open("a", buffering=1) as notes:
        place = None if kind == "plan" else SurrogateSpace.sample(generator.prior, seeds=order["K"], rng=0)
        told, began, clock = [0], time.process_time(), time.perf_counter()

        def note(study: Any, trial: Any) -> None:
            told[0] += 1
            if told[0] % EVERY == 1:
                server = processor(order["server"]) if order.get("server") else 0.0
                line = [trial.number, time.process_time(), server, spent[0], resident()]
                notes.write(json.dumps(line) + "\n")

        def begun(z: Any, conditions: Any) -> Any:
            raise Begun

        study = optuna.create_study(
            study_name="soak",
            storage=open_storage(order["where"]),
            direction="maximize",
            sampler=sampler,
            load_if_exists=True,
        )
        if order.get("resume"):
            generator.generate = begun
        try:
            optimize(
                study,
                generator,
                objective,
                total_trials=order["total"],
                batch_size=order["batch"],
                space=place,
                rng=0,
                callbacks=[note],
                progress=False,
            )
        except Begun:
            notes.write(json.dumps([time.process_time() - began, time.perf_counter() - clock]) + "\n")


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
