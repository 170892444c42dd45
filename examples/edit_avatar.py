"""Edit an existing picture: glasses on, a hat painted in, and the same glasses searched for what changes least.

The picture is an avatar of the embedded model; with a pipeline of your own (FLUX, SD3, Wan, ...) the code is the same.
An edit is a generator, so the third one is an ordinary search: `optimize` over the noises of the edit's steps.

python examples/edit_avatar.py --draws 8 --budget 32
"""

import argparse
from pathlib import Path

import numpy as np
import optuna
import torch

from surrogate_ax import Metric, Objective, contact_sheet
from surrogate_ax.editing import Edit, edit
from surrogate_ax.media import Row
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import optimize, portfolio

SHOWS = "no glasses, no hat, pale skin, short brown hair, blue clothes, happy mouth, white background"
GLASSES, HAT = SHOWS.replace("no glasses", "dark glasses"), SHOWS.replace("no hat", "red hat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--budget", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("edit-out"))
    arguments = parser.parse_args()

    generator = avatar_generator("", steps=arguments.steps, guidance=1.0)
    z = {"latents": torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))}
    source = generator.generate(z, [{"prompt": SHOWS, "guidance_scale": 1.5}]).outputs[0]

    glasses = edit(generator, source, {"prompt": SHOWS}, {"prompt": GLASSES}, draws=arguments.draws, rng=0)
    hole = np.zeros((16, 16), dtype=bool)
    hole[:6] = True
    hat = edit(generator, source, {"prompt": SHOWS}, {"prompt": HAT}, mask=hole, draws=arguments.draws, rng=0)

    def score(outputs: np.ndarray, conditions: list) -> np.ndarray:
        """Dark where glasses are, and as before elsewhere."""
        change = np.abs(np.asarray(outputs) - source)
        eyes = np.asarray(outputs)[:, 5:9, 3:13].mean(axis=(1, 2, 3))
        return -eyes - 4 * np.concatenate([change[:, :5], change[:, 9:]], axis=1).mean(axis=(1, 2, 3))

    edits = Edit(generator, generator.encode(source[None]), source={"prompt": SHOWS}, target={"prompt": GLASSES})
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    optimize(study, edits, Objective(Metric("value"), score=score), total_trials=arguments.budget, rng=0)
    searched = [pick.output for pick in portfolio(study, edits, k=4)]

    rows = [Row("Source", "", [source], [""])]
    for title, outputs in (("Glasses", glasses.outputs), ("A hat in a hole", hat.outputs), ("Searched", searched)):
        away = [float(np.sqrt(np.square(output - source).mean())) for output in outputs]
        print(f"{title}: {min(away):.3f} away from the source")
        rows.append(Row(title, "", outputs, [f"{distance:.3f}" for distance in away]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    contact_sheet("Edits of one avatar", {"Source": SHOWS}, rows).save(arguments.out / "edits.png")


if __name__ == "__main__":
    main()
