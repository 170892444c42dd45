"""Proteins: diffusers' `RFD4ProteinaPipeline` as a generator of structures.

Notation: n items of L tokens, P of them designed (neither padding nor context), Q of these with a local latent of d
entries, G molecules among the designed, S draws of a scheduler in its stochastic window. The latent has the parts

    latents_bb_ca           (P, 3)     where the backbone starts, in nanometres, its centre of mass at 0
    offsets                 (G, 3)     where each molecule's centre starts (stochastic centring)
    latents_local_latents   (Q, d)
    noises_bb_ca            (S, P, 3)  what the schedulers draw at their steps, where they draw
    noises_local_latents    (S, Q, d)

so that the pipeline is a deterministic map of it. Saving structures as files needs the extra `proteins` besides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import RFD4ProteinaPipeline
from diffusers.pipelines.rfd4_proteina.pipeline_rfd4_proteina import STOCHASTIC_CENTERING_SCALE
from torch import Tensor

from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.latents.laws import Law, Normal, ZeroCentre
from surrogate_ax.latents.priors import Latents, Product, check_latents
from surrogate_ax.media.structures import Structure
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.fingerprint import call_text, component_parts, weights_digest
from surrogate_ax_diffusers.outputs import DenoiserRows
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.pipeline_state import state_parts
from surrogate_ax_diffusers.step_noise import injected_step_noise, part_name, recorded_draws, step_noise_shapes
from surrogate_ax_diffusers.validation import move_pipeline

_CLASS: Any = RFD4ProteinaPipeline
_ARGUMENTS = ("padding_mask", "is_in_context_conditioning", "supports_local_latent", "token_type", "atom37_mask")
_SCHEDULERS = ("bb_ca_scheduler", "local_latents_scheduler")
_SEQUENCE, _MOLECULE = "condition_sequence_1_residue", "molecule_iid"
_GROUPS = "condition_CoordinateGroup_1_atom"
_CA = 1  # slot of the Cα among the 37 atoms
_ANGSTROM = 10.0  # a nanometre


def unconditional(length: int) -> dict[str, Tensor]:
    """Features of one free chain: every residue is designed, nothing else is asked for.

    Args:
        length: residues.

    Returns:
        Features as the preparation of diffusers' RFD4 pipeline names them, for one item.

    Raises:
        ArgumentError: fewer than two residues.
    """
    if length < 2:
        raise ArgumentError(f"length: expected at least 2 residues, got {length}.")
    shape = (1, length)
    return {
        "padding_mask": torch.ones(shape, dtype=torch.bool),
        "is_in_context_conditioning": torch.zeros(shape, dtype=torch.bool),
        "supports_local_latent": torch.ones(shape, dtype=torch.bool),
        "token_type": torch.zeros(shape, dtype=torch.long),
        _SEQUENCE: torch.zeros(shape, dtype=torch.long),
        _MOLECULE: torch.zeros(shape, dtype=torch.long),
    }


class ProteinGenerator:
    """An `RFD4ProteinaPipeline` as a generator of structures in ångström.

    The pipeline is used as it is and must not be changed afterwards. It takes no conditions: features belong to the
    generator, one for each target.

    Args:
        pipe: the pipeline.
        features: prepared tensors of one item, by name, (1, L, ...); `unconditional(L)` makes those of a free chain.
        device: where to move the pipeline; None leaves it where it is.
        revision: your name for these weights, in place of a digest over them.
        atoms: names of the 37 atom slots; without them, structures are Cα traces, the one slot that the pipeline names.
        residues: three-letter names of the residue vocabulary, in its order; without them, residues are "UNK".

    Raises:
        ArgumentError: another pipeline, features that are missing, of several items or with fewer than two designed
            tokens, or not 37 atom names.
        UnsupportedError: features with several coordinate groups, which the pipeline relabels at random.
    """

    def __init__(
        self,
        pipe: Pipeline,
        features: Mapping[str, Tensor],
        *,
        device: str | torch.device | None = None,
        revision: str | None = None,
        atoms: Sequence[str] = (),
        residues: Sequence[str] = (),
    ) -> None:
        if not isinstance(pipe, _CLASS):
            raise ArgumentError(f"pipe: expected an RFD4ProteinaPipeline, got {type(pipe).__name__}.")
        if atoms and len(atoms) != 37:
            raise ArgumentError(f"atoms: expected the names of 37 slots, got {len(atoms)}.")
        _check_features(pipe, features)
        move_pipeline(pipe, device)
        self._pipe = pipe
        self._features = {name: tensor.detach().clone() for name, tensor in features.items()}
        self._revision, self._atoms, self._residues = revision, tuple(atoms), tuple(residues)
        self._device = torch.device(pipe._execution_device)
        self._schedulers = {name: getattr(pipe, name) for name in _SCHEDULERS}
        designed = features["padding_mask"][0] & ~features["is_in_context_conditioning"][0]
        self._designed = designed.nonzero()[:, 0].to(self._device)
        self._latent = (designed & features["supports_local_latent"][0]).nonzero()[:, 0].to(self._device)
        self._molecules = torch.unique(features[_MOLECULE][0][designed].long(), return_inverse=True)[1].to(self._device)
        fixed = features.get("coord_cond_mask")
        moved = torch.ones_like(designed) if fixed is None else ~fixed[0].bool()
        self._moved = moved[designed].to(self._device, torch.float32)
        self._prior = Product(self._laws())

    @property
    def prior(self) -> Product:
        """The law of its latents."""
        return self._prior

    @property
    def device(self) -> torch.device:
        """Where the pipeline computes; latents given elsewhere are moved there."""
        return self._device

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Class, configurations and state of the pipeline, features, prior, and weights or revision."""
        return {**self._fingerprint, **state_parts(self._pipe)}

    @cached_property
    def _fingerprint(self) -> dict[str, str]:
        revision = self._revision
        names = {"atoms": list(self._atoms), "residues": list(self._residues)}
        return {
            "pipeline": type(self._pipe).__name__,
            **component_parts(self._pipe),
            "call": call_text({**self._features, **names, "recycle_depths": list(self._pipe.config.recycle_depths)}),
            "prior": self._prior.fingerprint,
            **({"weights": weights_digest(self._pipe)} if revision is None else {"revision": revision}),
        }

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Structures of n latents, in one call of the pipeline.

        Args:
            z: named parts (n, *shape), as the prior has them; not modified.
            conditions: n empty mappings.

        Returns:
            n structures of the designed tokens; an item whose coordinates are not finite has failed.

        Raises:
            ShapeError: wrong latents, or not n conditions.
            ArgumentError: conditions, of which there are none.
        """
        parts = check_latents(z, self._prior)
        n = check_conditions(parts, conditions)
        if any(conditions):
            raise ArgumentError("conditions: a protein's features belong to its generator; build one for each target.")
        if not n:
            return Generated([], np.zeros(0), 0.0)
        clock, rows = time.perf_counter(), DenoiserRows()
        given = {name: part.to(self._device, torch.float32) for name, part in parts.items()}
        noises = {
            name: _spread(given[part_name(name)], self._tokens(name), self._length)
            for name in self._schedulers
            if part_name(name) in given
        }
        with ExitStack() as stack:
            stack.callback(self._pipe.transformer.register_forward_pre_hook(rows, with_kwargs=True).remove)
            stack.enter_context(injected_step_noise(self._schedulers, noises))
            result = self._call(given)
        made = self._structures(result)
        failed = {i: "coordinates are not finite" for i, structure in enumerate(made) if structure is None}
        outputs = [structure for structure in made if structure is not None]
        nfe = np.full(n, rows.take() / n)
        return Generated(outputs, nfe, time.perf_counter() - clock, failed)

    @property
    def _length(self) -> int:
        return int(self._features["padding_mask"].shape[1])

    def _tokens(self, scheduler: str) -> Tensor:
        return self._designed if scheduler == _SCHEDULERS[0] else self._latent

    def _laws(self) -> dict[str, Law]:
        width = int(self._pipe.transformer.config.latent_dim)
        laws: dict[str, Law] = {
            "latents_bb_ca": ZeroCentre(len(self._designed)),
            "offsets": Normal((int(self._molecules.max()) + 1, 3)),
            "latents_local_latents": Normal((len(self._latent), width)),
        }
        zeros = {name: torch.zeros(1, *law.shape, device=self._device) for name, law in laws.items()}
        with recorded_draws(self._schedulers, [self._pipe.transformer]) as shapes:
            self._call(zeros)
        for name, (count, _, entries) in step_noise_shapes(shapes).items():
            laws[part_name(name)] = Normal((count, len(self._tokens(name)), entries))
        return laws

    def _call(self, given: Mapping[str, Tensor]) -> Any:
        """One call of the pipeline from n starting points."""
        offsets = given["offsets"][:, self._molecules] * self._moved[:, None]
        backbone = given["latents_bb_ca"] + STOCHASTIC_CENTERING_SCALE * offsets
        features = {name: self._features[name] for name in _ARGUMENTS if name in self._features}
        others = {name: tensor for name, tensor in self._features.items() if name not in features}
        quiet = {**getattr(self._pipe, "_progress_bar_config", {}), "disable": True}
        with ExitStack() as stack:
            stack.enter_context(replaced(self._pipe, "_progress_bar_config", quiet))
            stack.enter_context(replaced(self._pipe, "prepare_latents", lambda *_, **__: (None, None)))  # draws nothing
            return self._pipe(
                **features,
                conditioning_features=others,
                num_designs_per_prompt=len(backbone),
                latents_bb_ca=_spread(backbone, self._designed, self._length),
                latents_local_latents=_spread(given["latents_local_latents"], self._latent, self._length),
            )

    def _structures(self, result: Any) -> list[Structure | None]:
        """The designed tokens of n items; None for one that is not finite."""
        slots = slice(None) if self._atoms else slice(_CA, _CA + 1)
        x = (_ANGSTROM * result.coords_nm[:, self._designed, slots].float()).cpu().numpy()
        masks = result.atom_mask[:, self._designed, slots].cpu().numpy()
        kinds, chains = result.residue_type[:, self._designed].cpu().numpy(), self._molecules.cpu().numpy()
        return [
            Structure(x[i], masks[i], self._atoms or ("CA",), self._names(kinds[i]), chains)
            if np.isfinite(x[i][masks[i]]).all()
            else None
            for i in range(len(x))
        ]

    def _names(self, kinds: np.ndarray) -> tuple[str, ...]:
        known = range(len(self._residues))
        return tuple(self._residues[kind] if kind in known else "UNK" for kind in kinds)


def _spread(part: Tensor, tokens: Tensor, length: int) -> Tensor:
    """Rows (..., P, d) of chosen tokens as rows (..., L, d), 0 elsewhere."""
    full = part.new_zeros(*part.shape[:-2], length, part.shape[-1])
    full[..., tokens, :] = part
    return full


def _check_features(pipe: Pipeline, features: Mapping[str, Tensor]) -> None:
    missing = [name for name in (*_ARGUMENTS[:3], _SEQUENCE, _MOLECULE) if name not in features]
    if missing:
        raise ArgumentError(f"features: {missing} are missing; unconditional(length) shows what is needed.")
    shape = tuple(features["padding_mask"].shape)
    several = sorted(name for name, tensor in features.items() if tensor.shape[:1] != (1,))
    if len(shape) != 2 or several:
        raise ArgumentError(f"features: expected those of one item, (1, L, ...), got several in {several or shape}.")
    designed = features["padding_mask"] & ~features["is_in_context_conditioning"]
    local = designed & features["supports_local_latent"]
    if int(designed.sum()) < 2 or not local.any():
        raise ArgumentError(
            f"features: expected at least 2 designed tokens and a local latent, got {int(designed.sum())} and "
            f"{int(local.sum())}."
        )
    groups = features.get(_GROUPS)
    looked_at = "coord_group_seq" in pipe.transformer.config.feats_seq
    if looked_at and groups is not None and len(torch.unique(groups[groups != -1])) > 1:
        raise UnsupportedError(
            f"features: {_GROUPS} has several groups, whose labels the pipeline shuffles at every step, so a latent "
            "does not determine its structure. Put the motif into one group."
        )
