"""Short runs of both hosts whose recipes and values are recorded, so that a change of structure shows as such.

`python -m tests.recorded.runs` writes `runs.json`, and `client.json` and `space/` for tests that go on with them. A
change that means to search differently records anew, and says so. `study.db` is not written anew: it has the 20 trials
of an earlier release, whose records were user attributes, and which planned whatever sampler a study had.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surrogate_ax import Metric, Objective, Range, SurrogateSpace, chain, draws
from surrogate_ax.policies.evolution import reseed
from tests.contracts.euler_flow import EulerFlow

HERE = Path(__file__).parent

TRIALS, GOES_ON = 20, 32  # of study.db, and to how many it goes on; 12 and 20 of client.json
STEPS, D = 8, 48


def flow() -> EulerFlow:
    return EulerFlow(STEPS, D)


def bright(outputs: Any, conditions: Any = None) -> np.ndarray:
    """A score that is not linear: the first entry, less how rough the output is."""
    x = outputs.double().numpy()
    return x[:, 0] + 0.5 * np.sin(3 * x[:, 1]) - 0.2 * np.abs(np.diff(x, axis=1)).mean(axis=1)


def both(outputs: Any, conditions: Any = None) -> dict[str, np.ndarray]:
    x = outputs.double().numpy()
    return {"bright": bright(outputs), "even": x[:, 2] ** 2, "total": x.sum(axis=1)}


ONE = Objective(Metric("bright"), score=bright)
THREE = Objective(Metric("bright"), Metric("even", "minimize"), Metric("total", "at_most", 6.0), score=both)


def row(recipe: dict[str, Any], values: dict[str, float], status: str, round: int) -> dict[str, Any]:
    """What one trial came to; its coefficients as two random projections, which see every one of them."""
    projections = np.zeros(2)
    for *seed, coefficient in recipe["terms"]:
        digest = hashlib.sha256(json.dumps(seed).encode()).digest()
        projections += coefficient * (np.frombuffer(digest[:8], dtype=np.uint32) / 2**31 - 1)
    return {
        "terms": projections.round(7).tolist(),
        "condition": recipe["condition"],
        "values": {name: float(f"{value:.7g}") for name, value in sorted(values.items())},
        "status": status,
        "round": round,
    }


class Stop:
    """A callback that breaks a run off once so many trials are told."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def optuna_rows(study: Any) -> list[dict[str, Any]]:
    found = []
    for trial in study.get_trials(deepcopy=False):
        attributes = {**trial.user_attrs, **trial.system_attrs}
        if "surrogate:recipe" in attributes:
            values = attributes.get("surrogate:result", {}).get("values", {})
            found.append(
                row(attributes["surrogate:recipe"], values, trial.state.name, attributes.get("surrogate:round", 0))
            )
    return found


def optuna_run(
    sampler: str | None = None, objective: Objective = ONE, twice: bool = False, stop: int = 0, **options: Any
) -> list[dict[str, Any]]:
    import optuna

    from surrogate_ax_optuna import SurrogateSampler, optimize

    study = optuna.create_study(
        sampler=getattr(optuna.samplers, sampler)(seed=3) if sampler else SurrogateSampler(),
        pruner=optuna.pruners.PercentilePruner(50.0),
        directions=[metric.goal for metric in objective.optimised],
    )
    options = {"rng": 5, "progress": False, "batch_size": 8} | options
    if stop:
        with contextlib.suppress(KeyboardInterrupt):
            optimize(study, flow(), objective, callbacks=[Stop(stop)], **options)
    optimize(study, flow(), objective, **options)
    if twice:
        further = {name: options[name] + 8 for name in ("total_trials", "budget") if name in options}
        optimize(study, flow(), objective, **options | further)
    return optuna_rows(study)


def ax_rows(client: Any) -> list[dict[str, Any]]:
    found = []
    for _, trial in sorted(client._experiment.trials.items()):
        kept = trial.run_metadata
        if "surrogate:recipe" in kept:
            values = kept.get("surrogate:result", {}).get("values", {})
            found.append(row(kept["surrogate:recipe"], values, trial.status.name, kept.get("surrogate:round", 0)))
    return found


def ax_run(objective: Objective = ONE, stop: int = 0, **options: Any) -> list[dict[str, Any]]:
    from ax.api.client import Client

    from surrogate_ax_platform import configure_experiment, optimize

    client = Client(random_seed=3)
    configured = {name: options.pop(name) for name in ("seeds", "conditions", "model") if name in options}
    if "space" in options:
        configured["space"] = options["space"]
    configure_experiment(client, flow(), objective, rng=3, **configured)
    options = {"rng": 5, "batch_size": 8} | options
    if stop:
        with contextlib.suppress(KeyboardInterrupt):
            optimize(client, flow(), objective, callbacks=[Stop(stop)], **options)
    optimize(client, flow(), objective, **options)
    return ax_rows(client)


def box(axes: int = 5) -> SurrogateSpace:
    return SurrogateSpace.sample(flow().prior, seeds=axes, rng=2)


def moving() -> Any:
    prior = flow().prior
    return chain(draws(prior, 12, axes=6), reseed(prior, axes=6, size=8))


SCALE = {"scale": Range(0.5, 2.0, step=0.5)}
RUNS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "optuna, planned": lambda: optuna_run(total_trials=48),
    "optuna, planned, three metrics": lambda: optuna_run(objective=THREE, total_trials=36, batch_size=5),
    "optuna, box": lambda: optuna_run("CmaEsSampler", space=box(), total_trials=29, batch_size=6),
    "optuna, budget, extended": lambda: optuna_run(budget=24, twice=True),
    "optuna, overlap": lambda: optuna_run(total_trials=32, batch_size=4, overlap=True),
    "optuna, conditions": lambda: optuna_run(total_trials=32, conditions=SCALE),
    "optuna, interrupted": lambda: optuna_run(total_trials=40, stop=13),
    "optuna, boxes": lambda: optuna_run("CmaEsSampler", total_trials=40),
    "optuna, moving": lambda: optuna_run("CmaEsSampler", policy=moving(), total_trials=36),
    "optuna, pruner": lambda: optuna_run("TPESampler", space=box(), total_trials=24, checkpoints=(3,)),
    "ax, planned": lambda: ax_run(total_trials=32),
    "ax, planned, three metrics": lambda: ax_run(objective=THREE, total_trials=24, batch_size=5),
    "ax, budget": lambda: ax_run(budget=20),
    "ax, overlap": lambda: ax_run(total_trials=24, batch_size=4, overlap=True),
    "ax, interrupted": lambda: ax_run(total_trials=32, stop=2),
    "ax, box": lambda: ax_run(space=box(4), model="ax", total_trials=7, batch_size=4),
    "ax, conditions": lambda: ax_run(seeds=4, conditions=SCALE, total_trials=12, batch_size=4),
}


def run(name: str) -> list[dict[str, Any]]:
    """One of the runs, quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RUNS[name]()


def go_on_with_study(path: Path, total: int, *, random: bool = False) -> list[dict[str, Any]]:
    import optuna

    from surrogate_ax_optuna import SurrogateSampler, optimize, sqlite

    study = optuna.create_study(
        study_name="recorded",
        storage=sqlite(path),
        sampler=optuna.samplers.RandomSampler(seed=3) if random else SurrogateSampler(),
        direction="maximize",
        load_if_exists=True,
    )
    optimize(study, flow(), ONE, rng=5, total_trials=total, batch_size=4, progress=False)
    return optuna_rows(study)


def go_on_with_client(path: Path, total: int) -> list[dict[str, Any]]:
    from ax.api.client import Client

    from surrogate_ax_platform import configure_experiment, load_client, optimize

    if path.exists():
        client = load_client(path)
    else:
        client = Client(random_seed=3)
        configure_experiment(client, flow(), ONE, rng=3)
    optimize(client, flow(), ONE, rng=5, total_trials=total, batch_size=4, snapshot=path)
    return ax_rows(client)


def main() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.disable(logging.INFO)
    lines = [f"{json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, run(name))) + "\n]" for name in RUNS]
    (HERE / "runs.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (HERE / "client.json").unlink(missing_ok=True)
        go_on_with_client(HERE / "client.json", 12)
        (HERE / "client.json.previous").unlink()
    box().save(HERE / "space")


if __name__ == "__main__":
    main()
