"""What a planned search loses when several trials are pending: proposals one by one against rounds, by simulation.

W trials are always pending; each time one ends, at random, a new one is proposed from all that is told and pending.
Reported is the best value found, in standard deviations of plain draws, less that of rounds of eight, over objectives
of latents of dimension 256.

    python examples/benchmarks/asynchronous.py            # 4 objectives, 6 repeats, N = 96
    python examples/benchmarks/asynchronous.py --quick    # 2 repeats, N = 64
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from surrogate_ax import Gaussian, Metric, Objective
from surrogate_ax.arrays import Array
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import History, Proposal, Sharing
from surrogate_ax.policies.plan import plan

D = 256
PRIOR = Gaussian((D,))
OBJECTIVE = Objective(Metric("gain"), score=lambda outputs, _: outputs)
GOAL = -0.2  # of eight pending trials: no worse than rounds by more than noise


def objectives(rng: np.random.Generator) -> list[Callable[[Array], Array]]:
    a, b = (rng.standard_normal((D, 24)) / np.sqrt(D) for _ in range(2))
    wide, target = np.linspace(1, 0.1, 24), rng.standard_normal(24)
    return [
        lambda x: x @ a[:, 0],
        lambda x: (x @ a * wide).clip(0).sum(1) + 0.3 * (x @ b)[:, 0],
        lambda x: -np.abs((x @ a - target) * wide).sum(1),
        lambda x: np.tanh(x @ a[:, 0]) + np.sin(2 * x @ b[:, 0]) - 0.2 * np.abs(x @ a[:, 1:4]).sum(1),
    ]


def search(score: Callable[[Array], Array], total: int, pending: int, rng: int) -> float:
    """The best value found with so many trials pending; in rounds of eight for 0."""
    policy, random = plan(total, dim=D).policy(PRIOR), np.random.default_rng(rng)
    told: list[tuple[Proposal, int, float]] = []
    waiting: list[tuple[Proposal, int]] = []
    while len(told) < total:
        while (left := total - len(told) - len(waiting)) and len(waiting) < max(pending, 1):
            round = policy(history_of(told, waiting, pending), left, rng)
            assert round is not None
            count = 1 if pending else min(left, round.size)
            draws = [Proposal(((Draw(rng + 10**6, total - left + i), 1.0),)) for i in range(count)]
            waiting += [(point, round.number) for point in (round.proposals or draws)[:count]]
        ended = [waiting.pop(int(random.integers(len(waiting)))) for _ in range(1 if pending else len(waiting))]
        bank = Bank(PRIOR, ()).extend([seed for point, _ in ended for seed, _ in point.terms])
        x = bank.inner(bank.rows(point.terms for point, _ in ended)).double().numpy()
        told += [(point, n, float(value)) for (point, n), value in zip(ended, score(x), strict=True)]
    return max(value for _, _, value in told)


def history_of(told: list[tuple[Proposal, int, float]], waiting: list[tuple[Proposal, int]], pending: int) -> History:
    """What a worker sees that is about to ask."""
    return History(
        OBJECTIVE,
        [point.terms for point, _, _ in told],
        {"gain": np.array([value for _, _, value in told], dtype=float)},
        np.array([number for _, number, _ in told], dtype=int),
        [number for _, number in waiting],
        pending=[point for point, _ in waiting],
        sharing=Sharing(max(pending, 1), f"worker {len(told) + len(waiting)}"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pending", type=int, nargs="+", default=[4, 8])
    options = parser.parse_args()
    repeats, total = (2, 64) if options.quick else (6, 96)
    gains: dict[int, list[float]] = {pending: [] for pending in options.pending}
    for repeat in range(repeats):
        for score in objectives(np.random.default_rng(repeat)):
            spread = float(score(np.random.default_rng(99).standard_normal((2000, D))).std())
            rounds = search(score, total, 0, repeat)
            for pending, found in gains.items():
                found.append((search(score, total, pending, repeat) - rounds) / spread)
        means = {pending: round(float(np.mean(found)), 2) for pending, found in gains.items()}
        print(f"# after {repeat + 1} repeats: {means}", flush=True)
    for pending, found in gains.items():
        mean, error = float(np.mean(found)), float(np.std(found) / np.sqrt(len(found)))
        print(f"# {pending} pending: {mean:.2f} ± {error:.2f} sd")
        if pending <= 8:
            print(f"RESULT one_by_one_{pending}_gain {mean:.2f} {GOAL} {'ok' if mean >= GOAL else 'short'}", flush=True)


if __name__ == "__main__":
    main()
