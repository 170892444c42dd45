"""`surrogate-ax worker --only generate` and `--only score`: halves of the work in processes of their own, and kills."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax_optuna import sqlite
from surrogate_ax_optuna.trials import is_awaiting, is_told, read_recipe
from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.cli.test_sweep_process import PATIENCE_S, start, wait_for_trials

BUDGET = 12
SCORES = """
import os, sys, time
import torch

def slowly(pictures, conditions):
    assert "sweep_parts" not in sys.modules, "a worker that scores has loaded the generator"
    with open("scored.txt", "a") as file:
        file.write(f"{os.getpid()} {float(pictures[0].sum()):.9g}\\n")
    time.sleep(0.3)
    return [float(picture.mean()) for picture in pictures]
"""


def trials() -> list[FrozenTrial]:
    return optuna.load_study(study_name="s", storage=sqlite("s.db")).trials


def wait_for_waiting(count: int) -> None:
    """Until the study s has trials that wait for their scores."""
    wait_for_trials(1, TrialState.RUNNING)
    end = time.monotonic() + PATIENCE_S
    while sum(map(is_awaiting, trials())) < count:
        assert time.monotonic() < end, f"no {count} trials wait in {PATIENCE_S} s"
        time.sleep(0.05)


def test_kills_of_either_half_lose_and_double_nothing(sweep: Sweep) -> None:
    Path("scores.py").write_text(SCORES)
    policy = f"{{name: draws, n: {BUDGET}, axes: 3}}"
    sweep.write(generator="sweep_parts:slow", score="scores:slowly", budget=str(BUDGET), batch="2", policy=policy)
    maker = start("worker", "s.yaml", "--only", "generate")
    try:
        wait_for_waiting(4)
    finally:
        maker.kill()
        maker.communicate()
    first = start("worker", "s.yaml", "--only", "score")
    try:
        wait_for_trials(2, TrialState.COMPLETE)
    finally:
        first.kill()
        first.communicate()
    assert sum(map(is_awaiting, trials())) >= 1
    processes = [start("worker", "s.yaml", "--only", part) for part in ("generate", "score")]
    try:
        ended = [process.communicate(timeout=PATIENCE_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ended
    assert f"study 's': {BUDGET} trials, {BUDGET} scored" in ended[1][0]
    told = [trial for trial in trials() if is_told(trial)]
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * BUDGET
    assert len({read_recipe(trial).terms for trial in told}) == BUDGET
    assert not [trial for trial in trials() if trial.state == TrialState.RUNNING]
    scored = [line.split()[1] for line in Path("scored.txt").read_text().splitlines()]
    assert len(set(scored)) == BUDGET
    assert len(scored) <= BUDGET + 1  # what was being scored at the kill is scored again, and nothing else is
    assert list(Path("s/unscored").iterdir()) == []


def test_ctrl_c_frees_the_trial_that_is_being_scored(sweep: Sweep) -> None:
    Path("scores.py").write_text(SCORES.replace("0.3", "30"))
    sweep.write(generator="sweep_parts:slow", score="scores:slowly", budget="2", policy="{name: draws, n: 2, axes: 3}")
    made = sweep("worker", "--only", "generate")
    assert made.exit_code == 0, made.stderr
    assert sum(map(is_awaiting, trials())) == 2
    assert "2 waiting for their scores" in sweep("status").stdout
    scorer = start("worker", "s.yaml", "--only", "score")
    end = time.monotonic() + PATIENCE_S
    while not list(Path("s/unscored").glob("*.score-1")) or not Path("scored.txt").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    scorer.send_signal(signal.SIGINT)
    _, stderr = scorer.communicate(timeout=PATIENCE_S)
    assert scorer.returncode == 130, stderr
    assert sum(map(is_awaiting, trials())) == 2
    assert not list(Path("s/unscored").glob("*.score-*"))


@pytest.mark.parametrize("part", ["generate", "score"])
def test_what_has_no_halves_is_refused(sweep: Sweep, part: str) -> None:
    ran = sweep("worker", "--only", part, checkpoints="[2]")
    assert ran.exit_code == 2
    assert "s.yaml:" in ran.stderr
    assert "checkpoints: estimates are scored while outputs are made" in ran.stderr
    ran = sweep("worker", "--only", part, backend="ax")
    assert ran.exit_code == 2
    assert "an Ax client lives in one process" in ran.stderr
