"""Edit an existing picture: glasses on, a hat painted in, glasses that change least, clothes towards a colour.

The picture is an avatar of the embedded model; with a pipeline of your own (FLUX, SD3, Wan, ...) the code is the same.
An edit is a generator, so the third is an ordinary search: `optimize` over the noises of the edit's steps. The fourth
has no target but a score, which moves what the description leaves open; so the description says what is to stay.

python examples/edit_avatar.py --draws 8 --budget 32
"""

import argparse
from pathlib import Path

import numpy as np
import optuna
import torch

from surrogate_ax import Generator, Metric, Objective, chain, contact_sheet, draws
from surrogate_ax.editing import Edit, edit
from surrogate_ax.media import Row
from surrogate_ax.policies.evolution import evolve
from surrogate_ax.scoring.objective import Score
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import optimize, portfolio

SHOWS = "no glasses, no hat, pale skin, short brown hair, blue clothes, happy mouth, white background"
STAYS = "no glasses, no hat, pale skin, short brown hair, happy mouth, white background"
ORANGE = np.array([1.0, 0.55, 0.1])
GLASSES, HAT = SHOWS.replace("no glasses", "dark glasses"), SHOWS.replace("no hat", "red hat")


def search(edits: Generator, score: Score, budget: int) -> list:
    """The best four edits of a study."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    policy = chain(draws(edits.prior, max(4, budget // 4), axes=4), evolve(edits.prior, axes=4, size=8))
    optimize(study, edits, Objective(Metric("value"), score=score), policy=policy, total_trials=budget, rng=0)
    return [pick.output for pick in portfolio(study, edits, k=4)]


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
    searched = search(edits, score, arguments.budget)

    def orange(outputs: np.ndarray, conditions: list) -> np.ndarray:
        """How near the clothes are to orange; at least -0.1 is near enough."""
        return -np.sqrt(np.square(np.asarray(outputs)[:, 12:, 3:13] - ORANGE).mean(axis=(1, 2, 3)))

    found = edit(generator, source, {"prompt": STAYS}, score=orange, reached=-0.1, rng=0, draws=1)

    def coloured(outputs: np.ndarray, conditions: list) -> np.ndarray:
        face = np.square(np.asarray(outputs) - source)[:, :12]
        return orange(outputs, conditions) - np.sqrt(face.mean(axis=(1, 2, 3)))

    clothes = search(found.edit, coloured, arguments.budget)

    rows = [Row("Source", "", [source], [""])]
    for title, outputs in (
        ("Glasses", glasses.outputs),
        ("A hat in a hole", hat.outputs),
        ("Glasses, searched", searched),
        ("Towards orange", clothes),
    ):
        away = [float(np.sqrt(np.square(output - source).mean())) for output in outputs]
        print(f"{title}: {min(away):.3f} away from the source")
        rows.append(Row(title, "", outputs, [f"{distance:.3f}" for distance in away]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    contact_sheet("Edits of one avatar", {"Source": SHOWS}, rows).save(arguments.out / "edits.png")


if __name__ == "__main__":
    main()
