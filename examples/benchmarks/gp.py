"""The model on coefficients against models on u: how well it predicts, what it finds in 60 evaluations, what it costs.

Run `python examples/benchmarks/gp.py --out gp.csv` with one torch thread; finished cells are read from the CSV, so it
can be stopped and gone on with. `--quick` takes one repeat of all parts but `best`, `--parts predict,time` some parts
only. The embedded avatar model without a prompt, 8 steps, six objectives. A line of the CSV: part, K, objective,
repeat, method, value.

predict  Held-out R² (200 points) of a Gaussian process on 100 points of one box: BoTorch's SingleTaskGP on u, with the
         same kernel family, priors and optimiser, and ours.
rounds   Held-out R² in the second of two rounds (40 points; its box has 4 best points and 4 new draws as axes): ours
         with the 60 points of the first round, and without.
best     Best of 60 evaluations in batches of 4, from the same 12 points: ours and Ax's own model in Ax, Optuna's
         GPSampler.
time     Seconds of `get_next_trials(4)` at D = 7, ours and Ax's own model in turn.
"""

import argparse
import csv
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import torch
from ax.api.client import Client
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from safetensors.torch import load_file

from surrogate_ax import Draw, Generator, Metric, Objective, Policy, SurrogateSpace, Turn
from surrogate_ax.bank import draw_entropy
from surrogate_ax_botorch import Box, CoefficientKernel, Geometry
from surrogate_ax_cli.palette import palette_objective
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_platform import configure_experiment, optimize, records

sys.path.append(str(Path(__file__).parents[1] / "train_avatars"))
from classifier import WEIGHTS, Classifier
from dataset import held_out

Array = np.ndarray
DUSK = {"#2b2d5b": 0.4, "#d9576b": 0.35, "#f2b25c": 0.25}
SEA, LUMINANCE = np.array([0.2, 0.55, 0.6]), np.array([0.299, 0.587, 0.114])
NAMES = ("palette", "symmetry", "target", "contrast", "colour", "conjunction")
TRAIN, TEST, BUDGET, BATCH, BEGIN = 100, 200, 60, 4, 12
METHODS = ("coefficients", "ax", "gpsampler")


class Scores:
    """Six scores of images (n, 16, 16, 3) in [0, 1], all to be maximised."""

    def __init__(self) -> None:
        self._judge = Classifier()
        self._judge.load_state_dict(load_file(WEIGHTS))
        self._judge.eval()
        self._target = held_out()[0][17].astype(np.float64) / 255
        self._palette = palette_objective(DUSK)

    @torch.no_grad()
    def __call__(self, images: Array) -> dict[str, Array]:
        x = np.asarray(images, dtype=np.float64)
        coarse = (x @ LUMINANCE).reshape(-1, 4, 4, 4, 4).mean(axis=(2, 4)).reshape(-1, 16)
        logits = self._judge(torch.from_numpy(x).float().permute(0, 3, 1, 2) * 2 - 1).double().numpy()
        return {
            "palette": -self._palette.measure(x, [{}] * len(x))[self._palette.metrics[0].name],
            "symmetry": -np.abs(x - x[:, :, ::-1]).mean(axis=(1, 2, 3)),
            "target": -np.sqrt(((x - self._target) ** 2).mean(axis=(1, 2, 3))),
            "contrast": coarse.std(axis=1),
            "colour": -np.sqrt(((x - SEA) ** 2).sum(axis=-1)).mean(axis=(1, 2)),
            "conjunction": np.minimum(logits[:, 0], logits[:, 2]),  # glasses and long hair
        }


class Table:
    """The CSV: what is there is not computed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[tuple[str, ...], float] = {}
        if path.exists():
            with path.open(newline="") as file:
                self.rows = {tuple(row[:-1]): float(row[-1]) for row in csv.reader(file)}

    def add(self, key: tuple[str, ...], value: float) -> None:
        self.rows[key] = value
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([*key, value])

    def column(self, part: str, method: str) -> dict[tuple[str, ...], float]:
        return {key[1:4]: value for key, value in self.rows.items() if key[0] == part and key[4] == method}


def images(generator: Generator, space: SurrogateSpace, u: Array) -> Array:
    parts = np.array_split(u, -(-len(u) // 32))
    return np.concatenate([np.asarray(generator.generate(space.latents(p), [{}] * len(p)).outputs) for p in parts])


def box(space: SurrogateSpace) -> Box:
    return Box(space.bank.terms(space.frame), space.chart.name)


def r2(x: Array, y: Array, rows: Array, test: Array, kernel: object) -> float:
    """Held-out R² of a GP that was fitted to some rows."""
    told = torch.tensor(y[rows, None])
    model = SingleTaskGP(torch.tensor(x[rows]), told, covar_module=kernel, outcome_transform=Standardize(1))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    with torch.no_grad():
        mean = model.posterior(torch.tensor(x[test])).mean[:, 0].numpy()
    return float(1 - np.square(mean - y[test]).mean() / y[test].var())


def predict(table: Table, generator: Generator, scores: Scores, repeats: int) -> None:
    for k, repeat in [(k, r) for r in range(repeats) for k in (8, 16)]:
        if all(("predict", str(k), name, str(repeat), "coefficients") in table.rows for name in NAMES):
            continue
        space = SurrogateSpace.sample(generator.prior, seeds=k, rng=repeat)
        u = np.random.default_rng([k, repeat]).uniform(size=(TRAIN + TEST, k - 1))
        values = scores(images(generator, space, u))
        rows, test = np.arange(TRAIN), np.arange(TRAIN, TRAIN + TEST)
        for name in NAMES:
            kernels = {
                "u": get_covar_module_with_dim_scaled_prior(ard_num_dims=k - 1, use_rbf_kernel=False),
                "u, BoTorch's default": get_covar_module_with_dim_scaled_prior(ard_num_dims=k - 1),
                "coefficients": CoefficientKernel(Geometry({0: box(space)}), box=range(k - 1)),
            }
            for method, kernel in kernels.items():
                key = ("predict", str(k), name, str(repeat), method)
                table.add(key, r2(u, values[name], rows, test, kernel))


def rounds(table: Table, generator: Generator, scores: Scores, repeats: int) -> None:
    k, first, second, tested = 8, 60, 40, 100
    for repeat in range(repeats):
        if all(("rounds", str(k), name, str(repeat), "all rounds") in table.rows for name in NAMES):
            continue
        rng = np.random.default_rng([99, repeat])
        one = SurrogateSpace.sample(generator.prior, seeds=k, rng=repeat)
        early = rng.uniform(size=(first, k - 1))
        told = scores(images(generator, one, early))
        for name in NAMES:
            best = np.argsort(-told[name])[:4]
            bank = one.bank.extend([Draw(draw_entropy(repeat, "fresh axes"), i) for i in range(4)])
            frame = np.vstack([bank.rows(one.terms(early[best])).toarray(), np.eye(len(bank.seeds))[-4:]])
            two = SurrogateSpace(bank, frame)
            late = rng.uniform(size=(second + tested, k - 1))
            y = np.concatenate([told[name], scores(images(generator, two, late))[name]])
            x = np.column_stack([np.vstack([early, late]), np.repeat([0, 1], [first, second + tested])])
            test = np.arange(first + second, len(x))
            for method, rows in (
                ("all rounds", np.arange(first + second)),
                ("own round", np.arange(first, first + second)),
            ):
                geometry = Geometry({0: box(one), 1: box(two)}, present=1)
                kernel = CoefficientKernel(geometry, box=range(k - 1), round=k - 1)
                table.add(("rounds", str(k), name, str(repeat), method), r2(x, y, rows, test, kernel))


def fixed_turn(turn: Turn) -> Policy:
    return lambda *_: turn


def search(
    method: str, generator: Generator, score: Callable[[Array], Array], space: SurrogateSpace, rng: int
) -> Array:
    """Values of 60 evaluations by one method, from the seeds and four more points."""
    begin = np.vstack(
        [
            space.chart.coordinates(np.eye(space.axes)),
            np.random.default_rng([5, rng]).uniform(size=(BEGIN - space.axes, space.axes - 1)),
        ]
    )
    if method != "gpsampler":
        client = Client(random_seed=rng)
        objective = Objective(Metric("score"), score=lambda outputs, _: score(outputs))
        configure_experiment(client, generator, objective, space=space, model=method, rng=rng)
        turn = Turn(space, 0, BUDGET, space.coefficients(begin))
        optimize(client, generator, objective, total_trials=BUDGET, batch_size=BATCH, rng=rng, policy=fixed_turn(turn))
        return np.array([records.metric_values(t, ["score"])[0] for t in records.trials(client._experiment)])
    sampler = optuna.samplers.GPSampler(seed=rng, deterministic_objective=True, n_startup_trials=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    box = {f"u{j}": optuna.distributions.FloatDistribution(0, 1) for j in range(space.axes - 1)}
    values = list(score(images(generator, space, begin)))
    for u, value in zip(begin, values, strict=True):
        params = {name: float(x) for name, x in zip(box, u, strict=True)}
        study.add_trial(optuna.create_trial(params=params, distributions=box, value=float(value)))
    while len(values) < BUDGET:
        asked = [study.ask(box) for _ in range(BATCH)]
        u = np.array([[trial.params[name] for name in box] for trial in asked])
        found = score(images(generator, space, u))
        for trial, value in zip(asked, found, strict=True):
            study.tell(trial, float(value))
        values += list(found)
    return np.array(values)


def best(table: Table, generator: Generator, scores: Scores, repeats: int) -> None:
    for repeat in range(repeats):
        space = SurrogateSpace.sample(generator.prior, seeds=8, rng=100 + repeat)
        for name in NAMES:
            for method in METHODS:
                key = ("best", "8", name, str(repeat), method)
                if key in table.rows:
                    continue
                values = search(method, generator, lambda x, name=name: scores(x)[name], space, repeat)
                table.add(("begin", "8", name, str(repeat), method), float(values[:BEGIN].max()))
                table.add(key, float(values.max()))
                print(*key, f"{values[:BEGIN].max():.4f} -> {values.max():.4f}", flush=True)


def timed(table: Table, generator: Generator, scores: Scores, repeats: int) -> None:
    """Both models in turn, on clients that hold the same 24, 32, ... evaluations."""
    for repeat in range(repeats):
        if ("time", "8", "contrast", str(repeat), "ax") in table.rows:
            continue
        space = SurrogateSpace.sample(generator.prior, seeds=8, rng=repeat)
        u = np.random.default_rng([3, repeat]).uniform(size=(24 + 8 * repeat, 7))
        turn = Turn(space, 0, len(u), space.coefficients(u))
        objective = Objective(Metric("score"), score=lambda outputs, _: scores(outputs)["contrast"])
        for method in ("coefficients", "ax"):
            client = Client(random_seed=repeat)
            configure_experiment(client, generator, objective, space=space, model=method)
            optimize(client, generator, objective, total_trials=len(u), batch_size=32, rng=0, policy=fixed_turn(turn))
            clock = time.perf_counter()
            client.get_next_trials(BATCH)
            table.add(("time", "8", "contrast", str(repeat), method), time.perf_counter() - clock)


def result(name: str, value: float, goal: str, met: bool) -> None:
    print("RESULT", name, f"{value:.3f}", goal, "ok" if met else "short")


def paired(table: Table, part: str, ours: str, other: str) -> Array:
    a, b = table.column(part, ours), table.column(part, other)
    return np.array([a[key] - b[key] for key in a.keys() & b.keys()])


def report(table: Table) -> None:
    for other, goal in (("u", ">=0.03"), ("u, BoTorch's default", "-")):
        gain = paired(table, "predict", "coefficients", other)
        if len(gain):
            name, median, better = other.replace(", BoTorch's ", "_"), float(np.median(gain)), float((gain > 0).mean())
            result(f"R2_gain_over_{name}[{len(gain)}_cells]", median, goal, goal == "-" or median >= 0.03)
            result(f"R2_better_than_{name}", better, ">=0.80" if goal != "-" else "-", goal == "-" or better >= 0.8)
    gain = paired(table, "rounds", "all rounds", "own round")
    if len(gain):
        better = float((gain > 0).mean())
        result(f"R2_all_rounds_better[{len(gain)}_cells]", better, ">=0.80", better >= 0.8)
        result("R2_all_rounds_gain", float(np.median(gain)), "-", True)
    seconds = [list(table.column("time", method).values()) for method in ("coefficients", "ax")]
    if seconds[1]:
        ratio = float(np.median([a / b for a, b in zip(*seconds, strict=False)]))
        result(f"time_ratio_to_ax[{len(seconds[1])}]", ratio, "<=1.5", ratio <= 1.5)
    report_best(table)


def report_best(table: Table) -> None:
    """Mean rank, and the paired difference of scores from the common begin (0) to the best of any method (1)."""
    found = {method: table.column("best", method) for method in METHODS}
    cells = sorted(set.intersection(*(set(column) for column in found.values())))
    if not cells:
        return
    values = np.array([[found[method][cell] for method in METHODS] for cell in cells])
    begin = np.array([table.column("begin", METHODS[0])[cell] for cell in cells])[:, None]
    normal = (values - begin) / np.maximum(values.max(axis=1, keepdims=True) - begin, 1e-12)
    above = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    beside = (values[:, None, :] == values[:, :, None]).sum(axis=2) - 1
    ranks = (above + 1 + beside / 2).mean(axis=0)
    for method, rank in zip(METHODS, ranks, strict=True):
        goal = "first" if method == METHODS[0] else "-"
        result(f"mean_rank_{method}[{len(cells)}_cells]", rank, goal, goal == "-" or rank == ranks.min())
    rng = np.random.default_rng(0)
    for j, method in list(enumerate(METHODS))[1:]:
        difference = normal[:, 0] - normal[:, j]
        drawn = rng.choice(difference, size=(4000, len(difference))).mean(axis=1)
        low = float(np.quantile(drawn, 0.05))
        result(f"score_minus_{method}_low5", low, ">-0.02", low > -0.02)
        result(f"score_minus_{method}_mean", float(difference.mean()), "-", True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gp.csv"))
    parser.add_argument("--parts", default="predict,rounds,time,best")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat, without the part `best`")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parts = {"predict": predict, "rounds": rounds, "time": timed, "best": best}
    wanted = ["predict", "rounds", "time"] if arguments.quick else arguments.parts.split(",")
    repeats = 1 if arguments.quick else arguments.repeats
    table, generator, scores = Table(arguments.out), avatar_generator("", steps=8, guidance=1.0), Scores()
    for part in wanted:
        parts[part](table, generator, scores, repeats)
    report(table)


if __name__ == "__main__":
    main()
