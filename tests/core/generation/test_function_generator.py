"""FunctionGenerator, the protocols, and the grouping of conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import FunctionGenerator, Gaussian, Generator, Steppable
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.generation.conditions import group


def double(z):
    return z * 2


def test_a_function_gets_the_tensor_of_the_only_part():
    generator = FunctionGenerator(double, (3, 2), nfe=12)
    z = torch.arange(12.0).reshape(2, 3, 2)
    for latents in ({"latents": z}, z):
        made = generator.generate(latents, [{}, {}])
        torch.testing.assert_close(made.outputs, z * 2, rtol=0, atol=0)
        np.testing.assert_array_equal(made.nfe, [12.0, 12.0])
        assert made.seconds >= 0
        assert made.failed == {}


def test_a_function_gets_the_mapping_of_several_parts_and_its_conditions():
    prior = Gaussian({"a": (2,), "b": (3,)})
    seen = []

    def function(z, conditions):
        seen.append((sorted(z), conditions))
        return ["x", "y"]

    generator = FunctionGenerator(function, prior, conditional=True)
    conditions = [{"prompt": "a"}, {"prompt": "b"}]
    made = generator.generate({"a": torch.zeros(2, 2), "b": torch.zeros(2, 3)}, conditions)
    assert made.outputs == ["x", "y"]
    assert seen == [(["a", "b"], conditions)]
    assert generator.prior is prior


def test_a_function_generator_is_a_generator_and_no_more():
    generator = FunctionGenerator(double, (2,))
    assert isinstance(generator, Generator)
    assert not isinstance(generator, Steppable)
    assert not isinstance(double, Generator)


def test_the_fingerprint_names_function_revision_and_prior():
    prints = [
        FunctionGenerator(double, (2,)).fingerprint,
        FunctionGenerator(lambda z: z, (2,)).fingerprint,
        FunctionGenerator(double, (2,), revision="2").fingerprint,
        FunctionGenerator(double, (3,)).fingerprint,
    ]
    assert prints[0] == FunctionGenerator(double, (2,)).fingerprint
    assert len({tuple(sorted(one.items())) for one in prints}) == 4
    assert prints[0]["function"].endswith("test_function_generator.double")
    assert all(isinstance(value, str) for one in prints for value in one.values())


def test_an_object_that_is_callable_has_a_name_too():
    class Model:
        def __call__(self, z):
            return z

    assert FunctionGenerator(Model(), (2,)).fingerprint["function"].endswith("Model")


def test_what_is_not_callable_is_named():
    with pytest.raises(ArgumentError, match="function: expected something callable, got int"):
        FunctionGenerator(3, (2,))


@pytest.mark.parametrize("prior", [[2], 2, None])
def test_what_is_neither_a_prior_nor_a_shape_is_named(prior):
    with pytest.raises(ArgumentError, match="prior: expected a Prior, or the shape of one latent as a tuple, got"):
        FunctionGenerator(double, prior)


@pytest.mark.parametrize("nfe", [-1, float("nan")])
def test_a_negative_cost_is_refused(nfe):
    with pytest.raises(ArgumentError, match="nfe: expected the cost of one item, at least 0, got"):
        FunctionGenerator(double, (2,), nfe=nfe)


def test_latents_of_another_shape_never_reach_the_function():
    generator = FunctionGenerator(lambda z: pytest.fail("called"), (3, 2))
    with pytest.raises(
        ShapeError, match=r"latents\['latents'\]: expected shape \(n, d1, d2\) = \(4, 3, 2\), got \(4, 2"
    ):
        generator.generate(torch.zeros(4, 2, 3), [{}] * 4)


def test_another_number_of_conditions_is_refused():
    with pytest.raises(ShapeError, match="conditions: expected n = 2, one a latent, got 3"):
        FunctionGenerator(double, (2,)).generate(torch.zeros(2, 2), [{}] * 3)


def test_conditions_for_a_function_without_them_are_refused():
    with pytest.raises(ArgumentError, match=r"conditions: this function takes none; .*conditional=True"):
        FunctionGenerator(double, (2,)).generate(torch.zeros(2, 2), [{}, {"prompt": "a"}])


def test_another_number_of_outputs_than_latents_is_refused():
    with pytest.raises(ShapeError, match="function: expected n = 3 outputs, one a latent, got 2"):
        FunctionGenerator(lambda z: z[:2], (2,)).generate(torch.zeros(3, 2), [{}] * 3)


# --- grouping

values = st.sampled_from([1, 1.0, True, "1", None, "a", 2.5, (1, 2), {"b": 1, "a": [2]}])
conditions = st.lists(st.dictionaries(st.sampled_from(["prompt", "scale", "steps"]), values), max_size=12)


@given(conditions, st.frozensets(st.sampled_from(["prompt", "scale", "other"])))
def test_groups_are_a_partition_in_order_of_appearance(given_conditions, apart):
    groups = group(given_conditions, apart=apart)
    items = [i for _, members in groups for i in members]
    assert sorted(items) == list(range(len(given_conditions)))
    assert all(members == sorted(members) for _, members in groups)
    assert [members[0] for _, members in groups] == sorted(members[0] for _, members in groups)
    shared = [{k: v for k, v in condition.items() if k not in apart} for condition in given_conditions]
    assert all(shared[i] == condition for condition, members in groups for i in members)
    assert len({repr(sorted(condition.items())) for condition, _ in groups}) == len(groups)


def test_the_order_of_arguments_does_not_part_items():
    assert group([{"a": 1, "b": 2}, {"b": 2, "a": 1}]) == [({"a": 1, "b": 2}, [0, 1])]


def test_equal_numbers_of_other_types_are_kept_apart():
    assert len(group([{"scale": value} for value in (1, 1.0, True, "1")])) == 4


def test_objects_are_grouped_by_identity():
    image, other = torch.zeros(3), torch.zeros(3)
    groups = group([{"image": image}, {"image": other}, {"image": image}])
    assert [members for _, members in groups] == [[0, 2], [1]]
    assert groups[0][0]["image"] is image


def test_prompts_that_may_differ_do_not_part_items():
    given_conditions = [{"prompt": "a", "scale": 1}, {"prompt": "b", "scale": 1}, {"prompt": "a", "scale": 2}]
    assert group(given_conditions, apart=frozenset({"prompt"})) == [({"scale": 1}, [0, 1]), ({"scale": 2}, [2])]
    assert group([]) == []
