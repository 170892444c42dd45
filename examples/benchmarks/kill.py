"""Kill searches at random moments, and count what that costs: nothing may be lost, told twice or left running.

A process searches a plain function with `optimize`, its outputs' pictures uploaded, and writes down where it is: after
ask, generating, between upload and tell, between taking a lost trial back and running it again. It is killed (SIGKILL),
by itself at a chosen one of these moments or from outside after a random time, and started again, until the study has
all of its trials; then the next study begins. On SQLite, and on Optuna's gRPC proxy, which keeps no heartbeats. The
same with Ctrl-C (SIGINT), with a disk that is full while pictures are written, with a folder that turned read-only.
Every line `RESULT name value goal ok|short`, per storage:

    STORAGE_kills            kills
    STORAGE_kills_at_each    kills at the rarest of the four moments
    STORAGE_told_lost        told trials that were missing or changed after a later kill
    STORAGE_told_twice       trials whose result was told by more than one trial, and exact rows that ran twice
    STORAGE_orphans_untold   trials of killed processes that no told trial repeats with the same recipe
    STORAGE_left_running     trials still running or waiting once a study had its trials
    STORAGE_wrong_total      studies that ended with another number of told trials than was asked for
    interrupts_without_effect   searches that went on, or ended otherwise
    interrupts_left_running  trials that still ran after Ctrl-C
    interrupts_wrong_in_the_end, full_lost, read_only_lost   the sum of all of the above where the study then went on to
                             its end; for faults also a message that is not `StorageError`'s

    python examples/benchmarks/kill.py            # 50 kills on each storage, 20 interrupts: about 10 minutes
    python examples/benchmarks/kill.py --quick    # 12 kills on each, 5 interrupts: under 2 minutes
    python examples/benchmarks/kill.py --kills 10 --only sqlite
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, in the processes that do

TOTAL, BATCH = 20, 4
MOMENTS = ("asked", "generating", "uploaded", "taken back")
LATEST = 50  # moments after which a process is killed from outside; a search that is let be comes to 140
EACH = 5  # kills at each of the moments, at least
NOBODY = 65534  # the user whom a read-only folder stops, where root runs this
PRELOADED = [
    "torch",
    "PIL.Image",
    "alembic.command",
    "optuna.storages._rdb.models",
    "surrogate_ax_optuna",
    "scipy.stats",
    "scipy.sparse",
]


@dataclass(frozen=True)
class Aim:
    """Where a process kills itself: at the n-th time that it comes to a moment, or somewhere behind."""

    moment: str
    nth: int
    delay: float


# The searching process


def search(folder: Path, port: int | None, aim: Aim | None, fault: str | None = None) -> None:
    """Search to the end, unless something kills this first.

    Args:
        folder: of the study, its pictures and the notes.
        port: of a gRPC proxy; SQLite without.
        aim: where to be killed.
        fault: what happens after the first batch, see `spoil`.
    """
    import optuna
    from optuna.artifacts import FileSystemArtifactStore

    from surrogate_ax import FunctionGenerator, Metric, Objective
    from surrogate_ax_optuna import SurrogateSampler, optimize

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    notes = Notes(folder, aim, fault)

    def generate(z: Any) -> Any:
        notes.add("generating")
        time.sleep(0.03)
        notes.spoil()
        notes.add("generated")
        return z.sigmoid()

    class Pictures(FileSystemArtifactStore):
        def write(self, artifact_id: str, content_body: Any) -> None:
            super().write(artifact_id, content_body)
            notes.add("uploaded")

    storage = open_storage(folder, port)
    study = optuna.create_study(
        study_name="killed",
        storage=storage,
        direction="maximize",
        sampler=SurrogateSampler(),
        load_if_exists=True,
    )
    watch(study._storage, notes)
    optimize(
        study,
        FunctionGenerator(generate, (8, 8), revision="1", check_rows=False),
        Objective(Metric("left"), score=lambda outputs, _: outputs[:, :, :4].mean(dim=(1, 2))),
        total_trials=TOTAL,
        batch_size=BATCH,
        rng=0,
        previews=Pictures(str(folder / "pictures")),
        progress=False,
    )
    notes.add("ended")


class Notes:
    """A file of the moments that a process came to, which outlives it; and its end, at the one that is aimed at.

    Not to be called, nor a value: else aim and fault were settings of the generator, which no other process has.
    """

    def __init__(self, folder: Path, aim: Aim | None, fault: str | None) -> None:
        self._file = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._folder, self._aim, self._fault = folder, aim, fault
        self._times = self._batches = 0
        self.add("begun")

    def spoil(self) -> None:
        """What the fault is, in the second batch."""
        self._batches += 1
        if self._fault and self._batches == 2:
            spoil(self._folder, self._fault)

    def add(self, moment: str) -> None:
        os.write(self._file, (moment + "\n").encode())  # the kernel has it, whatever becomes of this process
        if self._aim is None or moment != self._aim.moment:
            return
        self._times += 1
        if self._times == self._aim.nth:
            threading.Timer(self._aim.delay, kill_self).start() if self._aim.delay else kill_self()


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch(storage: Any, notes: Notes) -> None:
    """Note what is asked of a storage, once it has done it."""
    create, attribute, state = storage.create_new_trial, storage.set_trial_system_attr, storage.set_trial_state_values

    def created(*given: Any, **named: Any) -> Any:
        trial_id = create(*given, **named)
        notes.add("asking")
        return trial_id

    def written(trial_id: int, key: str, value: Any) -> None:
        attribute(trial_id, key, value)
        if key == "surrogate:recipe":
            notes.add("asked")

    def ended(trial_id: int, state_: Any, values: Any = None, **named: Any) -> Any:
        changed = state(trial_id, state_, values, **named)
        notes.add("taken back" if state_.name == "FAIL" else "told")
        return changed

    storage.create_new_trial = created
    storage.set_trial_system_attr = written
    storage.set_trial_state_values = lambda trial_id, state, values=None: ended(trial_id, state, values)


def spoil(folder: Path, fault: str) -> None:
    """Let the kernel refuse what this process writes from now on."""
    if fault == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return
    (folder / "pictures").chmod(0o555)
    if os.geteuid() == 0:  # root may write anywhere
        for path in (folder, *folder.iterdir()):
            os.chown(path, *((0, 0) if path.name == "pictures" else (NOBODY, NOBODY)))
        os.seteuid(NOBODY)


def open_storage(folder: Path, port: int | None) -> Any:
    if port is None:
        from surrogate_ax_optuna import sqlite

        return sqlite(folder / "study.db")
    import warnings

    from optuna.storages import GrpcStorageProxy

    warnings.simplefilter("ignore")  # the proxy is experimental
    return GrpcStorageProxy(host="127.0.0.1", port=port)


def serve(folder: Path, port: int) -> None:
    """Optuna's gRPC proxy before an SQLite database."""
    import warnings

    import optuna

    from surrogate_ax_optuna import sqlite

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.storages.run_grpc_proxy_server(
        optuna.storages.get_storage(sqlite(folder / "study.db")), host="127.0.0.1", port=port
    )


def quietly(*arguments: Any) -> None:
    """`search` in a process of its own; an error is noted, and what was interrupted ends with 130."""
    folder: Path = arguments[0]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background ignores it
    try:
        search(*arguments)
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:  # noqa: BLE001  whatever it is, the watching process shows it
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (folder / "error").write_text(f"{type(error).__name__}: {error}")
        os._exit(1)


# The watching process


class Study:
    """A study that processes search and are killed at, and what was seen of it.

    Args:
        context: of multiprocessing.
        folder: a new one.
        proxied: whether a gRPC proxy stands before the database.
    """

    def __init__(self, context: Any, folder: Path, *, proxied: bool) -> None:
        self.folder = folder
        self._context = context
        folder.joinpath("pictures").mkdir(parents=True)
        self.port: int | None = None
        self._told: dict[int, Any] = {}
        self.lost = 0
        if proxied:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            self._server = context.Process(target=serve, args=(folder, self.port), daemon=True)
            self._server.start()
            wait_for(lambda: answers(self.port), "the proxy")

    def close(self) -> None:
        """Stop the proxy."""
        if self.port is not None:
            self._server.terminate()
            self._server.join()

    def notes(self) -> list[str]:
        """The moments that processes came to."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def run(
        self,
        aim: Aim | None = None,
        *,
        after: int | None = None,
        send: int = signal.SIGKILL,
        fault: str | None = None,
    ) -> tuple[int, str]:
        """Search until the process ends or is ended.

        Args:
            aim: where it kills itself.
            after: how many moments after its begin it gets a signal from outside.
            send: that signal.
            fault: what its disk does.

        Returns:
            The exit code, and the last moment that it came to.
        """
        before, hit = len(self.notes()), ""
        process = self._context.Process(target=quietly, args=(self.folder, self.port, aim, fault))
        process.start()
        if after is not None:
            wait_for(lambda: len(self.notes()) > before + after or process.exitcode is not None, "a process")
            hit = self.notes()[-1]
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, send)
        process.join(timeout=120)
        if process.exitcode is None:
            raise RuntimeError(f"the process still runs after {self.notes()[-3:]}")
        return process.exitcode, hit if send == signal.SIGINT else self.notes()[-1]

    def look(self) -> list[Any]:
        """All trials; told ones that are missing or changed since the last look are counted."""
        import optuna

        from surrogate_ax_optuna import sqlite
        from surrogate_ax_optuna.trials import is_told

        storage = sqlite(self.folder / "study.db")
        if not optuna.get_all_study_names(storage):  # killed before it was made
            return []
        trials = optuna.load_study(study_name="killed", storage=storage).get_trials(deepcopy=False)
        storage.engine.dispose()
        history = {trial.number: (trial.state, trial.values, recipe(trial)) for trial in trials if is_told(trial)}
        self.lost += sum(history.get(number) != before for number, before in self._told.items())
        self._told = history
        return trials

    def audit(self) -> Counter[str]:
        """What is wrong with the ended study."""
        from surrogate_ax_optuna.attributes import attributes
        from surrogate_ax_optuna.trials import RETRIES, is_lost, is_told

        trials = self.look()
        history = [trial for trial in trials if is_told(trial)]
        first = {trial.number: trial.system_attrs.get(RETRIES, [trial.number])[0] for trial in trials}
        by_first = Counter(first[trial.number] for trial in history)
        rows = Counter(
            (attributes(trial)["surrogate:round"], attributes(trial)["surrogate:exact"])
            for trial in history
            if "surrogate:exact" in attributes(trial)
        )
        orphans = [trial for trial in trials if is_lost(trial)]
        same = {(first[trial.number], recipe(trial), str(sorted(trial.params.items()))) for trial in history}
        untold = [t for t in orphans if (first[t.number], recipe(t), str(sorted(t.params.items()))) not in same]
        return Counter(
            told_lost=self.lost,
            told_twice=sum(n - 1 for n in by_first.values()) + sum(n - 1 for n in rows.values()),
            orphans=len(orphans),
            orphans_untold=len(untold),
            left_running=sum(not trial.state.is_finished() for trial in trials),
            wrong_total=int(len(history) != TOTAL),
        )


def recipe(trial: Any) -> str:
    """The coefficient row and condition of a trial; not the size of its batch, which may differ when it is repeated."""
    from surrogate_ax_optuna.attributes import attributes

    written = attributes(trial)["surrogate:recipe"]
    return json.dumps([written["terms"], written["condition"]])


def answers(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(there: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.005)


def each(kills: int) -> int:
    """How many of some kills are aimed at each of the moments."""
    return max(1, min(EACH, kills // 5))


def schedule(kills: int, rng: random.Random) -> list[Aim | None]:
    """Aimed kills, as many of each moment, and about a third at random times; None for those."""
    aims: list[Aim | None] = [
        Aim(
            moment,
            rng.randint(1, 1 if moment == "taken back" else 6),
            rng.choice([0, 0.01]) if moment == "generating" else 0,
        )
        for moment in MOMENTS
        for _ in range(each(kills))
    ]
    aims += [None] * (kills - len(aims))
    rng.shuffle(aims)
    return aims


def kill(context: Any, root: Path, kills: int, *, proxied: bool, rng: random.Random) -> Iterator[list[dict[str, Any]]]:
    """Rows of each study: its kills, then what was wrong with it in the end."""
    name = "proxy" if proxied else "sqlite"
    aims, studies = schedule(kills, rng), 0
    while aims:
        study, rows = Study(context, root / f"{name}{studies}", proxied=proxied), list[dict[str, Any]]()
        studies += 1
        code = 1
        while code != 0:
            running = sum(not trial.state.is_finished() for trial in study.look())
            usable = [aim for aim in aims if aim is None or aim.moment != "taken back" or running]
            aim = usable[0] if usable else Aim("generating", 1, 0.0)  # leaves trials to take back
            after = rng.randint(0, LATEST) if aim is None and aims else None
            code, moment = study.run(aim if aims else None, after=after)
            if code == -signal.SIGKILL:
                with contextlib.suppress(ValueError):
                    aims.remove(aim)
                rows.append({"storage": name, "study": studies, "how": "aimed" if aim else "random", "moment": moment})
            elif code != 0:
                raise RuntimeError(f"a process failed: {(study.folder / 'error').read_text()}")
        rows.append({"storage": name, "study": studies, "how": "audit", **study.audit()})
        study.close()
        yield rows


def interrupt(context: Any, root: Path, times: int, rng: random.Random) -> Counter[str]:
    """What is wrong after Ctrl-C, and in the end."""
    wrong: Counter[str] = Counter()
    for i in range(times):
        study = Study(context, root / f"interrupted{i}", proxied=False)
        code, moment = study.run(after=rng.randint(0, LATEST), send=signal.SIGINT)
        left = sum(not trial.state.is_finished() for trial in study.look())
        wrong["not_interrupted"] += code != 130
        print(f"# Ctrl-C at {moment!r}: exit code {code}, {left} trials left running", flush=True)
        wrong["left_running"] += left
        study.run()
        audit = study.audit()
        wrong["wrong_in_the_end"] += sum(audit[key] for key in WRONG)
    return wrong


def fail(context: Any, root: Path, fault: str) -> int:
    """Trials lost to a fault of the disk: those told before it, or not told in the end."""
    study = Study(context, root / fault.replace(" ", "-"), proxied=False)
    code, _ = study.run(fault=fault)
    said = (study.folder / "error").read_text() if code == 1 else f"exit code {code}"
    study.look()
    print(f"# {fault}: {said}", flush=True)
    (study.folder / "pictures").chmod(0o755)
    code, _ = study.run()
    audit = study.audit()
    return sum(audit[key] for key in WRONG) + (not said.startswith("StorageError")) + (code != 0)


def killed(context: Any, root: Path, kills: int, *, proxied: bool, rng: random.Random, table: Table) -> None:
    name = "proxy" if proxied else "sqlite"
    done = sum(row["storage"] == name and row["how"] != "audit" for row in table.rows)
    for rows in kill(context, root, kills - done, proxied=proxied, rng=rng) if done < kills else ():
        table.extend(rows)
        print(
            f"# {name}, study {rows[-1]['study']}: {[row['moment'] for row in rows[:-1]]}, then {rows[-1]}", flush=True
        )
    rows = [row for row in table.rows if row["storage"] == name]
    moments = Counter(row["moment"] for row in rows if row["how"] != "audit")
    fewest = min(moments[moment] for moment in MOMENTS)
    print(f"# {name}: killed at {dict(moments)}")
    report(f"{name}_kills", moments.total(), kills, at_least=True)
    report(f"{name}_kills_at_each", fewest, each(kills), at_least=True)
    for key in WRONG:
        report(f"{name}_{key}", sum(int(row[key]) for row in rows if row["how"] == "audit"), 0)


WRONG = ("told_lost", "told_twice", "orphans_untold", "left_running", "wrong_total")
COLUMNS = ("storage", "study", "how", "moment", "orphans", *WRONG)
RESULTS = Path(__file__).parent / "results" / "kill.csv"


class Table:
    """Rows of kills and audits, kept in a file where one is given; a study's rows are written when it has ended."""

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
                writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows)


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:g} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer kills, nothing kept")
    parser.add_argument("--kills", type=int, help="on each storage, and two interrupts for each five; nothing kept")
    parser.add_argument("--only", choices=("sqlite", "proxy", "interrupts", "faults"), help="one part")
    arguments = parser.parse_args()
    kills = arguments.kills or (12 if arguments.quick else 50)
    interrupts = max(1, kills * 2 // 5)
    table = Table(None if arguments.quick or arguments.kills else RESULTS)
    context = multiprocessing.get_context("forkserver")  # processes begin in a moment, with all of this imported
    context.set_forkserver_preload(PRELOADED)
    rng = random.Random(len(table.rows))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o711)
        for part in ("sqlite", "proxy"):
            if arguments.only in (None, part):
                killed(context, root, kills, proxied=part == "proxy", rng=rng, table=table)
        if arguments.only in (None, "interrupts"):
            wrong = interrupt(context, root, interrupts, rng)
            report("interrupts_without_effect", wrong["not_interrupted"], 0)
            report("interrupts_left_running", wrong["left_running"], 0)
            report("interrupts_wrong_in_the_end", wrong["wrong_in_the_end"], 0)
        if arguments.only in (None, "faults"):
            for fault in ("full disk", "read-only folder"):
                report(f"{fault.split()[0].replace('-', '_')}_lost", fail(context, root, fault), 0)


if __name__ == "__main__":
    main()
