"""The Optuna host: what it records and when, and what it takes back."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
import optuna
import pytest
import torch
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta
from optuna.pruners import ThresholdPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState
from PIL import Image

from surrogate_ax import (
    Choice,
    Evaluator,
    FunctionGenerator,
    Gaussian,
    Metric,
    Objective,
    Range,
    Recipe,
    SurrogateSpace,
    draws,
)
from surrogate_ax.errors import MismatchError, UnsupportedError
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.latents.bank import Bank
from surrogate_ax.policies.history import Round, as_proposals
from surrogate_ax_optuna import OptunaHost, optimize, sqlite
from surrogate_ax_optuna.attributes import (
    PREVIEW_ATTR,
    PROPOSAL_ATTR,
    REASON_ATTR,
    RECIPE_ATTR,
    ROUND_ATTR,
    attributes,
    set_attribute,
)
from surrogate_ax_optuna.trials import ended_trials, read_recipe

K = 4


@pytest.fixture
def space(make_generator):
    return SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)


@pytest.fixture
def make_host(make_generator, objective):
    def make(study: optuna.Study, **options: Any) -> OptunaHost:
        return OptunaHost(study, make_generator(), options.pop("objective", objective), **options)

    return make


def _round(space: SurrogateSpace, number: int = 0, size: int = 64, rows: Any = None) -> Round:
    return Round(space, number, size, () if rows is None else as_proposals(space.bank, rows))


def _evaluations(generator: FunctionGenerator, objective: Objective, host: OptunaHost, candidates: Any, space: Any):
    bank = space.bank.extend([seed for candidate in candidates for seed, _ in candidate.terms])
    z = bank.latents(bank.rows(candidate.terms for candidate in candidates))
    return Evaluator(generator, objective)(z, [{}] * len(candidates))


def test_a_trial_has_its_recipe_round_and_parameters_when_it_is_asked(make_study, make_host, space):
    study = make_study()
    host = make_host(study, conditions={"guidance": Range(1, 7, step=0.5), "prompt": Choice(["a", "b"])}, batch_size=3)
    candidates = host.ask(3, _round(space, number=2))
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 3
    for candidate, trial in zip(candidates, study.trials, strict=True):
        assert set(trial.params) == {"u0", "u1", "u2", "guidance", "prompt"}
        assert attributes(trial)[ROUND_ATTR] == candidate.round == 2
        recipe = Recipe.from_json(attributes(trial)[RECIPE_ATTR])
        assert recipe.terms == candidate.terms
        assert recipe.condition == candidate.condition == {name: trial.params[name] for name in ("guidance", "prompt")}
        assert recipe.batch == 3
        u = np.array([[trial.params[f"u{k}"] for k in range(K - 1)]])
        assert recipe.terms == space.terms(u)[0]


def test_exact_rows_come_first_and_once_then_proposals(make_study, make_host, make_generator, objective, space):
    study = make_study()
    host = make_host(study)
    round = _round(space, rows=np.eye(K))
    asked = host.ask(3, round)
    assert [candidate.terms for candidate in asked] == round.terms[:3]
    host.tell(asked, _evaluations(make_generator(), objective, host, asked, space))
    asked = host.ask(3, round)
    assert asked[0].terms == round.terms[3]
    assert [attributes(trial).get(PROPOSAL_ATTR) for trial in study.trials] == [0, 1, 2, 3, None, None]
    assert len(asked[1].terms) == K  # inside the box


def test_exact_rows_of_another_round_do_not_count(make_study, make_host, make_generator, objective, space):
    host = make_host(make_study())
    first = host.ask(K, _round(space, rows=np.eye(K)))
    host.tell(first, _evaluations(make_generator(), objective, host, first, space))
    again = host.ask(K, _round(space, rows=np.eye(K), number=1))
    assert [candidate.terms for candidate in again] == _round(space, rows=np.eye(K)).terms


def test_told_stands_in_the_order_of_ending(make_study, make_host, make_generator, objective, space):
    study = make_study()
    host = make_host(study)
    one, two, three = host.ask(3, _round(space))
    for candidate in (two, three, one):
        host.tell([candidate], _evaluations(make_generator(), objective, host, [candidate], space))
    history = host.history()
    assert history.terms == [two.terms, three.terms, one.terms]
    assert history.values["first"].tolist() == [study.trials[i].value for i in (1, 2, 0)]
    assert history.round.tolist() == [0, 0, 0]
    assert [trial.number for trial in ended_trials(study)] == [1, 2, 0]


def test_running_trials_are_not_told(make_study, make_host, space):
    host = make_host(make_study())
    host.ask(3, _round(space))
    assert list(host.history().terms) == []


def test_a_pruned_trial_is_told_as_ended(make_study, make_host, space):
    study = make_study()
    host = make_host(study)
    (candidate,) = host.ask(1, _round(space))
    study.tell(candidate.ticket, state=TrialState.PRUNED)
    history = host.history()
    assert history.terms == [candidate.terms]
    assert np.isnan(history.values["first"]).all()


def test_told_keeps_the_rounds_of_a_study_without_trials(make_study, make_host):
    history = make_host(make_study()).history()
    assert history.ended(0) == 0
    assert history.values["first"].shape == (0,)


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "sqlite"])
def test_telling_twice_changes_nothing(make_study, make_generator, tmp_path, stored):
    def score(outputs: torch.Tensor, conditions: object) -> dict[str, Any]:
        return {"bright": outputs.mean(dim=(1, 2)), "low": np.ones(len(outputs))}

    study = make_study(storage=sqlite(tmp_path / "study.db") if stored else None)
    generator = make_generator(prior=(8, 4))
    space = SurrogateSpace.sample(generator.prior, seeds=K, rng=0)
    (tmp_path / "artifacts").mkdir()
    store = FileSystemArtifactStore(str(tmp_path / "artifacts"))
    objective = Objective(Metric("bright"), Metric("low", "at_most", 0), score=score)
    host = OptunaHost(study, generator, objective, previews=store)
    asked = host.ask(2, _round(space))
    evaluations = _evaluations(generator, objective, host, asked, space)
    host.tell(asked[:1], evaluations)
    before = study.trials[0]
    host.tell(asked, evaluations)
    assert study.trials[0] == before
    assert study.trials[1].state == TrialState.COMPLETE
    host.give_back(asked)
    assert study.trials[0] == before
    assert len(list((tmp_path / "artifacts").iterdir())) == 2


def test_interrupted_trials_are_given_back_and_their_exact_rows_asked_again(
    make_study, make_host, make_generator, objective, space
):
    study = make_study()
    host = make_host(study)
    round = _round(space, rows=np.eye(K))
    asked = host.ask(K, round)
    host.give_back(asked)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * K
    assert [attributes(trial)[REASON_ATTR] for trial in study.trials] == [INTERRUPTED] * K
    assert list(host.history().terms) == []
    assert [candidate.terms for candidate in host.ask(K, round)] == round.terms


class Breaking(RandomSampler):
    """A sampler that raises at its n-th parameter."""

    def __init__(self, error: BaseException, after: int) -> None:
        super().__init__(seed=0)
        self.error = error
        self.left = after

    def sample_independent(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().sample_independent(*arguments)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no proposal")])
def test_a_sampler_that_is_broken_off_leaves_no_trial_running(make_study, make_host, space, error):
    study = make_study(Breaking(error, after=2 * (K - 1) + 1))
    host = make_host(study)
    with pytest.raises(type(error)):
        host.ask(4, _round(space))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
    assert list(host.history().terms) == []


def test_a_process_killed_inside_ask_does_not_spoil_the_study(make_study, make_host, make_generator, objective, space):
    study = make_study()
    trial = study.ask()
    set_attribute(trial, ROUND_ATTR, 0)  # all that is written before the sampler proposes
    host = make_host(study)
    assert list(host.history().terms) == []
    study.tell(trial, state=TrialState.FAIL)
    assert list(host.history().terms) == []


def test_a_trial_of_something_else_is_passed_over_with_a_word(make_study, make_host, caplog):
    study = make_study()
    study.tell(study.ask(), 1.0)
    host = make_host(study)
    assert list(host.history().terms) == []
    assert "trials 0 were not made by this search" in caplog.text
    caplog.clear()
    assert list(host.history().terms) == []
    assert caplog.text == ""  # each is named once


def test_k_is_constant_through_a_study(make_study, make_host, make_generator, objective, space):
    study = make_study()
    host = make_host(study)
    asked = host.ask(2, _round(space))
    host.tell(asked, _evaluations(make_generator(), objective, host, asked, space))
    wider = SurrogateSpace.sample(make_generator().prior, seeds=K + 1, rng=0)
    for later in (host, make_host(study)):
        with pytest.raises(MismatchError, match=r"K = 4 axes.* got K = 5"):
            later.ask(2, _round(wider, number=1))
    assert len(study.trials) == 2


def test_fresh_draws_are_keyed_by_trial_and_box_points_mix_them(make_study, make_host, space):
    host = make_host(make_study(), rng=3)
    draws = host.ask(3, _round(SurrogateSpace(space.bank, space.frame, fresh=1.0)))
    assert [len(candidate.terms) for candidate in draws] == [1, 1, 1]
    assert [terms[0][0].index for terms in (candidate.terms for candidate in draws)] == [0, 1, 2]
    mixed = host.ask(1, _round(SurrogateSpace(space.bank, space.frame, fresh=0.5), number=1))[0]
    assert mixed.terms[-1][0].index == 3
    assert mixed.terms[-1][1] == pytest.approx(0.5)


def test_the_pruner_hears_of_all_rows_before_it_is_asked(make_study, make_host, objective, space):
    study = make_study(pruner=ThresholdPruner(lower=0.0))
    host = make_host(study)
    asked = host.ask(3, _round(space))
    host.report_estimates(asked, 5, {"first": np.array([1.0, -1.0, 2.0])})
    assert host.should_stop(asked).tolist() == [False, True, False]
    assert [trial.intermediate_values for trial in study.trials] == [{5: 1.0}, {5: -1.0}, {5: 2.0}]


def test_the_sampler_stays_what_the_user_set(make_study, make_host, space):
    class Looking(RandomSampler):
        seen: list[BaseSampler]

        def sample_independent(self, *arguments: Any) -> Any:
            self.seen.append(study.sampler)
            return super().sample_independent(*arguments)

    sampler = Looking(seed=1)
    sampler.seen = []
    study = make_study(sampler)
    host = make_host(study)
    host.ask(2, _round(space, rows=np.eye(K)[:1]))
    assert sampler.seen == [sampler] * (K - 1)  # of the one point that is no seed
    host.close()
    assert study.sampler is sampler


def test_stored_seeds_reach_policies_through_the_history(make_study, make_generator, objective):
    generator = make_generator()
    seeds = SurrogateSpace.sample(generator.prior, seeds=K, rng=0)
    space = SurrogateSpace.from_latents(generator.prior, seeds.bank.latents(np.eye(K)), rng=0)
    host = OptunaHost(make_study(), generator, objective)
    asked = host.ask(K, _round(space, rows=np.eye(K)))
    host.tell(asked, _evaluations(generator, objective, host, asked, space))
    history = host.history()
    bank = history.bank(generator.prior)
    assert isinstance(bank, Bank)
    torch.testing.assert_close(
        bank.latents(bank.rows(history.terms))["latents"], space.bank.latents(np.eye(K))["latents"]
    )


class RecordingStore:
    """An artifact store that notes the states of the study's trials at every upload."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.states: list[list[str]] = []
        self.files: dict[str, bytes] = {}

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return io.BytesIO(self.files[artifact_id])

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.states.append([trial.state.name for trial in self.study.trials])
        self.files[artifact_id] = content_body.read()

    def remove(self, artifact_id: str) -> None:
        del self.files[artifact_id]


def _brightness(outputs: torch.Tensor, conditions: object = None) -> np.ndarray:
    return outputs.flatten(1).mean(dim=1).double().numpy()


def _plain(n: int) -> Any:
    """n plain draws as one round."""
    return draws(Gaussian((16, 16)), n, axes=2)


def test_each_picture_is_uploaded_while_its_trial_still_runs(make_study, make_generator):
    study = make_study()
    store = RecordingStore(study)
    generator = make_generator(prior=(16, 16))
    objective = Objective(Metric("bright"), score=_brightness)
    optimize(
        study,
        generator,
        objective,
        total_trials=6,
        batch_size=3,
        rng=0,
        previews=store,
        progress=False,
        policy=_plain(6),
    )
    done, running = "COMPLETE", "RUNNING"
    one_by_one = [[done] * i + [running] * (3 - i) for i in range(3)]
    assert store.states == one_by_one + [[done] * 3 + states for states in one_by_one]
    assert [attributes(trial)[PREVIEW_ATTR] for trial in study.trials] == list(store.files)


def test_a_preview_is_a_png_of_the_output(make_study, tmp_path):
    study = make_study()
    store = FileSystemArtifactStore(str(tmp_path / "artifacts"))
    (tmp_path / "artifacts").mkdir()
    generator = FunctionGenerator(torch.sigmoid, (3, 16, 24))
    objective = Objective(Metric("bright"), score=_brightness)
    optimize(study, generator, objective, total_trials=4, batch_size=4, rng=0, previews=store, progress=False)
    for trial in study.trials:
        (meta,) = get_all_artifact_meta(trial, storage=study._storage)
        assert (meta.artifact_id, meta.mimetype) == (attributes(trial)[PREVIEW_ATTR], "image/png")
        path = tmp_path / "preview.png"
        download_artifact(artifact_store=store, file_path=str(path), artifact_id=meta.artifact_id)
        picture = Image.open(path)
        assert picture.format == "PNG"
        recipe = read_recipe(trial)
        bank = Bank(generator.prior, [seed for seed, _ in recipe.terms])
        latents = bank.latents(bank.rows([recipe.terms]))
        (output,) = generator.generate(latents, [{}]).outputs
        pixels = np.asarray(picture)
        factor = pixels.shape[0] // 16
        assert pixels.shape == (16 * factor, 24 * factor, 3)
        expected = np.round(output.permute(1, 2, 0).numpy() * 255)
        np.testing.assert_allclose(pixels[::factor, ::factor], expected, atol=1)
        path.unlink()


@pytest.mark.parametrize(
    ("shape", "rate", "suffix", "mime"),
    [
        ((8, 8), None, ".png", "image/png"),
        ((300, 300), None, ".webp", "image/webp"),
        ((3, 8, 8, 3), 4.0, ".mp4", "video/mp4"),
        ((2, 900), 8000.0, ".wav", "audio/x-wav"),
    ],
)
def test_a_preview_is_named_and_typed_by_its_kind(make_study, tmp_path, shape, rate, suffix, mime):
    study = make_study()
    generator = FunctionGenerator(lambda z: z.numpy(), shape, rate=rate)
    objective = Objective(Metric("mean"), score=lambda outputs, _: np.array([x.mean() for x in outputs]))
    store = FileSystemArtifactStore(str(tmp_path))
    optimize(study, generator, objective, total_trials=2, batch_size=2, rng=0, previews=store, progress=False)
    for trial in study.trials:
        (meta,) = get_all_artifact_meta(study_or_trial=trial, storage=study._storage)
        assert (meta.artifact_id, meta.filename) == (attributes(trial)[PREVIEW_ATTR], f"trial{trial.number}{suffix}")
        assert meta.mimetype == mime


def test_a_failed_item_has_no_preview(make_study, make_generator):
    study = make_study()
    store = RecordingStore(study)
    objective = Objective(Metric("bright"), score=lambda outputs, _: np.where(np.arange(len(outputs)), 1.0, np.nan))
    generator = make_generator(prior=(16, 16))
    optimize(study, generator, objective, total_trials=4, batch_size=2, rng=0, previews=store, progress=False)
    assert [PREVIEW_ATTR in attributes(trial) for trial in study.trials] == [False, True] * 2
    assert len(store.files) == 2


def test_an_interruption_between_two_tells_keeps_what_was_told(make_study, make_generator):
    class Interrupting(RecordingStore):
        def write(self, artifact_id: str, content_body: BinaryIO) -> None:
            super().write(artifact_id, content_body)
            if len(self.files) == 3:
                raise KeyboardInterrupt

    study = make_study()
    store = Interrupting(study)
    generator = make_generator(prior=(16, 16))
    objective = Objective(Metric("bright"), score=_brightness)

    def run() -> None:
        policy = _plain(10)
        options = {"total_trials": 10, "batch_size": 5, "rng": 0, "previews": store, "progress": False}
        optimize(study, generator, objective, policy=policy, **options)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2 + ["FAIL"] * 3
    assert [REASON_ATTR in attributes(trial) for trial in study.trials] == [False] * 2 + [True] * 3
    run()
    assert [trial.state.name for trial in ended_trials(study)] == ["COMPLETE"] * 10


def test_previews_of_what_is_no_picture_are_refused_and_no_trial_is_left_running(make_study, make_generator, objective):
    study = make_study()
    with pytest.raises(UnsupportedError, match="expected an image"):
        optimize(
            study, make_generator(), objective, total_trials=4, batch_size=4, rng=0, previews=RecordingStore(study),
            progress=False,
        )  # fmt: skip
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    assert [attributes(trial)[REASON_ATTR] for trial in study.trials] == [INTERRUPTED] * 2
    optimize(study, make_generator(), objective, total_trials=4, batch_size=4, rng=0, progress=False)
    assert len(ended_trials(study)) == 4
