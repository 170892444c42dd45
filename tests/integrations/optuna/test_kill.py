"""Killed, interrupted, out of disk: the benchmark that does it, with ten kills, and what it would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState

from surrogate_ax import Metric, Objective, SurrogateSpace
from surrogate_ax.errors import StorageError
from surrogate_ax_optuna import optimize
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, attributes
from surrogate_ax_optuna.trials import ended_trials

KILL = Path(__file__).parents[3] / "examples" / "benchmarks" / "kill.py"


def test_ten_kills_two_interrupts_and_two_faults_of_the_disk_lose_nothing():
    """Five kills on SQLite, five behind the gRPC proxy, at least one at each of the four moments."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    ran = subprocess.run(
        [sys.executable, str(KILL), "--kills", "5"], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    results = {name: (float(value), met) for _, name, value, _, met in map(str.split, _results(ran.stdout))}
    assert len(results) == 19
    assert {name: met for name, (_, met) in results.items() if met != "ok"} == {}, ran.stdout
    for storage in ("sqlite", "proxy"):
        assert results[f"{storage}_kills"][0] >= 5
        assert results[f"{storage}_kills_at_each"][0] >= 1
    assert "# full disk: StorageError: storage: the study's storage failed" in ran.stdout
    assert "# read-only folder: StorageError: previews: the picture of trial 4 could not be stored" in ran.stdout


def _results(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("RESULT ")]


def test_a_value_outlives_its_picture(make_study, make_generator, tmp_path):
    study, store = make_study(), FileSystemArtifactStore(str(tmp_path / "pictures"))
    (tmp_path / "pictures").mkdir()
    generator = make_generator(prior=(8, 8))
    space = SurrogateSpace.sample(generator.prior, seeds=4, rng=0)
    objective = Objective(Metric("mean"), score=lambda outputs, _: outputs.mean(dim=(1, 2)))

    def spoil(study: object, trial: object) -> None:
        if (tmp_path / "pictures").is_dir():
            (tmp_path / "pictures").rename(tmp_path / "moved")
            (tmp_path / "pictures").touch()  # a file in the folder's place: nothing can be written there

    def run() -> None:
        optimize(
            study,
            generator,
            objective,
            space=space,
            total_trials=12,
            batch_size=4,
            rng=0,
            previews=store,
            callbacks=[spoil] if len(study.trials) == 0 else [],
            progress=False,
        )

    with pytest.raises(StorageError, match=r"picture of trial 4 .* Not a directory.* values of its batch are kept"):
        run()
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
    assert [PREVIEW_ATTR in attributes(trial) for trial in study.trials] == [True] * 4 + [False] * 4
    assert np.isfinite([trial.value for trial in study.trials]).all()
    (tmp_path / "pictures").unlink()
    (tmp_path / "moved").rename(tmp_path / "pictures")
    run()
    assert len(ended_trials(study)) == len(study.trials) == 12
    assert PREVIEW_ATTR in attributes(study.trials[-1])
