"""What every generator has to keep, as one class to subclass.

    class TestMine(GeneratorContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls) -> Case:
            return Case(my_generator, conditions=({"guidance_scale": 1.0}, {"guidance_scale": 3.0}))

Outputs are compared as numbers within `Case.tolerance`; images should be floats, since 8 bits would hide differences.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Generated, Generator
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.latents.priors import Latents

N = 3  # items of a batch


@dataclass(frozen=True)
class Case:
    """A generator under test.

    Args:
        generator: the generator.
        conditions: two that give different outputs; empty for a generator that takes none.
        unknown: a condition that it must refuse, None if it takes any.
        tolerance: largest difference of an output value that is still the same.
    """

    generator: Generator
    conditions: tuple[Mapping[str, Any], ...] = ()
    unknown: Mapping[str, Any] | None = None
    tolerance: float = 1e-5


def draw(generator: Generator, n: int = N, rng: int = 0) -> dict[str, torch.Tensor]:
    xi = torch.randn(n, generator.prior.dim, generator=torch.Generator().manual_seed(rng))
    return dict(generator.prior.from_inner(xi))


def rows(z: Latents, at: Sequence[int]) -> dict[str, torch.Tensor]:
    return {name: part[list(at)] for name, part in z.items()}


def numbers(generated: Generated) -> np.ndarray:
    """Outputs as float64 rows (n, ...)."""
    return np.stack([np.asarray(output, dtype=np.float64) for output in generated.outputs])


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max())


class GeneratorContract:
    """Subclass it and give `case`."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Case:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def z(cls, case: Case) -> dict[str, torch.Tensor]:
        return draw(case.generator)

    @pytest.fixture(scope="class")
    @classmethod
    def batch(cls, case: Case, z: dict[str, torch.Tensor]) -> Generated:
        return case.generator.generate(z, [{}] * N)

    def test_it_is_a_generator_with_a_named_fingerprint(self, case: Case) -> None:
        assert isinstance(case.generator, Generator)
        fingerprint = dict(case.generator.fingerprint)
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in fingerprint.items())
        assert json.loads(json.dumps(fingerprint)) == fingerprint == dict(case.generator.fingerprint)
        assert fingerprint["prior"] == case.generator.prior.fingerprint

    def test_one_finite_output_an_item_and_its_cost(self, batch: Generated) -> None:
        assert len(batch.outputs) == N
        assert np.isfinite(numbers(batch)).all()
        assert batch.nfe.shape == (N,)
        assert (batch.nfe > 0).all()
        assert batch.seconds > 0
        assert not batch.failed

    def test_the_same_latents_give_the_same_outputs(self, case: Case, z: Latents, batch: Generated) -> None:
        assert difference(numbers(case.generator.generate(z, [{}] * N)), numbers(batch)) == 0

    def test_n_at_once_equal_one_at_a_time(self, case: Case, z: Latents, batch: Generated) -> None:
        alone = [case.generator.generate(rows(z, [i]), [{}]) for i in range(N)]
        assert difference(np.concatenate([numbers(one) for one in alone]), numbers(batch)) <= case.tolerance
        np.testing.assert_allclose([one.nfe[0] for one in alone], batch.nfe)

    def test_different_latents_give_different_outputs(self, case: Case, batch: Generated) -> None:
        made = numbers(batch)
        for i in range(N):  # so that rows in a wrong order fail the comparisons here
            assert difference(made[i], made[i - 1]) >= 100 * case.tolerance

    def test_outputs_follow_their_latents(self, case: Case, z: Latents, batch: Generated) -> None:
        order = [2, 0, 1]
        assert difference(numbers(case.generator.generate(rows(z, order), [{}] * N)), numbers(batch)[order]) <= (
            case.tolerance
        )

    def test_conditions_reach_their_items_in_any_order(self, case: Case, z: Latents) -> None:
        if not case.conditions:
            with pytest.raises(ArgumentError, match="conditions"):
                case.generator.generate(rows(z, [0]), [{"guidance_scale": 1.0}])
            return
        a, b = case.conditions
        at, conditions = [0, 1, 0, 1], [a, b, b, a]
        together = case.generator.generate(rows(z, at), conditions)
        made, nfe = numbers(together), together.nfe
        assert difference(made[0], made[2]) >= 100 * case.tolerance  # one latent, two conditions
        for i in (0, 1):
            alone = case.generator.generate(rows(z, [at[i]]), [conditions[i]])
            assert difference(made[i], numbers(alone)[0]) <= case.tolerance
            assert nfe[i] == pytest.approx(alone.nfe[0])

    def test_the_input_is_not_changed(self, case: Case, z: Latents) -> None:
        given, conditions = rows(z, [0]), [copy.deepcopy(dict(c)) for c in case.conditions[:1]] or [{}]
        before = {name: part.clone() for name, part in given.items()}, copy.deepcopy(conditions)
        case.generator.generate(given, conditions)
        assert all(torch.equal(given[name], part) for name, part in before[0].items())
        assert conditions == before[1]

    def test_latents_of_another_dtype_or_device_are_taken(self, case: Case, z: Latents, batch: Generated) -> None:
        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        for device in devices:
            moved = {name: part[:1].to(device, torch.float64) for name, part in z.items()}
            made = numbers(case.generator.generate(moved, [{}]))
            assert difference(made[0], numbers(batch)[0]) <= case.tolerance

    def test_wrong_input_is_refused_before_anything_runs(self, case: Case, z: Latents) -> None:
        name, shape = next(iter(case.generator.prior.shapes.items()))
        wrong = {**z, name: torch.zeros(N, *shape, 2)}
        with pytest.raises(ShapeError, match=rf"expected shape.*{', '.join(map(str, shape))}.*got"):
            case.generator.generate(wrong, [{}] * N)
        with pytest.raises(ShapeError, match="other"):
            case.generator.generate({**z, "other": z[name]}, [{}] * N)
        with pytest.raises(ShapeError, match=f"expected n = {N}"):
            case.generator.generate(z, [{}])
        with pytest.raises(ArgumentError, match=r"one mapping an item.*got str"):
            case.generator.generate(z, ["a cat"] * N)  # type: ignore[list-item]
        if case.unknown is not None:
            with pytest.raises(ArgumentError):
                case.generator.generate(z, [{}, {}, case.unknown])
