"""Recipes: JSON and back, and remaking outputs from them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import FunctionGenerator, Gaussian, Generated, Recipe, SurrogateSpace, render
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError, SeedError
from surrogate_ax.generation.recipe import check_fingerprint, recipe_latents
from surrogate_ax.latents.seed_store import MemorySeedStore
from surrogate_ax.latents.seeds import Draw, Stored, inner_row, row_sha256, seed_from_json, seed_to_json

D = 32
PRIOR = Gaussian((D,), mean=0.5)

names = st.text("abc_", min_size=1, max_size=4)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names
seeds = st.builds(Draw, st.integers(0, 2**130), st.integers(0, 2**32)) | st.builds(Stored, names, names)
recipes = st.builds(
    Recipe,
    st.lists(st.tuples(seeds, st.floats(-1, 1)), max_size=4).map(tuple),
    st.dictionaries(names, plain | st.lists(plain, max_size=2), max_size=3),
    st.dictionaries(names, names, max_size=3),
    st.integers(1, 64),
    st.none() | st.dictionaries(names, plain, min_size=1, max_size=2),
)
ROWS = torch.tensor([[2.0, -1.0, 0.5, 0.25], [0.5, 1.0, -0.5, 0.25]])  # of four dimensions
TENSORS = {row_sha256(row): row for row in ROWS}


@given(recipes)
def test_a_recipe_survives_json(recipe):
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    origins = [[getattr(seed, "origin", None) for seed, _ in r.terms] for r in (again, recipe)]
    assert origins[0] == origins[1]


@given(seeds)
def test_a_seed_survives_json(seed):
    assert seed_from_json(json.loads(json.dumps(seed_to_json(seed)))) == seed


def test_a_recipe_over_eight_seeds_is_a_few_hundred_bytes():
    space = SurrogateSpace.sample(PRIOR, seeds=8, rng=0)
    recipe = Recipe(space.terms(np.full((1, 7), 0.3))[0], {"prompt": "a red car"}, {"weights": "0" * 12}, 16)
    assert len(json.dumps(recipe.to_json())) < 700


@pytest.mark.parametrize("record", [["draw", 1], ["draw", 1.5, 2], ["stored", 1, ""], ["seed", 1, 2], []])
def test_what_is_no_seed_is_shown(record):
    with pytest.raises(ArgumentError) as error:
        seed_from_json(record)
    assert "seed: expected" in str(error.value)
    assert repr(record) in str(error.value)


RECORD = Recipe(((Draw(1, 2), 1.0),), {}, {"weights": "a"}, 4).to_json()


def test_a_newer_version_is_refused():
    with pytest.raises(ArgumentError, match="recipe: version 3 given, this release reads 1 and 2"):
        Recipe.from_json({**RECORD, "version": 3})


@pytest.mark.parametrize("key", ["version", "terms", "condition", "generator", "batch"])
def test_a_record_without_a_part_is_refused(key):
    with pytest.raises(ArgumentError, match=r"recipe: expected what `Recipe.to_json` wrote, got \{"):
        Recipe.from_json({name: value for name, value in RECORD.items() if name != key})


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        3,
        {**RECORD, "terms": 3},
        {**RECORD, "terms": [3]},
        {**RECORD, "batch": None},
        {**RECORD, "batch": "x"},
        {**RECORD, "terms": [["draw", 1, 2, "x"]]},
    ],
)
def test_a_record_that_is_no_recipe_is_refused(record):
    with pytest.raises(ArgumentError, match="recipe: expected what"):
        Recipe.from_json(record)


# --- versions

VERSION_1 = {
    "version": 1,
    "terms": [
        ["stored", row_sha256(ROWS[0]), "a photo", 0.8135201800570064],
        ["stored", row_sha256(ROWS[1]), "", 0.2711733933523355],
        ["draw", 1, 2, 0.542346786704671],
    ],
    "condition": {},
    "generator": {},
    "batch": 2,
}
ALONE = {**VERSION_1, "terms": [["stored", row_sha256(ROWS[0]), "", 0.8677218312746247]]}


def latents(*records):
    return recipe_latents([Recipe.from_json(r) for r in records], Gaussian((4,)), seeds=TENSORS)["latents"]


def test_version_1_is_remade_as_it_was():
    # Golden: made by `Bank.latents` of version 1, from the rows [[3, 1, 2], [1, 0, 0]] over these three seeds.
    golden = [
        [1.5511326789855957, -0.5932329297065735, 0.7675975561141968, -0.2883997857570648],
        [1.7354437112808228, -0.8677218556404114, 0.4338609278202057, 0.21693046391010284],
    ]
    torch.testing.assert_close(latents(VERSION_1, ALONE), torch.tensor(golden), rtol=0, atol=1e-6)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_version_1_is_its_formula(c):
    if max(map(abs, c)) < 0.1:
        c[0] = 1.0
    seeds = torch.stack([*ROWS, torch.from_numpy(inner_row(Draw(1, 2), 4))]).double().numpy()
    g = seeds @ seeds.T / 4
    g[2, 2] = 1
    c = np.array(c) / np.sqrt(c @ g @ c)
    record = {**VERSION_1, "terms": [[*term[:-1], x] for term, x in zip(VERSION_1["terms"], c, strict=True)]}
    np.testing.assert_allclose(latents(record)[0].numpy(), c @ seeds, rtol=0, atol=1e-5)


def test_each_recipe_of_a_call_is_remade_by_its_own_version():
    draw = {**RECORD, "version": 1}
    new = {**VERSION_1, "version": 2}
    together = latents(new, VERSION_1, draw, {**ALONE, "version": 2}, ALONE)
    torch.testing.assert_close(
        together,
        torch.cat([latents(r) for r in (new, VERSION_1, draw, {**ALONE, "version": 2}, ALONE)]),
        rtol=0,
        atol=1e-6,
    )
    assert not torch.allclose(together[0], together[1], atol=0.05)
    torch.testing.assert_close(together[3], ROWS[0], rtol=0, atol=0)
    torch.testing.assert_close(together[2], torch.from_numpy(inner_row(Draw(1, 2), 4)), rtol=0, atol=0)


def test_version_1_is_written_as_it_was_read():
    assert Recipe.from_json(VERSION_1).to_json() == VERSION_1
    assert Recipe.from_json({**VERSION_1, "version": 2}).to_json()["version"] == 2


def test_over_draws_versions_are_one():
    assert Recipe.from_json({**RECORD, "version": 1}) == Recipe.from_json(RECORD)
    assert Recipe.from_json({**RECORD, "version": 1}).to_json() == RECORD
    assert RECORD["version"] == 2


# --- render


class Scaled:
    """A generator with a call argument: scale · z."""

    prior = PRIOR

    def __init__(self, failing=(), revision="1"):
        self.failing, self.calls = failing, []
        self.fingerprint = {"weights": revision, "scheduler": "euler", "prior": PRIOR.fingerprint}

    def generate(self, z, conditions):
        self.calls.append([dict(condition) for condition in conditions])
        scale = torch.tensor([float(condition.get("scale", 1)) for condition in conditions])
        made = [i for i in range(len(conditions)) if i not in self.failing]
        reasons = dict.fromkeys(self.failing, "no memory")
        return Generated((z["latents"] * scale[:, None])[made], np.ones(len(conditions)), 0.0, reasons)


def spaces():
    sample = SurrogateSpace.sample(PRIOR, seeds=5, rng=0)
    q, _ = torch.linalg.qr(torch.randn(D, 4, generator=torch.Generator().manual_seed(0)))
    stored = SurrogateSpace.from_latents(PRIOR, PRIOR.from_inner(q.T * D**0.5), rng=0)
    radii = torch.tensor([0.9, 1.18, 1.2, 0.7])[:, None]
    items = SurrogateSpace.from_latents(PRIOR, PRIOR.from_inner(radii * q.T * D**0.5), rng=0)
    fresh = dataclasses.replace(items, fresh=0.4)
    return {"draws": sample, "stored": stored, "radii": items, "fresh": fresh}


@pytest.mark.parametrize("kind", ["draws", "stored", "radii", "fresh"])
def test_rendering_gives_the_outputs_again(kind):
    space, generator = spaces()[kind], Scaled()
    u = np.random.default_rng(0).uniform(size=(6, space.axes - 1))
    draws = [Draw(3, i) for i in range(6)] if space.fresh else []
    conditions = [{"scale": 1 + i % 2} for i in range(6)]
    outputs = generator.generate(space.latents(u, draws=draws), conditions).outputs
    made = [
        Recipe(terms, condition, generator.fingerprint, 6)
        for terms, condition in zip(space.terms(u, draws=draws), conditions, strict=True)
    ]
    read = [Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) for recipe in made]
    again, recipes = render(read, generator, seeds=MemorySeedStore(space.bank.tensors))
    torch.testing.assert_close(again, outputs, rtol=0, atol=1e-5)
    assert recipes == made
    assert len(generator.calls) == 2  # one for the outputs, one to render them all
    alone, (recipe,) = render(read[4], generator, seeds=space.bank.tensors)
    torch.testing.assert_close(alone, outputs[4:5], rtol=0, atol=1e-5)
    assert recipe == dataclasses.replace(made[4], batch=1)


def recipe_of(generator, **changes):
    return dataclasses.replace(Recipe(((Draw(1, 2), 1.0),), {"scale": 2}, generator.fingerprint, 4), **changes)


def test_overrides_are_used_and_recorded():
    generator = Scaled()
    recipe = recipe_of(generator, overrides={"steps": 8})
    outputs, (made,) = render(recipe, generator, scale=3, eta=0)
    assert generator.calls == [[{"scale": 3, "steps": 8, "eta": 0}]]
    assert (made.condition, made.overrides) == ({"scale": 2}, {"steps": 8, "scale": 3, "eta": 0})
    assert (recipe.condition, recipe.overrides) == ({"scale": 2}, {"steps": 8})
    again, _ = render(made, generator)
    torch.testing.assert_close(again, outputs, rtol=0, atol=0)


def test_no_overrides_record_none():
    _, (made,) = render(recipe_of(Scaled()), Scaled())
    assert made.overrides is None
    assert "overrides" not in made.to_json()


def test_another_generator_is_refused_by_the_parts_that_differ():
    with pytest.raises(MismatchError) as error:
        render([recipe_of(Scaled()), recipe_of(Scaled(revision="0"))], Scaled())
    assert "generator: the recipe was made with another one (weights: 0 -> 1)" in str(error.value)
    assert "euler" not in str(error.value)


@pytest.mark.parametrize(
    ("recorded", "change"),
    [
        ({"scheduler": "heun"}, "scheduler: heun -> euler"),
        ({"vae": "tiny"}, "vae: tiny -> absent"),
        ({"weights": "2", "vae": "x"}, "vae: x -> absent; weights: 2 -> 1"),
    ],
)
def test_changed_added_and_missing_parts_are_named(recorded, change):
    generator = Scaled()
    check_fingerprint(generator.fingerprint, generator, what="study")
    with pytest.raises(MismatchError) as error:
        check_fingerprint({**generator.fingerprint, **recorded}, generator, what="study")
    assert f"generator: the study was made with another one ({change})" in str(error.value)


def test_a_part_that_was_not_recorded_is_named():
    with pytest.raises(MismatchError, match="scheduler: absent -> euler"):
        check_fingerprint({k: v for k, v in Scaled().fingerprint.items() if k != "scheduler"}, Scaled(), what="recipe")


def test_an_item_that_fails_stops_the_rendering_with_its_reason():
    generator = Scaled(failing=(1,))
    with pytest.raises(GenerationError, match="item 1 could not be rendered again: no memory"):
        render([recipe_of(generator)] * 3, generator)


def test_a_stored_seed_needs_its_tensor():
    generator = Scaled()
    with pytest.raises(SeedError, match="seeds: there is no tensor of Stored"):
        render(recipe_of(generator, terms=((Stored("0" * 64), 1.0),)), generator)


def test_a_recipe_of_version_1_is_rendered_as_it_was_and_stays_of_version_1():
    prior = Gaussian((4,))
    generator = FunctionGenerator(lambda z: z, prior)
    old = dataclasses.replace(Recipe.from_json(ALONE), generator=generator.fingerprint)
    outputs, (made,) = render(old, generator, seeds=TENSORS)
    torch.testing.assert_close(outputs[0], latents(ALONE)[0], rtol=0, atol=1e-6)
    assert made == dataclasses.replace(old, batch=1)
    assert made.version == 1


def test_no_recipes_give_no_outputs():
    outputs, made = render([], FunctionGenerator(lambda z: z, PRIOR))
    assert (len(outputs), made) == (0, [])
