"""Optuna's own conformance suites, run on `RoundSampler` around Optuna's samplers.

The suites ask for parameters of their own, so the wrapper is made without known distributions. Left out: the relative
suite for samplers that do not pass it bare either (Random and TPE with `multivariate=False` sample nothing relatively;
NSGA-II and III give no parameters before a population is complete, TPE with `group=True` none before a trial is); the
relative suite for GPSampler, which passes and takes 40 seconds; BoTorchSampler, which test_sampler.py runs for a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from surrogate_ax_optuna.sampler import RoundSampler, for_batches

# Optuna marks QMCSampler, NSGAIIISampler and the PartialFixedSampler of its suite as experimental.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class _Wrapped:
    inner: ClassVar[Callable[[], BaseSampler]]

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        inner = type(self).inner
        return lambda: RoundSampler(inner(), {}, round=1)


class TestRandom(_Wrapped, BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(RandomSampler)


class TestTPE(_Wrapped, BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(lambda: TPESampler(n_startup_trials=0))


class TestIndependentTPE(_Wrapped, BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(lambda: TPESampler(n_startup_trials=0, multivariate=False))


class TestCmaEs(_Wrapped, BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    inner = staticmethod(lambda: for_batches(CmaEsSampler(), 4))


class TestQMC(_Wrapped, BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(QMCSampler)


class TestNSGAII(_Wrapped, BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(lambda: NSGAIISampler(population_size=2))


class TestNSGAIII(_Wrapped, BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(lambda: NSGAIIISampler(population_size=2))


class TestGP(_Wrapped, BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    inner = staticmethod(GPSampler)
