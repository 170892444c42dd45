"""Two searched call arguments beside latents: the plan against O3, which earlier releases took, and plain draws.

    python conditions.py [--tasks ...] [--repeats 0 1]   cells that are in conditions.csv are passed over
    python conditions.py --quick                        one cell again, compared with its row

Prompt and guidance are searched; the avatars take 4 steps here, each of two network evaluations. All methods begin with
the same draws under the same random conditions in a repeat. O3's box, conditions among its parameters, is TPE's.
All cells run in lockstep, so that the model's batches of 16 are full whatever the conditions of their rows.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
import torch._inductor.config
from embedded import BATCH, SHAPE, stock
from library import PRIOR
from objectives import Task, task
from optuna.samplers import TPESampler
from scipy.stats import rankdata

from surrogate_ax import Choice, Range, plan
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.policies.basic import o3_seeds
from surrogate_ax.policies.condition_kernel import ConditionRows
from surrogate_ax.policies.history import History, Policy, Round
from surrogate_ax.policies.plan import Plan
from surrogate_ax_optuna import distributions

Array = np.ndarray
RESULTS = Path(__file__).parent / "conditions.csv"
STEPS, HALF = 4, BATCH // 2  # every row needs a network evaluation with its prompt and one without
PROMPTS = ("", "happy mouth", "dark glasses", "red hat, long hair", "dark skin, green background", "blue background")
SEARCHED = {"prompt": Choice(PROMPTS), "guidance_scale": Range(1.0, 4.0, step=0.5)}
ROWS = ConditionRows(SEARCHED)
TASKS = ("palette", "symmetry", "target", "contrast", "attribute", "conjunction")
METHODS = ("planned", "O3 + TPE", "plain draws")
BUDGETS = (50, 100)
BATCHES = 16
FIELDS = ("method", "task", "budget", "repeat", "best", "prompt", "guidance")
Asking = Generator[tuple[Array, Sequence[Mapping[str, Any]]], dict[str, Array], None]


class Model:
    """Latents and conditions to images (n, 16, 16, 3): classifier-free guidance with a scale and a prompt a row.

    Args:
        compiled: compile the network, which takes about a minute.
    """

    def __init__(self, *, compiled: bool = True) -> None:
        torch.set_num_threads(1)
        pipe = stock()._pipe
        with torch.no_grad():
            self._prompts = {prompt: pipe.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in PROMPTS}
        pipe.scheduler.set_timesteps(STEPS)
        self._times, self._sigmas = pipe.scheduler.timesteps.float(), pipe.scheduler.sigmas.double()
        network = pipe.unet.eval().to(memory_format=torch.channels_last)
        if compiled:
            torch._inductor.config.freezing = True
            network = torch.compile(network)
        self._network = network

    @torch.no_grad()
    def __call__(self, x: Array, conditions: Sequence[Mapping[str, Any]]) -> Array:
        parts = [slice(i, i + HALF) for i in range(0, len(x), HALF)]
        return np.concatenate([self._batch(x[part], conditions[part]) for part in parts])

    def _batch(self, x: Array, conditions: Sequence[Mapping[str, Any]]) -> Array:
        n, blank = len(x), self._prompts[""]
        z, scale = torch.zeros((HALF, *SHAPE)), torch.ones((HALF, 1, 1, 1))
        z[:n] = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).view(n, *SHAPE)
        scale[:n, 0, 0, 0] = torch.tensor([condition["guidance_scale"] for condition in conditions])
        texts = [self._prompts[condition["prompt"]] for condition in conditions]
        prompts = torch.cat([*texts, *[blank] * (HALF - n), *[blank] * HALF])
        for k in range(STEPS):
            both = torch.cat([z, z]).contiguous(memory_format=torch.channels_last)
            v = self._network(both, self._times[k], encoder_hidden_states=prompts, return_dict=False)[0]
            v = v[HALF:] + scale * (v[:HALF] - v[HALF:])
            z = z + float(self._sigmas[k + 1] - self._sigmas[k]) * v
        image = (3 * torch.tanh(z / 3) / 2 + 0.5).clamp(0, 1)
        return image[:n].permute(0, 2, 3, 1).contiguous().numpy()


@dataclass
class Trace:
    """What a cell found: values (n,) of its metric, and conditions."""

    values: list[float] = field(default_factory=list)
    conditions: list[Mapping[str, Any]] = field(default_factory=list)


class TreeSampler:
    """Optuna's TPE on the parameters of a box and the conditions."""

    def __init__(self, axes: int, repeat: int) -> None:
        sampler = TPESampler(seed=repeat, multivariate=True, constant_liar=True)
        self._space = distributions(axes, SEARCHED)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: list[optuna.Trial] = []

    def ask(self, n: int) -> list[dict[str, Any]]:
        """Parameters of n points."""
        self._asked = [self._study.ask(self._space) for _ in range(n)]
        return [dict(trial.params) for trial in self._asked]

    def tell(self, values: Array) -> None:
        """Values of what was asked last."""
        for trial, value in zip(self._asked, values, strict=True):
            self._study.tell(trial, float(value))


def policy_of(method: str, n: int) -> Policy | None:
    """Where a method searches; None for plain draws."""
    if method == "planned":
        return plan(n, dim=PRIOR.dim).policy(PRIOR, conditions=SEARCHED)
    if method == "O3 + TPE":
        return Plan("o3", n // 2, min(o3_seeds(n), n // 2), 0, 0, 0).policy(PRIOR)
    return None


def cell(made: Task, method: str, repeat: int, n: int) -> Asking:
    """A method's search with n trials, as the loop runs it."""
    metric, policy = made.objective.metrics[0].name, policy_of(method, n)
    entropy = draw_entropy(repeat, "trials")
    history = History(made.objective, [], {metric: np.zeros(0)}, np.zeros(0, dtype=np.int64))
    round: Round | None = None
    sampler: TreeSampler | None = None
    while (done := len(history.terms)) < n:
        if policy and (round is None or history.ended(round.number) >= round.size):
            round = policy(history, n - done, repeat)
            sampler = TreeSampler(round.space.axes, repeat) if round and not round.proposals else None
        count = min(n - done, BATCHES if round is None else history.open(round), BATCHES // 2 if sampler else BATCHES)
        numbers, proposed = range(done, done + count), False
        if round is None or round.space.fresh == 1:
            terms = [((Draw(entropy, i), 1.0),) for i in numbers]
            conditions = [ROWS.decode(ROWS.sample(1, np.random.default_rng([repeat, i]))[0]) for i in numbers]
        elif round.proposals:
            first = history.ended(round.number)
            terms = round.terms[first : first + count]
            conditions = [dict(proposal.condition) for proposal in round.proposals[first : first + count]]
        else:
            points, proposed = sampler.ask(count), True
            terms = [round.point(point, Draw(entropy, i)) for point, i in zip(points, numbers, strict=True)]
            conditions = [{name: point[name] for name in SEARCHED} for point in points]
        bank = History(made.objective, terms, {}, np.zeros(count)).bank(PRIOR)
        values = (yield bank.inner(bank.rows(terms)).numpy(), conditions)[metric]
        if proposed:
            sampler.tell(values)
        history = History(
            made.objective,
            [*history.terms, *terms],
            {metric: np.append(history.values[metric], values)},
            np.append(history.round, np.full(count, 0 if round is None else round.number)),
            conditions=[*history.conditions, *conditions],
        )


def run(cells: Sequence[tuple[Task, Asking]], model: Any) -> list[Trace]:
    """Every cell to its end; images are kept, since cells of a repeat share draws."""
    kept, traces = dict[Any, Array](), [Trace() for _ in cells]
    waiting = {i: next(asking) for i, (_, asking) in enumerate(cells)}
    while waiting:
        wanted = {_key(row, c): (row, c) for x, cs in waiting.values() for row, c in zip(x, cs, strict=True)}
        missing = {key: pair for key, pair in wanted.items() if key not in kept}
        if missing:
            rows, conditions = zip(*missing.values(), strict=True)
            kept.update(zip(missing, model(np.stack(rows), conditions), strict=True))
        for i, (x, conditions) in list(waiting.items()):
            images = np.stack([kept[_key(row, c)] for row, c in zip(x, conditions, strict=True)])
            values = cells[i][0].values(images)
            traces[i].values += next(iter(values.values())).tolist()
            traces[i].conditions += list(conditions)
            try:
                waiting[i] = cells[i][1].send(values)
            except StopIteration:
                del waiting[i]
    return traces


def _key(row: Array, condition: Mapping[str, Any]) -> Any:
    return np.asarray(row, dtype=np.float32).tobytes(), condition["prompt"], condition["guidance_scale"]


def rows_of(method: str, where: str, n: int, repeat: int, trace: Trace) -> dict[str, Any]:
    """A CSV row of a cell."""
    values = trace.values[:n]
    best = int(np.argmax(values))
    found = trace.conditions[best]
    return dict(zip(FIELDS, (method, where, n, repeat, round(values[best], 6), *found.values()), strict=True))


def read(path: Path) -> list[dict[str, str]]:
    """Rows of the CSV, none when it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def append(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add rows."""
    new = not path.exists()
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(lines)


def report(path: Path) -> None:
    """Mean ranks of the methods, 1 the best, and in how many cells the plan wins."""
    for n in BUDGETS:
        table = defaultdict[tuple[str, str], dict[str, float]](dict)
        for row in read(path):
            if int(row["budget"]) == n:
                table[row["task"], row["repeat"]][row["method"]] = float(row["best"])
        whole = np.array([[found[m] for m in METHODS] for found in table.values() if len(found) == len(METHODS)])
        if not len(whole):
            continue
        ranks = rankdata(-whole, axis=1).mean(axis=0)
        ahead = (whole[:, :1] > whole[:, 1:]).sum(axis=0)
        print(
            f"RESULT N={n}, {len(whole)} cells, mean rank: "
            + ", ".join(f"{name} {rank:.2f}" for name, rank in zip(METHODS, ranks, strict=True))
            + f"; the plan ahead of O3 + TPE in {ahead[0]}, of plain draws in {ahead[1]}"
        )


def quick(path: Path) -> None:
    """One cell again: the same best value as in the CSV."""
    where, n = "attribute", 50
    rows = [row for row in read(path) if (row["method"], row["task"], row["budget"]) == ("planned", where, str(n))]
    known = float(rows[0]["best"])
    trace = run([(task(where), cell(task(where), "planned", 0, n))], Model(compiled=False))[0]
    best = max(trace.values)
    near = "ok" if abs(best - known) < 0.02 * abs(known) else "short"
    print(f"RESULT planned on {where}, N={n}, repeat 0: {best:.5f} committed:{known:.5f} {near}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--budgets", nargs="*", type=int, default=list(BUDGETS))
    parser.add_argument("--repeats", nargs="*", type=int, default=list(range(4)))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    os.nice(10)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if arguments.quick:
        quick(arguments.results)
        return
    model = Model()
    for repeat in arguments.repeats:
        done = {(r["method"], r["task"], int(r["budget"]), int(r["repeat"])) for r in read(arguments.results)}
        every = [(m, where, n, repeat) for where in arguments.tasks for n in arguments.budgets for m in METHODS]
        wanted = [each for each in every if each not in done]
        traces = run([(task(where), cell(task(where), m, r, n)) for m, where, n, r in wanted], model) if wanted else []
        append(arguments.results, [rows_of(*each, trace) for each, trace in zip(wanted, traces, strict=True)])
        print(f"repeat {repeat}: {len(wanted)} cells", flush=True)
    report(arguments.results)


if __name__ == "__main__":
    main()
