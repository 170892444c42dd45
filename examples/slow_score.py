"""A slow score in a process of its own, with a timeout, while the next batch is generated.

Small networks of neurons are searched for the longest time that one takes to come to rest. Some never do, as happens in
simulations: then the process is killed, and only that trial fails.

python examples/slow_score.py --trials 100
"""

import argparse
import math
from pathlib import Path

NEURONS = 6


def time_to_rest(networks: list, conditions: object) -> list[int]:
    """Steps that each of n networks (n, 6, 6) of weights takes until its neurons change no more."""
    return [simulate(weights.tolist()) for weights in networks]


def simulate(weights: list[list[float]]) -> int:
    state, change, steps = [1.0] * NEURONS, 1.0, 0
    while change > 1e-6:
        after = [math.tanh(sum(w * x for w, x in zip(row, state, strict=True))) for row in weights]
        change = max(abs(b - a) for a, b in zip(state, after, strict=True))
        state, steps = after, steps + 1
    return steps


def main() -> None:
    # The score's process imports this file as well, and needs nothing of the following.
    import optuna
    import torch

    from surrogate_ax import FunctionGenerator, Metric, Objective, SubprocessScore
    from surrogate_ax_optuna import create_study, optimize

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds for each network")
    arguments = parser.parse_args()

    def networks(z: torch.Tensor) -> object:
        return (0.35 * z).numpy()

    generator = FunctionGenerator(networks, (NEURONS, NEURONS))
    with SubprocessScore("slow_score:time_to_rest", timeout=arguments.timeout, folder=Path(__file__).parent) as score:
        objective = Objective(Metric("time to rest", "maximize"), score=score)
        study = create_study(objective)
        optimize(study, generator, objective, total_trials=arguments.trials, batch_size=2, rng=0, overlap=True)
    failed = len(study.get_trials(states=(optuna.trial.TrialState.FAIL,)))
    print(f"{failed} of {len(study.trials)} never came to rest; the longest of the others took {study.best_value:.0f}")


if __name__ == "__main__":
    main()
