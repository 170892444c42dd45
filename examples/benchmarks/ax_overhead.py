"""What the loop itself costs a batch on Ax, beside generation, scores and Ax's own proposing and storing.

The time of `optimize` less that spent inside the generator, the score and the client's public methods is the loop's
own: policies, latents, recipes. It is processor time of this process, so other programs do not count. Run
`python examples/benchmarks/ax_overhead.py` (about two minutes of a processor), or with --quick.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ax.api.client import Client

from surrogate_ax import FunctionGenerator, Metric, Objective, SurrogateSpace, fixed
from surrogate_ax_platform import configure_experiment, optimize

D, AXES, BATCH = 64, 8, 4
MOST_MS, MOST_SHARE = 20.0, 0.05
THEIRS = (
    "get_next_trials",
    "attach_trial",
    "complete_trial",
    "_save_experiment_to_db_if_possible",
    "_save_or_update_trial_in_db_if_possible",
)


class Clock:
    """Processor time spent inside functions, nested calls counted once."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._inside = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return function(*arguments, **options)
            self._inside, begun = True, time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self._inside = False
                self.spent += time.process_time() - begun

        return call


def measure(*, trials: int, planned: bool) -> tuple[float, float]:
    """Milliseconds of the loop's own a batch, and their share of the whole, after the first batch."""
    clock, batches = Clock(), []
    generator = FunctionGenerator(clock.timed(lambda z: z), (D,))
    objective = Objective(Metric("first"), score=clock.timed(lambda z, _: z[:, 0]))
    client = Client(random_seed=0)
    configure_experiment(client, generator, objective, seeds=AXES, model=None if planned else "coefficients")
    for name in THEIRS:
        setattr(client, name, clock.timed(getattr(client, name)))
    policy = None if planned else fixed(SurrogateSpace.sample(generator.prior, seeds=AXES, rng=0))

    def note(batch: Any) -> None:
        batches.append((time.process_time(), clock.spent))

    budget = {"total_trials": trials, "batch_size": BATCH}
    optimize(client, generator, objective, rng=0, policy=policy, callbacks=[note], **budget)
    steps = np.diff(np.array(batches), axis=0)
    own = steps[:, 0] - steps[:, 1]
    return float(np.median(own) * 1e3), float(own.sum() / steps[:, 0].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="24 trials instead of 60")
    arguments = parser.parse_args()
    trials = 24 if arguments.quick else 60
    for name, planned in (("box", False), ("plan", True)):
        milliseconds, share = measure(trials=trials, planned=planned)
        ok = "ok" if milliseconds <= MOST_MS or share <= MOST_SHARE else "short"
        print(f"{name}: {milliseconds:.1f} ms a batch of {BATCH}, {share:.1%} of the whole")
        goal = f"<={MOST_MS:.0f}_or_<={MOST_SHARE:.0%}_of_the_whole"
        print(f"RESULT ax_overhead_{name}_ms {milliseconds:.1f} {goal} {ok}")


if __name__ == "__main__":
    main()
