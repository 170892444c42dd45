"""Build wheel and sdist, look into them, and try each extra alone in an empty environment.

Run `python .ci/distribution.py` before a release. It takes about twenty minutes and needs a package index.
`--only optuna,web` tries some extras, `--only none` the files alone. Prints `RESULT name value goal ok|short`; the exit
code is 1 if one is short.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 32 * 2**20  # bytes of an archive: the two embedded models are 14 MB of it
UNWANTED = ("node_modules", ".venv", ".axe", ".notebooks", "site/", ".git/", "__pycache__", "demo-out")
SEARCH = """
from surrogate_ax import FunctionGenerator, Metric, Objective
generator = FunctionGenerator(lambda z: z.mean(dim=(1, 2)), (4, 4))
objective = Objective(Metric("mean", "maximize"), score=lambda outputs, conditions: outputs)
"""
CORE = """
import surrogate_ax
space = surrogate_ax.SurrogateSpace.sample(surrogate_ax.Gaussian((4, 4)), seeds=3, rng=0)
assert space.latents([[0.5, 0.5]])["latents"].shape == (1, 4, 4)
"""
OPTUNA = f"""{SEARCH}
from surrogate_ax_optuna import create_study, optimize
study = create_study(objective)
optimize(study, generator, objective, total_trials=24, rng=0)
assert len(study.trials) == 24
"""
BOTORCH = f"""{SEARCH}
from optuna.integration import BoTorchSampler
from surrogate_ax_botorch import CoefficientCandidates
from surrogate_ax_optuna import create_study, optimize
sampler = BoTorchSampler(candidates_func=CoefficientCandidates(), n_startup_trials=2)
study = create_study(objective, sampler=sampler)
optimize(study, generator, objective, total_trials=8, batch_size=4, rng=0)
assert len(study.trials) == 8
"""
AX = f"""{SEARCH}
from ax.api.client import Client
from surrogate_ax_platform import configure_experiment, optimize
client = Client(random_seed=0)
configure_experiment(client, generator, objective)
optimize(client, generator, objective, total_trials=24, rng=0)
assert len(client._experiment.trials) == 24
"""
DASHBOARD = """
import optuna_dashboard, surrogate_ax_optuna
"""
DIFFUSERS = """
import torch
from surrogate_ax_diffusers import portrait_generator
z = {"latents": torch.randn(1, 4, 16, 16)}
assert portrait_generator("smiling", steps=2).generate(z, [{}]).outputs.shape == (1, 64, 64, 3)
"""
VIDEO = """
import numpy as np, pathlib
from surrogate_ax.media.clips import write_mp4
write_mp4(np.zeros((4, 16, 16, 3), dtype=np.uint8), pathlib.Path("a.mp4"), rate=4)
assert pathlib.Path("a.mp4").stat().st_size
"""
PROTEINS = """
import numpy as np
from surrogate_ax.media import Structure
from surrogate_ax.media.structure_files import to_pdb
assert "CA" in to_pdb(Structure(np.arange(6.0).reshape(2, 1, 3), np.ones((2, 1), dtype=bool)))
"""
RAY = """
import pathlib
pathlib.Path("models.py").write_text(
    "from surrogate_ax import FunctionGenerator\\n"
    "def make():\\n    return FunctionGenerator(lambda z: z.mean(dim=(1, 2)), (4, 4))\\n"
)
import torch
from surrogate_ax_ray import RayGenerator
with RayGenerator("models:make", folder=".") as generator:
    assert len(generator.generate({"latents": torch.randn(3, 4, 4)}, [{}] * 3).outputs) == 3
"""
CLI = """
import pathlib, subprocess, sys
program = pathlib.Path(sys.executable).with_name("surrogate-ax")
assert "sweep" in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
"""
WEB = """
from surrogate_ax_web import application
application([])
"""
POSTGRES = """
import psycopg
from surrogate_ax_optuna.patient import server_storage
from surrogate_ax_optuna.postgres_storage import PostgresStorage
try:
    server_storage("postgresql+psycopg://nobody:secret@127.0.0.1:1/none")  # it waits a while for one that comes up
except Exception as error:
    said = f"{error} {error.__cause__}"
    assert "refused" in said and "secret" not in said, said
else:
    raise SystemExit("a server answered")
"""
GRPC = """
import socket
import optuna
from optuna.storages import get_storage
from optuna.storages._grpc.server import make_server
from surrogate_ax_optuna import sqlite
from surrogate_ax_optuna.patient import proxy_storage
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = make_server(get_storage(sqlite("behind.db")), "127.0.0.1", port)
server.start()
study = optuna.create_study(storage=proxy_storage("127.0.0.1", port), study_name="proxied")
study.tell(study.ask({"u0": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
server.stop(grace=1.0).wait()
(trial,) = optuna.load_study(study_name="proxied", storage=sqlite("behind.db")).trials
assert trial.value == 0.5 and 0 <= trial.params["u0"] <= 1
"""
PARQUET = """
import pathlib, subprocess, sys
import pyarrow.parquet
from optuna.artifacts import FileSystemArtifactStore
from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax_optuna import create_study, optimize, sqlite
pathlib.Path("s-previews").mkdir()
generator = FunctionGenerator(lambda z: z.sigmoid(), (4, 4))
objective = Objective(Metric("mean"), score=lambda outputs, conditions: outputs.mean(dim=(1, 2)))
study = create_study(objective, storage=sqlite("s.db"))
optimize(study, generator, objective, total_trials=8, rng=0, previews=FileSystemArtifactStore("s-previews"))
program = pathlib.Path(sys.executable).with_name("surrogate-ax")
subprocess.run([program, "export", "s.db", "--where", "mean > 0", "--to", "parquet", "--out", "data"], check=True)
table = pyarrow.parquet.read_table("data/data-00000.parquet")
assert table.num_rows == 8 and table["image"][0]["bytes"].as_py().startswith(b"\\x89PNG")
"""
UNREACHABLE = """
import pathlib, subprocess, sys
program = pathlib.Path(sys.executable).with_name("surrogate-ax")
url = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
said = subprocess.run([program, "status", url], capture_output=True, text=True)
assert said.returncode == 2 and "error: STUDY: " in said.stderr and "cannot be read" in said.stderr, said
assert "secret" not in said.stderr, said.stderr
"""
TRIES = {  # what each extra is for, as a program that works with it alone
    "": CORE,
    "optuna": OPTUNA,
    "botorch": BOTORCH,
    "ax": AX,
    "dashboard": DASHBOARD,
    "diffusers": DIFFUSERS,
    "video": VIDEO,
    "proteins": PROTEINS,
    "ray": RAY,
    "cli": CLI,
    "web": WEB,
    "postgres": POSTGRES,
    "grpc": GRPC,
    "parquet": PARQUET,
    "all": OPTUNA + AX + DIFFUSERS + WEB + CLI + GRPC + PARQUET + UNREACHABLE,
}
MISSING = {  # an import that fails with the name of its extra where only the core is installed
    "surrogate_ax_optuna": "optuna",
    "surrogate_ax_platform": "ax",
    "surrogate_ax_diffusers": "diffusers",
    "surrogate_ax_botorch": "botorch",
    "surrogate_ax_ray": "ray",
    "surrogate_ax_web": "web",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="extras to try, separated by commas; 'core' for no extra, 'none' for no trial")
    arguments = parser.parse_args()
    wanted = None if arguments.only is None else arguments.only.replace("core", "").split(",")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    results = [result("extras_tried", len(declared.keys() - {"dev", "docs"}), len(TRIES) - 1)]
    with tempfile.TemporaryDirectory() as folder:
        wheel = built(Path(folder), results)
        for extra in [extra for extra in TRIES if wanted is None or extra in wanted]:
            results += tried(Path(folder, "venv"), wheel, extra)
    sys.exit(0 if all(results) else 1)


def result(name: str, value: float, goal: float, *, at_most: bool = False) -> bool:
    good = value <= goal if at_most else value == goal
    print(f"RESULT {name} {value} {'<=' if at_most else ''}{goal} {'ok' if good else 'short'}", flush=True)
    return good


def built(folder: Path, results: list[bool]) -> Path:
    """The wheel, after a look into both archives."""
    tools = environment(folder / "tools", ["hatchling", "twine"])
    run(tools / "python", "-m", "hatchling", "build", "-d", folder / "dist")
    archives = sorted((folder / "dist").iterdir())
    results.append(result("archives", len(archives), 2))
    results.append(result("twine_check", run(tools / "twine", "check", "--strict", *archives, check=False), 0))
    wheel, sdist = (next(path for path in archives if path.suffix == suffix) for suffix in (".whl", ".gz"))
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    sizes = {f"bytes_of_{path.suffix[1:]}": path.stat().st_size for path in archives}
    results += [result(name, size, LARGEST, at_most=True) for name, size in sizes.items()]
    everything = [*names, *zipfile.ZipFile(wheel).namelist()]
    results.append(result("unwanted_files", sum(map(is_unwanted, everything)), 0))
    needed = ["README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "constraints.txt", "Makefile"]
    needed += ["mkdocs.yml", "docs/index.md", "tests/test_wheel.py", "examples/own_pipeline.py"]
    results.append(result("files_missing_in_sdist", len(set(needed) - set(names)), 0))
    again = folder / "again"  # a wheel of the sdist is the wheel of the checkout
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    run(tools / "python", "-m", "hatchling", "build", "-t", "wheel", "-d", again, cwd=source)
    (other,) = again.iterdir()
    differ = set(zipfile.ZipFile(wheel).namelist()) ^ set(zipfile.ZipFile(other).namelist())
    results.append(result("files_that_differ_from_the_wheel_of_the_sdist", len(differ), 0))
    return wheel


def is_unwanted(name: str) -> bool:
    """Whether a file of an archive is what a run left behind."""
    return any(part in name for part in UNWANTED) or (name.endswith(".db") and "tests/recorded" not in name)


def tried(folder: Path, wheel: Path, extra: str) -> list[bool]:
    """Install one extra into an empty environment and use it."""
    began = time.monotonic()
    binaries = environment(folder, ["torch"])
    run(*pip(binaries), f"{wheel}[{extra}]" if extra else wheel)
    name = extra or "core"
    results = [result(f"{name}_pip_check", run(binaries / "python", "-m", "pip", "check", check=False), 0)]
    works = run(binaries / "python", "-W", "ignore", "-c", TRIES[extra], check=False, cwd=folder)
    results.append(result(f"{name}_works", works, 0))
    if not extra:
        for module, brings in MISSING.items():
            code = (
                f"try:\n    import {module}\nexcept ImportError as error:\n"
                f"    assert 'surrogate-ax[{brings}]' in str(error), error\nelse:\n    raise SystemExit(1)"
            )
            named = run(binaries / "python", "-c", code, check=False, cwd=folder)
            results.append(result(f"{module}_names_its_extra", named, 0))
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return results


def environment(folder: Path, packages: list[str]) -> Path:
    """The programs of a new environment with some packages in their tested versions."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    run(*pip(folder / "bin"), *packages)
    return folder / "bin"


def pip(binaries: Path) -> list[object]:
    quiet = ("-qq", "--disable-pip-version-check", "--no-input", "--no-compile")
    return [binaries / "python", "-m", "pip", "install", *quiet, "-c", ROOT / "constraints.txt"]


def run(*command: object, check: bool = True, cwd: Path = ROOT) -> int:
    """The exit code of a command; where it must be 0, its output is shown otherwise."""
    answer = subprocess.run([str(part) for part in command], check=False, cwd=cwd, capture_output=True, text=True)
    if answer.returncode:
        print(answer.stdout[-2000:], answer.stderr[-2000:], sep="\n")
        if check:
            raise SystemExit(f"failed: {' '.join(map(str, command))[:200]}")
    return answer.returncode


if __name__ == "__main__":
    main()
