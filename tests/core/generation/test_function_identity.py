"""What a function is bound to and what it says belongs to its identity; comments, devices and its own state do not."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import sys
from functools import partial

import numpy as np
import pytest
import torch

from surrogate_ax import FunctionGenerator
from surrogate_ax.generation.function_identity import function_parts

SCALE = 2.0
CALLS: list[int] = []


def helper(z):
    return z * SCALE


def scaled(z, digit=1):
    return helper(z) * digit


def made(k):
    seen = []
    count = 0

    def function(z):
        nonlocal count
        count += 1
        seen.append(len(z))
        CALLS.append(1)
        return z * k

    return function


class Model:
    def __init__(self, scale):
        self.scale, self.calls = scale, 0

    def __call__(self, z):
        self.calls += 1
        return z * self.scale


@dataclasses.dataclass(frozen=True)
class Settings:
    digit: int


class Layered:
    def __init__(self, act):
        self.act = act

    def __call__(self, z):
        return self.act(z)


class Told:
    """Tells somebody of its work, or nobody."""

    def __init__(self, callback=None, after=None, flip=False):
        self.callback, self.after, self.flip = callback, after, flip

    def __call__(self, z):
        if self.callback is not None:
            self.callback(len(z))
        if self.flip:
            z = -z
        return self.after(z) if self.after else z


def told(z, progress=None, after=None):
    progress and progress(len(z))
    if after:
        z = after(z)
    return z


def telling(progress):
    def function(z):
        if progress and callable(progress):
            progress(len(z))
        return z

    return function


def cast(act):
    return lambda z: act(z) + 1


def half(z):
    return z / 2


def negative(z):
    return -z


def parts(function):
    named = FunctionGenerator(function, (2,)).fingerprint
    assert {name: named[name] for name in ("code", "arguments", "closure", "modules")} == function_parts(function)
    return dict(named)


def changed(a, b):
    return {name for name in a | b if a.get(name) != b.get(name)}


def decorated(function):
    @functools.wraps(function)
    def inner(z):
        return function(z) + 1

    return inner


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        (partial(scaled, digit=3), partial(scaled, digit=7), "arguments"),
        (partial(scaled, digit=np.ones(3)), partial(scaled, digit=np.zeros(3)), "arguments"),
        (partial(scaled, digit=[1, {"a": 2}]), partial(scaled, digit=[1, {"a": 3}]), "arguments"),
        (partial(scaled, digit=Settings(3)), partial(scaled, digit=Settings(4)), "arguments"),
        (partial(partial(scaled, digit=3)), partial(partial(scaled, digit=7)), "arguments"),
        (Model(2), Model(3), "arguments"),
        (Model(2).__call__, Model(3).__call__, "arguments"),
        (made(1), made(2), "closure"),
        (made("a"), made("b"), "closure"),
        (made(torch.zeros(3)), made(torch.ones(3)), "closure"),
        ((lambda z: z + 1), (lambda z: z + 2), "code"),
        (*[lambda z, i=i: z * i for i in (1, 2)], "arguments"),
        (torch.no_grad()(partial(scaled, digit=3)), torch.no_grad()(partial(scaled, digit=7)), "arguments"),
        (Layered(torch.tanh), Layered(torch.relu), "arguments"),
        (Layered(half), Layered(negative), "code"),
        (Layered(partial(torch.clamp, max=1)), Layered(partial(torch.clamp, max=2)), "arguments"),
        (Layered(partial(scaled, digit=3)), Layered(partial(scaled, digit=7)), "arguments"),
        (Layered(torch.nn.Sigmoid()), Layered(torch.nn.Tanh()), "arguments"),
        (cast(torch.tanh), cast(torch.relu), "closure"),
        (cast(torch.nn.Tanh()), cast(torch.nn.Sigmoid()), "closure"),
        (Layered(torch.nn.Softplus(1)), Layered(torch.nn.Softplus(2)), "modules"),
        (cast(torch.nn.Dropout(0.1)), cast(torch.nn.Dropout(0.2)), "modules"),
        (Told(flip=False), Told(flip=True), "arguments"),
        (Told(after=None), Told(after=torch.relu), "arguments"),
        (partial(told, after=None), partial(told, after=torch.relu), "arguments"),
    ],
)
def test_what_is_bound_to_a_function_is_named(before, after, part):
    assert changed(parts(before), parts(after)) == {part}
    assert changed(parts(before), parts(before)) == set()


@pytest.mark.parametrize("make", [Told, telling, lambda progress: partial(told, progress=progress)])
def test_who_is_told_of_the_work_does_not_count(make):
    assert len({str(parts(make(progress))) for progress in (None, print, half, [].append, lambda n: None)}) == 1


def test_the_values_are_readable():
    assert parts(partial(scaled, digit=7))["arguments"] == "digit=7"
    assert parts(made(2))["closure"] == "k=2"
    assert parts(scaled)["closure"] == "helper.SCALE=2.0"
    assert parts(torch.tanh)["code"] == "none"


def test_the_weights_and_layers_of_modules_count(monkeypatch):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())

    def around(z):
        return network(z)

    before = parts(network)
    closure = parts(around)["closure"]
    with torch.no_grad():
        network[0].bias.add_(1)
    assert changed(before, parts(network)) == {"arguments"}
    assert parts(around)["closure"] != closure
    bent = torch.nn.Sequential(network[0], torch.nn.Tanh())
    assert changed(parts(network), parts(bent)) == {"arguments", "modules"}  # ReLU has a setting, Tanh none
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert parts(scaled)["closure"] == "helper.SCALE=3.0"


class Gained(torch.nn.Module):
    """A module with a setting, and with counts and a cache that its forward keeps."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.gain = 1.0
        self.scaling = {"style": 1.0}
        self.calls = 0
        self.times = {"all": 0}
        self.seen = {}

    def forward(self, z):
        self.calls += 1
        self.times["all"] = self.calls
        self._keep(z)
        return self.linear(z) * self.gain * self.scaling["style"]

    def _keep(self, z):
        self.seen.update(last=z)
        self.width = z.shape[1]


class Pipe:
    """A pipeline as libraries have it: no module, though it holds some, and a scheduler with a configuration."""

    def __init__(self, module):
        self.components = {"net": [module]}
        self.scheduler = type("Scheduler", (), {})()
        self.scheduler._internal_dict = {"shift": 1.0, "_path": "here"}

    def run(self, z):
        return self.components["net"][0](z)


def halved(module, arguments, output):
    return output / 2


def set_gain(pipe, module):
    module.gain = 0.5


def set_scale(pipe, module):
    module.scaling["style"] = 0.3


def set_hook(pipe, module):
    module.linear.register_forward_hook(halved)


def set_forward(pipe, module):
    module.linear.forward = lambda z: z


def set_weight(pipe, module):
    with torch.no_grad():
        module.linear.bias.add_(1)


def set_scheduler(pipe, module):
    pipe.scheduler._internal_dict["shift"] = 3.0


def closed(pipe):
    def run(z):
        return pipe.run(z)

    return run


@pytest.mark.parametrize("change", [set_gain, set_scale, set_hook, set_forward, set_weight, set_scheduler])
@pytest.mark.parametrize("hold", [closed, lambda pipe: partial(Pipe.run, pipe), lambda pipe: pipe.run])
def test_what_was_told_to_the_modules_of_a_pipeline_counts(hold, change):
    module = Gained()
    pipe = Pipe(module)
    before = parts(hold(pipe))
    hold(pipe)(torch.zeros(3, 2))
    pipe.scheduler._internal_dict["_path"] = "there"
    assert parts(hold(pipe)) == before
    change(pipe, module)
    assert changed(before, parts(hold(pipe))) == {"modules"}


@pytest.mark.parametrize("change", [set_gain, set_scale, set_hook, set_forward])
def test_what_a_module_that_is_the_function_was_told_counts(change):
    module = Gained()
    before = parts(module)
    module(torch.zeros(3, 2))
    assert parts(module) == before
    change(None, module)
    assert changed(before, parts(module)) == {"modules"}


def test_a_functions_own_state_and_device_do_not_count():
    function, model = made(1), Model(2)
    before = parts(function), parts(model)
    function(torch.zeros(2, 2))
    model(torch.zeros(2, 2))
    assert (parts(function), parts(model)) == before
    assert parts(made("cuda:1")) == parts(made("cpu"))
    assert parts(made(torch.device("cuda"))) == parts(made(torch.device("cpu")))


SOURCE = """
def helper(z):
    return z + 1


def function(z, scale=2):
    return helper(z) * scale


pair = [lambda z: z + 1, lambda z: z + 2]
"""


def module(tmp_path, source, name="module"):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}" / f"{name}.py"
    path.parent.mkdir()
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("    return z + 1", "    # by one\n    return z + 1  # as it was", False),
        (
            "def function(z, scale=2):",
            '"a text"\n\n\ndef function(z: "Tensor", scale=2) -> "Tensor":\n    """Doc."""',
            False,
        ),
        ("return helper(z) * scale", "return (\n        helper(z)\n        * scale\n    )", False),
        ("return helper(z) * scale", "return helper(z) + scale", True),
        ("    return z + 1", "    return z + 2", True),
        ("return helper(z) * scale", "z = helper(z)\n    return z * scale", True),
    ],
)
def test_only_the_syntax_tree_counts(tmp_path, old, new, changes):
    before = function_parts(module(tmp_path, SOURCE).function)
    after = function_parts(module(tmp_path, SOURCE.replace(old, new)).function)
    assert changed(before, after) == ({"code"} if changes else set())


def test_lambdas_of_one_line_are_told_apart(tmp_path):
    found = module(tmp_path, SOURCE)
    a, b = (function_parts(function)["code"] for function in found.pair)
    swapped = module(tmp_path, SOURCE.replace("z + 1, lambda z: z + 2", "z + 2, lambda z: z + 1"))
    assert [function_parts(function)["code"] for function in swapped.pair] == [b, a]
    assert a != b


def test_functions_without_source_are_known_by_their_bytecode():
    spaces = [{}, {}, {}]
    for space, number in zip(spaces, (1, 2, 1), strict=True):
        exec(f"def function(z): return z + {number}", space)
    a, b, again = (function_parts(space["function"])["code"] for space in spaces)
    assert a == again != b
    assert a.startswith(f"bytecode-{sys.version_info.major}.{sys.version_info.minor} ")


def test_the_order_of_a_set_does_not_count():
    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other)  # as the same texts are ordered in two processes
    assert parts(made(one)) == parts(made(other))
    assert parts(partial(scaled, digit=frozenset(one))) == parts(partial(scaled, digit=frozenset(other)))
