"""Inputs that once ended in a traceback, or hung, are accepted or refused in plain words; so are others like them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fuzz

FOUND = [file for target in fuzz.TARGETS for file in sorted((fuzz.CORPUS / target).glob("*"))]
EXAMPLES = {"sweep_file": 30, "recipe": 60, "space": 40, "attributes": 20, "snapshot": 3, "records": 10}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FOUND, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_was_found_is_plain(file: Path) -> None:
    fuzz.accepts(file.parent.name, file.read_bytes())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_what_coverage_found_is_plain(target: str) -> None:
    for data in fuzz.grown(target):
        fuzz.accepts(target, data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", EXAMPLES)
def test_what_is_altered_is_plain(target: str) -> None:
    seed = fuzz.SEEDS[target]()
    assert fuzz.accepts(target, seed)

    @settings(max_examples=EXAMPLES[target], deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, 2**32 - 1))
    def alter(number: int) -> None:
        fuzz.accepts(target, fuzz.mutate(target, seed, np.random.default_rng(number)))

    alter()


def test_a_target_that_raises_anything_else_is_found() -> None:
    def broken(data: bytes) -> bool:
        raise KeyError("x")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fuzz.TARGETS, "recipe", broken)
        with pytest.raises(KeyError):
            fuzz.accepts("recipe", b"")
