"""A few updates of tiny models: their losses, what they change, and going on after a kill."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hjepa_utils import HNN, ArtifactError
from hjepa_utils.runs import hardware
from hjepa_utils.systems.gan import loop, training
from hjepa_utils.systems.gan.data import make_videos
from hjepa_utils.systems.gan.hgn import HGN
from hjepa_utils.systems.gan.loop import follow, kept_model
from hjepa_utils.systems.gan.model import VideoGAN
from hjepa_utils.systems.gan.networks import Discriminators, to_unit, with_float_counts
from hjepa_utils.systems.gan.training import fit_gan, fit_hgn

SMALL = {"batch_size": 4, "n_frames": 8}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    file = tmp_path_factory.mktemp("videos") / "pendulum.safetensors"
    return make_videos(file, "pendulum", 20, 16, seed=0)


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    """The same arithmetic on every processor."""
    computed_in(torch.float32, monkeypatch)


def computed_in(dtype, monkeypatch):
    for module in (hardware, loop):
        monkeypatch.setattr(module, "pick_encoder_dtype", lambda device: dtype)


def models(name="HGAN", **how):
    torch.manual_seed(0)
    return VideoGAN(name, channels=4), Discriminators(8, channels=4, **how)


def hgn():
    torch.manual_seed(0)
    return HGN(channels=4)


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_the_first_losses_are_those_of_the_published_formulas(videos):
    (model, told), rng = models(minibatch=False, batch_norm=True), np.random.default_rng([7, 0])
    real = to_unit(videos.frames(rng, 4, 8))
    made, states = copy.deepcopy(model).imagine(model.draw_noise(4, rng), 8)
    shown = rng.integers(8, size=2)
    judge, expected = copy.deepcopy(told), {}
    for kind, see in (("image", lambda v: judge.image(v[:, shown[0]])), ("video", judge.video)):
        on_real, on_made = torch.sigmoid(see(real)), torch.sigmoid(see(made))
        expected[kind] = -(0.9 * on_real.log() + 0.1 * (1 - on_real).log() + (1 - on_made).log()).mean()
    expected["cyclic"] = 0.02 * model.motion.momentum_rates(states[:, 1:]).abs().sum() / 4
    _, history = fit_gan(model, told, videos, seed=7, n_updates=1, cyclic=0.02, **training.PUBLISHED, **SMALL)
    for kind, value in expected.items():
        np.testing.assert_allclose(history[0][kind], value.item(), rtol=1e-5)
    np.testing.assert_allclose(history[0]["generator_video"], 0.7, atol=0.2)  # near log 2


@pytest.mark.parametrize("name", ["HGAN", "HNN-GAN", "MoCoGAN"])
def test_every_part_learns_and_the_seed_decides(videos, name):
    runs = []
    for seed in (1, 1, 2):
        model, told = models(name)
        before = {key: value.clone() for key, value in model.named_parameters()}
        average, history = fit_gan(model, told, videos, seed=seed, n_updates=2, **SMALL)
        runs.append((average, model, history))
        assert not [key for key, value in model.named_parameters()
                    if torch.equal(value, before[key]) and not is_constant(key)]  # fmt: skip
        assert all(p.requires_grad for p in told.parameters())
    assert same(runs[0][0], runs[1][0]) and runs[0][2] == runs[1][2]
    assert not same(runs[0][1], runs[2][1])


def is_constant(name):
    """H's last bias moves nothing."""
    return name == f"motion.hamiltonian.layers.{len(HNN(20, (100, 100)).layers) - 1}.bias"


def test_the_slope_is_punished_in_the_updates_it_is_said(videos, monkeypatch):
    calls = []

    def penalty(discriminator, real):
        calls.append(real.ndim)
        return real.new_zeros((), requires_grad=True)

    monkeypatch.setattr(training, "r1_penalty", penalty)
    fit_gan(*models(), videos, seed=0, n_updates=5, r1_every=2, **SMALL)
    assert calls == [4, 5] * 3  # a picture and a video, in updates 0, 2 and 4


@pytest.mark.parametrize("fit", ["gan", "hgn"])
def test_a_training_that_was_killed_ends_with_the_same_bits(videos, tmp_path, fit):
    def train(folder, watch=None):
        how = {"seed": 3, "n_updates": 5, "checkpoint": folder, "save_every": 2, "keep": (4,), "watch": watch}
        model = hgn() if fit == "hgn" else models()[0]
        args = (model, videos) if fit == "hgn" else (model, models()[1], videos)
        average, history = (fit_hgn if fit == "hgn" else fit_gan)(*args, **how, **SMALL)
        return model, average, history

    def kill(update, average):
        if update == 4:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", kill)
    watched = []
    resumed = train(tmp_path / "killed", lambda update, average: watched.append(update))
    assert watched == [3, 4, 5] and resumed[2] == whole[2]
    assert same(resumed[0], whole[0]) and same(resumed[1], whole[1])
    again = train(tmp_path / "killed")
    assert same(again[1], whole[1])  # read back, without an update
    kind = HGN if fit == "hgn" else VideoGAN
    kept = [kept_model(kind, tmp_path / folder, 4, averaged=False) for folder in ("whole", "killed")]
    assert same(*kept) and not same(kept[0], whole[0])


def test_models_that_were_not_kept_in_time_are_asked_for_in_vain(videos, tmp_path):
    fit_gan(*models(), videos, seed=0, n_updates=2, checkpoint=tmp_path, **SMALL)
    with pytest.raises(ArtifactError, match="was past update 1 before its models were asked for"):
        fit_gan(*models(), videos, seed=0, n_updates=2, checkpoint=tmp_path, keep=(1,), **SMALL)


def test_a_longer_training_goes_on_from_a_shorter_one(videos, tmp_path):
    fit_gan(*models(), videos, seed=0, n_updates=2, checkpoint=tmp_path, **SMALL)
    watched = []
    how = {"checkpoint": tmp_path, "watch": lambda update, average: watched.append(update)}
    longer, history = fit_gan(*models(), videos, seed=0, n_updates=3, **how, **SMALL)
    at_once, all_of_it = fit_gan(*models(), videos, seed=0, n_updates=3, **SMALL)
    assert watched == [3] and history == all_of_it and same(longer, at_once)


def test_the_average_follows_the_model_and_its_running_means():
    model, average = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    with_float_counts(model), with_float_counts(average)
    with torch.no_grad():
        model.weight.fill_(2.0), model.running_mean.fill_(4.0)
    follow(average, model, 0.75)
    assert average.weight.item() == 1.25 and average.running_mean.item() == 1.0
    assert model.weight.item() == 2.0


def test_half_the_bits_give_nearly_the_same_losses_and_leave_weights_whole(videos, monkeypatch):
    histories = []
    for dtype in (torch.float32, torch.bfloat16):
        computed_in(dtype, monkeypatch)
        model, told = models()
        histories.append(fit_gan(model, told, videos, seed=0, n_updates=1, **SMALL)[1])
        assert {p.dtype for p in (*model.parameters(), *told.parameters())} == {torch.float32}
    exact, rounded = ([*rows[0].values()] for rows in histories)
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, rtol=0.03)


def test_hgn_weighs_its_error_by_geco(videos):
    model = hgn()
    _, history = fit_hgn(model, videos, seed=0, n_updates=3, **SMALL)
    weights, errors = ([row[key] for row in history] for key in ("weight", "error"))
    assert weights[0] == 1.0
    np.testing.assert_allclose(np.log(weights[1]), 0.1 * (errors[0] - 0.033**2), rtol=1e-4)
    rng = np.random.default_rng([0, 0])
    real, fresh = to_unit(videos.frames(rng, 4, 8)), hgn()
    mean, log_variance = fresh.encode(real)
    latent = mean + (log_variance / 2).exp() * fresh.draw_noise(4, rng)
    error = F.mse_loss((fresh.imagine(latent, 8)[0] + 1) / 2, (real + 1) / 2)
    np.testing.assert_allclose(errors[0], error.item(), rtol=1e-5)


@pytest.mark.parametrize(("change", "words"), [
    ({"name": "MoCoGAN", "cyclic": 0.01}, "MoCoGAN has no momenta that could be cyclic: use cyclic=0"),
    ({"n_frames": 16}, "the discriminators take 8 frames, the settings say 16"),
    ({"seed": -1}, "SEED must be a whole number"),
    ({"n_updates": 1.5}, "n_updates must be a whole number, 0 or more, got 1.5"),
    ({"n_updates": -1}, "n_updates must be a whole number, 0 or more, got -1"),
    ({"save_every": 0}, "save_every must be a whole number, 1 or more, got 0"),
    ({"batch_size": 1}, "batch_size must be a whole number, 2 or more, got 1"),
    ({"n_frames": 8.0}, "n_frames must be a whole number, 1 or more, got 8.0"),
    ({"r1_every": 0}, "r1_every must be a whole number, 1 or more, got 0"),
    ({"generator_lr": 0}, "generator_lr must be finite and positive, .* got 0"),
    ({"discriminator_lr": -1e-3}, "discriminator_lr must be finite and positive, .* got -0.001"),
    ({"r1": -1.0}, "r1 must be a number, 0 or more, and finite, got -1.0"),
    ({"cyclic": float("nan")}, "cyclic must be a number, 0 or more, and finite, got nan"),
    ({"real_label": "a"}, "real_label must be a number, from 0 to 1, got 'a'"),
    ({"average": 1.5}, "average must be a number, from 0 to 1, got 1.5"),
    ({"keep": (1,)}, "keep needs a folder to keep models in: name a checkpoint"),
    ({"keep": (0,)}, "keep must be a whole number, 1 or more, got 0"),
    ({"generator_lr": 1e30, "n_updates": 3}, "a loss of update . is not finite"),
])  # fmt: skip
def test_bad_input_is_one_sentence(videos, change, words):
    how = {"seed": 0, "n_updates": 1} | SMALL | change
    with pytest.raises(ValueError, match=words):
        fit_gan(*models(how.pop("name", "HGAN")), videos, **how)


@pytest.mark.parametrize(("change", "words"), [
    ({"model": HGN(channels=4)}, "model must be a VideoGAN, got HGN"),
    ({"discriminators": None}, "discriminators must be a Discriminators, got NoneType"),
    ({"videos": "pendulum.safetensors"}, "videos must be a ToyVideos, got str"),
    ({"lr": 1e-3}, "lr is no setting of this training; there are: batch_size, n_frames, generator_lr"),
    ({"keep": 4}, r"keep must be the numbers of updates, such as \(1000, 2000\), got 4"),
    ({"watch": "x"}, r"watch must be a function of \(update, average\), got 'x'"),
])  # fmt: skip
def test_parts_of_another_kind_are_refused_by_name(videos, change, words):
    model, told = models()
    parts = {"model": model, "discriminators": told, "videos": videos, "seed": 0, "n_updates": 1} | SMALL
    with pytest.raises(TypeError, match=words):
        fit_gan(**parts | change)


@pytest.mark.parametrize(("change", "words"), [
    ({"lr": float("nan")}, "lr must be finite and positive, .* got nan"),
    ({"max_norm": -1.0}, "max_norm must be finite and positive, .* got -1.0"),
    ({"tolerance": 0}, "tolerance must be finite and positive, .* got 0"),
    ({"n_frames": 3}, "n_frames must be 5 or more, as HGN sees, got 3"),
    ({"n_frames": 17}, "has 1 to 16 frames a video, got 17"),
])  # fmt: skip
def test_bad_input_of_hgn_is_one_sentence(videos, change, words):
    with pytest.raises(ValueError, match=words):
        fit_hgn(hgn(), videos, **{"seed": 0, "n_updates": 1} | SMALL | change)


def test_what_cannot_be_trained_says_what_to_do(videos):
    frozen, half = hgn().requires_grad_(False), hgn().half()
    for model, words in (
        (frozen, "only frozen parameters: use requires_grad_"),
        (half, r"got torch.float16: use .fl"),
    ):
        with pytest.raises(ValueError, match=words):
            fit_hgn(model, videos, seed=0, n_updates=1, **SMALL)
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="training needs gradients: call it outside no_grad"),
    ):
        fit_hgn(hgn(), videos, seed=0, n_updates=1, **SMALL)


def test_a_folder_that_cannot_be_written_is_said_before_the_first_update(videos, tmp_path):
    file, watched = tmp_path / "file", []
    file.write_text("mine")
    with pytest.raises(
        OSError, match=r"cannot write to .*move away what has its name, or name a folder that can"
    ):
        fit_gan(*models(), videos, seed=0, n_updates=1, checkpoint=file, watch=watched.append, **SMALL)
    assert file.read_text() == "mine" and not watched
