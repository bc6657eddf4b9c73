"""The pretraining of the embedded encoder, and what its committed weights see."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from safetensors import safe_open

from hjepa_utils import encode_video, load_encoder, probe_scores, render_frames, simulate_collisions
from hjepa_utils.latents.encoder import EMBEDDED
from hjepa_utils.latents.pretraining import (
    CLIP_STREAM,
    TARGET_FRAMES,
    VIDEO_STREAM,
    FrameTarget,
    Pretraining,
    PretrainSettings,
    draw_clips,
    draw_videos,
    embed,
    even_motion_loss,
    learning_rate,
    motion_loss,
    prediction_loss,
    pretrain,
    standardise,
    whiten,
)
from hjepa_utils.latents.pretraining_losses import MOTION_SPAN

TINY = PretrainSettings(n_videos=6, n_steps=6, batch_size=4, warm_up=2, motion_rise=4, target_dim=4)


@pytest.fixture(scope="module")
def videos():
    return draw_videos(TINY.n_videos, np.random.default_rng([VIDEO_STREAM, 7]), n_frames=40)


def random_tensors(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_whitened_features_have_zero_mean_and_identity_covariance():
    mixing, features = random_tensors((5, 5), (400, 5))
    white = whiten((features @ mixing + 3).float())
    assert white.mean(dim=0).abs().max() < 1e-4
    np.testing.assert_allclose(np.cov(white.numpy().T, bias=True), np.eye(5), atol=2e-3)


def test_whitening_is_differentiable_and_leaves_no_gradient_to_a_change_of_scale():
    (features,) = random_tensors((60, 3))
    features.requires_grad_()
    (weights,) = random_tensors((60, 3), seed=1)
    (gradient,) = torch.autograd.grad((whiten(features) * weights).sum(), features)
    along_scale = (gradient * (features - features.mean(dim=0))).sum()
    assert gradient.norm() > 1e-3
    assert along_scale.abs() < 1e-2 * gradient.norm() * features.norm()


def test_losses_against_their_formulas():
    predicted, targets = random_tensors((3, len(TARGET_FRAMES), 2), (3, len(TARGET_FRAMES), 2))
    assert prediction_loss(predicted, targets).item() == pytest.approx(
        np.mean([(p - t) ** 2 for p, t in zip(predicted.flatten(), targets.flatten(), strict=True)])
    )
    error = energy = 0.0
    for clip, frame, feature in product(range(3), range(16 - MOTION_SPAN), range(2)):
        foretold = predicted[clip, frame + MOTION_SPAN, feature] - predicted[clip, frame, feature]
        true = targets[clip, frame + MOTION_SPAN, feature] - targets[clip, frame, feature]
        error += (foretold - true).item() ** 2
        energy += true.item() ** 2
    assert motion_loss(predicted, targets).item() == pytest.approx(error / energy)


def test_both_losses_are_one_for_a_z_that_knows_nothing_and_zero_for_one_that_knows_all():
    (targets,) = random_tensors((30 * len(TARGET_FRAMES), 4))
    targets = whiten(targets.float()).unflatten(0, (30, len(TARGET_FRAMES)))
    nothing = torch.zeros_like(targets)
    assert prediction_loss(nothing, targets).item() == pytest.approx(1, abs=1e-3)
    assert motion_loss(nothing, targets).item() == pytest.approx(1)
    assert even_motion_loss(nothing, targets).item() == pytest.approx(1, abs=0.01)
    for loss in (prediction_loss, motion_loss, even_motion_loss):
        assert loss(targets, targets) == 0


def test_the_even_motion_loss_weighs_slow_and_fast_directions_alike():
    predicted, targets = random_tensors((40, len(TARGET_FRAMES), 3), (40, len(TARGET_FRAMES), 3))
    mixed = torch.tensor([[1.0, 0.5, 0.0], [0.0, 3.0, 1.0], [0.0, 0.0, 0.2]], dtype=torch.float64)
    true, foretold = (
        (x[:, MOTION_SPAN:16] - x[:, : 16 - MOTION_SPAN]).flatten(0, 1).numpy() @ mixed.numpy()
        for x in (targets, predicted)
    )
    covariance = np.cov(true.T, bias=True) + 1e-4 * np.eye(3)
    error = foretold - true
    expected = np.einsum("ni,ij,nj->n", error, np.linalg.inv(covariance), error).mean() / 3
    loss = even_motion_loss(predicted @ mixed, targets @ mixed).item()
    assert loss == pytest.approx(expected, rel=1e-9)
    assert loss == pytest.approx(even_motion_loss(predicted, targets).item(), rel=0.01)
    assert motion_loss(predicted @ mixed, targets @ mixed) != pytest.approx(loss, rel=0.01)


@pytest.mark.parametrize("loss", [motion_loss, even_motion_loss])
def test_the_motion_losses_do_not_move_the_targets(loss):
    predicted, targets = random_tensors((2, len(TARGET_FRAMES), 2), (2, len(TARGET_FRAMES), 2))
    predicted.requires_grad_(), targets.requires_grad_()
    loss(predicted, targets).backward()
    assert predicted.grad.abs().sum() > 0
    assert targets.grad is None


def test_learning_rate_rises_stays_and_falls():
    settings = PretrainSettings(n_steps=1000, warm_up=100, lr=2.0, decay_from=0.6)
    assert learning_rate(0, settings) == pytest.approx(0.02)
    assert learning_rate(99, settings) == learning_rate(500, settings) == 2.0
    assert learning_rate(800, settings) == pytest.approx(1.0)
    assert learning_rate(1000, settings) == 0


def test_videos_are_the_billiard_at_the_encoder_s_size(videos):
    assert videos.shape == (6, 40, 3, 64, 64) and videos.dtype == torch.uint8
    rng = np.random.default_rng([VIDEO_STREAM, 7])
    simulate_collisions(40, rng=rng)
    x, y = simulate_collisions(40, rng=rng)[5, 1, :2]  # the red ball, the second video
    red = videos[1, 5, 0].double()
    centre = torch.arange(64, dtype=torch.float64) * 4 + 2
    assert (red.sum(0) @ centre / red.sum()).item() == pytest.approx(x, abs=0.5)
    assert (red.sum(1) @ centre / red.sum()).item() == pytest.approx(y, abs=0.5)


def test_clips_are_windows_of_the_videos_up_to_a_symmetry(videos):
    clips = draw_clips(videos, 8, np.random.default_rng(0))
    span = max(TARGET_FRAMES) + 1
    assert clips.shape == (8, span, 3, 64, 64)
    windows = [video[t : t + span] for video in videos for t in range(videos.shape[1] - span + 1)]
    brightness = {w.double().sum().item() for window in windows for w in (window, window[:, [1, 0, 0]])}
    assert all(clip.double().sum().item() in brightness for clip in clips)
    assert torch.equal(clips, draw_clips(videos, 8, np.random.default_rng(0)))


def test_training_seeds_are_disjoint_from_evaluation_seeds(videos):
    """Evaluation videos are seeded with small numbers, alone or as [seed, video]."""
    assert min(VIDEO_STREAM, CLIP_STREAM) > 10_000_000
    for seed in (0, 7, [0, 0], [7, 0], [0, VIDEO_STREAM]):
        states = simulate_collisions(1, rng=np.random.default_rng(seed))
        training = simulate_collisions(1, rng=np.random.default_rng([VIDEO_STREAM, 7]))
        assert not np.allclose(states, training)


def test_embedding_equals_that_of_the_frozen_encoder(videos):
    encoder = load_encoder("embedded", device="cpu")
    clips = videos[:3, :16]
    torch.testing.assert_close(embed(encoder.model, clips), encoder.embed(clips), atol=0.03, rtol=0.05)


def broken_off(videos, file, settings=TINY, *, in_step):
    """A pretraining that ends in the middle of a step; the state before it is kept."""

    def watch(step, encoder):
        if step == in_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(videos, settings, watch=watch, checkpoint=file, checkpoint_every=1, device="cpu")


def test_resuming_gives_the_same_bits_as_an_uninterrupted_run_and_watches_every_step_once(videos, tmp_path):
    whole, history = pretrain(videos, TINY, device="cpu")
    broken_off(videos, tmp_path / "pretraining.safetensors", in_step=4)
    watched = []

    def watch(step, encoder):
        assert not encoder.training
        watched.append(step)

    for expected in ([4, 5, 6], []):  # the second call finds all done
        watched.clear()
        file = tmp_path / "pretraining.safetensors"
        resumed, resumed_history = pretrain(videos, TINY, watch=watch, checkpoint=file, device="cpu")
        assert watched == expected
        assert resumed_history == history and len(history) == TINY.n_steps
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_untrained_weights_are_watched_as_step_zero(videos):
    steps = []
    pretrain(videos, replace(TINY, n_steps=2), watch=lambda step, _: steps.append(step), device="cpu")
    assert steps == [0, 1, 2]


def test_a_checkpoint_is_safetensors_alone(videos, tmp_path):
    broken_off(videos, tmp_path / "pretraining.safetensors", in_step=3)
    (state,) = tmp_path.iterdir()
    with safe_open(state, "pt") as opened:
        words = json.loads(opened.metadata()["training"])
    assert len(words["history"]) == words["done"] == 2


@pytest.mark.parametrize(
    "change",
    [
        "the videos",
        "lr 0.001, now 0.002",
        "seed 0, now 1; the initial weights",
        "the code of the training",
    ],
)
def test_a_pretraining_from_something_else_begins_anew(videos, tmp_path, capsys, monkeypatch, change):
    file = tmp_path / "pretraining.safetensors"
    broken_off(videos, file, in_step=2)
    (kept,) = tmp_path.iterdir()
    settings, other = TINY, videos.clone()
    if change == "the videos":
        other[-1, -1, -1, -1, -1] ^= 1
    elif change == "the code of the training":
        monkeypatch.setattr("hjepa_utils.latents.pretraining.motion_loss", prediction_loss)
    else:
        settings = replace(TINY, **({"lr": 0.002} if "lr" in change else {"seed": 1}))
    broken_off(other, file, settings, in_step=2)
    assert f"made with other settings ({change}) and is kept in {kept.name}" in capsys.readouterr().out
    assert kept.exists() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda v: v.numpy(), TypeError, "must be a tensor, got ndarray: use torch.from_numpy"),
        (
            lambda v: v.float(),
            ValueError,
            r"must be uint8 \(n, T, 3, 64, 64\) with T ≥ 28, got torch.float32",
        ),
        (lambda v: v[:0], ValueError, r"got torch.uint8 \(0, 40, 3, 64, 64\)"),
        (lambda v: v[:, :27], ValueError, r"got torch.uint8 \(6, 27, 3, 64, 64\)"),
        (lambda v: v[..., :32], ValueError, r"got torch.uint8 \(6, 40, 3, 64, 32\)"),
    ],
)
def test_videos_that_cannot_be_trained_on_are_refused(videos, change, error, words):
    with pytest.raises(error, match=words):
        pretrain(change(videos), TINY, device="cpu")


def test_targets_do_not_collapse_and_every_part_learns(videos):
    torch.manual_seed(0)
    model = Pretraining(TINY)
    predicted, targets = model(draw_clips(videos, 6, np.random.default_rng(0)))
    assert predicted.shape == targets.shape == (6, len(TARGET_FRAMES), 4)
    assert targets.flatten(0, 1).std(dim=0).min() > 0.9
    prediction_loss(predicted, targets).backward()
    for part in (model.encoder.encoder, model.target, model.predictor):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    assert standardise(torch.randn(50, 3) * 9 + 4).std(dim=0).max() < 1.1
    assert FrameTarget(5)(torch.zeros(2, 7, 3, 64, 64, dtype=torch.uint8)).shape == (2, 7, 5)


def test_a_nan_loss_is_reported(videos):
    with pytest.raises(ValueError, match="learning rate"):
        pretrain(videos, PretrainSettings(n_steps=6, batch_size=4, lr=float("nan")), device="cpu")


def test_the_embedded_weights_see_both_balls_on_unseen_videos():
    """Thresholds a little below the model card's, whose probes are fitted on more videos."""
    encoder = load_encoder("embedded", device="cpu")
    n_videos, stride = 50, 8
    latents, states = [], []
    for i in range(n_videos):
        state = simulate_collisions(rng=np.random.default_rng([3, i]))
        frames = torch.from_numpy(render_frames(state)).movedim(-1, 1)
        latents.append(encode_video(encoder, frames, stride=stride))
        states.append(state[8::stride][: len(latents[-1])])  # mid-clip
    videos = np.repeat(np.arange(n_videos), [len(z) for z in latents])
    scores = probe_scores(torch.cat(latents).numpy(), np.concatenate(states), videos)
    assert scores["position"] > 0.97
    assert scores["velocity"] > 0.77
    assert scores["energy, straight from z"] > 0.5


def test_the_embedded_files_are_small_and_complete():
    assert (EMBEDDED / "model.safetensors").stat().st_size <= 10_000_000
    card = (EMBEDDED / "README.md").read_text()
    for heading in ("not for", "Data", "Recipe", "Seed", "Hardware", "Probes", "MIT"):
        assert heading.lower() in card.lower()
