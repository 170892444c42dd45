"""Fingerprints are compared part by part, a probe by tolerance, and older records are not blamed for what they lack."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest

from surrogate_ax import FunctionGenerator, Gaussian
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.recorded_search import begin_record
from surrogate_ax.generation.identity import LATER_PARTS, compare
from surrogate_ax.generation.probe import probe_text, same_probe
from surrogate_ax.generation.recipe import check_fingerprint

X = np.random.default_rng(0).normal(size=(3, 8, 8))


def probe(x, device="cpu", dtype="float32"):
    return probe_text([x], device=device, dtype=dtype)


def moved(by):
    """X, changed by a share of its size."""
    return X + by * np.random.default_rng(1).normal(size=X.shape)


@pytest.mark.parametrize(
    ("change", "here", "there", "same"),
    [
        (0, "cpu float32", "cpu float32", True),
        (1e-6, "cpu float32", "cpu float32", True),
        (0.02, "cpu float32", "cpu float32", False),  # what a step cache does
        (1e-3, "cpu float32", "cuda float32", True),
        (0.25, "cpu float32", "cuda float32", False),
        (0.02, "cpu bfloat16", "cpu bfloat16", True),  # what rounding does there
        (0.5, "cpu bfloat16", "cpu bfloat16", False),
        (0.5, "cpu float32", "cpu bfloat16", None),
    ],
)
def test_a_probe_is_compared_by_device_and_precision(change, here, there, same):
    assert same_probe(probe(X, *here.split()), probe(moved(change), *there.split())) is same
    assert same_probe(probe(moved(change), *there.split()), probe(X, *here.split())) is same


def test_a_probe_is_a_few_rounded_numbers():
    text = probe_text([X, 2 * X], device="cpu", dtype="float32")
    head, numbers = text.split(": ")
    assert head == "cpu float32"
    values = [float(number) for number in numbers.split()]
    assert len(values) == 10
    assert values[0] == pytest.approx(np.sqrt((X**2).mean()), rel=1e-3)
    assert values[5] == pytest.approx(2 * values[0], rel=1e-3)
    assert values[6:] == values[1:5]  # in units of the size
    assert len(text) < 120


def test_a_probe_sees_size_sign_shape_and_holes():
    for other in (1.01 * X, -X, X[:2], np.where(X > 2, np.nan, X), 0 * X, X[::-1]):
        assert same_probe(probe(X), probe(other)) is False
    assert same_probe(probe(X * np.nan), probe(X * np.nan)) is True
    assert same_probe("failed: OSError", probe(X)) is None


RECORD = {"weights": "1", "adapters": "none", "probe": probe(X), "code": "tree 1"}


@pytest.mark.parametrize(
    ("change", "changed", "unknown"),
    [
        ({}, [], []),
        ({"adapters": "unet a 0.3"}, ["adapters"], []),
        ({"probe": probe(moved(1e-6))}, [], []),
        ({"probe": probe(moved(0.2))}, ["probe"], []),
        ({"probe": probe(moved(0.2)), "weights": "2"}, ["weights"], []),  # the probe moves with whatever changed
        ({"probe": "failed: OSError"}, [], ["probe"]),
        ({"code": "tree 2"}, ["code"], []),
        ({"code": "bytecode-3.11 2"}, [], ["code"]),
        ({"settings.scheduler": "_shift=6.0", "caches": "none"}, [], ["caches", "settings.scheduler"]),  # came later
        ({"under each of": "[{}]"}, ["under each of"], []),  # did not
        ({"weights": None}, ["weights"], []),
        ({"adapters": None}, ["adapters"], []),
        ({"code": 3, "probe": [1]}, ["code"], []),  # an altered record
    ],
)
def test_what_differs_and_what_cannot_be_compared(change, changed, unknown):
    present = {name: text for name, text in {**RECORD, **change}.items() if text is not None}
    assert compare(RECORD, present) == (changed, unknown)


class Model:
    prior = Gaussian((2,))

    def __init__(self, **parts):
        self.fingerprint = parts

    def generate(self, z, conditions):
        raise NotImplementedError


def test_an_older_record_goes_on_with_a_warning(caplog):
    old = {"weights": "1", "prior": "p"}
    present = Model(**old, adapters="none", probe=probe(X), **{"settings.scheduler": "none"})
    with caplog.at_level(logging.WARNING):
        check_fingerprint(old, present, what="search")
    assert "the search says nothing of adapters, probe, settings.scheduler that could be compared" in caplog.text
    caplog.clear()
    check_fingerprint(present.fingerprint, present, what="search")
    assert caplog.text == ""


def test_a_resume_names_what_changed():
    recorded = {"weights": "1", "adapters": "unet a 1.0 (2 layers 1bbf7f)", "probe": probe(X)}
    present = Model(weights="1", adapters="unet a 0.3 (2 layers 1bbf7f)", probe=probe(moved(0.4)))
    with pytest.raises(MismatchError) as error:
        check_fingerprint(recorded, present, what="search")
    change = "adapters: unet a 1.0 (2 layers 1bbf7f) -> unet a 0.3 (2 layers 1bbf7f)"
    assert f"generator: the search was made with another one ({change})." in str(error.value)


def test_the_first_parts_are_not_among_the_later():
    assert not {"pipeline", "weights", "revision", "call", "prior", "function", "under each of"} & set(LATER_PARTS)


def power(z, digit):
    return z**digit


def test_a_search_refuses_another_partial_of_its_function_and_goes_on_from_an_older_record(caplog):
    first, other = (FunctionGenerator(partial(power, digit=digit), (2,)) for digit in (3, 7))
    record = {"version": 2, "plan": {}, "generator": dict(first.fingerprint)}
    assert begin_record(record, {}, first, None, study="study") == record
    with pytest.raises(MismatchError, match=r"another one \(arguments: digit=3 -> digit=7\)"):
        begin_record(record, {}, other, None, study="study")
    older = {name: first.fingerprint[name] for name in ("function", "revision", "prior")}
    assert caplog.text == ""
    begin_record({**record, "generator": older}, {}, other, None, study="study")
    assert "says nothing of arguments, closure, code, modules that could be compared" in caplog.text
