"""What a search costs beside the generation that it searches: time, memory, import.

The avatar model under a prompt, 12 steps, guidance 1.5, K = 8 seeds, CMA-ES in batches of 16, one thread. What is
compared runs interleaved in one process, a batch of this and a batch of that, so that a busy machine slows both alike;
a ratio is one of sums over a run, and the median of the runs counts. Every line `RESULT name value goal ok|short`:

    latents_large_ratio   u -> z of 64 points, K = 32, D = 262,144, over the bare matrix product of these shapes
    latents_small_ms      u -> z of 16 points, K = 8, D = 768, in milliseconds
    candidates_ratio      an executor given 16 candidates at D = 65,536, over one given their latents
    study_memory_ratio    a study in memory over generating the same outputs, batch for batch, with the pipeline's call
    study_sqlite_ratio    a study in SQLite with a PNG of every output over the same
    study_sqlite_ms       what a trial of it takes beyond generation, in milliseconds; goal for a machine at rest
    hand_memory_ratio     the loop that a user writes (study.optimize, a latent a trial) over ours, in memory
    hand_sqlite_ratio     the same, its study in Optuna's default SQLite, ours in `sqlite(...)`
    peak_memory_ratio     peak memory of a process that runs a study in memory over one that only generates
    peak_sqlite_ratio     the same for a study in SQLite with pictures; SQLAlchemy and alembic alone take 25 MB
    import_seconds        `import surrogate_ax` once torch is imported

Studies of 1,000 trials of a plain function in SQLite, in seconds of the processor: what a trial costs at the end (the
last tenth of them) over what it costs at the start (the second tenth; the first makes seeds and warms up):

    long_loop_ratio       a box and a random sampler, so nearly all is storage, host and loop
    long_cma_ratio        a box and CMA-ES, with what Optuna's sampler takes
    long_tpe_ratio        a box and TPE, with what Optuna's sampler takes
    long_plan_ratio       the default plan, without what its policy takes to choose rounds
    long_search_ratio     the default plan, all of it
    long_6000_ratio       a box and a random sampler: a trial at 6,000 over a trial at 1,000
    resume_seconds        from opening the plan's study again, in a new process, to the first new batch; without imports

    python examples/benchmarks/overhead.py            # 256 trials, three runs of each: 10 to 20 minutes
    python examples/benchmarks/overhead.py --quick    # 64 trials, one or two runs: under 5 minutes
    python examples/benchmarks/overhead.py --only study_sqlite
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np
import torch

PROMPT = "red hat, dark glasses, blue background"
CALL: dict[str, Any] = {"num_inference_steps": 12, "guidance_scale": 1.5, "output_type": "np"}
K, BATCH = 8, 16


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:.3f} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def redness(outputs: Any, conditions: Sequence[Any] = ()) -> np.ndarray:
    images = np.asarray(outputs)
    return images[..., 0].mean(axis=(1, 2)) - images[..., 1:].mean(axis=(1, 2, 3))


# u -> z


def latents(quick: bool) -> None:
    repeats = 15 if quick else 60
    pairs = latents_beside_product(32, 262_144, 64, repeats)
    report("latents_large_ratio", statistics.median(ours / bare for ours, bare in pairs), 1.2)
    pairs = latents_beside_product(8, 768, 16, 20 * repeats)
    report("latents_small_ms", statistics.median(ours for ours, _ in pairs) * 1e3, 1.0)


def candidates(quick: bool) -> None:
    from surrogate_ax import Evaluator, FunctionGenerator, Metric, Objective, SurrogateSpace
    from surrogate_ax.execution.executor import Candidate, Synchronous
    from surrogate_ax.latents.seeds import Draw

    generator = FunctionGenerator(lambda z: z, (65_536,))
    evaluator = Evaluator(generator, Objective(Metric("first"), score=lambda outputs, _: outputs[:, 0]))
    bank = SurrogateSpace.sample(generator.prior, seeds=K, rng=0).bank

    def rows(entropy: int) -> list[Any]:  # with fresh draws of their own, as children have
        return [(*((seed, 0.3) for seed in bank.seeds), (Draw(entropy, i), 0.5)) for i in range(BATCH)]

    def submit(terms: Any) -> None:
        Synchronous(evaluator).submit([Candidate(i, row, {}, 0) for i, row in enumerate(terms)], bank)

    def evaluate(terms: Any) -> None:
        grown = bank.extend([seed for row in terms for seed, _ in row])
        evaluator(grown.latents(grown.rows(terms)), [{}] * BATCH)

    pairs = []
    for repeat in range(8 if quick else 40):
        runs = [(submit, rows(2 * repeat)), (evaluate, rows(2 * repeat + 1))]
        spent = {run: seconds(lambda run=run, terms=terms: run(terms)) for run, terms in runs[:: (-1) ** repeat]}
        pairs.append((spent[submit], spent[evaluate]))
    report("candidates_ratio", statistics.median(ours / theirs for ours, theirs in pairs), 1.05)


def latents_beside_product(k: int, d: int, n: int, repeats: int) -> list[tuple[float, float]]:
    from surrogate_ax import Gaussian, SurrogateSpace

    space = SurrogateSpace.sample(Gaussian((d,)), seeds=k, rng=0)
    u = np.random.default_rng(0).uniform(size=(n, k - 1))
    weights, seeds = torch.from_numpy(space.chart.weights(u)).float(), space.bank.inner(np.eye(k))
    space.latents(u)  # makes the seeds, once in a search
    pairs = [(seconds(lambda: space.latents(u)), seconds(lambda: weights @ seeds)) for _ in range(repeats)]
    ours, bare = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    print(f"# u -> z, K = {k}, D = {d}, n = {n}: {ours:.2f} ms, matrix product {bare:.3f} ms")
    return pairs


# studies


class Beside:
    """Something that runs after every batch of a study, inside its score, and whose time is not the study's.

    Args:
        run: given the number of batches so far.
    """

    def __init__(self, run: Callable[[int], object]) -> None:
        self._run = run
        self._batches = 0
        self.seconds = 0.0

    def score(self, outputs: Any, conditions: Sequence[Any]) -> np.ndarray:
        values = redness(outputs)
        self.seconds += seconds(lambda: self._run(self._batches))
        self._batches += 1
        return values


def search(pipe: Any, storage: Any, trials: int, previews: Any, beside: Beside) -> float:
    """Seconds that a study takes, from `optimize` to its end, without what runs beside it."""
    import optuna

    from surrogate_ax import Metric, Objective, SurrogateSpace
    from surrogate_ax_diffusers import pipeline_generator
    from surrogate_ax_optuna import optimize

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.CmaEsSampler(seed=0), storage=storage)
    generator = pipeline_generator(pipe, prompt=PROMPT, **CALL)
    space = SurrogateSpace.sample(generator.prior, seeds=K, rng=0)
    objective = Objective(Metric("redness", "maximize"), score=beside.score)
    options: dict[str, Any] = {"space": space, "previews": previews, "progress": False}
    spent = seconds(
        lambda: optimize(study, generator, objective, total_trials=trials, batch_size=BATCH, rng=0, **options)
    )
    return spent - beside.seconds


def plain(pipe: Any) -> Callable[[int], object]:
    """The pipeline's own call for a batch of latents."""
    draws = torch.Generator().manual_seed(0)
    return lambda _: pipe([PROMPT] * BATCH, latents=torch.randn(BATCH, 3, 16, 16, generator=draws), **CALL).images


def by_hand(pipe: Any, storage: str | None) -> Callable[[int], object]:
    """A batch's worth of trials of the loop that an Optuna user writes: one latent a trial."""
    import optuna

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.CmaEsSampler(seed=0), storage=storage)
    seeds = torch.randn(K, 3 * 16 * 16, generator=torch.Generator().manual_seed(0))

    def objective(trial: optuna.Trial) -> float:
        weights = torch.tensor([1e-3 + trial.suggest_float(f"w{k}", 0, 1) for k in range(K)])
        latent = (weights / weights.norm() @ seeds).reshape(1, 3, 16, 16)
        return float(redness(pipe(PROMPT, latents=latent, **CALL).images)[0])

    return lambda _: study.optimize(objective, n_trials=BATCH)


def run_study(pipe: Any, folder: Path, trials: int, beside: Beside, *, database: bool, pictures: bool) -> float:
    from optuna.artifacts import FileSystemArtifactStore

    from surrogate_ax_optuna import sqlite

    (folder / "artifacts").mkdir()
    storage = sqlite(folder / "study.db") if database else None
    previews = FileSystemArtifactStore(str(folder / "artifacts")) if pictures else None
    spent = search(pipe, storage, trials, previews, beside)
    if storage is not None:
        storage.engine.dispose()
    return spent


def compare(
    name: str, runs: int, trials: int, make: Callable[[Any, Path], Callable[[int], object]], **kind: bool
) -> Any:
    """Pairs (study, what runs beside it) of seconds a trial."""
    from surrogate_ax_diffusers import load_avatars

    pipe, pairs = load_avatars(), []
    plain(pipe)(0)  # the first call of a process is slower than the others
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            beside = Beside(make(pipe, Path(folder)))
            spent = run_study(pipe, Path(folder), trials, beside, **kind)
        pairs.append((spent / trials, beside.seconds / trials))
        print(f"# {name}: a trial takes {pairs[-1][0] * 1e3:.1f} ms, beside it {pairs[-1][1] * 1e3:.1f} ms", flush=True)
    return pairs


def study_memory(quick: bool) -> None:
    runs, trials = (2, 64) if quick else (3, 256)
    pairs = compare("study in memory", runs, trials, lambda pipe, _: plain(pipe), database=False, pictures=False)
    report("study_memory_ratio", statistics.median(ours / bare for ours, bare in pairs), 1.15)


def study_sqlite(quick: bool) -> None:
    runs, trials = (2, 64) if quick else (3, 256)
    pairs = compare("study in SQLite", runs, trials, lambda pipe, _: plain(pipe), database=True, pictures=True)
    report("study_sqlite_ratio", statistics.median(ours / bare for ours, bare in pairs), 1.6)
    report("study_sqlite_ms", statistics.median(ours - bare for ours, bare in pairs) * 1e3, 35)


def hand(quick: bool) -> None:
    runs, trials = (1, 64) if quick else (3, 128)
    pairs = compare(
        "by hand, memory", runs, trials, lambda pipe, _: by_hand(pipe, None), database=False, pictures=False
    )
    report("hand_memory_ratio", statistics.median(theirs / ours for ours, theirs in pairs), 1.7, at_least=True)

    def default_sqlite(pipe: Any, folder: Path) -> Callable[[int], object]:
        return by_hand(pipe, f"sqlite:///{folder}/hand.db")

    pairs = compare("by hand, SQLite", runs, trials, default_sqlite, database=True, pictures=False)
    report("hand_sqlite_ratio", statistics.median(theirs / ours for ours, theirs in pairs), 3.0, at_least=True)


# processes of their own


def child(*arguments: str) -> float:
    """The number that a process of its own prints last."""
    return printed(*arguments)[-1]


def printed(*arguments: str) -> list[float]:
    """The numbers that a process of its own prints."""
    command = [sys.executable, *arguments]
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    environment = {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [float(number) for number in output.split()]


def peak_of(kind: str) -> None:
    """Run in a process of its own: print the most memory it held, in MB."""
    if kind == "plain":
        import diffusers

        diffusers.utils.logging.disable_progress_bar()
        folder = str(files("surrogate_ax_diffusers") / "avatars")
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, low_cpu_mem_usage=False)
        pipe.set_progress_bar_config(disable=True)
        generate = plain(pipe)
        for i in range(4):
            generate(i)
    else:
        import optuna

        from surrogate_ax_diffusers import load_avatars

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        database = kind == "sqlite"
        with tempfile.TemporaryDirectory() as folder:
            nothing = Beside(lambda _: None)
            run_study(load_avatars(), Path(folder), 4 * BATCH, nothing, database=database, pictures=database)
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def peak_memory(quick: bool) -> None:
    kinds = ("plain", "memory", "sqlite")
    runs = [[child(__file__, "--peak-of", kind) for kind in kinds] for _ in range(1 if quick else 5)]
    bare, memory, database = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"# peak memory: generation {bare:.0f} MB, study {memory:.0f} MB, in SQLite with pictures {database:.0f} MB")
    report("peak_memory_ratio", memory / bare, 1.10)
    report("peak_sqlite_ratio", database / bare, 1.10)


# long studies

LENGTH, BOX, ENTRIES = 1000, 8, 64
FAR = 6000


def long_search(
    kind: str, path: str, trials: int, called: Callable[[Any], None], chose: Callable[[float], Any]
) -> None:
    """Search a plain function; `called` with each batch's latents, `chose` with the seconds that a policy took."""
    import optuna

    from surrogate_ax import FunctionGenerator, Metric, Objective, SurrogateSpace, fixed, plan
    from surrogate_ax_optuna import optimize, sqlite

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"cma": optuna.samplers.CmaEsSampler, "tpe": optuna.samplers.TPESampler}
    study = optuna.create_study(
        study_name=kind,
        storage=sqlite(path),
        direction="maximize",
        sampler=samplers.get(kind, optuna.samplers.RandomSampler)(seed=0),
        load_if_exists=True,
    )

    def generate(z: Any) -> Any:
        called(z)
        return z

    generator = FunctionGenerator(generate, (ENTRIES,), revision="1")
    planned = plan(LENGTH, dim=ENTRIES).policy(generator.prior)
    where = planned if kind == "plan" else fixed(SurrogateSpace.sample(generator.prior, seeds=BOX, rng=0))

    def policy(history: Any, left: int, rng: int) -> Any:
        begun = time.process_time()
        round = where(history, left, rng)
        chose(time.process_time() - begun)
        return round

    objective = Objective(Metric("sum", "maximize"), score=lambda outputs, _: outputs[:, :8].sum(dim=1))
    options: dict[str, Any] = {"policy": policy, "batch_size": BATCH, "rng": 0, "progress": False}
    optimize(study, generator, objective, total_trials=trials, **options)


def long_of(kind: str, path: str, length: int = LENGTH) -> None:
    """Run in a process of its own: print milliseconds a trial at the start and at the end, whole and without policy.

    The start is the second tenth of the trials, or those around 1,000 of a longer study.
    """
    trials: list[int] = [0]
    clocks, choosing, chosen = [time.process_time()], [0.0], 0.0

    def called(z: Any) -> None:
        clocks.append(time.process_time())
        trials.append(trials[-1] + len(z))
        choosing.append(chosen)

    def chose(spent: float) -> None:
        nonlocal chosen
        chosen += spent

    long_search(kind, path, length, called, chose)
    n = np.diff(trials)[1:]  # from the making of one batch to that of the next: told, chosen and asked
    spent, policy, at = np.diff(clocks)[1:], np.diff(choosing)[1:], np.array(trials[1:-1])
    first, last = ((0.1, 0.2), 0.9) if length == LENGTH else ((750 / length, 1250 / length), 1 - 500 / length)
    parts = [(at >= first[0] * length) & (at < first[1] * length), at >= last * length]
    for cost in (spent, spent - policy):
        print(*(f"{cost[part].sum() / n[part].sum() * 1e3:.3f}" for part in parts))


class Begun(BaseException):
    """The first new batch has come to the generator."""


def resume_of(path: str) -> None:
    """Run in a process of its own: print the seconds until a study's first new batch."""
    import surrogate_ax_optuna  # noqa: F401
    from surrogate_ax import spherical_bo  # noqa: F401

    def called(z: Any) -> None:
        raise Begun

    begun, clock = time.process_time(), time.perf_counter()
    try:
        long_search("plan", path, LENGTH + BATCH, called, lambda spent: None)
    except Begun:
        print(time.perf_counter() - clock, time.process_time() - begun)


def long(quick: bool) -> None:
    kinds = (
        {"random": "loop", "plan": "plan"} if quick else {"random": "loop", "cma": "cma", "tpe": "tpe", "plan": "plan"}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/study.db"
        for kind, name in kinds.items():
            start, end, own_start, own_end = printed(__file__, "--long-of", kind, path)
            print(
                f"# {kind}: a trial takes {start:.1f} ms at the start, {end:.1f} ms at the end; without the policy ",
                end="",
            )
            print(f"{own_start:.1f} and {own_end:.1f}", flush=True)
            report(f"long_{name}_ratio", own_end / own_start, 1.5)
            if kind == "plan":
                report("long_search_ratio", end / start, 1.5)
        start, end, *_ = printed(__file__, "--long-of", "random", f"{folder}/far.db", "--length", str(FAR))
        print(f"# random, {FAR:,} trials: a trial takes {start:.1f} ms at 1,000 and {end:.1f} ms at {FAR:,}")
        report("long_6000_ratio", end / start, 1.5)
        waited, worked = printed(__file__, "--resume-of", path)
        print(f"# resumed after {waited:.2f} s on the clock, at a load of {os.getloadavg()[0]:.1f}")
        report("resume_seconds", worked, 3.0)


IMPORT = "import time, torch; start = time.perf_counter(); import surrogate_ax; print(time.perf_counter() - start)"


def import_time(quick: bool) -> None:
    child("-c", IMPORT)  # compiles the modules, and brings them into the file cache
    report("import_seconds", statistics.median(child("-c", IMPORT) for _ in range(3 if quick else 9)), 0.3)


PARTS = {
    part.__name__: part
    for part in (latents, candidates, study_memory, study_sqlite, hand, peak_memory, import_time, long)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer trials and runs")
    parser.add_argument("--only", choices=sorted(PARTS), help="one part")
    parser.add_argument("--peak-of", choices=("plain", "memory", "sqlite"), help=argparse.SUPPRESS)
    parser.add_argument("--long-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, default=LENGTH, help=argparse.SUPPRESS)
    parser.add_argument("--resume-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak_of:
        peak_of(arguments.peak_of)
        return
    if arguments.long_of:
        long_of(*arguments.long_of, arguments.length)
        return
    if arguments.resume_of:
        resume_of(arguments.resume_of)
        return
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"# {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, one thread")
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part(arguments.quick)
    print(f"# load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
