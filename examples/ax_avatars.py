"""Avatars in warm colours with Ax: a client that goes on where it stopped, a report, and optuna-dashboard beside it.

Run `python examples/ax_avatars.py --trials 60`, again with more trials to go on. Then open ax-out/report.html, or
`optuna-dashboard sqlite:///ax-out/mirror.db --artifact-dir ax-out/previews`.
"""

import argparse
from pathlib import Path

import numpy as np
from ax.api.client import Client
from optuna.artifacts import FileSystemArtifactStore

from surrogate_ax import Metric, Objective
from surrogate_ax.report import Remade
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import mirror, sqlite
from surrogate_ax_platform import client_source, configure_experiment, load_client, optimize
from surrogate_ax_web import write_report


def warmth(images: np.ndarray, conditions: object) -> np.ndarray:
    """Red less blue (n,) of images (n, 16, 16, 3) in [0, 1]."""
    images = np.asarray(images)
    return images[..., 0].mean(axis=(1, 2)) - images[..., 2].mean(axis=(1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("ax-out"))
    arguments = parser.parse_args()

    generator = avatar_generator("dark glasses, short black hair", steps=arguments.steps)
    objective = Objective(Metric("warmth", "maximize"), score=warmth)
    snapshot, previews = arguments.out / "client.json", arguments.out / "previews"
    previews.mkdir(parents=True, exist_ok=True)
    if snapshot.exists():
        client = load_client(snapshot)
    else:
        client = Client(random_seed=0)
        configure_experiment(client, generator, objective, name="warm avatars")
    beside = mirror(
        sqlite(arguments.out / "mirror.db"), name="warm avatars", previews=FileSystemArtifactStore(str(previews))
    )
    optimize(
        client,
        generator,
        objective,
        total_trials=arguments.trials,
        batch_size=arguments.batch,
        rng=0,
        snapshot=snapshot,
        callbacks=[beside],
    )
    print(f"report: {write_report(Remade(client_source(client), generator), arguments.out / 'report.html')}")


if __name__ == "__main__":
    main()
