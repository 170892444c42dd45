"""The model on coefficients against models on u: how well it predicts, what it finds in 60 evaluations, what it costs.

    python examples/benchmarks/gp.py             # goes on with results/gp.csv, then prints what is in it
    python examples/benchmarks/gp.py --report    # prints only
    python examples/benchmarks/gp.py --quick     # computes three committed cells again: under 5 minutes

Finished cells are read from the CSV, so it can be stopped and gone on with; `--parts predict,time` computes some parts
only. One torch thread. The embedded avatar model without a prompt, 8 steps, six objectives. A line of the CSV: part, K,
objective, repeat, method, value.

predict  Held-out R² (200 points) of BoTorch's SingleTaskGP on 100 points of one box: with our kernel on coefficients,
         with the same kernel, priors and optimiser on u, and as BoTorch makes it by default.
rounds   Held-out R² (100 points) in the third of three rounds, each box with the 4 best points so far and 4 new draws
         as axes: ours with 80 points of the first two rounds and 20 of the third, and with those 20 only; the same
         later, with 40 of the third.
best     Best of 60 evaluations in batches of 4, from the same 12 uniform points: ours, a plain Ax client, Optuna's
         GPSampler.
time     Processor seconds of `get_next_trials(4)` at D = 7, ours and a plain Ax client's by turns.
"""

import argparse
import csv
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from safetensors.torch import load_file

from surrogate_ax import Generator, SurrogateSpace
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax_botorch import Box, CoefficientKernel, Geometry
from surrogate_ax_cli.palette import palette_objective
from surrogate_ax_diffusers import avatar_generator

sys.path.append(str(Path(__file__).parents[1] / "train_avatars"))
from box_search import BATCH, BUDGET, box_client, images, tell_box, with_ax, with_coefficients, with_gpsampler
from classifier import WEIGHTS, Classifier
from dataset import held_out

Array = np.ndarray
DUSK = {"#2b2d5b": 0.4, "#d9576b": 0.35, "#f2b25c": 0.25}
SEA, LUMINANCE = np.array([0.2, 0.55, 0.6]), np.array([0.299, 0.587, 0.114])
NAMES = ("palette", "symmetry", "target", "contrast", "colour", "conjunction")
TRAIN, TEST, BEGIN = 100, 200, 12
EARLIER, OWN = 80, (20, 40)
RESULTS = Path(__file__).parent / "results" / "gp.csv"
METHODS = ("coefficients", "ax", "gpsampler")


class Scores:
    """Six scores of images (n, 16, 16, 3) in [0, 1], all to be maximised."""

    def __init__(self) -> None:
        self._judge = Classifier()
        self._judge.load_state_dict(load_file(WEIGHTS))
        self._judge.eval()
        self._target = held_out()[0][17].astype(np.float64) / 255
        self._palette = palette_objective(DUSK)
        self._of: dict[str, Callable[[Array], Array]] = {
            "palette": lambda x: -self._palette.measure(x, [{}] * len(x))[self._palette.metrics[0].name],
            "symmetry": lambda x: -np.abs(x - x[:, :, ::-1]).mean(axis=(1, 2, 3)),
            "target": lambda x: -np.sqrt(((x - self._target) ** 2).mean(axis=(1, 2, 3))),
            "contrast": lambda x: (x @ LUMINANCE).reshape(-1, 4, 4, 4, 4).mean(axis=(2, 4)).reshape(-1, 16).std(axis=1),
            "colour": lambda x: -np.sqrt(((x - SEA) ** 2).sum(axis=-1)).mean(axis=(1, 2)),
            "conjunction": self._conjunction,
        }

    def __call__(self, name: str, images: Array) -> Array:
        return self._of[name](np.asarray(images, dtype=np.float64))

    @torch.no_grad()
    def _conjunction(self, x: Array) -> Array:
        """Glasses and long hair: the smaller of the two logits."""
        logits = self._judge(torch.from_numpy(x).float().permute(0, 3, 1, 2) * 2 - 1).double().numpy()
        return np.minimum(logits[:, 0], logits[:, 2])


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


def box(space: SurrogateSpace) -> Box:
    return Box(space.bank.terms(space.frame), space.chart.name)


def r2(x: Array, y: Array, rows: Array, test: Array, kernel: object) -> float:
    """Held-out R² of a GP that was fitted to some rows."""
    history = torch.tensor(y[rows, None])
    model = SingleTaskGP(torch.tensor(x[rows]), history, covar_module=kernel, outcome_transform=Standardize(1))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    with torch.no_grad():
        mean = model.posterior(torch.tensor(x[test])).mean[:, 0].numpy()
    return float(1 - np.square(mean - y[test]).mean() / y[test].var())


class OnCoordinates(CoefficientKernel):
    """The same kernel with the same priors, on u itself."""

    def __init__(self, columns: int) -> None:
        super().__init__(SimpleNamespace(axes=columns), box=range(columns))

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        return x


def predict(table: Table, generator: Generator, scores: Scores, repeats: int, names: Sequence[str] = NAMES) -> None:
    for k, repeat in [(k, r) for r in range(repeats) for k in (8, 16)]:
        missing = [n for n in names if ("predict", str(k), n, str(repeat), "coefficients") not in table.rows]
        if not missing:
            continue
        space = SurrogateSpace.sample(generator.prior, seeds=k, rng=repeat)
        u = np.random.default_rng([k, repeat]).uniform(size=(TRAIN + TEST, k - 1))
        made = images(generator, space, u)
        rows, test = np.arange(TRAIN), np.arange(TRAIN, TRAIN + TEST)
        for name in missing:
            kernels = {
                "u": OnCoordinates(k - 1),
                "u, BoTorch's default": get_covar_module_with_dim_scaled_prior(ard_num_dims=k - 1),
                "coefficients": CoefficientKernel(Geometry({0: box(space)}), box=range(k - 1)),
            }
            for method, kernel in kernels.items():
                key = ("predict", str(k), name, str(repeat), method)
                table.add(key, r2(u, scores(name, made), rows, test, kernel))


def rounds(table: Table, generator: Generator, scores: Scores, repeats: int, names: Sequence[str] = NAMES) -> None:
    half, sizes = EARLIER // 2, (EARLIER // 2, EARLIER // 2, OWN[-1] + TRAIN)
    for repeat in range(repeats):
        missing = [n for n in names if ("rounds", "8", n, str(repeat), f"own round, {OWN[-1]} own") not in table.rows]
        rng, start = np.random.default_rng([99, repeat]), SurrogateSpace.sample(generator.prior, seeds=8, rng=repeat)
        u = rng.uniform(size=(sum(sizes), 7))
        first = images(generator, start, u[:half]) if missing else None
        for name in missing:
            space, boxes, terms, y = start, {0: box(start)}, start.terms(u[:half]), scores(name, first)
            for number, points in ((1, u[half:EARLIER]), (2, u[EARLIER:])):
                space = reseeded(space, [terms[i] for i in np.argsort(-y)[:4]], repeat, number)
                boxes[number] = box(space)
                terms, y = terms + space.terms(points), np.append(y, scores(name, images(generator, space, points)))
            x, test = np.column_stack([u, np.repeat([0, 1, 2], sizes)]), np.arange(len(u) - TRAIN, len(u))
            for own in OWN:
                for method, begin in (("all rounds", 0), ("own round", EARLIER)):
                    kernel = CoefficientKernel(Geometry(boxes, present=2), box=range(7), round=7)
                    value = r2(x, y, np.arange(begin, EARLIER + own), test, kernel)
                    table.add(("rounds", "8", name, str(repeat), f"{method}, {own} own"), value)


def reseeded(space: SurrogateSpace, best: Sequence[Terms], repeat: int, number: int) -> SurrogateSpace:
    """A box whose axes are the best points so far and as many new draws."""
    new = [Draw(draw_entropy(repeat, "fresh axes"), number * len(best) + i) for i in range(len(best))]
    bank = space.bank.extend(new)
    return SurrogateSpace(bank, np.vstack([bank.rows(best).toarray(), np.eye(len(bank.seeds))[-len(new) :]]))


def best(table: Table, generator: Generator, scores: Scores, repeats: int, methods: Sequence[str] = METHODS) -> None:
    for repeat, name in [(repeat, name) for repeat in range(repeats) for name in NAMES]:
        space = SurrogateSpace.sample(generator.prior, seeds=8, rng=100 + repeat)
        begin = np.random.default_rng([5, repeat]).uniform(size=(BEGIN, 7))
        score = partial(scores, name)
        for method in methods:
            key = ("best", "8", name, str(repeat), method)
            if key in table.rows:
                continue
            if method == "coefficients":
                values = with_coefficients(generator, score, space, begin, repeat, BUDGET)[1]
            else:
                search = {"ax": with_ax, "gpsampler": with_gpsampler}[method]
                values = search(generator, score, space, begin, repeat)
            for what, value in (("best", values[:BEGIN].max()), ("median", np.median(values[:BEGIN]))):
                if ("begin", "8", name, str(repeat), what) not in table.rows:
                    table.add(("begin", "8", name, str(repeat), what), float(value))
            table.add(key, float(values.max()))
            print(*key, f"{values[:BEGIN].max():.4f} -> {values.max():.4f}", flush=True)


def timed(table: Table, generator: Generator, scores: Scores, repeats: int) -> None:
    """Both models by turns, on clients that hold the same 24, 32, ... evaluations."""
    for repeat, name in [(repeat, name) for repeat in range(repeats) for name in ("contrast", "conjunction")]:
        if ("time", "8", name, str(repeat), "ax") in table.rows:
            continue
        space = SurrogateSpace.sample(generator.prior, seeds=8, rng=repeat)
        u = np.random.default_rng([3, repeat]).uniform(size=(24 + 8 * repeat, 7))
        score = partial(scores, name)
        client, values = with_coefficients(generator, score, space, u, 0, len(u))
        other = box_client(7, 0)
        tell_box(other, u, values)
        seconds = {}
        for method in ("coefficients", "ax")[:: 1 - 2 * (repeat % 2)]:
            clock = time.process_time()
            if method == "ax":
                other.get_next_trials(max_trials=BATCH)
            else:
                client.get_next_trials(max_trials=BATCH, fixed_parameters={"round": 0})
            seconds[method] = time.process_time() - clock
        for method, spent in seconds.items():
            table.add(("time", "8", name, str(repeat), method), spent)


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
    for own in OWN:
        gain = paired(table, "rounds", f"all rounds, {own} own", f"own round, {own} own")
        if len(gain):
            better, wanted = float((gain > 0).mean()), own == OWN[0]
            goal = ">=0.80" if wanted else "-"
            result(f"R2_all_rounds_better_{own}_own[{len(gain)}_cells]", better, goal, not wanted or better >= 0.8)
            result(f"R2_all_rounds_gain_{own}_own", float(np.median(gain)), "-", True)
    seconds = [list(table.column("time", method).values()) for method in ("coefficients", "ax")]
    if seconds[1]:
        ratio = float(np.median([a / b for a, b in zip(*seconds, strict=False)]))
        result(f"time_ratio_to_ax[{len(seconds[1])}]", ratio, "<=1.5", ratio <= 1.5)
    report_best(table)


def report_best(table: Table) -> None:
    """Mean rank, and the paired difference of normalised scores.

    Normalised: 0 is the median of the common 12 points, 1 the best that any method found in the cell.
    """
    found = {method: table.column("best", method) for method in METHODS}
    cells = sorted(set.intersection(*(set(column) for column in found.values())))
    if not cells:
        return
    values = np.array([[found[method][cell] for method in METHODS] for cell in cells])
    above = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    beside = (values[:, None, :] == values[:, :, None]).sum(axis=2) - 1
    ranks = (above + 1 + beside / 2).mean(axis=0)
    for method, rank in zip(METHODS, ranks, strict=True):
        goal = "first" if method == METHODS[0] else "-"
        result(f"mean_rank_{method}[{len(cells)}_cells]", rank, goal, goal == "-" or rank == ranks.min())
    for begin in ("median", "best"):
        zero = np.array([table.column("begin", begin)[cell] for cell in cells])[:, None]
        normal = (values - zero) / np.maximum(values.max(axis=1, keepdims=True) - zero, 1e-12)
        rng = np.random.default_rng(0)
        for j, method in list(enumerate(METHODS))[1:]:
            difference = normal[:, 0] - normal[:, j]
            drawn = rng.choice(difference, size=(4000, len(difference))).mean(axis=1)
            low, high = np.quantile(drawn, [0.05, 0.95])
            name = f"score_minus_{method}" + ("" if begin == "median" else "_from_best_of_begin")
            goal = ">-0.02" if begin == "median" else "-"
            result(f"{name}_low5", float(low), goal, goal == "-" or low > -0.02)
            result(f"{name}_mean", float(difference.mean()), "-", True)
            result(f"{name}_high95", float(high), "-", True)


def again(table: Table, generator: Generator, scores: Scores) -> None:
    """Compute three cells anew and compare them with what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        anew = Table(Path(folder) / "gp.csv")
        predict(anew, generator, scores, 1, ["contrast"])
        rounds(anew, generator, scores, 1, ["contrast"])
    away = max(abs(value - table.rows[key]) for key, value in anew.rows.items())
    result(f"computed_again_differ[{len(anew.rows)}_values]", away, "<=0.02", away <= 0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--parts", default="predict,rounds,time,best")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--methods", default=",".join(METHODS), help="of the part `best`")
    parser.add_argument("--report", action="store_true", help="print what the CSV holds")
    parser.add_argument("--quick", action="store_true", help="compute three committed cells again and compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table(arguments.out)
    if not arguments.report:
        generator, scores = avatar_generator("", steps=8, guidance=1.0), Scores()
        if arguments.quick:
            again(table, generator, scores)
        else:
            parts = {"predict": predict, "rounds": rounds, "time": timed}
            parts["best"] = partial(best, methods=arguments.methods.split(","))
            for part in arguments.parts.split(","):
                parts[part](table, generator, scores, arguments.repeats)
    report(table)


if __name__ == "__main__":
    main()
