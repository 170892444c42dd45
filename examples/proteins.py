"""Search protein structures with diffusers' RFD4-Proteina: compact chains, even Cα spacing, no clashes.

Needs the extras `diffusers`, `optuna` and `proteins`, the last for the files of the best structures. Run
`python examples/proteins.py path/to/RFD4-Proteina-Diffusers --length 120 --device cuda` on downloaded weights.
Without a folder a small pipeline with random weights takes their place, which shows the steps and makes no proteins.
For motifs and targets, give ProteinGenerator the features that `rfd4_proteina_prep.prepare_cif` makes instead of
`unconditional`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import RFD4ProteinaAutoencoder, RFD4ProteinaPipeline, RFD4ProteinaScheduler, RFD4ProteinaTransformer

from surrogate_ax import Metric, Objective
from surrogate_ax.media.previews import save_preview
from surrogate_ax.media.structures import Structure, clashes, radius_of_gyration, spacing_error
from surrogate_ax_diffusers import ProteinGenerator, load_pipeline, unconditional
from surrogate_ax_optuna import create_study, optimize, portfolio, sqlite


def score(structures: Sequence[Structure], conditions: object) -> dict[str, np.ndarray]:
    """One number to minimise, and what it is made of: Rg in Å beside 2.2 L^0.38 of folded proteins."""
    radius, spacing, near = radius_of_gyration(structures), spacing_error(structures), clashes(structures)
    folded = np.array([2.2 * len(structure) ** 0.38 for structure in structures])
    strain = np.abs(radius / folded - 1) + spacing / 3.8 + near / [len(structure) for structure in structures]
    return {"strain": strain, "radius": radius, "spacing": spacing, "clashes": near}


def random_pipeline() -> RFD4ProteinaPipeline:
    """The real classes, small and untrained, with the same weights every time."""
    latent, kinds, rng = 4, 8, torch.Generator().manual_seed(0)
    transformer = RFD4ProteinaTransformer(
        nlayers=1,
        token_dim=32,
        nheads=2,
        dim_cond=16,
        pair_repr_dim=16,
        latent_dim=latent,
        token_type_emb_dim=4,
        t_emb_dim=16,
        feats_seq=("xt_bb_ca", "xt_local_latents", "token_type"),
        feats_cond_seq=("time_emb_bb_ca", "time_emb_local_latents", "recycle_remaining"),
        feats_pair_repr=("xt_bb_ca_pair_dists",),
        tri_mult_c=8,
        num_sequence_classes=kinds,
    )
    vae = RFD4ProteinaAutoencoder(
        atom37_mask=[[True] * 5 + [False] * 32] * kinds,
        allowed_residue_types=[[True] * kinds] * 7,
        latent_dim=latent,
        n_residue_types=kinds,
        nlayers=1,
        token_dim=32,
        nheads=2,
        dim_cond=16,
        pair_repr_dim=16,
        token_type_emb_dim=4,
        encoder_feats_seq=("token_type", "x1_a37coors_nm"),
    )
    for module in (transformer, vae):
        with torch.no_grad():
            for parameter in module.eval().parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=parameter[0].numel() ** -0.5, generator=rng)
                elif parameter.min() != 1:  # a bias, not the weight of a norm
                    parameter.zero_()
    schedule = {"tsr_k": 1.5, "tsr_sigma": 1.0, "tail_steps": 2}
    backbone = RFD4ProteinaScheduler(schedule_mode="log", noise_mode="1/t", **schedule)
    latents = RFD4ProteinaScheduler(schedule_mode="power", noise_mode="tan", **schedule)
    return RFD4ProteinaPipeline(transformer, vae, backbone, latents, recycle_depths=[2, 2, 1, 1, 1, 1, 1, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder with model_index.json")
    parser.add_argument("--length", type=int, default=24, help="residues")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("proteins-out"))
    arguments = parser.parse_args()

    pipe = load_pipeline(arguments.folder) if arguments.folder else random_pipeline()
    generator = ProteinGenerator(pipe, unconditional(arguments.length), device=arguments.device)
    objective = Objective(
        Metric("strain", "minimize"), *(Metric(name, "track") for name in ("radius", "spacing", "clashes")), score=score
    )
    study = create_study(
        objective, study_name=f"proteins of {arguments.length}", storage=sqlite(arguments.out / "study.db")
    )
    optimize(study, generator, objective, total_trials=arguments.trials, batch_size=arguments.batch, rng=0)
    for i, pick in enumerate(portfolio(study, generator, k=3)):
        path = save_preview(pick.output, arguments.out / f"{i}.pdb")
        print(f"{path}: trial {pick.trial.number}, strain {pick.trial.value:.4f}")


if __name__ == "__main__":
    main()
