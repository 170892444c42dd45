"""Every example runs, with small budgets."""

from __future__ import annotations

import json
import re
import runpy
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import optuna
import pytest
from PIL import Image

from tests.integrations.diffusers import tiny, tiny_families

Run = Callable[..., str]
EXAMPLES = Path(__file__).parents[1] / "examples"
AX = pytest.mark.filterwarnings("ignore::ax.exceptions.core.AxParameterWarning", "ignore::FutureWarning")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example as a command and gives its output."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_none_is_left_out() -> None:
    tested = {"function_generator.py", "own_pipeline.py", "multi_objective.py", "gpu_check.py"}
    tested |= {"flux.py", "video.py", "audio.py", "proteins.py"}
    tested |= {"conditions.py", "several_prompts.py", "slow_score.py", "edit_avatar.py"}
    tested |= {"ax_avatars.py", "ax_multi_objective.py", "ax_run_trials.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_function_generator(run: Run, tmp_path: Path) -> None:
    output = run("function_generator.py", "--trials", 40, "--out", tmp_path)
    assert output.count("likeness") >= 1
    with Image.open(tmp_path / "0.png") as picture:
        assert picture.size == (192, 192)  # 96, enlarged to at least 128


@tiny.NUMPY_2
def test_own_pipeline_with_a_folder_and_again(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "pipeline", tmp_path / "out"
    tiny.stable_diffusion().save_pretrained(folder, safe_serialization=True)
    arguments = (folder, "--prompt", "a red car", "--steps", 2, "--batch", 4, "--out", out)
    run("own_pipeline.py", *arguments, "--trials", 8)
    run("own_pipeline.py", *arguments, "--trials", 12)
    study = optuna.load_study(study_name="a red car", storage=f"sqlite:///{out / 'study.db'}")
    assert len(study.trials) == 12
    assert (out / "0.png").is_file()


@tiny.NUMPY_2
def test_own_pipeline_with_the_embedded_model(run: Run, tmp_path: Path) -> None:
    output = run("own_pipeline.py", "--trials", 4, "--batch", 2, "--steps", 1, "--out", tmp_path / "out")
    assert "contrast" in output


@tiny.NUMPY_2
def test_multi_objective(run: Run) -> None:
    output = run("multi_objective.py", "--trials", 16, "--steps", 1)
    front = output.splitlines()[1:]
    brightness = [float(line.split()[0]) for line in front]
    asymmetry = [float(line.split()[1]) for line in front]
    assert brightness == sorted(brightness, reverse=True)
    assert asymmetry == sorted(asymmetry, reverse=True)  # a front: darker ones mirror themselves better


@tiny.NUMPY_2
def test_conditions(run: Run, tmp_path: Path) -> None:
    output = run("conditions.py", "--trials", 12, "--out", tmp_path)
    assert output.count("guidance_scale") == 4
    assert (tmp_path / "3.png").is_file()


@tiny.NUMPY_2
def test_edit_avatar(run: Run, tmp_path: Path) -> None:
    output = run("edit_avatar.py", "--steps", 6, "--draws", 2, "--budget", 8, "--out", tmp_path)
    assert output.count("away from the source") == 4
    with Image.open(tmp_path / "edits.png") as sheet:
        assert sheet.width > 300


@tiny.NUMPY_2
def test_several_prompts(run: Run, tmp_path: Path) -> None:
    output = run("several_prompts.py", "--trials", 8, "--steps", 1, "--out", tmp_path)
    assert output.count("worst contrast") == 4
    with Image.open(tmp_path / "0.png") as picture:
        assert picture.width == 3 * picture.height  # an avatar for each prompt


def test_slow_score(run: Run) -> None:
    output = run("slow_score.py", "--trials", 16, "--timeout", 0.5)
    never = output.split(" of 16 never came to rest")[0]
    assert int(never) >= 1


def saved(name: str, folder: Path) -> Path:
    tiny_families.CALLS[name][0]().save_pretrained(folder, safe_serialization=True)
    return folder


@tiny.NUMPY_2
def test_gpu_check(run: Run) -> None:
    with pytest.raises(SystemExit) as end:
        run("gpu_check.py", "--device", "cpu", "--steps", 3, "--largest", 1, "--call", "guidance_scale=1.0")
    assert end.value.code == 0


@tiny.NUMPY_2
@pytest.mark.parametrize("options", [(), ("--offload",)])
def test_flux(run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = saved("FluxPipeline", tmp_path / "flux")
    sizes = ("--size", 16, "--steps", 2, "--trials", 12, "--device", "cpu", "--out", tmp_path)
    assert "colour" in run("flux.py", folder, "--prompt", "a red car", *sizes, *options)
    assert (tmp_path / "0.png").is_file()


@tiny.NUMPY_2
@pytest.mark.parametrize(("name", "size", "frames"), [("WanPipeline", 16, 5), ("LTXPipeline", 32, 9)])
def test_video(run: Run, tmp_path: Path, name: str, size: int, frames: int) -> None:
    folder = saved(name, tmp_path / name)
    sizes = ("--height", size, "--width", size, "--frames", frames, "--steps", 2, "--trials", 12, "--device", "cpu")
    run("video.py", folder, "--prompt", "a red car", *sizes, "--flicker", 1, "--out", tmp_path)
    with av.open(str(tmp_path / "0.mp4")) as clip:
        assert len(list(clip.decode(video=0))) == frames


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_audio(run: Run, tmp_path: Path) -> None:
    folder = saved("StableAudioPipeline", tmp_path / "audio")
    sizes = ("--seconds", 3, "--steps", 3, "--trials", 12, "--device", "cpu", "--out", tmp_path)
    run("audio.py", folder, "--prompt", "a red car", *sizes)
    with wave.open(str(tmp_path / "0.wav")) as sound:
        assert (sound.getnchannels(), sound.getnframes()) == (2, 12)


def test_proteins(run: Run, tmp_path: Path) -> None:
    output = run("proteins.py", "--trials", 8, "--batch", 4, "--length", 12, "--out", tmp_path)
    assert output.count("strain") >= 1
    assert (tmp_path / "0.pdb").read_text().count(" CA  UNK A") == 12


def test_proteins_with_a_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    runpy.run_path(str(EXAMPLES / "proteins.py"))["random_pipeline"]().save_pretrained(folder)
    arguments = ("--trials", 4, "--batch", 4, "--length", 12)
    run("proteins.py", folder, *arguments, "--out", tmp_path / "a")
    run("proteins.py", *arguments, "--out", tmp_path / "b")
    loaded, built = ((tmp_path / name / "0.pdb").read_text() for name in "ab")
    assert loaded == built


@tiny.NUMPY_2
@AX
def test_ax_avatars_and_again(run: Run, tmp_path: Path) -> None:
    from ax.utils.testing.mock import mock_botorch_optimize_context_manager

    arguments = ("--batch", 6, "--steps", 1, "--out", tmp_path)
    with mock_botorch_optimize_context_manager(force=True):
        for trials in (6, 12):
            run("ax_avatars.py", "--trials", trials, *arguments)
    study = optuna.load_study(study_name="warm avatars", storage=f"sqlite:///{tmp_path / 'mirror.db'}")
    assert len(study.trials) == 12
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    held = re.search(r'<script type="application/json" id="embedded">(.*?)</script>', page, re.DOTALL)
    assert held is not None
    media = json.loads(held[1])["media"]
    assert sorted(map(int, media)) == list(range(12))
    assert all(url.startswith("data:image/") for url in media.values())


@tiny.NUMPY_2
@AX
def test_ax_multi_objective(run: Run) -> None:
    from ax.utils.testing.mock import mock_botorch_optimize_context_manager

    with mock_botorch_optimize_context_manager():
        front = run("ax_multi_objective.py", "--trials", 14, "--steps", 1).splitlines()[1:]
    brightness, asymmetry = (np.array([float(line.split()[i]) for line in front]) for i in (1, 2))
    order = np.argsort(brightness)
    assert (np.diff(asymmetry[order]) >= 0).all()  # a front: darker ones mirror themselves better


@tiny.NUMPY_2
@AX
def test_ax_run_trials(run: Run) -> None:
    output = run("ax_run_trials.py", "--trials", 8, "--parallelism", 8, "--steps", 1)
    assert "best: trial" in output
