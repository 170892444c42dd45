"""What `RayGenerator` refuses before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from surrogate_ax import Metric
from surrogate_ax.errors import ArgumentError
from surrogate_ax_ray import RayGenerator

LIGHT = [Metric("light")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factory": lambda: None}, "factory: expected 'package.module:function'"),
        ({"factory": "models"}, "factory: expected 'package.module:function'.*got 'models'"),
        ({"num_actors": 0}, "num_actors: expected at least 1, got 0"),
        ({"arguments": {"a": object()}}, "arguments: expected texts, numbers"),
        ({"arguments": {"a": float("nan")}}, "arguments: expected texts, numbers"),
        ({"resources": {"gpus": 1}}, r"resources: expected some of \['num_cpus', 'num_gpus'.*got \['gpus'\]"),
        ({"resources": {"num_gpus": -1}}, "resources: num_gpus: expected at least 0, got -1"),
        ({"resources": {"num_gpus": "all"}}, "resources: num_gpus"),
        ({"score": "scores:light"}, "score, metrics: expected both or neither"),
        ({"metrics": LIGHT}, "score, metrics: expected both or neither"),
        ({"score": "light", "metrics": LIGHT}, "score: expected 'package.module:function'"),
        ({"outputs": "previews"}, "outputs: expected.*'previews' beside a `score`"),
        ({"outputs": "all"}, "outputs: expected 'whole'"),
        ({"start_timeout": 0}, "start_timeout: expected a positive number"),
    ],
)
def test_what_no_actor_could_be_started_with(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RayGenerator(**{"factory": "models:flow", **arguments})
    assert not ray.is_initialized()
