"""Simulated people choose among pictures: what they are led to, against plain draws at equal pictures seen.

    python examples/benchmarks/taste.py

Six people of three kinds: near a target, many things at once, the least of three. A picture is felt with noise, anew
each time it is shown. Printed are means in standard deviations of plain draws over their mean: the latent that the
model finds liked best, the last chosen, the last page, and of as many plain draws the one that is kept by the same
person and the very best.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surrogate_ax import Gaussian
from surrogate_ax.execution.answers import Answer, Answers
from surrogate_ax.execution.asking import LIKING, person
from surrogate_ax.execution.foresight import Known, Rules
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, Terms
from surrogate_ax.policies.history import History

D, PEOPLE, REFERENCE = 256, 6, 2000
PRIOR = Gaussian((D,))
Taste = Callable[[np.ndarray], np.ndarray]
# Items of a page, pages, noise, how many are liked.
RUNS = [(8, 20, 0.0, 1), (8, 20, 0.3, 1), (8, 20, 0.6, 1), (8, 20, 0.6, 3), (4, 40, 0.3, 1), (2, 40, 0.3, 1)]


def hidden(rng: np.random.Generator) -> Taste:
    """What one person likes of latents (n, D)."""
    a, target, kind = rng.standard_normal((D, 6)) / np.sqrt(D), rng.standard_normal(6) * 1.2, rng.integers(3)
    if kind == 0:
        return lambda x: -np.linalg.norm(x @ a - target, axis=1)
    if kind == 1:
        return lambda x: np.tanh(x @ a - target / 2).sum(axis=1)
    return lambda x: (x @ a[:, :3]).min(axis=1)


def latents(terms: list[Terms]) -> np.ndarray:
    bank = Bank(PRIOR).extend([seed for row in terms for seed, _ in row])
    return bank.inner(bank.rows(terms)).double().numpy()


def play(seed: int, items: int, pages: int, noise: float, liked: int) -> list[float]:
    rng = np.random.default_rng(seed)
    taste = hidden(rng)
    reference = taste(latents([((Draw(5, i), 1.0),) for i in range(REFERENCE)]))
    spread = noise * reference.std()
    rules = Rules(PRIOR, seed, items=items, favourite=items < 8)
    terms, rounds, true, shown, answers = list[Terms](), list[int](), list[float](), list[int](), Answers()
    for _ in range(pages):
        known = rules.liked(Known(tuple(range(len(terms))), history(terms, rounds)), answers)
        round = rules.next_round(known, answers)
        new = round.terms or [((Draw(99, len(terms) + i), 1.0),) for i in range(round.size)]
        again = rules.favourite_of(answers)
        shown = [*([] if again is None else [again]), *range(len(terms), len(terms) + len(new))]
        terms, rounds, true = [*terms, *new], [*rounds, *[round.number] * len(new)], [*true, *taste(latents(new))]
        felt = {trial: true[trial] + spread * rng.gumbel() for trial in shown}
        chosen = sorted(shown, key=felt.__getitem__, reverse=True)[:liked]
        answers = answers.with_page(Answer(tuple(shown), tuple(chosen)))
    likings = rules.liked(Known(tuple(range(len(terms))), history(terms, rounds)), answers).history.values[LIKING]
    kept = keep(reference[: len(terms)], items, spread, rng)
    last, best = np.mean([true[trial] for trial in shown]), reference[: len(terms)].max()
    found = [true[int(np.argmax(likings))], true[answers.favourite], last, kept, best]
    return [float((value - reference.mean()) / reference.std()) for value in found]


def history(terms: list[Terms], rounds: list[int]) -> History:
    return History(person(), terms, {LIKING: np.zeros(len(terms))}, np.array(rounds, dtype=int))


def keep(values: np.ndarray, items: int, spread: float, rng: np.random.Generator) -> float:
    """What a person keeps of plain draws, page by page beside what was kept before."""
    best, seen = None, 0
    while seen < len(values):
        page = [*([] if best is None else [best]), *range(seen, min(len(values), seen + items - (best is not None)))]
        seen = page[-1] + 1
        best = max(page, key=lambda i: values[i] + spread * rng.gumbel())
    return float(values[best])


if __name__ == "__main__":
    print("items pages noise liked | model's best  last chosen  last page | kept of draws  best of draws")
    for run in RUNS:
        means = np.mean([play(seed, *run) for seed in range(PEOPLE)], axis=0)
        print("{:5} {:5} {:5} {:5} |".format(*run), *(f"{value:10.2f}" for value in means), flush=True)
