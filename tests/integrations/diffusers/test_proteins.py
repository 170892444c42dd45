"""Proteins end to end: diffusers' RFD4 pipeline as a deterministic generator of structures."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.media.structures import Structure
from surrogate_ax_diffusers import ProteinGenerator, pipeline_generator, unconditional
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.proteins import _check_features
from tests.contracts.generator_contract import Case, GeneratorContract, difference, draw, numbers
from tests.integrations.diffusers import tiny

EXAMPLE = Path(__file__).parents[3] / "examples" / "proteins.py"
LENGTH = 12
TOLERANCE = 1e-4  # Å, which is 1e-5 in the pipeline's own nanometres


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = runpy.run_path(str(EXAMPLE))["random_pipeline"]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def generator(pipe: Any) -> ProteinGenerator:
    return ProteinGenerator(pipe, unconditional(LENGTH))


class TestProteins(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, generator: ProteinGenerator) -> Case:
        return Case(generator, tolerance=TOLERANCE)


def arguments(features: dict[str, torch.Tensor]) -> dict[str, Any]:
    own = {"padding_mask", "is_in_context_conditioning", "supports_local_latent", "token_type"}
    others = {name: tensor for name, tensor in features.items() if name not in own}
    return {**{name: features[name] for name in own}, "conditioning_features": others}


def test_the_latent_names_what_it_is_made_of(generator: ProteinGenerator) -> None:
    shapes = generator.prior.shapes
    assert shapes["latents_bb_ca"] == (LENGTH, 3)
    assert shapes["offsets"] == (1, 3)
    assert shapes["latents_local_latents"] == (LENGTH, 4)
    assert shapes["noises_bb_ca"][1:] == (LENGTH, 3)
    assert 0 < shapes["noises_bb_ca"][0] < 8  # the window leaves out the first and the last steps
    backbone = draw(generator, 5)["latents_bb_ca"]
    assert float(backbone.mean(1).abs().max()) < 1e-6


def test_plain_calls_differ_where_the_generator_repeats(pipe: Any, generator: ProteinGenerator) -> None:
    z = draw(generator, 1)
    start = {name: z[name] for name in ("latents_bb_ca", "latents_local_latents")}
    plain = [pipe(**arguments(unconditional(LENGTH)), **start).coords_nm.numpy() for _ in range(2)]
    assert difference(plain[0], plain[1]) > 0.1
    assert difference(*(numbers(generator.generate(z, [{}])) for _ in range(2))) == 0


def test_the_structure_is_what_the_pipeline_makes_of_the_same_noise(pipe: Any, generator: ProteinGenerator) -> None:
    drawn: dict[str, Any] = {"bb_ca_scheduler": [], "local_latents_scheduler": []}
    prepare = pipe.prepare_latents

    def watched(*args: Any, **kwargs: Any) -> Any:
        drawn["start"] = prepare(*args, **kwargs)
        return drawn["start"]

    def stepping(name: str) -> Any:
        step = getattr(pipe, name).step

        def steps(velocity: Any, t: Any, x: torch.Tensor, mask: Any, generator: Any) -> Any:
            ahead = torch.Generator()
            ahead.set_state(generator[0].get_state())
            stepped = step(velocity, t, x, mask, generator=generator)
            if not torch.equal(ahead.get_state(), generator[0].get_state()):
                drawn[name].append(torch.randn(x.shape, generator=ahead))
            return stepped

        return replaced(getattr(pipe, name), "step", steps)

    with replaced(pipe, "prepare_latents", watched), stepping("bb_ca_scheduler"), stepping("local_latents_scheduler"):
        own = pipe(**arguments(unconditional(LENGTH)), generator=[torch.Generator().manual_seed(3)])
    backbone, latents = drawn["start"]
    centre = backbone.mean(1, keepdim=True)
    z = {
        "latents_bb_ca": backbone - centre,
        "offsets": centre / 0.2,
        "latents_local_latents": latents,
        "noises_bb_ca": torch.stack(drawn["bb_ca_scheduler"], 1),
        "noises_local_latents": torch.stack(drawn["local_latents_scheduler"], 1),
    }
    (structure,) = generator.generate(z, [{}]).outputs
    assert isinstance(structure, Structure)
    assert difference(np.asarray(structure)[:, 0], 10 * own.coords_nm[0, :, 1].numpy()) <= TOLERANCE


def test_where_it_starts_has_the_law_of_the_pipeline(pipe: Any, generator: ProteinGenerator) -> None:
    n = 3000
    z = draw(generator, n)
    ours = z["latents_bb_ca"] + 0.2 * z["offsets"]
    masks = torch.ones(n, LENGTH, dtype=torch.bool)
    torch.manual_seed(0)
    theirs, _ = pipe.prepare_latents(masks, masks, {"molecule_iid": torch.zeros(n, LENGTH)}, None)
    for x in (ours, theirs):
        covariance = torch.cov(x[..., 0].T)
        expected = torch.eye(LENGTH) - 1 / LENGTH + 0.04
        torch.testing.assert_close(covariance, expected, rtol=0, atol=0.12)


def test_every_part_matters(generator: ProteinGenerator) -> None:
    z = draw(generator, 1)
    before = numbers(generator.generate(z, [{}]))
    for name, part in z.items():
        assert difference(numbers(generator.generate({**z, name: -part}, [{}])), before) > 100 * TOLERANCE, name


def test_context_and_padding_are_no_part_of_latent_or_structure(pipe: Any) -> None:
    features = unconditional(LENGTH)
    features["padding_mask"][0, -2:] = False
    features["is_in_context_conditioning"][0, :3] = True
    features["supports_local_latent"][0, 4] = False
    features["molecule_iid"][0, 6:] = 5
    generator = ProteinGenerator(pipe, features)
    assert {name: shape[-2] for name, shape in generator.prior.shapes.items()} == {
        "latents_bb_ca": 7,
        "offsets": 2,
        "latents_local_latents": 6,
        "noises_bb_ca": 7,
        "noises_local_latents": 6,
    }
    (structure,) = generator.generate(draw(generator, 1), [{}]).outputs
    assert len(structure) == 7
    np.testing.assert_array_equal(structure.chains, [0] * 3 + [1] * 4)
    assert structure.mask.all()  # a token without local latent has its Cα


def test_names_of_atoms_and_residues_are_given_by_the_user(pipe: Any) -> None:
    atoms = ("N", "CA", "C", "CB", "O", *(f"X{i}" for i in range(32)))
    residues = ("ALA", "GLY", "SER", "LEU", "VAL", "LYS", "GLU", "TRP")
    generator = ProteinGenerator(pipe, unconditional(LENGTH), atoms=atoms, residues=residues)
    plain = ProteinGenerator(pipe, unconditional(LENGTH))
    z = draw(generator, 1)
    (full,), (trace,) = generator.generate(z, [{}]).outputs, plain.generate(z, [{}]).outputs
    assert set(full.residues) <= set(residues)
    assert full.mask.shape == (LENGTH, 37)
    np.testing.assert_array_equal(np.asarray(full)[:, 1], np.asarray(trace)[:, 0])
    assert generator.fingerprint["call"] != plain.fingerprint["call"]


def test_an_item_that_is_not_finite_fails_alone(generator: ProteinGenerator) -> None:
    z = draw(generator, 3)
    z["latents_local_latents"][1] = torch.nan
    generated = generator.generate(z, [{}] * 3)
    assert dict(generated.failed) == {1: "coordinates are not finite"}
    assert len(generated.outputs) == 2


def test_the_pipeline_and_the_global_generator_are_left_alone(pipe: Any, generator: ProteinGenerator) -> None:
    before, attributes = torch.get_rng_state(), set(vars(pipe))
    generator.generate(draw(generator, 2), [{}] * 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert set(vars(pipe)) == attributes
    assert "step" not in vars(pipe.bb_ca_scheduler)


def changed(**features: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**unconditional(LENGTH), **features}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"padding_mask": torch.ones(1, 4, dtype=torch.bool)}, r"\['is_in_context_conditioning', 'supports"),
        (
            changed(molecule_iid=torch.zeros(2, LENGTH)),
            r"one item, \(1, L, \.\.\.\), got several in \['molecule_iid'\]",
        ),
        (changed(is_in_context_conditioning=torch.ones(1, LENGTH, dtype=torch.bool)), "at least 2 designed tokens"),
    ],
)
def test_features_that_do_not_serve_are_refused(pipe: Any, features: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ProteinGenerator(pipe, features)


def test_groups_that_are_shuffled_at_random_are_refused(pipe: Any) -> None:
    groups = torch.full((1, LENGTH, 37), -1)
    groups[0, :2] = torch.tensor([0, 1])[:, None]
    features = changed(condition_CoordinateGroup_1_atom=groups)
    ProteinGenerator(pipe, features)  # which this network does not look at
    looking = SimpleNamespace(transformer=SimpleNamespace(config=SimpleNamespace(feats_seq=("coord_group_seq",))))
    with pytest.raises(UnsupportedError, match="several groups, whose labels the pipeline shuffles"):
        _check_features(looking, features)
    groups[0, 1] = 0
    _check_features(looking, features)


def test_other_mistakes_are_named(pipe: Any) -> None:
    with pytest.raises(ArgumentError, match="expected an RFD4ProteinaPipeline, got StableDiffusionPipeline"):
        ProteinGenerator(tiny.stable_diffusion(), unconditional(4))
    with pytest.raises(ArgumentError, match="names of 37 slots, got 1"):
        ProteinGenerator(pipe, unconditional(4), atoms=("CA",))
    with pytest.raises(ArgumentError, match="at least 2 residues, got 1"):
        unconditional(1)
    with pytest.raises(UnsupportedError, match=r"no argument `latents`.*ProteinGenerator"):
        pipeline_generator(pipe)
