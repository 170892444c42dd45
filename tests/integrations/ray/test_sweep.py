"""`generator: {ray: ...}` in a sweep file: what it may hold, and a sweep on its own cluster that is interrupted."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from surrogate_ax.errors import ArgumentError
from surrogate_ax_cli.sweep_file import read_sweep

ROOT = Path(__file__).parents[3]
MODELS = """
import os, time
from pathlib import Path
import numpy as np
from surrogate_ax import FunctionGenerator

def pictures(z):
    Path("began").touch()
    time.sleep(0.2)
    return z.sigmoid()

def make():
    return FunctionGenerator(pictures, (4, 4), check_rows=False)

def light(outputs, conditions):
    return {"light": outputs.mean(dim=(1, 2)), "process": np.full(len(outputs), float(os.getpid()))}
"""
SWEEP = """
version: 1
generator: {ray: {of: models:make, actors: 1, score: true, outputs: previews}}
score: models:light
metrics: {light: maximize, process: track}
budget: 400
batch: 4
"""


def read(folder: Path, generator: str, score: str = "models:light") -> object:
    path = folder / "sweep.yaml"
    path.write_text(
        SWEEP.replace("{ray: {of: models:make, actors: 1, score: true, outputs: previews}}", generator).replace(
            "score: models:light", f"score: {score}"
        )
    )
    return read_sweep(path).generator


def test_what_the_file_may_hold(tmp_path: Path) -> None:
    found = read(tmp_path, "{ray: {of: {folder: models/sd, device: cuda}, actors: 8, gpus: 1, address: auto}}")
    assert (found.kind, found.where, found.options) == ("folder", "models/sd", {"device": "cuda"})  # type: ignore[attr-defined]
    assert found.ray == {"actors": 8, "gpus": 1, "address": "auto"}  # type: ignore[attr-defined]
    for generator, message in [
        ("{ray: {actors: 2}}", "generator.ray: of is missing"),
        ("{ray: {of: portraits, gpu: 1}}", r"sweep.yaml:3: generator.ray.*gpu.*gpus"),
        ("{ray: {of: portraits, actors: 0}}", "generator.ray.actors: expected"),
        ("{ray: {of: portraits, gpus: -1}}", "generator.ray.gpus: expected"),
        ("{ray: {of: {ray: {of: portraits}}}}", "generator.ray.of"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            read(tmp_path, generator)
    with pytest.raises(ArgumentError, match="score: actors score by a function"):
        read(tmp_path, "{ray: {of: portraits, score: true}}", "{function: models:light, timeout: 3}")


def test_ctrl_c_leaves_trials_that_go_on_and_no_process(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    code = "from surrogate_ax_cli.main import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "sweep", "sweep.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        database, end = tmp_path / "sweep.db", time.monotonic() + 200
        while process.poll() is None and time.monotonic() < end and told(database) < 4:
            time.sleep(0.5)
        assert process.poll() is None, process.communicate()[0]
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert 4 <= told(database) < 400
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{database}").trials
    assert not [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
    end = time.monotonic() + 20
    while (left := of_session(process.pid)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left


def told(database: Path) -> int:
    """Trials that have ended; the file is only read, as the search may be making its tables."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
            (count,) = reader.execute("SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'").fetchone()
    except sqlite3.OperationalError:  # no file yet, or no tables
        return 0
    return int(count)


def of_session(leader: int) -> list[str]:
    """Processes that still run of those that a process has led; Ray's workers have groups of their own in it."""
    found = subprocess.run(["ps", "-eo", "sid=,pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in found.splitlines()]
    return [" ".join(row) for row in rows if row[0] == str(leader) and not row[2].startswith("Z")]
