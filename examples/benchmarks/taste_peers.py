"""Simulated people who choose the best of four: what they are led to, against other ways of asking them.

Twenty people with hidden scores of four kinds, over latents of 256 entries; an answer is flipped, to another of those
shown, with a probability of 0, .1 or .2. Everybody sees as many pictures: three new ones a choice.

    explore        `surrogate-ax explore`, the best of four, with the favourite so far among them
    kept           plain draws, the winner is kept: no model
    random pairs   pairs of plain draws; in the end the same model says what is liked best
    stock          optuna-dashboard's preferential study with its own sampler, in a box of eight seeds; 20 choices only,
                   as each takes longer than the one before, up to most of a minute at 40

What each has found in the end is put in standard deviations of plain draws over their mean. Results:

    taste_beats_PEER_FLIP    p of the paired Wilcoxon test over people and repeats that explore leads after 40 choices,
                             of the stock sampler after 20
    taste_beyond_2000        the median of explore after 100 choices at 10% flips, less the best of 2,000 plain draws
    taste_wait               seconds from a choice to the next proposals, the median at 100 choices

    python examples/benchmarks/taste_peers.py                # two hours; what is in the table is not run again
    python examples/benchmarks/taste_peers.py --only stock   # one method
    python examples/benchmarks/taste_peers.py --quick        # two cells of the table anew, nothing kept
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported
sys.path.append(str(Path(__file__).parents[2]))

import numpy as np
import optuna
import torch
from optuna_dashboard.preferential import create_study
from optuna_dashboard.preferential.samplers.gp import PreferentialGPSampler
from scipy.stats import wilcoxon

from surrogate_ax import Gaussian, SurrogateSpace
from surrogate_ax.execution.answers import Answer, Answers
from surrogate_ax.execution.asking import LIKING, person
from surrogate_ax.execution.foresight import Known, Rules
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, Terms
from surrogate_ax.policies.history import History
from surrogate_ax.policies.preference import Preference, utilities

D, PEOPLE, FIRST, SHOWN, DRAWS, BEST_OF = 256, 20, 100, 4, 20_000, 2_000
FLIPS, FEW, CHOICES, MANY, AXES = (0.0, 0.1, 0.2), 20, 40, 100, 8
PRIOR = Gaussian((D,))
RESULTS = Path(__file__).parent / "results" / "taste_peers.csv"
COLUMNS = ("method", "choices", "flip", "person", "repeat", "found", "best_of", "wait")
PEERS = ("kept", "random pairs", "stock")
Score = Callable[[np.ndarray], np.ndarray]


def hidden(number: int) -> Score:
    """What one person likes of latents (n, D)."""
    rng = np.random.default_rng(number)
    a, target = rng.standard_normal((D, 6)) / np.sqrt(D), rng.standard_normal(6) * 1.2
    kinds: list[Score] = [
        lambda x: -np.linalg.norm(x @ a - target, axis=1),
        lambda x: np.tanh(x @ a - target / 2).sum(axis=1),
        lambda x: (x @ a[:, :3]).min(axis=1),
        lambda x: (x @ a[:, 0]) + np.sin(2 * (x @ a[:, 1])) + np.minimum(x @ a[:, 2], 0.5),
    ]
    return kinds[number % len(kinds)]


class Person:
    """Sees latents, and chooses.

    Args:
        number: whose score.
        flip: probability of another answer.
        rng: of flips.
    """

    def __init__(self, number: int, flip: float, rng: np.random.Generator) -> None:
        self._score, self._flip, self._rng = hidden(number), flip, rng
        plain = self._score(np.random.default_rng(10_000 + number).standard_normal((DRAWS, D)))
        self._mean, self._std = plain.mean(), plain.std()
        self.best_of = float(np.mean(plain.reshape(-1, BEST_OF).max(axis=1) - self._mean) / self._std)

    def values(self, terms: list[Terms]) -> list[float]:
        """In standard deviations of plain draws over their mean."""
        bank = Bank(PRIOR).extend([seed for row in terms for seed, _ in row])
        x = bank.inner(bank.rows(terms)).double().numpy()
        return [float(value) for value in (self._score(x) - self._mean) / self._std]

    def choose(self, values: list[float]) -> int:
        """The place of the best, or of another one where the answer is flipped."""
        best = int(np.argmax(values))
        if self._rng.random() < self._flip:
            return int(self._rng.choice([i for i in range(len(values)) if i != best]))
        return best


def plain(entropy: int, count: int) -> list[Terms]:
    return [((Draw(entropy, i), 1.0),) for i in range(count)]


def history(terms: list[Terms], rounds: list[int]) -> History:
    return History(person(), terms, {LIKING: np.zeros(len(terms))}, np.array(rounds, dtype=int))


def explore(one: Person, choices: int, seed: int) -> tuple[float, float]:
    rules = Rules(PRIOR, seed, items=SHOWN, favourite=True)
    terms, rounds, true, answers, waits = list[Terms](), list[int](), list[float](), Answers(), list[float]()
    for _ in range(choices):
        clock = time.monotonic()
        known = rules.liked(Known(tuple(range(len(terms))), history(terms, rounds)), answers)
        round = rules.next_round(known, answers)
        waits.append(time.monotonic() - clock)
        new = round.terms or [((Draw(99 + seed, len(terms) + i), 1.0),) for i in range(round.size)]
        again = rules.favourite_of(answers)
        shown = [*([] if again is None else [again]), *range(len(terms), len(terms) + len(new))]
        terms, rounds, true = [*terms, *new], [*rounds, *[round.number] * len(new)], [*true, *one.values(new)]
        liked = shown[one.choose([true[trial] for trial in shown])]
        answers = answers.with_page(Answer(tuple(shown), (liked,)))
    known = rules.liked(Known(tuple(range(len(terms))), history(terms, rounds)), answers)
    return true[int(np.nanargmax(known.history.values[LIKING]))], waits[-1]


def kept(one: Person, choices: int, seed: int) -> tuple[float, float]:
    values = one.values(plain(7_000 + seed, choices * (SHOWN - 1) + 1))
    best = 0
    for i in range(choices):
        shown = [best, *range(1 + i * (SHOWN - 1), 1 + (i + 1) * (SHOWN - 1))]
        best = shown[one.choose([values[j] for j in shown])]
    return values[best], 0.0


def random_pairs(one: Person, choices: int, seed: int) -> tuple[float, float]:
    terms = plain(8_000 + seed, choices * (SHOWN - 1) // 2 * 2)
    values, said = one.values(terms), list[Preference]()
    for i in range(0, len(terms), 2):
        winner = i + one.choose(values[i : i + 2])
        said.append(Preference(winner, (2 * i + 1 - winner,)))
    bank = Bank(PRIOR).extend([seed for row in terms for seed, _ in row])
    return values[int(np.argmax(utilities(bank.gram(bank.rows(terms)), said)))], 0.0


def stock(one: Person, choices: int, seed: int) -> tuple[float, float]:
    space = SurrogateSpace.sample(PRIOR, seeds=AXES, rng=seed)
    study = create_study(n_generate=SHOWN, sampler=PreferentialGPSampler(seed=seed))
    unit = {f"u{k}": optuna.distributions.FloatDistribution(0, 1) for k in range(AXES - 1)}
    values, active, wait, rng = dict[int, float](), list[Any](), 0.0, np.random.default_rng(seed)
    for _ in range(choices):
        clock = time.monotonic()
        while study.should_generate():
            trial = asked(study, unit, rng)
            u = np.array([[trial.params[name] for name in unit]])
            values[trial.number] = one.values(space.terms(u))[0]
            active.append(trial)
        wait = time.monotonic() - clock
        winner = active[one.choose([values[trial.number] for trial in active])]
        study.report_preference(winner, [trial for trial in active if trial is not winner])
        active = [winner]
    return values[active[0].number], wait


def asked(study: Any, unit: dict[str, Any], rng: np.random.Generator) -> Any:
    """A trial of the stock sampler; a random one where that fails, as it does on a matrix that is barely singular."""
    try:
        return study.ask(unit)
    except torch.linalg.LinAlgError:
        print("stock: its sampler failed (LinAlgError); a random point stands in", file=sys.stderr, flush=True)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if set(trial.params) != set(unit):
                study._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial({name: rng.uniform() for name in unit})
        return study.ask(unit)


METHODS = {"explore": explore, "kept": kept, "random pairs": random_pairs, "stock": stock}


def cell(method: str, choices: int, flip: float, number: int, repeat: int) -> dict[str, Any]:
    one = Person(FIRST + number, flip, np.random.default_rng([number, repeat, int(100 * flip)]))
    found, wait = METHODS[method](one, choices, 1000 * repeat + number)
    numbers = {"found": round(found, 4), "best_of": round(one.best_of, 4), "wait": round(wait, 3)}
    return {"method": method, "choices": choices, "flip": flip, "person": number, "repeat": repeat, **numbers}


def cells(repeats: int) -> list[tuple[str, int, float, int, int]]:
    """The quick ones first; the stock sampler has one repeat."""
    people, kinds = range(PEOPLE), ("explore", "kept", "random pairs")
    wanted = [(m, CHOICES, flip, one, r) for r in range(repeats) for m in kinds for flip in FLIPS for one in people]
    many = [("explore", MANY, 0.1, one, r) for r in range(repeats) for one in people]
    few = [(m, FEW, flip, one, 0) for m in ("explore", "stock") for one in people for flip in FLIPS]
    return [*wanted, *many, *few]


def key(row: dict[str, Any]) -> tuple[str, int, float, int, int]:
    return row["method"], int(row["choices"]), float(row["flip"]), int(row["person"]), int(row["repeat"])


def read() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open() as file:
        return list(csv.DictReader(file))


def fill(repeats: int, only: str | None) -> None:
    done = set(map(key, read()))
    for wanted in cells(repeats):
        if wanted in done or only not in (None, wanted[0]):
            continue
        row, new = cell(*wanted), not RESULTS.exists()
        with RESULTS.open("a") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:.3g} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def summarise(rows: list[dict[str, Any]]) -> None:
    found = {key(row): float(row["found"]) for row in rows}
    print("method         choices  flip   mean   median")
    for choices, methods in ((CHOICES, ("explore", "kept", "random pairs")), (FEW, ("explore", "stock"))):
        for method in methods:
            for flip in FLIPS:
                values = [v for k, v in found.items() if k[:3] == (method, choices, flip)]
                if values:
                    numbers = f"{np.mean(values):6.2f} {np.median(values):8.2f}"
                    print(f"{method:14} {choices:7} {flip:5} {numbers}   n = {len(values)}")
    for peer in PEERS:
        for flip in FLIPS:
            choices = FEW if peer == "stock" else CHOICES
            pairs = [
                (found["explore", *k[1:]], v)
                for k, v in found.items()
                if k[:3] == (peer, choices, flip) and ("explore", *k[1:]) in found
            ]
            if pairs:
                ours, theirs = map(np.array, zip(*pairs, strict=True))
                p = wilcoxon(ours, theirs, alternative="greater").pvalue
                report(f"taste_beats_{peer.replace(' ', '_')}_{round(100 * flip)}", p, 0.05)
    long = [row for row in rows if row["method"] == "explore" and int(row["choices"]) == MANY]
    if long:
        over = [float(row["found"]) - float(row["best_of"]) for row in long]
        report("taste_beyond_2000", statistics.median(over), 0, at_least=True)
        report("taste_wait", statistics.median(float(row["wait"]) for row in long), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--only", choices=METHODS, help="one method")
    parser.add_argument("--quick", action="store_true", help="two cells anew, which have to come out as in the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if arguments.quick:
        known = {key(row): row for row in read()}
        for wanted in (("explore", CHOICES, 0.1, 3, 0), ("random pairs", CHOICES, 0.2, 5, 0)):
            new = float(cell(*wanted)["found"])
            report(f"taste_again_{wanted[0].replace(' ', '_')}", abs(new - float(known[wanted]["found"])), 0.01)
    else:
        fill(arguments.repeats, arguments.only)
    summarise(read())


if __name__ == "__main__":
    main()
