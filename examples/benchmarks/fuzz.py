"""Look for inputs that end in a traceback: altered sweep files, recipes, spaces, snapshots, attributes and records.

    python examples/benchmarks/fuzz.py --seconds 60                     # every target, by plain mutation
    python examples/benchmarks/fuzz.py --seconds 60 --target recipe
    python examples/benchmarks/fuzz.py --seconds 60 --coverage          # guided by coverage; needs atheris
    python examples/benchmarks/fuzz.py --keep                           # what coverage grew becomes the corpus

A finding is written into `tests/corpus/TARGET/`, one for each kind of error and place. What the search by coverage
takes for new is gathered in `.fuzz/TARGET`; `--keep` writes those that reach further lines into
`tests/corpus/TARGET.json`. `tests/test_corpus.py` replays both. The targets are in `tests/fuzz.py`. Every run adds a
row to `results/fuzz.csv` for each target. The exit code is 1 where anything was found.

    fuzz_seconds     so far, of all rows; processor time, which is less on a busy machine, stands beside it
    fuzz_inputs      inputs so far
    fuzz_tracebacks  kinds of errors that were not this package's, in this run
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "integrations")]
CORPUS = ROOT / "tests" / "corpus"
GROWN = ROOT / ".fuzz"
RESULTS = Path(__file__).parent / "results" / "fuzz.csv"
COLUMNS = ("target", "by", "seconds", "processor", "tried", "accepted", "found")
LONGEST = 8192  # bytes of an input that coverage may grow
SLOW = ("snapshot",)  # which mutation alone tries: 60 kB of Ax's own, a few a second


class Search:
    """Tries inputs of one target, and counts.

    Args:
        target: its name.
        fuzz: the module of targets.
    """

    def __init__(self, target: str, fuzz: Any) -> None:
        self._target, self._fuzz = target, fuzz
        self.counts = {"tried": 0, "accepted": 0, "found": 0}
        self._kinds = set[str]()
        self._clock, self._processor = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._clock

    def __call__(self, data: bytes) -> None:
        """Try an input; what is raised is kept, once for each kind and place."""
        self.counts["tried"] += 1
        try:
            self.counts["accepted"] += self._fuzz.accepts(self._target, data)
        except Exception as error:  # noqa: BLE001  what is looked for
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} {frame.filename}:{frame.lineno}"
            if kind in self._kinds:
                return
            self._kinds.add(kind)
            self.counts["found"] += 1
            name = hashlib.sha256(data).hexdigest()[:12]
            print(f"{self._target}/{name}: {kind}: {' '.join(str(error).split())[:160]}", flush=True)
            (CORPUS / self._target).mkdir(parents=True, exist_ok=True)
            (CORPUS / self._target / name).write_bytes(data)

    def keep(self, by: str) -> None:
        """Add a row to the table."""
        new = not RESULTS.exists()
        with RESULTS.open("a") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            clocks = {"seconds": round(self.seconds), "processor": round(time.process_time() - self._processor)}
            writer.writerow({"target": self._target, "by": by, **clocks, **self.counts})
        print(f"{self._target}: {self.counts}", flush=True)


def by_mutation(search: Search, target: str, seconds: float, rng: np.random.Generator, fuzz: Any) -> None:
    """Try what is like the seed and like the corpus for some seconds."""
    known = [fuzz.SEEDS[target](), *fuzz.found(target), *fuzz.grown(target)]
    while search.seconds < seconds:
        # Half of them from the seed, which is accepted, so that most of a target is reached.
        search(fuzz.mutate(target, known[0 if rng.random() < 0.5 else rng.integers(len(known))], rng))


def by_coverage(target: str, seconds: int) -> None:
    """Let atheris choose what to alter; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=[f"surrogate_ax{part}" for part in ("", "_cli", "_optuna", "_platform")]):
        import surrogate_ax_platform.search  # noqa: F401  which a target imports when it is called
        from tests import fuzz

    search, folder = Search(target, fuzz), GROWN / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in (fuzz.SEEDS[target](), *fuzz.found(target), *fuzz.grown(target)):
        (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)

    def altered(data: bytes, most: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        made = fuzz.mutate(target, data, rng) if rng.random() < 0.8 else atheris.Mutate(data, most)
        return made if len(made) <= most else data

    def one(data: bytes) -> None:
        search(data)
        if search.seconds >= seconds and search.counts["tried"]:
            search.keep("coverage")
            os._exit(search.counts["found"] > 0)  # anything else is a crash to atheris

    options = [f"-max_len={LONGEST}", "-timeout=120", "-rss_limit_mb=4096", f"-artifact_prefix={folder}-"]
    atheris.Setup([sys.argv[0], *options, str(folder)], one, custom_mutator=altered)
    atheris.Fuzz()


def keep_grown(target: str, fuzz: Any) -> None:
    """Write those inputs of `.fuzz` that reach a line which no shorter one and none of the corpus reaches."""
    kept, reached = list[str](), set[tuple[str, int]]()
    for data in (fuzz.SEEDS[target](), *fuzz.found(target)):
        reached |= lines(target, data, fuzz)
    grown = [*map(Path.read_bytes, (GROWN / target).glob("*")), *fuzz.grown(target)]
    for data in sorted(set(grown), key=lambda data: (len(data), data)):
        new = lines(target, data, fuzz) - reached
        if new:
            kept.append(data.decode("latin-1"))
            reached |= new
    fuzz.grown_file(target).write_text(json.dumps(kept, indent=0) + "\n")
    print(f"{target}: {len(kept)} of {len(grown)} inputs reach new lines, {sum(map(len, kept)):,} bytes", flush=True)


def lines(target: str, data: bytes, fuzz: Any) -> set[tuple[str, int]]:
    """Lines of this project that an input reaches."""
    reached = set[tuple[str, int]]()

    def within(frame: Any, event: str, _: Any) -> Any:
        if event == "call" and "surrogate_ax" not in frame.f_code.co_filename.removeprefix(str(ROOT)):
            return None
        reached.add((frame.f_code.co_filename, frame.f_lineno))
        return within

    sys.settrace(within)
    try:
        fuzz.accepts(target, data)
    finally:
        sys.settrace(None)
    return reached


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:g} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", help="one target only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", action="store_true", help="guided by coverage, with atheris")
    parser.add_argument("--keep", action="store_true", help="put what coverage grew into the corpus")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if arguments.coverage and arguments.target:
        by_coverage(arguments.target, arguments.seconds)
    from tests import fuzz

    found = 0
    for target in [arguments.target] if arguments.target else list(fuzz.TARGETS):
        if arguments.coverage:
            if target not in SLOW:  # a process each, which atheris ends
                command = [sys.executable, __file__, "--coverage", "--target", target]
                ended = subprocess.run([*command, "--seconds", str(arguments.seconds)], cwd=ROOT, check=False)
                found += ended.returncode != 0
        elif arguments.keep:
            keep_grown(target, fuzz)
        else:
            search = Search(target, fuzz)
            by_mutation(search, target, arguments.seconds, np.random.default_rng(arguments.seed), fuzz)
            search.keep("mutation")
            found += search.counts["found"]
    with RESULTS.open() as file:
        rows = list(csv.DictReader(file))
    report("fuzz_seconds", sum(int(row["seconds"]) for row in rows), 1800, at_least=True)
    report("fuzz_inputs", sum(int(row["tried"]) for row in rows), 100_000, at_least=True)
    report("fuzz_tracebacks", found, 0)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
