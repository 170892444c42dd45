"""`optimize(batch_size="auto")` on Ax: the same search as with the size that was measured, which the client keeps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogate_ax.execution import batch_size
from surrogate_ax_platform import load_client, optimize, read_record, records


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch, make_generator: Any) -> Any:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def make(room: int = 4) -> Any:
        def watch(z: Tensor) -> None:
            clock.now += 2
            if len(z) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return make_generator(watch=watch)

    return make


def test_the_experiment_is_that_of_the_size_that_was_found(make_client: Any, crowded: Any, objective: Any) -> None:
    told = []
    for given in ("auto", 4):
        client, generator = make_client(model=None), crowded()
        optimize(client, generator, objective, total_trials=24, batch_size=given, rng=0, progress=False)
        assert generator.sizes[:4] == ([1, 2, 4, 8] if given == "auto" else [4, 4, 4, 4])
        trials = records.trials(client._experiment)
        told.append([(trial.arm.parameters, records.noted(trial, records.RECIPE)) for trial in trials])
        assert read_record(client).batch_size == (4 if given == "auto" else None)
    assert told[0] == told[1]
    assert len(told[0]) == 24


def test_a_snapshot_keeps_the_size(make_client: Any, crowded: Any, objective: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": "auto", "rng": 0, "snapshot": tmp_path / "c.json", "progress": False}
    optimize(make_client(model=None), crowded(2), objective, total_trials=12, **options)
    generator = crowded(16)
    optimize(client := load_client(tmp_path / "c.json"), generator, objective, total_trials=20, **options)
    assert set(generator.sizes) == {2}
    assert read_record(client).batch_size == 2
