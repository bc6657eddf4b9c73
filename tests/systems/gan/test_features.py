"""The encoder of videos: shapes, and that it learns."""

import numpy as np
import pytest
import torch

from hjepa_utils.simulators.toy_physics import toy_places
from hjepa_utils.systems.gan.data import make_videos
from hjepa_utils.systems.gan.features import VideoEncoder, fit_encoder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos") / "v.safetensors", "two_body", 20, 16, seed=0)


def encoder():
    torch.manual_seed(0)
    return VideoEncoder(2, channels=4, n_features=8)


def test_it_says_a_place_for_every_body_and_frame(videos):
    frames = videos.frames(np.random.default_rng(0), 3, 16)
    assert encoder()(frames.float() / 127.5 - 1).shape == (3, 16, 2, 2)
    assert encoder().features(frames).shape == (3, 8)
    with pytest.raises(
        ValueError, match=r"the encoder takes \('n', 16, 3, 32, 32\), got \(3, 8, 3, 32, 32\)"
    ):
        encoder().features(frames[:, :8])


def test_the_first_error_is_from_the_true_places(videos):
    rng = np.random.default_rng([0, 0])
    states = videos.states(rng, 8, 16)
    said = encoder()(videos.frames(np.random.default_rng([0, 0]), 8, 16).float() / 127.5 - 1)
    expected = np.sqrt(((said.detach().numpy() - toy_places("two_body", states) / 2.75) ** 2).mean())
    _, history = fit_encoder(encoder(), videos, seed=0, n_updates=15, batch_size=8, lr=3e-3)
    np.testing.assert_allclose(history[0]["error"], expected, rtol=0.02)  # it may have been in bf16
    assert history[-1]["error"] < 0.9 * history[0]["error"]


def test_the_same_training_twice_is_the_same_and_its_encoder_is_saved(videos, tmp_path):
    (first, _), (again, _) = (
        fit_encoder(encoder(), videos, seed=1, n_updates=2, batch_size=4) for _ in range(2)
    )
    first.save_pretrained(tmp_path)
    frames = videos.frames(np.random.default_rng(0), 2, 16)
    assert torch.equal(first.features(frames), again.features(frames))
    assert torch.equal(first.features(frames), VideoEncoder.from_pretrained(tmp_path).features(frames))


@pytest.mark.parametrize(("frames", "words"), [
    (torch.zeros(1, 16, 3, 32, 32), r"got float32 \(1, 16, 3, 32, 32\): use a uint8 tensor as render_toy"),
    (np.zeros((1, 16, 3, 32, 32), np.uint8), "got ndarray uint8 .*: use a uint8 tensor"),
    (None, "got NoneType: use a uint8 tensor"),
])  # fmt: skip
def test_what_are_no_frames_has_no_features(frames, words):
    with pytest.raises(ValueError, match=words):
        VideoEncoder(1, channels=2).features(frames)


@pytest.mark.parametrize(("call", "words"), [
    (lambda videos: VideoEncoder(0), "n_bodies must be a whole number, 1 or more, got 0"),
    (lambda videos: VideoEncoder(1, 4), "the encoder takes 8 frames or more, got 4"),
    (lambda videos: VideoEncoder(1, channels=0), "channels must be a whole number, 1 or more, got 0"),
    (lambda videos: fit_encoder(VideoEncoder(1, channels=2), videos, seed=0),
     r"two_body has 2 bodies, the encoder 1: build a VideoEncoder\(2\)"),
    (lambda videos: fit_encoder(VideoEncoder(2, channels=2), videos, seed=0, lr=0),
     "lr must be finite and pos"),
])  # fmt: skip
def test_an_encoder_that_does_not_fit_is_refused(videos, call, words):
    with pytest.raises(ValueError, match=words):
        call(videos)
