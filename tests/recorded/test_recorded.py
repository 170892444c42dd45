"""Runs come out as they were recorded, and what was kept by an earlier release goes on as if it had never stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recorded import runs

RECORDED = json.loads((runs.HERE / "runs.json").read_text())
SAME = 1e-4  # processors differ in the last bits, and a search passes that on


def check(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for the last digits; the order of trials counts."""
    assert len(found) == len(expected)
    for i, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert {k: mine[k] for k in ("status", "round", "condition")} == {
            k: theirs[k] for k in ("status", "round", "condition")
        }, i
        np.testing.assert_allclose(mine["terms"], theirs["terms"], atol=SAME, err_msg=str(i))
        assert mine["values"].keys() == theirs["values"].keys()
        for name, value in theirs["values"].items():
            assert mine["values"][name] == pytest.approx(value, rel=SAME, abs=SAME), (i, name)


@pytest.mark.parametrize("name", RECORDED)
def test_a_run_comes_out_as_recorded(name: str) -> None:
    check(runs.run(name), RECORDED[name])


def test_every_run_is_recorded() -> None:
    assert list(RECORDED) == list(runs.RUNS)


@pytest.mark.parametrize("random", [False, True], ids=["planned", "another sampler"])
def test_a_study_goes_on_as_it_was_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture, random: bool) -> None:
    kept, anew = tmp_path / "study.db", tmp_path / "anew.db"
    shutil.copyfile(runs.HERE / "study.db", kept)
    runs.go_on_with_study(anew, runs.TRIALS)
    check(runs.go_on_with_study(kept, runs.GOES_ON, random=random), runs.go_on_with_study(anew, runs.GOES_ON))
    assert ("was begun as a planned search and goes on so; its RandomSampler" in caplog.text) == random


def test_a_client_goes_on(tmp_path: Path) -> None:
    kept, anew = tmp_path / "client.json", tmp_path / "anew.json"
    shutil.copyfile(runs.HERE / "client.json", kept)
    runs.go_on_with_client(anew, 12)
    check(runs.go_on_with_client(kept, 20), runs.go_on_with_client(anew, 20))


def test_a_space_is_read(tmp_path: Path) -> None:
    from surrogate_ax import SurrogateSpace

    space = SurrogateSpace.load(runs.HERE / "space", runs.flow().prior)
    assert space.fingerprint == runs.box().fingerprint
