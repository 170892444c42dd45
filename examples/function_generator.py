"""A generator that is a plain function: pictures made of smoothed noise, searched for one that looks like a ring.

CMA-ES proposes, in boxes that move, as any sampler of Optuna's would.

python examples/function_generator.py --out pictures
"""

import argparse
from pathlib import Path

import optuna
import torch

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax.media.previews import save_preview
from surrogate_ax_optuna import optimize, portfolio

SIZE = 96
AXIS = torch.linspace(-1, 1, SIZE)
RING = torch.exp(-20 * (torch.hypot(AXIS[:, None], AXIS[None, :]) - 0.6) ** 2)


def clouds(z: torch.Tensor) -> torch.Tensor:
    """Noise (n, 8, 8) to pictures (n, 96, 96) in [0, 1]."""
    smooth = torch.nn.functional.interpolate(z[:, None], size=(SIZE, SIZE), mode="bicubic")
    return smooth[:, 0].sigmoid()


def likeness(pictures: torch.Tensor, conditions: object) -> torch.Tensor:
    """Correlation of each picture with the ring (n,)."""
    pixels = torch.stack([RING, *pictures]).flatten(1)
    return torch.corrcoef(pixels)[0, 1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("function-out"))
    arguments = parser.parse_args()

    generator = FunctionGenerator(clouds, (8, 8))
    objective = Objective(Metric("likeness", "maximize"), score=likeness)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.CmaEsSampler(seed=0))
    optimize(study, generator, objective, total_trials=arguments.trials, rng=0)

    arguments.out.mkdir(parents=True, exist_ok=True)
    for i, pick in enumerate(portfolio(study, generator, k=4)):
        save_preview(pick.output, arguments.out / f"{i}.png")
        print(f"{arguments.out / f'{i}.png'}: trial {pick.trial.number}, likeness {pick.trial.value:.4f}")


if __name__ == "__main__":
    main()
