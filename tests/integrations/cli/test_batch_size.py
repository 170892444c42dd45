"""`batch: auto` in sweep files: measured, said, and kept with the study."""

from __future__ import annotations

import json
from collections.abc import Callable

import optuna
import pytest

from surrogate_ax_optuna import read_record, sqlite
from tests.integrations.cli.sweep_folder import Sweep

Calls = Callable[[], list[int]]
# Clouds whose calls take as long, however many they are, and of which three have room.
CROWDED = {"generator": "crowded:make", "batch": "auto", "budget": "24"}
MODULE = """
import time
import torch
import sweep_parts
from surrogate_ax import FunctionGenerator

def clouds(z):
    if len(z) > 3:
        raise torch.OutOfMemoryError("CUDA out of memory")
    time.sleep(0.05)
    return sweep_parts.clouds(z)

def make():
    return FunctionGenerator(clouds, (8, 8), check_rows=False)
"""


@pytest.fixture
def crowded(sweep: Sweep) -> Sweep:
    (sweep.folder / "crowded.py").write_text(MODULE)
    return sweep


def test_a_dry_run_says_the_batch_that_it_has_measured(crowded: Sweep) -> None:
    answer = crowded("sweep", "--dry-run", **CROWDED)
    assert answer.exit_code == 0, answer.output
    assert "24 in batches of 2" in answer.stdout
    assert "batches of 2: measured on 9 plain draws (6 calls, " in answer.stdout
    assert crowded.files() == ["crowded.py", "s.yaml", "sweep_parts.py"]


def test_a_sweep_measures_once(crowded: Sweep) -> None:
    answer = crowded("sweep", **CROWDED)
    assert answer.exit_code == 0, answer.output
    study = optuna.load_study(study_name="s", storage=sqlite("s.db"))
    assert read_record(study).batch_size == 2
    assert len(study.trials) == 24
    plan = json.loads(crowded("sweep", "--dry-run", "--json", **CROWDED | {"budget": "30"}).stdout)
    assert plan["trials"]["batch"] == 2
    assert plan["measured"] == "as it was measured when the study was begun"


def test_ax_measures_too(crowded: Sweep) -> None:
    answer = crowded("sweep", backend="ax", **CROWDED | {"budget": "8"})
    assert answer.exit_code == 0, answer.output
    plan = json.loads(crowded("sweep", "--dry-run", "--json", backend="ax", **CROWDED).stdout)
    assert (plan["trials"]["batch"], plan["trials"]["done"]) == (2, 8)


def test_another_word_is_refused_with_its_line(crowded: Sweep) -> None:
    answer = crowded("sweep", batch="large")
    assert answer.exit_code == 2
    assert "s.yaml:6: batch: expected a whole number of at least 1, or auto, got 'large'" in answer.stderr
