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
from surrogate_ax.generation.recipe import check_fingerprint
from surrogate_ax.latents.seeds import Draw, Stored, seed_from_json, seed_to_json

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
    with pytest.raises(ArgumentError, match="recipe: version 2 given, this release reads 1"):
        Recipe.from_json({**RECORD, "version": 2})


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
    return {"draws": sample, "stored": stored, "fresh": dataclasses.replace(stored, fresh=0.4)}


@pytest.mark.parametrize("kind", ["draws", "stored", "fresh"])
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
    again, recipes = render(read, generator, tensors=space.bank.tensors)
    torch.testing.assert_close(again, outputs, rtol=0, atol=1e-5)
    assert recipes == made
    assert len(generator.calls) == 2  # one for the outputs, one to render them all
    alone, (recipe,) = render(read[4], generator, tensors=space.bank.tensors)
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
    with pytest.raises(SeedError, match="seeds: no tensor is given for Stored"):
        render(recipe_of(generator, terms=((Stored("0" * 64), 1.0),)), generator)


def test_no_recipes_give_no_outputs():
    outputs, made = render([], FunctionGenerator(lambda z: z, PRIOR))
    assert (len(outputs), made) == (0, [])
