"""Look for inputs that end in a traceback: altered sweep files, recipes, spaces, snapshots and attributes.

    python examples/benchmarks/fuzz.py --seconds 60                     # every target, by plain mutation
    python examples/benchmarks/fuzz.py --seconds 60 --target recipe
    python examples/benchmarks/fuzz.py --seconds 60 --coverage          # guided by coverage; needs atheris

A finding is written into `tests/corpus/TARGET/`, one for each kind of error and place, and `tests/test_corpus.py`
replays it from then on. The targets are in `tests/fuzz.py`. The exit code is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"


def search(target: str, seconds: float, rng: np.random.Generator, fuzz: Any) -> dict[str, int]:
    """Try a target for some seconds of processor time; findings are written into the corpus."""
    seed, counts, kinds = fuzz.SEEDS[target](), {"tried": 0, "accepted": 0, "found": 0}, set[str]()
    known = [file.read_bytes() for file in sorted((CORPUS / target).glob("*"))]
    end = time.process_time() + seconds
    while time.process_time() < end:
        data = fuzz.mutate(target, seed, rng)
        counts["tried"] += 1
        try:
            counts["accepted"] += fuzz.accepts(target, data)
        except Exception as error:  # noqa: BLE001  what is looked for
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} {frame.filename}:{frame.lineno}"
            if kind not in kinds:
                kinds.add(kind)
                counts["found"] += 1
                name = hashlib.sha256(data).hexdigest()[:12]
                print(f"{target}/{name}: {kind}: {' '.join(str(error).split())[:160]}", flush=True)
                if data not in known:
                    (CORPUS / target).mkdir(parents=True, exist_ok=True)
                    (CORPUS / target / name).write_bytes(data)
    return counts


def search_by_coverage(target: str, seconds: int) -> int:
    """Let atheris guide the search; it ends its process, so it runs in one of its own."""
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "integrations")!r}]
import logging, warnings, atheris
logging.disable(logging.CRITICAL); warnings.simplefilter("ignore")
with atheris.instrument_imports(include=["surrogate_ax", "surrogate_ax_cli", "surrogate_ax_optuna"]):
    from tests import fuzz
def one(data):
    fuzz.accepts({target!r}, data)
atheris.Setup(sys.argv, one); atheris.Fuzz()
"""
    folder = CORPUS.parent.parent / ".fuzz" / target
    folder.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(ROOT), str(ROOT / "integrations")]
    from tests import fuzz

    (folder / "seed").write_bytes(fuzz.SEEDS[target]())
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/found-", "-timeout=60", "-rss_limit_mb=4096"]
    return subprocess.run([sys.executable, "-c", code, *options, str(folder)], cwd=ROOT, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of processor time, for each target")
    parser.add_argument("--target", help="one target only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", action="store_true", help="guided by coverage, with atheris")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "integrations")]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from tests import fuzz

    targets, found = [arguments.target] if arguments.target else list(fuzz.TARGETS), 0
    for target in targets:
        if arguments.coverage:
            found += search_by_coverage(target, arguments.seconds)
            continue
        counts = search(target, arguments.seconds, np.random.default_rng(arguments.seed), fuzz)
        print(f"{target}: {counts}", flush=True)
        found += counts["found"]
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
