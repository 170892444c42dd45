"""Kill sweeps that keep their trials in Ax with a mirror beside them, and stop others with SIGTERM, at random moments.

A sweep of `backend: ax` writes a snapshot and then copies the batch into an Optuna study. It is killed (SIGKILL)
between the two, within the copy, while the next run repairs the copy, or after a random time, and started again until
it has all of its trials. Whenever a run has begun, its copy is compared with what the client holds. Other sweeps, of
both backends, are processes of their own that get one SIGTERM after a random time, from their first instruction on.

    mirror_kills             kills
    mirror_kills_at_each     kills at the rarest of the four moments
    mirror_differing         starts, and ends, at which a copy differed from its client in any trial
    mirror_wrong_total       sweeps that ended with another number of trials than was asked for
    sigterm_stops            processes that a SIGTERM ended
    sigterm_codes            those that ended with another exit code than 130 or 143
    sigterm_tracebacks       those that showed a traceback
    sigterm_left_running     trials that still ran after an exit code of 130

    python examples/benchmarks/kill_sweeps.py            # 100 kills and 40 SIGTERMs: about 20 minutes
    python examples/benchmarks/kill_sweeps.py --quick    # 8 and 4: a minute or two, nothing kept
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, in the processes that do
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "integrations")]

TOTAL, BATCH = 20, 4
MOMENTS = ("before the copy", "within the copy", "repairing the copy", "any")
RESULTS = Path(__file__).parent / "results"
PRELOADED = ["surrogate_ax_cli.ax_sweep", "surrogate_ax_cli.optuna_sweep", "surrogate_ax_cli.demo", "alembic.command"]
PARTS = """
import time
import torch
from surrogate_ax import FunctionGenerator

def draw(z):
    time.sleep(0.02)
    return torch.tanh(z) * 0.5 + 0.5

def make():
    return FunctionGenerator(draw, (8, 8), revision="1", check_rows=False)

def left(pictures, conditions):
    return pictures[:, :, :4].mean(dim=(1, 2))
"""
SWEEP = f"""version: 1
name: s
generator: sweep_parts:make
score: sweep_parts:left
metrics: {{left: maximize}}
budget: {TOTAL}
batch: {BATCH}
"""
DRAWS = f"policy: {{name: draws, n: {TOTAL}, axes: 4}}\n"  # nothing to fit, so that a sweep takes a second


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:g} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def folder_of(root: Path, name: str, backend: str, more: str = "") -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "sweep_parts.py").write_text(PARTS)
    (folder / "s.yaml").write_text(f"{SWEEP}backend: {backend}\n{more}")
    return folder


# The searching process


def sweep(folder: Path, moment: str, nth: int) -> None:
    """Run the sweep to its end, or to the n-th time that it comes to a moment; "any" is n hundredths of a second on."""
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.path.insert(0, str(folder))
    from surrogate_ax_cli.main import app
    from surrogate_ax_optuna.mirror import Mirror

    times = Counter[str]()

    def come(to: str) -> None:
        times[to] += 1
        if (to, times[to]) == (moment, nth):
            os.kill(os.getpid(), signal.SIGKILL)

    copy, create, rebuild = Mirror.__call__, Mirror._create, Mirror.rebuild

    def copying(self: Any, batch: Any) -> None:
        come("before the copy")
        copy(self, batch)

    def creating(self: Any, *given: Any) -> Any:
        made = create(self, *given)
        come("repairing the copy" if times["rebuilding"] > times["rebuilt"] else "within the copy")
        return made

    def rebuilding(self: Any, *given: Any) -> None:
        times["rebuilding"] += 1
        rebuild(self, *given)
        times["rebuilt"] += 1
        with open("starts", "a") as starts:
            starts.write(f"{differing(folder)}\n")

    Mirror.__call__, Mirror._create, Mirror.rebuild = copying, creating, rebuilding
    if moment == "any":
        threading.Timer(nth / 100, os.kill, (os.getpid(), signal.SIGKILL)).start()
    try:
        app(["sweep", "s.yaml"])
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
    os._exit(0)


def differing(folder: Path) -> int:
    """Trials in which the copy differs from the client: in state, values, recipe, or by being there."""
    import optuna

    from surrogate_ax_optuna import sqlite
    from surrogate_ax_optuna.attributes import RECIPE_ATTR, TICKET_ATTR, attributes
    from surrogate_ax_platform import load_client, trial_copies

    held = {}
    if (folder / "s.json").exists():
        for each in trial_copies(load_client(folder / "s.json")):
            recipe = each.trial.recipe.to_json()
            held[str(each.trial.number)] = ("COMPLETE", each.trial.values(["left"]), recipe["terms"])
    storage = sqlite(folder / "s.db")
    copies = {}
    for trial in optuna.load_study(study_name="s", storage=storage).get_trials(deepcopy=False):
        known = attributes(trial)
        copies[str(known.get(TICKET_ATTR))] = (trial.state.name, trial.values, known[RECIPE_ATTR]["terms"])
    storage.engine.dispose()
    return sum(json.dumps(held.get(key)) != json.dumps(copies.get(key)) for key in held.keys() | copies.keys())


# The watching process


def kill(context: Any, root: Path, kills: int, table: Table) -> None:
    """Add a row for each kill, and one for each sweep in its end."""
    done = Counter(row["moment"] for row in table.rows)
    aims = [moment for moment in MOMENTS for _ in range(kills // len(MOMENTS) - done[moment])]
    studies = max((int(row["sweep"]) for row in table.rows), default=0)
    rng = random.Random(studies)
    rng.shuffle(aims)
    while aims:
        studies += 1
        folder, rows = folder_of(root, f"mirror{studies}", "ax", DRAWS), list[dict[str, Any]]()
        code, starts, behind = 1, 0, False
        while code != 0:
            usable = [aim for aim in aims if behind or aim != "repairing the copy"]
            moment = usable[0] if usable else "before the copy" if aims else "none"  # which leaves a copy to repair
            process = context.Process(target=sweep, args=(folder, moment, last_of(moment, rng)))
            process.start()
            process.join()
            code = process.exitcode
            seen = (folder / "starts").read_text().split() if (folder / "starts").exists() else []
            wrong, starts = sum(map(int, seen[starts:])), len(seen)
            behind = moment in ("before the copy", "within the copy")
            if code == -signal.SIGKILL:
                with contextlib.suppress(ValueError):
                    aims.remove(moment)
                rows.append({"sweep": studies, "moment": moment, "differing": wrong, "total": ""})
            elif code != 0:
                raise RuntimeError(f"a sweep failed: {(folder / 'log').read_text()[-2000:]}")
        ended = len(json.loads((folder / "s.json").read_text())["experiment"]["trials"])
        rows.append({"sweep": studies, "moment": "end", "differing": wrong + differing(folder), "total": ended})
        table.extend(rows)
        print(f"# sweep {studies}: {[row['moment'] for row in rows]}", flush=True)


def last_of(moment: str, rng: random.Random) -> int:
    """At which time, so that a sweep is killed several times before its end."""
    return rng.randint(1, {"before the copy": 2, "within the copy": 7, "repairing the copy": 2}.get(moment, 150))


def terminate(root: Path, times: int, table: Table) -> None:
    """Add a row for each SIGTERM."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "integrations")])}
    command = [sys.executable, "-c", "from surrogate_ax_cli.main import app; app()", "sweep", "s.yaml"]
    rng, whole = random.Random(len(table.rows)), {}
    for backend in ("optuna", "ax"):
        folder, clock = folder_of(root, f"whole-{backend}", backend), time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        whole[backend] = time.monotonic() - clock
    while len(table.rows) < times:
        backend, after = ("optuna", "ax")[len(table.rows) % 2], rng.random()
        folder = folder_of(root, f"stopped-{after}", backend)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after * whole[backend])
            continue  # it had ended before
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=300)
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode  # as a shell says it
        if code == 0 and b"stopping" not in said:
            continue  # it came when all was done
        row = {"backend": backend, "after": f"{after * whole[backend]:.2f}", "code": code}
        row |= {"stopping": int(b"stopping" in said), "traceback": int(b"Traceback" in said)}
        table.extend([{**row, "left_running": left_running(folder, backend) if code == 130 else 0}])
        print(f"# SIGTERM {table.rows[-1]}", flush=True)


def left_running(folder: Path, backend: str) -> int:
    import optuna

    from surrogate_ax_optuna import sqlite

    if backend == "ax":
        if not (folder / "s.json").exists():
            return 0
        trials = json.loads((folder / "s.json").read_text())["experiment"]["trials"]
        return sum(trial["status"]["name"] == "RUNNING" for trial in trials.values())
    if not (folder / "s.db").exists():
        return 0
    storage = sqlite(folder / "s.db")
    studies = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    running = sum(not trial.state.is_finished() for study in studies for trial in study.get_trials(deepcopy=False))
    storage.engine.dispose()
    return running


class Table:
    """Rows that are kept in a file, if one is given; what a run that was broken off has added stays.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            with path.open() as file:
                self.rows = list(csv.DictReader(file))

    def extend(self, rows: list[dict[str, Any]]) -> None:
        """Add rows."""
        self.rows += rows
        if self._path is not None:
            with self._path.open("w") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 kills and 4 SIGTERMs, nothing kept")
    parser.add_argument("--only", choices=("kills", "sigterm"), help="one part")
    arguments = parser.parse_args()
    kills, times = (8, 4) if arguments.quick else (100, 40)
    context = multiprocessing.get_context("forkserver")  # processes begin in a moment, with all of this imported
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in (None, "kills"):
            table = Table(None if arguments.quick else RESULTS / "kill_mirror.csv")
            kill(context, Path(folder), kills, table)
            rows = table.rows
            met = Counter(row["moment"] for row in rows if row["moment"] != "end")
            report("mirror_kills", met.total(), kills, at_least=True)
            report("mirror_kills_at_each", min(met[moment] for moment in MOMENTS), kills // 4, at_least=True)
            report("mirror_differing", sum(int(row["differing"]) > 0 for row in rows), 0)
            totals = [int(row["total"]) for row in rows if row["moment"] == "end"]
            report("mirror_wrong_total", sum(total != TOTAL for total in totals), 0)
        if arguments.only in (None, "sigterm"):
            table = Table(None if arguments.quick else RESULTS / "sigterm.csv")
            terminate(Path(folder), times, table)
            rows = table.rows
            report("sigterm_stops", len(rows), times, at_least=True)
            report("sigterm_codes", sum(int(row["code"]) not in (130, 143) for row in rows), 0)
            report("sigterm_tracebacks", sum(int(row["traceback"]) for row in rows), 0)
            report("sigterm_left_running", sum(int(row["left_running"]) for row in rows), 0)


if __name__ == "__main__":
    main()
